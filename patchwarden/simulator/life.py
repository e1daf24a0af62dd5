"""Life: what happens to the fleet by itself, whether or not anybody patches it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from patchwarden.simulator.aws import Aws
from patchwarden.simulator.fleet import patch_tuesday
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.patches import chosen, released

SOON = 20
"""Seconds between the scan that finds a machine non-compliant and the mishap that its part holds for it."""


class Life:
    """The days of a fleet: vendors release, the daily scan looks, machines are stopped, lost and terminated."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def turn_noncompliant(
        self, *, within: timedelta = timedelta(minutes=30), share: float = 1.0, month: tuple[int, int] | None = None
    ) -> int:
        """This month's patches come out now, and the daily scan finds them missing. How many machines lack some.

        Another `month` (year and number) releases that one's instead. The scans are spread over `within`. Just after
        them the `stopped` are stopped and the `dead-agent` falls silent.
        """
        struck = [machine for machine in self._aws.fleet.machines.values() if self._is_struck(machine, share)]
        for machine in struck:
            self._release(machine, month or patch_tuesday(self._aws.clock.now()))
            self._scan(machine, within, self._scanned)
        return len(struck)

    def daily_scan(self, *, within: timedelta = timedelta(hours=1)) -> None:
        """State Manager scans every machine that answers, spread over `within`."""
        for machine in self._aws.fleet.machines.values():
            self._scan(machine, within, lambda _: None)

    def terminate(self, part: str) -> None:
        """Terminate everybody who plays this part and still exists."""
        for machine in self._aws.fleet.cast[part]:
            if machine.state not in ("shutting-down", "terminated"):
                self._aws.power.terminate(machine)

    def reboot(self, part: str) -> None:
        """Reboot everybody who plays this part, as an operator would, and scan them when they are back."""
        for machine in self._aws.fleet.cast[part]:
            self._reboot(machine)

    def _reboot(self, machine: Machine) -> None:
        machine.reboots = True
        self._aws.power.reboot(machine, lambda: self._aws.commands.scan(machine))

    def _is_struck(self, machine: Machine, share: float) -> bool:
        return self._aws.names.draw("struck", machine.node).random() < share

    def _release(self, machine: Machine, released_in: tuple[int, int]) -> None:
        year, month = released_in
        draw = self._aws.names.draw("release", machine.node, year, month)
        fated = [patch for patch in released(machine.platform, year, month) if patch.id in machine.unfixable]
        machine.release([*chosen(machine.platform, year, month, draw=draw), *fated])

    def _scan(self, machine: Machine, within: timedelta, then: Callable[[Machine], None]) -> None:
        offset = self._aws.names.draw("scan", machine.node, self._aws.clock.now()).random() * within.total_seconds()
        self._aws.clock.after(round(offset), lambda: self._aws.commands.scan(machine, lambda: then(machine)))

    def _scanned(self, machine: Machine) -> None:
        if "stopped" in machine.parts:
            self._aws.clock.after(SOON, lambda: self._stop(machine))
        if "dead-agent" in machine.parts:
            self._aws.clock.after(SOON, lambda: self._fall_silent(machine))

    def _stop(self, machine: Machine) -> None:
        if machine.state == "running":
            self._aws.power.stop(machine)

    def _fall_silent(self, machine: Machine) -> None:
        machine.agent, machine.since = False, self._aws.clock.now()
