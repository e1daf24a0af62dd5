"""Ledger: the only memory, and what one write to it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from chalicelib.core.journal import Entry, Kind
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand


@dataclass(frozen=True, slots=True)
class Change:
    """One append: the line, what the case is after it, and what is written in the same transaction.

    `take` and `give` are names of leases; the remediation's id is their holder. `done` is an errand's id.
    """

    line: Transition
    head: Remediation
    take: tuple[str, ...] = ()
    give: tuple[str, ...] = ()
    owes: Errand | None = None
    done: str | None = None

    def lost(
        self, end: tuple[int, str], holder: Callable[[str], str | None], owed: Callable[[str], bool]
    ) -> Iterator[str]:
        """What moved on before this change was written; `end` is the trail's last number and hash, or 0 and GENESIS."""
        if end != (self.line.number - 1, self.line.previous):
            yield "the line before it"
        mine = self.line.remediation
        yield from (f"lease {name}" for name in self.take if holder(name) not in (None, mine))
        yield from (f"lease {name}" for name in self.give if holder(name) != mine)
        if self.done and not owed(self.done):
            yield f"errand {self.done}"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the service remembers under a name between two invocations; `version` counts its writes from 1."""

    value: Mapping[str, Any] = field(hash=False)
    version: int


SWEPT = "sweep/last"
"""Under which name the ledger keeps when a sweep came to its end: `{"at"}`."""


class Ledger(Protocol):
    """The only memory. Every write is conditional; a lost race is `Stale`, a busy store `Temporary`."""

    def head(self, remediation: str) -> Remediation | None:
        """What the trail adds up to, strongly consistent."""

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        """Many heads at once; those that do not exist are left out."""

    def trail(self, remediation: str) -> list[Transition]:
        """All lines of one remediation, first to last."""

    def append(self, change: Change) -> None:
        """Write line, head, leases and errand together, or nothing. Stale if number, lease or errand moved on.

        A change whose very line is in the trail already has been written before its answer was lost: that is success.
        """

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        """Remediations in these states, earliest `due` first; with `before`, only those due by then.

        Equal moments: the higher `decision["priority"]` first. A case without `due` comes last, never with `before`.
        """

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        """At most `limit` remediations in these states in the order of their `turn`, from behind the turn `after`.

        Reads about one page from each partition. One that moves meanwhile may be met twice, or not at all.
        """

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        """Every line stamped on one UTC day, from `since` on, in order of time, remediation and number."""

    def counts(self) -> dict[State, int]:
        """How many remediations there are in each state that has any, without reading one of them."""

    def held(self) -> Iterator[Remediation]:
        """What something keeps from starting, of all that is neither resolved nor gone."""

    def named(self, node: str) -> list[str]:
        """The ids of the remediations of all nodes that have this bare id, sorted.

        A table of an older release knows only those whose first line was written since.
        """

    def newest(self, day: date) -> Iterator[Transition]:
        """Every line stamped on one UTC day, the newest first."""

    def all_heads(self) -> Iterator[Remediation]:
        """Every remediation there is; for reports, never in the event path."""

    def lease(self, name: str) -> str | None:
        """Who holds the lease, or None."""

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        """Write the batch if its stored state is `expected` (None: if there is none yet); else Stale.

        A batch that is stored exactly so already is success. `created_at` never changes.
        """

    def batch(self, batch: str) -> Batch | None:
        """The batch, or None."""

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        """The batch that an execution serves, or None."""

    def open_batches(self) -> list[Batch]:
        """Batches that are intended or started, oldest first."""

    def batches_since(self, since: datetime) -> list[Batch]:
        """Batches created at or after `since`, whatever their state, oldest first."""

    def errands(self, before: datetime) -> list[Errand]:
        """Errands that are due by then, oldest first."""

    def postpone(self, errand: Errand) -> None:
        """Store the errand's new `due` and `tries`; Stale if it is done."""

    def active_policies(self) -> Publication | None:
        """The publication in force, strongly consistent; None: nothing was ever published."""

    def publish(self, publication: Publication) -> None:
        """Write the line and put its set in force, or neither. Stale if it does not follow from the one in force.

        A publication that is in the trail already was written before its answer was lost: that is success.
        """

    def publications(self) -> list[Publication]:
        """Every publication, first to last."""

    def entry(self, subject: str) -> Entry | None:
        """The newest entry of the subject, strongly consistent, or None."""

    def enter(self, entry: Entry) -> None:
        """Write the entry if it follows the newest one of its subject; else Stale.

        An entry that is in the journal already was written before its answer was lost: that is success.
        """

    def entries(self, subject: str) -> list[Entry]:
        """All entries of one subject, first to last."""

    def subjects(self, kind: Kind) -> list[Entry]:
        """The newest entry of every subject of this kind, by subject; strongly consistent."""

    def kept(self, name: str) -> Kept | None:
        """What was kept under the name, strongly consistent, or None. For cursors and counts; no line tells of it."""

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        """Keep it if the stored version is `expected` (0: there is none), and count one on; else Stale.

        Stale after a lost answer may mean that this very call wrote it: read again.
        """

    def mark(self, name: str) -> bool:
        """Remember that `name` was done, for ever; whether this call was the first to do so."""
