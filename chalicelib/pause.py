"""Pause: stop new starts of everything, an account, a Region or a policy, and let them go on again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.moments import format_moment
from chalicelib.core.pauses import Brake, Pause, joined, pause_of
from chalicelib.core.plans import Batch
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.ports import Ledger, Ports
from chalicelib.record import record

HELD = "pause"
"""What `held` says of a case that a pause keeps, or that was stopped for one."""

PACE = 1.05
"""Seconds between two stops at one place.

https://docs.aws.amazon.com/general/latest/gr/ssm.html
"""

TRIES = 3


def in_force(ledger: Ledger, now: datetime) -> tuple[Pause, ...]:
    """The pauses that hold now, by scope; strongly consistent."""
    found = (pause_of(newest) for newest in ledger.subjects(Kind.PAUSE))
    return tuple(pause for pause in found if pause and pause.in_force(now))


def read(ports: Ports) -> Brake:
    """What is paused at this moment. A switch that cannot be read counts as paused."""
    try:
        return Brake(in_force(ports.ledger, ports.clock.now()))
    except (Temporary, Denied) as error:
        return Brake(unreadable=f"the pause switch cannot be read: {error}")


def begin(
    ports: Ports, scope: str, *, by: str, reason: str, until: datetime | None = None, key: str | None = None
) -> Pause:
    """Pause the scope, or one that is paused for longer or for one more reason: never for less, that takes `end`.

    `key`: of the request; one that is in the journal already is done, and what it made is the answer. Stale if
    somebody else was first.
    """
    subject, now = subject_of(Kind.PAUSE, scope), ports.clock.now()
    newest = ports.ledger.entry(subject)
    line = _done(ports, subject, key)[1]
    if line is None:
        held = joined(pause_of(newest), by, reason, until, now)
        reason, until = (held.reason, held.until) if held else (reason, until)
        value = {"paused": True, "until": format_moment(until) if until else None, **_keyed(key)}
        value |= {"since": format_moment(held.since)} if held else {}
        line = entry(newest, subject, "paused", because=reason, actor=by, now=now, value=value)
        ports.ledger.enter(line)
    pause = pause_of(line)
    assert pause is not None, f"{subject} was paused and is not"
    return pause


def end(ports: Ports, scope: str, *, by: str, reason: str, key: str | None = None) -> Pause | None:
    """Let starts of the scope go on; the pause that ended, or None if there was none in force.

    `key`: of the request, as of `begin`: come again, it lifts no pause that was set since. So its line is written
    even if there is nothing to end.
    """
    subject, now = subject_of(Kind.PAUSE, scope), ports.clock.now()
    before, line = _done(ports, subject, key)
    if line is None:
        before = ports.ledger.entry(subject)
        if pause_of(before) is None and key is None:
            return None
        line = entry(before, subject, "resumed", because=reason, actor=by, now=now, value=_keyed(key))
        ports.ledger.enter(line)
    paused = pause_of(before)
    return paused if paused and paused.in_force(line.at) else None


def _keyed(key: str | None) -> dict[str, str]:
    return {"request": key} if key else {}


def _done(ports: Ports, subject: str, key: str | None) -> tuple[Entry | None, Entry | None]:
    """The line that this request left before it broke off, and the one before that."""
    before = None
    for line in ports.ledger.entries(subject) if key else ():
        if line.value.get("request") == key:
            return before, line
        before = line
    return None, None


def tell(ports: Ports, brake: Brake) -> None:
    """One notice for each pause, however many rounds it lasts; one each round while the switch cannot be read."""
    if brake.unreadable:
        ports.notices.say("paused", scope="all", because=brake.unreadable)
    for pause in brake.pauses:
        if ports.ledger.mark(f"told/{pause.subject}/{pause.number}"):
            ports.notices.say("paused", because=pause.because, **{**pause.to_json(), "reason": pause.reason})


@dataclass(frozen=True, slots=True)
class Stopped:
    """What became of one execution that should stop. `because` None: it was told to stop, and its commands too."""

    execution: str | None
    location: str
    nodes: int
    because: str | None = None


def stop_running(ports: Ports, pause: Pause, told: Callable[[Stopped], None] = lambda one: None) -> list[Stopped]:
    """Stop the executions in flight in the pause's scope, one a second at each place; how each one took it.

    Each node's trail says so before it is done. The outcome comes as always, by the execution's own event.
    """
    stopped: list[Stopped] = []
    before: set[str] = set()
    for batch in [each for each in ports.ledger.open_batches() if pause.covers(each)]:
        if str(batch.location) in before:
            ports.clock.sleep(PACE)
        before.add(str(batch.location))
        stopped.append(_stop(ports, batch, pause))
        told(stopped[-1])
    return stopped


def _stop(ports: Ports, batch: Batch, pause: Pause) -> Stopped:
    where, nodes = str(batch.location), len(batch.members)
    try:
        execution = batch.execution or ports.automations.find(batch)
        if execution is None:
            return Stopped(None, where, nodes, f"batch {batch.id} has no execution, and gets none while it is paused")
        _say_so(ports, batch, execution, pause)
        ports.automations.stop(batch.location, execution)
        seen = ports.automations.execution(batch.location, execution)
        for command in (seen.commands if seen else {}).values():
            ports.automations.cancel(batch.location, command)
    except (Temporary, Denied) as error:
        return Stopped(batch.execution, where, nodes, str(error))
    ports.notices.say("stopped", execution=execution, location=where, nodes=nodes, because=pause.because)
    return Stopped(execution, where, nodes)


def _say_so(ports: Ports, batch: Batch, execution: str, pause: Pause) -> None:
    """The line of each node that the execution still works on."""
    for member in batch.members:
        for _ in range(TRIES):
            case = ports.ledger.head(member.remediation)
            if case is None or not _works_on(case, batch):
                break
            try:
                record(ports, case, Cause.NOTED, f"{pause.because}: execution {execution} is being stopped",
                       sets={"held": HELD}, evidence={"execution": execution}, actor=pause.by)  # fmt: skip
            except Stale:
                continue
            break


def _works_on(case: Remediation, batch: Batch) -> bool:
    return case.active and case.batch == batch.id
