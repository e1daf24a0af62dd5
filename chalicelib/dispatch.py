"""Dispatch: one round that wakes what is due, groups what is queued and starts what the guards admit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from operator import itemgetter
from typing import Any

from chalicelib import budget, emergency, guard, isolate, pause, surge, ticket, wave
from chalicelib.core.decided import closed
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.guards import HOUR, Admitted, Held, Room, admit, groups_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.pauses import Brake
from chalicelib.core.plans import (
    Batch,
    BatchState,
    Plan,
    groups,
)
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import ACTIVE, Remediation, State
from chalicelib.core.turns import in_turn
from chalicelib.crew import MOST, Group, all_of, by_place, each, left_alone
from chalicelib.glance import glance
from chalicelib.hold import hold, untold
from chalicelib.intake import TRIES, again, in_force
from chalicelib.launch import start
from chalicelib.ports import Ports
from chalicelib.prepare import prepare

PACE = timedelta(seconds=1.2)
"""StartAutomationExecution is 1 per second for an account and Region; a little more, since a call may be late."""

PATIENCE = timedelta(seconds=50)
"""How long one round takes on more starts; what is left stays queued for the next, a minute after the last."""

WAKING = timedelta(seconds=15)
"""How long one round asks again what waits; the rest is asked in the next."""

DECIDING = timedelta(seconds=30)
"""From the round's beginning: until when it decides anew what is queued and no longer stands, and counts groups."""

TELLING = timedelta(seconds=60)
"""From the round's beginning: until when it says what is held; the rest is said by the next."""

LATE = timedelta(seconds=0.1)
"""How late a start may be for its own second: more would come too near to the next."""

LONGEST_QUEUE = timedelta(minutes=2)
"""A place's next free moment that lies further ahead than this was written by a clock that is wrong."""


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
    with ports.tracing.verb("dispatch"), ticket.last(ports) as ports:
        begun = ports.clock.now()
        policies = in_force(ports)
        if isinstance(policies, PolicyError):
            return Round(paused=f"no policy set loads: {policies}")
        brake = pause.read(ports)
        aside = isolate.degraded(ports.ledger)
        degraded = _aside(aside, begun)
        woken = wake(ports, begun, degraded, aside)
        if brake.unreadable:
            pause.tell(ports, brake)
            return Round(woken=woken, paused=brake.unreadable, degraded=_names(degraded))
        settings = policies.settings
        due = list(ports.ledger.work([State.QUEUED]))
        in_time = _in_time(ports, due, begun, policies, degraded, aside)
        queued = [case for case in in_time if case.state is State.QUEUED and _known(case, policies.digest)]
        asked, active = {case.id for case in in_time}, list(ports.ledger.work(ACTIVE))
        there = _There.of(queued, [case for case in due if case.id not in asked], active, brake, degraded)
        free, kept = _guarded(ports, policies, there)
        leaving = in_turn(groups(free, now=begun, linger=settings.linger), itemgetter(0), itemgetter(2), begun)
        room = Room.of(active, ports.ledger.open_batches(), ports.ledger.batches_since(begun - HOUR),
                       settings.executions_per_location, _sizes(ports, leaving, begun + DECIDING))  # fmt: skip
        admitted, held = admit(leaving, room, begun)
        pace = Pace(begun)
        made = each(ports, _probing(admitted, aside), lambda one: _launch(ports, one, room, pace), degraded)
        # thousands may be held, and no start waits for the line that says so
        each(ports, untold(ports, held), lambda one: hold(ports, one), degraded, until=begun + TELLING)
        _told(ports, kept, degraded, begun + PATIENCE, settings.locations if there.waiting else ())
        started = [batch for batches in made for batch in batches if batch.execution]
        members = sum(len(batch.members) for batch in started)
        for account in {batch.location.account for batch in started} & aside.keys():
            isolate.answers(ports, account)
        withdrawn = any(batch.state is BatchState.WITHDRAWN for batches in made for batch in batches)
        if aside or withdrawn or any(place.isdigit() for place in degraded):
            _isolated(ports, due, pace)
            isolate.settle_tickets(ports, settings.locations)
        pause.tell(ports, brake)
        stopped = _paused(ports, queued, brake, pace)
        return Round(woken, members, len(started), len(held) + len(kept) + stopped, brake.everything, _names(degraded))


def _sizes(
    ports: Ports, leaving: Iterable[tuple[Location, Plan, list[Remediation]]], until: datetime
) -> dict[str, int]:
    """How many nodes run in each group that a share is a limit of; one that cannot be counted by then is left out."""
    shared: dict[str, tuple[Location, Mapping[str, Any]]] = {}
    for location, _, cases in leaving:
        for group in (group for case in cases for group in groups_of(case) if not isinstance(group["max"], int)):
            shared.setdefault(group["token"], (location, group))
    sizes = all_of(ports, list(shared.values()), lambda one: _size(ports, *one, until))
    return {token: size for token, size in zip(shared, sizes, strict=True) if size is not None}


