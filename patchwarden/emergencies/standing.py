"""Standing: how an emergency goes, node by node and wave by wave, out of the trails alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.core.emergencies import Emergency
from chalicelib.core.findings import Control
from chalicelib.core.journal import Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Remediation, State
from chalicelib.ports import Ledger

_STUCK = (State.TICKETED, State.EXEMPT, State.WAITING, State.OPEN, State.REBOOT_PENDING)


@dataclass(frozen=True, slots=True)
class Progress:
    """The emergency and the cases that it opened, as they stand."""

    emergency: Emergency
    cases: tuple[Remediation, ...]
    rollout: dict[str, Any]

    def states(self) -> dict[str, int]:
        return dict(Counter(case.state.value for case in self.cases))

    @property
    def verified(self) -> int:
        """Nodes on which a scan shows the named patches, or that they do not apply."""
        return sum(case.state is State.RESOLVED for case in self.cases)

    @property
    def running(self) -> list[Remediation]:
        return [case for case in self.cases if case.active]

    def places(self) -> list[dict[str, Any]]:
        """Counts by account and Region."""
        found: dict[str, Counter[str]] = {}
        for case in self.cases:
            found.setdefault(str(case.location), Counter())[_column(case)] += 1
        return [{"place": place, "nodes": counts.total(), **{name: counts[name] for name in COLUMNS}} for place, counts
                in sorted(found.items())]  # fmt: skip

    def stuck(self) -> list[dict[str, Any]]:
        """Who does not move by itself or waits, with the reason."""
        return [
            {"node": str(case.node), "state": case.state.value,
             "since": format_moment(case.since) if case.since else "",
             "due": format_moment(case.due) if case.due else "", "ticket": case.ticket or "",
             "because": self._why(case)}
            for case in self.cases if case.state in _STUCK or (case.state is State.QUEUED and case.held)
        ]  # fmt: skip

    def _why(self, case: Remediation) -> str:
        """The sentence of its last move, or what holds it in the queue."""
        if case.state is not State.QUEUED:
            return case.because
        wave = self.rollout.get("stopped") or self.rollout.get("because") if case.held == "wave" else None
        return f"held by {case.held}: {wave or case.because}"

    def to_json(self, now: datetime) -> dict[str, Any]:
        one = self.emergency
        return {
            **head(one, now), "nodes": len(self.cases), "verified": self.verified, "states": self.states(),
            "places": self.places(), "stuck": self.stuck(), "rollout": self.rollout,
            "patches": [{"platform": part.platform, "system": part.system, "list": part.list,
                         "version_id": part.version_id, "named": [str(each) for each in part.named]}
                        for part in one.lists],
        }  # fmt: skip


COLUMNS = ("verified", "running", "queued", "waiting", "reboot", "ticket", "observed", "gone")


def _column(case: Remediation) -> str:
    if case.active:
        return "running"
    return {
        State.RESOLVED: "verified", State.QUEUED: "queued", State.WAITING: "waiting", State.REBOOT_PENDING: "reboot",
        State.TICKETED: "ticket", State.EXEMPT: "ticket", State.GONE: "gone",
    }.get(case.state, "observed")  # fmt: skip


def progress(ledger: Ledger, one: Emergency) -> Progress:
    """Read every head of the ledger once; for a person, never in the event path."""
    cases = [case for case in ledger.all_heads() if case.control is Control.EMERGENCY and case.emergency == one.id]
    return Progress(one, tuple(sorted(cases, key=lambda case: case.id)), _rollout(ledger, one))


def _rollout(ledger: Ledger, one: Emergency) -> dict[str, Any]:
    """Where its waves stand; empty without waves, or before the first round of dispatch."""
    lines = [line for line in ledger.subjects(Kind.ROLLOUT) if line.name.startswith(f"{one.id}/")]
    line = max(lines, key=lambda each: each.at, default=None)
    if line is None:
        return {}
    return {"wave": int(line.value["wave"]) + 1, "of": int(line.value["waves"]), "at": format_moment(line.at),
            "what": line.what, "stopped": line.value.get("stopped"), "because": line.because}  # fmt: skip


def head(one: Emergency, now: datetime) -> dict[str, Any]:
    """One line about an emergency."""
    return {
        "emergency": one.id, "state": one.how(now), "since": format_moment(one.since), "for": _span(now - one.since),
        "expires": format_moment(one.expires), "scope": str(one.scope), "by": one.by, "because": one.because,
        "said": one.said,
    }  # fmt: skip


def _span(span: Any) -> str:
    minutes = max(0, int(span.total_seconds()) // 60)
    return f"{minutes // 60}h {minutes % 60:02}m"
