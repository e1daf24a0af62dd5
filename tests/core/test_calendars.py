"""Golden tables: when schedules run through changes of the clocks and over 24 months, against other reckonings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import MONTHLY, TU, rrule  # type: ignore[import-untyped]

from chalicelib.core.schedules import Schedule, coming
from tests.sets import schedule


def starts(cron: str, zone: str, after: str, count: int, offset: int = 0) -> list[str]:
    """The next starts in UTC."""
    calendar = {"cron": cron, "zone": zone, "schedule_offset": offset}
    tested = Schedule.from_json(schedule(calendar=calendar))
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    return [f"{run.start:%Y-%m-%dT%H:%M}" for run in coming(tested, moment, count)]


# Written down from the tz database's rules: the hour that is skipped opens at its end, the one that comes twice once.
# Dublin: 28 March 2027 01:00 to 02:00, 25 October 2026 02:00 back to 01:00 (both at 01:00 UTC).
# New York: 14 March 2027 02:00 to 03:00 (07:00 UTC), 1 November 2026 02:00 back to 01:00 (06:00 UTC).
# Lord Howe: 4 October 2026 02:00 to 02:30 (15:30 UTC the day before), 4 April 2027 02:00 back to 01:30 (15:00 UTC).
CLOCKS = [
    ("Europe/Dublin", "30 1 ? * * *", "2027-03-26T12:00", ["2027-03-27T01:30", "2027-03-28T01:00", "2027-03-29T00:30"]),
    ("Europe/Dublin", "30 1 ? * * *", "2026-10-23T12:00", ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"]),
    ("Europe/Dublin", "0 4 ? * * *", "2027-03-26T12:00", ["2027-03-27T04:00", "2027-03-28T03:00", "2027-03-29T03:00"]),
    ("America/New_York", "30 2 ? * * *", "2027-03-12T12:00",
     ["2027-03-13T07:30", "2027-03-14T07:00", "2027-03-15T06:30"]),
    ("America/New_York", "30 1 ? * * *", "2026-10-30T12:00",
     ["2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30"]),
    ("America/New_York", "0 22 ? * * *", "2026-10-30T12:00",
     ["2026-10-31T02:00", "2026-11-01T02:00", "2026-11-02T03:00"]),
    ("Australia/Lord_Howe", "15 2 ? * * *", "2026-10-01T18:00",
     ["2026-10-02T15:45", "2026-10-03T15:30", "2026-10-04T15:15"]),
    ("Australia/Lord_Howe", "45 1 ? * * *", "2027-04-01T18:00",
     ["2027-04-02T14:45", "2027-04-03T14:45", "2027-04-04T15:15"]),
    ("Australia/Lord_Howe", "0 12 ? * * *", "2027-04-02T12:00",
     ["2027-04-03T01:00", "2027-04-04T01:30", "2027-04-05T01:30"]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "cron", "after", "expected"), CLOCKS)
def test_a_run_keeps_its_local_time_when_the_clocks_change(
    zone: str, cron: str, after: str, expected: list[str]
) -> None:
    assert starts(cron, zone, after, 3) == expected


@pytest.mark.parametrize("zone", ["Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("offset", range(7))
def test_the_second_tuesday_and_some_days_over_24_months(zone: str, offset: int) -> None:
    tuesdays = rrule(MONTHLY, byweekday=TU(2), dtstart=datetime(2026, 12, 1, 22, tzinfo=UTC), count=24)
    local = [(day + timedelta(days=offset)).replace(tzinfo=ZoneInfo(zone)) for day in tuesdays]
    expected = [f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M}" for moment in local]
    assert starts("0 22 ? * TUE#2 *", zone, "2026-11-30T00:00", 24, offset) == expected


def test_the_thursday_after_the_second_tuesday_is_not_always_the_second_thursday() -> None:
    assert starts("0 22 ? * TUE#2 *", "UTC", "2027-04-01T00:00", 1, offset=2) == ["2027-04-15T22:00"]
    assert starts("0 22 ? * THU#2 *", "UTC", "2027-04-01T00:00", 1) == ["2027-04-08T22:00"]
