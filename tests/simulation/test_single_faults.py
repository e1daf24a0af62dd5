"""Every single fault at every outside call of every path, and every pair on the happy one: no promise breaks."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from patchwarden.simulate.faults import EVERYWHERE, Fault, possible
from tests.simulation.paths import PATHS, calls, simulated, wrong


@pytest.mark.parametrize("path", PATHS)
def test_a_path_without_faults_ends_where_it_should(path: str) -> None:
    report = simulated(path, {}).play()
    assert report.wrong == ()
    assert report.states == {PATHS[path][2]: 1}


@pytest.mark.parametrize("path", PATHS)
def test_every_single_fault_at_every_call_keeps_every_promise(path: str) -> None:
    tried = {(number, fault): wrong(path, {number: fault})
             for number, call in enumerate(calls(path), 1) for fault in possible(call)}  # fmt: skip
    assert len(tried) > 4 * len(calls(path))
    assert {key: sentences for key, sentences in tried.items() if sentences} == {}


def main_calls() -> list[int]:
    """The calls of the happy path up to the one that finishes its batch."""
    named = calls("happy")
    return list(range(1, len(named) - named[::-1].index("ledger.save_batch") + 1))


@pytest.mark.parametrize("first", EVERYWHERE)
def test_every_pair_of_faults_on_the_happy_path_keeps_every_promise(first: Fault) -> None:
    broken = {}
    for (one, other), second in product(combinations(main_calls(), 2), EVERYWHERE):
        sentences = wrong("happy", {one: first, other: second})
        if sentences:
            broken[one, other, second] = sentences
    assert broken == {}
