"""The runbooks as documents: AWS's schema, their inner references, AWS's limits, and what the service sends them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from chalicelib.adapters.systems_manager import assuming
from chalicelib.core.nodes import Location
from chalicelib.core.plans import MOST_NODES, PATCH_NODES, PATCH_STOPPED_NODE, Plan
from chalicelib.core.plans import parameters as planned
from patchwarden.simulator.runbook import ParameterError, Runbook, RunbookError
from tests.runbooks.runbook_lint import Document, lint
from tests.runbooks.small_world import model
from tests.setup_ssm_schema import SCHEMA

FOLDER = Path(__file__).parent.parent.parent / "runbooks"
TEXTS = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.yaml"))}
DOCUMENTS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
BATCH = "5b0c7c1e-6a53-5d0a-9d7e-0d6a5a4c7b11"
NODE = "i-0aaaaaaaaaaaaaaaa"


def parameters(plan: Plan, batch: str, nodes: list[str], *, document: str) -> dict[str, list[str]]:
    """What the service sends: the plan's parameters and the role of the account."""
    role = assuming(document, Location("111122223333", "eu-west-1"))
    return planned(plan, batch, nodes, document=document) | role


BASELINE_PARAMETERS = {
    "Operation", "AssociationId", "SnapshotId", "InstallOverrideList", "BaselineOverride", "RebootOption",
}  # fmt: skip
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaseline.html"""

HOOK_PARAMETERS = {
    "Operation", "SnapshotId", "RebootOption", "PreInstallHookDocName", "PostInstallHookDocName", "OnExitHookDocName",
}  # fmt: skip
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaselinewithhooks.html"""

OPTIONAL = {
    "InstallOverrideList", "WithHooks", "PreInstallHook", "PostInstallHook", "OnExitHook", "WriteToBucket",
    "OutputBucket", "OutputPrefix", "WriteToLogGroup", "LogGroup",
}  # fmt: skip

every_document = pytest.mark.parametrize("name", TEXTS)
every_own_plan = pytest.mark.parametrize("name", [PATCH_NODES, PATCH_STOPPED_NODE])


def steps(name: str, action: str) -> list[dict[str, Any]]:
    return [step for step in DOCUMENTS[name]["mainSteps"] if step["action"] == action]


# AWS's schema.


def current_schema() -> dict[str, Any]:
    """AWS's published schema with what Systems Manager has learnt since it was published in 2020."""
    schema: dict[str, Any] = json.loads(SCHEMA.read_text())
    step = schema["properties"]["mainSteps"]["items"]
    step["properties"]["action"]["enum"].append("aws:loop")
    step["properties"]["onCancel"] = {"type": "string", "pattern": r"^(Abort|step:\w+)$"}
    script = next(rule for rule in step["allOf"] if rule["if"]["properties"]["action"]["const"] == "aws:executeScript")
    runtimes = script["then"]["properties"]["inputs"]["properties"]["Runtime"]["oneOf"]
    next(kind for kind in runtimes if "enum" in kind)["enum"].append("python3.11")
    return schema


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    if not SCHEMA.exists():
        pytest.skip("AWS's schema for documents is not here; `python tests/setup_ssm_schema.py` fetches it or says why")
    return Draft7Validator(current_schema())


@every_document
def test_a_runbook_is_what_awss_schema_allows(name: str, schema: Draft7Validator) -> None:
    assert [error.message for error in schema.iter_errors(DOCUMENTS[name])] == []


@pytest.mark.parametrize(("path", "value"), [
    (("schemaVersion",), 0.3),
    (("mainSteps", 0, "action"), "aws:executeScripts"),
    (("mainSteps", 0, "inputs", "Runtime"), "python2.7"),
    (("mainSteps", 3, "onFailure"), "ScanNodes"),
    (("mainSteps", 3, "onCancel"), "ScanNodes"),
    (("parameters", "NodeIds", "type"), "List"),
    (("retries",), 3),
])  # fmt: skip
def test_awss_schema_sees_what_is_wrong(path: tuple[str | int, ...], value: object, schema: Draft7Validator) -> None:
    broken = copy.deepcopy(DOCUMENTS[PATCH_NODES])
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(schema.iter_errors(broken))


# References.


