"""Power: what EC2 does to a machine, and how long that keeps its agent away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event, instance_state
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.names import Names

STOPPING = 35
SHUTTING_DOWN = 40
AGENT = 20
"""Seconds from the end of the boot to the agent's first word."""

FORGOTTEN = timedelta(hours=1)
"""How long EC2 still describes a terminated instance."""


class Power:
    """Starts, stops, reboots and terminates; each change of state is an event."""

    def __init__(self, clock: VirtualClock, names: Names, emit: Callable[[Event, datetime], None]) -> None:
        self._clock = clock
        self._names = names
        self._emit = emit

    def start(self, machine: Machine) -> None:
        """From stopped over pending to running; its agent answers a while after that."""
        machine.away = True
        self._becomes(machine, "pending")
        self._clock.after(machine.pace.boot, lambda: self._booted(machine))

    def stop(self, machine: Machine) -> None:
        """From running over stopping to stopped."""
        self._becomes(machine, "stopping")
        self._clock.after(STOPPING, lambda: self._settles(machine, "stopping", "stopped"))

    def terminate(self, machine: Machine) -> None:
        """For good. What was reported about the machine stays."""
        self._becomes(machine, "shutting-down")
        self._clock.after(SHUTTING_DOWN, lambda: self._settles(machine, "shutting-down", "terminated"))

    def reboot(self, machine: Machine, then: Callable[[], None] | None = None) -> None:
        """The agent goes away, and `then` runs when it is back. EC2 sends no event for a reboot."""
        machine.away = True
        self._clock.after(machine.pace.reboot, lambda: self._back(machine, then))

    def forgotten(self, machine: Machine) -> bool:
        """Whether EC2 and Systems Manager no longer show the machine at all."""
        since = machine.since if machine.state == "terminated" else None
        return since is not None and self._clock.now() - since > FORGOTTEN

    def _becomes(self, machine: Machine, state: str) -> None:
        machine.state, machine.since = state, self._clock.now()
        self._emit(instance_state(self._names.uuid("event"), machine.node, state, machine.since), machine.since)

    def _settles(self, machine: Machine, on_the_way: str, state: str) -> None:
        if machine.state == on_the_way:
            self._becomes(machine, state)

    def _booted(self, machine: Machine) -> None:
        if machine.state == "pending":
            self._becomes(machine, "running")
            self._clock.after(AGENT, lambda: self._back(machine, None))

    def _back(self, machine: Machine, then: Callable[[], None] | None) -> None:
        """A machine that was stopped or terminated meanwhile does not come back, nor does a dead agent go on."""
        if machine.state != "running":
            return
        machine.away = False
        machine.reboot()
        if then and machine.agent:
            then()
