"""What the interpreter makes of each kind of step and each way from one step to the next."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
import yaml
from botocore.validate import validate_parameters
from hypothesis import assume, given
from hypothesis import strategies as st

from patchwarden.simulator.automation_record import NO_OUTPUT, ExecutionRecord
from patchwarden.simulator.references import Unresolved, references, resolve
from patchwarden.simulator.runbook import Runbook, RunbookError
from patchwarden.simulator.runbook_run import Run
from patchwarden.simulator.steps import duration
from tests.runbooks.small_world import ACCOUNT, REGION, START, Machine, SmallWorld, model

NODE = "i-0aaaaaaaaaaaaaaaa"
OK = "def go(events, context):\n    return events"
BAD = "def go(events, context):\n    raise ValueError('no')"


def script(name: str, source: str = OK, /, payload: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    inputs = {"Runtime": "python3.11", "Handler": "go", "Script": source, "InputPayload": dict(payload or {})}
    return {"name": name, "action": "aws:executeScript", "inputs": inputs, **more}


def pause(name: str, length: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "action": "aws:sleep", "inputs": {"Duration": length}, **more}


def stop(name: str, **more: Any) -> dict[str, Any]:
    inputs = {"InstanceIds": [NODE], "DesiredState": "stopped"}
    return {"name": name, "action": "aws:changeInstanceState", "inputs": inputs, **more}


def describe(name: str, action: str = "aws:executeAwsApi", **more: Any) -> dict[str, Any]:
    inputs = {"Service": "ec2", "Api": "DescribeInstances", "InstanceIds": [NODE], **more.pop("inputs", {})}
    return {"name": name, "action": action, "inputs": inputs, **more}


STATE = "$.Reservations[0].Instances[0].State.Name"


def make(
    *steps: dict[str, Any],
    world: SmallWorld | None = None,
    parameters: Mapping[str, Any] | None = None,
    given: Mapping[str, list[str]] | None = None,
    outputs: list[str] | None = None,
) -> Run:
    document = {"schemaVersion": "0.3", "parameters": parameters, "mainSteps": list(steps), "outputs": outputs}
    return Run(
        world or SmallWorld(Machine(NODE)),
        Runbook.load(yaml.safe_dump(document)),
        account=ACCOUNT,
        region=REGION,
        execution_id="0a1b2c3d-0000-4000-8000-000000000000",
        parameters=given or {},
        document_name="Example",
    )


def perform(*steps: dict[str, Any], world: SmallWorld | None = None, **more: Any) -> ExecutionRecord:
    world = world or SmallWorld(Machine(NODE))
    record = world.drive(make(*steps, world=world, **more)).record
    shape = model("ssm").operation_model("GetAutomationExecution").output_shape
    validate_parameters({"AutomationExecution": record.to_api()}, shape)
    return record


def went(record: ExecutionRecord) -> dict[str, str]:
    return {step.name: step.status for step in record.steps}


# Ways.


def test_steps_run_in_the_order_of_the_page_unless_one_names_the_next() -> None:
    record = perform(script("A", nextStep="C"), script("B", isEnd=True), script("C", nextStep="B"))
    assert went(record) == {"A": "Success", "B": "Success", "C": "Success"}


def test_the_end_is_the_end_after_success_and_after_failure() -> None:
    assert went(perform(script("A", isEnd=True), script("B"))) == {"A": "Success", "B": "Pending"}
    record = perform(script("A", BAD, isEnd=True, onFailure="Continue"), script("B"))
    assert went(record) == {"A": "Failed", "B": "Pending"}


@pytest.mark.parametrize(("more", "second", "status"), [
    ({}, "Pending", "Failed"),
    ({"onFailure": "Abort", "isCritical": False}, "Pending", "Success"),
    ({"onFailure": "Continue"}, "Success", "Success"),
    ({"onFailure": "Continue", "isCritical": True}, "Success", "Failed"),
    ({"onFailure": "step:B"}, "Success", "Failed"),
    ({"onFailure": "step:B", "isCritical": False}, "Success", "Success"),
])  # fmt: skip
def test_after_a_failure(more: dict[str, Any], second: str, status: str) -> None:
    record = perform(script("A", BAD, **more), script("B"))
    assert (went(record)["B"], record.status) == (second, status)


def test_a_step_that_timed_out_makes_the_execution_time_out() -> None:
    record = perform(pause("A", "PT1H", timeoutSeconds=60, onFailure="step:B"), script("B"))
    assert (went(record), record.status) == ({"A": "TimedOut", "B": "Success"}, "TimedOut")
    assert record.ended_at == START + timedelta(seconds=60)
    assert str(record.failure).startswith("Step timed out while step is")


def test_the_first_critical_failure_gives_the_execution_its_status_and_its_message() -> None:
    record = perform(
        pause("A", "PT1H", timeoutSeconds=60, onFailure="step:B"), script("B", BAD, onFailure="step:C"), script("C")
    )
    assert (record.status, record.failure) == ("TimedOut", record.step("A").failure)


def test_a_step_is_tried_as_often_as_it_may_be() -> None:
    world = SmallWorld(Machine(NODE))
    world.refuse["StopInstances"] = "InternalError"
    assert perform(stop("A", maxAttempts=3), world=world).status == "Failed"
    assert [name for name, _ in world.calls] == ["StopInstances"] * 3


def test_a_second_attempt_that_goes_well_is_a_success() -> None:
    world = SmallWorld(Machine(NODE, install="Failed"))
    command = {"DocumentName": "AWS-RunPatchBaseline", "InstanceIds": [NODE], "Comment": "once more"}
    step = {"name": "A", "action": "aws:runCommand", "maxAttempts": 2, "inputs": command}
    step["inputs"]["Parameters"] = {"Operation": "Install", "SnapshotId": "x"}  # type: ignore[index]
    run = world.drive(make(step, world=world), until=START + timedelta(minutes=1))
    world.machines[NODE].install = "Success"
    assert world.drive(run).record.status == "Success"
    assert len(world.commands) == 2


# Cancellation.


def test_an_execution_cancelled_before_it_began_runs_no_step() -> None:
    run = make(script("A"))
    assert run.cancel() is None
    assert (run.record.status, went(run.record), run.advance()) == ("Cancelled", {"A": "Pending"}, None)


def test_a_cancellation_leads_where_the_step_says() -> None:
    world = SmallWorld(Machine(NODE))
    steps = (pause("A", "PT1H", onCancel="step:C"), script("B"), script("C", isEnd=True))
    run = world.drive(make(*steps, world=world), until=START + timedelta(minutes=1))
    run.cancel()
    assert went(run.record) == {"A": "Cancelled", "B": "Pending", "C": "Success"}
    assert run.record.status == "Cancelled"


def test_what_a_cancellation_leads_to_is_cut_off_after_two_minutes() -> None:
    world = SmallWorld(Machine(NODE))
    steps = (pause("A", "PT1H", onCancel="step:B"), pause("B", "PT1H", onFailure="step:C"), script("C"))
    run = world.drive(make(*steps, world=world), until=START + timedelta(minutes=1))
    run.cancel()
    assert run.record.status == "Cancelling"
    world.drive(run)
    assert went(run.record) == {"A": "Cancelled", "B": "Cancelled", "C": "Pending"}
    assert (run.record.status, run.record.ended_at) == ("Cancelled", START + timedelta(minutes=3))


def test_a_step_that_is_cut_off_is_not_tried_again() -> None:
    world = SmallWorld(Machine(NODE))
    wanted = {"PropertySelector": STATE, "DesiredValues": ["stopped"]}
    wait = describe("B", "aws:waitForAwsResourceProperty", inputs=wanted, maxAttempts=3)
    run = world.drive(make(pause("A", "PT1H", onCancel="step:B"), wait, world=world), until=START)
    run.cancel()
    assert world.drive(run).record.status == "Cancelled"
    assert len(world.calls) == 1 + 120 / 15


def test_a_failure_after_a_cancellation_leaves_it_a_cancellation() -> None:
    world = SmallWorld(Machine(NODE))
    run = world.drive(make(pause("A", "PT1H", onCancel="step:B"), script("B", BAD), world=world), until=START)
    run.cancel()
    assert (run.record.status, went(run.record)["B"]) == ("Cancelled", "Failed")


def test_a_second_cancellation_and_one_after_the_end_change_nothing() -> None:
    world = SmallWorld(Machine(NODE))
    steps = (pause("A", "PT1H", onCancel="step:B"), pause("B", "PT1M"))
    run = world.drive(make(*steps, world=world), until=START + timedelta(minutes=1))
    waiting = run.cancel()
    assert run.cancel() == waiting
    record = world.drive(run).record
    assert run.cancel() is None
    assert run.record == record


# Time.


def test_advancing_too_early_is_harmless() -> None:
    world = SmallWorld(Machine(NODE))
    run = make(pause("A", "PT10M"), world=world)
    first = run.advance()
    assert first is not None
    assert first.until == START + timedelta(minutes=10)
    assert run.advance() == run.waiting == first
    world.moment = first.until
    assert run.advance() is None
    assert run.record.status == "Success"


def test_an_execution_that_has_not_begun_is_pending_and_one_under_way_names_its_step() -> None:
    run = make(pause("A", "PT10M"), script("B"))
    assert run.record.to_api()["AutomationExecutionStatus"] == "Pending"
    run.advance()
    told = run.record.to_api()
    assert (told["AutomationExecutionStatus"], told["CurrentStepName"]) == ("InProgress", "A")
    assert [step["StepStatus"] for step in told["StepExecutions"]] == ["InProgress", "Pending"]


@pytest.mark.parametrize(("text", "seconds"), [("PT90S", 90), ("PT1H30M", 5400), ("P1DT1S", 86401), ("P7D", 604800)])
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "10M", "PT-1M", "PT1.5H", "P1W"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration(text)


# Scripts.


def test_a_script_gets_its_payload_and_its_answer_is_selected_from() -> None:
    outputs = [
        {"Name": "Names", "Selector": "$.Payload.names", "Type": "StringList"},
        {"Name": "First", "Selector": "$.Payload.names[0]", "Type": "String"},
        {"Name": "Count", "Selector": "$.Payload.count", "Type": "Integer"},
        {"Name": "Map", "Selector": "$.Payload", "Type": "StringMap"},
        {"Name": "Nothing", "Selector": "$.Payload.nothing", "Type": "String"},
    ]
    record = perform(script("A", payload={"names": ["x", "y"], "count": 2}, outputs=outputs), outputs=["A.Names"])
    told = record.step("A").outputs
    assert (told["Names"], told["First"], told["Count"]) == (["x", "y"], ["x"], ["2"])
    assert json.loads(told["Map"][0]) == {"names": ["x", "y"], "count": 2}
    assert json.loads(told["OutputPayload"][0])["Payload"]["count"] == 2
    assert "Nothing" not in told
    assert record.outputs == {"A.Names": ["x", "y"]}


def test_a_script_that_raises_fails_its_step_with_what_it_said() -> None:
    record = perform(script("A", BAD), outputs=["A.Names"])
    assert "ValueError - no" in str(record.failure)
    details = record.to_api()["StepExecutions"][0]["FailureDetails"]
    assert (details["FailureType"], record.outputs) == ("Action", {"A.Names": [NO_OUTPUT]})


@pytest.mark.parametrize("source", [
    "def go(events):\n    return 1",
    "def other(events, context):\n    return 1",
    "def go(events, context)\n    return 1",
    "def go(events, context):\n    return {1: object}[2]",
    "import no_such_module",
    "def go(events, context):\n    return 'x' * 200000",
    # text for the interpreter, which refuses a script that would wait in real time
    "import time\ndef go(events, context):\n    time.sleep(60)",
])  # fmt: skip
def test_a_script_that_cannot_do_its_work_fails_its_step(source: str) -> None:
    assert perform(script("A", source)).status == "Failed"


def test_a_script_reaches_the_worlds_boto3_and_no_other() -> None:
    source = """
        import boto3
        def go(events, context):
            return boto3.client("ec2").describe_instances(InstanceIds=[events["id"]])["Reservations"][0]["Instances"][0]
    """
    text = "\n".join(line.removeprefix("        ") for line in source.splitlines())
    state = {"Name": "State", "Selector": "$.Payload.State.Name", "Type": "String"}
    assert perform(script("A", text, {"id": NODE}, outputs=[state])).step("A").outputs["State"] == ["running"]


@pytest.mark.parametrize(("code", "kind"), [
    ("AccessDeniedException", "Permission"),
    ("UnauthorizedOperation", "Permission"),
    ("ThrottlingException", "Throttling"),
    ("IncorrectInstanceState", "Action"),
])  # fmt: skip
def test_a_refused_call_says_whose_turn_it_is(code: str, kind: str) -> None:
    world = SmallWorld(Machine(NODE))
    world.refuse["StopInstances"] = code
    step = perform(stop("A"), world=world).step("A")
    assert step.failure_details is not None
    assert (step.failure_details["FailureType"], code in str(step.failure)) == (kind, True)


# Calls, properties and branches.


def test_a_call_gives_what_its_selectors_find() -> None:
    outputs = [{"Name": "State", "Selector": STATE, "Type": "String"}]
    assert perform(describe("A", outputs=outputs)).step("A").outputs["State"] == ["running"]


@pytest.mark.parametrize(("desired", "status"), [("running", "Success"), ("stopped", "Failed")])
def test_an_asserted_property_has_a_desired_value_or_the_step_fails(desired: str, status: str) -> None:
    wanted = {"PropertySelector": STATE, "DesiredValues": [desired]}
    record = perform(describe("A", "aws:assertAwsResourceProperty", inputs=wanted))
    assert record.status == status
    assert record.failure is None or "Property value 'running' from the API output" in record.failure


def test_a_property_that_is_not_there_has_no_desired_value() -> None:
    wanted = {"PropertySelector": "$.Reservations[7].Instances[0].State.Name", "DesiredValues": ["None"]}
    assert perform(describe("A", "aws:assertAwsResourceProperty", inputs=wanted)).status == "Failed"


def test_a_property_is_waited_for_and_not_for_ever() -> None:
    wanted = {"PropertySelector": STATE, "DesiredValues": ["stopped"]}
    world = SmallWorld(Machine(NODE, state="stopping", since=START))
    assert perform(describe("A", "aws:waitForAwsResourceProperty", inputs=wanted), world=world).status == "Success"
    record = perform(describe("A", "aws:waitForAwsResourceProperty", inputs=wanted))
    assert (record.status, record.ended_at) == ("TimedOut", START + timedelta(hours=1))


@pytest.mark.parametrize(("choice", "holds"), [
    ({"Variable": "{{ Text }}", "StringEquals": "Linux"}, True),
    ({"Variable": "{{ Text }}", "StringEquals": "linux"}, False),
    ({"Variable": "{{ Text }}", "EqualsIgnoreCase": "linux"}, True),
    ({"Variable": "{{ Text }}", "StartsWith": "Li"}, True),
    ({"Variable": "{{ Text }}", "EndsWith": "Li"}, False),
    ({"Variable": "{{ Text }}", "Contains": "inu"}, True),
    ({"Variable": "{{ Flag }}", "BooleanEquals": True}, True),
    ({"Variable": "{{ Flag }}", "BooleanEquals": False}, False),
    ({"Variable": "{{ Number }}", "NumericEquals": 7}, True),
    ({"Variable": "{{ Number }}", "NumericGreater": 7}, False),
    ({"Variable": "{{ Number }}", "NumericGreaterOrEquals": 7}, True),
    ({"Variable": "{{ Number }}", "NumericLesser": 8}, True),
    ({"Variable": "{{ Number }}", "NumericLesserOrEquals": 6}, False),
    ({"Not": {"Variable": "{{ Flag }}", "BooleanEquals": True}}, False),
    ({"And": [{"Variable": "{{ Flag }}", "BooleanEquals": True}, {"Variable": "{{ Number }}", "NumericEquals": 8}]},
     False),
    ({"Or": [{"Variable": "{{ Flag }}", "BooleanEquals": True}, {"Variable": "{{ Number }}", "NumericEquals": 8}]},
     True),
])  # fmt: skip
def test_a_branch_leads_to_the_choice_that_holds(choice: dict[str, Any], holds: bool) -> None:
    branch = {"Choices": [{**choice, "NextStep": "Chosen"}], "Default": "Other"}
    record = perform(
        {"name": "A", "action": "aws:branch", "inputs": branch},
        script("Chosen", isEnd=True),
        script("Other", isEnd=True),
        parameters={"Text": {"type": "String"}, "Flag": {"type": "Boolean"}, "Number": {"type": "Integer"}},
        given={"Text": ["Linux"], "Flag": ["true"], "Number": ["7"]},
    )
    assert (went(record)["Chosen"], went(record)["Other"]) == (
        ("Success", "Pending") if holds else ("Pending", "Success")
    )


def test_a_branch_without_a_choice_that_holds_and_without_a_default_goes_on() -> None:
    choice = {"Variable": "x", "StringEquals": "y", "NextStep": "C"}
    record = perform({"name": "A", "action": "aws:branch", "inputs": {"Choices": [choice]}}, script("B"), script("C"))
    assert went(record)["B"] == "Success"


def test_a_state_that_is_only_checked_is_not_changed() -> None:
    world = SmallWorld(Machine(NODE))
    step = stop("A", timeoutSeconds=60)
    step["inputs"]["CheckStateOnly"] = True
    assert perform(step, world=world).status == "TimedOut"
    assert world.machines[NODE].history == []


def test_a_started_instance_is_waited_for_until_its_status_checks_pass() -> None:
    world = SmallWorld(Machine(NODE, state="stopped"))
    record = perform(
        {
            "name": "A",
            "action": "aws:changeInstanceState",
            "inputs": {"InstanceIds": [NODE], "DesiredState": "running"},
        },
        world=world,
    )
    assert record.step("A").outputs["InstanceStates"] == ["running"]
    assert record.ended_at is not None
    assert record.ended_at >= START + timedelta(minutes=3)


# References.


def nobody(name: str) -> Any:
    raise Unresolved(name)


def test_references_are_replaced_in_text_in_lists_and_in_maps_and_keep_their_type_alone() -> None:
    values = {"One": "x", "Many": ["x", "y"], "Flag": True}
    asked = {"a": "{{ One }}-{{One}}", "b": "{{ Many }}", "c": ["{{ Many }}", "z"], "d": {"e": "{{ Flag }}"}, "f": 7}
    assert resolve(asked, values.__getitem__) == {
        "a": "x-x", "b": ["x", "y"], "c": ["x", "y", "z"], "d": {"e": True}, "f": 7,
    }  # fmt: skip
    assert list(references(asked)) == ["One", "One", "Many", "Many", "Flag"]


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_what_refers_to_nothing_is_left_as_it_is(value: Any) -> None:
    assume(not list(references(value)))
    assert resolve(value, nobody) == value


def test_system_variables_tell_place_time_and_execution() -> None:
    values = {
        "global:ACCOUNT_ID": ACCOUNT,
        "global:REGION": REGION,
        "global:DATE": "2026-11-23",
        "global:DATE_TIME": "2026-11-23_12.00.00",
        "automation:EXECUTION_ID": "0a1b2c3d-0000-4000-8000-000000000000",
    }
    record = perform(script("A", payload={name: f"{{{{ {name} }}}}" for name in values}))
    assert json.loads(record.step("A").outputs["OutputPayload"][0])["Payload"] == values


def test_the_output_of_a_failed_step_has_no_value_for_a_later_one() -> None:
    world = SmallWorld(Machine(NODE, install="Failed"))
    inputs = {"DocumentName": "AWS-RunPatchBaseline", "InstanceIds": [NODE], "Comment": "",
              "Parameters": {"Operation": ["Install"], "SnapshotId": ["x"]}}  # fmt: skip
    command = {"name": "A", "action": "aws:runCommand", "onFailure": "Continue", "inputs": inputs}
    record = perform(command, script("B", payload={"id": "{{ A.CommandId }}"}), world=world)
    assert "CommandId" in record.step("A").outputs
    assert "validating and resolving the step inputs. A.CommandId has no value" in str(record.step("B").failure)


def test_inputs_are_told_as_they_were_resolved() -> None:
    record = perform(stop("A"))
    assert record.step("A").inputs == {"InstanceIds": f'["{NODE}"]', "DesiredState": '"stopped"'}


@pytest.mark.parametrize("name", ["global:TIME", "Nobody", "A.Output"])
def test_a_reference_to_nothing_fails_the_step(name: str) -> None:
    assert f"{name} " in str(perform(script("A", payload={"x": f"{{{{ {name} }}}}"})).failure)


def test_an_unresolved_reference_is_raised_not_left_in_the_text() -> None:
    with pytest.raises(Unresolved):
        resolve(["x {{ y }}"], nobody)


@pytest.mark.parametrize("text", ["", "[]", "schemaVersion: '0.3'", "schemaVersion: '0.3'\nmainSteps: []"])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(RunbookError):
        Runbook.load(text)


# Loops.

COUNT = """
def go(events, context):
    import boto3
    state = boto3.client("ec2").describe_instances(InstanceIds=["i-0aaaaaaaaaaaaaaaa"])
    return {"Pending": state["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"}
"""


def loop(most: int, *inside: dict[str, Any], **more: Any) -> dict[str, Any]:
    condition = {"Variable": "{{ Look.Pending }}", "BooleanEquals": True}
    inputs = {"Steps": list(inside), "LoopCondition": condition, "MaxIterations": most}
    return {"name": "Repeat", "action": "aws:loop", "inputs": inputs, **more}


LOOK = script("Look", COUNT, outputs=[{"Name": "Pending", "Selector": "$.Payload.Pending", "Type": "Boolean"}])


def test_a_loop_goes_on_while_its_condition_holds_and_no_longer_than_it_may() -> None:
    world = SmallWorld(Machine(NODE))
    record = perform(loop(3, pause("Wait", "PT10M"), LOOK), script("After"), world=world)
    assert went(record) == dict.fromkeys(("Repeat", "After", "Wait", "Look"), "Success")
    assert world.now() - START == timedelta(minutes=30)


def test_a_loop_ends_as_soon_as_its_condition_does_not_hold() -> None:
    world = SmallWorld(Machine(NODE, state="stopped"))
    assert perform(loop(3, pause("Wait", "PT10M"), LOOK), world=world).status == "Success"
    assert world.now() - START == timedelta(minutes=10)


def test_a_step_that_fails_in_a_loop_fails_the_loop() -> None:
    record = perform(loop(3, script("Look", BAD)), script("After"))
    assert (went(record)["Repeat"], went(record)["After"], record.status) == ("Failed", "Pending", "Failed")


@pytest.mark.parametrize(("wrong", "why"), [
    ({"MaxIterations": 101}, "1 to 100"), ({"MaxIterations": 0}, "1 to 100"),
    ({"Iterators": "x"}, "LoopCondition only"),
    ({"Steps": [script("Repeat")]}, "a name of its own"),
])  # fmt: skip
def test_a_loop_that_cannot_be_run_is_refused(wrong: dict[str, Any], why: str) -> None:
    broken = loop(3, LOOK)
    with pytest.raises(RunbookError, match=why):
        make({**broken, "inputs": {**broken["inputs"], **wrong}})
