"""Config rules: the rule on patch compliance is there, and what Config does about it asks Patchwarden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from patchwarden.doctor.remarks import OK, UPDATE, WARNING, WRONG, Patient, Remark

RULE = "EC2_MANAGEDINSTANCE_PATCH_COMPLIANCE_STATUS_CHECK"
WITHOUT_RULE = frozenset({
    "me-south-1", "ap-southeast-3", "af-south-1", "me-central-1", "ap-south-2", "ap-northeast-3", "ap-southeast-4",
    "eu-south-1", "eu-south-2", "eu-central-2",
})  # fmt: skip
"""Regions that did not have the rule when AWS last listed them.

https://docs.aws.amazon.com/config/latest/developerguide/ec2-managedinstance-patch-compliance-status-check.html
"""
RUNBOOK = "Patchwarden-RemediateFromConfig"
_MOST = 25
_ATTEMPTS, _WITHIN = 5, 60
"""What Config takes where nobody says how often it tries.

https://docs.aws.amazon.com/config/latest/APIReference/API_RemediationConfiguration.html
"""


def config_rule(patient: Patient) -> Iterator[Remark]:
    """The managed rule on patch compliance, under whatever name."""
    found = [
        rule["ConfigRuleName"]
        for page in patient.pages("config", "describe_config_rules")
        for rule in page["ConfigRules"]
        if rule["Source"].get("SourceIdentifier") == RULE
    ]
    if found:
        yield from [*_actions(patient, found)] or [patient.says("config-rule", OK, f"{', '.join(found)}")]
    elif patient.location.region in WITHOUT_RULE:
        yield patient.says(
            "config-rule", WARNING, f"{patient.location.region} may not have the rule {RULE}",
            "nothing: events of Systems Manager and the sweep do without it", "",
        )  # fmt: skip
    else:
        yield patient.says("config-rule", WRONG, f"no rule {RULE}", "deploy it with ConfigRule=yes", UPDATE)


def _actions(patient: Patient, rules: Sequence[str]) -> Iterator[Remark]:
    """What Config does about the nodes that the rules speak of, where that is not what it should be."""
    for start in range(0, len(rules), _MOST):
        asked = {"ConfigRuleNames": list(rules[start : start + _MOST])}
        for one in patient.ask("config", "describe_remediation_configurations", **asked)["RemediationConfigurations"]:
            rule, attempts = one["ConfigRuleName"], one.get("MaximumAutomaticAttempts", _ATTEMPTS)
            if one["TargetId"] != RUNBOOK:
                yield patient.says(
                    "config-rule", WRONG,
                    f"{rule} is remediated by {one['TargetId']}, which no policy, window or pause holds",
                    "take it away, or put ours in its place: ConfigRemediation=yes in deploy/member.yaml",
                    f"aws configservice delete-remediation-configuration --config-rule-name {rule}",
                )  # fmt: skip
            elif one.get("Automatic") and attempts != 1:
                within = one.get("RetryAttemptSeconds", _WITHIN)
                yield patient.says(
                    "config-rule", WRONG,
                    f"Config starts our runbook up to {attempts} times within {within} seconds for a node of {rule}, "
                    "and a decision to wait is a failure to it",
                    "let it try once, as ConfigRemediation=yes in deploy/member.yaml does", UPDATE,
                )  # fmt: skip
