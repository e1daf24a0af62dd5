"""Schedules: start what the calendar says, once for each occurrence, and follow what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib import follow as batches
from chalicelib import isolate, pause
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.events import ExecutionUpdate, parse
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.occurrences import (
    PATCH_FLEET,
    Book,
    NodeRun,
    Run,
    RunState,
    calendar_of,
    may_install,
    may_share_nodes,
    order,
    run_id,
    tally,
    total,
    without,
)
from chalicelib.core.pauses import Brake
from chalicelib.core.policies import PolicySet
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause
from chalicelib.core.schedules import Operation, Schedule, coming, due, held
from chalicelib.core.windows import Opening
from chalicelib.crew import each
from chalicelib.intake import Receipt, in_force, take
from chalicelib.ports import Branch, FleetRun, Ports
from chalicelib.record import quietly

ORPHANED = timedelta(seconds=60)
"""An intent this old has lost the invocation that wrote it."""

ABANDONED = timedelta(minutes=25)
"""An intent this old, which no execution carries, never started and never will: as for a batch."""

PATIENCE = timedelta(hours=6)
"""How long after its end was first seen a run waits for a location that does not answer."""

AT_ONCE = 20
"""Of how many locations the nodes are read on one event, whose function has a minute; more are left to the round."""

UNKNOWN_FOR = timedelta(hours=6)
"""How long an execution may stay in a status that we do not know before its run is over."""

ENOUGH = timedelta(minutes=10)
"""A round looks at no further run after this long; the next one goes on."""

GRACE = timedelta(minutes=10)
"""An occurrence this young is started although its calendar is seen for the first time."""

_MOST_MISSED = 10
_MOST_TOLD = 20
_PAGE = 25
"""Locations with all their failures that fit into the 400 KB of one item, whatever the failures are called.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

_SERVICE = "patchwarden"


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
        resumed = sum(each(ports, _open(ports), lambda at: _resume(ports, at.book), degraded, until))
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


def book_of(ports: Ports, schedule: str) -> tuple[Entry | None, Book]:
    """The newest entry of a schedule and what it holds; Denied if it cannot be read."""
    last = ports.ledger.entry(subject_of(Kind.SCHEDULE, schedule))
    return last, Book.read(schedule, last.value) if last else Book()


def _enter(
    ports: Ports, last: Entry | None, schedule: str, what: str, book: Book, *, because: str, by: str = _SERVICE
) -> Entry:
    """Write the next line of a schedule and say so; Stale if somebody else wrote first."""
    line = entry(last, subject_of(Kind.SCHEDULE, schedule), what, because=because, actor=by, now=ports.clock.now(),
                 value=book.to_json())  # fmt: skip
    ports.ledger.enter(line)
    run = book.run
    ports.notices.say("schedule", schedule=schedule, what=what, because=because, execution=run and run.execution)
    return line


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
        last = _enter(ports, last, schedule.id, "seen", book, because=f"its calendar is new or changed: {how}")
    if not schedule.enabled:
        return "nothing"
    last, book = _note_missed(ports, last, book, schedule)
    found = due(schedule, now)
    if found is None or (book.dealt is not None and found.start <= book.dealt):
        return "nothing"
    installs = schedule.operation is Operation.INSTALL
    brake = pause.read(ports) if installs else Brake()
    spared = _spared(brake, schedule, schedule.operation)
    why = holds(ports, policies, schedule, now, brake) if installs else None
    if why or spared is None:
        if book.held != found.start:
            waits = f"{_named(found)} waits, until {format_moment(found.end)} at most: {why}"
            _enter(ports, last, schedule.id, "held", replace(book, held=found.start), because=waits)
        return "held"
    if book.busy:
        why = f"{_named(found)} is not started: the run of {format_moment(book.busy.starts)} is still under way"
        _enter(ports, last, schedule.id, "refused", replace(book, dealt=found.start, held=None), because=why)
        return "refused"
    try:
        run = _run(ports, policies, spared, last, book, found)
    except PolicyError as error:
        why = f"{_named(found)} is not started: {error}"
        _enter(ports, last, schedule.id, "refused", replace(book, dealt=found.start, held=None), because=why)
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
        last = _enter(ports, last, schedule.id, "missed", book, because=why)
    return last, book


def holds(ports: Ports, policies: PolicySet, schedule: Schedule, now: datetime, brake: Brake) -> str | None:
    """Why an installation by this schedule may not start at that moment, or None; a scan is never held.

    `brake`: read once for the whole decision, so that what is left out and what is held rest on one answer.
    What another schedule installs counts also after it was renamed or removed: its own order says where that is.
    """
    if brake.everything:
        return brake.everything
    if _spared(brake, schedule, Operation.INSTALL) is None:
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


