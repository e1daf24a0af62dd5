"""Surges: a share of the fleet that turns non-compliant at once, which one bad baseline can bring about."""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from chalicelib.core.chain import digest
from chalicelib.core.compiled import NONE, exactly, with_defaults
from chalicelib.core.errors import PolicyError
from chalicelib.core.findings import Finding
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Remediation, State

FLEET = "fleet"
RECENT = timedelta(hours=24)
"""What was first seen within this span is new."""

DAYS = 7
"""The days whose mean is the norm."""

_CLOSED = (State.RESOLVED, State.GONE)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most, in percent of the nodes of a scope, that may turn non-compliant within a day.

    Fewer than `at_least` nodes are never a surge. `norm`: nor may it be so many times the daily mean of the last
    seven days; None: no norm is asked about. `canary` nodes may start while a scope is held. `same`: the most, in
    percent, that may miss the very same patches; None: nobody asks what they miss.
    """

    location: int
    account: int
    fleet: int
    at_least: int
    canary: int
    norm: int | None
    same: int | None = None

    @classmethod
    def from_json(cls, value: object) -> Ceilings:
        known = exactly(with_defaults(value, {"same": None}), "surge",
                        {"location": int, "account": int, "fleet": int, "at_least": int, "canary": int,
                         "norm": (int, NONE), "same": (int, NONE)})  # fmt: skip
        shares = [known[name] for name in ("location", "account", "fleet", "same") if known[name] is not None]
        if not all(1 <= share <= 100 for share in shares) or not 1 <= known["canary"] < known["at_least"]:
            raise PolicyError(f"the policy set is malformed: {value!r:.100} is no surge")
        return cls(**known)

    def of_policy(self, share: int) -> Ceilings:
        """What a policy asks that has a ceiling of its own, `share` percent, for what it has found alone."""
        return replace(self, location=share, account=share, fleet=share, norm=None, same=None)

    def of(self, scope: str) -> int:
        return self.fleet if scope == FLEET else self.location if "/" in scope else self.account


def scopes(location: Location) -> tuple[str, str, str]:
    """The scopes that a location is in, the widest first."""
    return FLEET, location.account, str(location)


def covers(scope: str, location: str) -> bool:
    """Whether a scope holds the location, which is spelt account/Region."""
    return scope in (FLEET, location, location.split("/")[0])


@dataclass(frozen=True, slots=True)
class Reach:
    """What a surge guard holds: all that is in a place, or only what one policy has found there."""

    place: str
    policy: str | None = None

    @classmethod
    def of(cls, name: str) -> Reach:
        """As a guard's name says it: `fleet`, an account or account/Region; behind `policy/` and an id if of one."""
        if not name.startswith("policy/"):
            return cls(name)
        _, policy, place = name.split("/", 2)
        return cls(place, policy)

    def __str__(self) -> str:
        return f"policy/{self.policy}/{self.place}" if self.policy else self.place

    def holds(self, case: Remediation) -> bool:
        return covers(self.place, str(case.location)) and self.policy in (None, case.decision.get("policy"))


@dataclass(frozen=True, slots=True)
class Place:
    """What a sweep counted in one location: nodes, the new ones, and the new ones of each day, today first.

    `days` holds None for a day on which nobody counted.
    """

    nodes: int
    newly: int
    at: datetime
    days: tuple[int | None, ...]

    def to_json(self) -> list[Any]:
        return [self.nodes, self.newly, int(self.at.timestamp()), *self.days]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Place:
        nodes, newly, at, *days = value
        return cls(
            nodes, newly, datetime.fromtimestamp(at, tz=parse_moment("1970-01-01T00:00:00Z").tzinfo), tuple(days)
        )


def recent(counted: Place | None, now: datetime) -> datetime:
    """A day ago, or when the place was counted last, if that is longer ago; a week at most."""
    return max(min(counted.at if counted else now, now - RECENT), now - timedelta(days=DAYS))


_NEW, _TODAY = 1, 2

MOST_KEPT = 40_000
"""How many nodes of a half count are kept until its place is read on: the ledger holds no larger item."""


