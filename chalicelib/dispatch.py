"""Dispatch: bring what is due to Systems Manager, coalesced, guarded, and each intent written before its act."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib.core.decisions import closed
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.guards import HOUR, Admitted, Held, Room, admit, cool_down
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.outcomes import proves
from chalicelib.core.plans import (
    PATCH_NODES,
    PATCH_STOPPED_NODE,
    Batch,
    BatchState,
    Member,
    Plan,
    batch_id,
    groups,
    parameters,
)
from chalicelib.core.remediations import ACTIVE, Cause, Remediation, State
from chalicelib.intake import again, in_force
from chalicelib.ports import Ports
from chalicelib.record import quietly, record

PACE = timedelta(seconds=1.05)
"""StartAutomationExecution is 1 per second for an account and Region; a little more, for clocks that differ."""

PATIENCE = timedelta(seconds=45)
"""How old an intent may be and still be acted on here; an older one is the sweep's, which looks before it starts."""

RECHECK = timedelta(minutes=30)
"""When a stopped node is looked at again."""

SETTLES = timedelta(minutes=5)
"""When a node that was stopping or starting is looked at again."""


Result = TypeVar("Result")


class _AtPlace(Protocol):
    @property
    def location(self) -> Location: ...


Placed = TypeVar("Placed", bound=_AtPlace)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did: counts of remediations and of executions; `degraded`: places that did not answer."""

    woken: int = 0
    started: int = 0
    executions: int = 0
    held: int = 0
    paused: str | None = None
    degraded: tuple[str, ...] = ()


def dispatch(ports: Ports) -> Round:
    """One round: wake what is due, group what is queued, start what the guards admit.

    Without a policy set it does nothing: what waits and what is exempt stays so until one loads.
    """
    with ports.tracing.verb("dispatch"):
        begun = ports.clock.now()
        policies = in_force(ports)
        if isinstance(policies, PolicyError):
            return Round(paused=f"no policy set loads: {policies}")
        degraded: list[str] = []
        woken = wake(ports, begun, degraded)
        paused = pause_reason(ports, begun)
        if paused:
            ports.notices.say("paused", because=paused)
            return Round(woken=woken, paused=paused, degraded=_names(degraded))
        settings = policies.settings
        in_time = each(ports, ports.ledger.work([State.QUEUED]), lambda case: _in_time(ports, case, begun), degraded)
        waiting = [case for case in in_time if case.state is State.QUEUED]
        leaving = groups(waiting, now=begun, linger=settings.linger)
        room = Room.of(ports.ledger.work(ACTIVE), ports.ledger.open_batches(), ports.ledger.batches_since(begun - HOUR),
                       settings.executions_per_location)  # fmt: skip
        admitted, held = admit(leaving, room, begun)
        for one in held:
            _hold(ports, one)
        batches = [batch for some in each(ports, admitted, lambda one: prepare(ports, one), degraded) for batch in some]
        started = [batch for batch in _paced(ports, batches, begun) if batch.execution]
        members = sum(len(batch.members) for batch in started)
        return Round(woken, members, len(started), len(held), degraded=_names(degraded))


def wake(ports: Ports, now: datetime, degraded: list[str]) -> int:
    """Ask again for everything whose next moment has come; how many were asked."""
    due = list(ports.ledger.work([State.WAITING, State.EXEMPT], before=now))
    return len(each(ports, due, lambda case: again(ports, case), degraded))


def each(ports: Ports, items: Iterable[Placed], one: Callable[[Placed], Result], degraded: list[str]) -> list[Result]:
    """What `one` made of each. A place that is busy or refuses is named and left for later; the others go on."""
    made: list[Result] = []
    for item in items:
        try:
            made.append(one(item))
        except (Temporary, Denied) as error:
            degraded.append(str(item.location))
            ports.notices.say("degraded", place=str(item.location), because=str(error))
    return made


def _names(degraded: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(degraded)))


def pause_reason(ports: Ports, now: datetime) -> str | None:
    """Why nothing may start, or None. A switch that cannot be read counts as paused."""
    try:
        pause = ports.ledger.pause()
    except (Temporary, Denied) as error:
        return f"the pause switch cannot be read: {error}"
    if pause is None or (pause.until and pause.until <= now):
        return None
    return f"paused by {pause.by}: {pause.reason}"


def _in_time(ports: Ports, case: Remediation, now: datetime) -> Remediation:
    """A queued case whose window has closed meanwhile is decided again."""
    return again(ports, case) if closed(case, now) else case


def _hold(ports: Ports, held: Held) -> None:
    """What has a next moment waits for it; what waits for room stays queued and is noted once."""
    try:
        if held.until:
            sets = {"due": format_moment(held.until), "held": held.guard}
            record(ports, held.case, Cause.DEFERRED, held.because, sets=sets)
        elif held.case.held != held.guard:
            record(ports, held.case, Cause.NOTED, f"held by {held.guard}: {held.because}", sets={"held": held.guard})
    except Stale:
        return


def prepare(ports: Ports, admitted: Admitted) -> list[Batch]:
    """Read the members again, write each one's intent and then the batch: all of it before anything starts."""
    ids = [case.node.id for case in admitted.cases]
    nodes = ports.inventory.nodes(admitted.location, ids)
    scans = ports.inventory.patch_states(admitted.location, ids)
    running: list[Remediation] = []
    stopped: list[Remediation] = []
    for case in admitted.cases:
        node, scan = nodes.get(case.node.id), scans.get(case.node.id)
        try:
            if not _leaves(ports, case, admitted.plan, node, scan):
                (stopped if node and node.stopped else running).append(case)
        except Stale:
            continue
    batches = [_intend(ports, admitted, PATCH_STOPPED_NODE, [case]) for case in stopped]
    if running:
        batches.append(_intend(ports, admitted, admitted.plan.document or PATCH_NODES, running))
    return [batch for batch in batches if batch]