def _size(ports: Ports, location: Location, group: Mapping[str, Any], until: datetime) -> int | None:
    if ports.clock.now() >= until:
        return None
    try:
        return ports.inventory.members(location, by=group["by"], tag=group["tag"], value=group["value"])
    except (Temporary, Denied) as error:
        ports.notices.say("group_uncounted", group=group["token"], because=str(error))
        return None


def _aside(aside: Mapping[str, isolate.Degraded], now: datetime) -> list[str]:
    """The accounts that are left alone in this round: they refused, and the moment to try again has not come."""
    return [one.account for one in aside.values() if one.probe > now]


def _probing(turns: Sequence[Admitted], aside: Mapping[str, isolate.Degraded]) -> list[Admitted]:
    """An account that refused is tried with one batch, where it refused if there is one; the rest waits for that."""
    there = {one.location.account for one in turns if _refused_there(one, aside)}
    tried: set[str] = set()
    chosen = []
    for one in turns:
        account = one.location.account
        if account in aside and (account in tried or (account in there and not _refused_there(one, aside))):
            continue
        chosen.append(one)
        tried.add(account)
    return chosen


def _refused_there(one: Admitted, aside: Mapping[str, isolate.Degraded]) -> bool:
    known = aside.get(one.location.account)
    return known is not None and known.place == str(one.location)


def _isolated(ports: Ports, queued: Iterable[Remediation], pace: Pace) -> None:
    """Say once of each queued case whose account is set aside that it is held, not lost."""
    aside = isolate.degraded(ports.ledger)
    for case in queued if aside else ():
        if case.node.account not in aside or case.held == isolate.HELD:
            continue
        if pace.spent(ports.clock.now()):
            break
        hold(ports, Held(case, isolate.HELD, aside[case.node.account].sentence))


def _paused(ports: Ports, queued: Iterable[Remediation], brake: Brake, pace: Pace) -> int:
    """Say once of each queued case that a pause holds it; how many there are. What no time is left for, the next
    round says: it does not start meanwhile either."""
    held = [(case, because) for case in queued if (because := brake.on(case))]
    for case, because in held:
        if pace.spent(ports.clock.now()):
            break
        hold(ports, Held(case, pause.HELD, because))
    return len(held)


@dataclass(frozen=True, slots=True)
class _There:
    """What the guards look at: what may leave now, all that is queued, what is in work, and who is `stuck`.

    What is paused, or does not answer, cannot start, but it counts in a wave and in a surge all the same. `stuck` is
    whom a pause or an account that refuses us keeps: no canary, and no choice of a wave, waits for them.
    """

    waiting: list[Remediation]
    queued: list[Remediation]
    active: list[Remediation]
    stuck: frozenset[str]

    @classmethod
    def of(
        cls, queued: list[Remediation], absent: list[Remediation], active: list[Remediation], brake: Brake,
        degraded: Sequence[str],
    ) -> _There:  # fmt: skip
        """`absent`: queued where nobody answered in this round."""
        waiting = [case for case in queued if not brake.on(case)]
        paused = {case.id for case in queued} - {case.id for case in waiting}
        denied = {case.id for case in absent if case.node.account in degraded}
        return cls(waiting, [*queued, *absent], active, frozenset(paused | denied))


def _guarded(ports: Ports, policies: PolicySet, there: _There) -> tuple[list[Remediation], list[Held]]:
    """Part what may leave into what error budgets, waves and surges let through, and what they hold."""
    if not there.waiting:
        return [], []
    standing, ceilings, everybody = guard.standing(ports), policies.settings.surge, [*there.queued, *there.active]
    free, held = budget.hold(standing, there.waiting)
    fit, spent = {case.id for case in free}, {one.case.id for one in held}
    let, waits = wave.hold(ports, policies, there.queued, frozenset(case.id for case in everybody), there.stuck | spent)
    free = [case for case in let if case.id in fit]
    held += [one for one in waits if one.case.id in fit]
    if ceilings:
        # an emergency is no surge: a person started it, and no baseline can have made it up
        called = [case for case in free if case.control is Control.EMERGENCY]
        found = [case for case in everybody if case.control is not Control.EMERGENCY]
        free = [case for case in free if case.control is not Control.EMERGENCY]
        standing = surge.watch(ports, policies, standing, found, free)
        free, kept = surge.hold(ports, ceilings, standing, free, there.stuck)
        free, held = [*free, *called], held + kept
    return free, held


def _told(
    ports: Ports, kept: Sequence[Held], degraded: list[str], until: datetime, locations: Sequence[Location]
) -> None:
    """Say once of each case what guard holds it; after the starts, since ten thousand lines take longer than a round.

    Of one whose account is set aside by now, that is said. The guards' tickets come last: a call may hang.
    """
    aside = isolate.degraded(ports.ledger) if kept else {}
    there = [one for one in kept if one.case.node.account not in aside]
    each(ports, untold(ports, there), lambda one: hold(ports, one), degraded, until=until)
    if locations:
        guard.settle(ports, locations)


