"""Surge: count what turned non-compliant, hold a scope in which it is too much, and let it go when it is proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from chalicelib import guard
from chalicelib.core.errors import Stale
from chalicelib.core.guards import Held
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Remediation
from chalicelib.core.surges import (
    FLEET,
    RECENT,
    Ceilings,
    Place,
    Surge,
    Tally,
    chosen,
    covers,
    ran,
    scopes,
    surges,
    useful,
    verified,
)
from chalicelib.ports import Ports

CENSUS = "census"
_PREFIX = "surge/"


def since(location: Location, standing: Mapping[str, Entry], now: datetime) -> datetime:
    """From when on a finding is new there: a day ago, or since a guard over the place was released."""
    ends = [guard.released_at(standing.get(_PREFIX + scope)) for scope in scopes(location)]
    return max([now - RECENT, *(end for end in ends if end)])


def census(ports: Ports) -> dict[str, Place]:
    """What the last sweeps counted, by location."""
    kept = ports.ledger.kept(CENSUS)
    return {name: Place.from_json(place) for name, place in kept.value.items()} if kept else {}


def tally(location: Location, standing: Mapping[str, Entry], now: datetime) -> Tally:
    return Tally(since(location, standing, now), now)


def remember(ports: Ports, tallies: Mapping[Location, Tally]) -> None:
    """Merge what a sweep counted into the census, unless another sweep has counted the place since.

    A race is lost until the next sweep, which counts again.
    """
    if not tallies:
        return
    for _ in range(guard.TRIES):
        kept = ports.ledger.kept(CENSUS)
        places = dict(kept.value) if kept else {}
        for location, count in tallies.items():
            before = Place.from_json(places[str(location)]) if str(location) in places else None
            if before is None or before.at <= count.now:
                places[str(location)] = count.place(before).to_json()
        try:
            ports.ledger.keep(CENSUS, places, expected=kept.version if kept else 0)
        except Stale:
            continue
        return


def watch(
    ports: Ports, ceilings: Ceilings, standing: Mapping[str, Entry], cases: Iterable[Remediation],
    fit: Sequence[Remediation] = (), locations: Iterable[Location] = (),
) -> dict[str, Entry]:  # fmt: skip
    """The guards after a look at the counts; a scope that surges is tripped. `fit` is what canaries are chosen from."""
    now, stand, known = ports.clock.now(), dict(standing), list(cases)
    counts = census(ports)
    places = {*locations, *(case.location for case in known)}
    begin = {str(place): since(place, stand, now) for place in places}
    held = [name.removeprefix(_PREFIX) for name, line in _surging(stand)]
    for one in surges(ceilings, {name: counts[name] for name in counts if name in begin}, known, begin, held, now):
        stand[_PREFIX + one.scope] = _trip(ports, ceilings, stand, one, fit, min(begin))
    return stand


def _surging(standing: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """The surge guards that hold something, the widest scope first."""
    held = [(name, line) for name, line in standing.items() if name.startswith(_PREFIX) and guard.tripped(line)]
    return sorted(held, key=lambda one: (one[0] != _PREFIX + FLEET, one[0].count("/"), one[0]))


def _trip(
    ports: Ports, ceilings: Ceilings, standing: Mapping[str, Entry], one: Surge, fit: Sequence[Remediation],
    any_place: str,
) -> Entry:  # fmt: skip
    """Trip it, with its canaries; those of a narrower scope within it go on as its own."""
    name, inside = _PREFIX + one.scope, [case for case in fit if covers(one.scope, str(case.location))]
    others = _surging(standing)
    narrower = (line for other, line in others if covers(one.scope, other.removeprefix(_PREFIX)))
    taken = {id: before for line in narrower for id, before in line.value.get("canaries", {}).items()}
    canaries = {**taken, **chosen(inside, ceilings.canary - len(taken), taken)}
    place = str(inside[0].location) if inside else one.scope if "/" in one.scope else any_place
    value = {"scope": one.scope, "canaries": canaries, "newly": one.newly, "nodes": one.nodes}
    return guard.trip(ports, standing.get(name), subject_of(Kind.GUARD, name), one.because, location=place,
                      value=value, joins=others[0][1] if others else None)  # fmt: skip


def hold(
    ports: Ports, ceilings: Ceilings, standing: Mapping[str, Entry], fit: Sequence[Remediation],
    stuck: frozenset[str] = frozenset(),
) -> tuple[list[Remediation], list[Held]]:  # fmt: skip
    """Part what the other guards let through into the canaries and what a surge holds.

    A canary that is `stuck` in the queue, since it is paused or its account refuses us, is replaced by another one.
    """
    free, held = list(fit), list[Held]()
    for name, line in _surging(standing):
        scope = name.removeprefix(_PREFIX)
        inside = [case for case in free if covers(scope, str(case.location))]
        canaries = _canaries(ports, ceilings, line, inside, stuck)
        if canaries is None:
            continue
        because = f"{guard.why(line)}: held but for {len(canaries)} canary until it is verified, or released by command"
        stopped = [case for case in inside if case.id not in canaries]
        held += [Held(case, "surge", because, told=True) for case in stopped]
        out = {case.id for case in stopped}
        free = [case for case in free if case.id not in out]
    return free, held


def _canaries(
    ports: Ports, ceilings: Ceilings, line: Entry, inside: Sequence[Remediation], stuck: frozenset[str]
) -> list[str] | None:
    """Who may start in a scope that is held; None: it was just released, because every canary is verified."""
    known = dict(line.value.get("canaries", {}))
    heads = ports.ledger.heads(list(known))
    kept = {id: end for id, end in useful(heads, known).items() if id not in stuck or ran(heads[id], end)}
    proved = [id for id, before in kept.items() if verified(heads[id], before)]
    if len(proved) >= ceilings.canary and len(proved) == len(kept):
        return _released(ports, line, proved)
    fresh = chosen(inside, ceilings.canary - len(kept), known)
    if not fresh:
        return list(kept)
    value = {**line.value, "canaries": {**kept, **fresh}}
    because = f"{', '.join(fresh)}: {len(known) - len(kept)} left the queue without an execution, or cannot start"
    try:
        guard.write(ports, line, "canary chosen", because, value)
    except Stale:
        return []
    return [*kept, *fresh]


def _released(ports: Ports, line: Entry, proved: Sequence[str]) -> list[str] | None:
    try:
        guard.release(ports, line, f"verified by a fresh scan: {', '.join(proved)}")
    except Stale:
        return []
    return None
