"""Sweep: find what events missed and finish what a crash left half done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial

from chalicelib import budget, emergency, guard, isolate, pause, seek, surge, ticket, wave
from chalicelib.core.decided import lateness, overdue
from chalicelib.core.errors import PolicyError, Stale, Temporary
from chalicelib.core.exemptions import reminders
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import ACTIVE, Cause, Remediation, State
from chalicelib.crew import MOST, Group, all_of, by_place, each
from chalicelib.fleet import survey
from chalicelib.follow import settle, verify
from chalicelib.intake import in_force
from chalicelib.launch import members, started
from chalicelib.ports import SWEPT, Ports
from chalicelib.record import quietly

ORPHANED = timedelta(seconds=60)
"""An intent this old has lost the invocation that wrote it."""

ABANDONED = timedelta(minutes=25)
"""An intent this old, which no execution carries, never started and never will: two clocks may each be ten minutes
wrong, and a start leaves within a minute of its intent."""

SILENT = timedelta(minutes=45)
"""An execution is asked about only when it has been silent for this long: events tell the rest."""

TICKETS_WITHIN = timedelta(minutes=2)
"""How long one sweep takes on more calls of the ticket system; what is left is owed, and the next one's."""

VERIFY_WITHIN = timedelta(hours=2)
"""How long a scan may take to arrive while no policy set says so."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did. `missed`: findings that no event had brought; `drift`: those that contradict our state.

    `stale`: nodes that do not report; `degraded`: places that did not answer; `late`: places that are read to their
    end by the next pass; `whole`: whether every place was read.
    """

    missed: int = 0
    drift: int = 0
    stale: int = 0
    places: int = 0
    late: tuple[str, ...] = ()
    whole: bool = False
    resumed: int = 0
    settled: int = 0
    verified: int = 0
    errands: int = 0
    degraded: tuple[str, ...] = ()


def sweep(ports: Ports) -> Swept:
    """One pass over the ledger's loose ends and the compliance of the whole fleet; safe to run twice.

    Without a policy set, which says what the fleet is, it follows only what has begun.
    """
    with ports.tracing.verb("sweep"), ticket.last(ports, TICKETS_WITHIN) as ports:
        aside = isolate.degraded(ports.ledger)
        begun, policies = ports.clock.now(), in_force(ports)
        degraded = [one.account for one in aside.values() if one.probe > begun]
        settings = None if isinstance(policies, PolicyError) else policies.settings
        share = partial(each, ports, degraded=degraded, aside=aside)
        resumed = sum(share(ports.ledger.open_batches(), partial(_resume, ports)))
        _strays(ports)
        settled = sum(share(ports.ledger.open_batches(), partial(_settle_silent, ports)))
        within = settings.verify_within if settings else VERIFY_WITHIN
        verified = sum(share(_verifying(ports), lambda at: verify(ports, at.location, list(at.cases), within)))
        errands = ticket.settle(ports, ports.ledger.errands(ports.clock.now()))
        share(_unfinished(ports), partial(_visit, ports))
        _emergencies(ports, settings.locations if settings else (), degraded, aside)
        found = None
        if isinstance(policies, PolicySet):
            _remind(ports, policies)
            found = survey(ports, policies, begun, degraded, aside)
        isolate.settle_tickets(ports, settings.locations if settings else ())
        if isinstance(policies, PolicySet):
            _guards(ports, policies)
        _say_lag(ports)
        _remember(ports)
        swept = Swept(resumed=resumed, settled=settled, verified=verified, errands=errands,
                      degraded=tuple(sorted(set(degraded))))  # fmt: skip
        if found:
            swept = replace(swept, missed=found.missed, drift=found.drift, stale=found.stale, places=found.places,
                            late=tuple(sorted(found.late)), whole=found.ended is not None)  # fmt: skip
        ports.notices.say("swept", **{**asdict(swept), "degraded": list(swept.degraded), "late": list(swept.late)})
        return swept


def _remember(ports: Ports) -> None:
    """People are told how old what they see may be; a sweep that another one overtook has nothing to add."""
    try:
        kept = ports.ledger.kept(SWEPT)
        ports.ledger.keep(SWEPT, {"at": format_moment(ports.clock.now())}, expected=kept.version if kept else 0)
    except (Stale, Temporary):
        return


def _emergencies(
    ports: Ports, locations: Sequence[Location], degraded: list[str], aside: Mapping[str, isolate.Degraded]
) -> None:
    """Look for the nodes that lack what an emergency in force names, and close the cases of those that have it.

    Before the pass over the whole fleet, which takes what time is left: whoever waits here is known to be exposed.
    """
    known = emergency.known(ports.ledger)
    if not known:
        return
    now = ports.clock.now()
    wanted = [one for one in known.values() if one.in_force(now)]
    seek.hunt(ports, locations, wanted, degraded, aside, now + seek.BUDGET)
    undecided = [case for case in ports.ledger.work(seek.UNDECIDED) if case.control is Control.EMERGENCY]
    seek.settle(ports, undecided, degraded, aside, ports.clock.now() + seek.BUDGET)


def _resume(ports: Ports, batch: Batch) -> int:
    """Finish an intent whose invocation is gone: adopt its execution, or queue its members anew.

    It is never started from here: another sweep may be withdrawing it at this moment, and its nodes have changed.
    """
    age = ports.clock.now() - batch.created_at
    if batch.state is BatchState.STARTED:
        return _catch_up(ports, batch)
    if age < ORPHANED:
        return 0
    found = ports.automations.find(batch)
    if found:
        started(ports, batch, found, "adopted by its tag")
    elif age >= ABANDONED:
        _withdraw(ports, batch)
    else:
        return 0
    return 1


