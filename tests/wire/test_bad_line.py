"""Mornings on a bad line: real adapters, real boto3 and its retries; nothing lost, doubled or stuck.

One seed again: `python -m tests.wire.soak --seeds 17..17`; `make soak` plays two thousand.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.wire.morning import Morning
from tests.wire.soak import morning

CHUNKS = [range(start, start + 8) for start in range(1, 33, 8)]
"""Thirty-two seeds, in parts that may run side by side."""
NODES = 20
SABOTAGED = range(1, 31)


@pytest.mark.parametrize("seeds", CHUNKS, ids=lambda chunk: f"{chunk[0]}-{chunk[-1]}")
def test_mornings_end_with_nothing_lost_doubled_or_stuck(seeds: range) -> None:
    troubles, tally = [], [morning(seed, NODES) for seed in seeds]
    for seed, found, _ in tally:
        troubles += [f"seed {seed}: {each}" for each in found]
    assert troubles == []
    counted = sum((calls for _, _, calls in tally), start=type(tally[0][2])())
    assert counted["faults after"] > len(seeds) * 10, "too few answers were lost to show anything"
    assert counted["executions"] > len(seeds) * 4


def test_without_the_sweep_something_would_be_stuck() -> None:
    assert any(Morning(seed, sweeps=False).run() for seed in SABOTAGED)


def test_with_tokens_forgotten_at_once_a_repeated_start_would_be_a_second_one() -> None:
    found = (Morning(seed, memory=timedelta()).run() for seed in SABOTAGED)
    assert any("executions at once" in trouble for troubles in found for trouble in troubles)


def test_without_the_look_up_by_tag_an_execution_would_run_for_nobody() -> None:
    found = (Morning(seed, looks=False).run() for seed in SABOTAGED)
    assert any("has the batch" in trouble for troubles in found for trouble in troubles)


def test_the_same_seed_is_the_same_morning() -> None:
    one, other = Morning(7), Morning(7)
    assert (one.run(), one.tally) == (other.run(), other.tally)
    assert [one.ledger.trail(case.id) for case in one.ledger.all_heads()] == [
        other.ledger.trail(case.id) for case in other.ledger.all_heads()
    ]
