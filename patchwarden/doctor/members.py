"""Members: what the doctor looks at in each account and Region whose nodes are Patchwarden's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from chalicelib.core.errors import Denied
from chalicelib.core.events import EVENT_PATTERNS
from patchwarden.doctor.baselines import baselines
from patchwarden.doctor.config_rules import config_rule
from patchwarden.doctor.nodes import nodes
from patchwarden.doctor.permissions import permissions
from patchwarden.doctor.quotas import quotas
from patchwarden.doctor.remarks import OK, REFUSED, UPDATE, WARNING, WRONG, Check, Patient, Remark, code, looked
from patchwarden.doctor.roles import acting

RUNBOOKS = Path(__file__).parents[2] / "runbooks"
RECORDED = ("AWS::SSM::ManagedInstanceInventory", "AWS::SSM::PatchCompliance", "AWS::SSM::AssociationCompliance")
_AGAIN = "deploy deploy/member.yaml of this release"
MOST_SKEW = timedelta(minutes=5)
"""AWS refuses signatures that are further off. https://docs.aws.amazon.com/general/latest/gr/signing.html"""


def examine(patient: Patient) -> Iterator[Remark]:
    """All remarks on one place; without the role there is nothing more to say of it."""
    first = list(looked(patient, [("role", role)]))
    yield from first
    if all(remark.level == OK for remark in first if remark.check == "role"):
        yield from looked(patient, CHECKS)


def role(patient: Patient) -> Iterator[Remark]:
    """The role can be taken on with the external id, and not without."""
    try:
        answer = patient.ask("sts", "get_caller_identity")
    except Denied as error:
        if code(error) not in REFUSED:
            raise
        yield patient.says(
            "role", WRONG, f"the role {patient.role} cannot be taken on: {error}",
            "deploy deploy/member.yaml there with HubAccount and ExternalId as the hub has them", UPDATE,
        )  # fmt: skip
        return
    yield patient.says("role", OK, f"acting as {answer['Arn']}")
    yield from _clock(patient, answer)
    if not patient.hub:
        yield from _trust(patient)


def _trust(patient: Patient) -> Iterator[Remark]:
    try:
        patient.stranger.call(patient.location, "sts", "get_caller_identity")
    except Denied:
        yield patient.says("trust", OK, "the external id is asked for")
        return
    yield patient.says(
        "trust", WRONG, f"{patient.role} can be taken on without the external id",
        "let its trust policy require sts:ExternalId, as deploy/member.yaml does", UPDATE,
    )  # fmt: skip


def _clock(patient: Patient, answer: Mapping[str, Any]) -> Iterator[Remark]:
    said = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if said is None:
        yield patient.says("clock", "unknown", "the answer carried no Date", "run doctor again")
        return
    skew = patient.now() - parsedate_to_datetime(said)
    if abs(skew) > MOST_SKEW:
        yield patient.says("clock", WRONG, f"this machine's clock is {_span(skew)} off AWS's",
                           "set the clock by NTP", "timedatectl set-ntp true")  # fmt: skip
    else:
        yield patient.says("clock", OK, "this machine's clock agrees with AWS's")


def _span(skew: timedelta) -> str:
    seconds = int(abs(skew).total_seconds())
    return f"{seconds // 60} min {seconds % 60} s {'ahead and' if skew > timedelta() else 'behind and'}"


def runbooks(patient: Patient) -> Iterator[Remark]:
    """Each of our runbooks is there, and says what the file says."""
    for path in sorted(RUNBOOKS.glob("Patchwarden-*.yaml")):
        try:
            theirs = patient.ask("ssm", "get_document", Name=path.stem, DocumentVersion="$DEFAULT")
        except Denied as error:
            if code(error) != "InvalidDocument":
                raise
            yield patient.says("runbooks", WRONG, f"{path.stem} is not there",
                               "deploy it with Runbooks=yes in deploy/member.yaml", UPDATE)  # fmt: skip
            continue
        if _content(theirs["Content"]) == _content(path.read_text(encoding="utf-8")):
            yield patient.says("runbooks", OK, f"{path.stem} version {theirs['DocumentVersion']} is ours")
        else:
            yield _other_runbook(patient, path, theirs["DocumentVersion"])


def _other_runbook(patient: Patient, path: Path, default: str) -> Remark:
    """CloudFormation says that a stack is updated also where it left the default version as it was."""
    newest = patient.ask("ssm", "get_document", Name=path.stem, DocumentVersion="$LATEST")
    version = newest["DocumentVersion"]
    if version == default or _content(newest["Content"]) != _content(path.read_text(encoding="utf-8")):
        what = f"{path.stem} version {default} is not what this release holds"
        return patient.says("runbooks", WRONG, what, _AGAIN, UPDATE)
    return patient.says(
        "runbooks", WRONG, f"ours is version {version} of {path.stem}, but version {default} is the default, which is "
        "what starts", "make it the default",
        f"aws ssm update-document-default-version --name {path.stem} --document-version {version}",
    )  # fmt: skip


