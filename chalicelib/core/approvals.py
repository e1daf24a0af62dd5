"""Approvals: whose yes a policy asks for, and which of those that were said still count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from chalicelib.core.compiled import exactly, seconds

ON_TIMEOUT = frozenset({"ticket", "observe"})


@dataclass(frozen=True, slots=True)
class Approval:
    """At least `minimum` different people, each of whom one of the globs in `by` fits, within a time.

    Without `by`, whoever may call approve. `on_timeout` is what the case becomes when too few have said yes by then.
    """

    by: tuple[str, ...] = ()
    minimum: int = 1
    within: timedelta = timedelta(days=7)
    on_timeout: str = "ticket"

    @classmethod
    def from_json(cls, value: object) -> Approval:
        known = exactly(value, "approval", {"by": list, "minimum": int, "within": int, "on_timeout": ON_TIMEOUT})
        return cls(tuple(known["by"]), known["minimum"], seconds(known["within"]) or timedelta(), known["on_timeout"])

    def may(self, who: str) -> bool:
        """Whether this person's yes counts."""
        return not self.by or any(fnmatchcase(who, glob) for glob in self.by)


def standing(decision: Mapping[str, Any], policy_digest: str) -> list[dict[str, str]]:
    """The approvals in a case's decision that were said to this very policy; one that was changed since asks anew.

    Each is `{"by", "at", "because", "policy_digest"}`.
    """
    return [one for one in decision.get("approvals", ()) if one["policy_digest"] == policy_digest]


def asks(decision: Mapping[str, Any]) -> bool:
    """Whether the decision waits for somebody's yes."""
    return decision.get("action") == "approve" and "ask_until" in decision
