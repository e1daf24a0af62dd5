"""Nodes: what the doctor says of the agents, and of nodes that do not check in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from patchwarden.doctor.remarks import OK, WARNING, Patient, Remark

HOOKS = (3, 0, 502)
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaselinewithhooks.html"""

SHOWN = 5


def nodes(patient: Patient) -> Iterator[Remark]:
    """Agents that are too old for hooks, and nodes that do not check in."""
    there = list(known(patient))
    old = [one for one in there if _version(one.get("AgentVersion", "")) < HOOKS]
    silent = [one for one in there if one.get("PingStatus") != "Online"]
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
    if not there:
        yield patient.says("nodes", WARNING, "Systems Manager knows no node here",
                           "give instances a profile with AmazonSSMManagedInstanceCore")  # fmt: skip
    elif not old and not silent:
        yield patient.says("nodes", OK, f"{len(there)} nodes check in, with agents that can do all")


def known(patient: Patient) -> Iterator[dict[str, Any]]:
    """Every node that Systems Manager manages there."""
    for page in patient.pages("ssm", "describe_instance_information", MaxResults=50):
        yield from page["InstanceInformationList"]


def _version(text: str) -> tuple[int, ...]:
    """A version as numbers; one that is none counts as old."""
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()


def _named(found: list[dict[str, Any]]) -> str:
    return shown([one["InstanceId"] for one in found])


def shown(ids: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
