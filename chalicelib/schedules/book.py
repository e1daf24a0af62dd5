"""Book: what the journal holds of a schedule, and its next line."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.occurrences import Book
from chalicelib.ports import Ports

_SERVICE = "patchwarden"


def book_of(ports: Ports, schedule: str) -> tuple[Entry | None, Book]:
    """The newest entry of a schedule and what it holds; Denied if it cannot be read."""
    last = ports.ledger.entry(subject_of(Kind.SCHEDULE, schedule))
    return last, Book.read(schedule, last.value) if last else Book()


def enter(
    ports: Ports, last: Entry | None, schedule: str, what: str, book: Book, *, because: str, by: str = _SERVICE
) -> Entry:
    """Write the next line of a schedule and say so; Stale if somebody else wrote first."""
    line = entry(last, subject_of(Kind.SCHEDULE, schedule), what, because=because, actor=by, now=ports.clock.now(),
                 value=book.to_json())  # fmt: skip
    ports.ledger.enter(line)
    run = book.run
    ports.notices.say("schedule", schedule=schedule, what=what, because=because, execution=run and run.execution)
    return line


def history(ports: Ports, schedule: str) -> Iterator[Entry]:
    """Every line of a schedule, the newest first."""
    yield from reversed(ports.ledger.entries(subject_of(Kind.SCHEDULE, schedule)))
