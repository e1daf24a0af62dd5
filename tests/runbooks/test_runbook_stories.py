"""What our runbooks do to nodes, run by the interpreter in a small world."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.validate import validate_parameters

from chalicelib.adapters.fleets import ADMINISTRATION_ROLE
from chalicelib.adapters.systems_manager import assuming
from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import PATCH_FLEET
from chalicelib.core.plans import PATCH_NODES, PATCH_STOPPED_NODE, Plan, parameters, snapshot_id
from patchwarden.simulator.automation_record import NO_OUTPUT
from patchwarden.simulator.runbook import ParameterError, Runbook
from patchwarden.simulator.runbook_run import Run
from tests.runbooks.small_world import ACCOUNT, REGION, START, Machine, SmallWorld, model

RUNBOOKS = Path(__file__).parent.parent.parent / "runbooks"
BATCH = "5b0c7c1e-6a53-5d0a-9d7e-0d6a5a4c7b11"
WEB, APP, DB = "i-0aaaaaaaaaaaaaaaa", "i-0bbbbbbbbbbbbbbbb", "i-0cccccccccccccccc"
PRINTER = "mi-0dddddddddddddddd"
HARMED = ("Failed", "TimedOut")


def start(world: SmallWorld, document: str, nodes: list[str], plan: Plan | None = None, **more: list[str]) -> Run:
    text = (RUNBOOKS / f"{document}.yaml").read_text()
    role = assuming(document, Location(ACCOUNT, REGION))
    sent = parameters(plan or Plan(), BATCH, nodes, document=document) | role | more
    return Run(
        world,
        Runbook.load(text),
        account=ACCOUNT,
        region=REGION,
        execution_id="0a1b2c3d-0000-4000-8000-000000000000",
        parameters=sent,
        document_name=document,
    )


def patch_nodes(world: SmallWorld, plan: Plan | None = None, **more: list[str]) -> Run:
    return world.drive(start(world, PATCH_NODES, list(world.machines), plan, **more))


def patch_stopped(world: SmallWorld, plan: Plan | None = None, **more: list[str]) -> Run:
    return world.drive(start(world, PATCH_STOPPED_NODE, [WEB], plan, **more))


def statuses(run: Run) -> dict[str, str]:
    return {step.name: step.status for step in run.record.steps if step.status != "Pending"}


def report(run: Run) -> dict[str, dict[str, Any]]:
    step = next(step for step in run.record.steps if step.name.startswith("ReportNode"))
    return {node["NodeId"]: node for node in map(json.loads, step.outputs["Nodes"])}


def is_what_the_api_answers(run: Run) -> bool:
    shape = model("ssm").operation_model("GetAutomationExecution").output_shape
    validate_parameters({"AutomationExecution": run.record.to_api()}, shape)
    return True


# Running nodes.


def test_all_nodes_online_are_installed_then_scanned_and_reported_compliant() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP), Machine(PRINTER))
    run = patch_nodes(world)
    assert run.record.status == "Success"
    assert world.sent("Install") == world.sent("Scan") == [[WEB, APP, PRINTER]]
    assert [node["Compliant"] for node in report(run).values()] == [True, True, True]
    assert run.record.outputs["CheckNodes.ReadyNodeIds"] == [WEB, APP, PRINTER]
    assert is_what_the_api_answers(run)


def test_the_command_ids_can_be_read_from_the_steps() -> None:
    world = SmallWorld(Machine(WEB))
    run = patch_nodes(world)
    install, scan = world.commands
    assert run.record.step("InstallPatches").outputs["CommandId"] == [install]
    assert run.record.step("ScanNodes").outputs["CommandId"] == [scan]
    assert run.record.outputs["InstallPatches.CommandId"] == [install]


def test_both_commands_carry_the_batchs_snapshot_id_and_only_the_installation_may_reboot() -> None:
    world = SmallWorld(Machine(WEB))
    patch_nodes(world)
    install, scan = (command.parameters for command in world.commands.values())
    assert install["SnapshotId"] == scan["SnapshotId"] == [snapshot_id(BATCH)]
    assert install["RebootOption"] == ["RebootIfNeeded"]
    assert scan["RebootOption"] == ["NoReboot"]


def test_the_limits_of_the_plan_hold_for_the_installation_and_never_for_the_scan() -> None:
    world = SmallWorld(Machine(WEB))
    patch_nodes(world, Plan(concurrency="1", max_errors="0", reboot="never"))
    install, scan = (request for name, request in world.calls if name == "SendCommand")
    assert (install["MaxConcurrency"], install["MaxErrors"]) == ("1", "0")
    assert (scan["MaxConcurrency"], scan["MaxErrors"]) == ("100%", "100%")
    assert install["Parameters"]["RebootOption"] == ["NoReboot"]
    assert BATCH in install["Comment"]


@pytest.mark.parametrize("outcome", ["Failed", "ExecutionTimedOut"])
def test_one_failed_installation_fails_the_execution_and_every_node_is_scanned(outcome: str) -> None:
    world = SmallWorld(Machine(WEB), Machine(APP, install=outcome), Machine(DB))
    run = patch_nodes(world)
    assert run.record.status == "Failed"
    assert statuses(run)["InstallPatches"] == "Failed"
    assert world.sent("Scan") == [[WEB, APP, DB]]
    assert report(run)[APP]["Install"] == outcome
    assert [node["Compliant"] for node in report(run).values()] == [True, False, True]
    assert run.record.outputs["InstallPatches.CommandId"] == [NO_OUTPUT]
    assert run.record.failure is not None
    assert run.record.failure == run.record.step("InstallPatches").failure
    assert is_what_the_api_answers(run)


def test_a_failed_step_still_tells_its_command_id() -> None:
    world = SmallWorld(Machine(WEB, install="Failed"))
    run = patch_nodes(world)
    assert run.record.step("InstallPatches").outputs["CommandId"] == [next(iter(world.commands))]


def test_an_offline_and_an_unmanaged_node_are_left_out_and_the_others_are_patched() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP, agent=False))
    run = world.drive(start(world, PATCH_NODES, [WEB, APP, DB]))
    assert run.record.status == "Success"
    assert world.sent("Install") == [[WEB]]
    assert run.record.step("CheckNodes").outputs["NotReadyNodeIds"] == [APP, DB]
    assert report(run)[APP] == {"NodeId": APP, "Install": "NotSent", "Scan": "NotSent", "Compliant": None}


def test_nothing_is_sent_if_no_node_is_online() -> None:
    world = SmallWorld(Machine(WEB, agent=False), Machine(APP, state="stopped"))
    run = patch_nodes(world)
    assert run.record.status == "Failed"
    assert statuses(run) == {"CheckNodes": "Failed"}
    assert world.commands == {}
    assert WEB in str(run.record.failure)
    assert set(map(tuple, run.record.outputs.values())) == {(NO_OUTPUT,)}


@pytest.mark.parametrize("document", ["AWS-RunPatchBaseline", "AWS-RunPatchBaselineWithHooks"])
def test_a_node_on_which_somebody_else_installs_is_left_out_and_the_others_are_patched(document: str) -> None:
    world = SmallWorld(Machine(WEB), Machine(APP))
    world.elsewhere(WEB, document=document)
    run = patch_nodes(world)
    assert run.record.status == "Success"
    assert world.sent("Install") == [[WEB], [APP]]
    assert world.sent("Scan") == [[APP]]
    assert run.record.step("CheckNodes").outputs["NotReadyNodeIds"] == [WEB]
    assert report(run)[WEB]["Install"] == "NotSent"


def test_nothing_is_sent_if_somebody_else_installs_on_every_node() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP))
    world.elsewhere(WEB)
    world.elsewhere(APP)
    run = patch_nodes(world)
    assert statuses(run) == {"CheckNodes": "Failed"}
    assert f"An installation that is not ours is under way on all of them: {WEB}, {APP}" in str(run.record.failure)
    assert len(world.commands) == 2


def test_a_scan_or_another_document_under_way_keeps_no_node_out() -> None:
    world = SmallWorld(Machine(WEB))
    world.elsewhere(WEB, operation="Scan")
    world.elsewhere(WEB, document="Example-Drain")
    assert patch_nodes(world).record.status == "Success"
    assert report(world.run)[WEB]["Compliant"] is True  # type: ignore[arg-type]


def test_where_nobody_installs_one_question_is_enough() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP))
    patch_nodes(world)
    asked = [request for name, request in world.calls if name == "ListCommands" and "Filters" in request]
    assert len(asked) == 2
    assert not any("InstanceId" in request for request in asked)


def test_a_node_named_twice_is_patched_once() -> None:
    world = SmallWorld(Machine(WEB))
    world.drive(start(world, PATCH_NODES, [WEB, WEB]))
    assert world.sent("Install") == [[WEB]]


def test_no_snapshot_is_taken_unless_asked_for() -> None:
    world = SmallWorld(Machine(WEB))
    run = patch_nodes(world)
    assert world.snapshots == []
    assert "SnapshotRootVolumes" not in statuses(run)


def test_root_volumes_of_ec2_nodes_are_snapshotted_before_the_installation_and_hybrid_nodes_skipped() -> None:
    world = SmallWorld(Machine(WEB), Machine(PRINTER))
    run = patch_nodes(world, Plan(snapshot=True))
    assert run.record.status == "Success"
    assert [request["VolumeId"] for request in world.snapshots] == ["vol-0123456789abcdef0"]
    tags = {tag["Key"]: tag["Value"] for tag in world.snapshots[0]["TagSpecifications"][0]["Tags"]}
    assert (tags["patchwarden:node"], tags["patchwarden:batch"]) == (WEB, BATCH)
    names = [name for name, _ in world.calls]
    assert names.index("CreateSnapshot") < names.index("SendCommand")
    assert len(run.record.step("SnapshotRootVolumes").outputs["SnapshotIds"]) == 1


def test_hybrid_nodes_alone_need_no_snapshot() -> None:
    world = SmallWorld(Machine(PRINTER))
    run = patch_nodes(world, Plan(snapshot=True))
    assert run.record.status == "Success"
    assert world.snapshots == []
    assert world.sent("Install") == [[PRINTER]]


def test_nothing_is_snapshotted_or_installed_if_one_root_volume_is_missing() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP, root=None))
    run = patch_nodes(world, Plan(snapshot=True))
    assert run.record.status == "Failed"
    assert APP in str(run.record.failure)
    assert (world.snapshots, world.commands) == ([], {})


def test_nothing_is_installed_if_a_snapshot_is_refused() -> None:
    world = SmallWorld(Machine(WEB))
    world.refuse["CreateSnapshot"] = "UnauthorizedOperation"
    run = patch_nodes(world, Plan(snapshot=True))
    assert run.record.status == "Failed"
    assert world.commands == {}
    assert run.record.to_api()["StepExecutions"][2]["FailureDetails"]["FailureType"] == "Permission"


def test_an_installation_that_never_ends_is_scanned_all_the_same_and_the_execution_times_out() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP, install=None))
    run = patch_nodes(world)
    assert run.record.status == "TimedOut"
    assert statuses(run)["InstallPatches"] == "TimedOut"
    assert world.sent("Scan") == [[WEB, APP]]
    assert run.record.ended_at is not None
    assert run.record.ended_at - START < timedelta(hours=12)
    assert is_what_the_api_answers(run)


def test_a_failed_scan_fails_the_execution_and_is_reported() -> None:
    run = patch_nodes(SmallWorld(Machine(WEB, scan="Failed")))
    assert run.record.status == "Failed"
    assert (report(run)[WEB]["Scan"], report(run)[WEB]["Compliant"]) == ("Failed", None)


@pytest.mark.parametrize("minutes", [1, 8])
def test_a_node_that_is_terminated_meanwhile_does_not_keep_the_others_from_being_scanned(minutes: int) -> None:
    world = SmallWorld(Machine(WEB), Machine(APP), Machine(PRINTER))
    world.terminate(APP, START + timedelta(minutes=minutes))
    run = patch_nodes(world)
    assert run.record.status == "Failed"
    assert world.sent("Scan") == [[WEB, PRINTER]]
    assert [node["Compliant"] for node in report(run).values()] == [True, None, True]


def test_a_node_that_was_just_terminated_is_left_out_although_systems_manager_calls_it_online() -> None:
    world = SmallWorld(Machine(WEB), Machine(APP, state="terminated"))
    run = patch_nodes(world)
    assert run.record.status == "Success"
    assert world.sent("Install") == [[WEB]]


def test_the_execution_fails_without_a_scan_if_no_node_is_left() -> None:
    world = SmallWorld(Machine(WEB))
    world.terminate(WEB, START + timedelta(minutes=1))
    run = patch_nodes(world)
    assert run.record.status == "Failed"
    assert world.sent("Scan") == []
    assert report(run)[WEB]["Scan"] == "NotSent"


def test_an_old_patch_state_counts_for_nothing() -> None:
    machine = Machine(WEB, scan="Failed")
    world = SmallWorld(machine)
    run = world.drive(start(world, PATCH_NODES, [WEB]), until=START + timedelta(minutes=1))
    machine.patch_state = {
        "InstanceId": WEB, "PatchGroup": "default", "BaselineId": "pb-0123456789abcdef0", "Operation": "Scan",
        "SnapshotId": snapshot_id("another batch"), "OperationStartTime": START, "OperationEndTime": START,
    }  # fmt: skip
    machine.install = "Failed"
    world.commands[next(iter(world.commands))].statuses[WEB] = "Failed"
    world.drive(run)
    assert report(run)[WEB]["Compliant"] is None


def test_a_report_that_cannot_be_made_does_not_fail_what_went_well() -> None:
    world = SmallWorld(Machine(WEB))
    world.refuse["GetAutomationExecution"] = "ThrottlingException"
    run = patch_nodes(world)
    assert statuses(run)["ReportNodes"] == "Failed"
    assert run.record.status == "Success"


def test_an_installation_that_cannot_be_sent_fails_and_is_reported_as_not_sent() -> None:
    world = SmallWorld(Machine(WEB))
    world.refuse["SendCommand"] = "InvalidInstanceId"
    run = patch_nodes(world)
    assert run.record.status == "Failed"
    assert report(run)[WEB]["Install"] == "NotSent"


def test_a_cancelled_execution_sends_nothing_more() -> None:
    world = SmallWorld(Machine(WEB))
    run = world.drive(start(world, PATCH_NODES, [WEB]), until=START + timedelta(minutes=5))
    assert run.record.status == "InProgress"
    assert run.record.to_api()["CurrentStepName"] == "InstallPatches"
    run.cancel()
    assert run.record.status == "Cancelled"
    assert statuses(run)["InstallPatches"] == "Cancelled"
    assert world.sent("Scan") == []
    assert is_what_the_api_answers(run)


def test_an_override_list_reaches_the_installation_and_not_the_scan() -> None:
    world = SmallWorld(Machine(WEB))
    patch_nodes(world, InstallOverrideList=["s3://patches.example.com/emergency.yaml"])
    install, scan = (command.parameters for command in world.commands.values())
    assert install["InstallOverrideList"] == ["s3://patches.example.com/emergency.yaml"]
    assert "InstallOverrideList" not in scan


@pytest.mark.parametrize("address", ["http://example.com/list.yaml", "file:///etc/passwd", "s3://bucket", "https://"])
def test_an_override_list_from_elsewhere_is_refused(address: str) -> None:
    with pytest.raises(ParameterError, match="InstallOverrideList"):
        patch_nodes(SmallWorld(Machine(WEB)), InstallOverrideList=[address])


# A stopped node.


def test_a_stopped_node_is_started_patched_scanned_and_stopped_again() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    run = patch_stopped(world)
    assert run.record.status == "Success"
    assert world.machines[WEB].history == ["pending", "running", "stopping", "stopped"]
    assert world.sent("Install") == world.sent("Scan") == [[WEB]]
    assert report(run)[WEB]["Compliant"] is True
    assert "SettleNode" not in statuses(run)
    assert is_what_the_api_answers(run)


def test_a_node_that_somebody_started_is_left_alone() -> None:
    world = SmallWorld(Machine(WEB, state="running"))
    run = patch_stopped(world)
    assert run.record.status == "Failed"
    assert statuses(run) == {"CheckStopped": "Failed"}
    assert (world.machines[WEB].history, world.commands) == ([], {})


def test_the_root_volume_is_snapshotted_while_the_node_is_stopped() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    patch_stopped(world, Plan(snapshot=True))
    names = [name for name, _ in world.calls]
    assert names.index("CreateSnapshot") < names.index("StartInstances")


def test_a_node_whose_snapshot_is_refused_is_not_started() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.refuse["CreateSnapshot"] = "SnapshotLimitExceeded"
    assert patch_stopped(world, Plan(snapshot=True)).record.status == "Failed"
    assert world.machines[WEB].history == []


@pytest.mark.parametrize("machine", [
    Machine(WEB, state="stopped", startable=False),
    Machine(WEB, state="stopped", boots=False),
])  # fmt: skip
def test_a_node_that_does_not_start_fails_and_stays_stopped(machine: Machine) -> None:
    world = SmallWorld(machine)
    run = patch_stopped(world)
    assert run.record.status == "Failed"
    assert statuses(run)["StartNode"] == "Failed"
    assert machine.state == "stopped"
    assert world.commands == {}
    assert report(run)[WEB]["Install"] == "NotSent"


def test_a_node_whose_agent_never_answers_is_stopped_again() -> None:
    world = SmallWorld(Machine(WEB, state="stopped", agent=False))
    run = patch_stopped(world)
    assert run.record.status == "TimedOut"
    assert statuses(run)["WaitForAgent"] == "TimedOut"
    assert world.machines[WEB].state == "stopped"
    assert world.commands == {}


@pytest.mark.parametrize("harm", [{"install": "Failed"}, {"scan": "Failed"}, {"install": None}])
def test_a_node_on_which_patching_goes_wrong_is_scanned_and_stopped_again(harm: dict[str, str | None]) -> None:
    world = SmallWorld(Machine(WEB, state="stopped", **harm))  # type: ignore[arg-type]
    run = patch_stopped(world)
    assert run.record.status in HARMED
    assert world.sent("Scan") == [[WEB]]
    assert world.machines[WEB].state == "stopped"


def test_a_node_that_does_not_stop_fails_the_execution() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.refuse["StopInstances"] = "UnauthorizedOperation"
    run = patch_stopped(world)
    assert run.record.status == "Failed"
    assert statuses(run)["StopNode"] == "Failed"
    assert report(run)[WEB]["Compliant"] is True


HOOKS = {"pre_install": "Example-Drain", "post_install": "Example-Refill"}
OUTPUT = {"bucket": "example-output", "log_group": "/patchwarden/commands"}
UNDER = f"patching/accountid={ACCOUNT}/region={REGION}/date=2026-11-23"


def sent_by(world: SmallWorld) -> list[dict[str, Any]]:
    return [request for name, request in world.calls if name == "SendCommand"]


@pytest.mark.parametrize("runbook", [PATCH_NODES, PATCH_STOPPED_NODE])
@pytest.mark.parametrize("hooks", [{}, HOOKS])
def test_installation_and_scan_write_to_the_bucket_and_the_log_group(runbook: str, hooks: dict[str, str]) -> None:
    world = SmallWorld(Machine(WEB, state="running" if runbook == PATCH_NODES else "stopped"))
    run = world.drive(start(world, runbook, [WEB], Plan(hooks=hooks, output=OUTPUT)))
    assert run.record.status == "Success"
    install, scan = sent_by(world)
    for request in (install, scan):
        assert (request["OutputS3BucketName"], request["OutputS3KeyPrefix"]) == ("example-output", UNDER)
        assert request["CloudWatchOutputConfig"]["CloudWatchLogGroupName"] == "/patchwarden/commands"
    assert install["DocumentName"].endswith("WithHooks") == bool(hooks)
    assert (report(run)[WEB]["Install"], report(run)[WEB]["Scan"]) == ("Success", "Success")


def test_without_a_bucket_nothing_is_written_to_one() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    patch_stopped(world)
    assert not any("OutputS3BucketName" in request for request in sent_by(world))


def test_hooks_run_on_a_node_that_was_started_for_it() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    run = patch_stopped(world, Plan(hooks=HOOKS))
    install = sent_by(world)[0]
    assert install["DocumentName"] == "AWS-RunPatchBaselineWithHooks"
    assert install["Parameters"]["PreInstallHookDocName"] == ["Example-Drain"]
    assert install["Parameters"]["PostInstallHookDocName"] == ["Example-Refill"]
    assert install["Parameters"]["OnExitHookDocName"] == ["AWS-Noop"]
    assert report(run)[WEB]["Compliant"] is True


def test_a_pre_install_hook_that_fails_keeps_a_started_node_as_it_is_and_it_is_scanned_and_stopped() -> None:
    world = SmallWorld(Machine(WEB, state="stopped", drain="the balancer refused to drain"))
    run = patch_stopped(world, Plan(hooks=HOOKS))
    assert run.record.status == "Failed"
    assert world.sent("Scan") == [[WEB]]
    assert (report(run)[WEB]["Install"], report(run)[WEB]["Compliant"]) == ("Failed", False)
    assert report(run)[WEB]["MissingCount"] == 3
    assert world.machines[WEB].state == "stopped"


def test_an_override_list_reaches_a_node_that_was_started_for_it() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    patch_stopped(world, InstallOverrideList=["s3://patches.example.com/emergency.yaml"])
    assert sent_by(world)[0]["Parameters"]["InstallOverrideList"] == ["s3://patches.example.com/emergency.yaml"]


def test_nothing_is_installed_on_a_started_node_before_the_installation_of_somebody_else_has_ended() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.elsewhere(WEB)
    theirs = next(iter(world.commands.values()))
    run = patch_stopped(world)
    assert run.record.status == "Success"
    waited, install = run.record.step("WaitForOthers"), run.record.step("InstallPatches")
    assert install.started_at is not None and install.started_at >= theirs.ends
    assert waited.status == "Success"
    assert world.sent("Install") == [[WEB], [WEB]]
    assert world.machines[WEB].state == "stopped"


def test_a_started_node_is_not_stopped_under_the_installation_of_somebody_else() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.later.append((START + timedelta(minutes=5), lambda: world.elsewhere(WEB, lasts=timedelta(hours=2))))
    run = patch_stopped(world)
    theirs = next(command for command in world.commands.values() if command.comment == "a schedule's")
    assert run.record.status == "Success"
    stopping = run.record.step("StopNode").started_at
    assert stopping is not None and stopping >= theirs.ends
    assert world.machines[WEB].state == "stopped"


def test_an_installation_of_somebody_else_that_hangs_ends_in_nothing_installed_and_the_node_stopped() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.elsewhere(WEB, lasts=timedelta(days=1))
    run = patch_stopped(world)
    assert run.record.status == "TimedOut"
    assert len(sent_by(world)) == 0
    assert report(run)[WEB]["Install"] == "NotSent"
    assert world.machines[WEB].state == "stopped"


@pytest.mark.parametrize("busy", [{"operation": "Scan"}, {"document": "Example-Drain"}])
def test_a_scan_or_another_document_does_not_hold_a_started_node_up(busy: dict[str, Any]) -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.elsewhere(WEB, **busy)
    assert "WaitForOthers" not in statuses(patch_stopped(world))


def test_a_started_node_is_stopped_with_nothing_installed_if_nobody_can_say_who_else_installs() -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    world.refuse["ListCommands"] = "AccessDeniedException"
    run = patch_stopped(world)
    assert run.record.status == "Failed"
    assert sent_by(world) == []
    assert world.machines[WEB].state == "stopped"


@pytest.mark.parametrize("seconds", range(0, 1020, 10))
def test_whenever_it_is_cancelled_the_node_ends_up_stopped(seconds: int) -> None:
    world = SmallWorld(Machine(WEB, state="stopped"))
    run = world.drive(start(world, PATCH_STOPPED_NODE, [WEB]), until=START + timedelta(seconds=seconds))
    asked = world.moment
    run.cancel()
    world.drive(run)
    assert run.record.status in {"Cancelled", "Success"}
    assert run.record.ended_at is not None
    assert run.record.ended_at - asked <= timedelta(minutes=2)
    world.machines[WEB].settle(world.moment + timedelta(hours=1))
    assert world.machines[WEB].state == "stopped"
    assert is_what_the_api_answers(run)


# One node of a fleet, for a schedule.

RUN = "7d0c7c1e-6a53-5d0a-9d7e-0d6a5a4c7b11"


def patch_fleet(world: SmallWorld, operation: str = "Install", **more: str) -> Run:
    """What the hub's start makes of each node that a target finds."""
    given = {"InstanceId": WEB, "Operation": operation, "Platform": "all", "OccurrenceId": RUN,
             "SnapshotId": snapshot_id(RUN), "RebootOption": "RebootIfNeeded",
             "AutomationAssumeRole": f"arn:aws:iam::{ACCOUNT}:role/{ADMINISTRATION_ROLE}", **more}  # fmt: skip
    runbook = Runbook.load((RUNBOOKS / f"{PATCH_FLEET}.yaml").read_text())
    asked = {name: [value] for name, value in given.items()}
    return world.drive(Run(world, runbook, account=ACCOUNT, region=REGION, parameters=asked, document_name=PATCH_FLEET,
                           execution_id="0a1b2c3d-0000-4000-8000-000000000000"))  # fmt: skip


