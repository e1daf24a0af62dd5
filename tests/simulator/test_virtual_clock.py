"""The virtual clock runs what is due in one order, and time moves only when it is told to."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchwarden.simulator.clock import Process, VirtualClock

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_start_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no zone"):
        VirtualClock(datetime(2026, 11, 23))  # noqa: DTZ001


def test_what_is_due_runs_at_its_moment_and_nothing_later_runs() -> None:
    clock, seen = VirtualClock(START), []
    clock.after(60, lambda: seen.append(("later", clock.now())))
    clock.after(5, lambda: seen.append(("sooner", clock.now())))
    clock.run_until(START + timedelta(seconds=59))
    assert seen == [("sooner", START + timedelta(seconds=5))]
    assert clock.now() == START + timedelta(seconds=59)
    assert clock.next_moment() == START + timedelta(seconds=60)


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=30))
def test_equal_moments_run_in_the_order_they_were_asked_for(delays: list[int]) -> None:
    clock = VirtualClock(START)
    seen: list[tuple[int, int]] = []
    for number, delay in enumerate(delays):
        clock.after(delay, partial(seen.append, (delay, number)))
    clock.run_until(START + timedelta(seconds=10))
    assert seen == sorted(seen)
    assert len(seen) == len(delays)


def test_a_call_may_ask_for_more_and_it_runs_in_the_same_pass() -> None:
    clock, seen = VirtualClock(START), []
    clock.after(1, lambda: clock.after(1, lambda: seen.append(clock.now())))
    clock.run_until(START + timedelta(seconds=2))
    assert seen == [START + timedelta(seconds=2)]


def test_a_sleep_lets_time_pass_and_what_was_due_runs_late_but_never_back_in_time() -> None:
    clock, seen = VirtualClock(START), []
    clock.after(1, lambda: clock.sleep(10))
    clock.after(2, lambda: seen.append(clock.now()))
    clock.run_until(START + timedelta(seconds=5))
    assert seen == [START + timedelta(seconds=11)]
    assert clock.now() == START + timedelta(seconds=11)


def test_a_process_sleeps_and_waits_for_a_condition() -> None:
    clock = VirtualClock(START)
    seen: list[datetime] = []
    ready: list[bool] = []

    def process() -> Process:
        yield 30
        seen.append(clock.now())
        yield lambda: bool(ready)
        seen.append(clock.now())

    clock.spawn(process())
    clock.after(61, lambda: ready.append(True))
    clock.run_until(START + timedelta(minutes=2))
    assert seen == [START + timedelta(seconds=30), START + timedelta(seconds=65)]
    assert clock.next_moment() is None