def _catch_up(ports: Ports, batch: Batch) -> int:
    """Members whose line was never written although the batch runs."""
    behind = [case for case in members(ports, batch) if case.state is State.STARTING]
    for case in behind:
        quietly(ports, case, Cause.STARTED, f"execution {batch.execution} runs", {"execution": batch.execution})
    return len(behind)


def _withdraw(ports: Ports, batch: Batch) -> None:
    """Close the batch first, so that a late invocation finds it closed, then queue its members anew."""
    try:
        ports.ledger.save_batch(replace(batch, state=BatchState.WITHDRAWN), expected=batch.state.value)
    except Stale:
        return
    for case in members(ports, batch):
        _requeue(ports, case, f"batch {batch.id} never started")


def _strays(ports: Ports) -> None:
    """Members whose batch was never written: nothing can have started, and from now on nothing can."""
    all_of(ports, list(ports.ledger.work([State.STARTING])), lambda case: _stray(ports, case))


def _stray(ports: Ports, case: Remediation) -> None:
    assert case.since is not None, f"{case.id} is starting since never"
    batch = ports.ledger.batch(str(case.batch))
    listed = batch is not None and any(member.remediation == case.id for member in batch.members)
    if ports.clock.now() - case.since < ORPHANED or (listed and batch and batch.state is not BatchState.WITHDRAWN):
        return
    if batch is None and not _bury(ports, case):
        return
    _requeue(ports, case, f"batch {case.batch} was never written")


def _bury(ports: Ports, case: Remediation) -> bool:
    """Put a withdrawn batch in the place of the missing one, so that it cannot be written any more."""
    grave = Batch(str(case.batch), case.location, "", None, {}, (), ports.clock.now(), BatchState.WITHDRAWN)
    try:
        ports.ledger.save_batch(grave, expected=None)
    except Stale:
        return False
    return True


def _requeue(ports: Ports, case: Remediation, because: str) -> None:
    if case.state is State.STARTING:
        now = format_moment(ports.clock.now())
        quietly(ports, case, Cause.WITHDRAWN, f"{because}: queued anew", {"batch": None, "due": now})


def _settle_silent(ports: Ports, batch: Batch) -> int:
    silent = batch.state is BatchState.STARTED and batch.started_at is not None
    if not silent or ports.clock.now() - (batch.started_at or batch.created_at) < SILENT:
        return 0
    return settle(ports, batch)


def _verifying(ports: Ports) -> list[Group]:
    return by_place(ports.ledger.work([State.VERIFYING]), MOST)


def _unfinished(ports: Ports) -> list[Group]:
    """The EC2 nodes of every place that have a remediation which nothing works on."""
    return by_place((case for case in ports.ledger.work(_IDLE) if case.node.kind == "ec2"), MOST)


_IDLE = (State.OPEN, State.WAITING, State.TICKETED, State.EXEMPT, State.REBOOT_PENDING)


def _visit(ports: Ports, place: Group) -> int:
    """Close what is gone although no event said so, and hand on what waits for a reboot past its deadline."""
    nodes = ports.inventory.nodes(place.location, [case.node.id for case in place.cases])
    for case in place.cases:
        node, late = nodes.get(case.node.id), overdue(case, ports.clock.now())
        if node is not None and node.gone:
            quietly(ports, case, Cause.GONE, f"the sweep finds the node {node.state}", {"due": None})
        elif late and case.state is State.REBOOT_PENDING:
            sets = {"decision": {**case.decision, "action": "ticket"}, "due": None}
            quietly(ports, case, Cause.TICKETED, f"{late}: it still waits for its reboot", sets)
    return len(place.cases)


def _say_lag(ports: Ports) -> None:
    """Say how long the oldest waits for its proof and how late the latest is that nobody works on, in seconds.

    And how many pauses hold and how many accounts refuse: each is told of once when it begins, and alarms need to hear
    that it lasts.
    """
    now, brake = ports.clock.now(), pause.read(ports)
    cases = list(ports.ledger.work([State.VERIFYING, *_UNOWNED]))
    verifying = (now - (case.since or now) for case in cases if case.state is State.VERIFYING)
    late = (lateness(case, now) for case in cases if case.state is not State.VERIFYING)
    ports.notices.say("lag", verifying=max(verifying, default=timedelta(0)).total_seconds(),
                      past_deadline=max(late, default=timedelta(0)).total_seconds(),
                      paused=len(brake.pauses) + bool(brake.unreadable),
                      refusing=len(isolate.degraded(ports.ledger)))  # fmt: skip


_UNOWNED = (State.OPEN, State.WAITING, State.QUEUED, State.REBOOT_PENDING)
"""States in which neither an execution nor a person nor an exemption answers for the node."""


def _remind(ports: Ports, policies: PolicySet) -> None:
    """Say once that an exemption ends in 30 days, and once that it ends in 7."""
    for reminder in reminders(policies, ports.clock.now()):
        if ports.ledger.mark(reminder.name):
            ports.notices.say("exemption_ends", policy=reminder.policy.id, owner=reminder.policy.owner,
                              ends=reminder.ends, days=reminder.days, because=reminder.because)  # fmt: skip


def _guards(ports: Ports, policies: PolicySet) -> None:
    """Trip what the census shows, let go what a change of policy has ended, and bring every guard's ticket."""
    standing = guard.standing(ports)
    if policies.settings.surge:
        cases = [*ports.ledger.work([State.QUEUED]), *ports.ledger.work(ACTIVE)]
        surge.watch(ports, policies, standing, cases)
    surge.supersede(ports, standing, policies)
    budget.supersede(ports, standing, policies)
    wave.supersede(ports, policies)
    guard.settle(ports, policies.settings.locations)