@dataclass(slots=True)
class Pace:
    """When each place may be started in next, and when the round takes on nothing more.

    The ledger keeps each place's next free second as well, with the round that said so: rounds that overlap share it.
    """

    begun: datetime
    free: dict[Location, datetime] = field(default_factory=dict)
    coming: Counter[Location] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return format_moment(self.begun)

    def spent(self, now: datetime, location: Location | None = None) -> bool:
        """Whether no second is left for one more start there, after those that are on their way."""
        coming = self.coming[location] if location else 0
        return now + coming * PACE - self.begun >= PATIENCE

    def second(self, location: Location, now: datetime, known: datetime) -> datetime:
        """The next second of the place, which is taken by this; `known` is what another round left."""
        mine = max(now, known, self.free.get(location, now))
        self.free[location] = mine + PACE
        return mine


def claim(ports: Ports, location: Location, pace: Pace) -> datetime:
    """The moment of one start in the place. A busy ledger holds up no start whose intent stands."""
    name, mine = f"pace/{location}", None
    try:
        for _ in range(TRIES):
            kept, now = ports.ledger.kept(name), ports.clock.now()
            other = kept.value if kept and kept.value["round"] != pace.name else {}
            if mine is None or other:
                known = _free(other, now)
                mine = ports.crew.alone(partial(pace.second, location, now, known))
            free = {"free": format_moment(pace.free[location]), "round": pace.name}
            try:
                ports.ledger.keep(name, free, expected=kept.version if kept else 0)
            except Stale:
                continue
            return mine
    except Temporary:
        pass
    return mine or ports.crew.alone(partial(pace.second, location, ports.clock.now(), ports.clock.now()))


def _free(kept: Mapping[str, Any], now: datetime) -> datetime:
    free = parse_moment(str(kept["free"])) if kept else now
    return free if free <= now + LONGEST_QUEUE else now + PACE


def _launch(ports: Ports, admitted: Admitted, room: Room, pace: Pace) -> list[Batch]:
    """Read again, write the intents and start; what no time is left for stays queued."""
    location = admitted.location
    if pace.spent(ports.clock.now(), location) or pause.read(ports).everything:
        return []
    pace.coming[location] += 1
    try:
        return [_start(ports, batch, pace) for batch in prepare(ports, admitted, room)]
    finally:
        pace.coming[location] -= 1


def _start(ports: Ports, batch: Batch, pace: Pace) -> Batch:
    """Start in the place's own second; who comes too late for it, since all hands are full, takes another."""
    for _ in range(TRIES):
        mine = claim(ports, batch.location, pace)
        wait = (mine - ports.clock.now()).total_seconds()
        if wait > 0:
            ports.clock.sleep(wait)
        if ports.clock.now() - mine < LATE:
            break
    return start(ports, batch)


def wake(ports: Ports, now: datetime, degraded: list[str], aside: Collection[str] = ()) -> int:
    """Ask again for everything whose next moment has come; how many were asked."""
    due = list(ports.ledger.work([State.WAITING, State.EXEMPT, State.TICKETED], before=now))
    asked = each(ports, by_place(due, MOST), lambda group: _again(ports, group), degraded, now + WAKING, aside)
    return sum(map(len, asked))


def _again(ports: Ports, group: Group) -> list[Remediation]:
    """Decide the cases of one place anew after one look at all of them."""
    policies = in_force(ports)
    blocks = frozenset[str]() if isinstance(policies, PolicyError) else policies.blocks
    seen = glance(ports, group.location, [(case.node, case.control) for case in group.cases], blocks)
    return all_of(ports, group.cases, lambda case: again(seen, case))


def _names(degraded: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(degraded)))


def _in_time(
    ports: Ports, queued: Sequence[Remediation], now: datetime, policies: PolicySet, degraded: list[str],
    aside: Collection[str],
) -> list[Remediation]:  # fmt: skip
    """The queued cases where somebody answers; what does not stand as it is is decided again.

    That is so if its window closed, a freeze began, or the policies or we have changed. What no time is left for stays
    queued, does not start, and is decided by the next round.
    """
    anew = [case for case in queued if not _stands(ports, case, now, policies.digest)]
    until = now + DECIDING
    asked = each(ports, by_place(anew, MOST), lambda group: _again(ports, group), degraded, until, aside)
    heads = {case.id: case for group in asked for case in group}
    unanswered = {case.id for case in anew} - heads.keys()
    return [
        heads.get(case.id, case)
        for case in queued
        if case.id not in unanswered and (case.id in heads or not left_alone(case.location, degraded))
    ]


def _stands(ports: Ports, case: Remediation, now: datetime, digest: str) -> bool:
    stands = case.decision.get("set_digest") == digest and Plan.knows(case.plan) and not closed(case, now)
    return stands and emergency.over(ports, case) is None


def _known(case: Remediation, digest: str) -> bool:
    """Whether this process has the set that an emergency's case was decided by; if not yet, it waits for it."""
    return case.control is not Control.EMERGENCY or case.decision.get("set_digest") == digest