def _leaves(ports: Ports, case: Remediation, plan: Plan, node: NodeState | None, scan: PatchState | None) -> bool:
    """Whether the case leaves the batch, with its own line, because of what its account says now."""
    if node is not None and node.gone:
        record(ports, case, Cause.GONE, f"read again before the start: the node is {node.state}", sets={"due": None})
        return True
    if scan and proves(scan, case):
        at = format_moment(scan.ended_at)
        record(ports, case, Cause.RESOLVED, f"read again before the start: the scan of {at} counts nothing missing",
               sets={"due": None, "held": None, "observed_at": at})  # fmt: skip
        return True
    if node is not None and node.between:
        _wait_for(ports, case, node.state, f"the node is {node.state}: asked again when it has settled", SETTLES)
        return True
    if node is not None and node.stopped and plan.stopped == "wait":
        _wait_for(ports, case, "stopped", "the node is stopped, and its policy says to wait until it runs", RECHECK)
        return True
    if node is None or not (node.online or node.stopped):
        seen = (
            "is not managed by Systems Manager"
            if node is None or node.ping is None
            else f"does not answer: {node.ping}"
        )
        fail(ports, case, f"unreachable before the start: the agent {seen}")
        return True
    return False


def _wait_for(ports: Ports, case: Remediation, held: str, because: str, span: timedelta) -> None:
    due = format_moment(ports.clock.now() + span)
    record(ports, case, Cause.DEFERRED, because, sets={"due": due, "held": held})


def fail(
    ports: Ports, case: Remediation, because: str, evidence: Mapping[str, object] | None = None,
    known: datetime | None = None,
) -> Remediation:  # fmt: skip
    """A failed attempt: the cool-down doubles, and the last one goes straight to the next decision.

    `known` is the end of the attempt: what was observed before it is no news.
    """
    attempts = case.attempts + 1
    first = timedelta(seconds=float(case.decision.get("cooldown") or 1800))
    cools = format_moment(ports.clock.now() + cool_down(attempts, first))
    sets = {"attempts": attempts, "cools_until": cools, "due": cools, "last_outcome": because, "held": None}
    if known:
        sets["observed_at"] = format_moment(known)
    head = record(ports, case, Cause.FAILED, because, sets=sets, evidence=evidence)
    return again(ports, head) if attempts >= int(case.decision.get("attempts") or 1) else head


