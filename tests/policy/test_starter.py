"""A starter says what is to be filled in, and is a sound, tested policy when it is."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from patchwarden.cli import cli
from patchwarden.policy.compile import load_directory
from patchwarden.policy.testing import run_tests

SHIPPED = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def new(directory: Path, name: str = "night-shift") -> Result:
    return CliRunner().invoke(cli, ["policy", "new", name, "--dir", str(directory)])


def fill(path: Path, action: str = "ticket") -> None:
    """What a person does: say the five things that the starter leaves empty."""
    text = path.read_text()
    for start, value in (
        ("title", "The night shift looks at it"), ("owner", "secops@example.com"), ("      equals", "night"),
        ("  action", action), (r"      \$.node.tags.Environment", "night"), ("      action", action),
    ):  # fmt: skip
        text, times = re.subn(rf"(?m)^({start}:) +#.*$", rf"\1 {value}", text)
        assert times == 1, start
    path.write_text(text)


def test_a_directory_from_nothing_passes_when_it_is_filled_in(tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    answer = new(directory)
    assert answer.exit_code == 0, answer.output
    written = [directory / name for name in ("night-shift.yaml", "_set.yaml", "fixtures/example-node.yaml")]
    assert answer.stdout.splitlines() == [str(path) for path in written]
    fill(written[0])
    rules = written[1].read_text().replace("accounts: []", "accounts: ['111122223333']")
    written[1].write_text(rules.replace("regions: []", "regions: [eu-west-1]"))
    assert load_directory(directory, now=NOW).problems == []
    assert [result.differences for result in run_tests(directory)] == [(), ()]


def test_what_is_not_filled_in_is_named_and_nothing_else(tmp_path: Path) -> None:
    new(tmp_path)
    told = [problem for problem in load_directory(tmp_path, now=NOW).problems if "night-shift" in problem.file]
    assert {problem.code for problem in told} == {"PW112"}
    assert [problem.what.split()[0] for problem in told] == [
        "title", "owner", "equals", "action", "$.node.tags.Environment", "action",
    ]  # fmt: skip


def test_beside_other_policies_only_the_policy_is_written_and_passes_when_it_is_filled_in(tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    shutil.copytree(SHIPPED, directory)
    answer = new(directory)
    assert answer.stdout.splitlines() == [str(directory / "night-shift.yaml")]
    fill(directory / "night-shift.yaml")
    assert load_directory(directory, now=NOW).errors == []
    assert [result for result in run_tests(directory) if not result.passed] == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    new(tmp_path)
    (tmp_path / "night-shift.yaml").write_text("mine")
    answer = new(tmp_path)
    assert (answer.exit_code, answer.stdout) == (1, "")
    assert "is there already: choose another id, or edit it" in answer.stderr
    assert (tmp_path / "night-shift.yaml").read_text() == "mine"


@pytest.mark.parametrize("name", ["Night-Shift", "none", "../etc", "a" * 65, ""])
def test_an_id_that_no_policy_may_have_writes_nothing(tmp_path: Path, name: str) -> None:
    answer = new(tmp_path / "policies", name)
    assert answer.exit_code == 2
    assert "such as prod-window" in answer.stderr
    assert not (tmp_path / "policies").exists()


def test_a_starter_names_the_schema_for_the_editor_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "policy.schema.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    new(Path("policies"))
    first = {path.name: path.read_text().splitlines()[0] for path in (tmp_path / "policies").rglob("*.yaml")}
    assert first == {
        "night-shift.yaml": "# yaml-language-server: $schema=../docs/policy.schema.json",
        "_set.yaml": "# yaml-language-server: $schema=../docs/policy.schema.json#/definitions/SetFile",
        "example-node.yaml": "# yaml-language-server: $schema=../../docs/policy.schema.json#/definitions/Fixture",
    }
