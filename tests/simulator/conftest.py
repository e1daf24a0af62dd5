"""What the tests of the simulator share."""

from __future__ import annotations

import pytest

from tests.simulator.world import World, make_world


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def noncompliant() -> World:
    """The same, an hour after this month's patches came out."""
    made = make_world()
    made.sim.life.turn_noncompliant()
    made.run(hours=1)
    return made
