"""deploy/member.yaml: what is in it is what the code needs, every part has its switch, and no statement is wider."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore import xform_name

from chalicelib.core.events import EVENT_PATTERNS
from chalicelib.core.occurrences import PATCH_FLEET
from deploy import member
from patchwarden.doctor.permissions import PROBES, exceptions
from patchwarden.simulator.protocols import service_model
from tests.conditions import Made
from tests.iam_linter import findings

ROOT = Path(__file__).resolve().parent.parent
HUB, HERE, REGION = "999900001111", "111122223333", "eu-west-1"
GIVEN = {
    "AWS::Partition": "aws", "AWS::AccountId": HERE, "AWS::Region": REGION, "HubAccount": HUB,
    "ExternalId": "ours-and-secret", "HubBusArn": f"arn:aws:events:{REGION}:{HUB}:event-bus/patchwarden-prod",
    "RemediateFunctionArn": f"arn:aws:lambda:{REGION}:{HUB}:function:patchwarden-prod-remediate",
    "RequiredTag": "yes",
}  # fmt: skip


class Loader(yaml.SafeLoader):
    """CloudFormation's short forms as one-key maps."""


def _short(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    match node:
        case yaml.ScalarNode():
            return {tag: loader.construct_scalar(node)}
        case yaml.SequenceNode():
            return {tag: loader.construct_sequence(node, deep=True)}
        case yaml.MappingNode():
            return {tag: loader.construct_mapping(node, deep=True)}
    raise AssertionError(tag)


Loader.add_multi_constructor("!", _short)
TEMPLATE: dict[str, Any] = yaml.load(member.TEMPLATE.read_text(), Loader=Loader)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def resolved(value: Any) -> Any:
    """What CloudFormation would make of it, with every switch on."""
    match value:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": name}:
            return GIVEN.get(name, TEMPLATE["Parameters"].get(name, {}).get("Default", name))
        case {"Sub": text}:
            return re.sub(r"\$\{([\w:]+)\}", lambda found: str(resolved({"Ref": found[1]})), text)
        case {"GetAtt": name}:
            return f"arn:aws:sqs:{REGION}:{HERE}:{name}"
        case {"If": [_, yes, _]}:
            return resolved(yes)
        case dict():
            return {key: resolved(item) for key, item in value.items()}
        case list():
            return [resolved(item) for item in value]
    return value


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == kind}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every identity policy, by the resource it stands in."""
    for name, role in of_type("AWS::IAM::Role").items():
        yield from ((f"{name}/{policy['PolicyName']}", policy["PolicyDocument"]) for policy in role.get("Policies", []))
    for kind in ("AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"):
        yield from ((name, one["PolicyDocument"]) for name, one in of_type(kind).items())


POLICIES = {name: resolved(document) for name, document in documents()}


def statements(*names: str) -> list[dict[str, Any]]:
    return [one for name, policy in POLICIES.items() if name.startswith(names or "") for one in policy["Statement"]]


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def actions(*names: str) -> set[str]:
    return {action for one in statements(*names) for action in listed(one["Action"])}


def test_cfn_lint_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(member.TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", POLICIES)
def test_parliament_finds_nothing(name: str) -> None:
    found = findings(POLICIES[name])
    known = [one for one in found if not _justified(one)]
    assert [str(one) for one in known] == []


def _justified(finding: Any) -> bool:
    """Readers stand on *: every node, rule and baseline of the account is what they are to read. The documents of
    SendCommand are AWS's own, whose ARNs name no account, and stand apart from the nodes, which the tag is asked of."""
    if finding.issue == "RESOURCE_MISMATCH":
        return bool(finding.detail == [{"action": "ssm:SendCommand", "required_format": "arn:*:ssm:*:*:document/*"}])
    readers = re.findall(r"'(?:\w|-)+:(\w+)'", str(finding).split(" - ")[1]) if finding.issue == "RESOURCE_STAR" else []
    return bool(readers) and all(name.startswith(("Describe", "List", "Get")) for name in readers)


def test_the_written_part_is_what_the_sources_say() -> None:
    assert member.TEMPLATE.read_text() == member.written(), "stale: run `python deploy/member.py`"


def test_every_runbook_is_there_to_the_letter() -> None:
    there = {one["Name"]: one for one in of_type("AWS::SSM::Document").values()}
    files = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "runbooks").glob("*.yaml")}
    assert {name: one["Content"] for name, one in there.items()} == files
    for name, one in there.items():
        assert len(json.dumps(one["Content"]).encode()) <= 64 * 1024, name
        assert one["UpdateMethod"] == "NewVersion"
    assert len(member.TEMPLATE.read_bytes()) < 1_000_000


