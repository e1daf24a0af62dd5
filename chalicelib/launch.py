"""Launch: read the members of a batch again, write each intent before its act, start the execution and say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import emergency, isolate
from chalicelib.core.baselines import Verdict
from chalicelib.core.decided import closed, overdue
from chalicelib.core.emergencies import HALTED
from chalicelib.core.errors import Barred, Denied, PolicyError, Stale, Temporary
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.findings import Control
from chalicelib.core.guards import Admitted, Held, Room, cool_down
from chalicelib.core.journal import Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.occurrences import Book, Run, may_install, may_reach
from chalicelib.core.outcomes import proves
from chalicelib.core.plans import (
    OVERRIDE,
    PATCH_NODES,
    PATCH_STOPPED_NODE,
    Batch,
    BatchState,
    Member,
    Plan,
    batch_id,
    parameters,
)
from chalicelib.core.remediations import Cause, Remediation, State
from chalicelib.core.schedules import Operation
from chalicelib.crew import all_of
from chalicelib.intake import again, in_force
from chalicelib.measure import verdicts
from chalicelib.pause import HELD, read
from chalicelib.ports import Ports
from chalicelib.record import quietly, record

RECHECK = timedelta(hours=4)
"""When a stopped node is looked at again, if its scan has not said before that it runs."""

UNMEASURED = timedelta(hours=1)
"""When a node is looked at again of which nobody can say whose baseline it was scanned with."""

SETTLES = timedelta(minutes=5)
"""When a node that was stopping or starting is looked at again."""

SCHEDULED = timedelta(minutes=30)
"""When a node is looked at again that a schedule's installation under way may come to."""

BUSY = "busy"
"""What `held` says of a case whose node somebody else patches."""

CLOSED = "closed"
"""What `held` says of a case whose window ended right before its start, or which another set no longer lets in."""


def untold(ports: Ports, every: Iterable[Held]) -> list[Held]:
    """Those of whom there is a line to write: what waits for room was told of when it began to, and is queued on."""
    now = ports.clock.now()
    return [
        one for one in every
        if one.until or one.case.held != one.guard or (not one.told and overdue(one.case, now))
    ]  # fmt: skip


def hold(ports: Ports, held: Held) -> None:
    """What has a next moment waits for it; what waits for room stays queued and is noted once."""
    case, because = held.case, f"held by {held.guard}: {held.because}"
    try:
        if held.told or not _late(ports, case, because):
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
    checked = _other_baselines(ports, admitted, nodes, scans)
    busy = _busy(ports, admitted, nodes)

    def leaves(case: Remediation) -> bool:
        node, scan = nodes.get(case.node.id), scans.get(case.node.id)
        strange = checked.get(case.node.id) if case.control is Control.PATCH else None
        try:
            if strange and _measured_otherwise(ports, case, node, strange):
                return True
            return _leaves(ports, case, admitted.plan, node, scan, busy.get(case.id))
        except Stale:
            return True

    left = all_of(ports, admitted.cases, leaves)
    staying = [case for case, leaving in zip(admitted.cases, left, strict=True) if not leaving]
    stopped = [case for case in staying if (node := nodes.get(case.node.id)) and node.stopped]
    running = [case for case in staying if case not in stopped]
    batches = [_intend(ports, admitted, PATCH_STOPPED_NODE, [case]) for case in _fitting(ports, stopped, room, running)]
    if running:
        batches.append(_intend(ports, admitted, admitted.plan.document or PATCH_NODES, running))
    return [batch for batch in batches if batch]


