"""Pauses, refusing accounts and groups under faults: what is stopped stays stopped, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from chalicelib import pause
from chalicelib.core.errors import Temporary
from chalicelib.core.guards import Room
from chalicelib.core.journal import Kind
from chalicelib.core.remediations import State
from chalicelib.ports import Ports
from chalicelib.proof import verify
from patchwarden.simulate.executions import Run
from patchwarden.simulate.faults import PROFILES
from patchwarden.simulate.moments import moment
from patchwarden.simulate.run import Simulated
from patchwarden.simulate.visit import Visit
from tests.simulation.test_seeds import Refusing

NODES, PAUSED, RESUMED = 50, 1200.0, 6000.0
ACCOUNT = "444455556666"


class At:
    """What the pause verb needs of a simulated world, at the moment it is called."""

    def __init__(self, run: Simulated) -> None:
        self.ledger, self._run = run.ledger, run
        self.clock = self

    def now(self) -> Any:
        return moment(self._run.scheduler.now)


def at(run: Simulated, when: float, act: Callable[[Ports], object]) -> None:
    run.scheduler.at(when, lambda: act(At(run)))  # type: ignore[arg-type]


def paused(seed: int, scope: str, profile: str = "mixed") -> Simulated:
    run = Simulated(seed, NODES, profile)
    at(run, PAUSED, partial(pause.begin, scope=scope, by="op", reason="a bad patch"))
    at(run, RESUMED, partial(pause.end, scope=scope, by="op", reason="fixed"))
    return run


def late(run: Simulated, mine: Callable[[Run], bool]) -> list[str]:
    """Executions that began a minute or more after the pause, and before its end."""
    return [each.id for each in run.world.runs.values() if PAUSED + 60 < each.began < RESUMED and mine(each)]


@pytest.mark.parametrize("scope", ["all", f"account/{ACCOUNT}", "policy/plain"])
def test_nothing_starts_a_minute_after_a_pause_and_all_goes_on_after_it(scope: str) -> None:
    inside: dict[str, Callable[[Run], bool]] = {
        "all": lambda run: True,
        f"account/{ACCOUNT}": lambda run: run.batch.location.account == ACCOUNT,
        "policy/plain": lambda run: any(member.policy == "plain" for member in run.batch.members),
    }
    others = 0
    for seed in range(8):
        run = paused(seed, scope)
        assert run.play().wrong == ()
        assert late(run, inside[scope]) == []
        others += len(late(run, lambda one: not inside[scope](one)))
        assert any(each.began > RESUMED and inside[scope](each) for each in run.world.runs.values())
        assert verify(run.ledger, moment(run.scheduler.now)).faults == ()
    assert (others == 0) is (scope == "all"), "what is not in the scope goes on"


def test_a_switch_that_cannot_be_read_starts_nothing_until_it_can() -> None:
    for seed in range(5):
        run = Simulated(seed, NODES, "mixed")
        whole = run.ledger.subjects

        def subjects(kind: Kind, run: Simulated = run, whole: Callable[[Kind], Any] = whole) -> Any:
            if kind is Kind.PAUSE and PAUSED < run.scheduler.now < RESUMED:
                raise Temporary("throttled")
            return whole(kind)

        run.ledger.subjects = subjects  # type: ignore[method-assign]
        assert run.play().wrong == ()
        assert late(run, lambda one: True) == []


def test_a_start_that_does_not_look_at_the_pause_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.pause.in_force", lambda ledger, now: ())
    assert any(late(run, lambda one: True) for run in map(_played, range(8)))


def _played(seed: int) -> Simulated:
    run = paused(seed, "all")
    run.play()
    return run


def test_executions_stopped_in_flight_end_properly_and_are_tried_again() -> None:
    stopped = 0
    for run in (Simulated(seed, NODES, "events") for seed in range(6)):
        told: list[pause.Stopped] = []
        at(run, PAUSED, partial(pause.begin, scope="all", by="op", reason="a bad patch"))
        at(run, PAUSED + 1, partial(_stop, run=run, told=told))
        at(run, RESUMED, partial(pause.end, scope="all", by="op", reason="fixed"))
        assert run.play().wrong == ()
        stopped += sum(one.because is None for one in told)
        began = [one for one in run.world.runs.values() if one.began < PAUSED]
        assert [one.id for one in began if one.ended is None or one.ended > PAUSED + 300] == []
    assert stopped > 6


def _stop(ports: Ports, *, run: Simulated, told: list[pause.Stopped]) -> None:
    visit = Visit("operator", 0.0, float("inf"))
    (begun,) = pause.in_force(run.ledger, ports.clock.now())
    run.scheduler.spawn(lambda: pause.stop_running(run._ports(visit), begun, told.append) and None)


def _let_back(run: Simulated, whole: dict[str, Any]) -> None:
    for port, real in whole.items():
        setattr(run, port, real)


def test_an_account_that_refuses_for_two_hours_has_one_ticket_and_comes_back() -> None:
    for seed in range(5):
        run = Simulated(seed, NODES, replace(PROFILES["events"], chaos=3 * 3600.0))
        whole = {port: getattr(run, port) for port in ("inventory", "automations")}
        for port, real in whole.items():
            setattr(run, port, Refusing(real, ACCOUNT))
        run.scheduler.at(7200.0, partial(_let_back, run, whole))
        assert run.play().wrong == ()
        lines = run.ledger.entries(f"account/{ACCOUNT}")
        assert [lines[0].what, lines[-1].what] == ["degraded", "ticket resolved"]
        assert sum(line.what == "ticket opened" for line in lines) == 1 and len(lines) < 15
        assert sum("/access/" in slip.key for slip in run.tickets.kept.values()) == 1
        mine = [case for case in run.ledger.all_heads() if case.node.account == ACCOUNT]
        assert mine and not any(case.state in (State.QUEUED, State.STARTING) for case in mine)


@pytest.mark.parametrize("share", ["auto-scaling-group", "availability-zone"])
def test_a_share_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch, share: str) -> None:
    kept = Room.most
    monkeypatch.setattr(Room, "most", lambda room, group: 30 if group.get("by") == share else kept(room, group))
    assert any("crowded" in sentence for seed in range(8) for sentence in Simulated(seed, NODES, "events").play().wrong)


def test_the_clock_of_a_pause_counts_by_its_own_end() -> None:
    run = Simulated(3, NODES, "events")
    ends = moment(PAUSED) + timedelta(seconds=RESUMED - PAUSED)
    at(run, PAUSED, partial(pause.begin, scope="all", by="op", reason="until then", until=ends))
    assert run.play().wrong == () and late(run, lambda one: True) == []
    assert any(each.began > RESUMED for each in run.world.runs.values())
