"""Start: whether a schedule's run may begin now, its intent, and its start, which a crash does not lose."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import pause
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.occurrences import Book, Run, RunState, may_install, may_share_nodes, order, run_id, without
from chalicelib.core.pauses import Brake
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Operation, Schedule, held
from chalicelib.ports import Ports
from chalicelib.schedules.book import book_of, enter

ORPHANED = timedelta(seconds=60)
"""An intent this old has lost the invocation that wrote it."""

ABANDONED = timedelta(minutes=25)
"""An intent this old, which no execution carries, never started and never will: as for a batch."""


def holds(ports: Ports, policies: PolicySet, schedule: Schedule, now: datetime, brake: Brake) -> str | None:
    """Why an installation by this schedule may not start at that moment, or None; a scan is never held.

    `brake`: read once for the whole decision, so that what is left out and what is held rest on one answer.
    What another schedule installs counts also after it was renamed or removed: its own order says where that is.
    """
    if brake.everything:
        return brake.everything
    if unpaused(brake, schedule, Operation.INSTALL) is None:
        return f"all of its places are paused: {'; '.join(one.because for one in brake.pauses)}"
    installing = replace(schedule, operation=Operation.INSTALL)
    freeze = held(installing, now, policies.settings.freezes)
    if freeze:
        return f"freeze {freeze.name} until {format_moment(freeze.until)}: {freeze.reason}"
    for newest in ports.ledger.subjects(Kind.SCHEDULE):
        if newest.name == schedule.id:
            continue
        try:
            busy = Book.read(newest.name, newest.value).busy
        except Denied as error:
            if may_install(newest.value):
                return f"nobody knows whether schedule {newest.name} is installing: {error}"
            continue
        if busy is None or busy.operation is not Operation.INSTALL:
            continue
        if may_share_nodes(busy.order, schedule):
            since = format_moment(busy.starts)
            return f"schedule {busy.schedule} has been installing since {since}, maybe on the same nodes"
    return None


def unpaused(brake: Brake, schedule: Schedule, operation: Operation) -> Schedule | None:
    """The schedule without the accounts and Regions in which nothing may be installed now; None if nothing is left."""
    if operation is Operation.SCAN:
        return schedule
    if brake.everything:
        return None
    paused = [one.scope.partition("/") for one in brake.pauses]
    return without(schedule, frozenset(name for kind, _, name in paused if kind == "account"),
                   frozenset(name for kind, _, name in paused if kind == "region"))  # fmt: skip


def asked_for(
    ports: Ports, policies: PolicySet, schedule: Schedule, operation: Operation, by: str, *,
    brake: Brake | None = None, alone: bool = False,
) -> Run:  # fmt: skip
    """The run that a person asks for now; nothing is written or started yet. PolicyError if it is too large.

    `brake` is what `holds` was asked with; a run that it holds is Denied.
    """
    now = ports.clock.now().replace(microsecond=0)
    number = 1 if alone else (last.number + 1 if (last := book_of(ports, schedule.id)[0]) else 1)
    id = run_id(f"{schedule.id}/{operation}/{by}", now, number)
    brake = Brake() if alone else brake or pause.read(ports)
    spared = unpaused(brake, schedule, operation)
    if spared is None:
        raise Denied(f"schedule {schedule.id} may not install: {brake.everything or 'all of its places are paused'}")
    return Run(
        id=id, schedule=schedule.id, operation=operation, starts=now, until=now, hub=ports.fleets.home(),
        order=order(spared, id, policies.settings, operation=operation, alone=alone), state=RunState.INTENDED,
        intended_at=now, by=by, asked=True,
    )  # fmt: skip


def run_now(ports: Ports, run: Run, *, because: str) -> Run | None:
    """Start what a person asked for; None if it was refused. Stale if the schedule moved on or is under way."""
    last, book = book_of(ports, run.schedule)
    if book.busy:
        raise Stale(f"schedule {run.schedule} is under way since {format_moment(book.busy.starts)}")
    return start(ports, last, book.intending(run), because=because)


def start(ports: Ports, last: Entry | None, book: Book, *, because: str) -> Run | None:
    """Write the intent with all that is asked, then start it, then write that it runs; None if it was refused."""
    run = book.run
    assert run is not None, "an intent has a run"
    last = enter(ports, last, run.schedule, "intended", book, because=because, by=run.by)
    try:
        execution = ports.fleets.start(run)
    except Temporary as error:
        ports.notices.say("start_unanswered", schedule=run.schedule, run=run.id, because=str(error))
        return run
    except Denied as error:
        refused = replace(run, state=RunState.REFUSED, ended_at=ports.clock.now())
        enter(ports, last, run.schedule, "refused", replace(book, run=refused), because=f"the start failed: {error}")
        return None
    return started(ports, last, book, execution, "started")


def started(ports: Ports, last: Entry | None, book: Book, execution: str, how: str) -> Run:
    """Write that the intended run has begun; the run that stands there if somebody else wrote first."""
    assert book.run is not None, "what starts is a run"
    run = replace(book.run, state=RunState.STARTED, execution=execution, started_at=ports.clock.now())
    try:
        enter(ports, last, run.schedule, "started", replace(book, run=run), because=f"execution {execution} {how}")
    except Stale:
        return book_of(ports, run.schedule)[1].run or run
    return run


def resume(ports: Ports, book: Book) -> int:
    """Finish an intent whose invocation is gone: adopt its execution, or let its occurrence be due again."""
    run = book.run
    assert run is not None, "only a book with a run is resumed"
    age = ports.clock.now() - run.intended_at
    if run.state is not RunState.INTENDED or age < ORPHANED:
        return 0
    found = ports.fleets.find(run)
    last, now = book_of(ports, run.schedule)
    if now.run != run:
        return 0
    if found:
        started(ports, last, now, found, "adopted by its tag")
        return 1
    if age < ABANDONED:
        return 0
    why = f"the run of {format_moment(run.starts)} never started"
    try:
        enter(ports, last, run.schedule, "withdrawn", now.withdrawing(), because=why)
    except Stale:
        return 0
    return 1
