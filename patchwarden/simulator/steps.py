"""Steps: what each action of a runbook does to the world, and how long it waits for the world to do its part.

https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-actions.html
"""

from __future__ import annotations

import builtins
import json
import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from types import CodeType
from typing import Any, Protocol

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from patchwarden.simulator.references import select, strings

POLL = timedelta(seconds=15)
"""How often a step looks again at a resource that it waits for."""

COMMAND_LOOK = timedelta(minutes=5)
"""How often a step looks at a run command if nobody tells it that the command has ended."""

GUIDE = "Please refer to Automation Service Troubleshooting Guide for more diagnosis details."

LARGEST_PAYLOAD = 100 * 1024
"""How many bytes a script may return."""


class World(Protocol):
    """What a runbook reaches: a clock and boto3. All else it does through the AWS API, as Automation itself does.

    The steps of our documents call ssm `describe_instance_information` (and its paginator), `send_command`,
    `list_commands` by CommandId (and its paginator by InstanceId and the filter ExecutionStage),
    `list_command_invocations` (and its paginator; with InstanceId and Details), `describe_instance_patch_states`
    (paginator) and `get_automation_execution`; ec2 `describe_instances` (and its paginator; by InstanceIds and by the
    filter instance-id; State, RootDeviceName, BlockDeviceMappings), `describe_instance_status`, `start_instances`,
    `stop_instances` and `create_snapshot`.
    A refused call raises botocore's ClientError.
    """

    def now(self) -> datetime:
        """The virtual time, aware UTC; it stands still while `Run.advance` is under way."""

    def boto3_for(self, account: str, region: str) -> Any:
        """Something with `client(name, **options)`, as the module boto3 has it, acting in that account and Region."""


@dataclass(frozen=True, slots=True)
class Wait:
    """When to call `Run.advance` again: at `until`, or as soon as the run command `command` has ended.

    Calling too early is harmless: the run looks, and waits on.
    """

    until: datetime
    command: str | None = None


class StepFailed(Exception):
    """A step did not do what it was to do.

    `doing` and `kind` are SSM's FailureStage and FailureType (Action, Permission, Throttling, Verification).
    """

    def __init__(self, doing: str, why: str, *, kind: str = "Action", outputs: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"Step fails when it is {doing}. {why}. {GUIDE}")
        self.doing = doing
        self.kind = kind
        self.outputs = outputs or {}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step runs."""

    world: World
    account: str
    region: str

    @property
    def boto3(self) -> Any:
        return self.world.boto3_for(self.account, self.region)


@dataclass(frozen=True, slots=True)
class Done:
    """What a step leaves: its own outputs, the document that selectors look into, and where a branch leads."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    document: Any = None
    leads_to: str | None = None


Work = Generator[Wait, None, Done]
Action = Callable[[Place, Mapping[str, Any]], Work]


def execute_script(place: Place, inputs: Mapping[str, Any]) -> Work:
    """Run the step's Python against the world's boto3; its answer is the Payload."""
    yield from ()
    doing = "Poll action status for completion"
    try:
        scope: dict[str, Any] = {"__builtins__": _builtins(place.boto3), "__name__": "customer_script"}
        exec(_compiled(inputs["Script"]), scope)
        answer = json.dumps(scope[inputs["Handler"]](inputs.get("InputPayload", {}), {}), default=str)
    except (ClientError, BotoCoreError) as error:
        raise _refused(doing, error) from error
    except SCRIPT_ERRORS as error:
        raise StepFailed(doing, f"{type(error).__name__} - {error}") from error
    if len(answer) > LARGEST_PAYLOAD:
        raise StepFailed(doing, f"The script returned {len(answer)} bytes, more than {LARGEST_PAYLOAD}")
    document = {"Payload": json.loads(answer)}
    return Done({"OutputPayload": document}, document)


def execute_api(place: Place, inputs: Mapping[str, Any]) -> Work:
    """One API call; its answer is what selectors look into."""
    yield from ()
    answer = _call(place, inputs)
    return Done({"OutputPayload": answer}, answer)


