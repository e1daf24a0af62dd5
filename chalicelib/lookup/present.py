"""Present: what happens now, how old that answer is, and what the service itself is like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.errors import PolicyError
from chalicelib.core.journal import Kind
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.pauses import ALL, Pause
from chalicelib.core.remediations import Remediation, State
from chalicelib.fleet import LAST
from chalicelib.isolate import Degraded, degraded
from chalicelib.lookup.cases import lately, moves, summary, text_of
from chalicelib.lookup.service import guards, rollouts
from chalicelib.pause import HELD, in_force
from chalicelib.ports import SWEPT, Ledger, Ports

LISTED = 20
"""How many rows each list of the status holds."""


_LISTED = (State.WAITING, State.QUEUED, State.TICKETED)


def status(ledger: Ledger, now: datetime) -> dict[str, Any]:
    """What is happening now: counts by state, what runs, what waits longest, what is stuck.

    The lists of remediations hold `LISTED` rows at most; `totals` counts what each is the beginning of.
    """
    counts, pauses, aside = ledger.counts(), in_force(ledger, now), degraded(ledger)
    queued = list(ledger.work([State.QUEUED])) if pauses or aside else []
    return {
        "at": format_moment(now),
        "paused": next((pause.to_json() for pause in pauses if pause.scope == ALL), None),
        "pauses": [_pause(pause, queued) for pause in pauses],
        "degraded": [_account(one, queued) for one in aside.values()],
        "states": {state.value: counts[state] for state in sorted(counts)},
        "executions": [
            {"execution": batch.execution, "location": str(batch.location), "nodes": len(batch.members),
             "state": batch.state.value, "since": format_moment(batch.created_at)}
            for batch in ledger.open_batches()
        ],
        **{state.value: [summary(case) for case in ledger.page([state], after=None, limit=LISTED)]
           for state in _LISTED},
        "totals": {state.value: counts.get(state, 0) for state in _LISTED},
        "held": _held(ledger.held(), pauses),
        "guards": guards(ledger),
        "rollouts": [one for one in rollouts(ledger) if one["stands"] not in ("finished", "superseded")],
        "errands": len(ledger.errands(datetime.max.replace(tzinfo=now.tzinfo))),
        "fresh": _fresh(ledger, now),
        "sweep": last_sweep(ledger),
    }  # fmt: skip


STALE = timedelta(minutes=45)
"""A sweep comes every quarter of an hour: after three that did not, nobody knows what the fleet is like."""


def _fresh(ledger: Ledger, now: datetime) -> dict[str, Any]:
    """How old the answer may be: `{swept, moved, stale}`; the last sweep's end, the last change of a state, and
    whether the former is too long ago, or not known."""
    kept = ledger.kept(SWEPT)
    swept = parse_moment(str(kept.value["at"])) if kept else None
    moved = _moved(ledger, now)
    return {"swept": text_of(swept), "moved": text_of(moved), "stale": swept is None or now - swept > STALE}


def _moved(ledger: Ledger, now: datetime) -> datetime | None:
    """The newest line that changed a state; None: none did lately."""
    return next((line.at for line in lately(ledger, now) if moves(line)), None)


def last_sweep(ledger: Ledger) -> dict[str, Any] | None:
    """What the last whole pass over the fleet found; None: no pass has come to its end yet."""
    kept = ledger.kept(LAST)
    if kept is None:
        return None
    told = {name: kept.value[name] for name in ("number", "began", "ended", "places", "missed", "drift", "stale")}
    return {**told, "late": len(kept.value["late"]), "degraded": len(kept.value["degraded"])}


def _pause(pause: Pause, queued: list[Remediation]) -> dict[str, Any]:
    """A pause, and how many queued remediations it holds."""
    return {**pause.to_json(), "holds": sum(pause.holds(case) for case in queued)}


def refusing(ledger: Ledger) -> list[dict[str, Any]]:
    """The accounts that refuse us, each with how many queued remediations wait for it."""
    found = degraded(ledger)
    queued = list(ledger.work([State.QUEUED])) if found else []
    return [_account(one, queued) for one in found.values()]


def _account(one: Degraded, queued: list[Remediation]) -> dict[str, Any]:
    """An account that refuses us, and how many queued remediations wait for it."""
    waits = sum(case.node.account == one.account for case in queued)
    return {**one.to_json(), "holds": waits}


def _held(cases: Iterable[Remediation], pauses: tuple[Pause, ...]) -> dict[str, int]:
    """How many each guard holds. What a pause held stays marked until it starts, and is counted only while one does."""
    holding = (case.held for case in cases
               if case.held and (case.held != HELD or any(pause.holds(case) for pause in pauses)))  # fmt: skip
    return dict(sorted(Counter(holding).items()))


def health(ports: Ports) -> dict[str, Any]:
    """What the service itself is like: the ledger that answers, the pause, and the policy set that decides."""
    pauses = in_force(ports.ledger, ports.clock.now())
    try:
        digest, trouble = ports.policies.active().digest, None
    except PolicyError as error:
        digest, trouble = None, f"no policy set loads: {error}"
    return {"ledger": "ok", "paused": next((pause.reason for pause in pauses if pause.scope == ALL), None),
            "pauses": [pause.to_json() for pause in pauses],
            "degraded": sorted(degraded(ports.ledger)),
            "policies": digest,
            "guards": [line.name for line in ports.ledger.subjects(Kind.GUARD) if line.value.get("tripped")],
            "policy_trouble": trouble or ports.policies.trouble()}  # fmt: skip