def test_a_node_of_a_fleet_is_installed_rebooted_and_scanned() -> None:
    world = SmallWorld(Machine(WEB))
    run = patch_fleet(world)
    assert run.record.status == "Success"
    assert (world.sent("Install"), world.sent("Scan")) == ([[WEB]], [[WEB]])
    assert world.machines[WEB].reboots == 1
    state = world.machines[WEB].patch_state
    assert state is not None
    assert (state["MissingCount"], state["InstalledPendingRebootCount"]) == (0, 0)
    assert (state["SnapshotId"], state["Operation"]) == (snapshot_id(RUN), "Scan")
    assert run.record.outputs["TellFailure.Text"] == [NO_OUTPUT]
    assert is_what_the_api_answers(run)


def test_a_node_of_a_fleet_that_may_not_reboot_keeps_its_patches_pending() -> None:
    world = SmallWorld(Machine(WEB))
    run = patch_fleet(world, RebootOption="NoReboot")
    state = world.machines[WEB].patch_state
    assert run.record.status == "Success"
    assert world.machines[WEB].reboots == 0
    assert state is not None and state["InstalledPendingRebootCount"] == 3


def test_what_a_failing_hook_said_is_the_nodes_output_and_nothing_is_installed() -> None:
    world = SmallWorld(Machine(WEB, drain="the balancer refused to drain"))
    run = patch_fleet(world, WithHooks="true", PreInstallHook="Example-Drain")
    assert run.record.status == "Failed"
    assert run.record.outputs["TellFailure.Text"] == ["PreInstall Failed, exit code 1: the balancer refused to drain"]
    assert world.machines[WEB].missing == 3
    assert world.sent("Scan") == [[WEB]]


