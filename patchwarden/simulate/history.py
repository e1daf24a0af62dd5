"""The history: what stale readers still see of it, and the promises that are held against it as it is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from chalicelib.core.audit import fault
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Node
from chalicelib.core.plans import OVERRIDE, Batch, BatchState
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import ACTIVE, Cause, Remediation, State, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Change, Ledger
from patchwarden.simulate.executions import Run
from patchwarden.simulate.machines import SCALING, Machine
from patchwarden.simulate.moments import moment
from patchwarden.simulate.rules import ALARMED, GROUP, GROUP_MOST, REPAIR, SCALING_SHARE, ZONE_SHARE
from patchwarden.simulate.scheduler import Scheduler
from patchwarden.simulate.stops import Stops
from patchwarden.simulate.tickets import WorldTickets
from patchwarden.simulate.world import World

FRESH = 180.0
"""A scan, or a termination, this many seconds older than the intent must have been seen before the start."""

SILENCE = 3600.0 + 2 * 900.0 + 300.0
"""An agent that is silent for an hour is found by the next sweep, at the latest by the one after that."""

COUNTED = 600.0
"""How many seconds before a start its groups may have been counted."""

_OPEN = (BatchState.INTENDED, BatchState.STARTED)
_ENDS = {State.RESOLVED, State.TICKETED, State.EXEMPT, State.OPEN, State.REBOOT_PENDING, State.WAITING, State.GONE}


WRITES = frozenset({"ledger.append", "ledger.enter", "ledger.save_batch"})
"""The calls after which something may have been broken."""


class Past:
    """What an index of the table shows for some seconds after it was overtaken."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._heads: list[tuple[float, str, Remediation | None]] = []
        self._batches: list[tuple[float, str, Batch | None]] = []
        self._errands: dict[str, Errand] = {}
        self._done: list[tuple[float, Errand]] = []

    def forget(self) -> None:
        """Nothing of what was overwritten is seen any more: it was of another release."""
        self._heads.clear()

    def before(self, ledger: Ledger, call: str, given: tuple[Any, ...]) -> None:
        """Remember what a write is about to overwrite."""
        now = self._scheduler.now
        if call == "ledger.append":
            change: Change = given[0]
            self._heads.append((now, change.head.id, ledger.head(change.head.id)))
            if change.owes:
                self._errands[change.owes.id] = change.owes
            if change.done in self._errands:
                self._done.append((now, self._errands[change.done]))
        elif call == "ledger.save_batch":
            self._batches.append((now, given[0].id, ledger.batch(given[0].id)))

    def answer(self, ledger: Ledger, call: str, lag: float, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The answer of an index as it was `lag` seconds ago."""
        since = self._scheduler.now - lag
        if call == "ledger.work":
            return self._work(ledger, since, given[0], named.get("before"))
        if call == "ledger.errands":
            done = [errand for at, errand in self._done if at >= since]
            return list({each.id: each for each in [*done, *ledger.errands(*given)]}.values())
        old = _as_of(since, self._batches)
        known = [*ledger.batches_since(datetime.min.replace(tzinfo=moment(0).tzinfo))]
        batches = [old.get(each.id, each) for each in known]
        if call == "ledger.open_batches":
            return [each for each in batches if each and each.state in _OPEN]
        return [each for each in batches if each and each.created_at >= given[0]]

    def _work(
        self, ledger: Ledger, since: float, states: Iterable[State], before: datetime | None
    ) -> Iterable[Remediation]:
        old, wanted = _as_of(since, self._heads), set(states)
        cases = [old.get(case.id, case) for case in ledger.all_heads()]
        found = [case for case in cases if case and case.state in wanted]
        if before is not None:
            found = [case for case in found if case.due and case.due <= before]
        return iter(sorted(found, key=lambda case: case.turn))


def _as_of(since: float, moved: list[tuple[float, str, Any]]) -> dict[str, Any]:
    """What stood there then, for each that was overwritten since."""
    old: dict[str, Any] = {}
    for at, id, value in reversed(moved):
        if at < since:
            break
        old[id] = value
    return old


class Watch:
    """The checker: `wrong` is each broken promise in one sentence."""

    def __init__(
        self, world: World, ledger: Ledger, past: Past, *, guards: PolicySet | None = None, silent: bool = False
    ) -> None:
        self.world, self.ledger, self.silent = world, ledger, silent
        self.stops: Stops | None = None
        if guards:
            self.guard(guards)
        self.wrong: list[str] = []
        self.newest: dict[str, Transition] = {}
        self.left = 0
        self._intended: dict[tuple[str, int], float] = {}
        self._grouped: dict[tuple[str, int | None], list[Machine]] = {}
        world.begins = self._begins

    def guard(self, policies: PolicySet) -> None:
        """Hold the run to what surges, waves and error budgets of the set promise, too."""
        self.stops = Stops(self.world, self.ledger, policies, self.say)

    def say(self, sentence: str) -> None:
        if sentence not in self.wrong:
            self.wrong.append(sentence)

    def after(self, call: str, given: tuple[Any, ...]) -> None:
        """Look at a line that has just been written."""
        if self.stops and call in ("ledger.append", "ledger.enter"):
            self.stops.after(call, given[0])
        if call != "ledger.append":
            return
        change: Change = given[0]
        line = change.line
        if line.number > (self.newest[line.remediation].number if line.remediation in self.newest else 0):
            self.newest[line.remediation] = line
        if line.cause is Cause.INTENDED:
            self._intended.setdefault((line.remediation, line.number), self.world.now)
        if change.head.held == "busy" and line.sets.get("held") == "busy":
            self.left += 1
        if line.cause is Cause.RESOLVED:
            self._proved(change.head)

    def _proved(self, case: Remediation) -> None:
        machine = self.world.machines[case.node]
        if case.control is Control.REPORTING:
            return
        wrong = {
            Control.ASSOCIATION: bool(machine.broken), Control.EMERGENCY: machine.fix != "INSTALLED",
            Control.PATCH: machine.cleaned < machine.touched,
        }  # fmt: skip
        if wrong[case.control]:
            self.say(f"unproved: {case.id} is resolved at {self._at()}, but nothing shows that it is: {case.because}")

    def _begins(self, run: Run) -> None:
        """An execution is about to start in Systems Manager's own truth."""
        for node in run.nodes:
            for other in self.world.active(node):
                self.say(f"doubled: {node} is in executions {other.id} and {run.id} at {self._at()}")
        for member in run.batch.members:
            lines = self.ledger.trail(member.remediation)
            line = lines[member.number - 1] if member.number <= len(lines) else None
            if line is None or line.cause is not Cause.INTENDED or line.sets.get("batch") != run.batch.id:
                self.say(f"unsaid: execution {run.id} starts for {member.remediation} without its intent")
                continue
            said = self._intended.get((member.remediation, member.number), self.world.now)
            if self.stops:
                self.stops.begins(run, member.remediation, said)
            machine = self.world.machines[_node(run, member.node)]
            self._needed(run, machine, said)
            self._alone(run, machine, said)
        stored = self.ledger.batch(run.batch.id)
        if stored is None or {each.remediation for each in stored.members} != {
            each.remediation for each in run.batch.members
        }:
            self.say(f"unsaid: execution {run.id} starts without its batch {run.batch.id}")
        self._groups(run)

    def _needed(self, run: Run, machine: Machine, said: float) -> None:
        """Whether the start could have been known to be in vain when it was intended."""
        if machine.ended is not None and machine.ended < said - FRESH:
            self.say(f"blind: {machine.node} was terminated long before execution {run.id} was intended")
        scan = machine.scan
        if OVERRIDE in run.batch.parameters:
            at, told = machine.told[-1] if machine.told else (said, "")
            # what was scanned while an execution still ran proves nothing of what it left behind
            over = max((one.ended for one in self.world.runs.values() if one.ended is not None
                        and one.ended <= said and machine.node in one.nodes), default=-math.inf)  # fmt: skip
            if told == "INSTALLED" and over <= at < said - FRESH:
                self.say(f"blind: a scan found the patch on {machine.node} long before execution {run.id} was intended")
            return
        if run.batch.document == REPAIR or scan is None or scan.noncompliant:
            return
        if machine.touched <= machine.scans[-1][0] < said - FRESH:
            self.say(f"blind: a scan found {machine.node} clean long before execution {run.id} was intended")

    def _alone(self, run: Run, machine: Machine, said: float) -> None:
        """Whether somebody else could be seen to patch the node when the start was intended, and still did."""
        for began, ends, command in machine.theirs:
            if began < said - FRESH and said < ends:
                self.say(f"intruded: command {command} patched {machine.node} long before {run.id} was intended")

    def _groups(self, run: Run) -> None:
        """Of each group that the new run touches, no more may be in work than its limit says."""
        busy = {node for each in (*self.world.runs.values(), run) if each.ended is None for node in each.nodes}
        for name in {name for node in run.nodes for name in _groups_of(self.world.machines[node])}:
            members = self._members()[name]
            count = sum(one.node in busy and one.state != "terminated" for one in members)
            # it was counted before the intent, which may be some minutes ago
            there = sum(one.ended is None or one.ended > self.world.now - COUNTED for one in members)
            most = GROUP_MOST if name[1] is None else max(1, there * name[1] // 100)
            if count > most:
                self.say(f"crowded: {count} of group {name[0]} are in work at {self._at()}, {most} may be")

    def _members(self) -> dict[tuple[str, int | None], list[Machine]]:
        """The machines of every group, as their tags say since the first start."""
        if not self._grouped:
            for machine in self.world.machines.values():
                for name in _groups_of(machine):
                    self._grouped.setdefault(name, []).append(machine)
        return self._grouped

    def judge(self, tickets: WorldTickets) -> None:
        """After the calm: what must hold at the end."""
        for case in self.ledger.all_heads():
            self._ended(case)
            broken = fault(case, self.ledger.trail(case.id))
            if broken:
                self.say(f"chain: {broken}")
            self._ticketed(case, tickets)
        for batch in self.ledger.open_batches():
            self.say(f"stuck: batch {batch.id} is {batch.state} at the end")
        for errand in self.ledger.errands(moment(self.world.now + 1e7)):
            self.say(f"owed: errand {errand.id} ({errand.deed}) was never done")
        for machine in self.world.machines.values():
            self._known(machine)
            if self.world.alarmed:
                self._alarmed(machine)
            if self.silent:
                self.heard(machine)
        self._leases()
        if self.stops:
            self.stops.judge(tickets)

    def _ended(self, case: Remediation) -> None:
        if case.state not in _ENDS:
            self.say(f"stuck: {case.id} is {case.state} at the end: {case.because}")
        if case.state is State.WAITING and not (case.due and case.because):
            self.say(f"stuck: {case.id} waits for no moment, or without a reason")
        late = case.due and case.due < moment(self.world.now - 3600)
        if case.state is State.WAITING and late:
            self.say(f"stuck: {case.id} waits for a moment that is long over")

    def _ticketed(self, case: Remediation, tickets: WorldTickets) -> None:
        opened = sum(slip.open for slip in tickets.kept.values() if f"/{case.id}/" in slip.key)
        image = case.decision.get("image")
        if image:
            self._shared(str(image), tickets)
            opened = int(case.state is State.TICKETED)
        if case.state is State.TICKETED and opened != 1:
            self.say(f"tickets: {case.id} is ticketed and has {opened} open tickets")
        if case.state in (State.RESOLVED, State.GONE, State.EXEMPT) and opened:
            self.say(f"tickets: {case.id} is {case.state} and has {opened} open tickets")
        if opened > 1:
            self.say(f"tickets: {case.id} has {opened} open tickets")

    def _shared(self, image: str, tickets: WorldTickets) -> None:
        """The nodes of an immutable group have one open ticket together for as long as one of them needs it."""
        opened = sum(slip.open for slip in tickets.kept.values() if slip.key.endswith(f"/image/{image}"))
        needed = any(case.decision.get("image") == image for case in self.ledger.work([State.TICKETED]))
        if opened != int(needed):
            self.say(f"tickets: group {image} has {opened} open tickets for a new image, and needs {int(needed)}")

    def _known(self, machine: Machine) -> None:
        """A machine that is there and non-compliant must have an open remediation; a fixed one must not stay open."""
        if machine.state == "terminated":
            return
        head = self.ledger.head(remediation_id(machine.node, Control.PATCH))
        closed = head is None or head.state in (State.RESOLVED, State.GONE)
        if machine.scan and machine.scan.noncompliant and closed:
            where = head.state if head else "nowhere"
            self.say(f"lost: {machine.node} is non-compliant, and its remediation is {where}")
        if machine.scan and not machine.scan.noncompliant and machine.cleaned > machine.touched and not closed:
            self.say(
                f"unseen: {machine.node} was scanned compliant, and its remediation is {head.state if head else ''}"
            )
        repair = self.ledger.head(remediation_id(machine.node, Control.ASSOCIATION))
        if machine.broken and (repair is None or repair.state in (State.RESOLVED, State.GONE)):
            self.say(f"lost: the association of {machine.node} is broken, and nobody knows")

    def _alarmed(self, machine: Machine) -> None:
        """A machine that the emergency is for, and that lacks its patch by its last scan, must have an open case."""
        meant = machine.state != "terminated" and all(machine.tags.get(key) == value for key, value in ALARMED.items())
        if meant and machine.told and machine.told[-1][1] == "MISSING" and self._closed(machine, Control.EMERGENCY):
            self.say(f"lost: {machine.node} lacks what the emergency names, and nobody knows")

    def heard(self, machine: Machine) -> None:
        """An agent that has been silent for over an hour must be ticketed; one that is heard again must not."""
        for_long = self.world.now - machine.states[-1][0]
        closed = self._closed(machine, Control.REPORTING)
        if machine.state == "running" and machine.ping != "Online" and for_long > SILENCE and closed:
            self.say(f"lost: the agent of {machine.node} has been silent for {for_long:.0f} s, and nobody knows")
        if machine.state == "running" and machine.ping == "Online" and for_long > SILENCE and not closed:
            self.say(f"unseen: the agent of {machine.node} is heard, and its ticket is open")

    def _closed(self, machine: Machine, control: Control) -> bool:
        head = self.ledger.head(remediation_id(machine.node, control))
        return head is None or head.state in (State.RESOLVED, State.GONE)

    def _leases(self) -> None:
        names = {f"node/{node}" for node in self.world.machines}
        names |= {f"group/{name}/{slot}" for name, _ in self._members() for slot in range(30)}
        for name in sorted(names):
            holder = self.ledger.lease(name)
            case = self.ledger.head(holder) if holder else None
            if holder and (case is None or case.state not in ACTIVE):
                self.say(f"leaked: lease {name} is still held by {holder}")

    def _at(self) -> str:
        return f"{self.world.now:.1f} s"


def _groups_of(machine: Machine) -> list[tuple[str, int | None]]:
    """The groups that a machine is in, each with the percent of it that may be in work; None: a fixed number."""
    here, tags = f"{machine.node.account}/{machine.node.region}", machine.tags
    found: list[tuple[str, int | None]] = [(f"{here}/availability-zone={machine.zone}", ZONE_SHARE)]
    if GROUP in tags:
        found.append((f"{machine.node.account}/{GROUP}={tags[GROUP]}", None))
    if SCALING in tags:
        found.append((f"{here}/auto-scaling-group={tags[SCALING]}", SCALING_SHARE))
    return found


def _node(run: Run, id: str) -> Node:
    return Node(run.batch.location.account, run.batch.location.region, id)
