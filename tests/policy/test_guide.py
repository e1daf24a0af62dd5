"""What docs/policies.md shows is true: every block loads and passes its tests, every table is that of the code."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from patchwarden.policy.commands import policy
from patchwarden.policy.guide import guide
from patchwarden.policy.lint import check_directory
from patchwarden.policy.problems import Level, Problem
from tests.policy.sessions import GUIDE, ROOT, stale

PAGE = GUIDE.read_text(encoding="utf-8")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BLOCKS = re.findall(r"```yaml\n(.*?)```\n", PAGE, re.DOTALL)
COOKBOOK = re.findall(r"^### \d+\. .*?```yaml\n(.*?)```\n", PAGE, re.DOTALL | re.MULTILINE)
(SET,) = (block for block in BLOCKS if block.startswith("scope:"))
UNTESTED = SET.replace("at_least: 2, both_outcomes: true", "at_least: 0, both_outcomes: false")
FRAGMENT = {
    "id": "fragment",
    "title": "A fragment of the guide",
    "owner": "secops@example.com",
    "when": {"all": [{"path": "$.node.tags.Environment", "equals": "prod"}]},
    "then": {"action": "remediate"},
}


def place(directory: Path, block: str) -> bool:
    """The block where it belongs in a directory that is sound without it; True if it must stand by itself."""
    shutil.copytree(ROOT / "policies" / "fixtures", directory / "fixtures")
    said = yaml.load(block, Loader=yaml.BaseLoader)
    whole = "id" in said and "operation" not in said
    (directory / "_set.yaml").write_text(SET if whole else UNTESTED)
    target = {"operation": "schedules/shown.yaml", "event": "fixtures/shown.yaml", "scope": "_set.yaml"}
    file = directory / next((file for key, file in target.items() if key in said), "shown.yaml")
    file.parent.mkdir(exist_ok=True)
    file.write_text(block if whole or file.name != "shown.yaml" or file.parent != directory else block + _rest(said))
    return whole


def _rest(said: dict[str, Any]) -> str:
    """What a fragment leaves out, after it, so that its own lines are read as they stand."""
    return yaml.safe_dump({name: value for name, value in FRAGMENT.items() if name not in said})


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0])
def test_a_block_loads_and_passes_its_tests(block: str, tmp_path: Path) -> None:
    whole = place(tmp_path, block)
    checked = check_directory(tmp_path, now=NOW)
    told = [each.text() for each in checked.found]
    assert checked.errors == 0, told
    assert not whole or (told == [] and len(checked.results) >= 2)


def test_the_cook_book_has_twelve_policies_and_they_can_stand_together(tmp_path: Path) -> None:
    assert len(COOKBOOK) == 12
    place(tmp_path, SET)
    (tmp_path / "_set.yaml").write_text(UNTESTED)
    for number, block in enumerate(COOKBOOK):
        (tmp_path / f"{number}.yaml").write_text(block.partition("tests:\n")[0])
    checked = check_directory(tmp_path, now=NOW)
    assert [each.text() for each in checked.found if isinstance(each, Problem) and each.level is Level.ERROR] == []


def test_the_tables_are_those_of_the_code() -> None:
    assert guide(PAGE) == PAGE, "stale: run `make docs`"


def test_a_session_shows_what_the_command_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not stale(PAGE), "run `make docs`"


def test_every_command_of_the_workbench_is_told_of_and_no_other() -> None:
    named = set(re.findall(r"patchwarden policy (\w+)", PAGE))
    assert named == set(policy.commands)


def test_the_links_within_the_page_lead_somewhere() -> None:
    heads = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in re.findall(r"^#+ (.*)$", PAGE, re.M)}
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= heads
    pages = re.findall(r"\(([\w-]+\.md)\)", PAGE)
    assert [page for page in pages if not (ROOT / "docs" / page).exists()] == []
