"""Follow: what became of an execution, node by node, and what the scan after it proves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from chalicelib import budget, emergency, ticket
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.events import ExecutionUpdate, parse
from chalicelib.core.facts import PatchState, kept, patch_block
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.outcomes import Verdicts, newer, of_run, of_scan, reached
from chalicelib.core.plans import INSTALLS, Batch, BatchState, snapshot_id
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause, Remediation, State
from chalicelib.crew import all_of
from chalicelib.intake import TRIES, Receipt, in_force
from chalicelib.launch import fail, members, started
from chalicelib.pause import HELD
from chalicelib.ports import Execution, Invocation, Ports
from chalicelib.record import record

UNKNOWN_FOR = timedelta(hours=6)
"""How long an execution may stay in a status that we do not know before its nodes count as failed."""


def follow(ports: Ports, event: object) -> Receipt:
    """Take one automation status event. The event only says where to look: outcomes are read from SSM.

    The tickets that follow from it come last, so that a ticket system which hangs holds up no outcome.
    """
    with ports.tracing.verb("follow") as annotate, ticket.last(ports) as ports:
        update = parse(event)
        if not isinstance(update, ExecutionUpdate):
            return _ignored(ports, "not the status of an automation execution")
        batch = batch_of(ports, update.location, update.execution)
        if batch is None:
            return _ignored(ports, f"execution {update.execution} in {update.location} is not ours")
        annotate(account=batch.location.account, region=batch.location.region, action=update.status)
        if update.ended is not True:
            return _ignored(ports, f"execution {update.execution} is {update.status}: not ended")
        count = settle(ports, batch)
        return Receipt("decided", f"batch {batch.id} has the outcome of {counted(count, 'node')}")


def batch_of(ports: Ports, location: Location, execution: str) -> Batch | None:
    """The batch an execution serves; one whose start was never written down is adopted by its BatchId."""
    policies = in_force(ports)
    if isinstance(policies, PolicyError):
        return ports.ledger.batch_of(location, execution)
    if location not in policies.settings.locations:
        return None
    batch = ports.ledger.batch_of(location, execution)
    if batch:
        return batch
    seen = ports.automations.execution(location, execution)
    batch = ports.ledger.batch(seen.batch) if seen and seen.batch else None
    if batch is None or batch.location != location or batch.state is not BatchState.INTENDED:
        return None
    if seen is None or seen.document not in (None, batch.document):
        return None
    return started(ports, batch, execution, "adopted")


def settle(ports: Ports, batch: Batch) -> int:
    """Give every member its outcome if the execution has ended; how many got one."""
    execution = ports.automations.execution(batch.location, str(batch.execution))
    if execution is not None and execution.ended is None:
        ports.notices.say("unknown_status", batch=batch.id, execution=execution.id, status=execution.status)
        if ports.clock.now() - (batch.started_at or batch.created_at) < UNKNOWN_FOR:
            return 0
        execution = replace(execution, ended=True, failure=f"its status {execution.status!r} is unknown to us")
    if execution is not None and not execution.ended:
        return 0
    count = _settle_all(ports, batch, execution)
    try:
        ports.ledger.save_batch(replace(batch, state=BatchState.FINISHED), expected=batch.state.value)
    except Stale:
        return 0
    return count


def _settle_all(ports: Ports, batch: Batch, execution: Execution | None) -> int:
    """A finished batch is not looked at again, so nobody may be left running: a note in between is read and passed.

    One member that cannot be written keeps the batch open, and none of the others from its outcome.
    """
    count = 0
    for _ in range(TRIES):
        working = [case for case in members(ports, batch) if case.state is not State.VERIFYING]
        if not working:
            return count
        count = count or len(working)
        seen = _evidence(ports, batch, execution, working)
        budget.ended(ports, batch, working)
        look = partial(_outcome, ports, batch, execution, *seen)
        ended = [one for one in all_of(ports, working, look) if one.case.state is State.RUNNING]
        # one after the other: they are charged to the same few accounts
        for one in ended:
            _charge(ports, one.case, one.verdicts)
        at = (execution.ended_at if execution else None) or ports.clock.now()
        all_of(ports, ended, partial(_settle_one, ports, at))
    raise Temporary(f"batch {batch.id} has members that are written to by others all the time: come again")


def verify(ports: Ports, location: Location, cases: list[Remediation], within: timedelta) -> int:
    """Look for the scan that cases of one location wait for; how many got their answer."""
    scans = ports.inventory.patch_states(location, [case.node.id for case in cases])
    answered = 0
    for case in cases:
        assert case.since is not None, f"{case.id} is verifying since never"
        if case.control is Control.ASSOCIATION:
            answered += _verify_association(ports, case, within)
            continue
        since = case.attempted_at or case.since
        scan = newer(scans.get(case.node.id), snapshot=snapshot_id(str(case.batch)), since=since)
        if scan is None and ports.clock.now() - case.since < within:
            continue
        named, _ = emergency.proof(ports, case, scan)
        late = (Cause.FAILED, f"no scan newer than the execution came within {within}: not proven, so not fixed")
        proof = named or of_scan(scan) if scan else late
        _charge(ports, case, (proof,))
        _write(ports, case, (proof,), scan)
        answered += 1
    return answered


def _verify_association(ports: Ports, case: Remediation, within: timedelta) -> int:
    """A scan says nothing about an association: what Systems Manager says of it after its execution began does."""
    began = max(line.at for line in ports.ledger.trail(case.id) if line.cause is Cause.INTENDED)
    try:
        state = ports.inventory.associations(case.node)
    except Denied as error:
        ports.notices.say("associations_unread", node=str(case.node), because=str(error))
        state = None
    if state and not state.noncompliant and state.ran_at >= began:
        proof = (Cause.RESOLVED, f"its associations are compliant, the last one ran at {format_moment(state.ran_at)}")
    elif case.since and ports.clock.now() - case.since >= within:
        proof = (Cause.FAILED, f"nobody said within {within} that its associations are compliant: not proven")
    else:
        return 0
    _charge(ports, case, (proof,))
    _write(ports, case, (proof,), None)
    return 1


def _evidence(
    ports: Ports, batch: Batch, execution: Execution | None, working: list[Remediation]
) -> tuple[dict[str, Invocation] | None, dict[str, PatchState]]:
    """The run command's word per node (None: the document has no such step) and the last scans."""
    sent = execution.commands if execution else {}
    command = next((sent[step] for step in INSTALLS if step in sent), None)
    installs = ports.automations.invocations(batch.location, command) if command else None
    scans = ports.inventory.patch_states(batch.location, [case.node.id for case in working])
    return installs, scans


