"""Run Command keeps to its concurrency, its errors and its timeouts, node by node."""

from __future__ import annotations

from typing import Any

import pytest

from patchwarden.simulator.machines import Machine
from patchwarden.simulator.refusals import NotServed
from tests.simulator.world import World, code

SNAPSHOT = "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13"


def send(world: World, machines: list[Machine], operation: str = "Scan", **changes: Any) -> str:
    parameters = {"Operation": [operation], **changes.pop("Parameters", {})}
    asked = {"InstanceIds": [one.node.id for one in machines], "Parameters": parameters, **changes}
    answer = world.at(machines[0]).send_command(DocumentName="AWS-RunPatchBaseline", **asked)
    return str(answer["Command"]["CommandId"])


def command(world: World, machine: Machine, id: str) -> dict[str, Any]:
    (told,) = world.at(machine).list_commands(CommandId=id)["Commands"]
    return dict(told)


def details(world: World, machine: Machine, id: str) -> dict[str, str]:
    told = world.at(machine).list_command_invocations(CommandId=id, Details=True)["CommandInvocations"]
    return {one["InstanceId"]: one["StatusDetails"] for one in told}


def online(world: World) -> list[Machine]:
    return [one for one in world.sim.fleet.at(world.home) if one.online]


def test_a_scan_is_sent_runs_and_reports_under_its_snapshot(noncompliant: World) -> None:
    machine = noncompliant.the("failing")
    id = send(noncompliant, [machine], Parameters={"SnapshotId": [SNAPSHOT]})
    assert command(noncompliant, machine, id)["Status"] == "Pending"
    noncompliant.run(seconds=2)
    assert command(noncompliant, machine, id)["Status"] == "InProgress"
    noncompliant.run(minutes=5)
    told = command(noncompliant, machine, id)
    assert (told["Status"], told["CompletedCount"], told["ErrorCount"]) == ("Success", 1, 0)
    assert machine.report is not None
    assert machine.report.snapshot == SNAPSHOT
    found = noncompliant.at(machine).get_command_invocation(CommandId=id, InstanceId=machine.node.id)
    assert (found["ResponseCode"], found["StatusDetails"]) == (0, "Success")
    assert "MISSING" in found["StandardOutputContent"]


def test_the_command_and_each_node_tell_of_their_status(noncompliant: World) -> None:
    machine = noncompliant.the("hybrid")
    noncompliant.events.clear()
    send(noncompliant, [machine])
    noncompliant.run(minutes=5)
    commands = noncompliant.heard("EC2 Command Status-change Notification")
    assert [event["detail"]["status"] for event in commands] == ["InProgress", "Success"]
    nodes = noncompliant.heard("EC2 Command Invocation Status-change Notification")
    assert [event["detail"]["status"] for event in nodes] == ["InProgress", "Success"]
    arn = f"arn:aws:ssm:{machine.node.region}:{machine.node.account}:managed-instance/{machine.node.id}"
    assert [event["resources"] for event in nodes] == [[arn]] * 2


def test_no_more_nodes_at_once_than_the_concurrency_allows(noncompliant: World) -> None:
    machines = online(noncompliant)
    id = send(noncompliant, machines, MaxConcurrency="30%", MaxErrors="100%")
    most = 0
    for _ in range(100):
        noncompliant.run(seconds=5)
        most = max(most, list(details(noncompliant, machines[0], id).values()).count("In Progress"))
    assert most == 3
    assert command(noncompliant, machines[0], id)["Status"] == "Success"


@pytest.mark.parametrize(
    ("errors", "failed", "terminated", "word"),
    [("0", 1, 4, "Failed"), ("1", 2, 3, "Failed"), ("5", 5, 0, "Incomplete"), ("50%", 3, 2, "Failed")],
)
def test_one_error_more_than_allowed_ends_the_rest(
    noncompliant: World, errors: str, failed: int, terminated: int, word: str
) -> None:
    machines = online(noncompliant)[:5]
    for machine in machines:
        machine.unfixable = frozenset(machine.outstanding)
    id = send(noncompliant, machines, "Install", MaxConcurrency="1", MaxErrors=errors)
    noncompliant.run(hours=2)
    found = list(details(noncompliant, machines[0], id).values())
    assert (found.count("Failed"), found.count("Terminated")) == (failed, terminated)
    told = command(noncompliant, machines[0], id)
    assert (told["Status"], told["StatusDetails"]) == ("Failed", word)


def test_an_agent_that_never_answers_is_not_delivered_to_and_counts_as_no_error(noncompliant: World) -> None:
    silent = noncompliant.the("dead-agent")
    others = [one for one in noncompliant.sim.fleet.at(silent.node.location) if one.online]
    id = send(noncompliant, [silent, *others], TimeoutSeconds=600, MaxErrors="0", MaxConcurrency="50")
    noncompliant.run(seconds=599)
    assert details(noncompliant, silent, id)[silent.node.id] == "Pending"
    noncompliant.run(minutes=2)
    found = details(noncompliant, silent, id)
    assert found[silent.node.id] == "Delivery Timed Out"
    assert {found[one.node.id] for one in others} == {"Success"}
    told = command(noncompliant, silent, id)
    assert (told["StatusDetails"], told["DeliveryTimedOutCount"], told["ErrorCount"]) == ("Incomplete", 1, 0)


def test_an_agent_that_comes_back_in_time_gets_the_command(noncompliant: World) -> None:
    machine = noncompliant.the("failing")
    noncompliant.sim.aws.power.reboot(machine)
    id = send(noncompliant, [machine])
    noncompliant.run(minutes=10)
    assert details(noncompliant, machine, id) == {machine.node.id: "Success"}