def assert_property(place: Place, inputs: Mapping[str, Any]) -> Work:
    """One API call whose selected property must have one of the desired values."""
    yield from ()
    answer = _call(place, inputs)
    value, desired = _property(answer, inputs)
    if value not in desired:
        raise StepFailed(
            "Execute/Cancelling action",
            f"Property value '{value}' from the API output is not in the desired values. Desired values: {desired}.",
            kind="Verification",
        )
    return Done({"OutputPayload": answer}, answer)


def wait_for_property(place: Place, inputs: Mapping[str, Any]) -> Work:
    """The same call again and again until the property has a desired value; a property that is not there has none."""
    while True:
        answer = _call(place, inputs)
        value, desired = _property(answer, inputs)
        if value in desired:
            return Done({"OutputPayload": answer}, answer)
        yield Wait(place.world.now() + POLL)


def branch(place: Place, inputs: Mapping[str, Any]) -> Work:
    """Leads to the first choice that holds, else to the default, else on."""
    yield from ()
    for choice in inputs["Choices"]:
        if holds(choice):
            return Done(leads_to=choice["NextStep"])
    return Done(leads_to=inputs.get("Default"))


def run_command(place: Place, inputs: Mapping[str, Any]) -> Work:
    """Send the command and wait until it has ended on every node; anything but Success is a failed step."""
    ssm = place.boto3.client("ssm")
    request = {**inputs, "Parameters": {key: strings(value) for key, value in inputs.get("Parameters", {}).items()}}
    try:
        command = ssm.send_command(**request)["Command"]["CommandId"]
        while (status := ssm.list_commands(CommandId=command)["Commands"][0]["Status"]) in UNFINISHED:
            yield Wait(place.world.now() + COMMAND_LOOK, command)
    except (ClientError, BotoCoreError) as error:
        raise _refused("Execute/Cancelling action", error) from error
    outputs = {"CommandId": command, "Status": status, "OutputPayload": {"Status": status, "CommandId": command}}
    if status != "Success":
        doing = "verifying the command has completed"
        why = f"Command {command} returns unexpected invocation result: {{Status=[{status}], CommandId=[{command}]}}"
        raise StepFailed(doing, why, kind="Verification", outputs=outputs)
    return Done(outputs, outputs["OutputPayload"])


def change_instance_state(place: Place, inputs: Mapping[str, Any]) -> Work:
    """Start, stop or terminate, and wait for it; `running` also waits for both status checks."""
    ec2 = place.boto3.client("ec2")
    ids, desired = list(inputs["InstanceIds"]), inputs["DesiredState"]
    try:
        if not inputs.get("CheckStateOnly", False):
            force = {"Force": True} if inputs.get("Force") else {}
            getattr(ec2, CHANGES[desired])(InstanceIds=ids, **force)
        while True:
            statuses = ec2.describe_instance_status(InstanceIds=ids, IncludeAllInstances=True)["InstanceStatuses"]
            if len(statuses) == len(ids) and all(_has_reached(desired, status) for status in statuses):
                return Done({"InstanceStates": [desired] * len(ids)})
            _refuse_dead_ends(desired, statuses)
            yield Wait(place.world.now() + POLL)
    except (ClientError, BotoCoreError) as error:
        raise _refused("changing the instance state", error) from error


def sleep(place: Place, inputs: Mapping[str, Any]) -> Work:
    """Wait for an ISO 8601 duration such as PT10M, or until a moment."""
    now = place.world.now()
    end = now + duration(inputs["Duration"]) if "Duration" in inputs else datetime.fromisoformat(inputs["Timestamp"])
    while place.world.now() < end:
        yield Wait(end)
    return Done()


ACTIONS: Mapping[str, Action] = {
    "aws:executeScript": execute_script,
    "aws:executeAwsApi": execute_api,
    "aws:assertAwsResourceProperty": assert_property,
    "aws:waitForAwsResourceProperty": wait_for_property,
    "aws:branch": branch,
    "aws:runCommand": run_command,
    "aws:changeInstanceState": change_instance_state,
    "aws:sleep": sleep,
}

UNFINISHED = frozenset({"Pending", "InProgress", "Delayed", "Cancelling"})

SCRIPT_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What a script can go wrong with. Anything else is a fault of the simulator and must not pass for the script's."""

CHANGES = {"running": "start_instances", "stopped": "stop_instances", "terminated": "terminate_instances"}

