"""Surge: count what turned non-compliant, hold a scope in which it is too much, and let it go when it is proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from chalicelib import guard
from chalicelib.core.errors import Stale, Temporary
from chalicelib.core.guards import Held
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.nodes import Location
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from chalicelib.core.surges import (
    FLEET,
    MOST_KEPT,
    RECENT,
    Ceilings,
    Place,
    Reach,
    Surge,
    Tally,
    chosen,
    ran,
    recent,
    scopes,
    surges,
    useful,
    verified,
)
from chalicelib.ports import Ports

CENSUS = "census"
_PREFIX = "surge/"


def since(
    location: Location, standing: Mapping[str, Entry], now: datetime, policy: str | None = None,
    counted: Place | None = None,
) -> datetime:  # fmt: skip
    """From when on a finding is new there: a day ago, or since a guard over the place was released.

    If the place was `counted` last before that, since then: what came about in an outage is learned of all at once.
    For one `policy`: or since its own guard there was released.
    """
    owners = (None, policy) if policy else (None,)
    reaches = [Reach(scope, owner) for scope in scopes(location) for owner in owners]
    ends = [guard.released_at(standing.get(f"{_PREFIX}{reach}")) for reach in reaches]
    return max([recent(counted, now), *(end for end in ends if end)])


def census(ports: Ports) -> dict[str, Place]:
    """What the last sweeps counted, by location."""
    kept = ports.ledger.kept(CENSUS)
    return {name: Place.from_json(place) for name, place in kept.value.items()} if kept else {}


def tally(location: Location, standing: Mapping[str, Entry], now: datetime, counted: Place | None = None) -> Tally:
    return Tally(since(location, standing, now, counted=counted), now)


def half(ports: Ports, location: Location, after: str, now: datetime) -> Tally | None:
    """What was counted of the place up to the page `after`, where it was cut off; None: nobody knows."""
    kept = ports.ledger.kept(f"{CENSUS}/{location}")
    if kept is None or kept.value.get("after") != after:
        return None
    found = Tally.from_json(kept.value)
    return found if now - found.now < RECENT else None


def put_by(ports: Ports, location: Location, after: str | None, count: Tally) -> None:
    """Keep a count that was cut off, until its place is read on; `after` None: it is whole, and none is kept.

    What is lost to a race or a busy ledger is counted anew, once the place is read from its beginning again.
    """
    name = f"{CENSUS}/{location}"
    keeps = after is not None and len(count.nodes) <= MOST_KEPT
    value = {"after": after, **count.to_json()} if keeps else {}
    with suppress(Stale, Temporary):
        kept = ports.ledger.kept(name)
        ports.ledger.keep(name, value, expected=kept.version if kept else 0)


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
    ports: Ports, policies: PolicySet, standing: Mapping[str, Entry], cases: Iterable[Remediation],
    fit: Sequence[Remediation] = (),
) -> dict[str, Entry]:  # fmt: skip
    """The guards after a look at the counts; a scope that surges is tripped. `fit` is what canaries are chosen from.

    What a policy with a ceiling of its own has found is then looked at by itself, but for where all is held already.
    """
    ceilings = policies.settings.surge
    if ceilings is None:
        return dict(standing)
    known, counts = list(cases), census(ports)
    places = {*policies.settings.locations, *(case.location for case in known)}
    here = {name: counts[name] for name in map(str, places) if name in counts}
    stand = _looked(ports, ceilings, dict(standing), known, fit, here, None, places)
    nobody_new = {name: replace(place, newly=0) for name, place in here.items()}
    for policy, share in strict(policies).items():
        mine = [case for case in known if case.decision.get("policy") == policy]
        if mine:
            stand = _looked(ports, ceilings.of_policy(share), stand, mine, fit, nobody_new, policy, places)
    return stand


def strict(policies: PolicySet) -> dict[str, int]:
    """The policies with a ceiling of their own, in percent."""
    return {one.id: one.then.limits.surge for one in policies.policies if one.then.limits.surge}


def _looked(
    ports: Ports, ceilings: Ceilings, stand: dict[str, Entry], cases: Sequence[Remediation],
    fit: Sequence[Remediation], counts: Mapping[str, Place], policy: str | None, places: Iterable[Location],
) -> dict[str, Entry]:  # fmt: skip
    """The guards after a look at all that is new, or at what one policy found."""
    now = ports.clock.now()
    begin = {str(place): since(place, stand, now, policy, counts.get(str(place))) for place in places}
    reaches = [Reach.of(name.removeprefix(_PREFIX)) for name, _ in _surging(stand)]
    held = [reach.place for reach in reaches if reach.policy in (None, policy)]
    for one in surges(ceilings, counts, cases, begin, held, now):
        stand[f"{_PREFIX}{Reach(one.scope, policy)}"] = _trip(ports, ceilings, stand, one, fit, policy, min(begin))
    return stand


def _surging(standing: Mapping[str, Entry]) -> list[tuple[str, Entry]]:
    """The surge guards that hold something, the widest scope first, and those of single policies last."""
    held = [(name, line) for name, line in standing.items() if name.startswith(_PREFIX) and guard.tripped(line)]
    return sorted(held, key=lambda one: _width(one[0]))


def _width(name: str) -> tuple[bool, bool, int, str]:
    reach = Reach.of(name.removeprefix(_PREFIX))
    return reach.policy is not None, reach.place != FLEET, reach.place.count("/"), name


def _trip(
    ports: Ports, ceilings: Ceilings, standing: Mapping[str, Entry], one: Surge, fit: Sequence[Remediation],
    policy: str | None, any_place: str,
) -> Entry:  # fmt: skip
    """Trip it, with its canaries; those of another guard that are within its scope go on as its own."""
    reach = Reach(one.scope, policy)
    name, inside = f"{_PREFIX}{reach}", [case for case in fit if reach.holds(case)]
    others = _surging(standing)
    known = {id: before for _, line in others for id, before in line.value.get("canaries", {}).items()}
    heads = ports.ledger.heads(list(known))
    taken = {id: before for id, before in known.items() if id in heads and reach.holds(heads[id])}
    canaries = {**taken, **chosen(inside, ceilings.canary - len(taken), taken)}
    place = str(inside[0].location) if inside else one.scope if "/" in one.scope else any_place
    value = {"scope": one.scope, "policy": policy, "canaries": canaries, "newly": one.newly, "nodes": one.nodes}
    because = f"policy {policy}: {one.because}" if policy else one.because
    return guard.trip(ports, standing.get(name), subject_of(Kind.GUARD, name), because, location=place,
                      value=value, joins=others[0][1] if others else None)  # fmt: skip


def supersede(ports: Ports, standing: Mapping[str, Entry], policies: PolicySet) -> None:
    """A policy that has no ceiling of its own any more holds nothing by it, and its ticket is resolved."""
    known = strict(policies)
    for name, line in _surging(standing):
        policy = Reach.of(name.removeprefix(_PREFIX)).policy
        if policy is not None and policy not in known:
            try:
                guard.release(ports, line, "the policy was removed, or has no surge limit any more")
            except Stale:
                continue


def hold(
    ports: Ports, ceilings: Ceilings, standing: Mapping[str, Entry], fit: Sequence[Remediation],
    stuck: frozenset[str] = frozenset(),
) -> tuple[list[Remediation], list[Held]]:  # fmt: skip
    """Part what the other guards let through into the canaries and what a surge holds.

    A canary that is `stuck` in the queue, since it is paused or its account refuses us, is replaced by another one.
    That of a policy's guard passes those of places, and theirs pass it: each would wait for the other else.
    """
    free, held = list(fit), list[Held]()
    lines = [(Reach.of(name.removeprefix(_PREFIX)), line) for name, line in _surging(standing)]
    for reach, line in lines:
        inside = [case for case in free if reach.holds(case)]
        canaries = _canaries(ports, ceilings, line, inside, stuck)
        if canaries is None:
            continue
        because = f"{guard.why(line)}: held but for {len(canaries)} canary until it is verified, or released by command"
        pass_ = {id for other, one in lines if (other.policy is None) is not (reach.policy is None)
                 for id in one.value.get("canaries", {})}  # fmt: skip
        stopped = [case for case in inside if case.id not in canaries and case.id not in pass_]
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
