"""The small world: machines with their own truth, and the three ports that look at them."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Any, TypeVar

from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import OVERRIDE, Batch
from chalicelib.core.tickets import Errand
from chalicelib.ports import Execution, Invocation, Page
from patchwarden.simulate.faults import Weather
from patchwarden.simulate.rules import FIX, GROUP, IMMUTABLE, LOCATIONS, REPAIR, START
from patchwarden.simulate.scheduler import Scheduler

SCALING = "aws:autoscaling:groupName"
_NAMESPACE = uuid.UUID("3a3a40f8-5a51-5f55-8a4e-6f3e0c8a3b10")
_Known = TypeVar("_Known")

PER_PAGE = (8, 50, 50, 50)
"""Machines in one page of compliance: in every fourth small world there are several pages."""

SPANS = (60, 120, 120, 300, 300, 600, 600, 3600)
"""How many seconds an execution takes; the longest stays silent for longer than the sweep waits."""

KINDS = ("plain",) * 6 + ("hot", "legacy", "guarded", "sleeping")
TEMPERS = ("well",) * 6 + ("fails", "fails once", "lies", "reboots", "unscanned")
"""What an install does to a machine. `lies`: it reports success and installs nothing."""

_LAUNCHED = START - timedelta(days=1)
_PATCH = Patch("KB5035849", "2026-11 Cumulative Update", "SecurityUpdates", "Critical", "Missing")


def moment(seconds: float) -> datetime:
    """The UTC moment so many seconds after the start."""
    return START + timedelta(0, 0, 0, round(seconds * 1000))  # by position: it is made at every outside call


@dataclass(slots=True)
class Machine:
    """One node and its truth. `cleaned`: when a scan last found nothing; `touched`: when an install last ended.

    `broken`: its association is non-compliant, as it was seen at `seen`; None: it has none. `fix`: how it stands to the
    patch that an emergency may name, and `told` what its scans have said of that. `stubborn`: nothing mends its
    association. `theirs`: from when to when somebody else's command patches it, and the command.
    """

    node: Node
    temper: str
    tags: dict[str, str]
    zone: str
    missing: int = 0
    pending: int = 0
    state: str = "running"
    ping: str | None = "Online"
    cleaned: float = -1.0
    touched: float = -2.0
    broken: bool | None = None
    seen: float = 0.0
    stubborn: bool = False
    theirs: list[tuple[float, float, str]] = field(default_factory=list)
    ended: float | None = None
    fix: str = "MISSING"
    told: list[tuple[float, str]] = field(default_factory=list)
    scans: list[tuple[float, PatchState]] = field(default_factory=list)
    states: list[tuple[float, NodeState]] = field(default_factory=list)

    @property
    def reachable(self) -> bool:
        return self.state == "running" and self.ping == "Online"

    @property
    def scan(self) -> PatchState | None:
        return self.scans[-1][1] if self.scans else None

    @property
    def heard(self) -> datetime | None:
        """When the agent was heard last; None: it is heard now."""
        return None if self.ping == "Online" else moment(max(self.states[-1][0], 0.0))

    def group(self, by: str, tag: str | None) -> str | None:
        """Which group it is in."""
        return self.zone if by == "availability-zone" else self.tags.get(tag or SCALING)

    def describe(self, now: float) -> None:
        """Remember how the machine looks from now on."""
        known = NodeState(self.node.id, "ec2", self.state, self.ping, "Linux", tags=self.tags,
                          group=self.tags.get(SCALING), zone=self.zone)  # fmt: skip
        self.states.append((now, known))


@dataclass(slots=True)
class Run:
    """An execution in the truth of Systems Manager."""

    batch: Batch
    id: str
    nodes: tuple[Node, ...]
    began: float
    ended: float | None = None
    failed: bool = False
    installs: dict[str, Invocation] = field(default_factory=dict)


class World:
    """The machines, what happens to them, and what Systems Manager knows. `emit` takes an event and its kind."""

    def __init__(
        self, scheduler: Scheduler, weather: Weather, nodes: int, emit: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.scheduler, self.weather, self.random = scheduler, weather, weather.random
        self.emit = emit
        self.lag = 0.0
        self.alarmed = False
        self.runs: dict[str, Run] = {}
        self.begins: Callable[[Run], None] = lambda run: None
        self.machines = {machine.node: machine for machine in _machines(self.random, nodes)}
        self.per_page = self.random.choice(PER_PAGE)
        self.spans: tuple[int, ...] = SPANS
        self.places: dict[Location, list[Machine]] = {place: [] for place in LOCATIONS}
        for node, machine in self.machines.items():
            self.places[node.location].append(machine)

    @property
    def now(self) -> float:
        return self.scheduler.now

    def active(self, node: Node) -> list[Run]:
        """The executions that work on the node at this moment."""
        return [run for run in self.runs.values() if run.ended is None and node in run.nodes]

    def live(self) -> None:
        """Let every machine turn non-compliant within minutes, and let its share of trouble come."""
        for machine in self.machines.values():
            machine.describe(-1e6)
            if self.weather.chosen is not None:
                self._patches_come(machine)
                continue
            when = self.random.uniform(0, 900)
            self.scheduler.at(when, lambda each=machine: self._patches_come(each))  # type: ignore[misc]
            if self.random.random() < 0.3:
                near = when + self.random.uniform(-60, 60)
                self.scheduler.at(near, lambda each=machine: self.breaks(each))  # type: ignore[misc]
            if self.random.random() < self.weather.profile.troubles:
                trouble = self.random.choice(_TROUBLES)
                later = self.random.uniform(60, self.weather.chaos)
                self.scheduler.at(later, lambda each=machine, what=trouble: what(self, each))  # type: ignore[misc]

    def look(self, machine: Machine, snapshot: str | None = None) -> None:
        """Scan the machine."""
        if not machine.reachable:
            return
        state = PatchState(
            machine.node.id, "pb-0123456789abcdef0", "Scan", moment(self.now), snapshot, missing=machine.missing,
            pending_reboot=machine.pending,
        )  # fmt: skip
        before = machine.scan
        machine.scans.append((self.now, state))
        machine.told.append((self.now, machine.fix))
        if not state.noncompliant:
            machine.cleaned = self.now
        if before is None or bool(before.noncompliant) != bool(state.noncompliant):
            self.emit("compliance", _compliance_event(machine.node, "Patch", not state.noncompliant, self.now))
            if self.random.random() < self.weather.profile.rules:
                self.scheduler.at(self.now + self.random.uniform(1, 1800), lambda: self._rule_says(machine, state))

    def _rule_says(self, machine: Machine, state: PatchState) -> None:
        """A Config rule evaluates what it was told a while ago, and dates that with its own time."""
        self.emit("compliance", _rule_event(machine.node, not state.noncompliant, self.now))

    def _patches_come(self, machine: Machine) -> None:
        machine.missing += 1
        self.look(machine)

    def breaks(self, machine: Machine) -> None:
        """Its association ran and is non-compliant."""
        machine.broken, machine.seen = True, self.now
        self.emit("compliance", _compliance_event(machine.node, "Association", False, self.now))

    def silence(self, machine: Machine, span: float) -> None:
        """Its agent is not heard for so many seconds."""
        machine.ping = "ConnectionLost"
        machine.describe(self.now)
        self.scheduler.at(self.now + span, lambda: _runs_again(self, machine))

    def fix(self, machine: Machine) -> None:
        """Somebody patches and repairs it by hand, and scans it."""
        if machine.reachable:
            machine.missing, machine.pending, machine.fix = 0, 0, "INSTALLED"
            self.look(machine)
            self.mended(machine)

    def mended(self, machine: Machine) -> None:
        """Its association ran, and is compliant now unless nothing mends it."""
        if machine.broken and machine.stubborn:
            machine.seen = self.now
        elif machine.broken:
            machine.broken, machine.seen = False, self.now
            self.emit("compliance", _compliance_event(machine.node, "Association", True, self.now))

    def claims(self, machine: Machine) -> None:
        """An event calls its association compliant, whatever it is."""
        self.emit("compliance", _compliance_event(machine.node, "Association", True, self.now))

    def start(self, batch: Batch, id: str) -> None:
        given = batch.parameters.get("NodeIds") or batch.parameters["NodeId"]
        nodes = tuple(Node(batch.location.account, batch.location.region, each) for each in given)
        run = Run(batch, id, nodes, self.now)
        self.begins(run)
        self.runs[id] = run
        takes = self.random.choice(self.spans) + self.random.random()
        self.scheduler.at(self.now + takes, lambda: self._end(run))

    def _end(self, run: Run) -> None:
        if run.ended is not None:
            return
        for node in run.nodes:
            machine = self.machines[node]
            if run.batch.document == REPAIR:
                self._repair(run, machine)
            else:
                run.installs[node.id] = self._install(run, machine)
        run.failed = run.failed or any(not each.succeeded for each in run.installs.values())
        run.ended = self.now
        self.emit("status", _status_event(run))

    def _repair(self, run: Run, machine: Machine) -> None:
        if machine.reachable and machine.temper != "lies" and machine.temper != "fails":
            self.mended(machine)
        run.failed = run.failed or machine.temper == "fails"

    def _install(self, run: Run, machine: Machine) -> Invocation:
        id = machine.node.id
        starts = machine.state == "stopped" and "NodeId" in run.batch.parameters
        if not (machine.reachable or starts):
            return Invocation(id, "Undeliverable")
        named = OVERRIDE in run.batch.parameters
        if not named:
            machine.touched = self.now
        if machine.temper == "fails once":
            machine.temper = "well"
            return self._after(run, machine, Invocation(id, "Failed", "exit status 1"))
        if machine.temper == "fails":
            return self._after(run, machine, Invocation(id, "Failed", "exit status 1"))
        if named and machine.temper != "lies":
            machine.fix = "INSTALLED_PENDING_REBOOT" if machine.temper == "reboots" else "INSTALLED"
        elif machine.temper != "lies":
            machine.missing, machine.pending = 0, int(machine.temper == "reboots")
        if machine.temper == "unscanned":
            return Invocation(id, "Success")
        return self._after(run, machine, Invocation(id, "Success"))

    def _after(self, run: Run, machine: Machine, said: Invocation) -> Invocation:
        """The scan at the end of the runbook; a stopped machine runs for as long as that takes."""
        stopped, machine.state, machine.ping = (machine.state, machine.ping), "running", "Online"
        self.look(machine, run.batch.snapshot)
        machine.state, machine.ping = stopped
        return said


def _machines(random: Random, count: int) -> Iterator[Machine]:
    for number in range(count):
        place = LOCATIONS[number % len(LOCATIONS)]
        tags = {"Kind": random.choice(KINDS)}
        if random.random() < 0.15:
            tags[GROUP] = f"c{number % 3}"
        if random.random() < 0.2:
            tags[SCALING] = random.choice(("asg-0", "asg-1"))
            if tags[SCALING] == "asg-1":
                tags[IMMUTABLE["tag"]] = IMMUTABLE["value"]
        zone = place.region + random.choice("ab")
        yield Machine(Node(place.account, place.region, f"i-{number:017x}"), random.choice(TEMPERS), tags, zone)


def _terminated(world: World, machine: Machine) -> None:
    machine.state, machine.ping, machine.ended = "terminated", None, world.now
    machine.describe(world.now)
    world.emit("node", _node_event(machine.node, "terminated", world.now))


def _stopped(world: World, machine: Machine) -> None:
    if machine.state != "running":
        return
    machine.state, machine.ping = "stopped", "ConnectionLost"
    machine.describe(world.now)
    world.emit("node", _node_event(machine.node, "stopped", world.now))
    world.scheduler.at(world.now + world.random.uniform(600, 7200), lambda: _runs_again(world, machine))


def _unreachable(world: World, machine: Machine) -> None:
    world.silence(machine, world.random.uniform(600, 7200))


def _runs_again(world: World, machine: Machine) -> None:
    if machine.state == "terminated":
        return
    machine.state, machine.ping = "running", "Online"
    machine.pending = 0
    machine.fix = machine.fix.removesuffix("_PENDING_REBOOT")
    machine.describe(world.now)
    world.look(machine)


def _patches_again(world: World, machine: Machine) -> None:
    machine.missing += 1
    world.look(machine)


_TROUBLES = (_terminated, _stopped, _unreachable, World.fix, World.fix, _patches_again)


class WorldInventory:
    """The port `Inventory`: the machines as they looked some seconds ago."""

    def __init__(self, world: World) -> None:
        self._world = world

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        seen = self._seen(location, ids, lambda machine: machine.states, 0.0)
        lost = {id: NodeState(id, "ec2", "terminated") for id in ids if id not in seen and id.startswith("i-")}
        return seen | lost

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        here = self._world.places[location]
        return sum(each.state == "running" and each.group(by, tag) == value for each in here)

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        return self._seen(location, ids, lambda machine: machine.scans, self._world.weather.scan_lag)

    def patches(self, node: Node, state: PatchState) -> PatchState:
        return replace(state, patches=(_PATCH,) * state.missing)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        said = self._seen(node.location, [node.id], lambda machine: machine.told, self._world.weather.scan_lag)
        title = f"{FIX.id}:0:{FIX.version}-1"
        found = [Patch(FIX.id, title, "Security", "Critical", state) for state in said.values()]
        return [one for one in found if one.id in ids]

    def associations(self, node: Node) -> AssociationState | None:
        machine = self._world.machines[node]
        return None if machine.broken is None else AssociationState(int(machine.broken), moment(machine.seen))

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """Pages of `PER_PAGE` machines, in the order of their ids."""
        here, start = self._world.places[location], int(after or 0)
        found = []
        for machine in here[start : start + self._world.per_page]:
            node, scan = machine.node, machine.scan
            if machine.state == "terminated":
                continue
            if scan:
                found.append(_swept(node, Control.PATCH, scan.noncompliant == 0, scan.ended_at))
            if machine.broken is not None:
                found.append(_swept(node, Control.ASSOCIATION, not machine.broken, moment(machine.seen)))
        return Page(
            tuple(found), str(start + self._world.per_page) if start + self._world.per_page < len(here) else None
        )

    def roll(self, location: Location) -> Iterator[NodeState]:
        """An agent was heard last when its machine was described last, if it is silent since."""
        there = [each for each in self._world.places[location] if each.state == "running"]
        return iter([replace(each.states[-1][1], launched=_LAUNCHED, last_seen=each.heard) for each in there])

    def _seen(
        self, location: Location, ids: Sequence[str], told: Callable[[Machine], list[tuple[float, _Known]]], lag: float
    ) -> dict[str, _Known]:
        then = self._world.now - max(lag, self._world.lag)
        found = {}
        for id in ids:
            machine = self._world.machines.get(Node(location.account, location.region, id))
            history = told(machine) if machine else []
            place = bisect_right(history, then, key=lambda entry: entry[0])
            if place:
                found[id] = history[place - 1][1]
        return found


class WorldAutomations:
    """The port `Automations`: it remembers a token as long as the weather says, and finds a tag a little late."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, tuple[float, str]] = {}

    def start(self, batch: Batch) -> str:
        world, kept = self._world, self._world.weather.token_kept
        known = self._tokens.get(batch.token)
        if known and (kept is None or world.now - known[0] < kept):
            return known[1]
        id = str(uuid.uuid5(_NAMESPACE, f"{batch.id}/{len(world.runs)}"))
        self._tokens[batch.token] = world.now, id
        world.start(batch, id)
        return id

    def find(self, batch: Batch) -> str | None:
        seen = self._world.now - max(self._world.weather.tag_lag, self._world.lag)
        runs = self._world.runs.values()
        return next((run.id for run in runs if run.batch.id == batch.id and run.began <= seen), None)

    def execution(self, location: Location, execution: str) -> Execution | None:
        run = self._world.runs.get(execution)
        if run is None or run.batch.location != location:
            return None
        if run.ended is None:
            return Execution(run.id, "InProgress", ended=False, batch=run.batch.id)
        steps = {"InstallPatches": run.id} if run.installs else {}
        status = "Failed" if run.failed else "Success"
        return Execution(run.id, status, True, run.batch.id, moment(run.ended), steps)

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        return dict(self._world.runs[command].installs)

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        """The commands of others. Ours are left out: no promise that nothing starts twice may rest on this look."""
        then, world = self._world.now - self._world.lag, self._world
        there = {id: world.machines[Node(location.account, location.region, id)].theirs for id in ids}
        return {id: command for id, spans in there.items() for began, ends, command in spans if began <= then < ends}

    def stop(self, location: Location, execution: str) -> None:
        run = self._world.runs.get(execution)
        if run and run.ended is None:
            run.ended, run.failed = self._world.now, True
            self._world.emit("status", _status_event(run))

    def cancel(self, location: Location, command: str) -> None:
        pass


