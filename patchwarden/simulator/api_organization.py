"""The organisation: accounts of its units, quotas of an account, and resource groups, as their services answer.

https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccountsForParent.html
https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html
https://docs.aws.amazon.com/ARG/latest/APIReference/API_ListGroupResources.html
"""

from __future__ import annotations

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import NotServed, Refusal
from patchwarden.simulator.setup import QUOTAS

_WRONG = "InvalidInputException"


def list_accounts_for_parent(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Only the accounts that lie in the unit itself."""
    unit = _unit(aws, caller, request["ParentId"])
    below = {account for child in aws.setup.children.get(unit, ()) for account in aws.automations.units[child]}
    found = [account for account in aws.automations.units[unit] if account not in below]
    shown, token = page("ListAccountsForParent", found, request, most=20, wrong=_WRONG)
    told = [{"Id": one, "Name": one, "State": "SUSPENDED" if one in aws.setup.suspended else "ACTIVE"} for one in shown]
    return {"Accounts": told, **token}


def list_organizational_units_for_parent(aws: Aws, caller: Caller, request: Request) -> Reply:
    found = aws.setup.children.get(_unit(aws, caller, request["ParentId"]), ())
    shown, token = page("ListOrganizationalUnitsForParent", found, request, most=20, wrong=_WRONG)
    return {"OrganizationalUnits": [{"Id": unit, "Name": unit} for unit in shown], **token}


def _unit(aws: Aws, caller: Caller, unit: str) -> str:
    """Only the management account, which is the hub here, may ask."""
    if caller.account != aws.accounts[0]:
        raise Refusal("AccessDeniedException", "You don't have permissions to access this resource.")
    if unit not in aws.automations.units:
        raise Refusal("ParentNotFoundException", "You provided a parent that doesn't exist.")
    return unit


def list_service_quotas(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Those that somebody has had raised, or that AWS has set for this account."""
    applied = {name: value for (where, name), value in aws.setup.quotas.items() if where == caller.location}
    return _quotas(caller, request, applied, "ListServiceQuotas")


def list_aws_default_service_quotas(aws: Aws, caller: Caller, request: Request) -> Reply:
    return _quotas(caller, request, dict(QUOTAS), "ListAWSDefaultServiceQuotas")


def _quotas(caller: Caller, request: Request, values: dict[str, float], operation: str) -> Reply:
    if request["ServiceCode"] != "ssm":
        raise NotServed(f"{operation} of {request['ServiceCode']}")
    shown, token = page(operation, list(values.items()), request, most=100, wrong="InvalidPaginationTokenException")
    told = [{"ServiceCode": "ssm", "ServiceName": "AWS Systems Manager", "QuotaName": name, "Value": value,
             "Unit": "None", "Adjustable": True, "GlobalQuota": False} for name, value in shown]  # fmt: skip
    return {"Quotas": told, **token}


def list_group_resources(aws: Aws, caller: Caller, request: Request) -> Reply:
    """The instances and hybrid nodes of a group that is made by a tag."""
    name = request.get("Group") or request.get("GroupName", "")
    if name not in aws.automations.groups:
        raise Refusal("NotFoundException", f"Cannot find group: {name}", 404)
    key, values = aws.automations.groups[name]
    found = [one for one in aws.fleet.at(caller.location) if one.state != "terminated" and one.tags.get(key) in values]
    shown, token = page("ListGroupResources", found, request, most=50, wrong="BadRequestException")
    told = []
    for machine in shown:
        kind = ("ssm", "managed-instance") if machine.hybrid else ("ec2", "instance")
        arn = f"arn:aws:{kind[0]}:{caller.region}:{caller.account}:{kind[1]}/{machine.node.id}"
        type = "AWS::SSM::ManagedInstance" if machine.hybrid else "AWS::EC2::Instance"
        told.append({"Identifier": {"ResourceArn": arn, "ResourceType": type}})
    return {"Resources": told, **token}


ORGANIZATIONS: dict[str, Operation] = {
    "ListAccountsForParent": list_accounts_for_parent,
    "ListOrganizationalUnitsForParent": list_organizational_units_for_parent,
}
QUOTA: dict[str, Operation] = {
    "ListServiceQuotas": list_service_quotas,
    "ListAWSDefaultServiceQuotas": list_aws_default_service_quotas,
}
GROUPS: dict[str, Operation] = {"ListGroupResources": list_group_resources}
