"""Events: EventBridge events in AWS's own spelling, quirks and all.

https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html
https://docs.aws.amazon.com/config/latest/developerguide/monitor-config-with-cloudwatchevents.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location, Node

Event = dict[str, Any]

PATCH_RULE = "ec2-managedinstance-patch-compliance-status-check"
PATCH_COMPLIANCE = "AWS::SSM::PatchCompliance"

# What the API calls a status, where the events call it something else.
_EVENT_STATUSES = {"Cancelled": "Canceled"}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Rule:
    """A Config rule as it stands in one account and Region, under the name that its owner gave it."""

    name: str
    arn: str
    resource_type: str = PATCH_COMPLIANCE


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One result of a Config rule for one node."""

    rule: Rule
    node: Node
    compliance: str
    ordering: datetime
    invoked: datetime
    recorded: datetime

    @property
    def resource_id(self) -> str:
        """Prefixed, as Config names the patch compliance of a node."""
        return config_resource_id(self.node.id)


def config_resource_id(node: str) -> str:
    return f"AWS::SSM::ManagedInstanceInventory/{node}"


def node_arn(node: Node) -> str:
    """The ARN of the managed node; of the instance itself where EC2 speaks."""
    return f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"


def instance_arn(node: Node) -> str:
    return f"arn:aws:ec2:{node.region}:{node.account}:instance/{node.id}"


def config_rule_compliance(id: str, new: Evaluation, old: Evaluation | None, at: datetime) -> Event:
    """A rule came to another result. The first evaluation has no old one: the key is absent, not null."""
    detail: dict[str, Any] = {
        "resourceId": new.resource_id,
        "awsRegion": new.node.region,
        "awsAccountId": new.node.account,
        "configRuleName": new.rule.name,
        "recordVersion": "1.0",
        "configRuleARN": new.rule.arn,
        "messageType": "ComplianceChangeNotification",
        "newEvaluationResult": _result(new),
        "notificationCreationTime": format_moment(at),
        "resourceType": new.rule.resource_type,
    }
    if old is not None:
        detail["oldEvaluationResult"] = _result(old)
    return _event(id, "aws.config", "Config Rules Compliance Change", new.node.location, at, [], detail)


def ssm_compliance(id: str, node: Node, compliant: bool, baseline: str, severity: str, at: datetime) -> Event:
    """Systems Manager's own word on patch compliance, in small letters and without the state before."""
    detail = {
        "resource-type": "managed-instance",
        "resource-id": node.id,
        "compliance-status": "compliant" if compliant else "non_compliant",
        "compliance-type": "Patch",
        "patch-baseline-id": baseline,
        "severity": severity.lower(),
    }
    where = [node_arn(node)]
    return _event(id, "aws.ssm", "Configuration Compliance State Change", node.location, at, where, detail)


def ssm_association_compliance(id: str, node: Node, compliant: bool, last_run: datetime, at: datetime) -> Event:
    """The same for State Manager associations."""
    detail = {
        "last-runtime": _seconds(last_run),
        "compliance-status": "compliant" if compliant else "non_compliant",
        "resource-type": "managed-instance",
        "resource-id": node.id,
        "compliance-type": "Association",
    }
    where = [node_arn(node)]
    return _event(id, "aws.ssm", "Configuration Compliance State Change", node.location, at, where, detail)


def automation_status(id: str, location: Location, execution: Mapping[str, Any], at: datetime) -> Event:
    """An automation ended; `execution` as GetAutomationExecution gives it. There is no event for its beginning."""
    detail = {
        **_definition(execution),
        "Status": _status(execution["AutomationExecutionStatus"]),
        **_span(execution),
        "ExecutedBy": execution["ExecutedBy"],
    }
    kind = "EC2 Automation Execution Status-change Notification"
    return _event(id, "aws.ssm", kind, location, at, _automation_arns(location, execution), detail)


def automation_step_status(
    id: str, location: Location, execution: Mapping[str, Any], step: Mapping[str, Any], at: datetime
) -> Event:
    """A step of an automation ended; `step` is one of its StepExecutions."""
    detail = {
        **_definition(execution),
        "Status": _status(step["StepStatus"]),
        **_span(step),
        "StepName": step["StepName"],
        "Action": step["Action"],
    }
    kind = "EC2 Automation Step Status-change Notification"
    return _event(id, "aws.ssm", kind, location, at, _automation_arns(location, execution), detail)


def instance_state(id: str, node: Node, state: str, at: datetime) -> Event:
    """EC2: pending, running, stopping, stopped, shutting-down or terminated."""
    detail = {"instance-id": node.id, "state": state}
    where = [instance_arn(node)]
    return _event(id, "aws.ec2", "EC2 Instance State-change Notification", node.location, at, where, detail)


def command_status(id: str, location: Location, command: Mapping[str, Any], at: datetime) -> Event:
    """A run command as a whole changed its status; `command` as ListCommands gives it."""
    detail = {
        "command-id": command["CommandId"],
        "document-name": command["DocumentName"],
        "expire-after": format_moment(command["ExpiresAfter"]),
        "parameters": command["Parameters"],
        "requested-date-time": format_moment(command["RequestedDateTime"]),
        "status": _status(command["Status"]),
    }
    where = [_target_arn(location, node) for node in command["InstanceIds"]]
    return _event(id, "aws.ssm", "EC2 Command Status-change Notification", location, at, where, detail)


