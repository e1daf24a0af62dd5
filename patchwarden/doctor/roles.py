"""Roles: those that act on the nodes are there, trust whom they must, and may be passed on by who starts executions.

Nothing short of a start asks for iam:PassRole and ssm:AddTagsToResource: IAM's own policy simulator is asked instead.
https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.core.errors import Denied
from patchwarden.doctor.remarks import OK, UPDATE, WRONG, Patient, Remark, code

SSM = "ssm.amazonaws.com"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a role is to be allowed, on which resource; `context` are keys of the request, such as who gets a role."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def acting(patient: Patient) -> Iterator[Remark]:
    """The roles as which executions act here."""
    yield from _trusting(patient, patient.roles.automation, SSM, "MemberRoles=yes")
    if patient.asks.schedules:
        hub = patient.home.account if patient.home else SSM
        yield from _trusting(patient, patient.roles.execution, hub, "AutomationExecutionRole=yes, which schedules need")


def administering(patient: Patient) -> Iterator[Remark]:
    """The role as which the hub starts schedules everywhere."""
    yield from _trusting(patient, patient.roles.administration, SSM, "AutomationAdministrationRole=yes in the hub")


def _trusting(patient: Patient, name: str, who: str, part: str) -> Iterator[Remark]:
    """`who` is a service, or an account."""
    trust = trust_of(patient, name)
    if trust is None:
        yield patient.says("roles", WRONG, f"there is no role {name}", f"deploy deploy/member.yaml with {part}", UPDATE)
    elif not _trusts(trust, who):
        yield patient.says(
            "roles", WRONG, f"the role {name} does not trust {who}",
            "deploy deploy/member.yaml again, or put its trust policy back as it stands there", UPDATE,
        )  # fmt: skip
    else:
        yield patient.says("roles", OK, f"{name} is there and can act")


def trust_of(patient: Patient, name: str) -> Mapping[str, Any] | None:
    """The trust policy; None: there is no such role."""
    try:
        found = patient.ask("iam", "get_role", RoleName=name)["Role"]["AssumeRolePolicyDocument"]
    except Denied as error:
        if code(error) != "NoSuchEntity":
            raise
        return None
    told: Mapping[str, Any] = json.loads(found) if isinstance(found, str) else found
    return told


def _trusts(trust: Mapping[str, Any], who: str) -> bool:
    """Whether some statement lets a service, or principals of an account, take the role on."""
    allowing = [one for one in trust.get("Statement", []) if one.get("Effect") == "Allow"]
    named = [one["Principal"] for one in allowing if isinstance(one.get("Principal"), Mapping)]
    texts = [text for one in named for each in one.values() for text in (each if isinstance(each, list) else [each])]
    return any(text == who or f"::{who}:" in text for text in texts)


def starting(patient: Patient) -> list[Wish]:
    """What the member role needs for a start, beside the start itself."""
    region, account, arn = patient.location.region, patient.location.account, f"arn:{partition(patient)}"
    return [
        Wish("iam:PassRole", f"{arn}:iam::{account}:role/{patient.roles.automation}", (("iam:PassedToService", SSM),)),
        Wish("ssm:AddTagsToResource", f"{arn}:ssm:{region}:{account}:automation-execution/*",
             (("aws:TagKeys", "patchwarden:batch"),)),
    ]  # fmt: skip


def partition(patient: Patient) -> str:
    """The first part of the ARNs there. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html"""
    return str(patient.ask("sts", "get_caller_identity")["Arn"]).split(":")[1]


def denied(patient: Patient, role: str, wishes: Iterable[Wish]) -> list[Wish]:
    """Those of the wishes that IAM would not grant the role, policies of the organisation included."""
    return [one for one in wishes if not _granted(patient, role, one)]


def _granted(patient: Patient, role: str, wish: Wish) -> bool:
    source = f"arn:{partition(patient)}:iam::{patient.location.account}:role/{role}"
    told = patient.ask(
        "iam", "simulate_principal_policy", PolicySourceArn=source, ActionNames=[wish.action],
        ResourceArns=[wish.resource], ContextEntries=[_entry(*one) for one in wish.context],
    )["EvaluationResults"]  # fmt: skip
    return bool(told) and all(allowed(one) for one in told)


def allowed(told: Mapping[str, Any]) -> bool:
    """Whether IAM's simulator allows it, and no policy of the organisation takes it away."""
    by_organisation = told.get("OrganizationsDecisionDetail", {}).get("AllowedByOrganizations", True)
    return told["EvalDecision"] == "allowed" and bool(by_organisation)


def _entry(name: str, value: str) -> dict[str, Any]:
    kind = "stringList" if name == "aws:TagKeys" else "string"
    return {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": kind}
