"""Permissions: may the member role do what the service does? Asked by calls that change nothing, whatever is answered.

A call that names nothing that exists is refused either for want of permission, or because nothing is there: the
second means that it is allowed. AWS checks the permission first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.errors import Denied
from chalicelib.core.plans import PATCH_NODES, PATCH_STOPPED_NODE
from patchwarden.doctor.remarks import OK, REFUSED, UPDATE, WRONG, Patient, Remark, code
from patchwarden.doctor.roles import denied, starting

NO_NODE = "i-00000000000000000"
NO_HYBRID = "mi-00000000000000000"
NO_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Probe:
    """A harmless call; `service` and `operation` as boto3 spells them."""

    action: str
    service: str
    operation: str
    given: dict[str, Any] = field(default_factory=dict, hash=False)


PROBES = (
    Probe("ssm:DescribeInstanceInformation", "ssm", "describe_instance_information", {"MaxResults": 5}),
    Probe("ssm:DescribeInstancePatchStates", "ssm", "describe_instance_patch_states", {"InstanceIds": [NO_NODE]}),
    Probe("ssm:DescribeInstancePatches", "ssm", "describe_instance_patches", {"InstanceId": NO_NODE}),
    Probe("ssm:ListResourceComplianceSummaries", "ssm", "list_resource_compliance_summaries", {"MaxResults": 1}),
    Probe("ssm:ListComplianceItems", "ssm", "list_compliance_items",
          {"ResourceIds": [NO_NODE], "ResourceTypes": ["ManagedInstance"],
           "Filters": [{"Key": "ComplianceType", "Values": ["Association"], "Type": "EQUAL"}]}),
    Probe("ssm:ListTagsForResource", "ssm", "list_tags_for_resource",
          {"ResourceType": "ManagedInstance", "ResourceId": NO_HYBRID}),
    Probe("ssm:ListCommandInvocations", "ssm", "list_command_invocations", {"CommandId": NO_ID}),
    Probe("ssm:CancelCommand", "ssm", "cancel_command", {"CommandId": NO_ID}),
    Probe("ssm:DescribeAutomationExecutions", "ssm", "describe_automation_executions", {"MaxResults": 1}),
    Probe("ssm:GetAutomationExecution", "ssm", "get_automation_execution", {"AutomationExecutionId": NO_ID}),
    Probe("ssm:DescribeAutomationStepExecutions", "ssm", "describe_automation_step_executions",
          {"AutomationExecutionId": NO_ID}),
    Probe("ssm:StopAutomationExecution", "ssm", "stop_automation_execution",
          {"AutomationExecutionId": NO_ID, "Type": "Cancel"}),
    # the source may not name AWS, so that no item is made of this
    Probe("ssm:CreateOpsItem", "ssm", "create_ops_item",
          {"Title": "probe", "Description": "a probe of the permission", "Source": "aws"}),
    Probe("ssm:UpdateOpsItem", "ssm", "update_ops_item", {"OpsItemId": "oi-000000000000"}),
    Probe("ec2:DescribeInstances", "ec2", "describe_instances",
          {"Filters": [{"Name": "instance-id", "Values": [NO_NODE]}]}),
    # without the parameters that they require, the runbooks do not start
    *(Probe(f"ssm:StartAutomationExecution on {name}", "ssm", "start_automation_execution", {"DocumentName": name})
      for name in (PATCH_NODES, PATCH_STOPPED_NODE)),
)  # fmt: skip
"""iam:PassRole and ssm:AddTagsToResource are not here: nothing short of a start asks for them, so IAM is (`roles`)."""


def permissions(patient: Patient) -> Iterator[Remark]:
    """One remark for each action that is refused, or one that all are allowed.

    In the hub's own account the caller is a person, and what its functions may do is looked at there (`hub`).
    """
    probes = [*PROBES, *(probe for rule in patient.rules for probe in exceptions(rule))]
    refused = [probe.action for probe in probes if not _allowed(patient, probe)]
    wishes = [] if patient.hub else starting(patient)
    refused += [f"{wish.action} on {wish.resource}" for wish in denied(patient, patient.role, wishes)]
    for action in refused:
        yield patient.says(
            "permissions", WRONG, f"{'your role' if patient.hub else patient.role} may not {action}",
            "deploy the member role again, or add the action to its policy (docs/permissions.md)", UPDATE,
        )  # fmt: skip
    if not refused:
        yield patient.says("permissions", OK, f"{len(probes) + len(wishes)} actions are allowed")


def exceptions(rule: str) -> tuple[Probe, Probe]:
    """What is asked where a rule's remediation action asks us: a node that there is not has no exception to lose."""
    nobody = [
        {"ResourceType": "AWS::SSM::PatchCompliance", "ResourceId": f"AWS::SSM::ManagedInstanceInventory/{NO_NODE}"}
    ]
    named = {"ConfigRuleName": rule}
    return (
        Probe("config:DescribeRemediationExceptions", "config", "describe_remediation_exceptions", named),
        Probe("config:DeleteRemediationExceptions", "config", "delete_remediation_exceptions",
              {**named, "ResourceKeys": nobody}),
    )  # fmt: skip


def _allowed(patient: Patient, probe: Probe) -> bool:
    if probe.operation == "start_automation_execution":
        patient.pause(1.1)  # one start a second is all that Systems Manager takes
    try:
        patient.ask(probe.service, probe.operation, **probe.given)
    except Denied as error:
        if not code(error):
            raise
        return code(error) not in REFUSED
    return True
