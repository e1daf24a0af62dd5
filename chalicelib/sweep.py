"""Sweep: find what events missed and finish what a crash left half done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib import budget, emergency, guard, isolate, pause, seek, surge, ticket, wave
from chalicelib.core.decisions import lateness, overdue, unruled
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.exemptions import reminders
from chalicelib.core.findings import Control, Finding
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import ACTIVE, Cause, Remediation, State
from chalicelib.core.surges import Tally
from chalicelib.dispatch import each
from chalicelib.follow import settle, verify
from chalicelib.intake import again, in_force, take
from chalicelib.launch import members, started
from chalicelib.ports import SWEPT, Ports
from chalicelib.record import quietly
from chalicelib.release import release

ORPHANED = timedelta(seconds=60)
"""An intent this old has lost the invocation that wrote it."""

ABANDONED = timedelta(minutes=25)
"""An intent this old, which no execution carries, never started and never will: two clocks may each be ten minutes
wrong, and a start leaves within a minute of its intent."""

SILENT = timedelta(minutes=45)
"""An execution is asked about only when it has been silent for this long: events tell the rest."""

VERIFY_WITHIN = timedelta(hours=2)
"""How long a scan may take to arrive while no policy set says so."""

PAGE = 100


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did. `missed`: findings that no event had brought; `degraded`: places that did not answer."""

    missed: int = 0
    resumed: int = 0
    settled: int = 0
    verified: int = 0
    errands: int = 0
    degraded: tuple[str, ...] = ()


def sweep(ports: Ports) -> Swept:
    """One pass over the ledger's loose ends and the compliance of the whole fleet; safe to run twice.

    Without a policy set, which says what the fleet is, it follows only what has begun.
    """
    with ports.tracing.verb("sweep"):
        aside = isolate.degraded(ports.ledger)
        degraded = [one.account for one in aside.values() if one.probe > ports.clock.now()]
        policies = in_force(ports)
        settings = None if isinstance(policies, PolicyError) else policies.settings
        open_batches = ports.ledger.open_batches()
        resumed = sum(each(ports, open_batches, lambda batch: _resume(ports, batch), degraded))
        _strays(ports)
        open_batches = ports.ledger.open_batches()
        settled = sum(each(ports, open_batches, lambda batch: _settle_silent(ports, batch), degraded))
        within = settings.verify_within if settings else VERIFY_WITHIN
        verified = sum(
            each(ports, _verifying(ports), lambda at: verify(ports, at.location, at.cases, within), degraded)
        )
        errands = _errands(ports)
        each(ports, _unfinished(ports), lambda at: _visit(ports, at), degraded)
        places = map(_Place, settings.locations if settings else ())
        count = _Census(ports, policies)
        missed = sum(
            each(ports, places, lambda at: _answering(ports, at.location, count.of(at.location), aside), degraded)
        )
        isolate.settle_tickets(ports, settings.locations if settings else ())
        _emergencies(ports, settings.locations if settings else (), degraded)
        each(
            ports, map(_Place, settings.locations if settings else ()), lambda at: release(ports, at.location), degraded
        )
        if isinstance(policies, PolicySet):
            _remind(ports, policies)
            _guards(ports, policies, count)
        _say_lag(ports)
        _remember(ports)
        swept = Swept(missed, resumed, settled, verified, errands, tuple(sorted(set(degraded))))
        ports.notices.say("swept", missed=missed, resumed=resumed, settled=settled, verified=verified,
                          errands=errands, degraded=list(swept.degraded))  # fmt: skip
        return swept


def _remember(ports: Ports) -> None:
    """People are told how old what they see may be; a sweep that another one overtook has nothing to add."""
    try:
        kept = ports.ledger.kept(SWEPT)
        ports.ledger.keep(SWEPT, {"at": format_moment(ports.clock.now())}, expected=kept.version if kept else 0)
    except (Stale, Temporary):
        return


@dataclass(frozen=True, slots=True)
class _Place:
    """A location, and the remediations there that are asked about together."""

    location: Location
    cases: list[Remediation] = field(default_factory=list)


def _emergencies(ports: Ports, locations: Sequence[Location], degraded: list[str]) -> None:
    """Look for the nodes that lack what an emergency in force names, and close the cases of those that have it."""
    known = emergency.known(ports.ledger)
    if not known:
        return
    now = ports.clock.now()
    wanted = [one for one in known.values() if one.in_force(now)]
    each(ports, map(_Place, locations), lambda at: [seek.find(ports, at.location, one) for one in wanted], degraded)
    undecided: dict[Location, list[Remediation]] = defaultdict(list)
    for case in ports.ledger.work(seek.UNDECIDED):
        if case.control is Control.EMERGENCY:
            undecided[case.location].append(case)
    places = [_Place(location, cases) for location, cases in undecided.items()]
    each(ports, places, lambda at: seek.settle(ports, at.location, at.cases), degraded)


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
    for case in list(ports.ledger.work([State.STARTING])):
        assert case.since is not None, f"{case.id} is starting since never"
        batch = ports.ledger.batch(str(case.batch))
        listed = batch is not None and any(member.remediation == case.id for member in batch.members)
        if ports.clock.now() - case.since < ORPHANED or (listed and batch and batch.state is not BatchState.WITHDRAWN):
            continue
        if batch is None and not _bury(ports, case):
            continue
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


def _verifying(ports: Ports) -> list[_Place]:
    waiting: dict[Location, list[Remediation]] = defaultdict(list)
    for case in ports.ledger.work([State.VERIFYING]):
        waiting[case.location].append(case)
    return [_Place(location, cases) for location, cases in waiting.items()]


