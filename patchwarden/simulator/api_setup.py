"""Setup as the APIs tell it: documents, service settings and default baselines of SSM, recorders of Config.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetServiceSetting.html
"""

from __future__ import annotations

from datetime import datetime

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.refusals import NotServed, Refusal


def get_document(aws: Aws, caller: Caller, request: Request) -> Reply:
    """An automation document of ours, as it was published or as the setup says that it is there."""
    name = request["Name"]
    key = (caller.location, name)
    text = aws.setup.documents[key] if key in aws.setup.documents else aws.automations.text(name)
    version = "1"
    if request.get("DocumentVersion") == "$LATEST" and key in aws.setup.newest:
        version, text = "2", aws.setup.newest[key]
    if text is None:
        raise Refusal("InvalidDocument", f"Document with name {name} does not exist.")
    return {"Name": name, "DocumentVersion": version, "Status": "Active", "Content": text, "DocumentType": "Automation",
            "DocumentFormat": "YAML"}  # fmt: skip


def get_service_setting(aws: Aws, caller: Caller, request: Request) -> Reply:
    name = request["SettingId"]
    value = aws.setup.setting(caller.location, name)
    if value is None:
        raise Refusal("ServiceSettingNotFound", f"Setting {name} not found")
    arn = f"arn:aws:ssm:{caller.region}:{caller.account}:servicesetting{name}"
    return {"ServiceSetting": {"SettingId": name, "SettingValue": value, "ARN": arn, "Status": "Customized",
                               "LastModifiedDate": _since(aws), "LastModifiedUser": "System"}}  # fmt: skip


def get_default_patch_baseline(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Of the system that is asked for: what its nodes there are measured by, unless the setup names another."""
    system = request.get("OperatingSystem", "WINDOWS")
    named = aws.setup.baselines.get((caller.location, system))
    if named is None:
        raise Refusal("DoesNotExistException", f"No default patch baseline for {system}")
    return {"BaselineId": named, "OperatingSystem": system}


def describe_configuration_recorders(aws: Aws, caller: Caller, request: Request) -> Reply:
    if request:
        raise NotServed("DescribeConfigurationRecorders with names")
    one = aws.setup.recorder(caller.location)
    return {"ConfigurationRecorders": [dict(one)] if one else []}


def describe_configuration_recorder_status(aws: Aws, caller: Caller, request: Request) -> Reply:
    one = aws.setup.recorder(caller.location)
    told = {"name": one["name"], "recording": caller.location not in aws.setup.stopped, "lastStatus": "Success",
            "lastStartTime": _since(aws)} if one else None  # fmt: skip
    return {"ConfigurationRecordersStatus": [told] if told else []}


SSM: dict[str, Operation] = {
    "GetDocument": get_document,
    "GetServiceSetting": get_service_setting,
    "GetDefaultPatchBaseline": get_default_patch_baseline,
}
CONFIG: dict[str, Operation] = {
    "DescribeConfigurationRecorders": describe_configuration_recorders,
    "DescribeConfigurationRecorderStatus": describe_configuration_recorder_status,
}


def _since(aws: Aws) -> datetime:
    return aws.clock.now()