def test_a_release_can_be_taken_back() -> None:
    """A name of a version is used once in a document for ever: a stack that goes back to it would be refused.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_UpdateDocument.html
    """
    assert [name for name, one in of_type("AWS::SSM::Document").items() if "VersionName" in one] == []


def test_a_document_that_finds_its_nodes_by_targets_may_run_on_them() -> None:
    """Another type, or none, and its volumes with the same tag are targets too, each of them a failure.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-map-targets.html
    """
    fleet = next(one for one in of_type("AWS::SSM::Document").values() if one["Name"] == PATCH_FLEET)
    assert fleet["TargetType"] == "/AWS::EC2::Instance"


def test_what_the_hub_listens_for_is_what_is_forwarded() -> None:
    rules = of_type("AWS::Events::Rule").values()
    assert sorted((one["EventPattern"] for one in rules), key=str) == sorted(EVENT_PATTERNS.values(), key=str)
    for rule in rules:
        (target,) = resolved(rule["Targets"])
        assert target["Arn"] == GIVEN["HubBusArn"]
        assert target["DeadLetterConfig"]["Arn"].endswith("Undelivered.Arn")
        assert target["RoleArn"] == f"arn:aws:iam::{HERE}:role/patchwarden-forwarder"
    assert statements("ForwarderRole")[0]["Resource"] == GIVEN["HubBusArn"]


def test_every_part_has_a_switch_and_every_switch_a_part() -> None:
    assert [name for name, one in RESOURCES.items() if "Condition" not in one] == []
    used = set(re.findall(r"\w+", json.dumps([TEMPLATE["Conditions"], RESOURCES, TEMPLATE["Rules"]])))
    assert [name for name in TEMPLATE["Parameters"] if name not in used] == []
    assert [name for name, one in TEMPLATE["Parameters"].items() if not one.get("Description")] == []


def test_roles_are_made_in_one_region_only() -> None:
    conditions = TEMPLATE["Conditions"]

    def home(name: str) -> bool:
        inside = json.dumps(conditions[name])
        named = [other for other in conditions if f'"{other}"' in inside and other != name]
        joined = "Or" in conditions[name]
        return name == "Home" or (all if joined else any)(home(other) for other in named)

    for name, one in RESOURCES.items():
        if one["Type"].startswith("AWS::IAM::"):
            assert home(one["Condition"]), name


# --- what is made with which switch --------------------------------------------------------------------------------

BARE = {"AWS::AccountId": HERE, "AWS::Region": REGION, "HubAccount": HUB, "HomeRegion": REGION,
        "ExternalId": "ours-and-secret", "MemberRoles": "no", "DoctorPermissions": "no", "ForwardEvents": "no",
        "Runbooks": "no", "EncryptedVolumes": "no"}  # fmt: skip
"""A home Region with everything off."""

PARTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "MemberRoles": ({"MemberRoles": "yes"}, {"MemberRole", "AutomationRole", "PatchPolicy"}),
    "DoctorPermissions": ({"MemberRoles": "yes", "DoctorPermissions": "yes"}, {"DoctorPolicy"}),
    "EncryptedVolumes": ({"MemberRoles": "yes", "EncryptedVolumes": "yes"}, {"StartTheEncrypted"}),
    "BaselinePermissions": ({"MemberRoles": "yes", "BaselinePermissions": "yes"}, {"BaselinePolicy"}),
    "ForwardEvents": ({"ForwardEvents": "yes", "HubBusArn": GIVEN["HubBusArn"]},
                      {"ForwarderRole", "Undelivered", "UndeliveredPolicy", "ForwardConfigRule", "ForwardSsmCompliance",
                       "ForwardExecution", "ForwardNodeState"}),
    "Runbooks": ({"Runbooks": "yes"}, {"RunbookPatchFleet", "RunbookPatchNodes", "RunbookPatchStoppedNode",
                                       "RunbookRemediateFromConfig"}),
    "ConfigRule": ({"ConfigRule": "yes"}, {"PatchComplianceRule"}),
    "ConfigRemediation": ({"ConfigRule": "yes", "Runbooks": "yes", "MemberRoles": "yes", "ConfigRemediation": "yes",
                           "RemediateFunctionArn": GIVEN["RemediateFunctionArn"]}, {"Remediation"}),
    "RemediateFunctionArn": ({"MemberRoles": "yes", "RemediateFunctionArn": GIVEN["RemediateFunctionArn"]},
                             {"AskTheHub"}),
    "DataSyncBucket": ({"DataSyncBucket": "sync", "DataSyncRegion": REGION}, {"Inventory"}),
    "DailyScan": ({"DailyScan": "yes"}, {"Scan"}),
    "AutomationExecutionRole": ({"AutomationExecutionRole": "yes"}, {"ExecutionRole", "PatchPolicy"}),
    "AutomationAdministrationRole": ({"AutomationAdministrationRole": "yes", "AWS::AccountId": HUB},
                                     {"AdministrationRole"}),
}  # fmt: skip
"""What to give for each switch, and the resources that it is about."""


