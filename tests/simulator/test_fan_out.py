"""One execution over nodes, and over accounts and Regions: first in first out, so many at once, and errors end it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.nodes import Location
from patchwarden.simulator.limits import Limits
from tests.simulator.world import World, code, token, with_sleeper

ACCOUNTS = ["111122223333", "444455556666", "777788889999"]
REGIONS = ["eu-west-1", "us-east-1"]
NODES = {"TargetParameterName": "BatchId", "Targets": [{"Key": "InstanceIds", "Values": ["*"]}]}

FAILER = """
schemaVersion: "0.3"
description: Waits and fails.
parameters:
  BatchId: {type: String}
mainSteps:
  - name: Wait
    action: aws:sleep
    inputs: {Duration: PT5M}
  - name: Fail
    action: aws:executeScript
    inputs: {Runtime: python3.11, Handler: fail, Script: "def fail(events, context): raise RuntimeError('no')"}
    isEnd: true
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "Failer.yaml").write_text(FAILER)
    return with_sleeper(tmp_path, nodes=60, limits=Limits(starts=None))


def place(**given: Any) -> dict[str, Any]:
    return {"Accounts": ACCOUNTS, "Regions": REGIONS, "TargetLocationMaxConcurrency": "3",
            "TargetLocationMaxErrors": "0", **given}  # fmt: skip


def start(world: World, *places: dict[str, Any], **given: Any) -> str:
    asked = {"DocumentName": "Sleeper", **NODES, "MaxConcurrency": "100%", "MaxErrors": "0", **given}
    if places:
        asked["TargetLocations"] = list(places)
    return str(world.client("ssm").start_automation_execution(**asked)["AutomationExecutionId"])


def told(world: World, execution: str) -> dict[str, Any]:
    answer = world.client("ssm").get_automation_execution(AutomationExecutionId=execution)
    found: dict[str, Any] = answer["AutomationExecution"]
    return found


def where(step: dict[str, Any]) -> Location:
    return Location(step["TargetLocation"]["Accounts"][0], step["TargetLocation"]["Regions"][0])


def status(world: World, execution: str) -> list[str]:
    return [step["StepStatus"] for step in told(world, execution)["StepExecutions"]]


def test_six_account_regions_with_concurrency_three_run_three_at_a_time_first_in_first_out(world: World) -> None:
    execution = start(world, place())
    seen = []
    for _ in range(20):
        world.run(minutes=2)
        seen.append(status(world, execution))
    assert max(one.count("InProgress") for one in seen) == 3
    assert seen[0] == ["InProgress"] * 3 + ["Pending"] * 3
    assert seen[-1] == ["Success"] * 6
    steps = told(world, execution)["StepExecutions"]
    assert [where(step) for step in steps] == list(world.sim.fleet.locations)
    begun = [step["ExecutionStartTime"] for step in steps]
    assert begun == sorted(begun)
    first_end = min(step["ExecutionEndTime"] for step in steps[:3])
    assert all(moment >= first_end for moment in begun[3:])
    assert told(world, execution)["ProgressCounters"]["SuccessSteps"] == 6


def test_a_part_runs_in_its_own_account_and_region_and_tells_its_nodes(world: World) -> None:
    execution = start(world, place())
    world.run(hours=2)
    for step in told(world, execution)["StepExecutions"]:
        child = step["Outputs"]["ExecutionId"][0]
        ssm = world.client("ssm", where(step))
        assert ssm.get_automation_execution(AutomationExecutionId=child)["AutomationExecution"][
            "ParentAutomationExecutionId"] == execution  # fmt: skip
        asked = [{"Key": "ParentExecutionId", "Values": [child]}]
        pages = ssm.get_paginator("describe_automation_executions").paginate(Filters=asked)
        ran = {one["Target"] for page in pages for one in page["AutomationExecutionMetadataList"]}
        assert ran == {machine.node.id for machine in world.sim.fleet.at(where(step))}
    kind = "EC2 Automation Execution Status-change Notification"
    ended = [event for event in world.heard(kind) if event["detail"]["ExecutionId"] == execution]
    assert [(event["account"], event["detail"]["Status"]) for event in ended] == [(ACCOUNTS[0], "Success")]


