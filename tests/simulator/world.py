"""A simulated organisation for tests: the events that arrived, and boto3 clients that never try twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.core.nodes import Location
from patchwarden.simulator.events import Event
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.simulation import Simulation, simulate

SLEEPER = """
schemaVersion: "0.3"
description: Waits.
parameters:
  BatchId: {type: String}
  Minutes: {type: String, default: "10", allowedPattern: "^[0-9]+$"}
mainSteps:
  - name: Wait
    action: aws:sleep
    inputs: {Duration: "PT{{ Minutes }}M"}
  - name: WaitAgain
    action: aws:sleep
    inputs: {Duration: PT1M}
    isEnd: true
"""
TOKEN = "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13"
ONCE = Config(retries={"total_max_attempts": 1})


@dataclass
class World:
    """A simulation, the events that arrived, and clients of it that never try twice."""

    sim: Simulation
    events: list[Event] = field(default_factory=list)
    clients: dict[tuple[str, Location], Any] = field(default_factory=dict)

    @property
    def home(self) -> Location:
        return self.sim.fleet.locations[0]

    def client(self, service: str, location: Location | None = None) -> Any:
        place = location or self.home
        if (service, place) not in self.clients:
            make: Any = self.sim.session(place.account, place.region).client
            self.clients[service, place] = make(service, config=ONCE)
        return self.clients[service, place]

    def at(self, machine: Machine) -> Any:
        """The ssm client of the machine's own account and Region."""
        return self.client("ssm", machine.node.location)

    def run(self, **span: float) -> None:
        self.sim.clock.run_until(self.sim.clock.now() + timedelta(**span))

    def the(self, part: str) -> Machine:
        return self.sim.fleet.cast[part][0]

    def heard(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["detail-type"] == kind]


def make_world(**options: Any) -> World:
    events: list[Event] = []
    return World(simulate(events.append, **options), events)


def refused(call: Callable[..., Any], **parameters: Any) -> dict[str, Any]:
    """The error answer to a call that must be refused."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer: dict[str, Any] = caught.value.response
    return answer


def code(call: Callable[..., Any], **parameters: Any) -> str:
    return str(refused(call, **parameters)["Error"]["Code"])


def token(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def with_sleeper(folder: Path, **options: Any) -> World:
    (folder / "Sleeper.yaml").write_text(SLEEPER)
    return make_world(runbooks=folder, **options)


def patch(world: World, machines: list[Machine], **changes: str) -> str:
    """Start Patchwarden-PatchNodes for machines of one place; the execution's id."""
    given = {
        "BatchId": token(1),
        "SnapshotId": TOKEN,
        "RebootOption": "RebootIfNeeded",
        "SnapshotRootVolume": "false",
        "MaxConcurrency": "50%",
        "MaxErrors": "100%",
        "AutomationAssumeRole": f"arn:aws:iam::{machines[0].node.account}:role/patchwarden-automation",
        **changes,
    }
    answer = world.at(machines[0]).start_automation_execution(
        DocumentName="Patchwarden-PatchNodes",
        Parameters={"NodeIds": [one.node.id for one in machines], **{key: [value] for key, value in given.items()}},
    )
    return str(answer["AutomationExecutionId"])


def execution_of(world: World, machine: Machine, execution: str) -> dict[str, Any]:
    answer = world.at(machine).get_automation_execution(AutomationExecutionId=execution)
    return dict(answer["AutomationExecution"])
