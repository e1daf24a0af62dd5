"""What is to be done for patch baselines, and whose baseline a scan used: pure, without AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.baselines import Baseline, Found, Known, Seen, judge, kept, operating_system, plan, token
from chalicelib.core.nodes import Location

HERE = Location("111122223333", "eu-west-1")
LINUX = "AMAZON_LINUX_2023"
PLATFORM = ("Amazon Linux", "2023")


def content(days: int = 7) -> dict[str, Any]:
    rule = {"PatchFilterGroup": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]}, "ApproveAfterDays": days}
    return {"Name": "patchwarden-linux", "Description": "ours", "ApprovalRules": {"PatchRules": [rule]}}


def ours(*groups: str, days: int = 7, default: bool = False, id: str = "linux") -> Baseline:
    return Baseline(id, LINUX, content(days), groups, default, (HERE,))


def found(
    days: int = 7, *, id: str = "pb-00000000000000001", ours: str | None = "linux", default: bool = False
) -> Found:
    return Found(id, LINUX, content(days), default, ours)


def acts(wanted: list[Baseline], seen: Seen) -> list[tuple[str, str, str | None]]:
    return [(step.act, step.id, step.group) for step in plan(wanted, seen)]


def test_what_is_not_there_is_created_registered_and_made_the_default() -> None:
    steps = acts([ours("prod", default=True)], Seen((), {}))
    assert steps == [("create", "linux", None), ("register", "linux", "prod"), ("default", "linux", None)]


def test_what_is_as_it_should_be_needs_nothing_whatever_its_order_and_defaults() -> None:
    answered = {**content(), "ApprovedPatches": [], "GlobalFilters": {"PatchFilters": []}, "PatchGroups": ["prod"]}
    answered["ApprovalRules"]["PatchRules"][0] |= {"EnableNonSecurity": False, "ComplianceLevel": "UNSPECIFIED"}
    seen = Seen((replace(found(), content=answered),), {(LINUX, "prod"): "pb-00000000000000001"})
    assert plan([ours("prod")], seen) == ()


def test_a_change_is_told_line_by_line() -> None:
    (step,) = plan([ours(days=14)], Seen((found(7),), {}))
    assert step.act == "update"
    assert step.changes == ("ApprovalRules.PatchRules[0].ApproveAfterDays: 7 → 14",)


def test_another_ones_baseline_is_left_alone_though_it_has_our_name_and_our_group() -> None:
    foreign = found(30, ours=None)
    steps = plan([ours("prod")], Seen((foreign,), {(LINUX, "prod"): foreign.baseline}))
    assert [step.act for step in steps] == ["create", "conflict"]
    assert foreign.baseline in steps[1].changes[0] and "not ours" in steps[1].changes[0]


def test_a_group_goes_from_one_of_ours_to_another_in_the_order_that_aws_takes() -> None:
    other = found(id="pb-00000000000000002", ours="other")
    seen = Seen((found(), other), {(LINUX, "prod"): other.baseline})
    steps = acts([ours("prod"), ours(id="other")], seen)
    assert steps == [("deregister", "other", "prod"), ("register", "linux", "prod")]


def test_a_baseline_without_a_file_loses_its_groups_and_stays() -> None:
    assert acts([], Seen((found(),), {(LINUX, "prod"): "pb-00000000000000001"})) == [("deregister", "linux", "prod")]


def test_the_same_group_of_another_system_is_another_group() -> None:
    seen = Seen((found(),), {("UBUNTU", "prod"): "pb-0foreign0000000000"})
    assert acts([ours("prod")], seen) == [("register", "linux", "prod")]


def test_two_with_our_tag_and_a_system_that_changed_are_for_a_person() -> None:
    twice = Seen((found(), found(id="pb-00000000000000002")), {(LINUX, "prod"): "pb-00000000000000001"})
    assert acts([ours()], twice) == [("conflict", "linux", None)]
    moved = Seen((replace(found(), os="UBUNTU"),), {("UBUNTU", "prod"): "pb-00000000000000001"})
    assert acts([ours()], moved) == [("conflict", "linux", None)]


def test_a_default_that_no_file_wants_is_for_a_person() -> None:
    assert acts([ours()], Seen((found(default=True),), {})) == [("conflict", "linux", None)]


def test_a_second_try_has_the_token_of_the_first_and_the_next_apply_another() -> None:
    assert token(HERE, ours(), 1) == token(HERE, ours("prod"), 1) != token(HERE, ours(), 2)
    assert token(HERE, ours(), 1) != token(HERE, ours(days=8), 1)


def known(default: bool = False) -> Known:
    seen = Seen((found(default=default),), {(LINUX, "prod"): "pb-00000000000000001"})
    return Known.of(kept([ours("prod", default=default)], seen))


@pytest.mark.parametrize(
    ("baseline", "group", "platform", "is_ours", "said"),
    [
        ("pb-00000000000000001", "prod", PLATFORM, True, "which is ours"),
        ("pb-00000000000000001", "prod", None, True, "which is ours"),
        ("pb-00000000000000009", "prod", PLATFORM, False, "to have pb-00000000000000001"),
        ("pb-00000000000000009", "prod", None, None, "is not known"),
        ("pb-00000000000000009", "prod", ("Plan 9", "4"), None, "is not known"),
        ("pb-00000000000000001", "dev", PLATFORM, False, "none of our baselines stands for"),
        ("pb-00000000000000001", "prod", ("Ubuntu", "22.04"), False, "none of our baselines stands for UBUNTU"),
        (None, None, PLATFORM, None, "never scanned"),
    ],
)
def test_whose_baseline_a_scan_used(
    baseline: str | None, group: str | None, platform: tuple[str, str] | None, is_ours: bool | None, said: str
) -> None:
    verdict = judge(known(), baseline=baseline, group=group, platform=platform)
    assert verdict.ours is is_ours and said in verdict.because


def test_a_default_stands_for_every_group_that_is_not_registered() -> None:
    assert judge(known(True), baseline="pb-00000000000000001", group="dev", platform=PLATFORM).ours is True


def test_a_place_where_none_was_applied_is_unknown_and_not_fine() -> None:
    assert judge(None, baseline="pb-00000000000000001", group="prod", platform=PLATFORM).ours is None


@pytest.mark.parametrize(
    ("name", "version", "system"),
    [
        ("Amazon Linux", "2", "AMAZON_LINUX_2"),
        ("Amazon Linux", "2023", LINUX),
        ("Amazon Linux AMI", "2018.03", "AMAZON_LINUX"),
        ("Amazon Linux", "2027", None),
        ("Red Hat Enterprise Linux Server", "7.9", "REDHAT_ENTERPRISE_LINUX"),
        ("Microsoft Windows Server 2022 Datacenter", "10.0.20348", "WINDOWS"),
        ("SLES", "15.5", "SUSE"),
        (None, None, None),
    ],
)
def test_platforms_in_patch_managers_words(name: str | None, version: str | None, system: str | None) -> None:
    assert operating_system(name, version) == system
