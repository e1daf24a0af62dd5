"""StartAutomationExecution keeps Systems Manager's limits, tokens and tags, and what it starts runs to its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.events import ExecutionUpdate, parse
from patchwarden.simulator.automations import Execution
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.refusals import NotServed
from tests.simulator.world import SLEEPER, TOKEN, World, code, execution_of, make_world, patch, token, with_sleeper


@pytest.fixture
def sleepers(tmp_path: Path) -> World:
    return with_sleeper(tmp_path)


def start(world: World, **changes: Any) -> str:
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}, **changes}
    return str(world.client("ssm").start_automation_execution(**asked)["AutomationExecutionId"])


def status(world: World, execution: str) -> str:
    return str(told(world, execution)["AutomationExecutionStatus"])


def told(world: World, execution: str) -> dict[str, Any]:
    answer = world.client("ssm").get_automation_execution(AutomationExecutionId=execution)
    return dict(answer["AutomationExecution"])


# --- one execution --------------------------------------------------------------------------------------------------


def test_an_execution_is_pending_then_in_progress_then_over_and_says_so_once(sleepers: World) -> None:
    execution = start(sleepers)
    assert status(sleepers, execution) == "Pending"
    sleepers.run(minutes=5)
    assert status(sleepers, execution) == "InProgress"
    assert told(sleepers, execution)["CurrentStepName"] == "Wait"
    sleepers.run(minutes=10)
    assert [step["StepStatus"] for step in told(sleepers, execution)["StepExecutions"]] == ["Success", "Success"]
    (event,) = sleepers.heard("EC2 Automation Execution Status-change Notification")
    assert (event["detail"]["ExecutionId"], event["detail"]["Status"]) == (execution, "Success")
    steps = [event["detail"]["StepName"] for event in sleepers.heard("EC2 Automation Step Status-change Notification")]
    assert steps == ["Wait", "WaitAgain"]


def test_it_is_executed_by_whoever_asked_and_keeps_its_parameters(sleepers: World) -> None:
    found = told(sleepers, start(sleepers, Parameters={"BatchId": ["b"], "Minutes": ["3"]}))
    assert found["ExecutedBy"] == "arn:aws:iam::111122223333:role/patchwarden"
    assert found["Parameters"] == {"BatchId": ["b"], "Minutes": ["3"]}
    assert (found["DocumentName"], found["DocumentVersion"]) == ("Sleeper", "1")


def test_a_version_is_pinned_and_latest_is_the_last_one(sleepers: World) -> None:
    sleepers.sim.aws.automations.publish("Sleeper", SLEEPER)
    versions = []
    for version in ("1", "2", "$LATEST", "$DEFAULT"):
        versions.append(told(sleepers, start(sleepers, DocumentVersion=version))["DocumentVersion"])
        sleepers.run(seconds=1)
    assert versions == ["1", "2", "2", "2"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"DocumentName": "Nobody-Wrote-This"}, "AutomationDefinitionNotFoundException"),
        ({"DocumentVersion": "9"}, "AutomationDefinitionVersionNotFoundException"),
        ({"Parameters": {"BatchId": ["b"], "Colour": ["red"]}}, "InvalidAutomationExecutionParametersException"),
        ({"Parameters": {"Minutes": ["3"]}}, "InvalidAutomationExecutionParametersException"),
        ({"Parameters": {"BatchId": ["b"], "Minutes": ["many"]}}, "InvalidAutomationExecutionParametersException"),
        ({"Parameters": {"BatchId": ["b" * 513]}}, "ValidationException"),
        ({"Parameters": {"BatchId": ["b"] * 51}}, "ValidationException"),
        ({"MaxConcurrency": "10"}, "InvalidAutomationExecutionParametersException"),
        ({"Tags": [{"Key": f"k{n}", "Value": "v"} for n in range(6)]}, "InvalidAutomationExecutionParametersException"),
        ({"ClientToken": "z" * 36}, "ValidationException"),
    ],
)
def test_what_systems_manager_refuses_is_refused_under_its_code(
    sleepers: World, changes: dict[str, Any], why: str
) -> None:
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}, **changes}
    assert code(sleepers.client("ssm").start_automation_execution, **asked) == why


def test_what_is_not_served_says_so(sleepers: World) -> None:
    with pytest.raises(NotServed, match="TargetMaps"):
        sleepers.client("ssm").start_automation_execution(DocumentName="Sleeper", TargetMaps=[{"BatchId": ["b"]}])


def test_a_cancelled_execution_says_canceled_and_is_not_cancelled_twice(sleepers: World) -> None:
    execution = start(sleepers)
    sleepers.run(minutes=1)
    stop = sleepers.client("ssm").stop_automation_execution
    stop(AutomationExecutionId=execution, Type="Cancel")
    sleepers.run(minutes=5)
    assert status(sleepers, execution) == "Cancelled"
    (event,) = sleepers.heard("EC2 Automation Execution Status-change Notification")
    assert event["detail"]["Status"] == "Canceled"
    assert code(stop, AutomationExecutionId=execution) == "InvalidAutomationStatusUpdateException"
    sleepers.run(seconds=1)
    assert code(stop, AutomationExecutionId=TOKEN) == "AutomationExecutionNotFoundException"
    sleepers.run(minutes=30)
    assert len(sleepers.heard("EC2 Automation Execution Status-change Notification")) == 1


def test_an_execution_is_forgotten_after_thirty_days(sleepers: World) -> None:
    execution = start(sleepers)
    sleepers.run(days=30)
    assert status(sleepers, execution) == "Success"
    sleepers.run(hours=1)
    asked = {"AutomationExecutionId": execution}
    assert code(sleepers.client("ssm").get_automation_execution, **asked) == "AutomationExecutionNotFoundException"


# --- limits ---------------------------------------------------------------------------------------------------------


def test_one_start_a_second_for_each_account_and_region(sleepers: World) -> None:
    ssm = sleepers.client("ssm")
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}}
    start(sleepers)
    assert code(ssm.start_automation_execution, **asked) == "ThrottlingException"
    sleepers.client("ssm", sleepers.sim.fleet.locations[1]).start_automation_execution(**asked)
    sleepers.sim.clock.sleep(0.5)
    assert code(ssm.start_automation_execution, **asked) == "ThrottlingException"
    sleepers.sim.clock.sleep(0.5)
    ssm.start_automation_execution(**asked)


def test_waiting_longer_saves_nothing_up(sleepers: World) -> None:
    start(sleepers)
    sleepers.run(hours=1)
    start(sleepers)
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}}
    assert code(sleepers.client("ssm").start_automation_execution, **asked) == "ThrottlingException"


def test_reading_is_throttled_only_where_it_is_switched_on(tmp_path: Path) -> None:
    slow = with_sleeper(tmp_path, limits=Limits(reads=3.0))
    execution = start(slow)
    for _ in range(3):
        status(slow, execution)
    asked = {"AutomationExecutionId": execution}
    assert code(slow.client("ssm").get_automation_execution, **asked) == "ThrottlingException"
    slow.sim.clock.sleep(1)
    status(slow, execution)


def test_a_hundred_automations_at_once_and_no_more_until_one_has_ended(sleepers: World) -> None:
    for _ in range(100):
        start(sleepers, Parameters={"BatchId": ["b"], "Minutes": ["60"]})
        sleepers.run(seconds=1)
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}}
    ssm = sleepers.client("ssm")
    assert code(ssm.start_automation_execution, **asked) == "AutomationExecutionLimitExceededException"
    sleepers.run(hours=2)
    ssm.start_automation_execution(**asked)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_the_same_token_starts_once_whatever_its_case(sleepers: World) -> None:
    first = start(sleepers, ClientToken=TOKEN)
    sleepers.run(minutes=30)
    assert start(sleepers, ClientToken=TOKEN.upper()) == first
    sleepers.run(seconds=1)
    assert start(sleepers, ClientToken=token(2)) != first


def test_the_same_token_with_another_request_is_refused(sleepers: World) -> None:
    start(sleepers, ClientToken=TOKEN)
    sleepers.run(seconds=1)
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["another"]}, "ClientToken": TOKEN}
    assert code(sleepers.client("ssm").start_automation_execution, **asked) == "IdempotentParameterMismatch"


def test_a_token_is_of_its_account_and_region(sleepers: World) -> None:
    first = start(sleepers, ClientToken=TOKEN)
    elsewhere = sleepers.client("ssm", sleepers.sim.fleet.locations[1])
    asked = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}, "ClientToken": TOKEN}
    assert elsewhere.start_automation_execution(**asked)["AutomationExecutionId"] != first


def test_a_forgotten_token_starts_again(tmp_path: Path) -> None:
    world = with_sleeper(tmp_path, limits=Limits(token_memory=timedelta(minutes=1)))
    first = start(world, ClientToken=TOKEN)
    world.run(minutes=1)
    assert start(world, ClientToken=TOKEN) == first
    world.run(seconds=1)
    assert start(world, ClientToken=TOKEN) != first


def test_without_a_token_every_call_starts(sleepers: World) -> None:
    first = start(sleepers)
    sleepers.run(seconds=1)
    assert start(sleepers) != first


# --- finding them again ---------------------------------------------------------------------------------------------


def described(world: World, *filters: tuple[str, str], **asked: Any) -> list[str]:
    given = {"Filters": [{"Key": key, "Values": [value]} for key, value in filters]} if filters else {}
    answer = world.client("ssm").describe_automation_executions(**given, **asked)
    return [one["AutomationExecutionId"] for one in answer["AutomationExecutionMetadataList"]]


def test_executions_are_found_by_tag_status_document_and_start_newest_first(sleepers: World) -> None:
    tagged = start(sleepers, Tags=[{"Key": "patchwarden:batch", "Value": "b-1"}])
    sleepers.run(minutes=30)
    plain = start(sleepers)
    sleepers.run(minutes=1)
    assert described(sleepers) == [plain, tagged]
    assert described(sleepers, ("TagKey", "patchwarden:batch")) == [tagged]
    assert described(sleepers, ("TagKey", "b-1")) == []
    assert described(sleepers, ("ExecutionStatus", "InProgress")) == [plain]
    assert described(sleepers, ("DocumentNamePrefix", "Slee"), ("ExecutionId", tagged)) == [tagged]
    between = (sleepers.sim.clock.now() - timedelta(minutes=10)).isoformat()
    assert described(sleepers, ("StartTimeBefore", between)) == [tagged]
    assert described(sleepers, ("StartTimeAfter", between)) == [plain]
    assert described(sleepers, ("CurrentAction", "aws:sleep")) == [plain]
    asked = {"Filters": [{"Key": "StartTimeAfter", "Values": ["yesterday"]}]}
    assert code(sleepers.client("ssm").describe_automation_executions, **asked) == "InvalidFilterValue"
    with pytest.raises(NotServed):
        described(sleepers, ("OpsItemId", "oi-0123456789ab"))


def test_the_tags_of_an_execution_can_be_read(sleepers: World) -> None:
    tags = [{"Key": "patchwarden:batch", "Value": "b-1"}]
    execution = start(sleepers, Tags=tags)
    ssm = sleepers.client("ssm")
    assert ssm.list_tags_for_resource(ResourceType="Automation", ResourceId=execution)["TagList"] == tags
    assert code(ssm.list_tags_for_resource, ResourceType="Automation", ResourceId=TOKEN) == "InvalidResourceId"


def test_executions_come_in_pages(sleepers: World) -> None:
    started = []
    for _ in range(5):
        started.append(start(sleepers))
        sleepers.run(seconds=1)
    pages = (
        sleepers.client("ssm")
        .get_paginator("describe_automation_executions")
        .paginate(PaginationConfig={"PageSize": 2})
    )
    found = [one["AutomationExecutionId"] for page in pages for one in page["AutomationExecutionMetadataList"]]
    assert found == started[::-1]


def test_the_steps_of_an_execution_come_by_themselves_too(sleepers: World) -> None:
    execution = start(sleepers)
    sleepers.run(minutes=30)
    ssm = sleepers.client("ssm")
    asked = {"AutomationExecutionId": execution, "ReverseOrder": True}
    steps = ssm.describe_automation_step_executions(**asked)["StepExecutions"]
    assert [step["StepName"] for step in steps] == ["WaitAgain", "Wait"]


# --- our runbooks over the wire -------------------------------------------------------------------------------------


def outcomes(world: World, machine: Machine, found: dict[str, Any], step: str) -> dict[str, str]:
    """StatusDetails per node of the run command that a step sent."""
    (command,) = next(one for one in found["StepExecutions"] if one["StepName"] == step)["Outputs"]["CommandId"]
    pages = world.at(machine).get_paginator("list_command_invocations").paginate(CommandId=command)
    return {one["InstanceId"]: one["StatusDetails"] for page in pages for one in page["CommandInvocations"]}


def test_a_batch_of_nodes_is_patched_scanned_and_compliant_under_its_snapshot(noncompliant: World) -> None:
    machines = [one for one in noncompliant.sim.fleet.at(noncompliant.home) if one.online]
    execution = patch(noncompliant, machines, SnapshotRootVolume="true")
    noncompliant.events.clear()
    noncompliant.run(hours=2)
    found = execution_of(noncompliant, machines[0], execution)
    assert found["AutomationExecutionStatus"] == "Success"
    assert set(outcomes(noncompliant, machines[0], found, "InstallPatches").values()) == {"Success"}
    ids = [one.node.id for one in machines]
    for state in noncompliant.client("ssm").describe_instance_patch_states(InstanceIds=ids)["InstancePatchStates"]:
        assert (state["Operation"], state["SnapshotId"], state["MissingCount"]) == ("Scan", TOKEN, 0)
        assert state["OperationEndTime"] <= found["ExecutionEndTime"]
    instances = [one for one in machines if not one.hybrid]
    assert len(noncompliant.client("ec2").describe_snapshots()["Snapshots"]) == len(instances)
    compliant = {
        event["detail"]["resource-id"] for event in noncompliant.heard("Configuration Compliance State Change")
    }
    assert compliant == set(ids)
    (ended,) = [read for event in noncompliant.events if isinstance(read := parse(event), ExecutionUpdate)]
    assert (ended.execution, ended.status) == (execution, "Success")


def test_nodes_of_one_execution_succeed_and_fail_one_by_one(noncompliant: World) -> None:
    failing = noncompliant.the("failing")
    machines = [one for one in noncompliant.sim.fleet.at(failing.node.location) if one.online]
    execution = patch(noncompliant, machines)
    noncompliant.run(hours=3)
    found = execution_of(noncompliant, failing, execution)
    assert found["AutomationExecutionStatus"] == "Failed"
    installed = outcomes(noncompliant, failing, found, "InstallPatches")
    assert [node for node, word in installed.items() if word != "Success"] == [failing.node.id]
    assert set(outcomes(noncompliant, failing, found, "ScanNodes").values()) == {"Success"}
    assert [one for one in machines if one.report and not one.report.compliant] == [failing]


def test_a_machine_that_holds_its_reboot_back_is_pending_until_it_is_rebooted_and_scanned(noncompliant: World) -> None:
    machine = noncompliant.the("reboot-later")
    execution = patch(noncompliant, [machine])
    noncompliant.run(hours=3)
    assert execution_of(noncompliant, machine, execution)["AutomationExecutionStatus"] == "Success"
    asked = {"InstanceIds": [machine.node.id]}
    (state,) = noncompliant.at(machine).describe_instance_patch_states(**asked)["InstancePatchStates"]
    assert (state["MissingCount"], state["InstalledPendingRebootCount"] > 0) == (0, True)
    noncompliant.sim.life.reboot("reboot-later")
    noncompliant.run(hours=1)
    (state,) = noncompliant.at(machine).describe_instance_patch_states(**asked)["InstancePatchStates"]
    assert (state["InstalledPendingRebootCount"], "SnapshotId" in state) == (0, False)


def test_a_silent_agent_leaves_the_execution_before_it_acts(noncompliant: World) -> None:
    silent = noncompliant.the("dead-agent")
    machines = [one for one in noncompliant.sim.fleet.at(silent.node.location) if one.online]
    execution = patch(noncompliant, [silent, *machines])
    noncompliant.run(hours=3)
    found = execution_of(noncompliant, silent, execution)
    assert silent.node.id not in outcomes(noncompliant, silent, found, "InstallPatches")


def test_a_node_that_is_terminated_under_way_runs_out_of_time_and_the_others_do_not_wait_for_compliance(
    noncompliant: World,
) -> None:
    doomed = noncompliant.the("doomed")
    machines = [one for one in noncompliant.sim.fleet.at(doomed.node.location) if one.online]
    execution = patch(noncompliant, machines, MaxConcurrency="100%")
    noncompliant.run(seconds=60)
    noncompliant.sim.life.terminate("doomed")
    noncompliant.run(minutes=90)
    assert [one for one in machines if one.report and not one.report.compliant] == [doomed]
    noncompliant.run(hours=3)
    found = execution_of(noncompliant, doomed, execution)
    assert outcomes(noncompliant, doomed, found, "InstallPatches")[doomed.node.id] == "Execution Timed Out"


def test_an_execution_that_waits_long_for_its_command_does_not_multiply(noncompliant: World) -> None:
    doomed = noncompliant.the("doomed")
    patch(noncompliant, [one for one in noncompliant.sim.fleet.at(doomed.node.location) if one.online])
    noncompliant.run(seconds=60)
    noncompliant.sim.life.terminate("doomed")
    noncompliant.run(hours=5)
    (execution,) = noncompliant.sim.aws.automations.known(doomed.node.location)
    assert isinstance(execution, Execution)
    assert execution.over
    assert execution.turn < 40, "two hours are 24 looks at the command; each look asks for one more, and no more"


def test_a_stopped_node_is_started_patched_scanned_and_stopped_again(noncompliant: World) -> None:
    machine = noncompliant.the("asleep")
    given = {
        "NodeId": machine.node.id,
        "BatchId": token(1),
        "SnapshotId": TOKEN,
        "RebootOption": "RebootIfNeeded",
        "SnapshotRootVolume": "true",
        "AutomationAssumeRole": f"arn:aws:iam::{machine.node.account}:role/patchwarden-automation",
    }
    answer = noncompliant.at(machine).start_automation_execution(
        DocumentName="Patchwarden-PatchStoppedNode", Parameters={key: [value] for key, value in given.items()}
    )
    noncompliant.events.clear()
    noncompliant.run(hours=3)
    found = execution_of(noncompliant, machine, answer["AutomationExecutionId"])
    assert found["AutomationExecutionStatus"] == "Success", found.get("FailureMessage")
    assert machine.state == "stopped"
    assert machine.report is not None
    assert (machine.report.operation, machine.report.snapshot, machine.report.compliant) == ("Scan", TOKEN, True)
    states = [event["detail"]["state"] for event in noncompliant.heard("EC2 Instance State-change Notification")]
    assert states == ["pending", "running", "stopping", "stopped"]


def test_the_same_run_twice_is_the_same_to_the_last_event() -> None:
    def run() -> tuple[list[Any], dict[str, Any]]:
        world = make_world(seed=9)
        world.sim.life.turn_noncompliant()
        world.run(hours=1)
        machines = [one for one in world.sim.fleet.at(world.home) if one.online]
        execution = patch(world, machines)
        world.run(hours=3)
        return world.events, execution_of(world, machines[0], execution)

    assert run() == run()
