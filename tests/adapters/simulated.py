"""A simulated organisation for the adapters' tests, reached through real boto3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import boto3

from chalicelib.adapters.accounts import Accounts
from chalicelib.core.nodes import Location, Node
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.refusals import Refusal
from patchwarden.simulator.simulation import Simulation, simulate
from patchwarden.simulator.wire import Phase


@dataclass
class World:
    """The simulation, every call that reached it, and faults to come: per operation, what to raise before or after."""

    calls: list[str] = field(default_factory=list)
    faults: dict[tuple[str, Phase], list[Exception]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sim: Simulation = simulate(lambda event: None, fault=self._fault, **self.options)

    def _fault(self, service: str, operation: str, phase: Phase) -> None:
        if phase == "before":
            self.calls.append(operation)
        waiting = self.faults.get((operation, phase))
        if waiting:
            raise waiting.pop(0)

    def fail(self, operation: str, *errors: Exception, phase: Phase = "before") -> None:
        """The next calls of this operation end so; `after` means that they took effect."""
        self.faults.setdefault((operation, phase), []).extend(errors)

    def refuse(self, operation: str, code: str, status: int = 400, **members: Any) -> None:
        self.fail(operation, Refusal(code, "no", status, **members))

    @property
    def hub(self) -> str:
        return self.sim.aws.accounts[0]

    @property
    def home(self) -> Location:
        return self.sim.fleet.locations[0]

    @property
    def member(self) -> Location:
        """A location in another account than the hub."""
        return next(location for location in self.sim.fleet.locations if location.account != self.hub)

    def accounts(self, attempts: int = 1, **options: Any) -> Accounts:
        chosen = {"role": "patchwarden-member", "external_id": "ours", "hub_account": self.hub, **options}
        return Accounts(attempts=attempts, session=self.sim.session, now=self.sim.clock.now, **chosen)

    def hooked(self, event: str, change: Callable[[dict[str, Any]], None]) -> Accounts:
        """Accounts whose answers are changed on the way, where botocore tells of this event."""

        def apply(parsed: dict[str, Any], **_: Any) -> None:
            change(parsed)

        def session() -> boto3.Session:
            opened = self.sim.session()
            opened.events.register(event, apply)
            return opened

        return Accounts(role="member", hub_account=self.hub, session=session, now=self.sim.clock.now)

    def run(self, **span: float) -> None:
        self.sim.clock.run_until(self.sim.clock.now() + timedelta(**span))

    def noncompliant(self) -> World:
        """This month's patches are out, and the daily scan has found them missing."""
        self.sim.life.turn_noncompliant()
        self.run(hours=1)
        return self

    def the(self, part: str, fits: Callable[[Machine], bool] = lambda machine: True) -> Machine:
        return next(machine for machine in self.sim.fleet.cast[part] if fits(machine))

    def plain(self, location: Location, count: int) -> list[Node]:
        """Running EC2 nodes without a part in the story, in this location."""
        quiet = [one for one in self.sim.fleet.at(location) if one.online and not one.hybrid and one.parts <= {"new"}]
        return [machine.node for machine in quiet[:count]]