@pytest.mark.parametrize(("harm", "said"), [
    ({"install": "Failed"}, "the install ended Failed"),
    ({"install": None}, NO_OUTPUT),  # the step ran out of time and tells no command
])  # fmt: skip
def test_an_installation_that_fails_without_a_word_is_scanned_and_told_by_its_status(
    harm: dict[str, str | None], said: str
) -> None:
    world = SmallWorld(Machine(WEB, **harm))  # type: ignore[arg-type]
    run = patch_fleet(world)
    assert run.record.status in HARMED
    assert run.record.outputs["TellFailure.Text"] == [said]
    assert world.sent("Scan") == [[WEB]]


def test_a_node_of_a_fleet_is_scanned_although_nobody_can_say_why_it_failed() -> None:
    world = SmallWorld(Machine(WEB, install="Failed"))
    world.refuse["GetAutomationExecution"] = "ThrottlingException"
    run = patch_fleet(world)
    assert run.record.outputs["TellFailure.Text"] == [NO_OUTPUT]
    assert world.sent("Scan") == [[WEB]]


@pytest.mark.parametrize(("machine", "why"), [
    (Machine(WEB, agent=False), "the node does not answer: ConnectionLost"),
    (Machine(WEB, platform="Windows"), "the node runs Windows, and this run is for linux"),
])  # fmt: skip
def test_a_node_that_is_none_for_the_run_is_skipped_and_says_why(machine: Machine, why: str) -> None:
    world = SmallWorld(machine)
    run = patch_fleet(world, Platform="linux")
    assert run.record.status == "Success"
    assert (run.record.outputs["DecideNode.Verdict"], run.record.outputs["DecideNode.Why"]) == (["Skip"], [why])
    assert world.commands == {}


