"""Many seeds, each another fleet and another weather of faults: nothing lost, nothing doubled, nothing left over."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.errors import Barred, Temporary
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch
from chalicelib.core.remediations import Cause
from patchwarden.simulate.alarms import BEGAN, SILENT
from patchwarden.simulate.faults import PROFILES, UPGRADED, Fault, Profile
from patchwarden.simulate.meddling import CLAIMED, LEFT, THEIRS
from patchwarden.simulate.readings import READ
from patchwarden.simulate.rules import LOCATIONS
from patchwarden.simulate.run import Simulated, replay
from patchwarden.simulate.soak import Sum, reports
from patchwarden.simulate.telling import Report
from tests.simulation.sabotage import Instead

SEEDS, NODES, CHUNK = 2000, 50, 100
"""Chunk by chunk, so that processors share them; `make soak` runs 50,000."""

ROOT = Path(__file__).parents[2]


def failures(profile: Profile | str, seeds: range, nodes: int = NODES) -> dict[int, tuple[str, ...]]:
    runs = [Simulated(seed, nodes, profile).play() for seed in seeds]
    return {run.seed: run.wrong for run in runs if run.wrong}


def refuse(run: Simulated, account: str) -> None:
    """From now on everything is denied in one account."""
    for port in ("inventory", "automations"):
        setattr(run, port, Refusing(getattr(run, port), account))


class Refusing:
    """A port that denies what is asked of one account."""

    def __init__(self, whole: Any, account: str) -> None:
        self._whole, self._account = whole, account

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._whole, name)

        def asked(first: Any, *rest: Any, **named: Any) -> Any:
            place = getattr(first, "location", first)
            if place.account == self._account:
                raise Barred(f"{name} is not allowed in {self._account}")
            return real(first, *rest, **named)

        return asked


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_promise(first: int) -> None:
    total = Sum()
    for report in reports(range(first, first + CHUNK), NODES, "mixed"):
        total.add(report)
    assert total.failures == {}
    assert total.seeds == CHUNK
    happened = {*Fault, UPGRADED, BEGAN, SILENT, READ, THEIRS, LEFT, CLAIMED}
    assert set(total.faults) == happened, "every kind of fault must have happened"
    assert set(total.states) >= {"resolved", "ticketed", "gone", "reboot_pending"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_profile_breaks_a_promise(profile: str) -> None:
    assert failures(profile, range(10_000, 10_010)) == {}


@pytest.mark.parametrize("doubled", [0.1, 0.5])
def test_events_that_come_twice_start_nothing_twice(doubled: float) -> None:
    assert failures(replace(PROFILES["events"], doubled=doubled), range(20)) == {}


def test_events_redriven_hours_later_start_nothing_twice() -> None:
    assert failures(replace(PROFILES["events"], doubled=1.0, redriven=6 * 3600.0), range(20)) == {}


@pytest.mark.parametrize("share", [0.03, 1.0])
def test_lost_events_cost_no_more_than_sweeps(share: float) -> None:
    lossy = replace(PROFILES["crashes"], dropped=(share,), statuses_dropped=(share,))
    assert failures(lossy, range(20)) == {}


@pytest.mark.parametrize("kept", [0.0, 60.0, 600.0, None])
def test_a_token_may_be_forgotten_at_any_time(kept: float | None) -> None:
    assert failures(replace(PROFILES["tokens"], tokens=(kept,)), range(20)) == {}


def test_clocks_that_are_ten_minutes_wrong_double_nothing() -> None:
    assert failures(PROFILES["skew"], range(20)) == {}


def test_nodes_that_go_away_leave_no_lease_behind() -> None:
    assert failures(replace(PROFILES["crashes"], troubles=0.8), range(20)) == {}


def test_a_ticket_system_that_is_down_for_a_day_gets_each_ticket_once() -> None:
    assert failures(PROFILES["tickets"], range(10)) == {}


def test_a_node_that_always_fails_is_tried_as_often_as_its_policy_says() -> None:
    run = Simulated(7, 50, "none")
    for machine in run.world.machines.values():
        machine.temper, machine.tags = "fails", {"Kind": "plain"}
    assert run.play().wrong == ()
    attempts = [
        sum(line.cause is Cause.STARTED for line in run.ledger.trail(case.id))
        for case in run.ledger.all_heads() if case.control == "patch"
    ]  # fmt: skip
    assert attempts == [2] * 50


def test_no_case_is_resolved_by_a_runbook_that_lies() -> None:
    run = Simulated(7, 50, "none")
    for machine in run.world.machines.values():
        machine.temper, machine.tags = "lies", {"Kind": "plain"}
    assert run.play().wrong == ()
    assert {case.state.value for case in run.ledger.all_heads()} == {"ticketed"}


def test_an_account_that_denies_everything_holds_up_nobody_else() -> None:
    for seed in range(5):
        run = Simulated(seed, NODES, "events")
        refuse(run, "444455556666")
        assert [sentence for sentence in run.play().wrong if "111122223333" in sentence] == []
        assert sum("/access/" in slip.key for slip in run.tickets.kept.values()) == 1, "one ticket, for the account"


def test_a_place_that_is_down_for_six_hours_holds_up_no_other_and_is_caught_up_with_in_two_sweeps() -> None:
    """Nothing is heard from the place and nothing gets through to it; its nodes are found when it is back."""
    down, hours, sweeps = LOCATIONS[1], 6 * 3600.0, 2 * 900.0
    run = Simulated(3, NODES, replace(PROFILES["none"], chaos=hours))
    for machine in run.world.machines.values():
        machine.temper = "well"
    for port in ("inventory", "automations"):
        setattr(run, port, Down(run, getattr(run, port), down, hours))
    emitted = run.world.emit
    run.world.emit = lambda kind, event: (
        None if (event["account"], event["region"]) == (down.account, down.region) and run.scheduler.now < hours
        else emitted(kind, event)
    )  # fmt: skip
    seen: dict[str, set[str]] = {}

    def look(when: str, here: bool) -> None:
        cases = [case for case in run.ledger.all_heads() if (case.location == down) is here]
        seen[when] = {"held" if case.state == "queued" and case.held else case.state.value for case in cases}

    run.scheduler.at(hours - 1, lambda: look("the others before the end", False))
    run.scheduler.at(hours - 1, lambda: look("the place before the end", True))
    run.scheduler.at(hours + sweeps + 360, lambda: look("the place after two sweeps", True))
    assert run.play().wrong == ()
    settled = {"resolved", "ticketed", "exempt", "reboot_pending"}
    assert seen["the others before the end"] <= settled
    assert seen["the place before the end"] == set()
    assert seen["the place after two sweeps"] & {"starting", "running", "verifying", "resolved"}
    assert "queued" not in seen["the place after two sweeps"]


class Down:
    """A port whose answers from one place do not come for a while."""

    def __init__(self, run: Simulated, whole: Any, place: Location, until: float) -> None:
        self._run, self._whole, self._place, self._until = run, whole, place, until

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._whole, name)

        def asked(first: Any, *rest: Any, **named: Any) -> Any:
            if getattr(first, "location", first) == self._place and self._run.scheduler.now < self._until:
                raise Temporary(f"{self._place} does not answer")
            return real(first, *rest, **named)

        return asked


def test_a_place_that_throttles_every_second_start_gets_them_all_in_the_end() -> None:
    """No start is lost, and none is tried in a hot loop: at most three times for each that was made."""
    run = Simulated(5, NODES, "none")
    whole, tries = run.automations, [0]

    def start(batch: Batch) -> str:
        tries[0] += 1
        if tries[0] % 2:
            raise Temporary("AutomationExecutionLimitExceeded")
        return str(whole.start(batch))

    run.automations = Instead(whole, start=start)
    report = run.play()
    assert report.wrong == ()
    assert report.executions <= tries[0] <= 3 * report.executions


def test_a_run_that_is_over_is_given_back() -> None:
    """A hand that still waited kept its whole world: fifty thousand seeds would not fit."""
    run = Simulated(3, 20, "mixed")
    world = weakref.ref(run.world)
    run.play()
    del run
    gc.collect()
    assert world() is None


def test_the_same_seed_gives_the_same_history_in_another_process() -> None:
    code = (
        "import hashlib; from patchwarden.simulate.run import replay; "
        "print(hashlib.sha256(repr(replay(11, 50).history).encode()).hexdigest())"
    )
    told = {subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONHASHSEED": seed}, capture_output=True,
                           text=True, check=True).stdout for seed in ("1", "2")}  # fmt: skip
    assert len(told) == 1


def test_a_replay_tells_when_who_what_and_which_fault() -> None:
    report: Report = replay(11, 50)
    assert [entry.at for entry in report.history] == sorted(entry.at for entry in report.history)
    assert {entry.fault for entry in report.history} >= {"killed before", "throttled", "answer lost"}
    assert any(entry.who.startswith("dispatch-") and "automations.start" in entry.what for entry in report.history)
