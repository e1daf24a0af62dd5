"""Hold: what may not start now waits and says for what, and past its deadline it is a person's turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from chalicelib.core.decided import overdue
from chalicelib.core.errors import Stale
from chalicelib.core.guards import Held
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.ports import Ports
from chalicelib.record import record


def untold(ports: Ports, every: Iterable[Held]) -> list[Held]:
    """Those of whom there is a line to write: what waits for room was told of when it began to, and is queued on."""
    now = ports.clock.now()
    return [
        one for one in every
        if one.until or one.case.held != one.guard or (not one.told and overdue(one.case, now))
    ]  # fmt: skip


def hold(ports: Ports, held: Held) -> None:
    """What has a next moment waits for it; what waits for room stays queued and is noted once."""
    case, because = held.case, f"held by {held.guard}: {held.because}"
    try:
        if held.told or not _late(ports, case, because):
            if held.until:
                sets = {"due": format_moment(held.until), "held": held.guard}
                record(ports, case, Cause.DEFERRED, held.because, sets=sets)
            elif case.held != held.guard:
                record(ports, case, Cause.NOTED, because, sets={"held": held.guard})
    except Stale:
        return


def _late(ports: Ports, case: Remediation, because: str) -> bool:
    """Whether the deadline of what cannot start has passed; then it is a person's turn, never silence."""
    late = overdue(case, ports.clock.now())
    if late:
        decision = {**case.decision, "action": "ticket"}
        record(
            ports, case, Cause.TICKETED, f"{late}: {because}", sets={"decision": decision, "due": None, "held": None}
        )
    return late is not None


def wait_for(ports: Ports, case: Remediation, held: str, because: str, span: timedelta) -> None:
    """The case waits for that span, held by this; past its deadline it is a person's turn instead."""
    if _late(ports, case, because):
        return
    due = format_moment(ports.clock.now() + span)
    record(ports, case, Cause.DEFERRED, because, sets={"due": due, "held": held})
