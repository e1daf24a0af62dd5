"""Dispatch: bring what is due to Systems Manager, coalesced, guarded, and each intent written before its act."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from chalicelib.core.decisions import closed, overdue
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
from chalicelib.ports import Clock, Ports
from chalicelib.record import quietly, record

PACE = timedelta(seconds=1.05)
"""StartAutomationExecution is 1 per second for an account and Region; a little more, for clocks that differ."""

PATIENCE = timedelta(seconds=35)
"""How long one round takes on more starts; what is left stays queued for the next, a minute after the last."""

WAKING = timedelta(seconds=15)
"""How long one round asks again what waits; the rest is asked in the next."""

RECHECK = timedelta(hours=4)
"""When a stopped node is looked at again, if its scan has not said before that it runs."""

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
        queued = ports.ledger.work([State.QUEUED])
        in_time = each(ports, queued, lambda case: _in_time(ports, case, begun, policies.digest), degraded)
        waiting = [case for case in in_time if case.state is State.QUEUED]
        leaving = groups(waiting, now=begun, linger=settings.linger)
        room = Room.of(ports.ledger.work(ACTIVE), ports.ledger.open_batches(), ports.ledger.batches_since(begun - HOUR),
                       settings.executions_per_location)  # fmt: skip
        admitted, held = admit(leaving, room, begun)
        for one in held:
            _hold(ports, one)
        pace = Pace(begun)
        made = each(ports, _in_turn(admitted), lambda one: _launch(ports, one, room, pace), degraded)
        started = [batch for batches in made for batch in batches if batch.execution]
        members = sum(len(batch.members) for batch in started)
        return Round(woken, members, len(started), len(held), degraded=_names(degraded))


@dataclass(slots=True)
class Pace:
    """When each place may be started in again, and when the round takes on nothing more."""

    begun: datetime
    free: dict[Location, datetime] = field(default_factory=dict)

    def spent(self, now: datetime) -> bool:
        return now - self.begun >= PATIENCE

    def wait(self, clock: Clock, location: Location) -> None:
        """Let the second pass that this place's last start still takes."""
        wait = (self.free.get(location, self.begun) - clock.now()).total_seconds()
        if wait > 0:
            clock.sleep(wait)
        self.free[location] = clock.now() + PACE


def _launch(ports: Ports, admitted: Admitted, room: Room, pace: Pace) -> list[Batch]:
    """Read again, write the intents and start, one place after the other; what no time is left for stays queued."""
    if pace.spent(ports.clock.now()):
        return []
    launched = []
    for batch in prepare(ports, admitted, room):
        pace.wait(ports.clock, batch.location)
        launched.append(start(ports, batch))
    return launched


def wake(ports: Ports, now: datetime, degraded: list[str]) -> int:
    """Ask again for everything whose next moment has come; how many were asked."""
    due = ports.ledger.work([State.WAITING, State.EXEMPT], before=now)
    return len(each(ports, due, lambda case: again(ports, case), degraded, until=now + WAKING))


def each(
    ports: Ports, items: Iterable[Placed], one: Callable[[Placed], Result], degraded: list[str],
    until: datetime | None = None,
) -> list[Result]:  # fmt: skip
    """What `one` made of each. A place that is busy or refuses is named once and left for later; the others go on.

    What is not reached before `until` is left for later too.
    """
    made: list[Result] = []
    for item in items:
        if str(item.location) in degraded:
            continue
        if until and ports.clock.now() >= until:
            break
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
    if pause is None or not pause.in_force(now):
        return None
    return f"paused by {pause.by}: {pause.reason}"


def _in_time(ports: Ports, case: Remediation, now: datetime, digest: str) -> Remediation:
    """A queued case is decided again if its window closed, a freeze began, or the policies or we have changed."""
    stands = case.decision.get("set_digest") == digest and Plan.knows(case.plan) and not closed(case, now)
    return case if stands else again(ports, case)