def test_a_node_that_is_terminated_under_way_runs_out_of_time(noncompliant: World) -> None:
    machine = noncompliant.the("doomed")
    id = send(noncompliant, [machine], "Install")
    noncompliant.run(seconds=10)
    noncompliant.sim.life.terminate("doomed")
    noncompliant.run(hours=2, minutes=1)
    told = command(noncompliant, machine, id)
    assert (told["Status"], told["StatusDetails"]) == ("TimedOut", "Execution Timed Out")


def test_a_node_that_does_not_run_or_is_unknown_refuses_the_whole_command(noncompliant: World) -> None:
    stopped = noncompliant.the("stopped")
    ssm = noncompliant.at(stopped)
    asked: dict[str, Any] = {"DocumentName": "AWS-RunPatchBaseline", "Parameters": {"Operation": ["Scan"]}}
    assert code(ssm.send_command, **asked, InstanceIds=[stopped.node.id]) == "InvalidInstanceId"
    assert code(ssm.send_command, **asked, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceId"
    assert code(ssm.send_command, **asked, InstanceIds=[]) == "InvalidInstanceId"
    running = next(one for one in noncompliant.sim.fleet.at(stopped.node.location) if one.online).node.id
    assert code(ssm.send_command, **asked, InstanceIds=[running, running]) == "DuplicateInstanceId"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"Operation": ["Uninstall"]},
        {"Operation": ["Scan"], "SnapshotId": ["today"]},
        {"Operation": ["Scan"], "RebootOption": ["Maybe"]},
        {"Operation": ["Install"], "InstallOverrideList": ["ftp://lists/one.yaml"]},
        {"Operation": ["Scan"], "Colour": ["red"]},
    ],
)
def test_parameters_that_the_document_does_not_take_are_refused(world: World, parameters: dict[str, list[str]]) -> None:
    machine = world.the("failing")
    asked = {"DocumentName": "AWS-RunPatchBaseline", "InstanceIds": [machine.node.id], "Parameters": parameters}
    assert code(world.at(machine).send_command, **asked) == "InvalidParameters"


def test_other_documents_targets_and_baseline_overrides_are_not_run(world: World) -> None:
    machine = world.the("failing")
    ssm = world.at(machine)
    asked = {"InstanceIds": [machine.node.id], "DocumentName": "AWS-RunShellScript"}
    assert code(ssm.send_command, **asked) == "InvalidDocument"
    with pytest.raises(NotServed, match="BaselineOverride"):
        send(world, [machine], Parameters={"BaselineOverride": ["s3://lists/one.json"]})
    with pytest.raises(NotServed, match="Targets"):
        ssm.send_command(DocumentName="AWS-RunPatchBaseline", Targets=[{"Key": "tag:App", "Values": ["web"]}])


def test_an_override_list_installs_what_it_names_and_the_next_scan_still_misses_the_rest(noncompliant: World) -> None:
    machine = noncompliant.the("legacy")
    wanted, *rest = [patch for patch in machine.outstanding.values() if machine.approves(patch)]
    url = "s3://lists/one.yaml"
    noncompliant.sim.aws.commands.overrides[url] = frozenset({wanted.id})
    send(noncompliant, [machine], "Install", Parameters={"InstallOverrideList": [url]})
    noncompliant.run(hours=2)
    assert machine.report is not None
    assert machine.report.compliant
    assert machine.report.override == url
    send(noncompliant, [machine])
    noncompliant.run(minutes=10)
    assert len(machine.report.noncompliant) == len(rest) > 0


def test_an_override_list_that_cannot_be_read_fails(noncompliant: World) -> None:
    machine = noncompliant.the("legacy")
    id = send(noncompliant, [machine], "Install", Parameters={"InstallOverrideList": ["https://lists/none.yaml"]})
    noncompliant.run(hours=1)
    found = noncompliant.at(machine).get_command_invocation(CommandId=id, InstanceId=machine.node.id)
    assert (found["Status"], found["ResponseCode"]) == ("Failed", 160)


def test_a_cancelled_command_starts_nowhere_else(noncompliant: World) -> None:
    machines = online(noncompliant)
    id = send(noncompliant, machines, MaxConcurrency="1")
    noncompliant.run(seconds=5)
    noncompliant.client("ssm").cancel_command(CommandId=id)
    noncompliant.run(minutes=30)
    assert set(details(noncompliant, machines[0], id).values()) == {"Cancelled"}
    assert command(noncompliant, machines[0], id)["Status"] == "Cancelled"


def test_commands_and_invocations_are_found_by_node_and_unknown_ones_refused(noncompliant: World) -> None:
    first, second = online(noncompliant)[:2]
    one, both = send(noncompliant, [first]), send(noncompliant, [first, second])
    ssm = noncompliant.client("ssm")
    assert [found["CommandId"] for found in ssm.list_commands()["Commands"]] == [both, one]
    assert [found["CommandId"] for found in ssm.list_commands(InstanceId=second.node.id)["Commands"]] == [both]
    told = ssm.list_command_invocations(InstanceId=first.node.id)["CommandInvocations"]
    assert [found["CommandId"] for found in told] == [both, one]
    assert code(ssm.list_commands, CommandId=SNAPSHOT) == "InvalidCommandId"
    asked = {"CommandId": one, "InstanceId": second.node.id}
    assert code(ssm.get_command_invocation, **asked) == "InvocationDoesNotExist"