def _running(ports: Ports, case: Remediation, batch: Batch) -> Remediation:
    """An outcome may arrive before the line that says it runs."""
    if case.state is not State.STARTING:
        return case
    try:
        return record(ports, case, Cause.STARTED, f"execution {batch.execution} found ended",
                      sets={"execution": batch.execution})  # fmt: skip
    except Stale:
        return ports.ledger.head(case.id) or case


@dataclass(frozen=True, slots=True)
class _Outcome:
    case: Remediation
    verdicts: Verdicts
    scan: PatchState | None
    reached: bool


def _outcome(
    ports: Ports, batch: Batch, execution: Execution | None, installs: Mapping[str, Invocation] | None,
    scans: Mapping[str, PatchState], member: Remediation,
) -> _Outcome:  # fmt: skip
    """What the execution came to for one of its members, with nothing written of it yet."""
    case = _running(ports, member, batch)
    said = installs.get(case.node.id) if installs else None
    scan = scans.get(case.node.id) if case.control is not Control.ASSOCIATION else None
    if scan and scan.snapshot == batch.snapshot and scan.noncompliant:
        scan = _named(ports, case, scan)
    ours = scan if scan and scan.snapshot == batch.snapshot and scan.operation == "Scan" else None
    named, has = emergency.proof(ports, case, ours)
    verdicts = of_run(
        install=(said.status, said.detail) if said else None,
        installs=installs is not None or batch.document.startswith("Patchwarden-"),
        succeeded=execution is not None and execution.status in ("Success", "CompletedWithSuccess"),
        failure=execution.failure if execution else "Systems Manager does not know the execution",
        scan=scan,
        snapshot=batch.snapshot,
        stopped=case.held == HELD,
        named=named,
        has=has,
    )
    return _Outcome(case, verdicts, scan, reached(said.status if said else None))


def _settle_one(ports: Ports, ended: datetime, one: _Outcome) -> None:
    _write(ports, one.case, one.verdicts, one.scan, ended, one.reached)


def _charge(ports: Ports, case: Remediation, verdicts: Verdicts) -> None:
    """A failure is charged to its error budgets before its line."""
    if any(cause is Cause.FAILED for cause, _ in verdicts):
        budget.charge(ports, case)


def _named(ports: Ports, case: Remediation, scan: PatchState) -> PatchState:
    """The scan with the names of what is missing; they are for reading, and an outcome does not wait for them."""
    try:
        return ports.inventory.patches(case.node, scan)
    except (Temporary, Denied):
        return scan


def _write(
    ports: Ports, case: Remediation, verdicts: Verdicts, scan: PatchState | None, ended: datetime | None = None,
    reached: bool = True,
) -> None:  # fmt: skip
    """One line per cause; after somebody else's line in between, the caller or the next sweep reads again.

    `ended` is the execution's end: what was scanned before it proves nothing any more, unless it never `reached` the
    node.
    """
    proof = {"scan": kept(patch_block(scan))} if scan else {}
    try:
        for cause, because in verdicts:
            if cause is Cause.FAILED:
                fail(ports, case, because, proof, ended, reached)
                return
            told = scan if cause in _PROVEN else None
            case = record(ports, case, cause, because, sets=_news(ports, cause, because, told, ended),
                          evidence=proof if told else {})  # fmt: skip
    except Stale:
        return


_PROVEN = (Cause.RESOLVED, Cause.REBOOT_NEEDED)


def _news(
    ports: Ports, cause: Cause, because: str, scan: PatchState | None, ended: datetime | None
) -> dict[str, object]:
    """The fields that an outcome sets; what a scan proved is known up to its end."""
    if cause is Cause.WITHDRAWN:
        return {"due": format_moment(ports.clock.now()), "batch": None, "execution": None}
    known = {"observed_at": format_moment(scan.ended_at), "cools_until": None} if scan else {}
    attempted = {"attempted_at": format_moment(ended)} if ended else {}
    return {"due": None, "last_outcome": because, **known, **attempted}


def _ignored(ports: Ports, reason: str) -> Receipt:
    ports.notices.say("rejected", reason=reason, kind="not-ours")
    return Receipt("ignored", reason)