def _spared(brake: Brake, schedule: Schedule, operation: Operation) -> Schedule | None:
    """The schedule without the accounts and Regions in which nothing may be installed now; None if nothing is left."""
    if operation is Operation.SCAN:
        return schedule
    if brake.everything:
        return None
    paused = [one.scope.partition("/") for one in brake.pauses]
    return without(schedule, frozenset(name for kind, _, name in paused if kind == "account"),
                   frozenset(name for kind, _, name in paused if kind == "region"))  # fmt: skip


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
    spared = _spared(brake, schedule, operation)
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
    last = _enter(ports, last, run.schedule, "intended", book, because=because, by=run.by)
    try:
        execution = ports.fleets.start(run)
    except Temporary as error:
        ports.notices.say("start_unanswered", schedule=run.schedule, run=run.id, because=str(error))
        return run
    except Denied as error:
        refused = replace(run, state=RunState.REFUSED, ended_at=ports.clock.now())
        _enter(ports, last, run.schedule, "refused", replace(book, run=refused), because=f"the start failed: {error}")
        return None
    return _started(ports, last, book, execution, "started")


def _started(ports: Ports, last: Entry | None, book: Book, execution: str, how: str) -> Run:
    assert book.run is not None, "what starts is a run"
    run = replace(book.run, state=RunState.STARTED, execution=execution, started_at=ports.clock.now())
    try:
        _enter(ports, last, run.schedule, "started", replace(book, run=run), because=f"execution {execution} {how}")
    except Stale:
        return book_of(ports, run.schedule)[1].run or run
    return run


def _resume(ports: Ports, book: Book) -> int:
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
        _started(ports, last, now, found, "adopted by its tag")
        return 1
    if age < ABANDONED:
        return 0
    why = f"the run of {format_moment(run.starts)} never started"
    try:
        _enter(ports, last, run.schedule, "withdrawn", now.withdrawing(), because=why)
    except Stale:
        return 0
    return 1


def follow(ports: Ports, event: object) -> Receipt:
    """Take one automation status event: of a run of a schedule here, of anything else as of a batch."""
    update = parse(event)
    if not isinstance(update, ExecutionUpdate) or update.document.rsplit("/", 1)[-1] != PATCH_FLEET:
        return batches.follow(ports, event)
    for at in _open(ports):
        run = at.book.busy
        if run and run.hub == update.location and _is_of(ports, update.execution, run):
            if run.state is RunState.INTENDED:
                _started(ports, book_of(ports, run.schedule)[0], at.book, update.execution, "adopted")
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


def settle(ports: Ports, book: Book) -> int:
    """Write what a run came to, once it has ended everywhere and can be read; 1 if it has."""
    run = book.run
    if run is None or run.state is not RunState.STARTED:
        return 0
    seen = ports.fleets.execution(run.hub, str(run.execution))
    if seen is not None and not _over(ports, run, seen):
        return 0
    branches = seen.branches if seen else ()
    patient = ports.clock.now() - _end_seen(ports, run) < PATIENCE
    try:
        places = {str(branch.location): _branch(ports, run, branch, patient) for branch in branches}
    except Temporary as error:
        ports.notices.say("degraded", place=f"schedule {run.schedule}", because=str(error),
                          refused=False)  # fmt: skip
        return 0
    status = seen.status if seen else "unknown to Systems Manager"
    pages = _keep_places(ports, run, places)
    counts = {**total(places), "pages": pages, "failures": _examples(places)}
    ended = replace(run, state=RunState.ENDED, ended_at=ports.clock.now(), status=status, counts=counts)
    last, now = book_of(ports, run.schedule)
    if now.run != run:
        return 0
    because = _summary(ended, seen)
    try:
        _enter(ports, last, run.schedule, "ended", replace(now, run=ended), because=because)
    except Stale:
        return 0
    ports.notices.say("schedule_ended", schedule=run.schedule, run=run.id, execution=run.execution, status=status,
                      operation=run.operation.value, because=because, **total(places))  # fmt: skip
    return 1


def _over(ports: Ports, run: Run, seen: FleetRun) -> bool:
    """Whether the run has ended; one in a status that we do not know has after six hours."""
    if seen.ended is None:
        ports.notices.say("unknown_status", run=run.id, execution=seen.id, status=seen.status)
        return ports.clock.now() - (run.started_at or run.intended_at) >= UNKNOWN_FOR
    return seen.ended


def _keep_places(ports: Ports, run: Run, places: Mapping[str, Mapping[str, Any]]) -> int:
    """Keep what each location came to next to the journal, whose entry has room for the sums; how many pages."""
    names = sorted(places)
    pages = [names[start : start + _PAGE] for start in range(0, len(names), _PAGE)]
    for number, page in enumerate(pages):
        name, value = _page_name(run, number), {"places": {place: dict(places[place]) for place in page}}
        kept = ports.ledger.kept(name)
        if kept and kept.value == value:
            continue
        try:
            ports.ledger.keep(name, value, expected=kept.version if kept else 0)
        except Stale as error:
            raise Temporary(f"the counts of run {run.id} are written by somebody else too: come again") from error
    return len(pages)


