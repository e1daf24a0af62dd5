"""The storm of bench/storm.py, small: the dispatch that ships keeps the budget, and the yardsticks measure rightly."""

from __future__ import annotations

from math import ceil

import pytest

from bench.storm import GATE, INSTALL, LINGER, QUOTA, STORM, Fleet, Service, fewest, fleet, one_per_event, soonest
from chalicelib.core.nodes import Location

HERE, THERE = Location("111122223333", "eu-west-1"), Location("444455556666", "us-east-1")


def storm(**arrivals: list[float]) -> Fleet:
    return Fleet("even", dict(zip((HERE, THERE), arrivals.values(), strict=False)))


@pytest.mark.parametrize("slow", [False, True], ids=["calls take no time", "calls take their time"])
@pytest.mark.parametrize("name", ["even", "skewed"])
def test_a_storm_keeps_the_budget_and_loses_and_doubles_nobody(name: str, slow: bool) -> None:
    struck = fleet(name, 1200, 6)
    found = Service(struck, "ours", dispatchers=1, slow=slow, cap=7200).run()
    assert (found.unproved, found.doubled, found.throttled) == (0, 0, 0)
    assert found.starts <= 1.05 * fewest(struck)
    assert found.drained <= LINGER + 1.2 * soonest(struck)


def test_the_fleets_are_what_they_are_called() -> None:
    even, skewed = fleet("even", 100_000, 500), fleet("skewed", 100_000, 500)
    assert even.nodes == skewed.nodes == 100_000
    assert {len(moments) for moments in even.arrivals.values()} == {50}
    assert 4_800 < max(map(len, skewed.arrivals.values())) < 5_000
    assert all(0 <= moment <= STORM for moments in skewed.arrivals.values() for moment in moments)


def test_the_fewest_starts_part_a_place_by_linger_and_by_fifty() -> None:
    assert fewest(storm(here=[0, LINGER])) == 1
    assert fewest(storm(here=[0, LINGER + 1])) == 2
    assert fewest(storm(here=[0] * 101)) == 3
    assert fewest(storm(here=[0], there=[0])) == 2


def test_the_last_start_waits_for_the_last_event_or_for_the_rate() -> None:
    assert soonest(storm(here=[0, 7])) == 7
    assert soonest(storm(here=[0] * 500)) == ceil(500 / 50) - 1


def test_one_execution_per_event_waits_for_its_gate_and_for_the_quota() -> None:
    gated = one_per_event(storm(here=[0, 0, 0]), "one by one", GATE)
    assert gated.waits == [0, GATE, 2 * GATE]
    crowded = one_per_event(storm(here=[0] * (QUOTA + 1)), "all at once", 0)
    assert crowded.waits[-1] == INSTALL
