"""Emergencies, silent agents and people who read the reports, in the middle of a seed, and what is found without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import lookup
from chalicelib.core.findings import Control
from chalicelib.core.points import Where
from chalicelib.core.remediations import Cause
from chalicelib.lookup import cases, present
from chalicelib.past import FromLedger
from patchwarden.simulate.alarms import BEGAN, SILENT
from patchwarden.simulate.faults import PROFILES
from patchwarden.simulate.readings import READ
from patchwarden.simulate.run import Simulated

SEEDS = 8
SILENCE = replace(PROFILES["alarms"], silences=1.0)

Break = Callable[[pytest.MonkeyPatch], None]


def test_no_seed_with_an_emergency_and_silent_agents_breaks_a_promise() -> None:
    ended: Counter[tuple[Control, str]] = Counter()
    for seed in range(SEEDS):
        run = Simulated(seed, 50, SILENCE)
        report = run.play()
        assert report.wrong == ()
        assert report.faults[BEGAN] == 1 and report.faults[SILENT] == 3
        ended.update((case.control, case.state.value) for case in run.stored.all_heads())
        ticketed = {
            case.node for case in run.stored.all_heads() if case.control is Control.REPORTING
            and any(line.cause is Cause.TICKETED for line in run.stored.trail(case.id))
        }  # fmt: skip
        assert len(ticketed) >= 2, "agents that are silent for hours are a person's turn"
    assert ended[Control.EMERGENCY, "resolved"] > 50
    assert ended.keys() >= {(Control.EMERGENCY, "ticketed"), (Control.REPORTING, "resolved")}


def _nobody_looks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.seek.find", lambda ports, location, one: 0)


def _nobody_listens(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.fleet._reporting", lambda *given: Counter())


def _success_is_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.emergency.of_named", lambda *given: (Cause.RESOLVED, "the install reported success"))


@pytest.mark.parametrize(
    ("breaks", "seen"),
    [(_nobody_looks, "what the emergency names"), (_nobody_listens, "silent for"), (_success_is_believed, "unproved")],
)
def test_an_alarm_that_is_not_answered_is_found(breaks: Break, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert any(seen in sentence for seed in range(SEEDS) for sentence in Simulated(seed, 50, SILENCE).play().wrong)


def test_what_is_read_in_the_middle_of_it_all_never_breaks_and_is_so() -> None:
    read = 0
    for seed in range(SEEDS):
        report = Simulated(seed, 50, "readings").play()
        assert report.wrong == (), f"patchwarden simulate --replay {seed} --faults readings"
        read += report.faults[READ]
    assert read == 3 * SEEDS


def _executions_are_left_out(patch: pytest.MonkeyPatch) -> None:
    whole = lookup.status
    patch.setattr(lookup, "status", lambda ledger, now: {**whole(ledger, now), "executions": []})


def _the_past_is_of_tomorrow(patch: pytest.MonkeyPatch) -> None:
    whole = FromLedger.tally

    def tally(past: FromLedger, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        return whole(past, at + timedelta(hours=1), where, by)

    patch.setattr(FromLedger, "tally", tally)


def _rows_lack_their_reason(patch: pytest.MonkeyPatch) -> None:
    whole = cases.waits
    patch.setattr(cases, "waits", lambda *given: {**whole(*given), "reason": ""})


def _counts_forget_the_ended(patch: pytest.MonkeyPatch) -> None:
    whole = lookup.status

    def status(ledger: Any, now: datetime) -> dict[str, Any]:
        told = whole(ledger, now)
        return {**told, "states": {state: count for state, count in told["states"].items() if state != "resolved"}}

    patch.setattr(lookup, "status", status)


@pytest.mark.parametrize(
    ("breaks", "seen"),
    [
        (_executions_are_left_out, "does not list it"), (_the_past_is_of_tomorrow, "the fleet was"),
        (_rows_lack_their_reason, "nobody says why"), (_counts_forget_the_ended, "the status counts"),
    ],
)  # fmt: skip
def test_a_report_that_shows_what_is_not_so_is_found(breaks: Break, seen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert any(seen in sentence for seed in range(SEEDS) for sentence in Simulated(seed, 50, "readings").play().wrong)


def test_an_old_picture_that_is_called_fresh_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = present._fresh
    monkeypatch.setattr(present, "_fresh", lambda *given: {**whole(*given), "stale": False})
    seen: list[str] = []
    for seed in range(SEEDS):
        run = Simulated(seed, 50, "readings")
        run.sweeps = False
        seen += run.play().wrong
    assert any("calls that fresh" in sentence for sentence in seen)
