"""The inventory: one contract over the memory twin and over EC2 and Systems Manager, then what only they can do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

import pytest

from chalicelib.adapters.inventory import AwsInventory
from chalicelib.adapters.memory_aws import MemoryInventory
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location
from chalicelib.ports import Inventory
from patchwarden.simulator.machines import Machine, Report
from patchwarden.simulator.patches import Patch as Released
from tests.adapters.simulated import World

UNKNOWN = "i-00000000000000bad"


def node_state(machine: Machine) -> NodeState:
    """What the port must say of a machine."""
    return NodeState(
        id=machine.node.id,
        kind=machine.node.kind,
        state="running" if machine.hybrid else machine.state,
        ping="Online" if machine.online else "ConnectionLost",
        platform=machine.platform.type,
        platform_name=machine.platform.name,
        platform_version=machine.platform.version,
        agent_version="3.3.1957.0",
        tags=machine.tags,
        group=None if machine.hybrid else machine.tags.get("aws:autoscaling:groupName"),
        zone=machine.zone,
    )


def cves(patch: Released, state: str) -> str:
    """Only what is missing or failed names its CVEs."""
    return ",".join(patch.cves) if state in ("MISSING", "FAILED") else ""


def patch_state(machine: Machine, report: Report, *, whole: bool = False) -> PatchState:
    lacking = [(entry.patch, entry.state) for entry in report.noncompliant]
    worst: dict[str, Any] = {"critical": 0, "security": 0, "other": 0}
    for patch, _ in lacking:
        security = "Security" in patch.classification
        worst["critical" if patch.severity == "Critical" else "security" if security else "other"] += 1
    return PatchState(
        id=machine.node.id,
        baseline=report.baseline,
        operation=report.operation,
        ended_at=report.ended_at.astimezone(UTC),
        snapshot=report.snapshot,
        group=report.group,
        missing=report.count("MISSING"),
        failed=report.count("FAILED"),
        pending_reboot=report.count("INSTALLED_PENDING_REBOOT"),
        **worst,
        patches=tuple(
            Patch(patch.id, patch.title, patch.classification, patch.severity, state, cves(patch, state))
            for patch, state in lacking
        )
        if whole
        else None,
    )


def over_aws(world: World) -> Inventory:
    return AwsInventory(world.accounts())


def in_memory(world: World) -> Inventory:
    twin = MemoryInventory()
    for machine in world.sim.fleet.machines.values():
        twin.node(machine.node, node_state(machine))
        if machine.report:
            twin.scan(machine.node, patch_state(machine, machine.report, whole=True))
    return twin


TWINS: dict[str, Callable[[World], Inventory]] = {"memory": in_memory, "aws": over_aws}


@pytest.fixture(scope="module")
def world() -> World:
    """Nobody changes it: a fleet whose nodes lack this month's patches, but for one that only waits for its reboot."""
    made = World(options={"nodes": 120}).noncompliant()
    waiting, now = made.the("reboot-later"), made.sim.clock.now()
    waiting.patch(now)
    waiting.scan(now, now)
    return made


@pytest.fixture(scope="module", params=[*TWINS.values()], ids=[*TWINS])
def inventory(request: pytest.FixtureRequest, world: World) -> Inventory:
    made: Inventory = request.param(world)
    return made


def machines(world: World, location: Location) -> list[Machine]:
    return world.sim.fleet.at(location)


def counted(inventory: Inventory, place: Location) -> list[Finding]:
    """The findings of every page."""
    found: list[Finding] = []
    page = inventory.compliance(place)
    while page.next:
        found += page.findings
        page = inventory.compliance(place, page.next)
    return [*found, *page.findings]


