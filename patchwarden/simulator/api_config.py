"""Config: the results of the rules on patch compliance, as AWS Config answers.

https://docs.aws.amazon.com/config/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from collections import defaultdict

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.events import PATCH_COMPLIANCE, PATCH_RULE, Evaluation
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import Refusal

_TOKEN = "InvalidNextTokenException"


def get_compliance_details_by_resource(aws: Aws, caller: Caller, request: Request) -> Reply:
    found = [one for one in _results(aws, caller, request) if one.resource_id == request.get("ResourceId")]
    shown, token = page("GetComplianceDetailsByResource", found, request, most=100, wrong=_TOKEN)
    return {"EvaluationResults": [_result(one) for one in shown], **token}


def get_compliance_details_by_config_rule(aws: Aws, caller: Caller, request: Request) -> Reply:
    name = request["ConfigRuleName"]
    if name not in [rule.name for rule in aws.compliance.rules(caller.location)]:
        raise Refusal("NoSuchConfigRuleException", f"The ConfigRule provided in the request is invalid: {name}")
    found = [one for one in _results(aws, caller, request) if one.rule.name == name]
    shown, token = page("GetComplianceDetailsByConfigRule", found, request, most=100, limit="Limit", wrong=_TOKEN)
    return {"EvaluationResults": [_result(one) for one in shown], **token}


def describe_compliance_by_resource(aws: Aws, caller: Caller, request: Request) -> Reply:
    """A resource is non-compliant if one rule says so."""
    by_resource: dict[str, list[str]] = defaultdict(list)
    for one in _results(aws, caller, {**request, "ComplianceTypes": []}):
        if request.get("ResourceId", one.resource_id) == one.resource_id:
            by_resource[one.resource_id].append(one.compliance)
    wanted = request.get("ComplianceTypes")
    told = [_compliance(resource, results) for resource, results in by_resource.items()]
    told = [one for one in told if not wanted or one["Compliance"]["ComplianceType"] in wanted]
    shown, token = page("DescribeComplianceByResource", told, request, most=10, limit="Limit", wrong=_TOKEN)
    return {"ComplianceByResources": list(shown), **token}


def describe_config_rules(aws: Aws, caller: Caller, request: Request) -> Reply:
    rules = [
        {
            "ConfigRuleName": rule.name,
            "ConfigRuleArn": rule.arn,
            "ConfigRuleId": rule.arn.rsplit("/", 1)[-1],
            "Scope": {"ComplianceResourceTypes": [rule.resource_type]},
            "Source": {"Owner": "AWS", "SourceIdentifier": PATCH_RULE.upper().replace("-", "_")},
            "ConfigRuleState": "ACTIVE",
        }
        for rule in aws.compliance.rules(caller.location)
        if rule.name in request.get("ConfigRuleNames", [rule.name]) and caller.location not in aws.setup.without_rule
    ]
    shown, token = page("DescribeConfigRules", rules, request, most=25, wrong=_TOKEN)
    return {"ConfigRules": list(shown), **token}


OPERATIONS: dict[str, Operation] = {
    "GetComplianceDetailsByResource": get_compliance_details_by_resource,
    "GetComplianceDetailsByConfigRule": get_compliance_details_by_config_rule,
    "DescribeComplianceByResource": describe_compliance_by_resource,
    "DescribeConfigRules": describe_config_rules,
}


def _results(aws: Aws, caller: Caller, request: Request) -> list[Evaluation]:
    wanted = request.get("ComplianceTypes")
    return [
        one
        for one in aws.compliance.results(caller.location)
        if (not wanted or one.compliance in wanted)
        and request.get("ResourceType", PATCH_COMPLIANCE) == PATCH_COMPLIANCE
    ]


def _result(one: Evaluation) -> Reply:
    return {
        "EvaluationResultIdentifier": {
            "EvaluationResultQualifier": {
                "ConfigRuleName": one.rule.name,
                "ResourceType": one.rule.resource_type,
                "ResourceId": one.resource_id,
                "EvaluationMode": "DETECTIVE",
            },
            "OrderingTimestamp": one.ordering,
        },
        "ComplianceType": one.compliance,
        "ResultRecordedTime": one.recorded,
        "ConfigRuleInvokedTime": one.invoked,
    }


def _compliance(resource: str, results: list[str]) -> Reply:
    bad = results.count("NON_COMPLIANT")
    compliance: Reply = {"ComplianceType": "NON_COMPLIANT" if bad else "COMPLIANT"}
    if bad:
        compliance["ComplianceContributorCount"] = {"CappedCount": bad, "CapExceeded": False}
    return {"ResourceType": PATCH_COMPLIANCE, "ResourceId": resource, "Compliance": compliance}
