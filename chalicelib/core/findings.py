"""Findings: one claim, at one moment, that one node does or does not meet one control."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node


class Control(StrEnum):
    """What is to be met. `REPORTING`: the agent answers and the last scan is recent, so that the rest is known."""

    PATCH = "patch"
    ASSOCIATION = "association"
    REPORTING = "reporting"
    EMERGENCY = "emergency"


class Source(StrEnum):
    """Who says so. `AGAIN` is ourselves asking once more, `EMERGENCY` a look for named patches."""

    CONFIG = "config"
    SSM = "ssm"
    SWEEP = "sweep"
    REQUEST = "request"
    AGAIN = "again"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` is the name of the Config rule that says so, or of the emergency."""

    node: Node
    control: Control
    compliant: bool
    observed_at: datetime
    source: Source
    rule: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def remediation(self) -> str:
        """The id of the remediation that this finding belongs to; safe in a URL path."""
        return remediation_id(self.node, self.control)

    @property
    def key(self) -> str:
        """Equal for an exact redelivery, whatever id the event bus gave it: 16 hex digits."""
        said = (
            self.source,
            str(self.node),
            self.control,
            str(self.compliant),
            format_moment(self.observed_at),
            self.rule,
        )
        return hashlib.sha256("|".join(map(str, said)).encode()).hexdigest()[:16]


def remediation_id(node: Node, control: Control) -> str:
    return f"{node.account}.{node.region}.{node.id}.{control}"
