"""What is wrong between policies is told at the one that has to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from patchwarden.cli import cli
from patchwarden.policy.implying import apart
from patchwarden.policy.lint import check_directory, neighbours
from patchwarden.policy.problems import Level
from tests.sets import policy, policy_set, tag

SHIPPED = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
windows:
  saturday: {cron: "0 2 ? * SAT *", zone: UTC, duration: 4h}
tests: {at_least: 0, both_outcomes: false}
"""
EXEMPT = "{action: exempt, until: 2027-03-01T00:00:00Z, reason: Old, approved: {by: a, on: 2026-11-01, ticket: RISK-1}}"
Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a policy with conditions in `all`."""
    (tmp_path / "_set.yaml").write_text(SET)
    (tmp_path / "fixtures").mkdir()
    for name in ("prod-linux", "dev-linux", "hybrid"):
        shutil.copy(SHIPPED / "fixtures" / f"{name}.yaml", tmp_path / "fixtures")

    def one(id: str, when: str, then: str = "{action: ticket}", head: str = "", tests: str = "[]") -> None:
        group = f"{{all: [{when}]}}"
        text = f"id: {id}\ntitle: T\nowner: secops@example.com\nwhen: {group}\nthen: {then}\n{head}\ntests: {tests}\n"
        (tmp_path / f"{id}.yaml").write_text(text)

    return one


PROD = "{path: $.node.tags.Environment, equals: prod}"
ANY_PROD = "{path: $.node.tags.Environment, in: [prod, production]}"
DEV = "{path: $.node.tags.Environment, equals: dev}"
APP = "{path: $.node.tags.App, exists: true}"


def told(directory: Path, *codes: str, now: datetime = NOW) -> list[tuple[str, str, int, int]]:
    problems = check_directory(directory, now=now).problems
    return [(each.code, Path(each.file).stem, each.line, each.column) for each in problems if each.code in codes]


def test_the_shipped_policies_are_right_together() -> None:
    checked = check_directory(SHIPPED, now=NOW)
    assert [each.text() for each in checked.found] == []
    assert len(checked.results) >= 16


# --- between policies -----------------------------------------------------------------------------------------------


def test_conditions_that_never_hold_together_are_an_error(write: Write, tmp_path: Path) -> None:
    write("never", f"{PROD}, {DEV}")
    assert told(tmp_path, "PW701") == [("PW701", "never", 4, 1)]
    assert check_directory(tmp_path).errors == 1


def test_a_policy_that_can_never_decide_is_told_with_the_one_before_it(write: Write, tmp_path: Path) -> None:
    write("wide", ANY_PROD, head="priority: 5")
    write("narrow", f"{PROD}, {APP}")
    (problem,) = (each for each in check_directory(tmp_path).problems if each.code == "PW702")
    assert (Path(problem.file).stem, problem.line, problem.column, problem.level) == ("narrow", 1, 5, Level.WARNING)
    assert "wide ranks above it" in problem.what


def test_a_stronger_band_or_action_shadows_too(write: Write, tmp_path: Path) -> None:
    write("holds", ANY_PROD, head="band: guardrail")
    write("patches", PROD, "{action: remediate}")
    assert told(tmp_path, "PW702") == [("PW702", "patches", 1, 5)]


@pytest.mark.parametrize(
    ("wide", "head"),
    [
        (f"{ANY_PROD}, {APP}", "priority: 5"),
        (ANY_PROD, "priority: -5"),
        (ANY_PROD, "priority: 5\nmode: shadow"),
        (ANY_PROD, "priority: 5\nmode: off"),
        (ANY_PROD, "priority: 5\nexpires: 2027-01-01T00:00:00Z"),
        (ANY_PROD, "priority: 5\nrollout: {percent: 50}"),
        (DEV, "priority: 5"),
    ],
)
def test_a_policy_that_decides_at_times_is_not_shadowed(write: Write, tmp_path: Path, wide: str, head: str) -> None:
    write("wide", wide, head=head)
    write("narrow", PROD)
    assert [each for each in told(tmp_path, "PW702") if each[1] == "narrow"] == []


def test_two_equal_policies_that_want_different_things_are_an_error(write: Write, tmp_path: Path) -> None:
    write("by-app", APP, "{action: remediate, window: saturday}")
    write("by-prod", PROD, "{action: remediate, attempts: 2}", head="priority: 0")
    (problem,) = (each for each in check_directory(tmp_path).problems if each.code == "PW703")
    assert (Path(problem.file).stem, problem.line, problem.level) == ("by-prod", 6, Level.ERROR)
    assert problem.what.endswith("differ in window, attempts")


@pytest.mark.parametrize(
    ("when", "then", "head"),
    [
        (PROD, "{action: remediate, attempts: 2}", "priority: 1"),
        (PROD, "{action: approve, attempts: 2}", ""),
        (PROD, "{action: remediate, window: saturday}", ""),
        (DEV, "{action: remediate, attempts: 2}", ""),
        (PROD, "{action: remediate, attempts: 2}", "mode: shadow"),
    ],
)
def test_what_is_decided_by_more_than_letters_is_no_error(
    write: Write, tmp_path: Path, when: str, then: str, head: str
) -> None:
    write("one", f"{PROD}, {APP}", "{action: remediate, window: saturday}")
    write("two", when, then, head)
    assert told(tmp_path, "PW703") == []


def test_two_exemptions_may_overlap(write: Write, tmp_path: Path) -> None:
    write("one", PROD, EXEMPT)
    write("two", APP, EXEMPT.replace("2027-03-01", "2027-02-01"))
    assert told(tmp_path, "PW703") == []


TAGS = st.dictionaries(
    st.sampled_from(["Environment", "App", "Owner"]),
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=2, unique=True),
)


@given(st.lists(TAGS, min_size=2, max_size=6))
def test_only_policies_that_speak_for_different_findings_are_not_compared(several: list[dict[str, list[str]]]) -> None:
    conditions = [[{**tag(name, ""), "operator": "in", "operand": values} for name, values in each.items()]
                  for each in several]  # fmt: skip
    policies = policy_set(*(policy(f"p{number}", *asked) for number, asked in enumerate(conditions))).policies
    for one, near in zip(policies, neighbours(policies), strict=True):
        assert all(apart(one.when, other.when) for place, other in enumerate(policies) if place not in near)


# --- what the tests show --------------------------------------------------------------------------------------------


def test_a_policy_that_nothing_makes_match_is_told(write: Write, tmp_path: Path) -> None:
    write("lonely", "{path: $.node.tags.Environment, equals: moon}")
    write("matched", "{path: $.node.kind, equals: hybrid}")
    assert told(tmp_path, "PW704") == [("PW704", "lonely", 1, 5)]


def test_a_policy_that_is_off_needs_no_tests(write: Write, tmp_path: Path) -> None:
    write("lonely", "{path: $.node.tags.Environment, equals: moon}", head="mode: off")
    assert told(tmp_path, "PW704", "PW705") == []


def test_a_condition_that_tests_see_one_way_only_is_told(write: Write, tmp_path: Path) -> None:
    seen = "{name: one, event: prod-linux, expect: {action: ticket}}"
    other = "{name: two, event: prod-linux, set: {$.node.tags.Environment: dev}, expect: {action: observe}}"
    write("covered", PROD, tests=f"[{seen}]")
    assert told(tmp_path, "PW705") == [("PW705", "covered", 4, 14)]
    write("covered", PROD, tests=f"[{seen}, {other}]")
    assert told(tmp_path, "PW705") == []


def test_what_is_unknown_covers_nothing(write: Write, tmp_path: Path) -> None:
    unknown = "{name: one, event: prod-linux, unset: [$.node], expect: {action: ticket}}"
    write("blind", PROD, tests=f"[{unknown}]")
    assert told(tmp_path, "PW705") == [("PW705", "blind", 4, 14)] * 2


@pytest.mark.parametrize(("before", "soon"), [(31, False), (29, True), (1, True), (-1, False)])
def test_an_exemption_that_ends_soon_is_told(write: Write, tmp_path: Path, before: int, soon: bool) -> None:
    write("exempt", PROD, EXEMPT)
    now = datetime(2027, 3, 1, tzinfo=UTC) - timedelta(days=before)
    assert told(tmp_path, "PW706", now=now) == ([("PW706", "exempt", 5, 31)] if soon else [])


def test_a_directory_with_an_error_is_not_compared(write: Write, tmp_path: Path) -> None:
    write("never", f"{PROD}, {DEV}")
    write("broken", PROD, "{action: remediat}")
    checked = check_directory(tmp_path)
    assert [each.code for each in checked.problems] == ["PW204"]
    assert checked.results == ()


# --- the command ----------------------------------------------------------------------------------------------------


def check(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(cli, ["policy", "check", "--now", "2026-11-23T12:00:00Z", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_warning_fails_only_if_asked_to(write: Write, tmp_path: Path) -> None:
    write("lonely", "{path: $.node.tags.Environment, equals: moon}")
    code, out, err = check(str(tmp_path))
    assert (code, "3 warnings; 0 of 0 tests passed" in err) == (0, True)
    assert out.splitlines()[0].startswith(f"{tmp_path}/lonely.yaml:1:5: PW704 warning: no fixture")
    assert check(str(tmp_path), "--strict")[0] == 3


def test_an_error_always_fails(write: Write, tmp_path: Path) -> None:
    write("never", f"{PROD}, {DEV}")
    assert check(str(tmp_path))[0] == 3


def test_a_failed_test_always_fails(write: Write, tmp_path: Path) -> None:
    write("wrong", PROD, tests="[{name: one, event: prod-linux, expect: {action: observe}}]")
    code, out, _ = check(str(tmp_path))
    assert code == 3
    assert "PW607" in out


def test_the_shipped_directory_has_no_problem_even_if_strict() -> None:
    code, out, err = check(str(SHIPPED), "--strict")
    assert (code, out) == (0, "")
    assert "no problems" in err


def test_sarif_names_rule_level_place_and_a_lasting_fingerprint(write: Write, tmp_path: Path) -> None:
    write("lonely", "{path: $.node.tags.Environment, equals: moon}")

    def report() -> Any:
        check(str(tmp_path), "--sarif", str(tmp_path / "report.sarif"))
        return json.loads((tmp_path / "report.sarif").read_text())

    found = report()
    (run,) = found["runs"]
    first = run["results"][0]
    assert (found["version"], first["ruleId"], first["level"]) == ("2.1.0", "PW704", "warning")
    assert {result["ruleId"] for result in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("lonely.yaml")
    assert place["region"] == {"startLine": 1, "startColumn": 5}
    (tmp_path / "lonely.yaml").write_text("# moved\n" + (tmp_path / "lonely.yaml").read_text())
    moved = report()["runs"][0]["results"][0]
    assert moved["partialFingerprints"] == first["partialFingerprints"]
    assert moved["locations"][0]["physicalLocation"]["region"]["startLine"] == 2


def test_nothing_found_is_an_empty_sarif_run(tmp_path: Path) -> None:
    check(str(SHIPPED), "--sarif", str(tmp_path / "report.sarif"))
    (run,) = json.loads((tmp_path / "report.sarif").read_text())["runs"]
    assert run["results"] == []


def test_what_will_never_open_is_not_compiled_either(write: Write, tmp_path: Path) -> None:
    write("waits", PROD, "{action: remediate, window: saturday}")
    past = (tmp_path / "_set.yaml").read_text().replace("SAT *", "SAT 2020")
    (tmp_path / "_set.yaml").write_text(past)
    done = CliRunner().invoke(cli, ["policy", "compile", "--now", "2026-11-23T12:00:00Z", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (3, "")
    assert "PW502" in done.stderr