def test_once_more_locations_failed_than_may_no_further_one_is_begun(world: World) -> None:
    world.sim.aws.deny("444455556666", "sts")
    execution = start(world, place(TargetLocationMaxConcurrency="1", TargetLocationMaxErrors="1"))
    world.run(hours=3)
    assert status(world, execution) == ["Success", "Success", "Failed", "Failed", "Cancelled", "Cancelled"]
    assert told(world, execution)["AutomationExecutionStatus"] == "Failed"
    assert "cannot be assumed" in told(world, execution)["StepExecutions"][2]["FailureMessage"]


def test_with_room_for_errors_all_the_others_run(world: World) -> None:
    world.sim.aws.deny("444455556666", "sts")
    execution = start(world, place(TargetLocationMaxErrors="100%"))
    world.run(hours=3)
    assert status(world, execution) == ["Success", "Success", "Failed", "Failed", "Success", "Success"]


def test_over_nodes_so_many_at_once_and_an_error_too_many_stops_the_rest(world: World) -> None:
    execution = start(world, DocumentName="Failer", MaxConcurrency="2", MaxErrors="1")
    world.run(minutes=1)
    asked = [{"Key": "ParentExecutionId", "Values": [execution]}]
    ssm = world.client("ssm")
    assert len(ssm.describe_automation_executions(Filters=asked)["AutomationExecutionMetadataList"]) == 2
    world.run(hours=2)
    ended = ssm.describe_automation_executions(Filters=asked)["AutomationExecutionMetadataList"]
    assert [one["AutomationExecutionStatus"] for one in ended] == ["Failed"] * 2
    assert len(told(world, execution)["ResolvedTargets"]["ParameterValues"]) == 10
    assert told(world, execution)["AutomationExecutionStatus"] == "Failed"


def test_units_are_their_accounts_without_those_that_are_excluded(world: World) -> None:
    world.sim.aws.automations.units["ou-ab12-prod00001"] = tuple(ACCOUNTS)
    one = place(Accounts=["ou-ab12-prod00001"], ExcludeAccounts=["777788889999"], IncludeChildOrganizationUnits=True)
    execution = start(world, one)
    assert {where(step).account for step in told(world, execution)["StepExecutions"]} == set(ACCOUNTS[:2])


def test_a_tag_and_a_resource_group_find_their_nodes(world: World) -> None:
    app = world.sim.fleet.at(world.home)[0].tags["App"]
    world.sim.aws.automations.groups["some"] = ("App", (app,))
    for target in ({"Key": "tag:App", "Values": [app]}, {"Key": "ResourceGroup", "Values": ["some"]}):
        execution = start(world, Targets=[target])
        found = set(told(world, execution)["ResolvedTargets"]["ParameterValues"])
        wanted = {one.node.id for one in world.sim.fleet.at(world.home) if one.tags.get("App") == app}
        assert found == wanted != set()


def test_a_tag_finds_no_hybrid_nodes(world: World) -> None:
    hybrid = next(one for one in world.sim.fleet.machines.values() if one.hybrid)
    at_home = world.sim.session(hybrid.node.account, hybrid.node.region).client("ssm")
    for one in world.sim.fleet.at(hybrid.node.location):
        one.tags["Ring"] = "first"
    given = {"DocumentName": "Sleeper", **NODES, "Targets": [{"Key": "tag:Ring", "Values": ["first"]}],
             "MaxConcurrency": "1", "MaxErrors": "0"}  # fmt: skip
    execution = at_home.start_automation_execution(**given)["AutomationExecutionId"]
    answer = at_home.get_automation_execution(AutomationExecutionId=execution)["AutomationExecution"]
    found = answer["ResolvedTargets"]["ParameterValues"]
    assert found and hybrid.node.id not in found


@pytest.mark.parametrize("wrong", [
    {"MaxConcurrency": "1"},
    {"Targets": NODES["Targets"]},
    {"TargetParameterName": "BatchId"},
])  # fmt: skip
def test_a_pace_needs_targets_and_targets_need_their_parameter(world: World, wrong: dict[str, Any]) -> None:
    given = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}, **wrong}
    refused = code(world.client("ssm").start_automation_execution, **given)
    assert refused == "InvalidAutomationExecutionParametersException"


def test_the_same_token_starts_one_execution_over_all_locations(world: World) -> None:
    first, second = (start(world, place(), ClientToken=token(7)) for _ in range(2))
    assert first == second