def made(**given: str) -> Made:
    return Made(TEMPLATE, {**BARE, **given})


def test_with_every_switch_off_nothing_is_made() -> None:
    assert made().resources() == {}


@pytest.mark.parametrize("switch", PARTS)
def test_a_switch_makes_its_part_and_without_it_the_part_is_not_made(switch: str) -> None:
    given, part = PARTS[switch]
    on = made(**given)
    assert on.refused() == [] and set(on.resources()) >= part
    off = {"DataSyncBucket": "", "RemediateFunctionArn": ""}.get(switch, "no")
    others = {name: value for name, value in given.items() if name != "HubBusArn"} | {switch: off}
    assert not part & set(made(**others).resources())


def test_the_parts_are_all_there_is() -> None:
    assert set().union(*(part for _, part in PARTS.values())) == set(RESOURCES)


def test_whatever_is_switched_on_nothing_refers_to_what_is_not_made() -> None:
    """All combinations that the Rules let through, in the home Region and in another one."""
    switches = [name for name, one in TEMPLATE["Parameters"].items() if one.get("AllowedValues") == ["yes", "no"]]
    texts = {"HubBusArn": GIVEN["HubBusArn"], "RemediateFunctionArn": GIVEN["RemediateFunctionArn"],
             "DataSyncBucket": "sync"}  # fmt: skip
    ways = [*(("yes", "no") for _ in switches), *((text, "") for text in texts.values()), (REGION, "us-east-1")]
    names, count = [*switches, *texts, "HomeRegion"], 0
    bodies = {name: {**one, "Properties": {}} if one["Type"] == "AWS::SSM::Document" else one
              for name, one in RESOURCES.items()}  # fmt: skip
    for values in product(*ways):
        one = Made({**TEMPLATE, "Resources": bodies}, {**BARE, **dict(zip(names, values, strict=True)),
                                                       "DataSyncRegion": REGION})  # fmt: skip
        if not one.refused():
            count += 1
            assert one.dangling() == set(), dict(zip(names, values, strict=True))
    assert count > 1000


@pytest.mark.parametrize(("given", "sentence"), [
    ({"ForwardEvents": "yes"}, "ForwardEvents=yes needs HubBusArn"),
    ({"ConfigRemediation": "yes", "ConfigRule": "yes", "Runbooks": "yes"}, "needs RemediateFunctionArn"),
    ({"ConfigRemediation": "yes", "RemediateFunctionArn": GIVEN["RemediateFunctionArn"]}, "needs ConfigRule=yes"),
    ({"DataSyncBucket": "sync"}, "DataSyncBucket needs DataSyncRegion"),
    ({"AutomationAdministrationRole": "yes"}, "for the hub account alone"),
])  # fmt: skip
def test_switches_that_do_not_go_together_are_refused_with_a_sentence(given: dict[str, str], sentence: str) -> None:
    assert any(sentence in said for said in made(**given).refused())


def test_the_tag_is_a_condition_only_where_it_is_asked_for() -> None:
    for tag, conditions in (("", [None, None]), ("yes", [{"Ref": "RequiredTag"}] * 2)):
        policy = made(MemberRoles="yes", RequiredTag=tag).resources()["PatchPolicy"]["Properties"]["PolicyDocument"]
        found = {one["Sid"]: one.get("Condition", {}).get("StringEquals") for one in policy["Statement"]}
        asked = [found["OnTheNodes"], found["StartAndStopTheStopped"]]
        assert [next(iter(one.values())) if one else None for one in asked] == conditions


def test_a_sync_writes_where_the_reports_look() -> None:
    """The bucket of deploy/reporting.yaml lets each account write below AWS:…/accountid=…, so without a prefix."""
    given = {"DataSyncBucket": "sync", "DataSyncRegion": REGION}
    place = made(**given).resources()["Inventory"]["Properties"]["S3Destination"]
    assert "BucketPrefix" not in place and place["SyncFormat"] == "JsonSerDe"
    mine = made(**given, DataSyncPrefix="inventory").resources()["Inventory"]["Properties"]["S3Destination"]
    assert mine["BucketPrefix"] == {"Ref": "DataSyncPrefix"}