def _busy(ports: Ports, admitted: Admitted, nodes: Mapping[str, NodeState]) -> dict[str, tuple[str, timedelta]]:
    """The cases whose node somebody else patches now, or one of our schedules may: why, and when to look again.

    Two installations would wait for one lock of the package manager, and reboot under each other. A command is seen
    whoever sent it. A schedule's run comes to its nodes one after the other, so a node counts before it has a command;
    but an emergency does not wait for that.
    """
    found: dict[str, tuple[str, timedelta]] = {}
    runs = _installing(ports)
    for case in admitted.cases:
        node = nodes.get(case.node.id)
        platform, tags = (node.platform, node.tags) if node else (None, None)
        run = next((id for id, run in runs if run is None or may_reach(run, case.location, platform, tags)), None)
        if run and case.control is not Control.EMERGENCY:
            found[case.id] = f"{run} installs there: asked again when it may be over", SCHEDULED
    commands = ports.automations.patching(admitted.location, [case.node.id for case in admitted.cases])
    for case in admitted.cases:
        if case.node.id in commands:
            because = f"command {commands[case.node.id]} patches the node already: asked again when it may have ended"
            found[case.id] = because, SETTLES
    return found


def _installing(ports: Ports) -> list[tuple[str, Run | None]]:
    """The runs of our schedules that install and are under way; None: it cannot be read, and may be anywhere."""
    found: list[tuple[str, Run | None]] = []
    for newest in ports.ledger.subjects(Kind.SCHEDULE):
        try:
            run = Book.read(newest.name, newest.value).busy
        except Denied:
            if may_install(newest.value):
                found.append((f"schedule {newest.name}, whose journal cannot be read,", None))
            continue
        if run and run.operation is Operation.INSTALL:
            found.append((f"schedule {newest.name}", run))
    return found


def _other_baselines(
    ports: Ports, admitted: Admitted, nodes: Mapping[str, NodeState], scans: Mapping[str, PatchState]
) -> dict[str, Verdict]:
    """The nodes that may not start because their last scan used another baseline, or nobody can say which one.

    Only where `_set.yaml` says `baselines: enforce`; with `warn` each is said in a notice, and starts.
    """
    policies = in_force(ports)
    mode = "enforce" if isinstance(policies, PolicyError) else policies.settings.baselines
    if mode == "off":
        return {}
    found = verdicts(ports, admitted.location, nodes, scans)
    odd = {id: one for id, one in found.items() if one.ours is not True}
    if mode == "enforce":
        return odd
    for id, one in odd.items():
        ports.notices.say("other_baseline", node=f"{admitted.location}/{id}", because=one.because)
    return {}


def _measured_otherwise(ports: Ports, case: Remediation, node: NodeState | None, found: Verdict) -> bool:
    """Whether the case leaves the batch because what it lacks was not measured by our baselines.

    Another baseline is a person's turn at once; where nobody can say, it waits, up to its deadline.
    """
    if node is not None and node.gone:
        return False
    if found.ours is None:
        _wait_for(ports, case, "baseline", f"the baseline is not known to be ours: {found.because}", UNMEASURED)
        return True
    because = (
        f"another baseline than ours: {found.because}; have it scanned with ours, see `patchwarden baseline drift`"
    )
    decision = {**case.decision, "action": "ticket"}
    record(ports, case, Cause.TICKETED, because, sets={"decision": decision, "due": None, "held": None})
    return True


def _fitting(
    ports: Ports, stopped: Sequence[Remediation], room: Room, running: Sequence[Remediation]
) -> list[Remediation]:
    """As many stopped nodes as there is room for, since each takes an execution of its own; the rest is held."""
    # the group that they came in was admitted as one execution
    first, more = ([], stopped) if running else (stopped[:1], stopped[1:])
    full = ports.crew.alone(lambda: [_taken(room, case) for case in more])
    all_of(ports, [one for one in full if one], lambda one: hold(ports, one))
    return [*first, *(case for case, held in zip(more, full, strict=True) if not held)]


def _taken(room: Room, case: Remediation) -> Held | None:
    """Take the room for one more execution, or say that there is none."""
    held = room.full(case)
    if held is None:
        room.running[case.location] += 1
    return held