def _hold(ports: Ports, held: Held) -> None:
    """What has a next moment waits for it; what waits for room stays queued and is noted once."""
    case, because = held.case, f"held by {held.guard}: {held.because}"
    try:
        if not _late(ports, case, because):
            if held.until:
                sets = {"due": format_moment(held.until), "held": held.guard}
                record(ports, case, Cause.DEFERRED, held.because, sets=sets)
            elif case.held != held.guard:
                record(ports, case, Cause.NOTED, because, sets={"held": held.guard})
    except Stale:
        return


def _late(ports: Ports, case: Remediation, because: str) -> bool:
    """Whether the deadline of what cannot start has passed; then it is a person's turn, never silence."""
    late = overdue(case, ports.clock.now())
    if late:
        decision = {**case.decision, "action": "ticket"}
        record(
            ports, case, Cause.TICKETED, f"{late}: {because}", sets={"decision": decision, "due": None, "held": None}
        )
    return late is not None


def prepare(ports: Ports, admitted: Admitted, room: Room) -> list[Batch]:
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
    batches = [_intend(ports, admitted, PATCH_STOPPED_NODE, [case]) for case in _fitting(ports, stopped, room, running)]
    if running:
        batches.append(_intend(ports, admitted, admitted.plan.document or PATCH_NODES, running))
    return [batch for batch in batches if batch]


def _fitting(
    ports: Ports, stopped: Sequence[Remediation], room: Room, running: Sequence[Remediation]
) -> list[Remediation]:
    """As many stopped nodes as there is room for, since each takes an execution of its own; the rest is held."""
    fitting: list[Remediation] = []
    for case in stopped:
        # the group that they came in was admitted as one execution
        if running or fitting:
            full = room.full(case)
            if full:
                _hold(ports, full)
                continue
            room.running[case.location] += 1
        fitting.append(case)
    return fitting


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
    if _late(ports, case, because):
        return
    due = format_moment(ports.clock.now() + span)
    record(ports, case, Cause.DEFERRED, because, sets={"due": due, "held": held})


def fail(
    ports: Ports, case: Remediation, because: str, evidence: Mapping[str, object] | None = None,
    ended: datetime | None = None,
) -> Remediation:  # fmt: skip
    """A failed attempt: the cool-down doubles, and the last one goes straight to the next decision.

    `ended` is the end of its execution, if there was one: what was scanned before it proves nothing any more.
    """
    attempts = case.attempts + 1
    first = timedelta(seconds=float(case.decision.get("cooldown") or 1800))
    cools = format_moment(ports.clock.now() + cool_down(attempts, first))
    sets = {"attempts": attempts, "cools_until": cools, "due": cools, "last_outcome": because, "held": None}
    if ended:
        sets["attempted_at"] = format_moment(ended)
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


def _in_turn(admitted: Sequence[Admitted]) -> list[Admitted]:
    """The first of every place, then the second of every place: one place's second is another's time."""
    seen: Counter[Location] = Counter()
    ranked = []
    for one in admitted:
        seen[one.location] += 1
        ranked.append((seen[one.location], str(one.location), one))
    return [one for _, _, one in sorted(ranked, key=lambda item: item[:2])]


def start(ports: Ports, batch: Batch) -> Batch:
    """Start the batch's execution and write that it runs; an answer that was lost is the sweep's to find."""
    with ports.tracing.verb("start") as annotate:
        first = batch.members[0]
        annotate(account=batch.location.account, region=batch.location.region, node=first.node, policy=first.policy,
                 remediation=first.remediation, action=batch.document)  # fmt: skip
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
    try:
        ports.ledger.save_batch(withdrawn, expected=batch.state.value)
    except Stale:
        return ports.ledger.batch(batch.id) or batch
    for case in members(ports, batch):
        quietly(ports, case, Cause.TICKETED, f"the start was refused: {why}", {"batch": None, "due": None})
    return withdrawn