# --- what the roles may do ------------------------------------------------------------------------------------------


def called(service: str) -> set[str]:
    """Every API action that the adapters call in a member account."""
    operations = {xform_name(name): name for name in service_model(service).operation_names}
    sources = [path.read_text() for path in (ROOT / "chalicelib" / "adapters").rglob("*.py")]
    found = {name for text in sources for name in re.findall(rf'"{service}",\s+"(\w+)"', text)}
    return {f"{service}:{operations[name]}" for name in found if name in operations}


def test_the_member_role_may_do_what_the_adapters_call_and_no_more() -> None:
    needed = called("ssm") | called("ec2") | called("config")
    assert len(needed) > 14
    tags = {"ssm:AddTagsToResource", "iam:PassRole"}  # what StartAutomationExecution needs with Tags and a role
    assert actions("MemberRole", "BaselinePolicy") == needed | tags


def test_the_doctor_tries_every_action_of_the_member_role() -> None:
    """All but the two that only a start would ask for: those it asks of IAM's simulator."""
    tried = {probe.action.partition(" ")[0] for probe in (*PROBES, *exceptions("any"))}
    assert tried == actions("MemberRole") - {"iam:PassRole", "ssm:AddTagsToResource"}


def test_the_doctor_may_do_what_it_and_schedule_members_ask_and_no_more() -> None:
    sources = [path.read_text() for path in (ROOT / "patchwarden" / "doctor").glob("*.py") if path.stem != "hub"]
    pairs = {pair for text in sources for pair in re.findall(r'"([a-z-]+)",\s+"([a-z_]+)"', text)}
    asked = {"servicequotas:ListServiceQuotas", "servicequotas:ListAWSDefaultServiceQuotas"}  # asked for in a loop
    for service in ("ssm", "ec2", "config", "iam", "events", "sqs"):
        names = {xform_name(name): name for name in service_model(service).operation_names}
        asked |= {f"{service}:{names[word]}" for of, word in pairs if of == service and word in names}
    baselines = {
        "ssm:DescribePatchBaselines",
        "ssm:DescribePatchGroups",
        "ssm:GetPatchBaseline",
    }  # adapters/baselines.py
    groups = {"resource-groups:ListGroupResources", "tag:GetResources"}  # adapters/fleets.py
    tags = {"ssm:ListTagsForResource"}  # of baselines here, of hybrid nodes in the member role
    assert actions("DoctorPolicy") == (asked | baselines | groups) - actions("MemberRole") | tags


def test_the_runbooks_role_may_do_what_the_runbooks_call_and_no_more() -> None:
    needed = set()
    for path in (ROOT / "runbooks").glob("*.yaml"):
        for step in yaml.safe_load(path.read_text())["mainSteps"]:
            needed |= set(_calls(step))
    alongside = {"ec2:CreateTags", "kms:CreateGrant"}  # what CreateSnapshot with tags, and StartInstances, ask for too
    assert actions("PatchPolicy", "AskTheHub", "StartTheEncrypted") == needed | alongside


def test_an_instance_with_an_encrypted_volume_can_be_started_and_the_grant_is_ec2s_alone() -> None:
    """Without the grant EC2 takes the start and stops the instance again at once.

    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-encryption-requirements.html
    """
    (one,) = statements("StartTheEncrypted")
    assert RESOURCES["StartTheEncrypted"]["Properties"]["RoleName"] == {"Ref": "AutomationRole"}
    assert one["Condition"] == {
        "Bool": {"kms:GrantIsForAWSResource": "true"},
        "StringLike": {"kms:ViaService": "ec2.*.amazonaws.*"},
    }


def _calls(step: dict[str, Any]) -> Iterator[str]:
    """The actions that a step needs, as its documentation says."""
    inputs = step["inputs"]
    for inner in inputs.get("Steps", []):
        yield from _calls(inner)
    if step["action"] == "aws:runCommand":
        yield from ("ssm:SendCommand", "ssm:ListCommands", "ssm:ListCommandInvocations")
    elif step["action"] == "aws:changeInstanceState":
        change = {"running": "ec2:StartInstances", "stopped": "ec2:StopInstances"}[inputs["DesiredState"]]
        yield from (change, "ec2:DescribeInstanceStatus", "ec2:DescribeInstances")
    elif "Api" in inputs:
        yield f"{inputs['Service']}:{inputs['Api']}"
    for service in ("ssm", "ec2") if step["action"] == "aws:executeScript" else ():
        names = {xform_name(name): name for name in service_model(service).operation_names}
        said = set(re.findall(r"\w+", inputs["Script"]))
        yield from (f"{service}:{names[word]}" for word in said & set(names))
    if "client.invoke(" in inputs.get("Script", ""):
        yield "lambda:InvokeFunction"