DEAD_ENDS: Mapping[str, frozenset[str]] = {
    "running": frozenset({"stopping", "stopped", "shutting-down", "terminated"}),
    "stopped": frozenset({"shutting-down", "terminated"}),
    "terminated": frozenset(),
}
"""From these states an instance does not come to the desired one by itself."""

OPERATIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "StringEquals": lambda value, wanted: str(value) == wanted,
    "EqualsIgnoreCase": lambda value, wanted: str(value).lower() == wanted.lower(),
    "StartsWith": lambda value, wanted: str(value).startswith(wanted),
    "EndsWith": lambda value, wanted: str(value).endswith(wanted),
    "Contains": lambda value, wanted: wanted in str(value),
    "NumericEquals": lambda value, wanted: float(value) == wanted,
    "NumericGreater": lambda value, wanted: float(value) > wanted,
    "NumericLesser": lambda value, wanted: float(value) < wanted,
    "NumericGreaterOrEquals": lambda value, wanted: float(value) >= wanted,
    "NumericLesserOrEquals": lambda value, wanted: float(value) <= wanted,
    "BooleanEquals": lambda value, wanted: str(value).lower() == str(wanted).lower(),
}

PERMISSION_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
THROTTLING_CODES = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})

_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?\Z")


def duration(text: str) -> timedelta:
    """An ISO 8601 duration of days, hours, minutes and seconds; ValueError for anything else."""
    match = _DURATION.match(text)
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is no duration such as PT10M")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _call(place: Place, inputs: Mapping[str, Any]) -> dict[str, Any]:
    own = {"Service", "Api", "PropertySelector", "DesiredValues"}
    client = place.boto3.client(inputs["Service"])
    try:
        answer = getattr(client, xform_name(inputs["Api"]))(**{k: v for k, v in inputs.items() if k not in own})
    except (ClientError, BotoCoreError) as error:
        raise _refused("Execute/Cancelling action", error) from error
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _property(answer: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[str | None, list[str]]:
    found = select(answer, inputs["PropertySelector"])
    return str(found[0]) if found else None, [str(value) for value in inputs["DesiredValues"]]


def holds(choice: Mapping[str, Any]) -> bool:
    """Whether a resolved choice of a branch, or the condition of a loop, holds."""
    if "And" in choice:
        return all(holds(part) for part in choice["And"])
    if "Or" in choice:
        return any(holds(part) for part in choice["Or"])
    if "Not" in choice:
        return not holds(choice["Not"])
    operation = next(name for name in OPERATIONS if name in choice)
    return OPERATIONS[operation](choice["Variable"], choice[operation])


def _has_reached(desired: str, status: Mapping[str, Any]) -> bool:
    checks = [status.get(check, {}).get("Status") for check in ("InstanceStatus", "SystemStatus")]
    return status["InstanceState"]["Name"] == desired and (desired != "running" or checks == ["ok", "ok"])


def _refuse_dead_ends(desired: str, statuses: list[dict[str, Any]]) -> None:
    for status in statuses:
        state = status["InstanceState"]["Name"]
        if state in DEAD_ENDS[desired]:
            why = f"Instance {status['InstanceId']} entered unexpected state: {state}"
            raise StepFailed("verifying the instance state", why, kind="Verification")


def _refused(doing: str, error: ClientError | BotoCoreError) -> StepFailed:
    if not isinstance(error, ClientError):
        return StepFailed(doing, str(error), kind="Verification")
    code = error.response["Error"]["Code"]
    why = f"{error.response['Error'].get('Message', '')} (Error Code: {code})"
    kind = "Permission" if code in PERMISSION_CODES else "Throttling" if code in THROTTLING_CODES else "Action"
    return StepFailed(doing, why, kind=kind)


def _builtins(boto3: Any) -> dict[str, Any]:
    """Python's own, but `import boto3` gives the world's, and what tells or spends real time cannot be had."""

    def import_module(name: str, *arguments: Any, **options: Any) -> Any:
        if name in {"time", "datetime"}:
            raise ImportError(f"{name} would tell a script the real time; the simulated one is not to be had")
        return boto3 if name == "boto3" else __import__(name, *arguments, **options)

    return {**vars(builtins), "__import__": import_module}


@cache
def _compiled(script: str) -> CodeType:
    return compile(script, "customer_script.py", "exec")
