"""Dispatch: one round that wakes what is due, groups what is queued and starts what the guards admit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib import pause
from chalicelib.core.decisions import closed
from chalicelib.core.errors import Denied, PolicyError, Temporary
from chalicelib.core.guards import HOUR, Admitted, Held, Room, admit
from chalicelib.core.nodes import Location
from chalicelib.core.pauses import Brake
from chalicelib.core.plans import (
    Batch,
    Plan,
    groups,
)
from chalicelib.core.remediations import ACTIVE, Remediation, State
from chalicelib.intake import again, in_force
from chalicelib.launch import hold, prepare, start
from chalicelib.ports import Clock, Ports

PACE = timedelta(seconds=1.05)
"""StartAutomationExecution is 1 per second for an account and Region; a little more, for clocks that differ."""

PATIENCE = timedelta(seconds=35)
"""How long one round takes on more starts; what is left stays queued for the next, a minute after the last."""

WAKING = timedelta(seconds=15)
"""How long one round asks again what waits; the rest is asked in the next."""

Result = TypeVar("Result")


class _AtPlace(Protocol):
    @property
    def location(self) -> Location: ...


Placed = TypeVar("Placed", bound=_AtPlace)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did: counts of remediations and of executions; `degraded`: places that did not answer."""

    woken: int = 0
    started: int = 0
    executions: int = 0
    held: int = 0
    paused: str | None = None
    degraded: tuple[str, ...] = ()


def dispatch(ports: Ports) -> Round:
    """One round: wake what is due, group what is queued, start what the guards admit.

    Without a policy set it does nothing: what waits and what is exempt stays so until one loads.
    """
    with ports.tracing.verb("dispatch"):
        begun = ports.clock.now()
        policies = in_force(ports)
        if isinstance(policies, PolicyError):
            return Round(paused=f"no policy set loads: {policies}")
        degraded: list[str] = []
        woken = wake(ports, begun, degraded)
        brake = pause.read(ports)
        if brake.unreadable:
            pause.tell(ports, brake)
            return Round(woken=woken, paused=brake.unreadable, degraded=_names(degraded))
        settings = policies.settings
        in_time = each(
            ports,
            ports.ledger.work([State.QUEUED]),
            lambda case: _in_time(ports, case, begun, policies.digest),
            degraded,
        )
        queued = [case for case in in_time if case.state is State.QUEUED]
        waiting = [case for case in queued if not brake.on(case)]
        leaving = groups(waiting, now=begun, linger=settings.linger)
        room = Room.of(ports.ledger.work(ACTIVE), ports.ledger.open_batches(), ports.ledger.batches_since(begun - HOUR),
                       settings.executions_per_location)  # fmt: skip
        admitted, held = admit(leaving, room, begun)
        for one in held:
            hold(ports, one)
        pace = Pace(begun)
        made = each(ports, _in_turn(admitted), lambda one: _launch(ports, one, room, pace), degraded)
        started = [batch for batches in made for batch in batches if batch.execution]
        members = sum(len(batch.members) for batch in started)
        pause.tell(ports, brake)
        stopped = _paused(ports, queued, brake, pace)
        return Round(woken, members, len(started), len(held) + stopped, brake.everything, _names(degraded))


def _paused(ports: Ports, queued: Iterable[Remediation], brake: Brake, pace: Pace) -> int:
    """Say once of each queued case that a pause holds it; how many there are. What no time is left for, the next
    round says: it does not start meanwhile either."""
    held = [(case, because) for case in queued if (because := brake.on(case))]
    for case, because in held:
        if pace.spent(ports.clock.now()):
            break
        hold(ports, Held(case, pause.HELD, because))
    return len(held)


@dataclass(slots=True)
class Pace:
    """When each place may be started in again, and when the round takes on nothing more."""

    begun: datetime
    free: dict[Location, datetime] = field(default_factory=dict)

    def spent(self, now: datetime) -> bool:
        return now - self.begun >= PATIENCE

    def wait(self, clock: Clock, location: Location) -> None:
        """Let the second pass that this place's last start still takes."""
        wait = (self.free.get(location, self.begun) - clock.now()).total_seconds()
        if wait > 0:
            clock.sleep(wait)
        self.free[location] = clock.now() + PACE


def _launch(ports: Ports, admitted: Admitted, room: Room, pace: Pace) -> list[Batch]:
    """Read again, write the intents and start, one place after the other; what no time is left for stays queued."""
    if pace.spent(ports.clock.now()) or pause.read(ports).everything:
        return []
    launched = []
    for batch in prepare(ports, admitted, room):
        pace.wait(ports.clock, batch.location)
        launched.append(start(ports, batch))
    return launched


def wake(ports: Ports, now: datetime, degraded: list[str]) -> int:
    """Ask again for everything whose next moment has come; how many were asked."""
    due = ports.ledger.work([State.WAITING, State.EXEMPT, State.TICKETED], before=now)
    return len(each(ports, due, lambda case: again(ports, case), degraded, until=now + WAKING))


def each(
    ports: Ports, items: Iterable[Placed], one: Callable[[Placed], Result], degraded: list[str],
    until: datetime | None = None,
) -> list[Result]:  # fmt: skip
    """What `one` made of each. A place that is busy or refuses is named once and left for later; the others go on.

    What is not reached before `until` is left for later too.
    """
    made: list[Result] = []
    for item in items:
        if str(item.location) in degraded:
            continue
        if until and ports.clock.now() >= until:
            break
        try:
            made.append(one(item))
        except (Temporary, Denied) as error:
            degraded.append(str(item.location))
            ports.notices.say("degraded", place=str(item.location), because=str(error))
    return made


def _names(degraded: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(degraded)))


def _in_time(ports: Ports, case: Remediation, now: datetime, digest: str) -> Remediation:
    """A queued case is decided again if its window closed, a freeze began, or the policies or we have changed."""
    stands = case.decision.get("set_digest") == digest and Plan.knows(case.plan) and not closed(case, now)
    return case if stands else again(ports, case)


def _in_turn(admitted: Sequence[Admitted]) -> list[Admitted]:
    """The first of every place, then the second of every place: one place's second is another's time."""
    seen: Counter[Location] = Counter()
    ranked = []
    for one in admitted:
        seen[one.location] += 1
        ranked.append((seen[one.location], str(one.location), one))
    return [one for _, _, one in sorted(ranked, key=lambda item: item[:2])]