@dataclass(slots=True)
class Slip:
    """A ticket: its key, which holds the remediation's id, and whether it is open."""

    id: str
    key: str
    open: bool = True


class WorldTickets:
    """The port `Tickets`: atomic by key, as OpsCenter is."""

    def __init__(self) -> None:
        self.kept: dict[str, Slip] = {}

    def open(self, errand: Errand) -> str:
        for slip in self.kept.values():
            if slip.key == errand.key and slip.open:
                return slip.id
        slip = Slip(f"oi-{len(self.kept) + 1:012x}", errand.key)
        self.kept[slip.id] = slip
        return slip.id

    def update(self, errand: Errand) -> None:
        pass

    def resolve(self, errand: Errand) -> None:
        slip = self.kept.get(errand.ticket or "")
        if slip:
            slip.open = False


@lru_cache(maxsize=4096)
def _swept(node: Node, control: Control, compliant: bool, at: datetime) -> Finding:
    """What a page of compliance says of one machine: the same for as long as nobody scans it."""
    return Finding(node, control, compliant, at, Source.SWEEP)


def _compliance_event(node: Node, control: str, compliant: bool, now: float) -> dict[str, Any]:
    arn = f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"
    said = {"resource-type": "managed-instance", "resource-id": node.id, "compliance-type": control,
            "compliance-status": "compliant" if compliant else "non_compliant", "severity": "critical"}  # fmt: skip
    return _event("aws.ssm", "Configuration Compliance State Change", node.location, now, said, arn)


