"""Limits: the quotas that Systems Manager keeps for one account in one Region.

https://docs.aws.amazon.com/general/latest/gr/ssm.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.core.nodes import Location

STARTS = frozenset({"StartAutomationExecution", "StopAutomationExecution"})
READS = frozenset(
    {"GetAutomationExecution", "DescribeAutomationExecutions", "DescribeAutomationStepExecutions"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Requests per second, automations at once, and how long a ClientToken is remembered.

    `reads` None: reading is not throttled. `token_memory` None: for ever. AWS does not say how long it is.
    `sessions_expire`: whether the credentials of an assumed role end with their time.
    """

    starts: float | None = 1.0
    reads: float | None = None
    automations: int = 100
    token_memory: timedelta | None = None
    sessions_expire: bool = True

    def rate(self, operation: str) -> float | None:
        """Requests per second for this operation, or None for no limit."""
        if operation in STARTS:
            return self.starts
        return self.reads if operation in READS else None


@dataclass(slots=True)
class Throttle:
    """A token bucket for each operation, account and Region; it holds one second's worth, and one token at least."""

    limits: Limits
    _levels: dict[tuple[str, Location], tuple[float, datetime]] = field(default_factory=dict)

    def allows(self, operation: str, location: Location, now: datetime) -> bool:
        """Whether the request may pass; one that does takes a token."""
        rate = self.limits.rate(operation)
        if rate is None:
            return True
        size = max(rate, 1.0)
        level, since = self._levels.get((operation, location), (size, now))
        level = min(size, level + (now - since).total_seconds() * rate)
        allowed = level >= 1.0
        self._levels[operation, location] = (level - allowed, now)
        return allowed