@lru_cache(maxsize=32)
def _content(text: str) -> Any:
    """Every place holds the same few texts. CloudFormation may have made texts of numbers and booleans on the way."""
    try:
        return _texts(json.loads(text))
    except json.JSONDecodeError:
        return _texts(yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def _texts(value: Any) -> Any:
    match value:
        case dict():
            return {name: _texts(each) for name, each in value.items()}
        case list():
            return [_texts(each) for each in value]
        case bool():
            return str(value).lower()
    return str(value)


def rules(patient: Patient) -> Iterator[Remark]:
    """Every event that the hub listens for is forwarded, and what cannot be delivered is kept."""
    if patient.at_home:
        yield patient.says("rules", OK, "the hub hears what happens here itself")
        return
    for handler, pattern in EVENT_PATTERNS.items():
        name = f"patchwarden-{handler.replace('_', '-')}"
        faults = list(_rule(patient, name, pattern))
        yield from faults or [patient.says("rules", OK, f"{name} forwards")]


def _rule(patient: Patient, name: str, pattern: Mapping[str, Any]) -> Iterator[Remark]:
    """The one thing that most needs doing about a rule."""
    swept = "; until then only the sweep finds out"
    try:
        found = patient.ask("events", "describe_rule", Name=name)
    except Denied as error:
        if code(error) != "ResourceNotFound":
            raise
        yield patient.says("rules", WRONG, f"there is no rule {name}{swept}", "deploy it with ForwardEvents=yes; "
                           "for an account outside the organisation nothing is to be done", UPDATE)  # fmt: skip
        return
    if found.get("State") == "DISABLED":
        yield patient.says("rules", WRONG, f"the rule {name} is disabled{swept}", "enable it",
                           f"aws events enable-rule --name {name}")  # fmt: skip
        return
    if json.loads(found.get("EventPattern") or "{}") != pattern:
        yield patient.says("rules", WRONG, f"the rule {name} listens for something else", _AGAIN, UPDATE)
        return
    targets = patient.ask("events", "list_targets_by_rule", Rule=name)["Targets"]
    if not [one for one in targets if ":event-bus/" in one["Arn"]]:
        yield patient.says("rules", WRONG, f"the rule {name} has no event bus as its target",
                           "deploy deploy/member.yaml with HubBusArn", UPDATE)  # fmt: skip
    elif not [one for one in targets if one.get("DeadLetterConfig", {}).get("Arn")]:
        yield patient.says("rules", WARNING, f"the rule {name} keeps nothing that it could not deliver", _AGAIN, UPDATE)


def recorder(patient: Patient) -> Iterator[Remark]:
    """Config's recorder is on, sees what the rule needs, and says so at once and not once a day."""
    remedy = "switch it on for the types AWS::SSM::* (docs/deploy.md)"
    known = patient.ask("config", "describe_configuration_recorders")["ConfigurationRecorders"]
    if not known:
        yield patient.says("recorder", WRONG, "AWS Config records nothing: there is no recorder", remedy,
                           "aws configservice put-configuration-recorder ...")  # fmt: skip
        return
    one = known[0]
    statuses = patient.ask("config", "describe_configuration_recorder_status")["ConfigurationRecordersStatus"]
    if not any(status.get("recording") for status in statuses):
        yield patient.says(
            "recorder", WRONG, f"the recorder {one['name']} is off", "start it",
            f"aws configservice start-configuration-recorder --configuration-recorder-name {one['name']}",
        )  # fmt: skip
    elif missing := _unrecorded(one.get("recordingGroup", {})):
        yield patient.says("recorder", WRONG, f"the recorder does not record {', '.join(missing)}", remedy,
                           "aws configservice put-configuration-recorder ...")  # fmt: skip
    elif daily := _daily(one.get("recordingMode", {})):
        yield patient.says(
            "recorder", WARNING, f"{', '.join(daily)}: recorded once a day, so events come up to 24 h late",
            "record these types CONTINUOUS", "aws configservice put-configuration-recorder ...",
        )  # fmt: skip
    else:
        yield patient.says("recorder", OK, f"the recorder {one['name']} is on and records what is needed")


def _unrecorded(group: Mapping[str, Any]) -> list[str]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_RecordingGroup.html"""
    excluded = group.get("exclusionByResourceTypes", {}).get("resourceTypes", [])
    if group.get("allSupported") or excluded:
        return [kind for kind in RECORDED if kind in excluded]
    return [kind for kind in RECORDED if kind not in group.get("resourceTypes", [])]


def _daily(mode: Mapping[str, Any]) -> list[str]:
    """https://docs.aws.amazon.com/config/latest/APIReference/API_RecordingMode.html"""
    overrides = {
        kind: one["recordingFrequency"]
        for one in mode.get("recordingModeOverrides", [])
        for kind in one["resourceTypes"]
    }
    usual = mode.get("recordingFrequency", "CONTINUOUS")
    return [kind for kind in RECORDED if overrides.get(kind, usual) == "DAILY"]


UNDELIVERED = "patchwarden-undelivered"


def undelivered(patient: Patient) -> Iterator[Remark]:
    """The queue of events that the forwarding rules could not deliver is there, and empty."""
    if patient.at_home:
        return
    try:
        address = patient.ask("sqs", "get_queue_url", QueueName=UNDELIVERED)["QueueUrl"]
    except Denied as error:
        if "NonExistentQueue" not in code(error) and "QueueDoesNotExist" not in code(error):
            raise
        yield patient.says("queues", WARNING, f"there is no queue {UNDELIVERED}: what is not delivered is lost",
                           "deploy deploy/member.yaml with ForwardEvents=yes", UPDATE)  # fmt: skip
        return
    depth = patient.lying(address)
    if depth:
        yield patient.says(
            "queues", WRONG, f"{UNDELIVERED} holds {depth} events that did not reach the hub; the sweep finds them",
            "read ERROR_MESSAGE of one, mend its cause (often the hub's bus policy), and purge the queue",
            f"aws sqs receive-message --queue-url {address} --message-attribute-names All",
        )  # fmt: skip
    else:
        yield patient.says("queues", OK, f"{UNDELIVERED} is empty")


CHECKS: tuple[tuple[str, Check], ...] = (
    ("roles", acting),
    ("permissions", permissions),
    ("runbooks", runbooks),
    ("rules", rules),
    ("queues", undelivered),
    ("recorder", recorder),
    ("config-rule", config_rule),
    ("nodes", nodes),
    ("baselines", baselines),
    ("quotas", quotas),
)
