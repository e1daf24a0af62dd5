"""Meddling: others who patch our nodes for a while, and events that speak well of what stays broken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from patchwarden.simulate.machines import Machine
from patchwarden.simulate.world import World

THEIRS, LEFT, CLAIMED = "patched by others", "left to others", "false claim of an association"
"""What the report counts beside the faults: foreign commands, how often a node was left to one, and false events."""

HANDS, STUBBORN, CLAIMS = 8, 4, 3


def meddle(world: World, seed: int, met: Callable[[str], None]) -> None:
    """Draws apart whether others patch here, and whether events lie about associations."""
    apart, profile = Random(f"{seed}/meddling"), world.weather.profile
    theirs, lies = apart.random() < profile.hands, apart.random() < profile.claims
    if theirs:
        hands(world, apart, met)
    if lies:
        claims(world, apart, met)


def hands(world: World, random: Random, met: Callable[[str], None]) -> None:
    """Some machines are patched by others, for minutes or for most of an hour; half of that does what it should."""
    for number, machine in enumerate(random.sample(list(world.machines.values()), min(HANDS, len(world.machines)))):
        begins, span, works = random.uniform(0, 1500), random.uniform(300, 3000), random.random() < 0.5
        world.scheduler.at(begins, partial(_patched, world, machine, span, works, f"theirs-{number}", met))


def claims(world: World, random: Random, met: Callable[[str], None]) -> None:
    """Some associations break and nothing mends them, while event after event calls them compliant."""
    for machine in random.sample(list(world.machines.values()), min(STUBBORN, len(world.machines))):
        breaks = random.uniform(0, 900)
        machine.stubborn = True
        world.scheduler.at(breaks, partial(world.breaks, machine))
        for _ in range(CLAIMS):
            world.scheduler.at(random.uniform(breaks, world.weather.chaos), partial(_claimed, world, machine, met))


def _patched(
    world: World, machine: Machine, span: float, works: bool, command: str, met: Callable[[str], None]
) -> None:
    if not machine.reachable:
        return
    machine.theirs.append((world.now, world.now + span, command))
    met(THEIRS)
    if works:
        world.scheduler.at(world.now + span, partial(world.fix, machine))


def _claimed(world: World, machine: Machine, met: Callable[[str], None]) -> None:
    if machine.state != "terminated":
        met(CLAIMED)
        world.claims(machine)
