"""A simulation that cannot catch a known defect proves nothing: without any one safeguard it must fail."""

from __future__ import annotations

import pytest

from patchwarden.simulate.run import Simulated
from tests.simulation.sabotage import SABOTAGE

SEEDS = 200
"""Within how many seeds each defect must be found."""

FOUND = {"node lease": (8, 56, 58)}


@pytest.mark.parametrize("safeguard", SABOTAGE)
def test_a_safeguard_that_is_taken_out_is_missed(safeguard: str) -> None:
    sabotage, promises = SABOTAGE[safeguard]
    seen: set[str] = set()
    # those first that have found it before: the others only if that has changed
    for seed in sorted(range(SEEDS), key=lambda seed: seed not in FOUND.get(safeguard, ())):
        run = Simulated(seed, 50)
        sabotage(run)
        seen |= {sentence.split(":", 1)[0] for sentence in run.play().wrong}
        if promises <= seen:
            return
    raise AssertionError(f"without the {safeguard} only {sorted(seen)} broke in {SEEDS} seeds, not {sorted(promises)}")
