"""Events: what EventBridge sends, in AWS's spelling, turned into what it says to us, or why we leave it alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.core.envelopes import (
    Envelope,
    Kind,
    Refused,
    cleaned,
    is_version,
    moment,
    one_of,
    open_envelope,
    printable,
    printables,
    shown,
)
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node


@dataclass(frozen=True, slots=True)
class ExecutionUpdate:
    """An automation execution changed its status; `ended` is None for a status that we do not know."""

    location: Location
    execution: str
    document: str
    status: str
    ended: bool | None
    at: datetime


@dataclass(frozen=True, slots=True)
class NodeUpdate:
    """An EC2 instance changed its state: `terminated`, `shutting-down`, `stopped`, `stopping` or `running`."""

    node: Node
    state: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Ignored:
    """An event that starts nothing: `reason` is a sentence, `kind` one of a few words to count by."""

    reason: str
    kind: str


Parsed = Finding | ExecutionUpdate | NodeUpdate | Ignored

ENDED: Mapping[str, bool] = {
    **dict.fromkeys(("Pending", "InProgress", "Waiting", "Scheduled", "RunbookInProgress"), False),
    **dict.fromkeys(("Approved", "PendingApproval", "Cancelling", "Canceling"), False),
    **dict.fromkeys(("PendingChangeCalendarOverride", "ChangeCalendarOverrideApproved"), False),
    **dict.fromkeys(("Success", "Failed", "TimedOut", "Cancelled", "Canceled", "Rejected", "Exited"), True),
    **dict.fromkeys(("ChangeCalendarOverrideRejected", "CompletedWithSuccess", "CompletedWithFailure"), True),
}
"""Whether an execution of this status is over: the API says Cancelled, the event says Canceled. An unknown status
is neither. https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AutomationExecution.html"""

_CONFIG_CONTROLS = {
    "AWS::SSM::PatchCompliance": Control.PATCH,
    "AWS::SSM::AssociationCompliance": Control.ASSOCIATION,
}
_SSM_CONTROLS = {"Patch": Control.PATCH, "Association": Control.ASSOCIATION}
_CONFIG_COMPLIANT = {"COMPLIANT": True, "NON_COMPLIANT": False}
_CONFIG_SILENT = {"NOT_APPLICABLE", "INSUFFICIENT_DATA"}
_SSM_COMPLIANT = {"compliant": True, "non_compliant": False}
_NODE_STATES = {"terminated", "shutting-down", "stopped", "stopping", "running"}

_CONFIG_RULE = ("aws.config", "Config Rules Compliance Change")
_SSM_COMPLIANCE = ("aws.ssm", "Configuration Compliance State Change")
_EXECUTION = ("aws.ssm", "EC2 Automation Execution Status-change Notification")
_NODE_STATE = ("aws.ec2", "EC2 Instance State-change Notification")

_EXECUTION_ID = re.compile(r"[0-9a-fA-F-]{36}\Z")


EVENT_PATTERNS: dict[str, dict[str, Any]] = {
    # by type of resource and not by name of rule: conformance packs and Security Hub rename their rules
    "on_config_rule": {
        "source": [_CONFIG_RULE[0]],
        "detail-type": [_CONFIG_RULE[1]],
        "detail": {"resourceType": list(_CONFIG_CONTROLS)},
    },
    "on_ssm_compliance": {
        "source": [_SSM_COMPLIANCE[0]],
        "detail-type": [_SSM_COMPLIANCE[1]],
        "detail": {"resource-type": ["managed-instance"], "compliance-type": list(_SSM_CONTROLS)},
    },
    # whatever the document: a policy may name another one, or a shared one by its ARN; the ledger knows which are ours
    "on_execution": {"source": [_EXECUTION[0]], "detail-type": [_EXECUTION[1]]},
    "on_node_state": {
        "source": [_NODE_STATE[0]],
        "detail-type": [_NODE_STATE[1]],
        "detail": {"state": ["terminated", "shutting-down", "stopped"]},
    },
}
"""What each handler of app.py asks EventBridge for.

