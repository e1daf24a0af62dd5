"""Nodes: what the doctor says of the agents, and of the baselines that the nodes were last measured by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib.core.errors import Denied
from patchwarden.doctor.remarks import OK, WARNING, Patient, Remark, code

HOOKS = (3, 0, 502)
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaselinewithhooks.html"""

SYSTEMS = (
    ("Ubuntu", "UBUNTU"), ("Red Hat", "REDHAT_ENTERPRISE_LINUX"), ("SLES", "SUSE"), ("SUSE", "SUSE"),
    ("CentOS", "CENTOS"), ("Oracle", "ORACLE_LINUX"), ("Debian", "DEBIAN"), ("Rocky", "ROCKY_LINUX"),
    ("AlmaLinux", "ALMA_LINUX"), ("Microsoft Windows", "WINDOWS"), ("macOS", "MACOS"),
)  # fmt: skip
_AMAZON = {"2": "AMAZON_LINUX_2", "2022": "AMAZON_LINUX_2022", "2023": "AMAZON_LINUX_2023"}
SHOWN = 5


def nodes(patient: Patient) -> Iterator[Remark]:
    """Agents that are too old for hooks, and nodes that do not check in."""
    known = list(_known(patient))
    old = [one for one in known if _version(one.get("AgentVersion", "")) < HOOKS]
    silent = [one for one in known if one.get("PingStatus") != "Online"]
    if old:
        yield patient.says(
            "agents", WARNING, f"{_named(old)}: agent older than 3.0.502, so hooks do not run there",
            "update the agent", "aws ssm send-command --document-name AWS-UpdateSSMAgent --targets ...",
        )  # fmt: skip
    if silent:
        yield patient.says(
            "nodes", WARNING, f"{_named(silent)}: not checking in, so never patched",
            "start the node, or see why its agent does not reach Systems Manager",
            "aws ssm describe-instance-information --filters Key=PingStatus,Values=ConnectionLost",
        )  # fmt: skip
    if not known:
        yield patient.says("nodes", WARNING, "Systems Manager knows no node here",
                           "give instances a profile with AmazonSSMManagedInstanceCore")  # fmt: skip
    elif not old and not silent:
        yield patient.says("nodes", OK, f"{len(known)} nodes check in, with agents that can do all")


def baselines(patient: Patient) -> Iterator[Remark]:
    """Nodes outside every patch group that were last measured by another baseline than the default of their system."""
    systems: dict[str, list[str]] = defaultdict(list)
    for one in _known(patient):
        if system := operating_system(one):
            systems[system].append(one["InstanceId"])
    strange = []
    for system in sorted(systems):
        default = _default(patient, system)
        for state in _states(patient, systems[system]):
            if default and not state.get("PatchGroup") and state["BaselineId"] != default:
                strange.append(f"{state['InstanceId']} by {state['BaselineId']} and not {default}")
    if strange:
        yield patient.says(
            "baselines", WARNING, f"{len(strange)} nodes were measured by another baseline than the default: "
            + "; ".join(strange[:SHOWN]),
            "find what else scans them: a patch policy, an association or a maintenance window",
            "aws ssm describe-instance-patch-states --instance-ids ...",
        )  # fmt: skip
    else:
        yield patient.says("baselines", OK, "every node was measured by the baseline of its group or system")


def operating_system(told: Mapping[str, Any]) -> str | None:
    """What baselines call the system of a node; None: no baseline we know speaks for it."""
    name, version = str(told.get("PlatformName", "")), str(told.get("PlatformVersion", ""))
    if name == "Amazon Linux" and version in _AMAZON:
        return _AMAZON[version]
    return next((system for start, system in SYSTEMS if name.startswith(start)), None)


def _known(patient: Patient) -> Iterator[dict[str, Any]]:
    for page in patient.pages("ssm", "describe_instance_information", MaxResults=50):
        yield from page["InstanceInformationList"]


def _states(patient: Patient, ids: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(ids), 50):
        some = ids[start : start + 50]
        for page in patient.pages("ssm", "describe_instance_patch_states", InstanceIds=some, MaxResults=50):
            yield from page["InstancePatchStates"]


def _default(patient: Patient, system: str) -> str | None:
    """The id of the default baseline; AWS's own are named by an ARN, patch states by the id in it."""
    try:
        answer = patient.ask("ssm", "get_default_patch_baseline", OperatingSystem=system)
    except Denied as error:
        if code(error) != "DoesNotExist":
            raise
        return None
    return str(answer["BaselineId"]).rsplit("/", 1)[-1]


def _version(text: str) -> tuple[int, ...]:
    """A version as numbers; one that is none counts as old."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _named(found: list[dict[str, Any]]) -> str:
    ids = [one["InstanceId"] for one in found]
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
