"""Alarms: an emergency in the middle of a seed, agents that fall silent, and the ports that only these need."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from chalicelib.core.emergencies import Emergency, Scope
from chalicelib.core.nodes import Location
from chalicelib.ports import Lying
from patchwarden.simulate.faults import HOUR
from patchwarden.simulate.machines import Machine
from patchwarden.simulate.moments import moment
from patchwarden.simulate.rules import ALARM, ALARMED, LIST, UNTIL_ALARM
from patchwarden.simulate.world import World

BEGAN, SILENT = "emergency begun", "silent agents"
"""What the report counts beside the faults."""

SILENT_AGENTS = 3


def fall_silent(world: World, seed: int, heard: Callable[[Machine], None]) -> None:
    """Some agents are not heard for so long that a person must look after them."""
    apart = Random(f"{seed}/silence")
    for machine in apart.sample(list(world.machines.values()), SILENT_AGENTS):
        begins, span = apart.uniform(0, HOUR), apart.uniform(2.0, 2.6) * HOUR
        world.scheduler.at(begins, partial(world.silence, machine, span))
        world.scheduler.at(begins + span - 1, partial(heard, machine))


def emergency(now: float) -> Emergency:
    """The one emergency of a seed; its policy is published within a minute of it."""
    scope = Scope({f"tag:{key}": (value,) for key, value in ALARMED.items()})
    return Emergency(ALARM, ("CVE-2026-990001",), (LIST,), scope, moment(now), UNTIL_ALARM, "night@example.com",
                     "exploited in the wild")  # fmt: skip


class WorldLists:
    """The port `Lists`: the override list lies there as it was recorded."""

    def look(self, digest: str) -> Lying | None:
        return Lying(digest, LIST.version_id) if digest == LIST.list else None

    def address(self, digest: str) -> str:
        return f"s3://example-lists/{digest}.yaml"


class WorldFleets:
    """The port `Fleets`, of which a sweep asks only who is managed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def managed(self, location: Location) -> list[str]:
        return [one.node.id for one in self._world.places[location] if one.ping is not None]
