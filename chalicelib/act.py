"""Act: what people may do through the API, once for each idempotency key, under their own name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.chain import digest
from chalicelib.core.envelopes import cleaned
from chalicelib.core.errors import Stale
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.pauses import ALL
from chalicelib.core.remediations import Cause, Remediation, State
from chalicelib.intake import Receipt, again
from chalicelib.pause import begin, end
from chalicelib.ports import Ledger, Ports
from chalicelib.record import record

TRIES = 3
CRASHED = timedelta(minutes=1)
"""After which a request that left no answer counts as broken off; API Gateway gives up after 29 s."""

Told = dict[str, Any]


class Reused(Exception):
    """An idempotency key came again with another request."""


def once(
    ports: Ports, actor: str, key: str, asked: Mapping[str, Any], deed: Callable[[], tuple[int, Told]],
    shown: Callable[[Told], Told] = dict,
) -> tuple[int, Told, bool]:  # fmt: skip
    """Status, answer, and whether it is the answer of an earlier call with the same key.

    Stale: that call is still under way. Reused: it asked for something else. The key is the actor's own.

    What the deed answers is kept, in one item of the ledger, 400 KB: so it is short, and `shown` makes of it what the
    caller reads, each time from how things stand then.
    """
    name, request, now = f"api/{digest([actor, key])}", digest(dict(asked)), ports.clock.now()
    kept = ports.ledger.kept(name)
    if kept:
        if kept.value["request"] != request:
            raise Reused(f"this Idempotency-Key was used for another request at {kept.value['at']}: take a new one")
        if "answer" in kept.value:
            return int(kept.value["status"]), shown(dict(kept.value["answer"])), True
        if parse_moment(kept.value["at"]) > now - CRASHED:
            raise Stale("the same request is under way")
    version = kept.version if kept else 0
    begun = {"request": request, "at": format_moment(now)}
    ports.ledger.keep(name, begun, expected=version)
    status, answer = deed()
    ports.ledger.keep(name, {**begun, "status": status, "answer": answer}, expected=version + 1)
    return status, shown(answer), False


def pause(ports: Ports, actor: str, reason: str, until: datetime | None, key: str | None = None) -> Told:
    """Start nothing new anywhere: `{paused: {scope, by, reason, since, until}}`. The journal keeps who and why."""
    return {"paused": begin(ports, ALL, by=actor, reason=reason, until=until, key=key).to_json()}


def resume(ports: Ports, actor: str, reason: str, key: str | None = None) -> Told:
    """Let starts go on: `{paused: None, was: {...} or None}`."""
    was = end(ports, ALL, by=actor, reason=reason, key=key)
    return {"paused": None, "was": was.to_json() if was else None}


def acknowledge(ports: Ports, identity: str, actor: str, note: str, key: str) -> Remediation | None:
    """Note in the trail that a person has seen it; None: there is no such remediation."""
    for _ in range(TRIES):
        case = ports.ledger.head(identity)
        if case is None or _noted(ports.ledger, identity, key):
            return case
        try:
            return record(ports, case, Cause.NOTED, f"acknowledged: {note}", actor=actor, evidence={"request": key})
        except Stale:
            continue
    raise Stale(f"{identity} is written to by others all the time")


def reevaluate(ports: Ports, identity: str, actor: str, reason: str, key: str) -> Remediation | None:
    """Decide once more on the facts of now; None: there is no such remediation. Who asked stands in a line before."""
    case = ports.ledger.head(identity)
    if case is None or case.active or case.state in (State.RESOLVED, State.GONE):
        return case
    if not _noted(ports.ledger, identity, key):
        because = f"decided again on request: {reason}"
        case = record(ports, case, Cause.NOTED, because, actor=actor, evidence={"request": key})
    return again(ports, case)


_HELD_FROM = (State.WAITING, State.QUEUED, State.OPEN, State.REBOOT_PENDING)


def hold(ports: Ports, identity: str, *, by: str, because: str) -> Receipt:
    """A person takes a case over that waits: it becomes their turn, with a ticket, and nothing starts by itself.

    Status `decided`, or `refused`, and then nothing was written. It is decided again once somebody requests it anew.
    """
    who, why = cleaned(by), cleaned(because)
    if not who or not why:
        return Receipt("refused", "taking a case over needs a name and a reason: both stand in the trail", identity)
    for _ in range(TRIES):
        case = ports.ledger.head(identity)
        if case is None:
            return Receipt("refused", "no such remediation", identity)
        if case.state not in _HELD_FROM:
            return Receipt("refused", f"only what waits can be held, and it is {case.state}: {case.because}", case.id,
                           case.state.value)  # fmt: skip
        said = {"by": who, "at": format_moment(ports.clock.now()), "because": why}
        kept = {name: value for name, value in case.decision.items() if name not in ("ask_until", "approvals")}
        try:
            head = record(
                ports,
                case,
                Cause.TICKETED,
                f"held by {who}: {why}",
                actor=who,
                evidence={"hold": said},
                sets={"decision": {**kept, "action": "ticket", "hold": said}, "due": None, "held": None},
            )
        except Stale:
            continue
        return Receipt("decided", head.because, head.id, head.state.value)
    raise Stale(f"{identity} is written to by others all the time")


def _noted(ledger: Ledger, identity: str, key: str) -> bool:
    """Whether the request left its line before it broke off."""
    return any(line.evidence.get("request") == key for line in ledger.trail(identity))
