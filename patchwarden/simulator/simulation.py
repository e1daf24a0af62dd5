"""The simulation: clock, fleet, AWS, bus and wire, put together from a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import boto3

from patchwarden.simulator.api_sts import SECRET, access_key
from patchwarden.simulator.aws import Aws
from patchwarden.simulator.bus import CALM, Bus, Weather
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS, START, Fleet, build_fleet
from patchwarden.simulator.life import Life
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.protocols import open_session
from patchwarden.simulator.runbook_world import RunbookWorld
from patchwarden.simulator.wire import Fault, Wire, no_fault

RUNBOOKS = Path(__file__).parents[2] / "runbooks"


@dataclass(frozen=True, slots=True)
class Simulation:
    """Everything there is. `aws` is the truth, `wire` what boto3 sees of it, `bus` what the service hears of it."""

    clock: VirtualClock
    fleet: Fleet
    aws: Aws
    life: Life
    bus: Bus
    wire: Wire

    def session(self, account: str | None = None, region: str = REGIONS[0]) -> boto3.Session:
        """A boto3 session with an account's own credentials (the hub's by default), answered by the wire."""
        session = boto3.Session(
            aws_access_key_id=access_key(account or self.aws.accounts[0]),
            aws_secret_access_key=SECRET,
            region_name=region,
            botocore_session=open_session(),
        )
        self.wire.install(session)
        return session


def simulate(
    sink: Callable[[Event], object],
    *,
    seed: int = 1,
    nodes: int = 60,
    accounts: Sequence[str] = ACCOUNTS,
    regions: Sequence[str] = REGIONS,
    start: datetime = START,
    weather: Weather = CALM,
    limits: Limits | None = None,
    fault: Fault = no_fault,
    runbooks: Path = RUNBOOKS,
) -> Simulation:
    """A simulated organisation whose events go to `sink`; its first account is the hub. One seed, one history."""
    clock = VirtualClock(start)
    fleet = build_fleet(seed, nodes, accounts, regions, start)
    bus = Bus(clock, sink, weather, seed)
    aws = Aws(clock, fleet, bus.emit, limits)
    for path in sorted(runbooks.glob("*.yaml")):
        aws.automations.publish(path.stem, path.read_text(encoding="utf-8"))
    aws.automations.world = RunbookWorld(aws)
    return Simulation(clock, fleet, aws, Life(aws), bus, Wire(aws, fault=fault))
