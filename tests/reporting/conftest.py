"""One simulated fleet, and what resource data sync would have written of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from patchwarden.reporting.local import Synced
from patchwarden.simulator import sync
from patchwarden.simulator.simulation import Simulation, simulate


@pytest.fixture(scope="package")
def sim() -> Simulation:
    """A fleet two hours after the month's patches came out: some scanned, some stopped, one terminated since."""
    made = simulate(lambda event: None, seed=3, nodes=60)
    made.life.turn_noncompliant()
    made.clock.run_until(made.clock.now() + timedelta(hours=2))
    (doomed, *_) = made.fleet.cast["doomed"]
    assert doomed.report and doomed.report.noncompliant
    doomed.state, doomed.since = "terminated", made.clock.now()
    never = next(one for one in made.fleet.machines.values() if one.state == "stopped" and one is not doomed)
    never.report = None
    return made


@pytest.fixture(scope="package")
def data(sim: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("synced")
    sync.write(sim.fleet, sim.clock.now(), directory)
    return directory


@pytest.fixture(scope="package")
def synced(data: Path) -> Synced:
    return Synced(data)
