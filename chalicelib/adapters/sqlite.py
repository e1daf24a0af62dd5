"""The ledger in one SQLite file: the embedded default, safe for several processes on one machine."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from chalicelib.core.chain import GENESIS, canonical
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Change, Kept

SCHEMA = """
CREATE TABLE IF NOT EXISTS transitions (
    remediation TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    at          TEXT    NOT NULL,  -- UTC, 2026-11-28T02:00:00.000Z
    hash        TEXT    NOT NULL,
    line        TEXT    NOT NULL,  -- canonical JSON
    PRIMARY KEY (remediation, number)
);
CREATE INDEX IF NOT EXISTS transitions_by_time ON transitions (at, remediation, number);
CREATE TABLE IF NOT EXISTS remediations (
    id     TEXT    NOT NULL PRIMARY KEY,
    state  TEXT    NOT NULL,
    turn   TEXT    NOT NULL,       -- due#priority#id
    number INTEGER NOT NULL,
    hash   TEXT    NOT NULL,
    head   TEXT    NOT NULL
);
CREATE INDEX IF NOT EXISTS remediations_by_turn ON remediations (state, turn);
CREATE TABLE IF NOT EXISTS leases (name TEXT NOT NULL PRIMARY KEY, holder TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS errands (id TEXT NOT NULL PRIMARY KEY, due TEXT NOT NULL, errand TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS batches (
    id         TEXT NOT NULL PRIMARY KEY,
    state      TEXT NOT NULL,
    created_at TEXT NOT NULL,
    batch      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS batches_by_time ON batches (created_at);
CREATE TABLE IF NOT EXISTS executions (
    location TEXT NOT NULL, execution TEXT NOT NULL, batch TEXT NOT NULL, PRIMARY KEY (location, execution)
);
CREATE TABLE IF NOT EXISTS switches (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS publications (
    number INTEGER NOT NULL PRIMARY KEY,
    hash   TEXT    NOT NULL,
    line   TEXT    NOT NULL        -- canonical JSON
);
CREATE TABLE IF NOT EXISTS journal (
    subject TEXT    NOT NULL,
    number  INTEGER NOT NULL,
    hash    TEXT    NOT NULL,
    line    TEXT    NOT NULL,      -- canonical JSON
    PRIMARY KEY (subject, number)
);
CREATE TABLE IF NOT EXISTS kept (name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS marks (name TEXT NOT NULL PRIMARY KEY);
"""
_FREE = '"held":null'
"""So says the canonical JSON of what nothing holds; in a text of somebody's the quotes would be escaped."""

PATIENCE = 20.0
"""Seconds that a writer waits for its turn before it is Temporary."""


class SqliteLedger:
    """The port `Ledger` over the file at `path`, which is made when it is first used.

    Every commit is on the disk before it counts (https://www.sqlite.org/pragma.html#pragma_synchronous); where it need
    not outlive a power failure, `durable` False spares the wait.
    """

    def __init__(self, path: str | Path, *, durable: bool = True) -> None:
        self._path, self._durable = Path(path), durable
        self._threads = threading.local()

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        connection: sqlite3.Connection | None = self._threads.__dict__.pop("connection", None)
        if connection:
            connection.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._threads, "connection"):
            self._threads.connection = _connect(self._path, self._durable)
        connection: sqlite3.Connection = self._threads.connection
        return connection

    def _read(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.execute(statement, values).fetchall()

    def _one(self, statement: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = self._read(statement, *values)
        return rows[0][0] if rows else None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that excludes every other writer from its first read on."""
        with _translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def head(self, remediation: str) -> Remediation | None:
        return self.heads([remediation]).get(remediation)

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        ids = json.dumps([*remediations])
        rows = self._read("SELECT id, head FROM remediations WHERE id IN (SELECT value FROM json_each(?))", ids)
        return {each: Remediation.from_json(json.loads(text)) for each, text in rows}

    def trail(self, remediation: str) -> list[Transition]:
        rows = self._read("SELECT line FROM transitions WHERE remediation = ? ORDER BY number", remediation)
        return [Transition.from_json(json.loads(text)) for (text,) in rows]

    def append(self, change: Change) -> None:
        line, case = change.line, change.head
        with self._writing() as connection:
            if self._written(line):
                return
            lost = ", ".join(change.lost(self._end(line.remediation), self.lease, self._owed))
            if lost:
                raise Stale(f"line {line.number} of {line.remediation} is too late for {lost}")
            connection.execute(
                "INSERT INTO transitions VALUES (?, ?, ?, ?, ?)",
                (line.remediation, line.number, format_moment(line.at), line.hash, canonical(line.to_json())),
            )
            connection.execute(
                "REPLACE INTO remediations VALUES (?, ?, ?, ?, ?, ?)",
                (case.id, case.state.value, case.turn, case.number, case.hash, canonical(case.to_json())),
            )
            holds = [(name, line.remediation) for name in change.take]
            connection.executemany("REPLACE INTO leases VALUES (?, ?)", holds)
            connection.executemany("DELETE FROM leases WHERE name = ?", [(name,) for name in change.give])
            if change.owes:
                connection.execute("REPLACE INTO errands VALUES (?, ?, ?)", _errand_row(change.owes))
            connection.execute("DELETE FROM errands WHERE id = ?", (change.done,))

    def _written(self, line: Transition) -> bool:
        stored = self._one(
            "SELECT hash FROM transitions WHERE remediation = ? AND number = ?", line.remediation, line.number
        )
        return bool(stored == line.hash)

    def _end(self, remediation: str) -> tuple[int, str]:
        rows = self._read("SELECT number, hash FROM remediations WHERE id = ?", remediation)
        return (rows[0][0], rows[0][1]) if rows else (0, GENESIS)

    def _owed(self, errand: str) -> bool:
        return bool(self._one("SELECT id FROM errands WHERE id = ?", errand))

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        rows = self._read(
            "SELECT head FROM remediations WHERE state IN (SELECT value FROM json_each(?)) AND turn < ? ORDER BY turn",
            json.dumps([state.value for state in states]),
            "~~" if before is None else f"{format_moment(before)}$",
        )
        return (Remediation.from_json(json.loads(text)) for (text,) in rows)

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        rows = self._read(
            "SELECT head FROM remediations WHERE state IN (SELECT value FROM json_each(?)) AND turn > ? "
            "ORDER BY turn LIMIT ?",
            json.dumps([state.value for state in states]),
            after or "",
            limit,
        )
        return [Remediation.from_json(json.loads(text)) for (text,) in rows]

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        first = f"{day.isoformat()}T"
        rows = self._read(
            "SELECT line FROM transitions WHERE at BETWEEN ? AND ? ORDER BY at, remediation, number",
            max(first, format_moment(since)) if since else first,
            f"{day.isoformat()}U",
        )
        return (Transition.from_json(json.loads(text)) for (text,) in rows)

    def counts(self) -> dict[State, int]:
        rows = self._read("SELECT state, count(*) FROM remediations GROUP BY state ORDER BY state")
        return {State(state): count for state, count in rows}

    def held(self) -> Iterator[Remediation]:
        rows = self._read(
            "SELECT head FROM remediations WHERE state NOT IN ('resolved', 'gone') AND instr(head, ?) = 0 "
            "ORDER BY turn",
            _FREE,
        )
        return (Remediation.from_json(json.loads(text)) for (text,) in rows)

    def named(self, node: str) -> list[str]:
        rows = self._read("SELECT id FROM remediations WHERE instr(id, ?) > 0 ORDER BY id", f".{node}.")
        return [identity for (identity,) in rows if identity.split(".")[2] == node]

    def newest(self, day: date) -> Iterator[Transition]:
        with _translated():
            rows = self._connection.execute(
                "SELECT line FROM transitions WHERE at BETWEEN ? AND ? ORDER BY at DESC, remediation DESC, number DESC",
                (f"{day.isoformat()}T", f"{day.isoformat()}U"),
            )
        return (Transition.from_json(json.loads(text)) for (text,) in rows)

    def all_heads(self) -> Iterator[Remediation]:
        rows = self._read("SELECT head FROM remediations ORDER BY id")
        return (Remediation.from_json(json.loads(text)) for (text,) in rows)

    def lease(self, name: str) -> str | None:
        holder: str | None = self._one("SELECT holder FROM leases WHERE name = ?", name)
        return holder

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        text = canonical(batch.to_json())
        with self._writing() as connection:
            stored = self._read("SELECT state, batch FROM batches WHERE id = ?", batch.id)
            state, stored_text = stored[0] if stored else (None, None)
            if stored_text == text:
                return
            if state != expected:
                raise Stale(f"batch {batch.id} is {state or 'not there'}, not {expected}")
            connection.execute(
                "REPLACE INTO batches VALUES (?, ?, ?, ?)",
                (batch.id, batch.state.value, format_moment(batch.created_at), text),
            )
            if batch.execution:
                connection.execute(
                    "REPLACE INTO executions VALUES (?, ?, ?)", (str(batch.location), batch.execution, batch.id)
                )

    def batch(self, batch: str) -> Batch | None:
        text = self._one("SELECT batch FROM batches WHERE id = ?", batch)
        return Batch.from_json(json.loads(text)) if text else None

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        served = "SELECT batch FROM executions WHERE location = ? AND execution = ?"
        return self.batch(self._one(served, str(location), execution))

    def open_batches(self) -> list[Batch]:
        return self._batches("state IN (?, ?)", BatchState.INTENDED.value, BatchState.STARTED.value)

    def batches_since(self, since: datetime) -> list[Batch]:
        return self._batches("created_at >= ?", format_moment(since))

    def _batches(self, condition: str, *values: str) -> list[Batch]:
        rows = self._read(f"SELECT batch FROM batches WHERE {condition} ORDER BY created_at, id", *values)
        return [Batch.from_json(json.loads(text)) for (text,) in rows]

    def errands(self, before: datetime) -> list[Errand]:
        rows = self._read("SELECT errand FROM errands WHERE due <= ? ORDER BY due, id", format_moment(before))
        return [Errand.from_json(json.loads(text)) for (text,) in rows]

    def postpone(self, errand: Errand) -> None:
        with self._writing() as connection:
            if not self._owed(errand.id):
                raise Stale(f"errand {errand.id} is done")
            connection.execute("REPLACE INTO errands VALUES (?, ?, ?)", _errand_row(errand))

    def active_policies(self) -> Publication | None:
        text = self._one("SELECT line FROM publications WHERE number = (SELECT value FROM switches WHERE name = ?)",
                         "policies")  # fmt: skip
        return Publication.from_json(json.loads(text)) if text else None

    def publish(self, publication: Publication) -> None:
        text = canonical(publication.to_json())
        with self._writing() as connection:
            if self._one("SELECT line FROM publications WHERE number = ?", publication.number) == text:
                return
            last = self.active_policies()
            if (publication.number, publication.previous) != ((last.number + 1, last.hash) if last else (1, GENESIS)):
                raise Stale(f"publication {publication.number} is too late: another set was published")
            connection.execute("INSERT INTO publications VALUES (?, ?, ?)",
                               (publication.number, publication.hash, text))  # fmt: skip
            connection.execute("REPLACE INTO switches VALUES ('policies', ?)", (str(publication.number),))

    def publications(self) -> list[Publication]:
        rows = self._read("SELECT line FROM publications ORDER BY number")
        return [Publication.from_json(json.loads(text)) for (text,) in rows]

    def entry(self, subject: str) -> Entry | None:
        text = self._one("SELECT line FROM journal WHERE subject = ? ORDER BY number DESC LIMIT 1", subject)
        return Entry.from_json(json.loads(text)) if text else None

    def enter(self, entry: Entry) -> None:
        text = canonical(entry.to_json())
        with self._writing() as connection:
            stored = "SELECT line FROM journal WHERE subject = ? AND number = ?"
            if self._one(stored, entry.subject, entry.number) == text:
                return
            last = self.entry(entry.subject)
            if (entry.number - 1, entry.previous) != ((last.number, last.hash) if last else (0, GENESIS)):
                raise Stale(f"entry {entry.number} of {entry.subject} is too late: another was written")
            row = (entry.subject, entry.number, entry.hash, text)
            connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", row)

    def entries(self, subject: str) -> list[Entry]:
        rows = self._read("SELECT line FROM journal WHERE subject = ? ORDER BY number", subject)
        return [Entry.from_json(json.loads(text)) for (text,) in rows]

    def subjects(self, kind: Kind) -> list[Entry]:
        rows = self._read(
            "SELECT line, max(number) FROM journal WHERE subject > ? AND subject < ? GROUP BY subject ORDER BY subject",
            f"{kind}/",
            f"{kind}0",
        )
        return [Entry.from_json(json.loads(text)) for text, _ in rows]

    def kept(self, name: str) -> Kept | None:
        rows = self._read("SELECT value, version FROM kept WHERE name = ?", name)
        return Kept(json.loads(rows[0][0]), rows[0][1]) if rows else None

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        with self._writing() as connection:
            version = self._one("SELECT version FROM kept WHERE name = ?", name) or 0
            if version != expected:
                raise Stale(f"{name} is not at version {expected}")
            connection.execute("REPLACE INTO kept VALUES (?, ?, ?)", (name, version + 1, canonical(dict(value))))

    def mark(self, name: str) -> bool:
        with self._writing() as connection:
            return connection.execute("INSERT OR IGNORE INTO marks VALUES (?)", (name,)).rowcount == 1


def _connect(path: Path, durable: bool) -> sqlite3.Connection:
    with _translated(f" {path}"):
        if path.exists() and not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            return _to_read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        connection.executescript(SCHEMA)
    return connection


def _to_read(path: Path) -> sqlite3.Connection:
    """A connection that only reads, to a file that this process may not write.

    A reader of a WAL file writes beside it; where nothing lies there and nothing can, the file stands still.
    https://www.sqlite.org/wal.html#read_only_databases
    """
    beside = path.with_name(path.name + "-wal")
    still = not beside.exists() or not beside.stat().st_size
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro{'&immutable=1' if still else ''}", uri=True,
                           timeout=PATIENCE, isolation_level=None)  # fmt: skip


@contextmanager
def _translated(path: str = "") -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        busy = getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
        raise (Temporary if busy else Denied)(f"the ledger file{path} cannot be used: {error}") from error
    except OSError as error:
        raise Denied(f"the ledger file{path} cannot be used: {error}") from error


def _errand_row(errand: Errand) -> tuple[str, str, str]:
    return errand.id, format_moment(errand.due), canonical(errand.to_json())