def test_a_node_of_a_fleet_on_which_somebody_else_installs_is_skipped() -> None:
    world = SmallWorld(Machine(WEB))
    world.elsewhere(WEB)
    run = patch_fleet(world)
    assert run.record.outputs["DecideNode.Verdict"] == ["Skip"]
    assert "an installation is under way on it" in run.record.outputs["DecideNode.Why"][0]
    assert sent_by(world) == []


def test_hooks_on_an_agent_that_is_too_old_fail_before_anything_is_sent() -> None:
    world = SmallWorld(Machine(WEB, version="2.3.1550.0"))
    run = patch_fleet(world, WithHooks="true", PreInstallHook="Example-Drain")
    assert run.record.status == "Failed"
    assert "Hooks need SSM Agent 3.0.502 or newer" in str(run.record.failure)
    assert world.commands == {}


@pytest.mark.parametrize("operation", ["Scan", "Install"])
def test_all_that_a_fleets_node_does_is_written_to_the_bucket(operation: str) -> None:
    world = SmallWorld(Machine(WEB))
    run = patch_fleet(world, operation, WriteToBucket="true", OutputBucket="example-output")
    assert run.record.status == "Success"
    assert [request["OutputS3KeyPrefix"] for request in sent_by(world)] == [UNDER] * (
        2 if operation == "Install" else 1
    )
