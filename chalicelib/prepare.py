"""Prepare: read the members of a batch again, let go who may not start, and write the intent of each who may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from chalicelib import emergency
from chalicelib.core.baselines import Verdict
from chalicelib.core.errors import Denied, PolicyError, Stale
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.findings import Control
from chalicelib.core.guards import Admitted, Held, Room
from chalicelib.core.journal import Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.occurrences import Book, Run, may_install, may_reach
from chalicelib.core.outcomes import proves
from chalicelib.core.plans import PATCH_NODES, PATCH_STOPPED_NODE, Batch, Member, Plan, batch_id, parameters
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.core.schedules import Operation
from chalicelib.crew import all_of
from chalicelib.hold import hold, wait_for
from chalicelib.intake import in_force
from chalicelib.launch import fail
from chalicelib.measure import verdicts
from chalicelib.ports import Ports
from chalicelib.record import record

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
        wait_for(ports, case, "baseline", f"the baseline is not known to be ours: {found.because}", UNMEASURED)
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
        wait_for(ports, case, BUSY, *busy)
        return True
    if node is not None and node.between:
        wait_for(ports, case, node.state, f"the node is {node.state}: asked again when it has settled", SETTLES)
        return True
    if node is not None and node.stopped and plan.stopped == "wait":
        wait_for(ports, case, "stopped", "the node is stopped, and its policy says to wait until it runs", RECHECK)
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
