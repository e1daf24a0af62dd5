"""Settle: what a schedule's run came to once it has ended, place by place and node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.occurrences import Book, NodeRun, Run, RunState, tally, total
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause
from chalicelib.core.schedules import Operation
from chalicelib.intake import take
from chalicelib.ports import Branch, FleetRun, Ports
from chalicelib.record import quietly
from chalicelib.schedules.book import book_of, enter

PATIENCE = timedelta(hours=6)
"""How long after its end was first seen a run waits for a location that does not answer."""

UNKNOWN_FOR = timedelta(hours=6)
"""How long an execution may stay in a status that we do not know before its run is over."""
_MOST_TOLD = 20
_PAGE = 25
"""Locations with all their failures that fit into the 400 KB of one item, whatever the failures are called.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""


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
        enter(ports, last, run.schedule, "ended", replace(now, run=ended), because=because)
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