def test_no_action_holds_a_wildcard_and_only_readers_and_the_nameless_stand_on_all() -> None:
    nameless = {
        "ssm:CreateOpsItem",
        "ssm:CancelCommand",
        "ssm:CreatePatchBaseline",
        "config:DeleteRemediationExceptions",
    }
    for one in statements():
        names = listed(one["Action"])
        assert not [name for name in names if "*" in name]
        if "*" in listed(one["Resource"]):
            verbs = [name.split(":")[1] for name in names if name not in nameless]
            assert all(verb.startswith(("Describe", "List", "Get")) for verb in verbs), one


def test_only_our_runbooks_can_be_started_and_only_systems_manager_gets_a_role() -> None:
    for one in statements("MemberRole", "ExecutionRole"):
        if "ssm:StartAutomationExecution" in listed(one["Action"]):
            assert all(":document/Patchwarden-" in name or ":automation-definition/Patchwarden-" in name
                       or name.endswith(":automation-execution/*") for name in one["Resource"])  # fmt: skip
            theirs = f"arn:aws:ssm:{REGION}:{HERE}:document/Patchwarden-PatchNodes"
            assert any(fnmatchcase(theirs, pattern) for pattern in one["Resource"])
        if "iam:PassRole" in listed(one["Action"]):
            assert one["Condition"]["StringEquals"]["iam:PassedToService"] == "ssm.amazonaws.com"
            assert all(":role/" in name and "*" not in name for name in listed(one["Resource"]))


def test_the_tag_holds_for_everything_that_touches_a_node() -> None:
    for one in statements("PatchPolicy"):
        if any("instance/*" in name for name in listed(one["Resource"])):
            (key,) = one["Condition"]["StringEquals"]
            assert key in ("ssm:resourceTag/Patchwarden", "aws:ResourceTag/Patchwarden")


def trust(name: str) -> list[dict[str, Any]]:
    found = resolved(of_type("AWS::IAM::Role")[name]["AssumeRolePolicyDocument"])
    return list(found["Statement"])


def test_nobody_becomes_the_member_role_without_the_external_id_and_a_role_of_the_hub() -> None:
    (only,) = trust("MemberRole")
    assert only["Principal"] == {"AWS": f"arn:aws:iam::{HUB}:root"}
    assert only["Condition"]["StringEquals"] == {"sts:ExternalId": "ours-and-secret"}
    hubs = only["Condition"]["ArnLike"]["aws:PrincipalArn"]
    assert hubs[0] == f"arn:aws:iam::{HUB}:role/patchwarden-*"


@pytest.mark.parametrize("name", [name for name in of_type("AWS::IAM::Role") if name != "MemberRole"])
def test_a_service_becomes_a_role_only_for_this_account(name: str) -> None:
    for one in trust(name):
        if "Service" in one["Principal"]:
            assert one["Condition"]["StringEquals"]["aws:SourceAccount"] == HERE
        else:
            assert one["Condition"]["ArnEquals"]["aws:PrincipalArn"].endswith("AutomationAdministrationRole")


def test_config_calls_our_runbook_with_what_it_takes_and_tries_once() -> None:
    (one,) = of_type("AWS::Config::RemediationConfiguration").values()
    content = RESOURCES["RunbookRemediateFromConfig"]["Properties"]["Content"]
    required = {name for name, spec in content["parameters"].items() if "default" not in spec}
    assert set(one["Parameters"]) == required
    assert one["Parameters"]["ResourceId"] == {"ResourceValue": {"Value": "RESOURCE_ID"}}
    assert one["MaximumAutomaticAttempts"] == 1
    # A failure is how Config is told to leave a node alone, so none of them may end the others. Each execution that
    # waits holds one of the account's hundred, which those that it waits for need too.
    controls = resolved(one["ExecutionControls"]["SsmControls"])
    assert controls == {"ConcurrentExecutionRatePercentage": 10, "ErrorPercentage": 100}
    values = {name: resolved(given)["StaticValue"]["Values"] for name, given in one["Parameters"].items()
              if "StaticValue" in given}  # fmt: skip
    for name, (value,) in values.items():
        assert re.search(content["parameters"][name]["allowedPattern"], value)
