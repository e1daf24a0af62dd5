"""Past: what was, read from the ledger or from an export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a cold start asks nothing of what these name
    from chalicelib.core.courses import Course
    from chalicelib.core.points import Point, Where
    from chalicelib.core.publications import Publication
    from chalicelib.core.remediations import Transition


class Past(Protocol):
    """Where the past is read from: the ledger, or the exported trail. Both give the same answers."""

    def points(self, at: datetime, where: Where, *, after: str | None, limit: int) -> list[Point]:
        """At most `limit` remediations that passed the filter at that moment, by id, from behind the id `after`."""

    def tally(self, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        """How many remediations there were at that moment for each combination of these fields of a point."""

    def moves(self, earlier: datetime, later: datetime, where: Where) -> Iterator[tuple[str, str | None, str | None]]:
        """Id, state then and state later (None: not there) of all whose state differs, by id; the filter is held
        against the later point, or the earlier where there is no later one."""

    def courses(self, until: datetime, where: Where, *, since: datetime | None = None) -> Iterator[Course]:
        """The episodes of the remediations that pass the filter, as of that moment, by remediation and episode.

        Those that a next one followed before `since` may be left out: all their moments are older.
        """

    def pace(self, since: datetime, until: datetime, where: Where) -> dict[str, Any]:
        """What `courses.paced` makes of the episodes as of `until`."""

    def lines(self, day: date) -> Iterator[Transition]:
        """Every line of one UTC day, in order of time, remediation and number."""

    def trail(self, remediation: str) -> list[Transition]:
        """All lines of one remediation, first to last."""

    def publications(self) -> list[Publication]:
        """Every publication, first to last."""
