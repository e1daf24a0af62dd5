"""The fleet has its cast, is the same for the same seed, and is patched by AWS's rules."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.nodes import NODE_ID
from patchwarden.simulator.fleet import ACCOUNTS, CAST, REGIONS, START, build_fleet, months_before, patch_tuesday
from patchwarden.simulator.machines import FAILED, INSTALLED, MISSING, PENDING, Machine
from patchwarden.simulator.patches import PLATFORMS, Patch, chosen, released
from tests.simulator.world import World

LATER = START + timedelta(minutes=5)
SECURITY = Patch("kernel.x86_64", "kernel.x86_64:0:6.1.1", "Security", "Critical")
BUGFIX = Patch("tzdata.noarch", "tzdata.noarch:0:2026b", "Bugfix", "None")


def machine(**changes: object) -> Machine:
    one = build_fleet(nodes=1).machines.popitem()[1]
    one.platform = PLATFORMS["amazon-linux"]
    one.outstanding = {SECURITY.id: SECURITY, BUGFIX.id: BUGFIX}
    one.installed = {}
    for name, value in changes.items():
        setattr(one, name, value)
    return one


# --- the fleet ------------------------------------------------------------------------------------------------------


def test_sixty_nodes_are_three_accounts_two_regions_and_every_platform() -> None:
    fleet = build_fleet(nodes=60)
    machines = fleet.machines.values()
    assert {one.node.account for one in machines} == set(ACCOUNTS)
    assert {one.node.region for one in machines} == set(REGIONS)
    assert {one.platform.key for one in machines} == set(PLATFORMS)
    assert {one.tags.get("Environment") for one in machines} == {"prod", "staging", "dev", None}
    assert Counter(str(one.node.location) for one in machines) == dict.fromkeys(map(str, fleet.locations), 10)
    assert all(NODE_ID.match(one.node.id) for one in machines)


@pytest.mark.parametrize("seed", range(5))
def test_every_part_is_played_whatever_the_seed(seed: int) -> None:
    fleet = build_fleet(seed, nodes=60)
    assert {part: len(machines) for part, machines in fleet.cast.items()} == {k: len(v) for k, v in CAST.items()}


def test_the_parts_look_as_the_story_needs_them() -> None:
    cast = build_fleet().cast
    assert {one.tags["Cluster"] for one in cast["cluster"]} == {"db-a"}
    assert len({one.node.location for one in cast["cluster"]}) == 1
    assert all(one.node.id.startswith("mi-") and one.zone is None for one in cast["hybrid"])
    assert [one.state for one in cast["asleep"]] == ["stopped"]
    assert all(one.report and not one.report.compliant for one in cast["asleep"])
    assert all(one.tags["App"] == "legacy-erp" for one in cast["legacy"])
    assert [*cast["untagged"][0].tags] == ["Name"]
    assert all(one.report is None for one in cast["new"])


def test_the_same_seed_gives_the_same_fleet_and_another_seed_another() -> None:
    def told(seed: int) -> list[object]:
        return [(one.node, one.tags, one.pace, one.report) for one in build_fleet(seed).machines.values()]

    assert told(7) == told(7)
    assert told(7) != told(8)


def test_a_machine_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = build_fleet(nodes=30), build_fleet(nodes=300)
    assert [*few.machines] == [*many.machines][:30]


def test_a_large_fleet_has_its_share_of_odd_ones_and_no_id_twice() -> None:
    fleet = build_fleet(nodes=6000)
    assert len(fleet.machines) == 6000
    assert len(fleet.cast["failing"]) == 100


# --- patches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 11, 9, tzinfo=UTC), (2026, 10)),
        (datetime(2026, 11, 10, tzinfo=UTC), (2026, 11)),
        (datetime(2026, 12, 8, tzinfo=UTC), (2026, 12)),
        (datetime(2026, 12, 7, tzinfo=UTC), (2026, 11)),
        (datetime(2027, 1, 1, tzinfo=UTC), (2026, 12)),
    ],
)
def test_a_release_is_out_from_the_second_tuesday_on(moment: datetime, month: tuple[int, int]) -> None:
    assert patch_tuesday(moment) == month


def test_the_months_before_cross_the_year() -> None:
    assert list(months_before(2027, 1, 2)) == [(2026, 11), (2026, 12)]


@given(st.sampled_from(sorted(PLATFORMS)), st.integers(1, 12), st.randoms(use_true_random=False))
def test_what_a_node_lacks_is_released_and_some_of_it_wanted(key: str, month: int, draw: object) -> None:
    platform = PLATFORMS[key]
    lacking = chosen(platform, 2026, month, draw=draw)  # type: ignore[arg-type]
    assert 2 <= len(lacking) == len({patch.id for patch in lacking})
    assert set(lacking) <= set(released(platform, 2026, month))
    assert any(patch.classification in platform.approved for patch in lacking)


# --- what Patch Manager does ----------------------------------------------------------------------------------------


def test_a_scan_counts_what_the_baseline_wants_and_only_that() -> None:
    report = machine().scan(START, LATER, "snapshot")
    assert [(entry.patch, entry.state) for entry in report.entries] == [(SECURITY, MISSING)]
    assert not report.compliant
    assert (report.operation, report.snapshot, report.started_at, report.ended_at) == ("Scan", "snapshot", START, LATER)


def test_an_installation_reports_nothing_as_missing_even_where_something_is() -> None:
    one = machine()
    one.patch(LATER, override=frozenset({BUGFIX.id}))
    one.reboot()
    report = one.uploaded_install(START, LATER, [], None, "RebootIfNeeded", "s3://lists/one.yaml")
    assert report.count(MISSING) == 0
    assert report.compliant
    assert not one.scan(LATER, LATER).compliant


def test_without_a_reboot_what_was_installed_is_pending_until_reboot_and_scan() -> None:
    one = machine()
    assert one.patch(LATER) == []
    assert one.uploaded_install(START, LATER, [], None, "NoReboot").count(PENDING) == 1
    assert one.scan(LATER, LATER).count(PENDING) == 1
    one.reboot()
    assert one.report is not None
    assert not one.report.compliant, "the reboot alone reports nothing"
    assert one.scan(LATER, LATER).compliant
    assert one.report.last_no_reboot == LATER


def test_a_patch_that_cannot_be_installed_fails_and_is_missing_in_the_next_scan() -> None:
    one = machine(unfixable=frozenset({SECURITY.id}))
    failed = one.patch(LATER)
    assert failed == [SECURITY]
    assert one.uploaded_install(START, LATER, failed, None, "RebootIfNeeded").count(FAILED) == 1
    assert one.scan(LATER, LATER).count(MISSING) == 1


def test_a_reboot_that_is_held_back_leaves_the_patches_pending() -> None:
    one = machine(reboots=False)
    one.patch(LATER)
    one.reboot()
    assert one.scan(LATER, LATER).count(PENDING) == 1
    one.reboots = True
    one.reboot()
    assert one.scan(LATER, LATER).count(INSTALLED) == 1


# --- its days -------------------------------------------------------------------------------------------------------


def test_everybody_who_answers_turns_noncompliant(noncompliant: World) -> None:
    reports = [one.report for one in noncompliant.sim.fleet.machines.values()]
    assert all(report and not report.compliant for report in reports)


def test_the_stopped_stop_and_the_dead_agent_falls_silent_only_after_their_scan(noncompliant: World) -> None:
    cast = noncompliant.sim.fleet.cast
    assert [one.state for one in cast["stopped"]] == ["stopped"] * 3
    assert not noncompliant.the("dead-agent").online
    told = {event["detail"]["resource-id"] for event in noncompliant.heard("Configuration Compliance State Change")}
    assert {one.node.id for one in cast["stopped"]} - told == {noncompliant.the("asleep").node.id}
    assert noncompliant.the("dead-agent").node.id in told


def test_a_share_of_the_fleet_turns_noncompliant_and_the_others_do_not(world: World) -> None:
    struck = world.sim.life.turn_noncompliant(share=0.5)
    world.run(hours=1)
    assert 15 < struck < 45
    named = {event["detail"]["resource-id"] for event in world.heard("Configuration Compliance State Change")}
    awake = [one for one in world.sim.fleet.machines.values() if one.outstanding and one.state != "stopped"]
    assert {one.node.id for one in awake} <= named
