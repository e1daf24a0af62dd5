"""Decided: what a decision is and says, and what is read later from the one that a case keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.moments import parse_moment
from chalicelib.core.remediations import Cause, Remediation, State


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from a finding: the cause of the next line, its sentence, and the fields it changes."""

    cause: Cause
    because: str
    sets: Mapping[str, Any] = field(default_factory=dict, hash=False)


def closed(case: Remediation, now: datetime) -> bool:
    """Whether the window that a queued case was let into has closed, or a freeze has begun."""
    closes = case.decision.get("closes")
    return bool(closes) and parse_moment(str(closes)) <= now


UNRULED: Mapping[str, Any] = {"policy": None, "set_digest": None, "shadows": [], "unknown": []}


def unruled(case: Remediation) -> bool:
    """Whether its ticket only says that no policy set loaded: then it is decided anew once there is one."""
    return case.state is State.TICKETED and case.decision.get("set_digest", "") is None


def overdue(case: Remediation, now: datetime) -> str | None:
    """That the deadline of the policy that won has passed, as a sentence; None while there is time, or no deadline."""
    deadline = case.decision.get("deadline")
    if not deadline or parse_moment(str(deadline)) > now:
        return None
    return f"{case.decision.get('policy')}: its deadline {deadline} has passed"


def lateness(case: Remediation, now: datetime) -> timedelta:
    """How long the deadline of the policy that won has passed; nothing while there is time, or no deadline."""
    deadline = case.decision.get("deadline")
    return max(now - parse_moment(str(deadline)), timedelta(0)) if deadline else timedelta(0)


def noted(because: str) -> Decision:
    """Nothing changes but the news."""
    return Decision(Cause.NOTED, because)


def resolved(because: str, facts: Mapping[str, Any]) -> Decision:
    """What is known now reaches up to the scan: a finding that is older than it opens nothing again."""
    known = facts["patch"]["operation_end"] if "patch" in facts else facts["time"]
    return Decision(Cause.RESOLVED, because, {"observed_at": known, "due": None, "cools_until": None, "held": None})


def ticketed(because: str, made: Mapping[str, Any], action: str = "ticket") -> Decision:
    """A person's turn, with what was made of the policies."""
    return Decision(Cause.TICKETED, because, {"decision": {**made, "action": action}, "due": None, "held": None})