@every_document
def test_everything_a_runbook_refers_to_is_there_and_everything_it_declares_is_used(name: str) -> None:
    assert lint(DOCUMENTS[name]) == []


Change = Callable[[dict[str, Any]], object]


def step(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(step for step in document["mainSteps"] if step["name"] == name)
    return found


def script(old: str, new: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        inputs = step(document, "CheckNodes")["inputs"]
        inputs["Script"] = inputs["Script"].replace(old, new)

    return change


BROKEN: dict[str, tuple[str, Change, str]] = {
    "an unused parameter": (
        PATCH_NODES,
        lambda d: d["parameters"].update(BaselineOverride=dict(d["parameters"]["InstallOverrideList"])),
        "BaselineOverride: the parameter is declared and never used",
    ),
    "a parameter that takes any text": (
        PATCH_NODES,
        lambda d: d["parameters"]["InstallOverrideList"].pop("allowedPattern"),
        "InstallOverrideList: the parameter takes any text",
    ),
    "a default that is not allowed": (
        PATCH_NODES,
        lambda d: d["parameters"]["InstallOverrideList"].update(default="ftp://"),
        "InstallOverrideList: the default does not match",
    ),
    "an undescribed parameter": (
        PATCH_NODES,
        lambda d: d["parameters"]["NodeIds"].pop("description"),
        "NodeIds: the parameter is not described",
    ),
    "an undeclared parameter": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes")["inputs"].update(Comment="{{ BatchID }}"),
        "ScanNodes: BatchID is no parameter",
    ),
    "an unknown system variable": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes")["inputs"].update(Comment="{{ global:TIME }}"),
        "ScanNodes: global:TIME is no parameter",
    ),
    "an unknown role parameter": (
        PATCH_NODES,
        lambda d: d.update(assumeRole="{{ AssumeRole }}"),
        "assumeRole: AssumeRole is no parameter",
    ),
    "an output that the step does not declare": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes")["inputs"].update(InstanceIds="{{ CheckNodes.OnlineNodeIds }}"),
        "ScanNodes: CheckNodes has no output OnlineNodeIds",
    ),
    "an output of a step that may have failed": (
        PATCH_NODES,
        lambda d: step(d, "ReportNodes")["inputs"].update(
            InputPayload={"ExecutionId": "{{ InstallPatches.CommandId }}"}
        ),
        "ReportNodes: InstallPatches.CommandId has no value if InstallPatches did not succeed",
    ),
    "an output of a step that may be left out": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes")["inputs"].update(Comment="{{ SnapshotRootVolumes.SnapshotIds }}"),
        "ScanNodes: SnapshotRootVolumes.SnapshotIds has no value",
    ),
    "an output of a later step": (
        PATCH_NODES,
        lambda d: step(d, "InstallPatches")["inputs"].update(Comment="{{ ScanNodes.CommandId }}"),
        "InstallPatches: ScanNodes.CommandId has no value",
    ),
    "a document output of no step": (
        PATCH_NODES,
        lambda d: d["outputs"].append("ReportNode.Nodes"),
        "outputs: ReportNode.Nodes is no output of a step",
    ),
    "a next step that is none": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes").update(nextStep="Snapshot"),
        "CheckNodes: leads to Snapshot, which is no step",
    ),
    "a failure that leads nowhere": (
        PATCH_NODES,
        lambda d: step(d, "InstallPatches").update(onFailure="step:Scan"),
        "InstallPatches: leads to Scan, which is no step",
    ),
    "a step that no way leads to": (
        PATCH_NODES,
        lambda d: step(d, "ChooseSnapshot")["inputs"].update(Choices=[]),
        "SnapshotRootVolumes: no way leads to this step",
    ),
    "two steps of one name": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes").update(name="InstallPatches"),
        "InstallPatches: 2 steps have this name",
    ),
    "two outputs of one name": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["outputs"][1].update(Name="ReadyNodeIds"),
        "CheckNodes: 2 outputs are called ReadyNodeIds",
    ),
    "an end that leads on": (
        PATCH_NODES,
        lambda d: step(d, "ReportNodes").update(onFailure="step:ScanNodes"),
        "ReportNodes: is the end, and leads on",
    ),
    "a circle": (
        PATCH_NODES,
        lambda d: step(d, "ScanNodes").update(onFailure="step:InstallPatches"),
        "InstallPatches: the ways lead in a circle",
    ),
    "a cancellation that leads to a pause": (
        PATCH_STOPPED_NODE,
        lambda d: step(d, "StopNode").update(action="aws:sleep"),
        "ScanNodes: a cancellation cannot lead to StopNode",
    ),
    "an output of no type": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["outputs"][0].update(Type="List"),
        "CheckNodes.ReadyNodeIds: List is no type",
    ),
    "a selector that is no path": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["outputs"][0].update(Selector="$.Payload["),
        "CheckNodes.ReadyNodeIds: '$.Payload[' is no JSONPath",
    ),
    "a selector of what the script does not return": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["outputs"][0].update(Selector="$.Payload.Ready"),
        "CheckNodes.ReadyNodeIds: the script returns no $.Payload.Ready",
    ),
    "a selector that forgets the payload": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["outputs"][0].update(Selector="$.ReadyNodeIds"),
        "CheckNodes.ReadyNodeIds: the script returns no $.ReadyNodeIds",
    ),
    "a misspelt property": (
        PATCH_STOPPED_NODE,
        lambda d: step(d, "CheckStopped")["inputs"].update(PropertySelector="$.Reservations[0].Instance[0].State.Name"),
        "CheckStopped: DescribeInstances answers nothing at",
    ),
    "an unknown operation": (
        PATCH_STOPPED_NODE,
        lambda d: step(d, "WaitForAgent")["inputs"].update(Api="DescribeInstanceInfo"),
        "WaitForAgent: AWS has no ssm DescribeInstanceInfo",
    ),
    "an unknown service": (
        PATCH_STOPPED_NODE,
        lambda d: step(d, "WaitForAgent")["inputs"].update(Service="systems-manager"),
        "WaitForAgent: AWS has no systems-manager DescribeInstanceInformation",
    ),
    "an input that the operation does not take": (
        PATCH_STOPPED_NODE,
        lambda d: step(d, "CheckStopped")["inputs"].update(InstanceId="i-0aaaaaaaaaaaaaaaa"),
        "CheckStopped: DescribeInstances takes no InstanceId",
    ),
    "a script that is none": (PATCH_NODES, script("def ", "fed "), "CheckNodes: the script is no Python"),
    "a script without its handler": (
        PATCH_NODES,
        script("check_nodes", "check"),
        "CheckNodes: the script has no check_nodes(events, context)",
    ),
    "a handler of one argument": (
        PATCH_NODES,
        script("(events, context)", "(events)"),
        "CheckNodes: the script has no check_nodes(events, context)",
    ),
    "a script that reads what it is not given": (
        PATCH_NODES,
        script('"NodeIds"', '"InstanceIds"'),
        "CheckNodes: the script reads InstanceIds, which it is not given",
    ),
    "a script that is given what it does not read": (
        PATCH_NODES,
        lambda d: step(d, "CheckNodes")["inputs"]["InputPayload"].update(SnapshotId="{{ SnapshotId }}"),
        "CheckNodes: the script is given SnapshotId and does not read it",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_lint_sees(fault: str) -> None:
    name, change, expected = BROKEN[fault]
    broken = copy.deepcopy(DOCUMENTS[name])
    change(broken)
    assert any(finding.startswith(expected) for finding in lint(broken)), lint(broken)


# AWS's limits.


@every_document
def test_a_runbook_fits_into_a_document_and_its_comments_into_a_command(name: str) -> None:
    assert len(TEXTS[name].encode()) <= 64 * 1024
    comments = [command["inputs"]["Comment"] for command in steps(name, "aws:runCommand")]
    assert all(len(comment.replace("{{ BatchId }}", BATCH)) <= 100 for comment in comments)


@every_document
def test_a_command_sets_every_limit_whose_default_is_dangerous(name: str) -> None:
    for command in steps(name, "aws:runCommand"):
        assert {"MaxConcurrency", "MaxErrors", "TimeoutSeconds", "InstanceIds"} <= set(command["inputs"])
        assert {"Operation", "SnapshotId", "RebootOption"} <= set(command["inputs"]["Parameters"])


@every_document
def test_a_command_passes_only_what_aws_run_patch_baseline_takes(name: str) -> None:
    for command in steps(name, "aws:runCommand"):
        takes = {"AWS-RunPatchBaseline": BASELINE_PARAMETERS, "AWS-RunPatchBaselineWithHooks": HOOK_PARAMETERS}
        assert set(command["inputs"]["Parameters"]) <= takes[command["inputs"]["DocumentName"]]


@every_document
def test_a_step_outlasts_its_command(name: str) -> None:
    """The command's own budget is TimeoutSeconds and the 7,200 seconds that AWS-RunPatchBaseline may take."""
    for command in steps(name, "aws:runCommand"):
        assert command["timeoutSeconds"] > command["inputs"]["TimeoutSeconds"] + 7200


@every_document
def test_a_script_runs_on_python_3_11_for_at_most_ten_minutes(name: str) -> None:
    for step in steps(name, "aws:executeScript"):
        assert step["inputs"]["Runtime"] == "python3.11"
        assert step["timeoutSeconds"] <= 600


@every_document
def test_a_failure_before_the_report_makes_the_execution_fail(name: str) -> None:
    """`isCritical` defaults to true except with onFailure Continue, which only the report may have; and what comes
    after the waiting tells by itself how it stands."""
    lenient = [
        step["name"]
        for step in DOCUMENTS[name]["mainSteps"]
        if not step.get("isCritical", step.get("onFailure", "Abort") != "Continue")
    ]
    assert set(lenient) <= {"ReportNodes", "ReportNode", "SettleNode", "WaitForOutcome", "TellFailure"}


def test_once_the_stopped_node_is_being_started_every_way_leads_to_stopping_it() -> None:
    document = Document(DOCUMENTS[PATCH_STOPPED_NODE])
    names = [step["name"] for step in document.steps]
    begun = document.steps[names.index("StartNode") : names.index("StopNode")]
    for step in begun:
        ways = {"nextStep", "onFailure", "onCancel"} if step["action"] != "aws:branch" else set()
        assert ways <= set(step), f"{step['name']} may end the execution, and the node runs on"
        leads = {edge.end for edge in document.edges if edge.start == step["name"]}
        assert leads <= {one["name"] for one in begun} | {"StopNode"}


def test_the_two_runbooks_share_their_scripts_to_the_letter() -> None:
    scripts = {
        name: {step["inputs"]["Handler"]: step["inputs"]["Script"] for step in steps(name, "aws:executeScript")}
        for name in DOCUMENTS
    }
    for handler in ("snapshot_root_volumes", "report_nodes"):
        assert scripts[PATCH_NODES][handler] == scripts[PATCH_STOPPED_NODE][handler]


def test_the_nodes_are_checked_again_as_they_were_at_first() -> None:
    first, again = (step(DOCUMENTS[PATCH_NODES], name)["inputs"] for name in ("CheckNodes", "CheckNodesAgain"))
    assert first["Script"] == again["Script"]


def test_a_stopped_node_is_looked_at_before_the_installation_as_before_it_is_stopped() -> None:
    first, again = (step(DOCUMENTS[PATCH_STOPPED_NODE], name)["inputs"] for name in ("LookForOthers", "LookBeforeStop"))
    assert first["Script"] == again["Script"]


# What the service sends.

shares = st.integers(1, 100).map("{}%".format)
plans = st.builds(
    Plan,
    reboot=st.sampled_from(["if-needed", "never"]),
    concurrency=st.integers(1, 999999).map(str) | shares,
    max_errors=st.integers(0, 999999).map(str) | shares | st.just("0%"),
    snapshot=st.booleans(),
)
node_ids = st.from_regex(r"\A(i-([0-9a-f]{8}|[0-9a-f]{17})|mi-[0-9a-f]{17})\Z")


@given(plans, st.lists(node_ids, min_size=1, max_size=MOST_NODES))
def test_patch_nodes_takes_every_plan_and_every_list_of_nodes(plan: Plan, nodes: list[str]) -> None:
    values = Runbook.load(TEXTS[PATCH_NODES]).accept(parameters(plan, BATCH, nodes, document=PATCH_NODES))
    assert values["NodeIds"] == nodes
    assert values["SnapshotRootVolume"] is plan.snapshot


@given(plans)
def test_patch_stopped_node_takes_every_plan(plan: Plan) -> None:
    values = Runbook.load(TEXTS[PATCH_STOPPED_NODE]).accept(
        parameters(plan, BATCH, [NODE], document=PATCH_STOPPED_NODE)
    )
    assert values["NodeId"] == NODE


@every_own_plan
def test_the_service_sends_every_required_parameter_and_none_that_is_unknown(name: str) -> None:
    declared = DOCUMENTS[name]["parameters"]
    sent = set(parameters(Plan(), BATCH, [NODE], document=name))
    required = {parameter for parameter, spec in declared.items() if "default" not in spec}
    assert sent == required
    assert set(declared) - required == OPTIONAL


@every_own_plan
def test_systems_manager_itself_would_take_what_the_service_sends(name: str) -> None:
    shape = model("ssm").operation_model("StartAutomationExecution").input_shape.members["Parameters"]
    for key, values in parameters(Plan(), BATCH, [NODE], document=name).items():
        assert shape.key.metadata["min"] <= len(key) <= shape.key.metadata["max"]
        assert 1 <= len(values) <= shape.value.metadata["max"]
        assert all(1 <= len(value) <= shape.value.member.metadata["max"] for value in values)


@pytest.mark.parametrize("limit", ["MaxConcurrency", "MaxErrors"])
@pytest.mark.parametrize(
    "text", ["0", "1", "50", "0%", "1%", "10%", "99%", "100%", "101%", "-1", "", "1.5", "ten", "010"]
)
def test_the_limits_a_runbook_takes_are_those_that_send_command_takes(limit: str, text: str) -> None:
    ours = DOCUMENTS[PATCH_NODES]["parameters"][limit]["allowedPattern"]
    theirs = model("ssm").operation_model("SendCommand").input_shape.members[limit].metadata["pattern"]
    assert bool(re.search(ours, text)) is bool(re.search(theirs, text))


@pytest.mark.parametrize(("wrong", "why"), [
    ({"NodeIds": []}, "takes 1 to 50 values"),
    ({"NodeIds": [NODE] * 51}, "takes 1 to 50 values"),
    ({"NodeIds": ["AWS::SSM::ManagedInstanceInventory/" + NODE]}, "does not match"),
    ({"NodeIds": ["i-0aaaaaaaaaaaaaaaa; reboot"]}, "does not match"),
    ({"BatchId": ["batch 7"]}, "does not match"),
    ({"RebootOption": ["Always"]}, "is none of"),
    ({"SnapshotRootVolume": ["yes"]}, "is none of"),
    ({"MaxErrors": [""]}, "1 to 512 characters"),
    ({"InstallOverrideList": ["https://example.com/" + "a" * 500]}, "1 to 512 characters"),
    ({"RebootOption": ["NoReboot", "NoReboot"]}, "takes one value"),
    ({"Baseline": ["x"]}, "no parameter Baseline"),
    ({"AutomationAssumeRole": ["admin"]}, "does not match"),
])  # fmt: skip
def test_parameters_that_the_runbook_does_not_allow_are_refused(wrong: dict[str, list[str]], why: str) -> None:
    sent = parameters(Plan(), BATCH, [NODE], document=PATCH_NODES) | wrong
    with pytest.raises(ParameterError, match=why):
        Runbook.load(TEXTS[PATCH_NODES]).accept(sent)


@every_own_plan
def test_no_required_parameter_can_be_left_out(name: str) -> None:
    runbook, sent = Runbook.load(TEXTS[name]), parameters(Plan(), BATCH, [NODE], document=name)
    for missing in sent:
        with pytest.raises(ParameterError, match=f"{missing} is required"):
            runbook.accept({key: values for key, values in sent.items() if key != missing})


@pytest.mark.parametrize(("old", "new", "why"), [
    ("'0.3'", "0.3", "schemaVersion"),
    ("'0.3'", "'2.2'", "schemaVersion"),
    ("aws:branch", "aws:approve", "no action aws:approve"),
    ("aws:branch", "aws:loop", "a LoopCondition only"),
    ("name: ScanNodes", "name: InstallPatches", "a name of its own"),
    ("onFailure: step:ReportNodes", "onFailure: step:Report", "is no step"),
])  # fmt: skip
def test_a_document_that_cannot_be_run_is_refused(old: str, new: str, why: str) -> None:
    with pytest.raises(RunbookError, match=why):
        Runbook.load(TEXTS[PATCH_NODES].replace(old, new))
