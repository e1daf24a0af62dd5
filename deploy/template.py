"""What the template gets beside what Chalice writes: deploy/resources.yaml, and the same care for every function.

Every function has a log group that ends, a place for what it could not do, and its settings by parameter; a rule that
wakes it has dead letters of its own, and whoever hears an event of AWS's hears it from the hub's bus too. That is one
table here and not one copy for each function there, so that a new function cannot be forgotten.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from chalicelib.core.events import EVENT_PATTERNS
from deploy.dashboard import dashboard

ROOT = Path(__file__).resolve().parent.parent
Template = dict[str, Any]

CLOCKWORK = {
    "on_dispatch": (0, 300),
    "on_schedules": (0, 600),
    "on_sweep": (0, 840),
    "on_checkpoint": (2, 3600),
    "on_export": (2, 21600),
}
"""What the clock wakes: how often Lambda tries again, and after how many seconds it gives up.

What comes again by itself within minutes is not tried again: the next round is the retry.
"""
TRIES = (2, 21600)
"""For everything else; six hours is the most that Lambda waits.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""
RULE_RETRIES = {"MaximumRetryAttempts": 185, "MaximumEventAgeInSeconds": 86400}
"""As long as EventBridge tries at all. https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html"""
TICK_RETRIES = {"MaximumRetryAttempts": 3, "MaximumEventAgeInSeconds": 60}
"""A tick that is a minute old is worth nothing: the next one is there."""

SKIPPED = {
    "CKV_AWS_116": "What fails goes to the on-failure destination, which also holds the error; the API answers at once",
    "CKV_AWS_117": "It reaches AWS's APIs and nothing inside a network; a VPC would only take its way there",
    "CKV_AWS_173": "The variables hold names and no secret; Lambda encrypts them with a key of its own",
}
"""What a scanner asks of every function and does not get, and why."""

FAILURES = {"Fn::GetAtt": ["Failures", "Arn"]}
RULE_FAILURES = {"Fn::GetAtt": ["RuleFailures", "Arn"]}


def merging(stage: str) -> Template:
    """What is merged into Chalice's template for this stage of .chalice/config.json."""
    config = json.loads((ROOT / ".chalice" / "config.json").read_text())
    template = load(ROOT / "deploy" / "resources.yaml")
    template["Parameters"]["Stage"] |= {"Default": stage, "AllowedValues": [stage]}
    resources = template["Resources"]
    environment = {"Variables": resources.pop("Environment")}
    for handler in config["lambda_functions"]:
        name = logical(handler)
        resources[f"{name}Log"] = log_group(handler, resources["Log"])
        skipped = [{"id": each, "comment": why} for each, why in SKIPPED.items()]
        resources[name] = {"Metadata": {"checkov": {"skip": skipped}}, "Properties": function(handler, environment)}
    del resources["Log"]
    resources["Dashboard"]["Properties"]["DashboardBody"] = {"Fn::Sub": json.dumps(dashboard(template))}
    return template


def asking(packaged: Template) -> Template:
    """Chalice's template, in which the parameter UserPoolArn decides whom the API asks; Chalice would have it fixed.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-enable-cognito-user-pool.html
    """
    body = packaged["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]
    for method in (method for path in body["paths"].values() for method in path.values()):
        if method.get("security") == [{"sigv4": []}]:
            method["security"] = {"Fn::If": ["Pooled", [{"pool": []}], method["security"]]}
    pool = {
        "in": "header",
        "type": "apiKey",
        "name": "Authorization",
        "x-amazon-apigateway-authtype": "cognito_user_pools",
        "x-amazon-apigateway-authorizer": {"type": "cognito_user_pools", "providerARNs": [{"Ref": "UserPoolArn"}]},
    }
    body["securityDefinitions"]["pool"] = {"Fn::If": ["Pooled", pool, {"Ref": "AWS::NoValue"}]}
    return packaged


def logical(handler: str) -> str:
    """Chalice's logical name of a handler's function."""
    return "APIHandler" if handler == "api_handler" else "".join(map(str.title, handler.split("_")))


def log_group(handler: str, pattern: Template) -> Template:
    named = {"LogGroupName": {"Fn::Sub": f"/aws/lambda/patchwarden-${{Stage}}/{handler}"}}
    return {**pattern, "Properties": {**pattern["Properties"], **named}}


def function(handler: str, environment: Template) -> Template:
    """The properties that Chalice cannot set."""
    name = logical(handler)
    found: Template = {
        "LoggingConfig": {"LogGroup": {"Ref": f"{name}Log"}},
        "Environment": environment,
    }
    if handler == "api_handler":  # nobody invokes it and goes away
        return found
    tries, age = CLOCKWORK.get(handler, TRIES)
    destination = {"OnFailure": {"Type": "SQS", "Destination": FAILURES}}
    found["EventInvokeConfig"] = {
        "MaximumRetryAttempts": tries,
        "MaximumEventAgeInSeconds": age,
        "DestinationConfig": destination,
    }
    return {**found, **({"Events": events(handler)} if handler.startswith("on_") else {})}


def events(handler: str) -> Template:
    """Chalice's own event, under Chalice's name for it, and for AWS's events a second one on the hub's bus."""
    name, letters = logical(handler), {"DeadLetterConfig": {"Arn": RULE_FAILURES}}
    if handler not in EVENT_PATTERNS:
        return {f"{name}Event": {"Properties": {**letters, "RetryPolicy": TICK_RETRIES}}}
    heard = {**letters, "RetryPolicy": RULE_RETRIES}
    # only this type knows dead letters and retries: Chalice writes CloudWatchEvent
    forwarded = {"EventBusName": {"Ref": "HubBus"}, "Pattern": EVENT_PATTERNS[handler], **heard}
    return {
        f"{name}Event": {"Type": "EventBridgeRule", "Properties": heard},
        f"{name}HubEvent": {"Type": "EventBridgeRule", "Properties": forwarded},
    }


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, such as !Ref."""


def _intrinsic(loader: _Loader, suffix: str, node: yaml.Node) -> Template:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {name: text.split(".", 1) if suffix == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def load(path: Path) -> Template:
    """A template in YAML, its short forms written out."""
    found: Template = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    return found
