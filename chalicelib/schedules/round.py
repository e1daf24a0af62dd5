"""Round: finish what a crash left, follow what runs, start what is due; and take the events of what runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from chalicelib import follow as batches
from chalicelib import isolate, pause
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.events import ExecutionUpdate, parse
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import PATCH_FLEET, Book, Run, RunState, calendar_of, order, run_id
from chalicelib.core.pauses import Brake
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Operation, Schedule, coming, due
from chalicelib.core.windows import Opening
from chalicelib.crew import each
from chalicelib.intake import Receipt, in_force
from chalicelib.ports import Ports
from chalicelib.schedules.book import book_of, enter
from chalicelib.schedules.settle import settle
from chalicelib.schedules.start import holds, resume, start, started, unpaused

AT_ONCE = 20
"""Of how many locations the nodes are read on one event, whose function has a minute; more are left to the round."""

ENOUGH = timedelta(minutes=10)
"""A round looks at no further run after this long; the next one goes on."""

GRACE = timedelta(minutes=10)
"""An occurrence this young is started although its calendar is seen for the first time."""

_MOST_MISSED = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """What one round did. `degraded`: hubs and locations that did not answer."""

    started: int = 0
    resumed: int = 0
    ended: int = 0
    held: int = 0
    refused: int = 0
    degraded: tuple[str, ...] = ()


def run_due(ports: Ports) -> Turn:
    """One round: finish what a crash left, follow what runs, start what is due; safe to run twice.

    Without a policy set nothing starts, and what runs is followed all the same.
    """
    with ports.tracing.verb("schedules"):
        degraded: list[str] = []
        until = ports.clock.now() + ENOUGH
        resumed = sum(each(ports, _open(ports), lambda at: resume(ports, at.book), degraded, until))
        ended = sum(each(ports, _open(ports), lambda at: _follow_up(ports, at), degraded, until))
        policies = in_force(ports)
        wanted = () if isinstance(policies, PolicyError) else policies.schedules
        said = [_consider(ports, policies, one) for one in wanted if isinstance(policies, PolicySet)]
        turn = Turn(said.count("started"), resumed, ended, said.count("held"), said.count("refused"),
                    tuple(sorted(set(degraded))))  # fmt: skip
        ports.notices.say("schedules", started=turn.started, resumed=resumed, ended=ended, held=turn.held,
                          refused=turn.refused, degraded=list(turn.degraded))  # fmt: skip
        return turn


@dataclass(frozen=True, slots=True)
class _At:
    """A schedule's book, and the place where its run was started."""

    book: Book
    location: Location


def _open(ports: Ports) -> list[_At]:
    """The books with a run under way; one that cannot be read is left out and said."""
    found = []
    for newest in ports.ledger.subjects(Kind.SCHEDULE):
        try:
            book = Book.read(newest.name, newest.value)
        except Denied as error:
            ports.notices.say("schedule_failed", schedule=newest.name, because=str(error))
            continue
        if book.busy:
            found.append(_At(book, book.busy.hub))
    return found


def _follow_up(ports: Ports, at: _At) -> int:
    """Settle; a hub that refused and tells of its run again is let back: out of the scope, nobody else asks it."""
    count = settle(ports, at.book)
    account, run = at.location.account, at.book.busy
    aside = isolate.degraded(ports.ledger).get(account) if run and run.state is RunState.STARTED else None
    if aside and not aside.starting:
        isolate.answers(ports, account)
    return count


def _consider(ports: Ports, policies: PolicySet, schedule: Schedule) -> str:
    """What is done about one schedule now: started, held, refused or nothing."""
    try:
        return _due(ports, policies, schedule)
    except Stale:
        return "nothing"
    except (Temporary, Denied, PolicyError) as error:
        ports.notices.say("schedule_failed", schedule=schedule.id, because=str(error))
        return "refused"


