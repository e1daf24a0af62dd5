"""SSM on what is done: automations, run commands and OpsItems, as Systems Manager answers.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from patchwarden.simulator.automations import Execution
from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.commands import Command, Invocation
from patchwarden.simulator.fan_out import FanOut
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import NotServed, Refusal

# What DescribeAutomationExecutions tells of an execution; GetAutomationExecution tells all.
_METADATA = (
    "AutomationExecutionId", "DocumentName", "DocumentVersion", "AutomationExecutionStatus", "ExecutionStartTime",
    "ExecutionEndTime", "ExecutedBy", "Outputs", "Mode", "CurrentStepName", "CurrentAction", "FailureMessage",
    "Targets", "ResolvedTargets", "Target", "ParentAutomationExecutionId", "TargetParameterName", "MaxConcurrency",
    "MaxErrors",
)  # fmt: skip


_ROLE = "AutomationAssumeRole"


def start_automation_execution(aws: Aws, caller: Caller, request: Request) -> Reply:
    """What carries tags from its start asks for a second permission, and a role that is passed on for a third."""
    asked = {"ssm:AddTagsToResource": request.get("Tags"), "iam:PassRole": request.get("Parameters", {}).get(_ROLE)}
    for action in [action for action, given in asked.items() if given]:
        if (caller.account, action) in aws.setup.refused:
            raise Refusal("AccessDeniedException", f"User: {caller.arn} is not authorized to perform: {action}")
    return {"AutomationExecutionId": aws.automations.start(caller.location, request, caller.arn)}


def stop_automation_execution(aws: Aws, caller: Caller, request: Request) -> Reply:
    aws.automations.stop(caller.location, request["AutomationExecutionId"], request.get("Type", "Cancel"))
    return {}


def get_automation_execution(aws: Aws, caller: Caller, request: Request) -> Reply:
    found = aws.automations.find(caller.location, request["AutomationExecutionId"])
    return {"AutomationExecution": found.to_api()}


def describe_automation_executions(aws: Aws, caller: Caller, request: Request) -> Reply:
    found = [
        execution
        for execution in aws.automations.known(caller.location)
        if all(_execution_matches(execution, one["Key"], one["Values"]) for one in request.get("Filters", []))
    ]
    shown, token = page("DescribeAutomationExecutions", found, request, most=50)
    return {"AutomationExecutionMetadataList": [_metadata(execution) for execution in shown], **token}


def describe_automation_step_executions(aws: Aws, caller: Caller, request: Request) -> Reply:
    if request.get("Filters"):
        raise NotServed("DescribeAutomationStepExecutions with Filters")
    steps = aws.automations.find(caller.location, request["AutomationExecutionId"]).to_api()["StepExecutions"]
    ordered = steps[::-1] if request.get("ReverseOrder") else steps
    shown, token = page("DescribeAutomationStepExecutions", ordered, request, most=50)
    return {"StepExecutions": list(shown), **token}


def send_command(aws: Aws, caller: Caller, request: Request) -> Reply:
    return {"Command": aws.commands.send(caller.location, request).to_api()}


def cancel_command(aws: Aws, caller: Caller, request: Request) -> Reply:
    aws.commands.cancel(_command(aws, caller, request["CommandId"]), request.get("InstanceIds", ()))
    return {}


def list_commands(aws: Aws, caller: Caller, request: Request) -> Reply:
    filters = {one["key"]: one["value"] for one in request.get("Filters", [])}
    if filters.keys() - {"ExecutionStage"}:
        raise NotServed("ListCommands with Filters other than ExecutionStage")
    found = (
        [_command(aws, caller, request["CommandId"])] if "CommandId" in request else aws.commands.sent(caller.location)
    )
    found = [one for one in found if request.get("InstanceId", one.nodes[0]) in one.nodes]
    if "ExecutionStage" in filters:
        found = [one for one in found if one.over == (filters["ExecutionStage"] == "Complete")]
    shown, token = page("ListCommands", found, request, most=50)
    return {"Commands": [command.to_api() for command in shown], **token}


def list_command_invocations(aws: Aws, caller: Caller, request: Request) -> Reply:
    filters = {one["key"]: one["value"] for one in request.get("Filters", [])}
    if filters.keys() - {"Status"}:
        raise NotServed("ListCommandInvocations with Filters other than Status")
    found = (
        [_command(aws, caller, request["CommandId"])] if "CommandId" in request else aws.commands.sent(caller.location)
    )
    told = [
        command.invocation_to_api(invocation, details=request.get("Details", False))
        for command in found
        for invocation in command.invocations.values()
        if request.get("InstanceId", invocation.node) == invocation.node
        and filters.get("Status", invocation.status) == invocation.status
    ]
    shown, token = page("ListCommandInvocations", told, request, most=50)
    return {"CommandInvocations": list(shown), **token}


def get_command_invocation(aws: Aws, caller: Caller, request: Request) -> Reply:
    command = _command(aws, caller, request["CommandId"])
    invocation = command.invocations.get(request["InstanceId"])
    if invocation is None:
        raise Refusal("InvocationDoesNotExist", "The command ID and managed node ID you specified didn't match")
    return _invocation(command, invocation)


def create_ops_item(aws: Aws, caller: Caller, request: Request) -> Reply:
    item = aws.opsitems.create(caller.location, request, caller.arn)
    return {"OpsItemId": item.id, "OpsItemArn": item.values["OpsItemArn"]}


def update_ops_item(aws: Aws, caller: Caller, request: Request) -> Reply:
    aws.opsitems.update(caller.location, request, caller.arn)
    return {}


def get_ops_item(aws: Aws, caller: Caller, request: Request) -> Reply:
    return {"OpsItem": aws.opsitems.find(caller.location, request["OpsItemId"]).to_api()}


def describe_ops_items(aws: Aws, caller: Caller, request: Request) -> Reply:
    found = aws.opsitems.matching(caller.location, request.get("OpsItemFilters", []))
    shown, token = page("DescribeOpsItems", found, request, most=50)
    return {"OpsItemSummaries": [item.summary() for item in shown], **token}


OPERATIONS: dict[str, Operation] = {
    "StartAutomationExecution": start_automation_execution,
    "StopAutomationExecution": stop_automation_execution,
    "GetAutomationExecution": get_automation_execution,
    "DescribeAutomationExecutions": describe_automation_executions,
    "DescribeAutomationStepExecutions": describe_automation_step_executions,
    "SendCommand": send_command,
    "CancelCommand": cancel_command,
    "ListCommands": list_commands,
    "ListCommandInvocations": list_command_invocations,
    "GetCommandInvocation": get_command_invocation,
    "CreateOpsItem": create_ops_item,
    "UpdateOpsItem": update_ops_item,
    "GetOpsItem": get_ops_item,
    "DescribeOpsItems": describe_ops_items,
}


def _metadata(execution: Execution | FanOut) -> Reply:
    told = execution.to_api()
    return {**{name: told[name] for name in _METADATA if name in told}, "AutomationType": execution.kind}


def _execution_matches(execution: Execution | FanOut, key: str, values: list[str]) -> bool:
    if key not in _EXECUTION_FILTERS:
        raise NotServed(f"DescribeAutomationExecutions with the filter {key}")
    return any(_EXECUTION_FILTERS[key](execution, value) for value in values)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise Refusal("InvalidFilterValue", f"The filter value {text} is not valid") from error


def _started(execution: Execution | FanOut) -> datetime | None:
    return execution.record.started_at


_EXECUTION_FILTERS: dict[str, Callable[[Execution | FanOut, str], bool]] = {
    "DocumentNamePrefix": lambda one, value: one.record.document.startswith(value),
    "ExecutionStatus": lambda one, value: one.record.status == value,
    "ExecutionId": lambda one, value: one.id == value,
    "ParentExecutionId": lambda one, value: one.parent == value,
    "CurrentAction": lambda one, value: one.to_api().get("CurrentAction") == value,
    "StartTimeBefore": lambda one, value: (at := _started(one)) is not None and at < _moment(value),
    "StartTimeAfter": lambda one, value: (at := _started(one)) is not None and at > _moment(value),
    "AutomationType": lambda one, value: one.kind == value,
    "TagKey": lambda one, value: any(tag["Key"] == value for tag in one.tags),
}


def _command(aws: Aws, caller: Caller, command: str) -> Command:
    found = aws.commands.find(caller.location, command)
    if found is None:
        raise Refusal("InvalidCommandId", f"The command ID {command} is not valid")
    return found


def _invocation(command: Command, invocation: Invocation) -> Reply:
    """Times are text here, and empty while there is none."""
    told = command.invocation_to_api(invocation, details=True)
    same = ("CommandId", "InstanceId", "Comment", "DocumentName", "DocumentVersion", "Status", "StatusDetails")
    return {
        **{name: told[name] for name in same},
        "PluginName": invocation.plugin,
        "ResponseCode": invocation.code,
        "ExecutionStartDateTime": _text(invocation.started_at),
        "ExecutionEndDateTime": _text(invocation.ended_at),
        "StandardOutputContent": invocation.output,
        "StandardErrorContent": "",
    }


def _text(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else ""
