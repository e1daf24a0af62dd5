"""Launch: start the execution of a batch and say so, or withdraw it; and what a failed attempt is followed by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from chalicelib import emergency, isolate
from chalicelib.core.decided import closed
from chalicelib.core.emergencies import HALTED
from chalicelib.core.errors import Barred, Denied, PolicyError, Stale, Temporary
from chalicelib.core.guards import cool_down
from chalicelib.core.moments import format_moment
from chalicelib.core.plans import OVERRIDE, Batch, BatchState
from chalicelib.core.remediations import Cause, Remediation, State
from chalicelib.crew import all_of
from chalicelib.intake import again, in_force
from chalicelib.pause import HELD, read
from chalicelib.ports import Ports
from chalicelib.record import quietly, record

CLOSED = "closed"
"""What `held` says of a case whose window ended right before its start, or which another set no longer lets in."""


def fail(
    ports: Ports, case: Remediation, because: str, evidence: Mapping[str, object] | None = None,
    ended: datetime | None = None, reached: bool = True,
) -> Remediation:  # fmt: skip
    """A failed attempt: the cool-down doubles, and the last one goes straight to the next decision.

    `ended` is the end of its execution, if there was one: what was scanned before it proves nothing any more, unless it
    never `reached` the node.
    """
    attempts = case.attempts + 1
    first = timedelta(seconds=float(case.decision.get("cooldown") or 1800))
    cools = format_moment(ports.clock.now() + cool_down(attempts, first))
    end: dict[str, object] = {}
    if ended:
        end = {"attempted_at": format_moment(ended)} if reached else {"unreached": case.unreached + 1}
    sets = {"attempts": attempts, "cools_until": cools, "due": cools, "last_outcome": because, "held": None, **end}
    head = record(ports, case, Cause.FAILED, because, sets=sets, evidence=evidence)
    return again(ports, head) if attempts >= int(case.decision.get("attempts") or 1) else head


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
