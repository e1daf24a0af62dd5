"""The small world: what is true of its machines and executions, and what happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalicelib.core.facts import PatchState
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import OVERRIDE, Batch
from chalicelib.ports import Invocation
from patchwarden.simulate import events
from patchwarden.simulate.executions import Run
from patchwarden.simulate.faults import Weather
from patchwarden.simulate.machines import Machine, machines
from patchwarden.simulate.moments import moment
from patchwarden.simulate.rules import LOCATIONS, REPAIR
from patchwarden.simulate.scheduler import Scheduler

PER_PAGE = (8, 50, 50, 50)
"""Machines in one page of compliance: in every fourth small world there are several pages."""

SPANS = (60, 120, 120, 300, 300, 600, 600, 3600)
"""How many seconds an execution takes; the longest stays silent for longer than the sweep waits."""


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
        self.machines = {machine.node: machine for machine in machines(self.random, nodes)}
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
            self.emit("compliance", events.compliance(machine.node, "Patch", not state.noncompliant, self.now))
            if self.random.random() < self.weather.profile.rules:
                self.scheduler.at(self.now + self.random.uniform(1, 1800), lambda: self._rule_says(machine, state))

    def _rule_says(self, machine: Machine, state: PatchState) -> None:
        """A Config rule evaluates what it was told a while ago, and dates that with its own time."""
        self.emit("compliance", events.rule(machine.node, not state.noncompliant, self.now))

    def _patches_come(self, machine: Machine) -> None:
        machine.missing += 1
        self.look(machine)

    def breaks(self, machine: Machine) -> None:
        """Its association ran and is non-compliant."""
        machine.broken, machine.seen = True, self.now
        self.emit("compliance", events.compliance(machine.node, "Association", False, self.now))

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
            self.emit("compliance", events.compliance(machine.node, "Association", True, self.now))

    def claims(self, machine: Machine) -> None:
        """An event calls its association compliant, whatever it is."""
        self.emit("compliance", events.compliance(machine.node, "Association", True, self.now))

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
        self.emit("status", events.status(run))

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


def _terminated(world: World, machine: Machine) -> None:
    machine.state, machine.ping, machine.ended = "terminated", None, world.now
    machine.describe(world.now)
    world.emit("node", events.node(machine.node, "terminated", world.now))


def _stopped(world: World, machine: Machine) -> None:
    if machine.state != "running":
        return
    machine.state, machine.ping = "stopped", "ConnectionLost"
    machine.describe(world.now)
    world.emit("node", events.node(machine.node, "stopped", world.now))
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
