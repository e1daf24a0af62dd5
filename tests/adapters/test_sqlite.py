"""What only the ledger file can go through: locks, damage, threads, a crash in the middle."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chalicelib.adapters import sqlite
from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.ports import Change

CASE = Remediation(Node("111122223333", "eu-west-1", "i-0123456789abcdef0"), Control.PATCH)


def step(case: Remediation) -> Change:
    line = advance(case, Cause.NOTED, because="it was said", now=datetime(2026, 11, 23, 12, tzinfo=UTC))
    return Change(line, apply(case, line), take=("node/a",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(path)
    yield made
    made.close()


def test_nothing_is_made_before_it_is_used(ledger: SqliteLedger, path: Path) -> None:
    assert not path.exists()
    assert ledger.head(CASE.id) is None
    assert path.exists()


def test_a_commit_is_on_the_disk_before_it_counts_unless_that_was_waived(path: Path) -> None:
    asked = [
        SqliteLedger(path)._read("PRAGMA synchronous"),
        SqliteLedger(path, durable=False)._read("PRAGMA synchronous"),
    ]
    assert asked == [[(2,)], [(0,)]]


def test_the_ledger_outlives_its_process(ledger: SqliteLedger, path: Path) -> None:
    change = step(CASE)
    ledger.append(change)
    ledger.close()
    again = SqliteLedger(path)
    assert again.trail(CASE.id) == [change.line]
    assert again.lease("node/a") == CASE.id
    again.close()


def test_a_change_that_breaks_off_leaves_nothing_behind(ledger: SqliteLedger) -> None:
    change = step(CASE)
    with pytest.raises(TypeError):
        ledger.append(replace(change, head=replace(change.head, decision={"not JSON": object()})))
    assert ledger.trail(CASE.id) == []
    ledger.append(change)
    assert ledger.trail(CASE.id) == [change.line]


def test_a_file_that_another_writer_keeps_is_temporary(
    ledger: SqliteLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PATIENCE", 0.01)
    ledger.append(step(CASE))
    ledger.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    head = ledger.head(CASE.id)
    assert head is not None
    with pytest.raises(Temporary, match="locked"):
        ledger.append(step(head))
    other.execute("ROLLBACK")
    other.close()
    ledger.append(step(head))


def test_a_file_that_is_no_ledger_is_the_operators_turn(ledger: SqliteLedger, path: Path) -> None:
    path.write_bytes(b"this was never a database" * 100)
    with pytest.raises(Denied, match="cannot be used"):
        ledger.head(CASE.id)


def test_a_folder_that_cannot_be_made_is_the_operators_turn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Denied, match="cannot be used"):
        SqliteLedger(tmp_path / "file" / "ledger.db").errands(datetime.max.replace(tzinfo=UTC))


def test_each_thread_may_use_the_same_ledger(ledger: SqliteLedger) -> None:
    found: list[Remediation | None] = []

    def look() -> None:
        found.append(ledger.head(CASE.id))
        ledger.close()

    change = step(CASE)
    ledger.append(change)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join(60)
    assert found == [change.head]
