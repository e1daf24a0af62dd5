"""What one start of a schedule asks for: its target, its places, and how many of them there may be."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core.errors import PolicyError
from chalicelib.core.occurrences import Order, order
from chalicelib.core.schedules import Operation
from tests.sets import scheduled

RUN = "5b0c7c1e-6a53-5d0a-9d7e-0d6a5a4c7b11"
SHARE = {"concurrency": "10%", "max_errors": "10%"}


def ordered(**given: Any) -> Order:
    policies = scheduled(given)
    return order(policies.schedules[0], RUN, policies.settings)


@pytest.mark.parametrize(("target", "asked"), [
    ({"kind": "all", "name": None, "values": []}, ("InstanceIds", ("*",))),
    ({"kind": "tag", "name": "PatchSchedule", "values": ["weekly", "late"]}, ("tag:PatchSchedule", ("weekly", "late"))),
    ({"kind": "resource_group", "name": "web", "values": []}, ("ResourceGroup", ("web",))),
])  # fmt: skip
def test_the_target_is_all_a_tag_or_a_resource_group(
    target: dict[str, Any], asked: tuple[str, tuple[str, ...]]
) -> None:
    assert ordered(target=target).target == asked


def test_accounts_and_units_stand_mixed_in_a_place_and_exclusions_go_with_units_only() -> None:
    where = {"accounts": ["111122223333", "444455556666"], "units": ["ou-ab12-prod00001"],
             "exclude": ["444455556666", "ou-ab12-prod00009"], "regions": ["eu-west-1", "us-east-1"]}  # fmt: skip
    (place,) = ordered(where=where).places
    assert (place.accounts, place.units) == (("111122223333",), ("ou-ab12-prod00001",))
    assert place.exclude == ("444455556666", "ou-ab12-prod00009")
    assert place.regions == ("eu-west-1", "us-east-1")


def test_a_start_names_a_hundred_places_and_no_more() -> None:
    most = {"accounts": [f"{number:012d}" for number in range(5000)], "regions": ["eu-west-1"]}
    assert len(ordered(where=most, locations=SHARE).places) == 100
    with pytest.raises(PolicyError, match="names more accounts than the 5000 of one start: name units"):
        ordered(where={**most, "accounts": [*most["accounts"], "999999999999"]}, locations=SHARE)


@pytest.mark.parametrize("platform", ["linux", "windows", "all"])
def test_the_operation_and_the_platform_are_said(platform: str) -> None:
    given = ordered(platform=platform, operation="Install", reboot="never").parameters
    assert (given["Operation"], given["Platform"], given["RebootOption"]) == (["Install"], [platform], ["NoReboot"])
    policies = scheduled({"operation": "Install", "reboot": "if-needed", "hooks": {"pre_install": "Example-Drain"}})
    scan = order(policies.schedules[0], RUN, policies.settings, operation=Operation.SCAN).parameters
    assert (scan["Operation"], scan["RebootOption"]) == (["Scan"], ["NoReboot"])
    assert "PreInstallHook" not in scan
