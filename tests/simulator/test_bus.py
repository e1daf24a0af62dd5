"""The bus delivers, doubles, delays and drops as its weather says, and the same seed gives the same weather."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from patchwarden.simulator.bus import LATENCY, Bus, Weather
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event
from patchwarden.simulator.fleet import START
from patchwarden.simulator.life import Life
from tests.simulator.world import World, make_world

Delivered = list[tuple[datetime, str]]


def deliver(count: int, weather: Weather, *, seed: int = 1, every: int = 1) -> tuple[Bus, Delivered]:
    clock, arrived = VirtualClock(START), []
    bus = Bus(clock, lambda event: arrived.append((clock.now(), event["id"])), weather, seed)
    for number in range(0, count, every):
        at = START + timedelta(seconds=number)
        bus.emit({"id": f"event-{number}", "account": "111122223333", "region": "eu-west-1"}, at)
    clock.run_until(START + timedelta(days=1))
    return bus, arrived


def test_in_calm_weather_every_event_arrives_once_in_order_and_a_second_later() -> None:
    _, arrived = deliver(20, Weather())
    assert arrived == [(START + timedelta(seconds=number) + LATENCY, f"event-{number}") for number in range(20)]


@pytest.mark.parametrize(
    ("weather", "what"),
    [
        (Weather(doubled=0.3), "doubled"),
        (Weather(late=0.3), "late"),
        (Weather(disordered=0.3), "disordered"),
        (Weather(dropped=0.3), "dropped"),
        (Weather(noise=0.3), "foreign"),
    ],
)
def test_about_the_asked_share_of_events_meets_each_fate(weather: Weather, what: str) -> None:
    bus, arrived = deliver(2000, weather)
    assert 500 < bus.tally[what] < 700
    more = {"doubled": 1, "foreign": 1, "dropped": -1}.get(what, 0)
    assert len(arrived) == bus.tally["delivered"] == 2000 + more * bus.tally[what]


def test_a_doubled_event_is_the_same_event_again() -> None:
    _, arrived = deliver(10, Weather(doubled=1.0))
    assert sorted(name for _, name in arrived) == sorted([f"event-{number}" for number in range(10)] * 2)


def test_a_disordered_event_is_passed_by_later_ones_and_a_late_one_comes_much_later() -> None:
    _, arrived = deliver(200, Weather(disordered=0.2))
    assert [name for _, name in arrived] != [f"event-{number}" for number in range(200)]
    _, late = deliver(1, Weather(late=1.0))
    assert late[0][0] - START >= timedelta(minutes=5)


def test_all_dropped_is_silence() -> None:
    assert deliver(50, Weather(dropped=1.0))[1] == []


def test_the_same_seed_gives_the_same_weather_and_another_another() -> None:
    weather = Weather(doubled=0.2, late=0.2, disordered=0.2, dropped=0.2, noise=0.4)
    assert deliver(200, weather, seed=3)[1] == deliver(200, weather, seed=3)[1]
    assert deliver(200, weather, seed=3)[1] != deliver(200, weather, seed=4)[1]


def test_the_fate_of_an_event_does_not_hang_on_the_others() -> None:
    weather = Weather(doubled=0.2, late=0.2, dropped=0.2)
    few, many = deliver(100, weather, every=3)[1], deliver(100, weather)[1]
    assert len(few) > 20
    assert set(few) <= set(many)


Act = Callable[[Life], object]


def history(act: Act, **options: object) -> tuple[list[Event], list[object]]:
    world: World = make_world(**options)
    act(world.sim.life)
    world.run(hours=30)
    reports = [(one.node, one.state, one.report) for one in world.sim.fleet.machines.values()]
    return world.events, [*reports]


def week(life: Life) -> None:
    life.turn_noncompliant(share=0.7)
    life.terminate("doomed")


def test_the_same_seed_gives_the_same_events_and_the_same_machines() -> None:
    weather = Weather(doubled=0.1, late=0.1, disordered=0.1, dropped=0.1, noise=0.5)
    assert history(week, seed=5, weather=weather) == history(week, seed=5, weather=weather)
    assert history(week, seed=5) != history(week, seed=6)
