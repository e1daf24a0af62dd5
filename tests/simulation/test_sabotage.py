"""A simulation that cannot catch a known defect proves nothing: without any one safeguard it must fail."""

from __future__ import annotations

import pytest

from patchwarden.simulate.run import Simulated
from tests.simulation.sabotage import SABOTAGE

SEEDS = 200
"""Within how many seeds each defect must be found."""

PROFILE = {"node lease": "races"}
"""It is missed only where rounds overlap and an index lags: of `mixed` that is one seed in about a hundred."""


@pytest.mark.parametrize("safeguard", SABOTAGE)
def test_a_safeguard_that_is_taken_out_is_missed(safeguard: str) -> None:
    sabotage, promises = SABOTAGE[safeguard]
    seen: set[str] = set()
    for seed in range(SEEDS):
        run = Simulated(seed, 50, PROFILE.get(safeguard, "mixed"))
        sabotage(run)
        seen |= {sentence.split(":", 1)[0] for sentence in run.play().wrong}
        if promises <= seen:
            return
    raise AssertionError(f"without the {safeguard} only {sorted(seen)} broke in {SEEDS} seeds, not {sorted(promises)}")