def invocation_status(id: str, location: Location, invocation: Mapping[str, Any], at: datetime) -> Event:
    """A run command changed its status on one node; `invocation` as ListCommandInvocations gives it."""
    detail = {
        "command-id": invocation["CommandId"],
        "document-name": invocation["DocumentName"],
        "instance-id": invocation["InstanceId"],
        "requested-date-time": format_moment(invocation["RequestedDateTime"]),
        "status": _status(invocation["Status"]),
    }
    where = [_target_arn(location, invocation["InstanceId"])]
    return _event(id, "aws.ssm", "EC2 Command Invocation Status-change Notification", location, at, where, detail)


def foreign(id: str, location: Location, at: datetime, number: int) -> Event:
    """One of the many events of others on the same bus; which one, `number` says."""
    source, kind, resources, detail = _FOREIGN[number % len(_FOREIGN)]
    named = {"account": location.account, "region": location.region}
    return _event(id, source, kind, location, at, [text.format(**named) for text in resources], dict(detail))


def foreign_kinds() -> Iterator[str]:
    """The detail types that `foreign` knows, in the order of their numbers."""
    return (kind for _, kind, _, _ in _FOREIGN)


def java_time(moment: datetime) -> str:
    """Nov 29, 2026 7:43:20 PM: no leading zeros, no zone."""
    hour = moment.hour % 12 or 12
    half = "AM" if moment.hour < 12 else "PM"
    return f"{_MONTHS[moment.month - 1]} {moment.day}, {moment.year} {hour}:{moment:%M:%S} {half}"


def _event(
    id: str, source: str, kind: str, location: Location, at: datetime, resources: list[str], detail: Mapping[str, Any]
) -> Event:
    return {
        "version": "0",
        "id": id,
        "detail-type": kind,
        "source": source,
        "account": location.account,
        "time": _seconds(at),
        "region": location.region,
        "resources": resources,
        "detail": detail,
    }


def _result(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "evaluationResultIdentifier": {
            "evaluationResultQualifier": {
                "configRuleName": evaluation.rule.name,
                "resourceType": evaluation.rule.resource_type,
                "resourceId": evaluation.resource_id,
                "evaluationMode": "DETECTIVE",
            },
            "orderingTimestamp": format_moment(evaluation.ordering),
        },
        "complianceType": evaluation.compliance,
        "resultRecordedTime": format_moment(evaluation.recorded),
        "configRuleInvokedTime": format_moment(evaluation.invoked),
    }


def _definition(execution: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ExecutionId": execution["AutomationExecutionId"],
        "Definition": execution["DocumentName"],
        "DefinitionVersion": float(execution["DocumentVersion"]),
    }


def _span(done: Mapping[str, Any]) -> dict[str, Any]:
    """A step that never ran has no times."""
    started, ended = done.get("ExecutionStartTime"), done.get("ExecutionEndTime")
    span: dict[str, Any] = {"StartTime": java_time(started)} if started else {}
    if started and ended:
        span |= {"EndTime": java_time(ended), "Time": float(round((ended - started).total_seconds() * 1000))}
    return span


def _automation_arns(location: Location, execution: Mapping[str, Any]) -> list[str]:
    prefix = f"arn:aws:ssm:{location.region}:{location.account}"
    return [
        f"{prefix}:automation-execution/{execution['AutomationExecutionId']}",
        f"{prefix}:automation-definition/{execution['DocumentName']}:{execution['DocumentVersion']}",
    ]


def _target_arn(location: Location, node: str) -> str:
    """Run Command names EC2 nodes as instances and hybrid ones as managed nodes."""
    one = Node(location.account, location.region, node)
    return node_arn(one) if one.kind == "hybrid" else instance_arn(one)


def _status(status: str) -> str:
    return _EVENT_STATUSES.get(status, status)


def _seconds(moment: datetime) -> str:
    return format_moment(moment)[:19] + "Z"


_VOLUME = "vol-0a1b2c3d4e5f60718"
_FOREIGN: tuple[tuple[str, str, list[str], dict[str, Any]], ...] = (
    (
        "aws.config",
        "Config Rules Compliance Change",
        [],
        {
            "resourceId": _VOLUME,
            "resourceType": "AWS::EC2::Volume",
            "configRuleName": "encrypted-volumes",
            "messageType": "ComplianceChangeNotification",
            "recordVersion": "1.0",
            "newEvaluationResult": {"complianceType": "NON_COMPLIANT"},
        },
    ),
    ("aws.s3", "Object Created", ["arn:aws:s3:::reports-example"], {"object": {"key": "daily.csv", "size": 4096}}),
    (
        "aws.autoscaling",
        "EC2 Instance Launch Successful",
        ["arn:aws:autoscaling:{region}:{account}:autoScalingGroup:web"],
        {"AutoScalingGroupName": "web", "StatusCode": "InProgress"},
    ),
    ("aws.health", "AWS Health Event", [], {"service": "EC2", "eventTypeCategory": "scheduledChange"}),
    (
        "aws.ssm",
        "Parameter Store Change",
        ["arn:aws:ssm:{region}:{account}:parameter/web/banner"],
        {"operation": "Update", "name": "/web/banner", "type": "String"},
    ),
    (
        "aws.ssm",
        "Calendar State Change",
        ["arn:aws:ssm:{region}:{account}:document/quiet-days"],
        {"state": "OPEN", "atTime": "2026-11-23T12:00:00Z", "nextTransitionTime": "2026-12-24T00:00:00Z"},
    ),
    ("aws.guardduty", "GuardDuty Finding", [], {"type": "Recon:EC2/PortProbeUnprotectedPort", "severity": 2}),
    ("com.example.billing", "Invoice Issued", [], {"invoice": "2026-000417"}),
)
