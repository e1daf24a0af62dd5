"""A schedule is due when its calendar says so, and a missed run is caught up for as long as it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.errors import PolicyError
from chalicelib.core.schedules import Schedule, coming, due, held
from chalicelib.core.settings import Freeze

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def schedule(**given: Any) -> Schedule:
    """Saturdays 02:00 in Dublin, caught up for six hours."""
    calendar = {"cron": "0 2 ? * SAT *", "zone": "Europe/Dublin", "schedule_offset": 0, "catch_up": 21600}
    return Schedule.from_json({
        "id": "tested", "title": "A schedule", "owner": "secops@example.com", "enabled": True, "operation": "Install",
        "calendar": {**calendar, **given.pop("calendar", {})},
        "where": {"accounts": ["111122223333"], "units": [], "exclude": [], "regions": ["eu-west-1"]},
        "target": {"kind": "all", "name": None, "values": []}, "platform": "all",
        "locations": {"concurrency": "1", "max_errors": "0"}, "nodes": {"concurrency": "10%", "max_errors": "5%"},
        "reboot": "if-needed", "override_list": None, "origin": "tested.yaml:1", **given,
    })  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(("moment", "run"), [
    ("2026-11-28T01:59:59", None),
    ("2026-11-28T02:00:00", "2026-11-28T02:00:00"),
    ("2026-11-28T07:59:59", "2026-11-28T02:00:00"),
    ("2026-11-28T08:00:00", None),
])  # fmt: skip
def test_a_run_is_due_from_its_time_until_it_is_no_longer_caught_up(moment: str, run: str | None) -> None:
    found = due(schedule(), at(moment))
    assert (found.start if found else None) == (at(run) if run else None)


def test_of_two_missed_runs_the_later_one_is_due() -> None:
    daily = schedule(calendar={"cron": "0 2 ? * * *", "catch_up": 3 * 86400})
    found = due(daily, at("2026-11-28T12:00:00"))
    assert found is not None
    assert found.start == at("2026-11-28T02:00:00")


def test_a_disabled_schedule_is_never_due_and_still_has_coming_runs() -> None:
    disabled = schedule(enabled=False)
    assert due(disabled, at("2026-11-28T02:00:00")) is None
    assert len(coming(disabled, NOW, 3)) == 3


@given(st.integers(0, 4 * 365 * 86400), st.integers(0, 6))
def test_every_coming_run_is_due_at_its_start_and_lies_ahead(seconds: int, offset: int) -> None:
    moment = NOW + timedelta(seconds=seconds)
    tested = schedule(calendar={"cron": "0 22 ? * TUE#2 *", "schedule_offset": offset})
    for run in coming(tested, moment, 3):
        assert run.start > moment
        assert due(tested, run.start) == run
        assert due(tested, run.start - timedelta(seconds=1)) is None


@pytest.mark.parametrize(("operation", "moment", "name"), [
    ("Install", "2026-12-19T00:00:00", "year-end"),
    ("Install", "2026-12-18T23:59:59", None),
    ("Install", "2027-01-04T00:00:00", None),
    ("Scan", "2026-12-19T00:00:00", None),
])  # fmt: skip
def test_a_freeze_holds_what_installs(operation: str, moment: str, name: str | None) -> None:
    freezes = [Freeze("year-end", at("2026-12-19T00:00:00"), at("2027-01-04T00:00:00"), "closed")]
    tested = schedule(operation=operation, reboot="never" if operation == "Install" else None)
    found = held(tested, at(moment), freezes)
    assert (found.name if found else None) == name


@pytest.mark.parametrize("given", [
    {"operation": "Patch"},
    {"operation": "Scan"},
    {"reboot": None},
    {"platform": "macos"},
    {"target": {"kind": "tag", "name": "Environment", "values": []}},
    {"target": {"kind": "all", "name": "Environment", "values": []}},
    {"target": {"kind": "resource_group", "name": None, "values": []}},
    {"target": {"kind": "tag", "name": "Environment", "values": [7]}},
    {"calendar": {"catch_up": 0}},
    {"calendar": {"zone": "Europe/Dublni"}},
    {"calendar": {"cron": "0 2 * * SAT *"}},
    {"calendar": {"schedule_offset": 7}},
    {"where": {"accounts": [], "units": [], "exclude": []}},
    {"unheard": "of"},
])  # fmt: skip
def test_a_schedule_that_the_workbench_would_not_write_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        schedule(**given)
