"""The simulator's events are spelled as AWS spells them, come as late, and are read by the service's own reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.core.events import EVENT_PATTERNS, ExecutionUpdate, Ignored, NodeUpdate, parse
from chalicelib.core.findings import Control, Finding, Source
from patchwarden.simulator.events import (
    PATCH_RULE,
    Event,
    automation_status,
    automation_step_status,
    foreign,
    foreign_kinds,
    java_time,
    ssm_association_compliance,
)
from patchwarden.simulator.machines import Machine
from tests.simulator.world import World

RULES = "Config Rules Compliance Change"
COMPLIANCE = "Configuration Compliance State Change"
STATES = "EC2 Instance State-change Notification"
MOMENT = datetime(2026, 11, 29, 19, 43, 20, tzinfo=UTC)

EXECUTION = {
    "AutomationExecutionId": "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13",
    "DocumentName": "Patchwarden-PatchNodes",
    "DocumentVersion": "3",
    "AutomationExecutionStatus": "Cancelled",
    "ExecutionStartTime": MOMENT,
    "ExecutionEndTime": MOMENT + timedelta(seconds=5, milliseconds=753),
    "ExecutedBy": "arn:aws:sts::111122223333:assumed-role/patchwarden/it",
}


def about(events: list[Event], node: str) -> list[Event]:
    return [event for event in events if node in json.dumps(event)]


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_a_config_event_names_the_node_by_a_prefixed_id_and_nowhere_else(noncompliant: World) -> None:
    for event in noncompliant.heard(RULES):
        detail = event["detail"]
        assert event["resources"] == []
        assert detail["resourceId"].startswith("AWS::SSM::ManagedInstanceInventory/")
        assert detail["resourceType"] == "AWS::SSM::PatchCompliance"
        qualifier = detail["newEvaluationResult"]["evaluationResultIdentifier"]["evaluationResultQualifier"]
        assert qualifier["resourceId"] == detail["resourceId"]


def test_the_first_evaluation_has_no_old_result_and_every_other_has_one(noncompliant: World) -> None:
    new = {f"AWS::SSM::ManagedInstanceInventory/{one.node.id}" for one in noncompliant.sim.fleet.cast["new"]}
    for event in noncompliant.heard(RULES):
        assert ("oldEvaluationResult" not in event["detail"]) is (event["detail"]["resourceId"] in new)
        old = event["detail"].get("oldEvaluationResult", {"complianceType": "COMPLIANT"})
        assert old["complianceType"] == "COMPLIANT"


def test_each_account_has_the_rule_under_the_name_that_its_owner_gave_it(noncompliant: World) -> None:
    names = {(event["account"], event["detail"]["configRuleName"]) for event in noncompliant.heard(RULES)}
    own, pack, hub = noncompliant.sim.aws.accounts
    assert names == {
        (own, PATCH_RULE),
        (pack, PATCH_RULE),
        (pack, f"{PATCH_RULE}-conformance-pack-b7k2m9qxe"),
        (hub, f"securityhub-{PATCH_RULE}-4e1d09ab"),
    }


def test_config_speaks_13_to_40_seconds_after_what_it_speaks_of(noncompliant: World) -> None:
    lags = [
        seconds_between(
            event["detail"]["newEvaluationResult"]["evaluationResultIdentifier"]["orderingTimestamp"],
            event["detail"]["notificationCreationTime"],
        )
        for event in noncompliant.heard(RULES)
    ]
    assert 13 <= min(lags) < max(lags) <= 40


def test_systems_manager_speaks_in_small_letters_and_of_the_state_after_only(noncompliant: World) -> None:
    node = noncompliant.the("failing").node
    (event,) = about(noncompliant.heard(COMPLIANCE), node.id)
    assert event["source"] == "aws.ssm"
    assert event["resources"] == [f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"]
    assert event["detail"] == {
        "resource-type": "managed-instance",
        "resource-id": node.id,
        "compliance-status": "non_compliant",
        "compliance-type": "Patch",
        "patch-baseline-id": noncompliant.the("failing").baseline,
        "severity": "critical",
    }


def test_the_service_reads_every_one_of_them_as_what_it_is(noncompliant: World) -> None:
    read = [parse(event) for event in noncompliant.events]
    findings = [found for found in read if isinstance(found, Finding)]
    assert {found.source for found in findings} == {Source.CONFIG, Source.SSM}
    assert {found.control for found in findings} == {Control.PATCH}
    assert not any(found.compliant for found in findings)
    assert {found.node for found in findings} < set(noncompliant.sim.fleet.machines)
    states = [found for found in read if isinstance(found, NodeUpdate)]
    assert sorted({found.state for found in states}) == ["stopped", "stopping"]
    assert [found for found in read if isinstance(found, Ignored)] == []


def test_nothing_is_said_of_a_scan_that_finds_nothing_new(noncompliant: World) -> None:
    noncompliant.events.clear()
    noncompliant.sim.life.daily_scan()
    noncompliant.run(hours=2)
    assert noncompliant.events == []


def test_config_does_not_evaluate_again_what_has_not_changed(noncompliant: World) -> None:
    compliance = noncompliant.sim.aws.compliance
    before = [one for place in noncompliant.sim.fleet.locations for one in compliance.results(place)]
    noncompliant.sim.life.daily_scan()
    noncompliant.run(hours=2)
    assert [one for place in noncompliant.sim.fleet.locations for one in compliance.results(place)] == before


def test_an_evaluation_that_a_newer_one_overtook_neither_stands_nor_speaks(noncompliant: World) -> None:
    """Three seconds lie between two reports, and up to 27 between how long Config takes for them."""
    noncompliant.events.clear()
    machines = [one for one in noncompliant.sim.fleet.machines.values() if one.online]
    for machine in machines:
        machine.patch(noncompliant.sim.clock.now())
        _upload(noncompliant, machine)
    noncompliant.run(seconds=3)
    for machine in machines:
        machine.pending.clear()
        machine.outstanding.clear()
        _upload(noncompliant, machine)
    noncompliant.run(minutes=5)
    ids = {one.node for one in machines}
    results = [
        one for place in noncompliant.sim.fleet.locations for one in noncompliant.sim.aws.compliance.results(place)
    ]
    assert {one.compliance for one in results if one.node in ids} == {"COMPLIANT"}
    said = [event["detail"]["newEvaluationResult"]["complianceType"] for event in noncompliant.heard(RULES)]
    assert set(said) == {"COMPLIANT"}


def _upload(world: World, machine: Machine) -> None:
    now = world.sim.clock.now()
    machine.scan(now - timedelta(seconds=machine.pace.scan), now)
    world.sim.aws.compliance.uploaded(machine)


def test_an_execution_event_has_a_float_version_one_l_in_canceled_and_times_without_a_zone(world: World) -> None:
    event = automation_status("id", world.home, EXECUTION, MOMENT)
    assert event["detail-type"] == "EC2 Automation Execution Status-change Notification"
    assert event["resources"] == [
        "arn:aws:ssm:eu-west-1:111122223333:automation-execution/5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13",
        "arn:aws:ssm:eu-west-1:111122223333:automation-definition/Patchwarden-PatchNodes:3",
    ]
    assert event["detail"] == {
        "ExecutionId": "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13",
        "Definition": "Patchwarden-PatchNodes",
        "DefinitionVersion": 3.0,
        "Status": "Canceled",
        "StartTime": "Nov 29, 2026 7:43:20 PM",
        "EndTime": "Nov 29, 2026 7:43:25 PM",
        "Time": 5753.0,
        "ExecutedBy": "arn:aws:sts::111122223333:assumed-role/patchwarden/it",
    }
    assert isinstance(event["detail"]["DefinitionVersion"], float)
    read = parse(event)
    assert isinstance(read, ExecutionUpdate)
    assert read.ended


def test_a_step_event_names_step_and_action(world: World) -> None:
    step = {"StepName": "InstallPatches", "Action": "aws:runCommand", "StepStatus": "TimedOut"}
    detail = automation_step_status("id", world.home, EXECUTION, step, MOMENT)["detail"]
    assert (detail["StepName"], detail["Action"], detail["Status"]) == ("InstallPatches", "aws:runCommand", "TimedOut")
    assert "StartTime" not in detail, "a step that never began has no times"


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 29, 0, 5, 9, tzinfo=UTC), "Nov 29, 2026 12:05:09 AM"),
        (datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC), "Jan 2, 2026 12:00:00 PM"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "Dec 31, 2026 11:59:59 PM"),
    ],
)
def test_times_are_spelled_as_java_spells_them(moment: datetime, text: str) -> None:
    assert java_time(moment) == text


def test_an_association_event_tells_of_its_last_run(world: World) -> None:
    event = ssm_association_compliance("id", world.the("failing").node, False, MOMENT, MOMENT)
    read = parse(event)
    assert isinstance(read, Finding)
    assert read.control is Control.ASSOCIATION
    assert event["detail"]["last-runtime"] == "2026-11-29T19:43:20Z"


def test_events_of_others_are_none_of_ours(world: World) -> None:
    kinds = list(foreign_kinds())
    for number, kind in enumerate(kinds):
        event = foreign("id", world.home, MOMENT, number)
        assert event["detail-type"] == kind
        assert isinstance(parse(event), Ignored), kind


def test_ec2_tells_each_state_on_the_way_to_the_end(world: World) -> None:
    machine = world.the("doomed")
    world.sim.life.terminate("doomed")
    world.sim.life.terminate("doomed")
    world.run(minutes=5)
    assert [event["detail"] for event in world.heard(STATES)] == [
        {"instance-id": machine.node.id, "state": "shutting-down"},
        {"instance-id": machine.node.id, "state": "terminated"},
    ]


def test_the_handlers_are_offered_what_they_ask_for(noncompliant: World) -> None:
    kinds = {event["detail-type"] for event in noncompliant.events}
    assert {kind for pattern in EVENT_PATTERNS.values() for kind in pattern["detail-type"]} & kinds == kinds