def _intend(ports: Ports, admitted: Admitted, document: str, cases: Sequence[Remediation]) -> Batch | None:
    """Write each member's intent under its leases, then freeze the batch. A member that lost a race stays out."""
    identity = batch_id(admitted.location, admitted.plan, cases)
    members: list[Member] = []
    for case in cases:
        policy = str(case.decision.get("policy"))
        try:
            head = record(ports, case, Cause.INTENDED, f"{policy}: {document} is about to start",
                          sets={"batch": identity, "execution": None, "due": None, "held": None},
                          evidence={"document": document}, take=admitted.leases[case.id])  # fmt: skip
        except Stale:
            continue
        members.append(Member(head.id, head.node.id, head.number, policy))
    if not members:
        return None
    nodes = [member.node for member in members]
    given = parameters(admitted.plan, identity, nodes, document=document)
    now = ports.clock.now()
    batch = Batch(identity, admitted.location, document, admitted.plan.version, given, tuple(members), now)
    try:
        ports.ledger.save_batch(batch, expected=None)
    except Stale:
        return None
    return batch


def _paced(ports: Ports, batches: Sequence[Batch], begun: datetime) -> list[Batch]:
    """Start the batches, locations in turn, none faster than its account allows; what is left is the sweep's."""
    free: dict[Location, datetime] = {}
    started: list[Batch] = []
    for batch in _in_turn(batches):
        wait = (free.get(batch.location, begun) - ports.clock.now()).total_seconds()
        if wait > 0:
            ports.clock.sleep(wait)
        now = ports.clock.now()
        free[batch.location] = now + PACE
        if now - batch.created_at < PATIENCE:
            started.append(start(ports, batch))
    return started


def _in_turn(batches: Sequence[Batch]) -> list[Batch]:
    seen: dict[Location, int] = {}
    ranked = []
    for batch in batches:
        seen[batch.location] = seen.get(batch.location, 0) + 1
        ranked.append((seen[batch.location], str(batch.location), batch))
    return [batch for _, _, batch in sorted(ranked, key=lambda item: item[:2])]


def start(ports: Ports, batch: Batch) -> Batch:
    """Start the batch's execution and write that it runs; an answer that was lost is the sweep's to find."""
    try:
        execution = ports.automations.start(batch)
    except Temporary as error:
        ports.notices.say("start_unanswered", batch=batch.id, location=str(batch.location), because=str(error))
        return batch
    except Denied as error:
        return _refused(ports, batch, str(error))
    return started(ports, batch, execution, "started")


def started(ports: Ports, batch: Batch, execution: str, how: str) -> Batch:
    """Write the execution's id to the batch and to each of its members."""
    now = ports.clock.now()
    running = replace(batch, state=BatchState.STARTED, execution=execution, started_at=batch.started_at or now)
    try:
        ports.ledger.save_batch(running, expected=batch.state.value)
    except Stale:
        running = ports.ledger.batch(batch.id) or running
    for case in members(ports, batch):
        if case.state is State.STARTING:
            quietly(ports, case, Cause.STARTED, f"execution {execution} {how}", {"execution": execution})
    ports.notices.say("execution", batch=batch.id, execution=execution, location=str(batch.location),
                      document=batch.document, nodes=len(batch.members), because=how)  # fmt: skip
    return running


def members(ports: Ports, batch: Batch) -> list[Remediation]:
    """The members that this batch still works on."""
    heads = ports.ledger.heads([member.remediation for member in batch.members])
    return [case for case in heads.values() if case.batch == batch.id and case.active]


def _refused(ports: Ports, batch: Batch, why: str) -> Batch:
    """The account refuses for good: nothing runs, and each member is a person's turn."""
    withdrawn = replace(batch, state=BatchState.WITHDRAWN)
    ports.ledger.save_batch(withdrawn, expected=batch.state.value)
    for case in members(ports, batch):
        quietly(ports, case, Cause.TICKETED, f"the start was refused: {why}", {"batch": None, "due": None})
    return withdrawn
