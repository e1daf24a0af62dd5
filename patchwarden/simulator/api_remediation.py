"""Remediation: the operations of Config's remediation actions, as AWS Config answers them.

https://docs.aws.amazon.com/config/latest/APIReference/API_PutRemediationConfigurations.html
"""

from __future__ import annotations

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import Refusal

_TOKEN = "InvalidNextTokenException"
_LINKED = "/aws-service-rule/"


def put_remediation_configurations(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Not for a rule that a conformance pack, Security Hub or the organisation put there."""
    for asked in request["RemediationConfigurations"]:
        rule = next((one for one in aws.compliance.rules(caller.location) if one.name == asked["ConfigRuleName"]), None)
        if rule is None or _LINKED in rule.arn:
            why = "is service-linked" if rule else "does not exist"
            raise Refusal("InvalidParameterValueException", f"The ConfigRule {asked['ConfigRuleName']} {why}")
        if asked.get("Automatic") and "AutomationAssumeRole" not in asked.get("Parameters", {}):
            why = "AutomationAssumeRole is required for an automatic remediation"
            raise Refusal("InvalidParameterValueException", why)
        aws.remediations.put(caller.location, asked)
    return {"FailedBatches": []}


def describe_remediation_configurations(aws: Aws, caller: Caller, request: Request) -> Reply:
    known = aws.remediations.configurations[caller.location]
    return {"RemediationConfigurations": [dict(known[name]) for name in request["ConfigRuleNames"] if name in known]}


def start_remediation_execution(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Asynchronous; an exception does not stop what a person starts."""
    failed: list[Request] = []
    why = ""
    for key in request["ResourceKeys"]:
        try:
            aws.remediations.start(caller.location, request["ConfigRuleName"], key["resourceId"])
        except Refusal as refusal:
            if refusal.code == "NoSuchRemediationConfigurationException":
                raise
            failed, why = [*failed, key], refusal.message
    return {"FailureMessage": why, "FailedItems": failed} if failed else {}


def describe_remediation_execution_status(aws: Aws, caller: Caller, request: Request) -> Reply:
    wanted = [key["resourceId"] for key in request.get("ResourceKeys", [])]
    rule = request["ConfigRuleName"]
    if rule not in aws.remediations.configurations[caller.location]:
        raise Refusal("NoSuchRemediationConfigurationException", f"No RemediationConfiguration for rule {rule}")
    found = [one for one in aws.remediations.status(caller.location, rule)
             if not wanted or one["ResourceKey"]["resourceId"] in wanted]  # fmt: skip
    shown, token = page("DescribeRemediationExecutionStatus", found, request, most=100, limit="Limit", wrong=_TOKEN)
    return {"RemediationExecutionStatuses": list(shown), **token}


def describe_remediation_exceptions(aws: Aws, caller: Caller, request: Request) -> Reply:
    wanted = [key["ResourceId"] for key in request.get("ResourceKeys", [])]
    found = [
        {
            "ConfigRuleName": rule,
            "ResourceType": "AWS::SSM::PatchCompliance",
            "ResourceId": resource,
            "Message": message,
        }
        for (rule, resource), message in aws.remediations.exceptions[caller.location].items()
        if rule == request["ConfigRuleName"] and (not wanted or resource in wanted)
    ]
    shown, token = page("DescribeRemediationExceptions", found, request, most=100, limit="Limit", wrong=_TOKEN)
    return {"RemediationExceptions": list(shown), **token}


def delete_remediation_exceptions(aws: Aws, caller: Caller, request: Request) -> Reply:
    """A key without an exception fails its batch; the others are deleted."""
    known = aws.remediations.exceptions[caller.location]
    failed: list[Request] = []
    for key in request["ResourceKeys"]:
        if known.pop((request["ConfigRuleName"], key["ResourceId"]), None) is None:
            failed.append(key)
    batch = {"FailureMessage": "No RemediationException exists for the resource", "FailedItems": failed}
    return {"FailedBatches": [batch] if failed else []}


OPERATIONS: dict[str, Operation] = {
    "PutRemediationConfigurations": put_remediation_configurations,
    "DescribeRemediationConfigurations": describe_remediation_configurations,
    "StartRemediationExecution": start_remediation_execution,
    "DescribeRemediationExecutionStatus": describe_remediation_execution_status,
    "DescribeRemediationExceptions": describe_remediation_exceptions,
    "DeleteRemediationExceptions": delete_remediation_exceptions,
}