def _rule_event(node: Node, compliant: bool, now: float) -> dict[str, Any]:
    said = "COMPLIANT" if compliant else "NON_COMPLIANT"
    at = f"{moment(now):%Y-%m-%dT%H:%M:%S.000Z}"
    result = {"complianceType": said, "evaluationResultIdentifier": {"orderingTimestamp": at}}
    detail = {"resourceType": "AWS::SSM::PatchCompliance", "resourceId": node.id, "configRuleName": "patch-compliance",
              "awsAccountId": node.account, "awsRegion": node.region, "newEvaluationResult": result}  # fmt: skip
    return _event("aws.config", "Config Rules Compliance Change", node.location, now, detail)


def _status_event(run: Run) -> dict[str, Any]:
    said = {"ExecutionId": run.id, "Definition": run.batch.document, "DefinitionVersion": 1.0,
            "Status": "Failed" if run.failed else "Success"}  # fmt: skip
    kind = "EC2 Automation Execution Status-change Notification"
    return _event("aws.ssm", kind, run.batch.location, run.ended or 0.0, said)


def _node_event(node: Node, state: str, now: float) -> dict[str, Any]:
    said = {"instance-id": node.id, "state": state}
    return _event("aws.ec2", "EC2 Instance State-change Notification", node.location, now, said)


def _event(
    source: str, kind: str, location: Location, now: float, detail: dict[str, Any], *resources: str
) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": kind, "source": source, "account": location.account,
        "region": location.region, "time": f"{moment(now):%Y-%m-%dT%H:%M:%SZ}", "resources": list(resources),
        "detail": detail,
    }  # fmt: skip
