"""`policy test` runs the tests in policy files, says why one fails, and writes what build servers read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from patchwarden.cli import cli
from tests.policy.test_testing import POLICY, SET, SHIPPED

PASSES = "{name: waits, event: prod-linux, expect: {action: remediate, policy: tested}}"
FAILS = "{name: does not wait, event: prod-windows, expect: {action: remediate, window: none}}"
STEERS = '{name: "steers \\e[2J & <b>", event: prod-linux, expect: {action: ticket}}'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    there = tmp_path / "policies"
    there.mkdir()
    (there / "_set.yaml").write_text(SET)
    shutil.copytree(SHIPPED / "fixtures", there / "fixtures")
    return there


def write(directory: Path, *tests: str, name: str = "tested") -> None:
    text = POLICY.replace("id: tested", f"id: {name}") + "".join(f"  - {test}\n" for test in tests)
    (directory / f"{name}.yaml").write_text(text)


def run(directory: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["policy", "test", str(directory), *words], catch_exceptions=False)


def test_what_passes_is_only_counted_and_told_with_v(directory: Path) -> None:
    write(directory, PASSES)
    quiet, loud = run(directory), run(directory, "-v")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "1 passed, 0 failed, 0 left out\n")
    assert loud.stdout.endswith("tested.yaml:9:5: passed 'waits'\n")


def test_a_failure_says_what_was_wanted_and_found_and_what_each_policy_said(directory: Path) -> None:
    write(directory, PASSES, FAILS)
    result = run(directory)
    assert result.exit_code == 3
    first, *rest = result.stdout.splitlines()
    assert (
        "tested.yaml:10:5: PW607 test 'does not wait': window wanted none, found saturday: tested: waits for" in first
    )
    assert "won       tested  standard remediate  tested.yaml:1" in rest
    assert '  ok      $.node.tags.Environment equals "prod"' in rest
    assert "            found prod  tested.yaml:6" in rest
    assert result.stderr == "1 passed, 1 failed, 0 left out\n"


@pytest.mark.parametrize(("word", "left"), [("DOES", 1), ("prod-windows", 1), ("tested", 2), ("waits", 1)])
def test_a_word_chooses_by_name_policy_and_fixture(directory: Path, word: str, left: int) -> None:
    write(directory, PASSES, FAILS)
    found = json.loads(run(directory, "-k", word, "-o", "json").stdout)
    assert len(found) == left


def test_a_word_that_chooses_nothing_is_no_success(directory: Path) -> None:
    write(directory, PASSES)
    result = run(directory, "-k", "nothing")
    assert result.exit_code == 1
    assert "no test in" in result.output


def test_the_json_of_a_failure_holds_its_trace(directory: Path) -> None:
    write(directory, PASSES, FAILS)
    passed, failed = json.loads(run(directory, "-o", "json").stdout)
    assert (passed["passed"], passed["trace"]) == (True, [])
    assert (failed["passed"], failed["code"]) == (False, "PW607")
    assert failed["trace"][0]["result"] == "won"
    assert failed["trace"][0]["conditions"][0]["answer"] == "ok"


def junit(directory: Path, file: Path) -> Any:
    run(directory, "--junit", str(file))
    return ElementTree.parse(file).getroot()


def test_junit_has_a_suite_for_each_policy_and_the_trace_of_each_failure(directory: Path, tmp_path: Path) -> None:
    write(directory, PASSES, FAILS)
    write(directory, PASSES, name="zebra")
    root = junit(directory, tmp_path / "junit.xml")
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "0")
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("tested", "2", "1"), ("zebra", "1", "0")
    ]  # fmt: skip
    (failure,) = root.iter("failure")
    assert failure.get("message") == "window wanted none, found saturday"
    assert "won       tested" in failure.text
    case = root.find("testsuite[@name='tested']/testcase[2]")
    assert (case.get("classname"), case.get("name"), case.get("line")) == ("tested", "does not wait", "10")


def test_junit_is_well_formed_whatever_a_test_is_called(directory: Path, tmp_path: Path) -> None:
    write(directory, STEERS)
    root = junit(directory, tmp_path / "junit.xml")
    assert root.find("testsuite/testcase").get("name") == "steers \\x1b[2J & <b>"


def test_a_directory_with_an_error_runs_nothing_and_says_so_in_junit_too(directory: Path, tmp_path: Path) -> None:
    write(directory, PASSES)
    (directory / "broken.yaml").write_text(POLICY.replace("owner", "ower").replace("id: tested", "id: broken"))
    result = run(directory)
    assert result.exit_code == 3
    assert "PW201" in result.stderr
    root = junit(directory, tmp_path / "junit.xml")
    assert int(root.get("errors")) == len(list(root.iter("error"))) > 0
    assert root.find("testsuite/testcase/error").get("type").startswith("PW")


@pytest.mark.parametrize(("beside", "difference"), [
    ("[another]", None), ("[]", "also_matched wanted none, found another"),
    ("[elsewhere]", "also_matched wanted elsewhere, found another"),
])  # fmt: skip
def test_what_matches_beside_the_winner_can_be_asked_for(directory: Path, beside: str, difference: str | None) -> None:
    write(directory, f"{{name: beside, event: prod-linux, expect: {{action: remediate, also_matched: {beside}}}}}")
    another = POLICY.replace("id: tested", "id: another\npriority: -1") + "  []\n"
    (directory / "another.yaml").write_text(another)
    elsewhere = POLICY.replace("id: tested", "id: elsewhere").replace("equals: prod", "equals: dev") + "  []\n"
    (directory / "elsewhere.yaml").write_text(elsewhere)
    (found,) = json.loads(run(directory, "-o", "json").stdout)
    assert found["what"] == (difference or "")


def test_a_test_that_asks_for_a_policy_that_does_not_exist_is_refused(directory: Path) -> None:
    write(directory, "{name: beside, event: prod-linux, expect: {action: remediate, also_matched: [testde]}}")
    result = run(directory)
    assert result.exit_code == 3
    assert "PW605 there is no policy 'testde'; did you mean tested?" in result.stderr