def _leaves(
    ports: Ports, case: Remediation, plan: Plan, node: NodeState | None, scan: PatchState | None,
    busy: tuple[str, timedelta] | None = None,
) -> bool:  # fmt: skip
    """Whether the case leaves the batch, with its own line, because of what its account says now."""
    if node is not None and node.gone:
        record(ports, case, Cause.GONE, f"read again before the start: the node is {node.state}", sets={"due": None})
        return True
    if scan and proves(scan, case):
        at = format_moment(scan.ended_at)
        record(ports, case, Cause.RESOLVED, f"read again before the start: the scan of {at} counts nothing missing",
               sets={"due": None, "held": None, "observed_at": at})  # fmt: skip
        return True
    already = emergency.has_already(ports, case, scan)
    if scan and already:
        at = format_moment(scan.ended_at)
        record(ports, case, Cause.RESOLVED, f"read again before the start: by the scan of {at} {already}",
               sets={"due": None, "held": None, "observed_at": at})  # fmt: skip
        return True
    if busy:
        _wait_for(ports, case, BUSY, *busy)
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

    def intend(case: Remediation) -> Member | None:
        policy = str(case.decision.get("policy"))
        try:
            head = record(ports, case, Cause.INTENDED, f"{policy}: {document} is about to start",
                          sets={"batch": identity, "execution": None, "due": None, "held": None},
                          evidence={"document": document}, take=admitted.leases[case.id])  # fmt: skip
        except Stale:
            return None
        return Member(head.id, head.node.id, head.number, policy)

    members = [member for member in all_of(ports, cases, intend) if member]
    if not members:
        return None
    nodes = [member.node for member in members]
    override = emergency.address(ports, admitted.plan.to_json())
    given = parameters(admitted.plan, identity, nodes, document=document, override=override)
    now = ports.clock.now()
    batch = Batch(identity, admitted.location, document, admitted.plan.version, given, tuple(members), now)
    try:
        ports.ledger.save_batch(batch, expected=None)
    except Stale:
        return None
    return batch


def start(ports: Ports, batch: Batch) -> Batch:
    """Start the batch's execution and write that it runs; an answer that was lost is the sweep's to find.

    What may have changed since this round began is read once more: the pauses, windows and freezes, the policy set.
    """
    paused = read(ports).on(batch)
    if paused:
        return withdraw(ports, batch, paused, held=HELD)
    kept_back = _other_list(ports, batch) or _no_longer(ports, batch)
    if kept_back:
        return kept_back
    with ports.tracing.verb("start") as annotate:
        first = batch.members[0]
        annotate(account=batch.location.account, region=batch.location.region, node=first.node, policy=first.policy,
                 remediation=first.remediation, action=batch.document)  # fmt: skip
        try:
            execution = ports.automations.start(batch)
        except Temporary as error:
            ports.notices.say("start_unanswered", batch=batch.id, location=str(batch.location), because=str(error))
            return batch
        except Barred as error:
            isolate.refuse(ports, batch.location, str(error), starting=True)
            return withdraw(ports, batch, str(error), held=isolate.HELD)
        except Denied as error:
            return _refused(ports, batch, str(error))
        return started(ports, batch, execution, "started")


def _no_longer(ports: Ports, batch: Batch) -> Batch | None:
    """The batch as it was withdrawn because one of its members may not start any more; None: it may start.

    Its turn in the pace and slow answers take time, in which a window ends, a freeze begins or a set is published.
    One execution serves all of them, so none starts; who may not is decided again, and the others leave anew.
    """
    policies, now = in_force(ports), ports.clock.now()
    if isinstance(policies, PolicyError):
        return withdraw(ports, batch, f"no policy set loads: {policies}", held=CLOSED)
    cases = members(ports, batch)
    because = {case.id: told for case in cases if (told := _not_now(ports, case, policies.digest, now))}
    if not because and len(cases) == len(batch.members):
        return None
    why = next(iter(because.values()), "one of its nodes has left it")
    withdrawn = withdraw(ports, batch, why, held=CLOSED)
    heads = ports.ledger.heads(list(because))
    all_of(ports, [case for case in heads.values() if case.state is State.QUEUED], lambda case: again(ports, case))
    return withdrawn


