"""Crew: how a verb shares out what is to be done for many, by place or by item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import itemgetter
from typing import Protocol, TypeVar

from chalicelib import isolate
from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Remediation
from chalicelib.ports import Ports

MOST = 50
"""How many nodes one call may ask about."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _AtPlace(Protocol):
    @property
    def location(self) -> Location: ...


Placed = TypeVar("Placed", bound=_AtPlace)


@dataclass(frozen=True, slots=True)
class Group:
    """Remediations of one place that are asked about together."""

    location: Location
    cases: tuple[Remediation, ...]


def by_place(cases: Iterable[Remediation], most: int | None = None) -> list[Group]:
    """The cases of each place, `most` at a time; the place of the first case comes first."""
    places: dict[Location, list[Remediation]] = defaultdict(list)
    for case in cases:
        places[case.location].append(case)
    return [
        Group(location, tuple(found[start : start + (most or len(found))]))
        for location, found in places.items()
        for start in range(0, len(found), most or len(found))
    ]


def parts(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """The items in order, at most so many at a time."""
    return (items[start : start + most] for start in range(0, len(items), most))


def each(
    ports: Ports, items: Iterable[Placed], one: Callable[[Placed], Result], degraded: list[str],
    until: datetime | None = None, aside: Collection[str] = (),
) -> list[Result]:  # fmt: skip
    """What `one` made of each, in order. A place that is busy or refuses is named once and left for later.

    The others go on. An account that refuses us altogether is set aside. What is not reached before `until` is left
    for later too. `aside`: accounts that refused before and may be asked again; each is asked by one hand only, so
    that its next refusal is a single one.
    """

    def taken(item: Placed) -> tuple[Result] | None:
        location = item.location
        if left_alone(location, degraded) or (until and ports.clock.now() >= until):
            return None
        try:
            return (one(item),)
        except Barred as error:
            ports.crew.alone(partial(_named, degraded, location.account))
            isolate.refuse(ports, location, str(error))
        except (Temporary, Denied) as error:
            if ports.crew.alone(partial(_named, degraded, str(location))):
                ports.notices.say("degraded", place=str(location), because=str(error),
                                  refused=isinstance(error, Denied))  # fmt: skip
        return None

    def in_turn(chain: Sequence[tuple[int, Placed]]) -> list[tuple[int, tuple[Result] | None]]:
        return [(number, taken(item)) for number, item in chain]

    made = [made for chain in all_of(ports, _chains(items, aside), in_turn) for made in chain]
    return [result[0] for _, result in sorted(made, key=itemgetter(0)) if result]


def left_alone(location: Location, degraded: Collection[str]) -> bool:
    """Whether the place, or its whole account, did not answer."""
    return location.account in degraded or str(location) in degraded


def _named(degraded: list[str], name: str) -> bool:
    """Name what did not answer; whether this hand was the first to do so."""
    if name in degraded:
        return False
    degraded.append(name)
    return True


def _chains(items: Iterable[Placed], aside: Collection[str]) -> list[list[tuple[int, Placed]]]:
    """The items with their numbers, each by itself; those of one account that is set aside hang together."""
    chains: list[list[tuple[int, Placed]]] = []
    of: dict[str, list[tuple[int, Placed]]] = {}
    for numbered in enumerate(items):
        account = numbered[1].location.account
        if account in of:
            of[account].append(numbered)
            continue
        chains.append([numbered])
        if account in aside:
            of[account] = chains[-1]
    return chains


def all_of(ports: Ports, items: Sequence[Item], one: Callable[[Item], Result]) -> list[Result]:
    """What `one` made of each, in order. Every one is tried; then the first that was busy or refused is raised.

    An account that refuses us altogether is raised before what is only busy.
    """
    if len(items) < 2:
        return [one(item) for item in items]
    made: list[Result] = []
    failed: list[Temporary | Denied] = []
    for found in ports.crew.together([partial(one, item) for item in items]):
        if isinstance(found, Temporary | Denied):
            failed.append(found)
        else:
            made.append(found)
    if failed:
        raise next((error for error in failed if isinstance(error, Barred)), failed[0])
    return made