class TestContract:
    @pytest.mark.parametrize(
        "part", ["new", "stopped", "asleep", "dead-agent", "hybrid", "untagged", "cluster", "legacy"]
    )
    def test_a_node_is_described_as_it_is(self, world: World, inventory: Inventory, part: str) -> None:
        machine = world.the(part)
        found = inventory.nodes(machine.node.location, [machine.node.id])
        assert found == {machine.node.id: node_state(machine)}

    def test_all_nodes_of_a_place_are_described_at_once(self, world: World, inventory: Inventory) -> None:
        for location in world.sim.fleet.locations:
            here = machines(world, location)
            found = inventory.nodes(location, [machine.node.id for machine in here])
            assert found == {machine.node.id: node_state(machine) for machine in here}

    def test_an_instance_that_ec2_does_not_know_is_terminated(self, world: World, inventory: Inventory) -> None:
        known = machines(world, world.home)[0].node.id
        found = inventory.nodes(world.home, [UNKNOWN, known, UNKNOWN])
        assert found.keys() == {UNKNOWN, known}
        assert found[UNKNOWN].gone and not found[known].gone

    def test_a_hybrid_node_that_nobody_knows_is_left_out(self, world: World, inventory: Inventory) -> None:
        assert inventory.nodes(world.home, ["mi-" + "0" * 17]) == {}
        assert inventory.nodes(world.home, []) == {}

    def test_a_node_of_another_place_is_not_there(self, world: World, inventory: Inventory) -> None:
        elsewhere = machines(world, world.member)[0].node.id
        assert inventory.nodes(world.home, [elsewhere])[elsewhere].gone
        assert inventory.patch_states(world.home, [elsewhere]) == {}

    def test_the_running_members_of_a_group_are_counted(self, world: World, inventory: Inventory) -> None:
        for machine in world.sim.fleet.machines.values():
            here = [one for one in machines(world, machine.node.location) if one.state == "running" and not one.hybrid]
            asked = {"by": "availability-zone", "tag": None, "value": str(machine.zone)}
            zoned = sum(one.zone == machine.zone for one in here) if machine.zone else 0
            assert inventory.members(machine.node.location, **asked) == zoned  # type: ignore[arg-type]
            for name, value in machine.tags.items():
                count = sum(one.tags.get(name) == value for one in here)
                assert inventory.members(machine.node.location, by="tag", tag=name, value=value) == count
            break
        assert inventory.members(machine.node.location, by="auto-scaling-group", tag=None, value="*") == 0

    def test_patch_states_count_and_list_nothing(self, world: World, inventory: Inventory) -> None:
        for location in world.sim.fleet.locations:
            here = machines(world, location)
            found = inventory.patch_states(location, [machine.node.id for machine in here])
            assert found == {one.node.id: patch_state(one, one.report) for one in here if one.report}
        assert inventory.patch_states(world.home, []) == {}

    def test_patches_are_those_that_are_not_installed(self, world: World, inventory: Inventory) -> None:
        seen = set()
        for machine in [world.the("reboot-later"), world.the("failing"), *machines(world, world.home)]:
            if machine.report:
                state = inventory.patches(machine.node, patch_state(machine, machine.report))
                assert state == patch_state(machine, machine.report, whole=True)
                seen |= {patch.state for patch in state.patches or ()}
        assert seen == {"MISSING", "INSTALLED_PENDING_REBOOT"}

    def test_a_list_that_does_not_bear_out_the_counts_is_no_list(self, world: World, inventory: Inventory) -> None:
        machine = world.the("failing")
        assert machine.report is not None
        counted = patch_state(machine, machine.report)
        more = PatchState(**{name: getattr(counted, name) for name in PatchState.__slots__} | {"missing": 999})
        assert inventory.patches(machine.node, more).patches is None

    def test_compliance_tells_of_every_scanned_node(self, world: World, inventory: Inventory) -> None:
        found = [one for one in counted(inventory, world.member) if one.control is Control.PATCH]
        expected = {one.node: one.report for one in machines(world, world.member) if one.report}
        assert {one.node for one in found} == set(expected)
        for finding in found:
            report = expected[finding.node]
            assert finding.compliant is report.compliant
            assert finding.observed_at == report.ended_at
            assert finding.source is Source.SWEEP