def _page_name(run: Run, number: int) -> str:
    return f"schedule-run/{run.id}/places/{number}"


def _examples(places: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told = (f"{place}/{failure}" for place in sorted(places) for failure in places[place].get("failures", ()))
    return [failure for _, failure in zip(range(_MOST_TOLD), told, strict=False)]


def places_of(ports: Ports, run: Run) -> dict[str, Any]:
    """What an ended run came to in each location: status and execution, nodes by outcome, failures or trouble."""
    pages = (ports.ledger.kept(_page_name(run, number)) for number in range(int(run.counts.get("pages", 0))))
    found = {place: told for page in pages if page for place, told in page.value["places"].items()}
    return {**run.counts.get("places", {}), **found}


def _end_seen(ports: Ports, run: Run) -> datetime:
    """When it was first seen that the run has ended."""
    name, now = f"schedule-run/{run.id}/end", ports.clock.now()
    kept = ports.ledger.kept(name)
    if kept:
        return parse_moment(str(kept.value["seen"]))
    try:
        ports.ledger.keep(name, {"seen": format_moment(now)}, expected=0)
    except Stale:
        return now
    return now


def _branch(ports: Ports, run: Run, branch: Branch, patient: bool) -> dict[str, Any]:
    """One location's counts; where its nodes cannot be read, that is said. Temporary if it may wait, and is busy."""
    if branch.execution is None:
        why = branch.failure or f"its part is {branch.status} and began nothing"
        return {"status": branch.status, "trouble": f"not reached: {why:.300}"}
    try:
        found = ports.fleets.nodes(branch.location, branch.execution)
        _tell_nodes(ports, run, branch.location, found)
    except (Temporary, Denied) as error:
        if isinstance(error, Temporary) and patient:
            raise
        return {"status": branch.status, "execution": branch.execution, "trouble": f"not read: {error!s:.300}"}
    failed = [f"{node.node}: {node.because:.160}" for node in found if node.outcome == "failed"][:_MOST_TOLD]
    told = {"status": branch.status, "execution": branch.execution, **tally(found)}
    return {**told, "failures": failed} if failed else told


def _summary(run: Run, seen: FleetRun | None) -> str:
    if seen is None:
        return f"Systems Manager does not know execution {run.execution} any more: nobody can say what it did"
    made = run.counts
    failed = f", {made['unread']} of {made['locations']} locations not reached or not read" if made["unread"] else ""
    why = f"; {seen.failure:.200}" if seen.failure and not seen.branches else ""
    return (
        f"{run.operation} is {seen.status}: {counted(made['ok'], 'node')} ok, {made['failed']} failed, "
        f"{made['skipped']} skipped in {counted(made['locations'], 'location')}{failed}{why}"
    )


def _tell_nodes(ports: Ports, run: Run, location: Location, found: Sequence[NodeRun]) -> None:
    """Once: a line in the trail of every node that has a remediation, and what the run's own scan found of it.

    Of a scan only its failures: what it found on the others comes as a finding, by its event and by the sweep.
    """
    if run.operation is Operation.SCAN:
        found = [node for node in found if node.outcome == "failed"]
    told = f"schedule-run/{run.id}/{location}"
    if ports.ledger.kept(told):
        return
    nodes = {node.node: Node(location.account, location.region, node.node) for node in found if node.node}
    ids = {remediation_id(node, Control.PATCH): name for name, node in nodes.items()}
    heads = ports.ledger.heads(list(ids)) if ids else {}
    scans = ports.inventory.patch_states(location, [ids[case] for case in heads]) if heads else {}
    did = {node.node: node for node in found}
    for identity, case in heads.items():
        node, scan = did[ids[identity]], scans.get(ids[identity])
        why = f" ({node.because:.160})" if node.because else ""
        quietly(ports, case, Cause.NOTED, f"schedule {run.schedule}, run of {format_moment(run.starts)}: "
                f"{run.operation} {node.outcome} on this node, execution {node.execution}{why}", {})  # fmt: skip
        if scan and scan.snapshot == run.snapshot and scan.operation == "Scan":
            compliant = scan.noncompliant == 0
            take(ports, Finding(case.node, Control.PATCH, compliant, scan.ended_at, Source.SWEEP))

    try:
        ports.ledger.keep(told, {"nodes": len(heads)}, expected=0)
    except Stale:
        return


def history(ports: Ports, schedule: str) -> Iterator[Entry]:
    """Every line of a schedule, the newest first."""
    yield from reversed(ports.ledger.entries(subject_of(Kind.SCHEDULE, schedule)))
