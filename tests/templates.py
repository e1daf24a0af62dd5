"""CloudFormation's intrinsics, filled in: what a template comes to in one account and Region."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ACCOUNT, REGION = "111122223333", "eu-west-1"
GIVEN = {"OrganizationId": "o-a1b2c3d4e5", "ExternalId": "patchwarden-test", "AlarmEmail": "secops@example.com"}
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com",
          "AWS::StackName": "patchwarden-test", "AWS::NoValue": None}  # fmt: skip
_NAMES = {"AWS::DynamoDB::Table": "TableName", "AWS::S3::Bucket": "BucketName", "AWS::SQS::Queue": "QueueName",
          "AWS::Events::EventBus": "Name", "AWS::SNS::Topic": "TopicName",
          "AWS::Logs::LogGroup": "LogGroupName"}  # fmt: skip
_ARNS = {
    "AWS::DynamoDB::Table": "arn:aws:dynamodb:{place}:table/{name}",
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{place}:{name}",
    "AWS::Events::EventBus": "arn:aws:events:{place}:event-bus/{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{place}:{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{place}:log-group:{name}:*",
    "AWS::KMS::Key": "arn:aws:kms:{place}:key/{name}",
    "AWS::IAM::Role": "arn:aws:iam::" + ACCOUNT + ":role/{name}",
    "AWS::Serverless::Function": "arn:aws:lambda:{place}:function:{name}",
}


CHINA = {"AWS::Partition": "aws-cn", "AWS::Region": "cn-north-1", "AWS::URLSuffix": "amazonaws.com.cn"}


def resolved(template: Mapping[str, Any], **given: str) -> dict[str, Any]:
    """The template with every Ref, Fn::Sub and Fn::GetAtt in its resources filled in; KeyError for a name not there.

    `given` are parameters, and pseudo parameters that are other than usual.
    """
    return {name: _filled(template, found, {**GIVEN, **given}) for name, found in template["Resources"].items()}


def _filled(template: Mapping[str, Any], value: Any, given: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_filled(template, each, given) for each in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"Fn::If"}:
        condition, yes, no = value["Fn::If"]
        return _filled(template, yes if _holds(template["Conditions"][condition], template, given) else no, given)
    if value.keys() == {"Ref"}:
        return _ref(template, value["Ref"], given)
    if value.keys() == {"Fn::GetAtt"}:
        logical, attribute = value["Fn::GetAtt"]
        return _attribute(template, logical, attribute, given)
    if value.keys() == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
        return re.sub(r"\$\{([\w:.]+)\}", lambda found: str(_named(template, found[1], given)), value["Fn::Sub"])
    return {name: _filled(template, each, given) for name, each in value.items()}


def _holds(condition: Mapping[str, Any], template: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    """The only form there is: not equal to a literal."""
    ((equals,),) = condition.values()
    one, other = equals["Fn::Equals"]
    return bool(_filled(template, one, given) != other)


def _named(template: Mapping[str, Any], name: str, given: Mapping[str, str]) -> Any:
    logical, _, attribute = name.partition(".")
    return _attribute(template, logical, attribute, given) if attribute else _ref(template, name, given)


def _ref(template: Mapping[str, Any], name: str, given: Mapping[str, str]) -> Any:
    if name in PSEUDO:
        return given.get(name, PSEUDO[name])
    if name in template["Parameters"]:
        return given[name] if name in given else template["Parameters"][name]["Default"]
    found = template["Resources"][name]
    if found["Type"] == "AWS::SNS::Topic":
        return _attribute(template, name, "Arn", given)
    return _name(template, name, given)


def _name(template: Mapping[str, Any], logical: str, given: Mapping[str, str]) -> str:
    found = template["Resources"][logical]
    key = _NAMES.get(found["Type"])
    named = found["Properties"].get(key) if key else None
    return str(_filled(template, named, given)) if named else logical


def _attribute(template: Mapping[str, Any], logical: str, attribute: str, given: Mapping[str, str]) -> str:
    found = template["Resources"][logical]
    if attribute != "Arn":
        return _name(template, logical, given)
    named = _name(template, logical, given)
    return _ARNS[found["Type"]].format(place=f"{REGION}:{ACCOUNT}", name=named)