def _due(ports: Ports, policies: PolicySet, schedule: Schedule) -> str:
    now = ports.clock.now()
    last, book = book_of(ports, schedule.id)
    if book.calendar != calendar_of(schedule):
        book = replace(book, calendar=calendar_of(schedule), dealt=now - GRACE, held=None)
        how = "its runs are due from now on" if schedule.enabled else "it is disabled and does not run"
        last = enter(ports, last, schedule.id, "seen", book, because=f"its calendar is new or changed: {how}")
    if not schedule.enabled:
        return "nothing"
    last, book = _note_missed(ports, last, book, schedule)
    found = due(schedule, now)
    if found is None or (book.dealt is not None and found.start <= book.dealt):
        return "nothing"
    installs = schedule.operation is Operation.INSTALL
    brake = pause.read(ports) if installs else Brake()
    spared = unpaused(brake, schedule, schedule.operation)
    why = holds(ports, policies, schedule, now, brake) if installs else None
    if why or spared is None:
        if book.held != found.start:
            waits = f"{_named(found)} waits, until {format_moment(found.end)} at most: {why}"
            enter(ports, last, schedule.id, "held", replace(book, held=found.start), because=waits)
        return "held"
    if book.busy:
        why = f"{_named(found)} is not started: the run of {format_moment(book.busy.starts)} is still under way"
        enter(ports, last, schedule.id, "refused", replace(book, dealt=found.start, held=None), because=why)
        return "refused"
    try:
        run = _run(ports, policies, spared, last, book, found)
    except PolicyError as error:
        why = f"{_named(found)} is not started: {error}"
        enter(ports, last, schedule.id, "refused", replace(book, dealt=found.start, held=None), because=why)
        return "refused"
    return "started" if start(ports, last, book.intending(run), because=f"{_named(found)} is due") else "refused"


def _named(found: Opening) -> str:
    return f"the run of {format_moment(found.start)}"


def _note_missed(ports: Ports, last: Entry | None, book: Book, schedule: Schedule) -> tuple[Entry | None, Book]:
    """Occurrences whose time to be caught up has passed: each is said, and none is started any more."""
    for found in coming(schedule, book.dealt or ports.clock.now(), _MOST_MISSED):
        if found.end > ports.clock.now():
            break
        waited = "it was held until then" if book.held == found.start else "nobody was there to start it"
        book = replace(book, dealt=found.start, held=None)
        why = f"{_named(found)} was not started by {format_moment(found.end)}: {waited}"
        last = enter(ports, last, schedule.id, "missed", book, because=why)
    return last, book


def _run(
    ports: Ports, policies: PolicySet, spared: Schedule, last: Entry | None, book: Book, found: Opening
) -> Run:  # fmt: skip
    """The run of an occurrence; `spared`: the schedule without what is paused."""
    id = run_id(spared.id, found.start, last.number + 1 if last else 1)
    return Run(
        id=id, schedule=spared.id, operation=spared.operation, starts=found.start, until=found.end,
        hub=ports.fleets.home(), order=order(spared, id, policies.settings), state=RunState.INTENDED,
        intended_at=ports.clock.now(), before=book.dealt,
    )  # fmt: skip


def follow(ports: Ports, event: object) -> Receipt:
    """Take one automation status event: of a run of a schedule here, of anything else as of a batch."""
    update = parse(event)
    if not isinstance(update, ExecutionUpdate) or update.document.rsplit("/", 1)[-1] != PATCH_FLEET:
        return batches.follow(ports, event)
    for at in _open(ports):
        run = at.book.busy
        if run and run.hub == update.location and _is_of(ports, update.execution, run):
            if run.state is RunState.INTENDED:
                started(ports, book_of(ports, run.schedule)[0], at.book, update.execution, "adopted")
            if run.order.size > AT_ONCE:
                return Receipt("noted", f"the run of schedule {run.schedule} is counted by the next round")
            count = settle(ports, book_of(ports, run.schedule)[1])
            said = "has ended" if count else "goes on"
            return Receipt("decided" if count else "noted", f"the run of schedule {run.schedule} {said}")
    because = f"execution {update.execution} is a part of a run: it is followed from the hub"
    ports.notices.say("rejected", reason=because, kind="not-ours")
    return Receipt("ignored", because)


def _is_of(ports: Ports, execution: str, run: Run) -> bool:
    """Whether the execution is the run's; the answer to its start may have been lost."""
    return execution == (run.execution if run.state is RunState.STARTED else ports.fleets.find(run))
