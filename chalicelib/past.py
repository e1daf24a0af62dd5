"""The past as the ledger tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import islice
from typing import Any

from chalicelib.core.courses import Course, courses, paced
from chalicelib.core.moments import format_moment
from chalicelib.core.points import Point, Where, blank, point
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Transition
from chalicelib.ports import Ledger


class FromLedger:
    """The port `Past` over the ledger: one Query for each remediation that is asked about.

    Right at any size, but it reads every trail for a tally: beyond some ten thousand remediations ask an export.
    """

    def __init__(self, ledger: Ledger, *, remember: bool = False) -> None:
        """`remember`: read each trail once, for several questions about a fleet that is small enough."""
        self._ledger = ledger
        self._known: dict[str, list[Transition]] | None = {} if remember else None

    def _trail(self, identity: str) -> list[Transition]:
        if self._known is None:
            return self._ledger.trail(identity)
        if identity not in self._known:
            self._known[identity] = self._ledger.trail(identity)
        return self._known[identity]

    def _ids(self) -> list[str]:
        return sorted({case.id for case in self._ledger.all_heads()})

    def _all(self, at: datetime, after: str | None = None, node: str | None = None) -> Iterator[Point]:
        for identity in self._ids():
            if (after is None or identity > after) and (node is None or blank(identity)["node"] == node):
                found = point(line for line in self._trail(identity) if line.at <= at)
                if found:
                    yield found

    def points(self, at: datetime, where: Where, *, after: str | None, limit: int) -> list[Point]:
        return list(islice((one for one in self._all(at, after, where.node) if where.holds(one)), limit))

    def tally(self, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        found = (one for one in self._all(at, node=where.node) if where.holds(one))
        return dict(Counter(tuple(getattr(one, name) for name in by) for one in found))

    def moves(self, earlier: datetime, later: datetime, where: Where) -> Iterator[tuple[str, str | None, str | None]]:
        for identity in self._ids():
            lines = self._trail(identity)
            one, two = (point(line for line in lines if line.at <= at) for at in (earlier, later))
            seen = two or one
            states = one.state if one else None, two.state if two else None
            if seen and where.holds(seen) and states[0] != states[1]:
                yield identity, *states

    def courses(self, until: datetime, where: Where, *, since: datetime | None = None) -> Iterator[Course]:
        for identity in self._ids():
            lines = [line for line in self._trail(identity) if line.at <= until]
            found = point(lines)
            if found and where.holds(found):
                yield from courses(lines)

    def pace(self, since: datetime, until: datetime, where: Where) -> dict[str, Any]:
        return paced(self.courses(until, where, since=since), format_moment(since), format_moment(until))

    def lines(self, day: date) -> Iterator[Transition]:
        return self._ledger.day(day)

    def trail(self, remediation: str) -> list[Transition]:
        return self._ledger.trail(remediation)

    def publications(self) -> list[Publication]:
        return self._ledger.publications()