def _not_now(ports: Ports, case: Remediation, digest: str, now: datetime) -> str | None:
    """Why the case, which was let in when its intent was written, may not start at this moment; None: it may."""
    if case.decision.get("set_digest") != digest:
        return "another policy set is in force since"
    if closed(case, now):
        return f"its window or the time before a freeze ended at {case.decision['closes']}"
    return emergency.over(ports, case)


def _other_list(ports: Ports, batch: Batch) -> Batch | None:
    """The batch as it was withdrawn because its override list is not the recorded one; None: it may start.

    One that was changed halts the emergency and is one person's turn; one that cannot be read is held.
    """
    plans = [case.plan for case in members(ports, batch)] if OVERRIDE in batch.parameters else []
    for plan in plans:
        try:
            changed = emergency.tampered(ports, plan)
        except (Temporary, Denied) as error:
            return withdraw(ports, batch, f"the override list cannot be read: {error}", held=emergency.HELD)
        if changed:
            return _halted(ports, batch, changed)
    return None


def _halted(ports: Ports, batch: Batch, changed: str) -> Batch:
    first = members(ports, batch)[0]
    ended = emergency.end(ports, str(first.emergency), HALTED, by="patchwarden", because=changed)
    if ended:
        sets = {"batch": None, "due": None, "decision": {**first.decision, "action": "ticket", "severity": 1}}
        quietly(ports, first, Cause.TICKETED, f"{first.emergency} is halted, nothing of it starts: {changed}", sets)
    return withdraw(ports, batch, changed, held=emergency.HELD)


def started(ports: Ports, batch: Batch, execution: str, how: str) -> Batch:
    """Write the execution's id to the batch and to each of its members."""
    now = ports.clock.now()
    running = replace(batch, state=BatchState.STARTED, execution=execution, started_at=batch.started_at or now)
    try:
        ports.ledger.save_batch(running, expected=batch.state.value)
    except Stale:
        running = ports.ledger.batch(batch.id) or running
    starting = [case for case in members(ports, batch) if case.state is State.STARTING]
    because, sets = f"execution {execution} {how}", {"execution": execution}
    all_of(ports, starting, lambda case: quietly(ports, case, Cause.STARTED, because, sets))
    ports.notices.say("execution", batch=batch.id, execution=execution, location=str(batch.location),
                      document=batch.document, nodes=len(batch.members), because=how)  # fmt: skip
    return running


def members(ports: Ports, batch: Batch) -> list[Remediation]:
    """The members that this batch still works on."""
    heads = ports.ledger.heads([member.remediation for member in batch.members])
    return [case for case in heads.values() if case.batch == batch.id and case.active]


def withdraw(ports: Ports, batch: Batch, why: str, *, held: str) -> Batch:
    """Nothing has started and nothing of this batch will; its members are queued anew, held by this guard."""
    withdrawn = replace(batch, state=BatchState.WITHDRAWN)
    try:
        ports.ledger.save_batch(withdrawn, expected=batch.state.value)
    except Stale:
        return ports.ledger.batch(batch.id) or batch
    now = format_moment(ports.clock.now())
    for case in members(ports, batch):
        quietly(ports, case, Cause.WITHDRAWN, f"held by {held}: {why}", {"batch": None, "due": now, "held": held})
    return withdrawn


def _refused(ports: Ports, batch: Batch, why: str) -> Batch:
    """The account refuses for good: nothing runs, and each member is a person's turn."""
    withdrawn = replace(batch, state=BatchState.WITHDRAWN)
    try:
        ports.ledger.save_batch(withdrawn, expected=batch.state.value)
    except Stale:
        return ports.ledger.batch(batch.id) or batch
    because, sets = f"the start was refused: {why}", {"batch": None, "due": None}
    all_of(ports, members(ports, batch), lambda case: quietly(ports, case, Cause.TICKETED, because, sets))
    return withdrawn