def hooked(world: World, event: str, change: Callable[[dict[str, Any]], None]) -> AwsInventory:
    """An inventory whose answers are changed on the way."""
    return AwsInventory(world.hooked(event, change))


class TestOverAws:
    def test_fifty_nodes_are_asked_for_at_a_time(self, world: World) -> None:
        world.calls.clear()
        ids = [f"i-{number:017x}" for number in range(101)]
        over_aws(world).nodes(world.home, [*ids, *ids])
        over_aws(world).patch_states(world.home, [*ids, *ids])
        assert world.calls.count("DescribeInstanceInformation") == 3
        assert world.calls.count("DescribeInstances") == 3
        assert world.calls.count("DescribeInstancePatchStates") == 3

    def test_ec2_is_not_asked_for_hybrid_nodes(self, world: World) -> None:
        world.calls.clear()
        node = world.the("hybrid").node
        over_aws(world).nodes(node.location, [node.id])
        assert world.calls.count("DescribeInstances") == 0

    def test_a_node_that_ec2_has_forgotten_is_terminated(self, world: World) -> None:
        machine = world.the("legacy")
        forgetful = hooked(world, "after-call.ec2.DescribeInstances", lambda parsed: parsed.update(Reservations=[]))
        state = forgetful.nodes(machine.node.location, [machine.node.id])[machine.node.id]
        assert state.gone
        assert state.tags is None
        assert state.platform == "Windows"

    def test_an_instance_without_an_agent_is_described_by_ec2_alone(self, world: World) -> None:
        machine = world.the("legacy")
        alone = hooked(
            world,
            "after-call.ssm.DescribeInstanceInformation",
            lambda parsed: parsed.update(InstanceInformationList=[]),
        )
        state = alone.nodes(machine.node.location, [machine.node.id])[machine.node.id]
        assert (state.state, state.ping, state.online) == ("running", None, False)
        assert state.tags == machine.tags

    def test_tags_that_may_not_be_read_are_not_known_rather_than_none(self, world: World) -> None:
        node = world.the("hybrid").node
        world.refuse("ListTagsForResource", "AccessDeniedException")
        assert over_aws(world).nodes(node.location, [node.id])[node.id].tags is None

    def test_tags_that_cannot_be_read_now_are_asked_for_again_later(self, world: World) -> None:
        node = world.the("hybrid").node
        world.refuse("ListTagsForResource", "ThrottlingException")
        with pytest.raises(Temporary):
            over_aws(world).nodes(node.location, [node.id])

    def test_a_denied_account_is_said_so(self, world: World) -> None:
        world.sim.aws.deny(world.member.account)
        try:
            with pytest.raises(Denied, match=world.member.account):
                over_aws(world).patch_states(world.member, [UNKNOWN])
            with pytest.raises(Denied, match=world.member.region):
                counted(over_aws(world), world.member)
        finally:
            world.sim.aws.allow(world.member.account)

    @pytest.mark.parametrize("spelling", [str.upper, str.title, lambda state: state.title().replace("_", "")])
    def test_every_spelling_of_a_patch_state_is_read(self, world: World, spelling: Callable[[str], str]) -> None:
        machine = world.the("failing")
        assert machine.report is not None

        def respell(parsed: dict[str, Any]) -> None:
            for patch in parsed["Patches"]:
                patch["State"] = spelling(patch["State"])

        inventory = hooked(world, "after-call.ssm.DescribeInstancePatches", respell)
        state = inventory.patches(machine.node, patch_state(machine, machine.report))
        assert state == patch_state(machine, machine.report, whole=True)

    def test_compliance_reads_every_page(self, world: World) -> None:
        world.calls.clear()
        many = World(options={"nodes": 60, "regions": ("eu-west-1",), "accounts": ("111122223333",)})
        found = counted(over_aws(many), many.home)
        assert many.calls.count("ListResourceComplianceSummaries") > 1
        assert len({one.node for one in found}) == sum(one.report is not None for one in machines(many, many.home))

    @pytest.mark.parametrize(
        "change",
        [
            {"ComplianceType": "Custom:ours"},
            {"ResourceId": "not-a-node"},
            {"Status": "SOMETHING_NEW"},
            {"ExecutionSummary": {}},
        ],
    )
    def test_a_summary_that_says_nothing_to_us_is_skipped(self, world: World, change: dict[str, Any]) -> None:
        def spoil(parsed: dict[str, Any]) -> None:
            parsed["ResourceComplianceSummaryItems"][0].update(change)

        whole = counted(over_aws(world), world.member)
        spoilt = counted(hooked(world, "after-call.ssm.ListResourceComplianceSummaries", spoil), world.member)
        assert len(spoilt) == len(whole) - 1

    def test_association_compliance_is_a_finding_of_its_own(self, world: World) -> None:
        found = counted(over_aws(world), world.member)
        assert {one.control for one in found} == {Control.PATCH, Control.ASSOCIATION}
        worst = {one.detail["severity"] for one in found if not one.compliant}
        assert worst <= {"critical", "high", "medium", "low", "informational", "unspecified"}
        assert worst


