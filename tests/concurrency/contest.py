"""What each of several processes does to the same ledger at once, and what it says of it afterwards.

A writer that is told `Temporary` repeats the very same change, as a redelivered invocation would; one that is told
`Stale` reads again. Every few answers are lost after the write took effect.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.dynamodb import DynamoLedger
from chalicelib.core.errors import Stale, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch, BatchState, Member
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.ports import Change

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HERE = Location("111122223333", "eu-west-1")
LOST = 4
"""Of so many written changes, one answer gets lost."""

_start: Any = None
"""Where the writers of this process wait for the others."""


@dataclass(frozen=True)
class Ring:
    """Where the contest is held; `folder` is where the holders of leases leave their marks."""

    endpoint: str
    table: str
    folder: Path
    writers: int
    unconditional: bool = False

    def ledger(self) -> tuple[DynamoLedger, Lossy]:
        """A ledger of this process, and the line to its table; back when all the others are ready too."""
        line = Lossy(connect(self.endpoint), self.unconditional)
        line.list_tables()
        _start.wait(timeout=60)
        return DynamoLedger(self.table, lambda: line), line


@dataclass
class Lossy:
    """A DynamoDB client that loses some answers; `lost` counts them."""

    client: Any
    unconditional: bool
    lost: int = 0
    written: int = 0

    def __getattr__(self, operation: str) -> Any:
        return getattr(self.client, operation)

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]]) -> Any:
        items = [_bare(item) for item in TransactItems] if self.unconditional else TransactItems
        answer = self.client.transact_write_items(TransactItems=items)
        self.written += 1
        if self.written % LOST == 0:
            self.lost += 1
            raise ReadTimeoutError(endpoint_url="the table")
        return answer


@dataclass
class Told:
    """What a writer was told: its acknowledged lines as (remediation, number, hash), and how often it was too late."""

    lines: list[tuple[str, int, str]] = field(default_factory=list)
    late: int = 0
    lost: int = 0
    doubled: list[str] = field(default_factory=list)


def connect(endpoint: str) -> Any:
    return boto3.client("dynamodb", region_name=HERE.region, endpoint_url=endpoint, aws_access_key_id="testing",
                        aws_secret_access_key="testing", config=Config(retries={"total_max_attempts": 1}))  # fmt: skip


def enter(start: Any) -> None:
    """Called once in each process."""
    global _start
    _start = start


def case(number: int) -> Remediation:
    return Remediation(Node(HERE.account, HERE.region, f"i-{number:017x}"), Control.PATCH)


def note_lines(ring: Ring, number: int, cases: int, count: int) -> Told:
    """Write `count` acknowledged lines to cases that all the others write to as well."""
    ledger, line = ring.ledger()
    told = Told()
    for done in range(count):
        mine = case((number + done) % cases)
        _note(ledger, told, mine, f"writer {number}, line {done}")
    told.lost = line.lost
    return told


def take_and_give(ring: Ring, number: int, leases: tuple[str, ...], count: int) -> Told:
    """Hold one of the leases `count` times. Whoever holds one leaves a mark: to find one there is to hold it twice."""
    ledger, line = ring.ledger()
    told = Told()
    mine = queued(ledger, told, number)
    for done in range(count):
        mine, name = _take(ledger, told, mine, leases, number + done)
        with _mark(ring.folder / name.replace("/", "-"), told):
            ledger.lease(name)
        back = _change(mine, Cause.WITHDRAWN, "it was given back", give=(name,), sets={"leases": []})
        _surely(partial(ledger.append, back))
        told.lines.append(_said(back))
        mine = back.head
    told.lost = line.lost
    return told


def do_errands(ring: Ring, number: int) -> list[str]:
    """Note as done every errand that is owed; those that this writer was told it did."""
    ledger, _ = ring.ledger()
    mine: list[str] = []
    while owed := ledger.errands(NOW):
        errand = owed[number % len(owed)]
        head = ledger.head(errand.remediation) or case(0)
        done = _change(head, Cause.NOTED, f"{errand.id} done by writer {number}", done=errand.id)
        try:
            _surely(partial(ledger.append, done))
        except Stale:
            continue
        mine.append(errand.id)
    return mine


def start_batches(ring: Ring, number: int, names: tuple[str, ...]) -> list[str]:
    """Write this writer's own execution to each batch; those batches that it was told it started."""
    ledger, _ = ring.ledger()
    mine: list[str] = []
    for name in names:
        intended = batch(name)
        started = replace(intended, state=BatchState.STARTED, execution=f"{name}-{number}")
        with suppress(Stale):
            _surely(partial(ledger.save_batch, intended, expected=None))
        try:
            _surely(partial(ledger.save_batch, started, expected="intended"))
        except Stale:
            continue
        mine.append(name)
    return mine


def queued(ledger: DynamoLedger, told: Told, number: int) -> Remediation:
    first = _change(case(100 + number), Cause.QUEUED, "due now")
    _surely(partial(ledger.append, first))
    told.lines.append(_said(first))
    return first.head


def batch(name: str) -> Batch:
    member = Member(case(0).id, case(0).node.id, 3, "prod")
    values = {"NodeIds": [member.node], "BatchId": [name]}
    return Batch(name, HERE, "Patchwarden-PatchNodes", "7", values, (member,), NOW)


def _note(ledger: DynamoLedger, told: Told, mine: Remediation, because: str) -> None:
    while True:
        change = _change(ledger.head(mine.id) or mine, Cause.NOTED, because)
        try:
            _surely(partial(ledger.append, change))
        except Stale:
            told.late += 1
            continue
        told.lines.append(_said(change))
        return


def _take(
    ledger: DynamoLedger, told: Told, mine: Remediation, leases: tuple[str, ...], turn: int
) -> tuple[Remediation, str]:
    while True:
        name = leases[turn % len(leases)]
        turn += 1
        taken = _change(mine, Cause.INTENDED, f"holds {name}", take=(name,), sets={"leases": [name]})
        try:
            _surely(partial(ledger.append, taken))
        except Stale:
            told.late += 1
            continue
        told.lines.append(_said(taken))
        return taken.head, name


def _surely(write: Callable[[], None]) -> None:
    """Repeat it until it is answered; Stale comes through."""
    while True:
        try:
            return write()
        except Temporary:
            continue


@contextmanager
def _mark(path: Path, told: Told) -> Iterator[None]:
    """A file that one process alone can make: a truth that the ledger has no part in."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        told.doubled.append(path.name)
        yield
        return
    yield
    path.unlink()


def _change(mine: Remediation, cause: Cause, because: str, **given: Any) -> Change:
    line = advance(mine, cause, because=because, now=NOW, sets=given.pop("sets", None))
    return Change(line, apply(mine, line), **given)


def _said(change: Change) -> tuple[str, int, str]:
    return change.line.remediation, change.line.number, change.line.hash


def _bare(item: dict[str, Any]) -> dict[str, Any]:
    """The write without its condition, and without what only the condition refers to."""
    guards = ("ConditionExpression", "ExpressionAttributeValues")
    return {kind: {name: value for name, value in write.items() if name not in guards} for kind, write in item.items()}
