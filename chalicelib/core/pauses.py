"""Pauses: who stopped new starts, of what, why and until when; and what is held by them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.plans import Batch
from chalicelib.core.remediations import Remediation

ALL = "all"
"""The scope of a pause that holds everything; the others are `account/<id>`, `region/<name>` and `policy/<id>`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One pause. `until` None: until somebody resumes; `number` is its line in the journal."""

    scope: str
    by: str
    reason: str
    since: datetime
    until: datetime | None
    number: int

    @property
    def subject(self) -> str:
        return subject_of(Kind.PAUSE, self.scope)

    @property
    def because(self) -> str:
        """The sentence that everybody reads who is held by it."""
        kind, _, name = self.scope.partition("/")
        what = "paused" if self.scope == ALL else f"{kind} {name} is paused"
        return f"{what} by {self.by}: {self.reason}"

    def in_force(self, now: datetime) -> bool:
        return self.until is None or self.until > now

    def holds(self, case: Remediation) -> bool:
        """Whether the case may not start because of it."""
        return self._covers(case.node.account, case.node.region, [str(case.decision.get("policy"))])

    def covers(self, batch: Batch) -> bool:
        """Whether the batch, or any of its members, is in its scope: an execution stops as a whole."""
        return self._covers(batch.location.account, batch.location.region, [each.policy for each in batch.members])

    def _covers(self, account: str, region: str, policies: Iterable[str]) -> bool:
        kind, _, name = self.scope.partition("/")
        if kind == "policy":
            return name in policies
        return self.scope == ALL or name == {"account": account, "region": region}.get(kind)

    def to_json(self) -> dict[str, Any]:
        until = format_moment(self.until) if self.until else None
        return {"scope": self.scope, "by": self.by, "reason": self.reason, "since": format_moment(self.since),
                "until": until}  # fmt: skip


def pause_of(entry: Entry | None) -> Pause | None:
    """The pause that the newest entry of a subject says, or None if it says that starts go on."""
    if entry is None or not entry.value.get("paused"):
        return None
    until = entry.value.get("until")
    ends = parse_moment(str(until)) if until else None
    since = parse_moment(str(entry.value["since"])) if "since" in entry.value else entry.at
    return Pause(entry.name, entry.actor, entry.because, since, ends, entry.number)


def joined(held: Pause | None, by: str, reason: str, until: datetime | None, now: datetime) -> Pause | None:
    """What the scope's pause becomes with one more: the later end and both reasons. None: none is in force.

    A pause is ended by a resume only, so that nobody lifts somebody else's by setting a short one.
    """
    if held is None or not held.in_force(now):
        return None
    later = max(until, held.until) if until and held.until else None
    before = f"before by {held.by}: {held.reason}"
    known = held.reason if (held.by, held.reason.split("; before by ")[0]) == (by, reason) else f"{reason}; {before}"
    return replace(held, by=by, reason=known, until=later)


@dataclass(frozen=True, slots=True)
class Brake:
    """All pauses in force at one moment. `unreadable` says why nobody knows them: then everything is held."""

    pauses: tuple[Pause, ...] = ()
    unreadable: str | None = None

    @property
    def everything(self) -> str | None:
        """Why nothing at all may start, or None."""
        whole = next((pause for pause in self.pauses if pause.scope == ALL), None)
        return self.unreadable or (whole.because if whole else None)

    def on(self, what: Remediation | Batch) -> str | None:
        """Why this case, or this batch, may not start, or None."""
        if not self.pauses:
            return self.unreadable
        if self.everything:
            return self.everything
        for pause in self.pauses:
            if pause.covers(what) if isinstance(what, Batch) else pause.holds(what):
                return pause.because
        return None