def _unfinished(ports: Ports) -> list[_Place]:
    """The EC2 nodes of every place that have a remediation which nothing works on."""
    found: dict[Location, list[Remediation]] = defaultdict(list)
    for case in ports.ledger.work(_IDLE):
        if case.node.kind == "ec2":
            found[case.location].append(case)
    return [_Place(location, cases) for location, cases in found.items()]


_IDLE = (State.OPEN, State.WAITING, State.TICKETED, State.EXEMPT, State.REBOOT_PENDING)


def _visit(ports: Ports, place: _Place) -> int:
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


def _errands(ports: Ports) -> int:
    """Errands that were left behind; one for a remediation that is not there is a defect and is said so."""
    owed = ports.ledger.errands(ports.clock.now())
    for one in owed:
        case = ports.ledger.head(one.remediation)
        if case is None:
            ports.notices.say("errand_without_remediation", remediation=one.remediation)
            continue
        ticket.run(ports, one, case)
    return len(owed)


def _say_lag(ports: Ports) -> None:
    """Say how long the oldest waits for its proof and how late the latest is that nobody works on, in seconds.

    And how many pauses hold and how many accounts refuse: each is told of once when it begins, and alarms need to hear
    that it lasts.
    """
    now, brake = ports.clock.now(), pause.read(ports)
    verifying = (now - (case.since or now) for case in ports.ledger.work([State.VERIFYING]))
    late = (lateness(case, now) for case in ports.ledger.work(_UNOWNED))
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


def _answering(ports: Ports, location: Location, tally: Tally | None, aside: Mapping[str, isolate.Degraded]) -> int:
    """Compare the place; an account that was set aside because it could not be read there is let back."""
    missed, known = _fleet(ports, location, tally), aside.get(location.account)
    if known and not known.starting and known.place == str(location):
        isolate.answers(ports, location.account)
    return missed


class _Census:
    """The count of each location that this sweep reads to its end, where the set looks for surges."""

    def __init__(self, ports: Ports, policies: PolicySet | PolicyError) -> None:
        self._asked = isinstance(policies, PolicySet) and policies.settings.surge is not None
        self._standing = guard.standing(ports) if self._asked else {}
        self._now = ports.clock.now()
        self.tallies: dict[Location, Tally] = {}

    def of(self, location: Location) -> Tally | None:
        """The count to fill; it is part of the census once it is `whole`."""
        if not self._asked:
            return None
        return self.tallies.setdefault(location, surge.tally(location, self._standing, self._now))


def _guards(ports: Ports, policies: PolicySet, count: _Census) -> None:
    """Trip what the census shows, let go what a change of policy has ended, and bring every guard's ticket."""
    standing = guard.standing(ports)
    surge.remember(ports, {place: tally for place, tally in count.tallies.items() if tally.whole})
    if policies.settings.surge:
        cases = [*ports.ledger.work([State.QUEUED]), *ports.ledger.work(ACTIVE)]
        surge.watch(ports, policies.settings.surge, standing, cases, locations=policies.settings.locations)
    budget.supersede(ports, standing, policies)
    wave.supersede(ports, policies)
    guard.settle(ports)


def _fleet(ports: Ports, location: Location, tally: Tally | None) -> int:
    """Hold the compliance of one location against the ledger; findings that are news go through intake."""
    missed = 0
    page: list[Finding] = []
    for finding in ports.inventory.compliance(location):
        page.append(finding)
        if len(page) == PAGE:
            missed += _compare(ports, page, tally)
            page = []
    missed += _compare(ports, page, tally) if page else 0
    if tally:
        tally.whole = True
    return missed


def _compare(ports: Ports, page: list[Finding], tally: Tally | None) -> int:
    heads = ports.ledger.heads([finding.remediation for finding in page])
    if tally:
        tally.add(page, heads)
    digest = ports.policies.active().digest
    missed = 0
    for finding in page:
        case = heads.get(finding.remediation)
        try:
            if _is_news(finding, case):
                missed += take(ports, finding).status == "decided"
            elif case and (case.state in _ASKED or unruled(case)) and case.decision.get("set_digest") != digest:
                again(ports, case)
        except (Temporary, Denied) as error:
            ports.notices.say("degraded", place=str(finding.node), because=str(error),
                              refused=isinstance(error, Denied))  # fmt: skip
    return missed


_ASKED = (State.OPEN, State.WAITING, State.EXEMPT, State.QUEUED)
"""States in which a changed policy set is asked again."""


_LEARNS = (State.RESOLVED, State.GONE, State.OPEN, State.WAITING, State.QUEUED, State.REBOOT_PENDING)
"""States that a newer finding may change: the node lacks more now, or has other tags. A node that stays non-compliant
sends no event, so nobody else would say so."""


def _is_news(finding: Finding, case: Remediation | None) -> bool:
    """Whether the ledger does not know this yet. A compliant node that nobody asked about is no news."""
    if case is None:
        return not finding.compliant
    if case.state is State.VERIFYING and finding.control is Control.ASSOCIATION:
        return finding.compliant and (case.observed_at is None or finding.observed_at > case.observed_at)
    if case.active:
        return False
    if finding.compliant:
        old = case.attempted_at is not None and finding.observed_at < case.attempted_at
        return not old and case.state not in (State.RESOLVED, State.GONE)
    return case.state in _LEARNS and (case.observed_at is None or finding.observed_at > case.observed_at)
