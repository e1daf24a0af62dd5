"""Events: what the bus carries out of the small world, spelt as AWS spells it."""

from __future__ import annotations

from typing import Any

from chalicelib.core.nodes import Location, Node
from patchwarden.simulate.executions import Run
from patchwarden.simulate.moments import moment


def compliance(node: Node, control: str, compliant: bool, now: float) -> dict[str, Any]:
    """What Systems Manager says of a node when its compliance is known anew."""
    arn = f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"
    said = {"resource-type": "managed-instance", "resource-id": node.id, "compliance-type": control,
            "compliance-status": "compliant" if compliant else "non_compliant", "severity": "critical"}  # fmt: skip
    return _event("aws.ssm", "Configuration Compliance State Change", node.location, now, said, arn)


def rule(node: Node, compliant: bool, now: float) -> dict[str, Any]:
    """What a Config rule says of a node, dated with its own time."""
    said = "COMPLIANT" if compliant else "NON_COMPLIANT"
    at = f"{moment(now):%Y-%m-%dT%H:%M:%S.000Z}"
    result = {"complianceType": said, "evaluationResultIdentifier": {"orderingTimestamp": at}}
    detail = {"resourceType": "AWS::SSM::PatchCompliance", "resourceId": node.id, "configRuleName": "patch-compliance",
              "awsAccountId": node.account, "awsRegion": node.region, "newEvaluationResult": result}  # fmt: skip
    return _event("aws.config", "Config Rules Compliance Change", node.location, now, detail)


def status(run: Run) -> dict[str, Any]:
    """That an execution has ended."""
    said = {"ExecutionId": run.id, "Definition": run.batch.document, "DefinitionVersion": 1.0,
            "Status": "Failed" if run.failed else "Success"}  # fmt: skip
    kind = "EC2 Automation Execution Status-change Notification"
    return _event("aws.ssm", kind, run.batch.location, run.ended or 0.0, said)


def node(node: Node, state: str, now: float) -> dict[str, Any]:
    """That an instance was stopped or terminated."""
    said = {"instance-id": node.id, "state": state}
    return _event("aws.ec2", "EC2 Instance State-change Notification", node.location, now, said)


def _event(
    source: str, kind: str, location: Location, now: float, detail: dict[str, Any], *resources: str
) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": kind, "source": source, "account": location.account,
        "region": location.region, "time": f"{moment(now):%Y-%m-%dT%H:%M:%SZ}", "resources": list(resources),
        "detail": detail,
    }  # fmt: skip