@dataclass(slots=True)
class Tally:
    """The count of one location while its compliance is read. What was seen first after `since` is new.

    `nodes` holds of each node only a mark, so that a count of many can be kept and go on later. `whole` once the last
    page was counted: half a count would make a surge of a quiet day.
    """

    since: datetime
    now: datetime
    nodes: dict[int, int] = field(default_factory=dict)
    whole: bool = False

    def add(self, page: Iterable[Finding], heads: Mapping[str, Remediation]) -> None:
        for finding in page:
            case, mark = heads.get(finding.remediation), _mark(finding.node.id)
            told = self.nodes.get(mark, 0)
            closed = case is None or case.state in _CLOSED
            seen = finding.observed_at if closed else case.first_seen if case else None
            if closed and finding.compliant:
                seen = case.first_seen if case else None
            elif seen and seen > self.since:
                told |= _NEW
            if seen and seen.date() == self.now.date():
                told |= _TODAY
            self.nodes[mark] = told

    def _count(self, what: int) -> int:
        return sum(bool(told & what) for told in self.nodes.values())

    def place(self, before: Place | None) -> Place:
        """The location's line in the census; a day keeps the highest of its counts."""
        days: list[int | None] = list(before.days) if before else []
        passed = (self.now.date() - before.at.date()).days if before else 0
        days = ([None] * min(max(passed, 0), DAYS + 1) + days)[: DAYS + 1]
        days += [None] * (DAYS + 1 - len(days))
        days[0] = max(days[0] or 0, self._count(_TODAY))
        return Place(len(self.nodes), self._count(_NEW), self.now, tuple(days))

    def to_json(self) -> dict[str, Any]:
        """Seven letters a node: five bytes, of which two bits say what was counted."""
        packed = b"".join((mark << 2 | told).to_bytes(5) for mark, told in self.nodes.items())
        return {"since": format_moment(self.since), "now": format_moment(self.now), "nodes": b64encode(packed).decode()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Tally:
        packed = b64decode(value["nodes"])
        told = (int.from_bytes(packed[at : at + 5]) for at in range(0, len(packed), 5))
        return cls(parse_moment(value["since"]), parse_moment(value["now"]), {one >> 2: one & 3 for one in told})


def _mark(node: str) -> int:
    """38 bits, in which two of 40,000 nodes of a place hardly ever meet: the count would be one short."""
    return int.from_bytes(hashlib.sha256(node.encode()).digest()[:5]) >> 2


@dataclass(frozen=True, slots=True)
class Surge:
    """A scope in which too much turned non-compliant; `nodes` 0: nobody has counted them yet."""

    scope: str
    newly: int
    nodes: int
    because: str


def surges(
    ceilings: Ceilings, census: Mapping[str, Place], cases: Iterable[Remediation], since: Mapping[str, datetime],
    tripped: Iterable[str], now: datetime,
) -> list[Surge]:  # fmt: skip
    """The scopes that surge, the widest first; a scope within one that is held already is not asked about.

    `cases` are what wants to start or runs; `since` gives each location from when on a finding is new. What the sweep
    has not counted yet counts as no nodes: where the fleet is unknown, `at_least` alone decides.
    """
    known = list(cases)
    newly = _newly(census, known, since, now)
    missing = _missing(known, since, now) if ceilings.same else {}
    held, found = set(tripped), []
    for scope in sorted({one for place in newly for one in scopes(Location(*place.split("/")))}, key=_width):
        if any(one in held for one in _above(scope)):
            continue
        because = _too_much(scope, ceilings, census, newly, now.date())
        because = because or _same(scope, ceilings, census, missing)
        if because:
            held.add(scope)
            found.append(Surge(scope, *_sums(scope, census, newly), because))
    return found


def _newly(
    census: Mapping[str, Place], cases: Iterable[Remediation], since: Mapping[str, datetime], now: datetime
) -> dict[str, int]:
    """New nodes by location: as the sweep counted them, or as they are queued, whichever is more."""
    live: dict[str, set[str]] = defaultdict(set)
    recent = now - RECENT
    for case in cases:
        place = str(case.location)
        if case.first_seen and case.first_seen > since.get(place, recent):
            live[place].add(case.node.id)
    counted = {name: place.newly for name, place in census.items() if place.at > since.get(name, recent)}
    both = {name: max(counted.get(name, 0), len(live.get(name, ()))) for name in {*counted, *live}}
    return {name: count for name, count in both.items() if count}


def _too_much(
    scope: str, ceilings: Ceilings, census: Mapping[str, Place], newly: Mapping[str, int], today: date
) -> str | None:
    new, nodes = _sums(scope, census, newly)
    if new < ceilings.at_least:
        return None
    told = f"{new} of {nodes or 'an unknown number of'} nodes in {_named(scope)} turned non-compliant within a day"
    share = ceilings.of(scope)
    if new * 100 > share * max(nodes, new):
        return f"{told}, the ceiling is {share} %"
    mean = _norm(scope, census, today)
    if ceilings.norm and mean is not None and new > ceilings.norm * max(mean, 1.0):
        return f"{told}, {mean:.1f} a day is the norm of the last {DAYS} days, and {ceilings.norm} times that the limit"
    return None


def _missing(
    cases: Iterable[Remediation], since: Mapping[str, datetime], now: datetime
) -> dict[str, dict[str, set[str]]]:
    """The new nodes by location and by what they miss, where the decision knows that."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in cases:
        place, missing = str(case.location), case.decision.get("missing")
        if missing and case.first_seen and case.first_seen > since.get(place, now - RECENT):
            found[place][str(missing)].add(case.node.id)
    return found


def _same(
    scope: str, ceilings: Ceilings, census: Mapping[str, Place], missing: Mapping[str, Mapping[str, set[str]]]
) -> str | None:
    alike: Counter[str] = Counter()
    for place, found in missing.items():
        if covers(scope, place):
            alike.update({what: len(nodes) for what, nodes in found.items()})
    most = max(alike.values(), default=0)
    nodes = sum(place.nodes for name, place in census.items() if covers(scope, name))
    if not ceilings.same or most < ceilings.at_least or most * 100 <= ceilings.same * max(nodes, most):
        return None
    return (
        f"{most} of {nodes or 'an unknown number of'} nodes in {_named(scope)} turned non-compliant within a day and "
        f"miss the very same patches, as one bad baseline would have it; the ceiling is {ceilings.same} %"
    )


def missing_set(patches: Iterable[str]) -> str | None:
    """By what the same missing patches are known; None: no patch is missing by name."""
    names = sorted(set(patches))
    return digest(names)[:12] if names else None


def _sums(scope: str, census: Mapping[str, Place], newly: Mapping[str, int]) -> tuple[int, int]:
    new = sum(count for name, count in newly.items() if covers(scope, name))
    return new, sum(place.nodes for name, place in census.items() if covers(scope, name))


def _norm(scope: str, census: Mapping[str, Place], today: date) -> float | None:
    """The mean of the seven days before today; None while one of them is unknown."""
    total = 0
    for name, place in census.items():
        if not covers(scope, name):
            continue
        days = ([None] * (today - place.at.date()).days + list(place.days))[1 : DAYS + 1]
        known = [day for day in days if day is not None]
        if len(known) < DAYS:
            return None
        total += sum(known)
    return total / DAYS


def _width(scope: str) -> tuple[int, str]:
    return 0 if scope == FLEET else 2 if "/" in scope else 1, scope


def _above(scope: str) -> tuple[str, ...]:
    return (FLEET,) if scope == FLEET else (FLEET, scope.split("/")[0], scope)


def _named(scope: str) -> str:
    return "the fleet" if scope == FLEET else scope


def chosen(cases: Iterable[Remediation], count: int, without: Iterable[str] = ()) -> dict[str, str]:
    """The canaries among the cases, each `as_of` now: always the same ones, in no order that a place could lead."""
    known = set(without)
    fit = sorted((case for case in cases if case.id not in known), key=_shuffled)
    return {case.id: as_of(case) for case in fit[: max(count, 0)]}


def _shuffled(case: Remediation) -> str:
    return hashlib.sha256(f"canary/{case.id}".encode()).hexdigest()


def as_of(case: Remediation) -> str:
    """The end of the case's last execution, by which a later one is known; no clock of ours is compared with it.

    After it comes how many never reached the node, if any did not.
    """
    ended = format_moment(case.attempted_at) if case.attempted_at else ""
    return f"{ended}+{case.unreached}" if case.unreached else ended


def ran(case: Remediation, before: str) -> bool:
    """Whether an execution of the case has ended since it was chosen, or works on it."""
    return case.active or as_of(case) != before


def verified(case: Remediation, before: str) -> bool:
    """Whether a scan proves that an execution which ended since then made the node compliant.

    One that never reached the node has not: somebody else did.
    """
    return case.state is State.RESOLVED and as_of(case).partition("+")[0] != before.partition("+")[0]


def useful(heads: Mapping[str, Remediation], canaries: Mapping[str, str]) -> dict[str, str]:
    """The canaries but for those that left the queue and proved nothing: gone, stopped, fixed by somebody."""
    return {id: before for id, before in canaries.items() if id in heads and _counts(heads[id], before)}


def _counts(case: Remediation, before: str) -> bool:
    if case.state is State.RESOLVED:
        return verified(case, before)
    return case.state is State.QUEUED or (ran(case, before) and case.state is not State.GONE)