https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html
"""


def parse(event: object) -> Parsed:
    """What an EventBridge event says. Pure, and raises nothing whatever it is given.

    `Ignored.kind` is foreign, malformed, forged, no_node, too_large, unknown_version or inconclusive.
    """
    try:
        envelope = open_envelope(event, known=_READERS)
        return _READERS[envelope.kind](envelope)
    except Refused as refused:
        return Ignored(refused.reason, refused.kind)


def _config_rule(envelope: Envelope) -> Finding:
    """https://docs.aws.amazon.com/config/latest/developerguide/monitor-config-with-cloudwatchevents.html"""
    detail = envelope.detail
    control = one_of(_CONFIG_CONTROLS, detail.get("resourceType"), "resourceType")
    if not is_version(detail.get("recordVersion", "1.0"), 1):
        raise Refused("unknown_version", f"record version {shown(detail['recordVersion'])} is not known, only 1")
    envelope.check_place(detail.get("awsAccountId"), detail.get("awsRegion"))
    envelope.check_arns()
    result = detail.get("newEvaluationResult")
    if not isinstance(result, dict):
        raise Refused("malformed", "the event has no newEvaluationResult")
    said = result.get("complianceType")
    if isinstance(said, str) and said in _CONFIG_SILENT:
        raise Refused("inconclusive", f"{said} says neither compliant nor non-compliant")
    identifier = result.get("evaluationResultIdentifier")
    ordering = identifier.get("orderingTimestamp") if isinstance(identifier, dict) else None
    return Finding(
        node=envelope.node(detail.get("resourceId"), "resourceId"),
        control=control,
        compliant=one_of(_CONFIG_COMPLIANT, said, "complianceType", kind="malformed"),
        observed_at=moment(ordering, "orderingTimestamp"),
        source=Source.CONFIG,
        rule=printable(detail.get("configRuleName"), "configRuleName"),
        detail=_config_detail(detail, result),
    )


def _config_detail(detail: Mapping[Any, Any], result: Mapping[Any, Any]) -> dict[str, Any]:
    """What policies may look at, nested as in the event; a first evaluation has no old result."""
    remark, old = cleaned(result.get("annotation")), detail.get("oldEvaluationResult")
    kept: dict[str, Any] = {
        **printables(detail, "configRuleName", "configRuleARN", "resourceType", "resourceId"),
        "newEvaluationResult": {**printables(result, "complianceType"), **({"annotation": remark} if remark else {})},
    }
    if isinstance(old, dict):
        kept["oldEvaluationResult"] = printables(old, "complianceType")
    return kept


def _ssm_compliance(envelope: Envelope) -> Finding:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html"""
    detail = envelope.detail
    if detail.get("resource-type") != "managed-instance":
        raise Refused("foreign", f"resource-type {shown(detail.get('resource-type'))} is none that we act on")
    control = one_of(_SSM_CONTROLS, detail.get("compliance-type"), "compliance-type")
    node = envelope.node(detail.get("resource-id"), "resource-id")
    envelope.check_arns(node.id)
    return Finding(
        node=node,
        control=control,
        compliant=one_of(_SSM_COMPLIANT, detail.get("compliance-status"), "compliance-status", kind="malformed"),
        observed_at=envelope.at,
        source=Source.SSM,
        detail=printables(
            detail, "compliance-type", "compliance-status", "severity", "patch-baseline-id", "last-runtime"
        ),
    )


def _execution(envelope: Envelope) -> ExecutionUpdate:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/reference-eventbridge-events.html"""
    detail = envelope.detail
    execution = detail.get("ExecutionId")
    if not (isinstance(execution, str) and _EXECUTION_ID.match(execution)):
        raise Refused("malformed", f"ExecutionId {shown(execution)} is no execution id")
    envelope.check_arns()
    status = printable(detail.get("Status"), "Status")
    return ExecutionUpdate(
        location=envelope.location,
        execution=execution,
        document=printable(detail.get("Definition"), "Definition"),
        status=status,
        ended=ENDED.get(status),
        at=envelope.at,
    )


def _node_state(envelope: Envelope) -> NodeUpdate:
    """https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html"""
    state = envelope.detail.get("state")
    if not (isinstance(state, str) and state in _NODE_STATES):
        raise Refused("foreign", f"the instance state {shown(state)} is none that we act on")
    # no check of the ARNs: EC2's own documentation shows an event whose ARN names another account
    return NodeUpdate(envelope.node(envelope.detail.get("instance-id"), "instance-id"), state, envelope.at)


_READERS: dict[Kind, Callable[[Envelope], Parsed]] = {
    _CONFIG_RULE: _config_rule,
    _SSM_COMPLIANCE: _ssm_compliance,
    _EXECUTION: _execution,
    _NODE_STATE: _node_state,
}
