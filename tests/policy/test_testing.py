"""The tests in policy files ask the very engine that decides, and say what was wanted and what was found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patchwarden.policy.testing import Result, run_tests

SHIPPED = Path(__file__).parents[2] / "policies"

SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
windows:
  saturday: {cron: "0 2 ? * SAT *", zone: UTC, duration: 4h}
tests: {at_least: 0, both_outcomes: false}
"""
POLICY = """\
id: tested
title: A policy under test
owner: secops@example.com
when:
  all:
    - {path: $.node.tags.Environment, equals: prod}
then: {action: remediate, window: saturday}
tests:
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "_set.yaml").write_text(SET)
    shutil.copytree(SHIPPED / "fixtures", tmp_path / "fixtures")
    return tmp_path


def run(directory: Path, test: str, policy: str = POLICY) -> Result:
    (directory / "tested.yaml").write_text(f"{policy}  - {test}\n")
    (result,) = run_tests(directory)
    return result


def test_a_test_that_finds_what_it_expects_passes(directory: Path) -> None:
    result = run(
        directory,
        "{name: waits, event: prod-linux, now: 2026-11-23T12:00:00Z, expect: {action: remediate, policy: tested, "
        "window: saturday, starts: 2026-11-28T02:00:00Z, because_contains: waits for window saturday, shadow: none}}",
    )
    assert (result.passed, result.differences, result.policy, result.name) == (True, (), "tested", "waits")
    assert result.to_json()["passed"] is True


@pytest.mark.parametrize(
    ("expect", "difference"),
    [
        ("action: ticket", "action wanted ticket, found remediate"),
        ("action: remediate, policy: none", "policy wanted none, found tested"),
        ("action: remediate, window: none", "window wanted none, found saturday"),
        (
            "action: remediate, starts: 2026-11-28T03:00:00Z",
            "starts wanted 2026-11-28T03:00:00.000Z, found 2026-11-28T02:00:00.000Z",
        ),
        ("action: remediate, because_contains: at once", "because wanted 'at once'"),
        ("action: remediate, shadow: tested", "shadow wanted tested, found none"),
    ],
)
def test_a_test_that_fails_says_what_was_wanted_and_found(directory: Path, expect: str, difference: str) -> None:
    result = run(directory, f"{{name: wrong, event: prod-linux, expect: {{{expect}}}}}")
    assert result.differences == (difference,)
    assert result.text().endswith(
        f"tested.yaml:9:5: PW607 test 'wrong': {difference}: tested: waits for window saturday, "
        "next chance 2026-11-28T02:00:00.000Z"
    )
    assert (result.to_json()["code"], result.to_json()["line"], result.to_json()["column"]) == ("PW607", 9, 5)


def test_every_difference_is_told_at_once(directory: Path) -> None:
    result = run(directory, "{name: wrong, event: prod-linux, expect: {action: ticket, policy: none, window: none}}")
    assert len(result.differences) == 3


@pytest.mark.parametrize(
    ("change", "expect"),
    [
        ("set: {$.node.tags.Environment: dev}", "action: observe, policy: none"),
        ("unset: [$.node.tags.Environment]", "action: observe, because_contains: no policy speaks"),
        ("unset: [$.node.tags]", "action: ticket, because_contains: could not be evaluated"),
        ("unset: [$.node]", "action: ticket, because_contains: could not be evaluated"),
        ("set: {$.node.tags.Environment: 5}", "action: ticket, because_contains: could not be evaluated"),
        ("set: {$.history.attempts: 3}", "action: ticket, because_contains: 3 of 3 attempts failed"),
        ("set: {$.finding.control: association}", "action: observe"),
        ("unset: [$.node], set: {$.node.tags.Environment: prod}", "action: ticket"),
        ('set: {"$.patch.missing[0].severity": Low}', "action: remediate"),
        ('unset: ["$.patch.missing[0]", $.detail.configRuleName]', "action: remediate"),
    ],
)
def test_a_test_may_change_its_facts(directory: Path, change: str, expect: str) -> None:
    result = run(directory, f"{{name: changed, event: prod-linux, {change}, expect: {{{expect}}}}}")
    assert result.passed or "PW606" in result.text(), result.text()


def test_an_item_that_the_list_does_not_have_cannot_be_set(directory: Path) -> None:
    change = 'set: {"$.patch.missing[9].severity": Low}'
    result = run(directory, f"{{name: changed, event: prod-linux, {change}, expect: {{action: remediate}}}}")
    assert result.differences == ("set or unset names an item that the list does not have",)


def test_a_change_in_one_test_is_not_seen_by_the_next(directory: Path) -> None:
    changed = "{name: changed, event: prod-linux, set: {$.node.tags.Environment: dev}, expect: {action: observe}}"
    plain = "{name: plain, event: prod-linux, expect: {action: remediate}}"
    (directory / "tested.yaml").write_text(f"{POLICY}  - {changed}\n  - {plain}\n")
    assert [result.passed for result in run_tests(directory)] == [True, True]


@pytest.mark.parametrize(
    ("then", "expect"),
    [
        ("{action: ticket}", "action: ticket, policy: tested, window: none"),
        ("{action: approve}", "action: approve, policy: tested"),
        (
            "{action: exempt, until: 2027-01-01T00:00:00Z, reason: Old, approved: {by: a, on: 2026-11-01, ticket: R}}",
            "action: exempt, policy: tested, because_contains: Old",
        ),
        ("{action: remediate}", "action: remediate, window: none, starts: 2026-11-23T11:58:31Z"),
    ],
)
def test_the_action_found_is_the_word_of_the_policy(directory: Path, then: str, expect: str) -> None:
    policy = POLICY.replace("{action: remediate, window: saturday}", then)
    result = run(directory, f"{{name: word, event: prod-windows, expect: {{{expect}}}}}", policy)
    assert result.passed, result.text()


def test_a_shadow_policy_is_found_beside_the_decision(directory: Path) -> None:
    test = "{name: beside, event: prod-linux, expect: {action: observe, policy: none, shadow: tested}}"
    assert run(directory, test, "mode: shadow\n" + POLICY).passed


def test_a_directory_with_an_error_runs_no_test(directory: Path) -> None:
    (directory / "tested.yaml").write_text(POLICY.replace("owner", "ower") + "  []\n")
    assert run_tests(directory) == []
