"""AWS: everything that the simulated organisation's accounts and Regions hold, and who may ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location, Node
from patchwarden.simulator import baselines
from patchwarden.simulator.automations import Automations
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.compliance import Compliance
from patchwarden.simulator.events import Event
from patchwarden.simulator.fleet import Fleet
from patchwarden.simulator.limits import Limits, Throttle
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.names import Names
from patchwarden.simulator.opsitems import OpsItems
from patchwarden.simulator.power import Power
from patchwarden.simulator.remediations import Remediations
from patchwarden.simulator.run_command import RunCommand
from patchwarden.simulator.setup import Setup

RETENTION = timedelta(days=30)
"""How long compliance outlives a terminated node."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where: the account of the credentials and the Region of the endpoint."""

    account: str
    region: str
    arn: str

    @property
    def location(self) -> Location:
        return Location(self.account, self.region)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a root volume."""

    id: str
    volume: str
    started_at: datetime
    description: str
    tags: tuple[tuple[str, str], ...] = ()


Request = Mapping[str, Any]
Reply = dict[str, Any]
Operation = Callable[["Aws", Caller, Request], Reply]
"""What serves one API operation: who asks for what, in botocore's names, and what it is told; a Refusal otherwise."""


class Aws:
    """The simulated AWS. `denied` holds (account, service) that refuse every call but the runbooks' own.

    `down` holds the places whose Region answers nobody.
    """

    def __init__(
        self, clock: VirtualClock, fleet: Fleet, emit: Callable[[Event, datetime], None], limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.setup = Setup()
        self.clock = clock
        self.fleet = fleet
        self.accounts = tuple(dict.fromkeys(location.account for location in fleet.locations))
        self.names = Names(fleet.seed)
        self.throttle = Throttle(self.limits)
        self.power = Power(clock, self.names, emit)
        self.compliance = Compliance(clock, self.names, emit, self.accounts)
        self.commands = RunCommand(clock, self.names, fleet, self.power, self.compliance, emit)
        self.automations = Automations(clock, self.names, self.commands, self.limits, emit, fleet)
        self.automations.unreachable = self._unreachable
        self.remediations = Remediations(clock, self.automations, self.compliance.results)
        self.compliance.watch(self.remediations.evaluated)
        self.opsitems = OpsItems(clock, self.names)
        self.baselines = baselines.shelves()
        self.predefined: dict[Node, str] = {}
        self.snapshots: dict[Location, dict[str, Snapshot]] = defaultdict(dict)
        self.denied: set[tuple[str, str]] = set()
        self.down: set[Location] = set()
        for machine in fleet.machines.values():
            self.compliance.remember(machine)

    def deny(self, account: str, *services: str) -> None:
        """Refuse calls in an account, to all services but sts unless some are named; sts: the role is not lent."""
        self.denied |= {(account, service) for service in services or ("ssm", "config", "ec2")}

    def _unreachable(self, location: Location) -> str | None:
        """Why Automation cannot act there on behalf of the hub."""
        if location.account not in self.accounts or (location.account, "sts") in self.denied:
            return f"the execution role of {location.account} cannot be assumed"
        if (location.account, "ssm") in self.denied:
            return f"not authorized to perform: ssm:StartAutomationExecution in {location}"
        return None

    def allow(self, account: str) -> None:
        """End every denial in the account."""
        self.denied = {(denied, service) for denied, service in self.denied if denied != account}

    def shown(self, location: Location) -> Iterator[Machine]:
        """The machines that EC2 and Systems Manager still show."""
        return (machine for machine in self.fleet.at(location) if not self.power.forgotten(machine))

    def reported(self, location: Location) -> Iterator[Machine]:
        """The machines whose compliance is kept: it outlives a terminated one by 30 days."""
        now = self.clock.now()
        for machine in self.fleet.at(location):
            gone_at = machine.since if machine.state == "terminated" else None
            if machine.report is not None and (gone_at is None or now - gone_at <= RETENTION):
                yield machine