def test_a_node_that_terminates_is_gone_in_both_twins() -> None:
    world = World()
    machine = world.the("doomed")
    world.sim.life.terminate("doomed")
    world.run(minutes=2)
    found = over_aws(world).nodes(machine.node.location, [machine.node.id])
    assert found[machine.node.id].gone
    assert in_memory(world).nodes(machine.node.location, [machine.node.id])[machine.node.id].gone
    world.run(hours=2)
    assert over_aws(world).nodes(machine.node.location, [machine.node.id])[machine.node.id].gone
    twin = MemoryInventory()
    twin.node(machine.node, node_state(machine))
    twin.node(machine.node, None)
    assert twin.nodes(machine.node.location, [machine.node.id])[machine.node.id].gone


def test_named_patches_are_told_in_whatever_state(world: World) -> None:
    machine = world.noncompliant().the("new")
    inventory = AwsInventory(world.accounts())
    assert machine.report is not None
    wanted = [entry.patch.id for entry in machine.report.entries][:3]
    many = [f"not-there-{number}.x86_64" for number in range(45)]
    found = inventory.named(machine.node, [*many, *wanted])
    assert {patch.id for patch in found} == set(wanted)
    told = {(one.patch.title, one.state, cves(one.patch, one.state)) for one in machine.report.entries}
    assert {(patch.title, patch.state, patch.cves) for patch in found} <= told
    assert any(patch.cves for patch in found)
    assert world.calls.count("DescribeInstancePatches") == 3, "twenty ids fit into one filter"


def test_associations_are_read_from_their_compliance_items_and_in_doubt_they_are_unknown(world: World) -> None:
    machine = world.noncompliant().the("new")
    found = over_aws(world).associations(machine.node)
    assert machine.report is not None
    assert found == AssociationState(0, machine.report.ended_at)

    def broken(parsed: dict[str, Any]) -> None:
        parsed["ComplianceItems"] *= 2
        parsed["ComplianceItems"][1] = {**parsed["ComplianceItems"][0], "Status": "NON_COMPLIANT"}

    def never_ran(parsed: dict[str, Any]) -> None:
        parsed["ComplianceItems"][0].pop("ExecutionSummary")

    asked = "after-call.ssm.ListComplianceItems"
    worse = hooked(world, asked, broken).associations(machine.node)
    assert worse and worse.noncompliant == 1
    assert hooked(world, asked, never_ran).associations(machine.node) is None
    assert hooked(world, asked, lambda parsed: parsed.update(ComplianceItems=[])).associations(machine.node) is None
