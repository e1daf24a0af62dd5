"""Every broken file of the corpus is told with its code, its place and a remedy, and nothing else is."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from patchwarden.policy.compile import load_directory
from patchwarden.policy.problems import CODES

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.yaml"))
FIXTURE = Path(__file__).parents[2] / "policies" / "fixtures" / "prod-linux.yaml"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

SET = """
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
windows:
  prod-saturday: {cron: "0 2 ? * SAT *", zone: UTC, duration: 4h}
documents: [Example-RepairAssociation]
hooks: [Example-Drain, Example-Refill]
override_lists: [s3://reviewed-by-security/a.yaml]
ceilings: {attempts: 5, concurrency: 50%, max_errors: 20%, deadline: 30d, exemption: 180d}
tests: {at_least: AT_LEAST, both_outcomes: BOTH}
"""
EXPECTED = re.compile(r"# expect (PW\d{3}) (\d+):(\d+) ?(.*)")


def place(directory: Path, broken: Path) -> Path:
    """A sound directory but for one broken file; the file's role is the first part of its name."""
    role = broken.stem.partition("-")[0]
    strict = role == "tests"
    (directory / "fixtures").mkdir()
    rules = SET.replace("AT_LEAST", "2" if strict else "0").replace("BOTH", str(strict).lower())
    (directory / "_set.yaml").write_text(rules)
    shutil.copy(FIXTURE, directory / "fixtures" / "prod-linux.yaml")
    (directory / "schedules").mkdir()
    (directory / "baselines").mkdir()
    places = {"set": "_set.yaml", "fixture": "fixtures/broken.yaml", "schedule": "schedules/broken.yaml",
              "baseline": "baselines/broken.yaml"}  # fmt: skip
    target = places.get(role, "tested.yaml")
    shutil.copy(broken, directory / target)
    return directory / target


@pytest.mark.parametrize("broken", CORPUS, ids=lambda path: path.stem)
def test_a_broken_file_is_told_with_code_place_and_remedy(broken: Path, tmp_path: Path) -> None:
    expected = EXPECTED.findall(broken.read_text())
    assert expected, "a file of the corpus says what is expected of it"
    target = place(tmp_path, broken)
    loaded = load_directory(tmp_path, now=NOW)
    told = "\n".join(problem.text() for problem in loaded.problems)
    found = [(problem.code, str(problem.line), str(problem.column)) for problem in loaded.problems]
    assert sorted(found) == sorted((code, line, column) for code, line, column, _ in expected), told
    assert {problem.file for problem in loaded.problems} == {str(target)}
    remedies = {(problem.code, str(problem.line), str(problem.column), problem.hint) for problem in loaded.problems}
    for code, line, column, hint in expected:
        assert any(one[:3] == (code, line, column) and hint in one[3] for one in remedies), told


@pytest.mark.parametrize("broken", CORPUS, ids=lambda path: path.stem)
def test_a_directory_with_an_error_compiles_to_nothing(broken: Path, tmp_path: Path) -> None:
    place(tmp_path, broken)
    loaded = load_directory(tmp_path, now=NOW)
    assert (loaded.document is None) == bool(loaded.errors)


def test_every_code_has_a_broken_file_or_a_test_of_its_own() -> None:
    """Codes that need more than one file, or no file at all, are tested in test_compile.py and test_lint.py."""
    shown = {code for broken in CORPUS for code, *_ in EXPECTED.findall(broken.read_text())}
    between = {code for code in CODES if code.startswith("PW7")}
    assert set(CODES) - shown == {"PW102", "PW208", "PW505", "PW607", "PW905", *between}
