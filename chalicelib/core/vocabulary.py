"""The vocabulary: every field of the facts that a policy may name, in one table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chalicelib.core.findings import Control, Source
from chalicelib.core.remediations import State

EVERY: Final = "[*]"
"""The step into a list: which item does not matter to the vocabulary."""

ANY_TAG: Final = "<tag>"

Steps = tuple[str, ...]
"""A place in the facts, such as ("node", "tags", "<tag>") or ("patch", "missing", "[*]", "severity")."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)


class Type(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    MOMENT = "moment"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. Without its first `needs` steps it is unknown; without a later one it is merely missing.

    `block` is what must be fetched for it (None: nothing). `values` is closed: it can never hold another.
    """

    steps: Steps
    type: Type
    needs: int
    meaning: str
    source: str
    block: str | None = None
    values: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        """Whether the facts may well be without it, as a node may be without a tag."""
        return self.needs < len(self.steps)

    @property
    def path(self) -> str:
        """As a policy writes it, such as `$.detail['patch-baseline-id']` or `$.node.tags.<tag>`."""
        return render(self.steps).replace(_step(ANY_TAG), f".{ANY_TAG}")


def render(steps: Sequence[str | int]) -> str:
    """The one JSONPath text of a path: names with a dot where they need no quotes."""
    return "$" + "".join(map(_step, steps))


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step == EVERY:
        return step
    if _PLAIN.match(step):
        return f".{step}"
    quoted = step.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{quoted}']"


_EVENT = "the event, or the sweep's finding"
_CONFIG = "the AWS Config event"
_SSM = "the Systems Manager event"
_LEDGER = "our own trail"
_EC2 = "ec2:DescribeInstances"
_INFORMATION = "ssm:DescribeInstanceInformation"
_STATES = "ssm:DescribeInstancePatchStates"
_PATCHES = "ssm:DescribeInstancePatches"
_OURS = "the journal of `patchwarden baseline apply`"
_TAGS = "ec2:DescribeInstances; ssm:ListTagsForResource for a hybrid node"

_EC2_STATES = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")
_PINGS = ("Online", "ConnectionLost", "Inactive")
_PLATFORMS = ("Windows", "Linux", "MacOS")

_ALWAYS = (
    Field(("account",), Type.STRING, 1, "Account of the node, 12 digits", _EVENT),
    Field(("region",), Type.STRING, 1, "Region of the node", _EVENT),
    Field(("time",), Type.MOMENT, 1, "When the finding was observed", _EVENT),
    Field(("finding", "node"), Type.STRING, 2, "Id of the node, i-… or mi-…", _EVENT),
    Field(("finding", "control"), Type.STRING, 2, "What is not met", _EVENT, values=tuple(Control)),
    Field(("finding", "source"), Type.STRING, 2, "Who says so", _EVENT, values=tuple(Source)),
    Field(("finding", "rule"), Type.STRING, 1, "Name of the Config rule or emergency, where one says so", _EVENT),
    Field(("history", "attempts"), Type.NUMBER, 2, "Failed attempts of this episode", _LEDGER),
    Field(("history", "first_seen"), Type.MOMENT, 2, "First finding of this episode: the SLA clock", _LEDGER),
    Field(("history", "last_outcome"), Type.STRING, 1, "How the last attempt ended", _LEDGER),
    Field(("history", "state"), Type.STRING, 2, "State of the remediation", _LEDGER, values=tuple(State)),
)

# https://docs.aws.amazon.com/config/latest/developerguide/monitor-config-with-cloudwatchevents.html
# https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html
_DETAIL = (
    Field(("detail", "configRuleName"), Type.STRING, 1, "Name of the Config rule", _CONFIG),
    Field(("detail", "configRuleARN"), Type.STRING, 1, "ARN of the Config rule", _CONFIG),
    Field(("detail", "resourceType"), Type.STRING, 1, "Such as AWS::SSM::PatchCompliance", _CONFIG),
    Field(("detail", "resourceId"), Type.STRING, 1, "Config's id of the node, with its prefix", _CONFIG),
    Field(("detail", "newEvaluationResult", "annotation"), Type.STRING, 1, "What a custom rule remarks", _CONFIG),
    Field(("detail", "oldEvaluationResult", "complianceType"), Type.STRING, 1, "Compliance before", _CONFIG),
    Field(("detail", "severity"), Type.STRING, 1, "Highest severity among the missing patches", _SSM),
    Field(("detail", "patch-baseline-id"), Type.STRING, 1, "Baseline of the scan", _SSM),
    Field(("detail", "compliance-type"), Type.STRING, 1, "Patch or Association", _SSM),
    Field(("detail", "stale"), Type.STRING, 1, "Why a node does not report, in words", _EVENT),
    Field(("detail", "last-runtime"), Type.STRING, 1, "Last run of the association", _SSM),
)

_NODE = (
    Field(("node", "id"), Type.STRING, 2, "i-… or mi-…", _EC2, "node"),
    Field(("node", "kind"), Type.STRING, 2, "EC2 instance or hybrid node", _EC2, "node", ("ec2", "hybrid")),
    Field(("node", "state"), Type.STRING, 2, "EC2's state; running for a hybrid node", _EC2, "node", _EC2_STATES),
    Field(("node", "ping"), Type.STRING, 1, "Agent's ping; missing if unmanaged", _INFORMATION, "node", _PINGS),
    Field(("node", "platform"), Type.STRING, 1, "Kind of operating system", _INFORMATION, "node", _PLATFORMS),
    Field(("node", "platform_name"), Type.STRING, 1, "Such as Amazon Linux", _INFORMATION, "node"),
    Field(("node", "platform_version"), Type.STRING, 1, "Such as 2023 or 22.04", _INFORMATION, "node"),
    Field(("node", "agent_version"), Type.STRING, 1, "Version of the SSM agent", _INFORMATION, "node"),
    Field(("node", "group"), Type.STRING, 1, "Auto Scaling group", _EC2, "node"),
    Field(("node", "zone"), Type.STRING, 1, "Availability Zone", _EC2, "node"),
    Field(("node", "tags"), Type.MAP, 2, "All tags", _TAGS, "node"),
    Field(("node", "tags", ANY_TAG), Type.STRING, 2, "Value of one tag", _TAGS, "node"),
)

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstancePatchState.html
_PATCH = (
    Field(("patch", "baseline"), Type.STRING, 2, "Patch baseline of the last operation", _STATES, "patch"),
    Field(("patch", "baseline_ours"), Type.BOOLEAN, 2, "Whether that is what our baselines say", _OURS, "patch.ours"),
    Field(("patch", "baseline_expected"), Type.STRING, 1, "The baseline that ours say", _OURS, "patch.ours"),
    Field(("patch", "operation"), Type.STRING, 2, "Last operation", _STATES, "patch", ("Scan", "Install")),
    Field(("patch", "operation_end"), Type.MOMENT, 2, "When the last operation ended", _STATES, "patch"),
    Field(("patch", "snapshot"), Type.STRING, 1, "SnapshotId of the last operation", _STATES, "patch"),
    Field(("patch", "pending_reboot"), Type.BOOLEAN, 2, "Whether a patch waits for a reboot", _STATES, "patch"),
    Field(("patch", "counts", "missing"), Type.NUMBER, 3, "Missing patches", _STATES, "patch"),
    Field(("patch", "counts", "failed"), Type.NUMBER, 3, "Patches that failed to install", _STATES, "patch"),
    Field(("patch", "counts", "rejected"), Type.NUMBER, 3, "Installed but rejected patches", _STATES, "patch"),
    Field(("patch", "counts", "pending_reboot"), Type.NUMBER, 3, "Patches that wait for a reboot", _STATES, "patch"),
    Field(("patch", "counts", "critical"), Type.NUMBER, 3, "Critical patches not compliant", _STATES, "patch"),
    Field(("patch", "counts", "security"), Type.NUMBER, 3, "Security patches not compliant", _STATES, "patch"),
    Field(("patch", "counts", "other"), Type.NUMBER, 3, "Other patches not compliant", _STATES, "patch"),
    Field(("patch", "missing"), Type.LIST, 2, "Each patch not installed", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "id"), Type.STRING, 4, "KB or package", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "title"), Type.STRING, 4, "Title", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "class"), Type.STRING, 4, "Such as Security", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "severity"), Type.STRING, 4, "Such as Critical", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "state"), Type.STRING, 4, "Such as MISSING", _PATCHES, "patch.missing"),
    Field(("patch", "missing", EVERY, "cves"), Type.STRING, 4, "CVEs, with commas", _PATCHES, "patch.missing"),
)

FIELDS: dict[Steps, Field] = {field.steps: field for field in (*_ALWAYS, *_DETAIL, *_NODE, *_PATCH)}


def place(steps: Sequence[str | int]) -> Steps:
    """Where in the vocabulary a path leads: any index is EVERY, any name below the tags is ANY_TAG."""
    found: Steps = ()
    for step in steps:
        inside = FIELDS.get(found)
        if inside and inside.type is Type.LIST and (isinstance(step, int) or step == EVERY):
            found += (EVERY,)
        elif inside and inside.type is Type.MAP and isinstance(step, str):
            found += (ANY_TAG,)
        else:
            found += (str(step),)
    return found


def item_fields(steps: Steps) -> dict[str, Field]:
    """The fields of the items of a list, by name; empty for what is no list of maps."""
    return {key[-1]: field for key, field in FIELDS.items() if key[:-1] == (*steps, EVERY)}
