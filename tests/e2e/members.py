"""deploy/member.yaml in each account and Region of the organisation, as far as the emulator knows its resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.core.nodes import Location
from deploy import member
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS
from tests.conditions import Made
from tests.e2e.hub import EXTERNAL_ID, HUB, REGION, Organisation, eventually
from tests.test_member import TEMPLATE

NAME = "patchwarden-member"
LACKING = frozenset({"AWS::Config::ConfigRule", "AWS::Config::RemediationConfiguration", "AWS::SSM::Association",
                     "AWS::SSM::Document", "AWS::SSM::ResourceDataSync"})  # fmt: skip
"""What the emulator cannot make. In their places stands something that it can, under the same condition."""
LIKE = {"AWS::IAM::RolePolicy": "AWS::IAM::Policy"}
"""Nor this one; but another that comes to the same: a policy of its own within one role."""
PLACEHOLDER = "AWS::CloudFormation::WaitConditionHandle"
_LONG = frozenset({"Sub", "GetAtt", "If", "Equals", "And", "Or", "Not"})


def given(org: Organisation, place: Location) -> dict[str, str]:
    """The parameters of one StackSet instance; in the hub's own place events are heard without being forwarded."""
    home = place == Location(HUB, REGION)
    return {
        "HubAccount": HUB, "HomeRegion": REGION, "ExternalId": EXTERNAL_ID, "HubBusArn": org.outputs["HubBusArn"],
        "ForwardEvents": "no" if home else "yes", "ConfigRule": "yes", "ConfigRemediation": "yes",
        "RemediateFunctionArn": org.outputs["RemediateArn"], "DataSyncBucket": "synced", "DataSyncRegion": REGION,
        "DailyScan": "yes", "AutomationExecutionRole": "yes", "BaselinePermissions": "yes",
        "AutomationAdministrationRole": "yes" if place.account == HUB else "no",
    }  # fmt: skip


def expected(place: Location, parameters: Mapping[str, str]) -> dict[str, str]:
    """What is to be made there: types by name."""
    pseudo = {"AWS::AccountId": place.account, "AWS::Region": place.region}
    made = Made(TEMPLATE, {**pseudo, **parameters}).resources()
    return {name: _served(one["Type"]) for name, one in made.items()}


def _served(kind: str) -> str:
    return PLACEHOLDER if kind in LACKING else LIKE.get(kind, kind)


def text(place: Location) -> str:
    """The template for the emulator, which takes the name of a pseudo parameter in a condition for its value."""
    whole = _long(TEMPLATE)
    for name, one in whole["Resources"].items():
        if one["Type"] in LACKING:
            kept = {key: value for key, value in one.items() if key in ("Condition", "DependsOn")}
            whole["Resources"][name] = {"Type": PLACEHOLDER, **kept}
        elif one["Type"] in LIKE:
            properties = {**one["Properties"], "Roles": [one["Properties"]["RoleName"]]}
            del properties["RoleName"]
            whole["Resources"][name] = {**one, "Type": LIKE[one["Type"]], "Properties": properties}
    filled = {"AWS::Region": place.region, "AWS::AccountId": place.account}
    for section in ("Conditions", "Rules"):
        told = json.dumps(whole[section])
        for pseudo, value in filled.items():
            told = told.replace(json.dumps({"Ref": pseudo}), json.dumps(value))
        whole[section] = json.loads(told)
    return json.dumps(whole, separators=(",", ":"))


def _long(value: Any) -> Any:
    """Short forms as JSON writes them."""
    match value:
        case {"GetAtt": str(name)}:
            return {"Fn::GetAtt": name.split(".")}
        case dict():
            return {f"Fn::{key}" if key in _LONG and len(value) == 1 else key: _long(one) for key, one in value.items()}
        case list():
            return [_long(one) for one in value]
    return value


def join(org: Organisation) -> None:
    """The home Region of each account first, since it makes the roles."""
    assert member.written() == member.TEMPLATE.read_text()
    for region in sorted(REGIONS, key=lambda region: region != REGION):
        for account in ACCOUNTS:
            place = Location(account, region)
            create(org, place, given(org, place))


def create(org: Organisation, place: Location, parameters: Mapping[str, str]) -> None:
    """Deploy it there and wait until it stands."""
    cloud = org.client("cloudformation", place.account, place.region)
    listed = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    cloud.create_stack(
        StackName=NAME, TemplateBody=text(place), Parameters=listed, Capabilities=["CAPABILITY_NAMED_IAM"]
    )

    def stands() -> bool:
        (stack,) = cloud.describe_stacks(StackName=NAME)["Stacks"]
        assert "FAILED" not in stack["StackStatus"] and "ROLLBACK" not in stack["StackStatus"], stack
        return bool(stack["StackStatus"] == "CREATE_COMPLETE")

    eventually(stands, 30, lambda: f"{NAME} does not stand in {place}")


def resources(org: Organisation, place: Location) -> dict[str, dict[str, Any]]:
    """What the emulator made there, by name."""
    found = org.client("cloudformation", place.account, place.region).describe_stack_resources(StackName=NAME)
    return {one["LogicalResourceId"]: one for one in found["StackResources"]}
