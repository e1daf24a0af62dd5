"""Many seeds, each another fleet and another weather of faults: nothing lost, nothing doubled, nothing left over."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.errors import Barred
from chalicelib.core.remediations import Cause
from patchwarden.simulate.faults import PROFILES, Fault, Profile
from patchwarden.simulate.run import Report, Simulated, replay
from patchwarden.simulate.soak import Sum, reports

SEEDS, NODES, WORKERS = 600, 50, 2
"""What fits into a minute on two idle processors; `make soak` runs 50,000."""

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


def test_no_seed_breaks_a_promise() -> None:
    total = Sum()
    for report in reports(range(SEEDS), NODES, "mixed", WORKERS):
        total.add(report)
    assert total.failures == {}
    assert total.seeds == SEEDS
    assert set(total.faults) == set(Fault), "every kind of fault must have happened"
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
