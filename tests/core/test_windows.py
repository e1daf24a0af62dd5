"""Windows open when a person with a calendar says so: golden tables, and properties that hold for every window."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ministack.services import eventbridge

from chalicelib.core.errors import PolicyError
from chalicelib.core.windows import AHEAD, Opening, Window, opening, openings, parse_duration

HOUR = timedelta(hours=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(cron: str, zone: str = "UTC", duration: timedelta = HOUR, offset: int = 0) -> Window:
    return Window("tested", cron, zone, duration, offset)


def starts(tested: Window, after: str, count: int) -> list[str]:
    return [item.start.strftime("%Y-%m-%dT%H:%M") for item in openings(tested, utc(after), count)]


# --- the expression -------------------------------------------------------------------------------------------------

EXPRESSIONS = [
    ("cron(0 2 ? * SAT *)", ["2027-01-02T02:00", "2027-01-09T02:00", "2027-01-16T02:00"]),
    ("0 2 ? * SAT *", ["2027-01-02T02:00", "2027-01-09T02:00", "2027-01-16T02:00"]),
    (" CRON( 0  2 ? * sat * ) ", ["2027-01-02T02:00", "2027-01-09T02:00", "2027-01-16T02:00"]),
    ("cron(0 2 ? * 7 *)", ["2027-01-02T02:00", "2027-01-09T02:00", "2027-01-16T02:00"]),
    ("cron(0 2 ? * L *)", ["2027-01-02T02:00", "2027-01-09T02:00", "2027-01-16T02:00"]),
    ("cron(0 2 ? * 1 *)", ["2027-01-03T02:00", "2027-01-10T02:00", "2027-01-17T02:00"]),
    ("cron(0 2 ? * 2-4 *)", ["2027-01-04T02:00", "2027-01-05T02:00", "2027-01-06T02:00", "2027-01-11T02:00"]),
    ("cron(0 2 ? * MON-WED *)", ["2027-01-04T02:00", "2027-01-05T02:00", "2027-01-06T02:00", "2027-01-11T02:00"]),
    ("cron(0 2 ? * 2/2 *)", ["2027-01-01T02:00", "2027-01-04T02:00", "2027-01-06T02:00", "2027-01-08T02:00"]),
    ("cron(0 2 ? * SUN,SAT *)", ["2027-01-02T02:00", "2027-01-03T02:00", "2027-01-09T02:00"]),
    ("cron(0 2 ? * 6L *)", ["2027-01-29T02:00", "2027-02-26T02:00", "2027-03-26T02:00"]),
    ("cron(0 2 ? * FRIL *)", ["2027-01-29T02:00", "2027-02-26T02:00", "2027-03-26T02:00"]),
    ("cron(0 2 ? * TUE#5 *)", ["2027-03-30T02:00", "2027-06-29T02:00", "2027-08-31T02:00"]),
    ("cron(0 2 ? * 3#1,3#3 *)", ["2027-01-05T02:00", "2027-01-19T02:00", "2027-02-02T02:00"]),
    ("cron(0 2 L * ? *)", ["2027-01-31T02:00", "2027-02-28T02:00", "2027-03-31T02:00"]),
    ("cron(0 2 1,L * ? *)", ["2027-01-01T02:00", "2027-01-31T02:00", "2027-02-01T02:00"]),
    ("cron(0 2 31 * ? *)", ["2027-01-31T02:00", "2027-03-31T02:00", "2027-05-31T02:00"]),
    ("cron(0 2 1/15 * ? *)", ["2027-01-01T02:00", "2027-01-16T02:00", "2027-01-31T02:00", "2027-02-01T02:00"]),
    ("cron(0 2 1 JAN,APR ? *)", ["2027-01-01T02:00", "2027-04-01T02:00", "2028-01-01T02:00"]),
    ("cron(0 2 1 1/6 ? *)", ["2027-01-01T02:00", "2027-07-01T02:00", "2028-01-01T02:00"]),
    ("cron(0 2 1 JAN ? 2028-2032/2)", ["2028-01-01T02:00", "2030-01-01T02:00", "2032-01-01T02:00"]),
    ("cron(0 0 1 JAN ? *)", ["2027-01-01T00:00", "2028-01-01T00:00", "2029-01-01T00:00"]),
    ("cron(0 2 1 JAN ? 2029,2031)", ["2029-01-01T02:00", "2031-01-01T02:00"]),
    ("cron(10-20/5 2,4 1 * ? *)", ["2027-01-01T02:10", "2027-01-01T02:15", "2027-01-01T02:20", "2027-01-01T04:10"]),
    ("cron(*/30 2 1 * ? *)", ["2027-01-01T02:00", "2027-01-01T02:30", "2027-02-01T02:00"]),
    ("cron(20/20 23 1 * ? *)", ["2027-01-01T23:20", "2027-01-01T23:40", "2027-02-01T23:20"]),
]


@pytest.mark.parametrize(("cron", "expected"), EXPRESSIONS)
def test_an_expression_means_what_aws_means(cron: str, expected: list[str]) -> None:
    assert starts(window(cron), "2026-12-31T12:00", len(expected)) == expected


WRONG = [
    ("0 2 ? * SAT", "5 fields", "write six"),
    ("0 0 2 ? * SAT *", "7 fields", "drop the seconds"),
    ("rate(7 days)", "2 fields", "write six"),
    ("", "0 fields", "write six"),
    ("0 2 * * SAT *", "day-of-month", "? in exactly one"),
    ("0 2 ? * ? *", "day-of-week", "? in exactly one"),
    ("? 2 ? * SAT *", "minutes cannot be '?'", "0-59"),
    ("60 2 ? * SAT *", "minutes cannot be '60'", "0-59"),
    ("-1 2 ? * SAT *", "minutes cannot be '-1'", "0-59"),
    ("²3 2 ? * SAT *", "minutes cannot be '²3'", "0-59"),
    ("0,, 2 ? * SAT *", "minutes cannot be ''", "0-59"),
    ("0/0 2 ? * SAT *", "minutes cannot be '0/0'", "1 or more"),
    ("*-5 2 ? * SAT *", "minutes cannot be '*-5'", "0-59"),
    ("0 24 ? * SAT *", "hours cannot be '24'", "0-23"),
    ("0 2 0 * ? *", "day-of-month cannot be '0'", "1-31"),
    ("0 2 3W * ? *", "day-of-month cannot be '3W'", "W is not supported"),
    ("0 2 LW * ? *", "day-of-month cannot be 'LW'", "W is not supported"),
    ("0 2 L-3 * ? *", "day-of-month cannot be 'L'", "1-31"),
    ("0 2 30,31 FEB ? *", "day-of-month cannot be '30,31'", "no month of FEB has that day"),
    ("0 2 ? 13 SAT *", "month cannot be '13'", "JAN-DEC"),
    ("0 2 ? * 0 *", "day-of-week cannot be '0'", "SUN-SAT"),
    ("0 2 ? * 8 *", "day-of-week cannot be '8'", "SUN-SAT"),
    ("0 2 ? * FOO *", "day-of-week cannot be 'FOO'", "SUN-SAT"),
    ("0 2 ? * SAT-SUN *", "day-of-week cannot be 'SAT-SUN'", "upwards"),
    ("0 2 ? * TUE#6 *", "day-of-week cannot be 'TUE#6'", "1 to 5"),
    ("0 2 ? * TUE#1-2 *", "day-of-week cannot be 'TUE#1-2'", "1 to 5"),
    ("0 2 ? * SAT 1969", "year cannot be '1969'", "1970-2199"),
    ("0 2 ? * SAT 2028-2027", "year cannot be '2028-2027'", "upwards"),
    ("0 2 ? * SAT " + "9" * 5000, "too long", "256"),
]


@pytest.mark.parametrize(("cron", "names", "remedy"), WRONG)
def test_a_wrong_expression_is_refused_with_the_field_the_value_and_the_remedy(
    cron: str, names: str, remedy: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        window(cron)
    message = str(refused.value)
    assert message.startswith("window 'tested': ")
    assert names in message
    assert remedy in message
    assert "\n" not in message


@given(st.text(alphabet="0123456789*?/-,#LWSATUEcron() ", max_size=40) | st.text(max_size=300))
def test_any_other_text_is_read_or_refused_by_policy_error(text: str) -> None:
    try:
        window(text)
    except PolicyError as error:
        assert str(error)  # noqa: PT017 - either way is right; only another error is not


# --- offset ---------------------------------------------------------------------------------------------------------

SECOND_TUESDAYS = [
    date(2027, month, day)
    for month, day in enumerate((12, 9, 9, 13, 11, 8, 13, 10, 14, 12, 9, 14), start=1)
]  # fmt: skip


@pytest.mark.parametrize("offset", range(7))
def test_an_offset_counts_days_from_the_second_tuesday_for_a_whole_year(offset: int) -> None:
    found = openings(window("cron(0 22 ? * TUE#2 *)", offset=offset), utc("2027-01-01T00:00"), 12)
    expected = [datetime.combine(day, time(22), UTC) + timedelta(days=offset) for day in SECOND_TUESDAYS]
    assert [item.start for item in found] == expected


def test_two_days_after_the_second_tuesday_is_not_the_second_thursday() -> None:
    after = "2027-04-01T00:00"
    assert starts(window("cron(0 22 ? * TUE#2 *)", offset=2), after, 1) == ["2027-04-15T22:00"]
    assert starts(window("cron(0 22 ? * THU#2 *)"), after, 1) == ["2027-04-08T22:00"]


def test_an_offset_reaches_into_the_next_month_and_year() -> None:
    assert starts(window("cron(0 22 ? * TUE#5 *)", offset=3), "2027-06-30T00:00", 1) == ["2027-07-02T22:00"]
    assert starts(window("cron(0 22 L DEC ? 2027)", offset=6), "2028-01-01T00:00", 1) == ["2028-01-06T22:00"]


@pytest.mark.parametrize("offset", [7, -1, True, "2", 1.5, None])
def test_an_offset_outside_one_to_six_days_is_refused(offset: int) -> None:
    with pytest.raises(PolicyError, match="schedule_offset"):
        window("cron(0 2 ? * SAT *)", offset=offset)


# --- daylight saving ------------------------------------------------------------------------------------------------

CLOCKS = [
    # the clocks skip from 01:00 to 02:00 on 28 March and repeat 01:00 to 02:00 on 31 October
    ("Europe/London", "30 1 ? * SUN *", "2027-03-20", ["2027-03-21T01:30", "2027-03-28T01:00", "2027-04-04T00:30"]),
    ("Europe/London", "30 1 ? * SUN *", "2027-10-23", ["2027-10-24T00:30", "2027-10-31T00:30", "2027-11-07T01:30"]),
    ("Europe/London", "0 2 ? * SUN *", "2027-03-20", ["2027-03-21T02:00", "2027-03-28T01:00", "2027-04-04T01:00"]),
    # 02:00 to 03:00 is skipped on 14 March, 01:00 to 02:00 comes twice on 7 November
    ("America/New_York", "30 2 * * ? *", "2027-03-13", ["2027-03-13T07:30", "2027-03-14T07:00", "2027-03-15T06:30"]),
    ("America/New_York", "30 1 * * ? *", "2027-11-06", ["2027-11-06T05:30", "2027-11-07T05:30", "2027-11-08T06:30"]),
    # 02:00 to 03:00 comes twice on 4 April and is skipped on 3 October
    ("Australia/Sydney", "30 2 * * ? *", "2027-04-02", ["2027-04-02T15:30", "2027-04-03T15:30", "2027-04-04T16:30"]),
    ("Australia/Sydney", "30 2 * * ? *", "2027-10-01", ["2027-10-01T16:30", "2027-10-02T16:00", "2027-10-03T15:30"]),
    # every quarter of a skipped hour is one start, not four
    ("Europe/London", "0/15 1 28 3 ? *", "2027-03-01", ["2027-03-28T01:00", "2028-03-28T00:00", "2028-03-28T00:15"]),
    # a window for every hour opens once in the hour that comes twice
    ("Europe/London", "0 * * * ? *", "2027-10-30T22:59", ["2027-10-30T23:00", "2027-10-31T00:00", "2027-10-31T02:00"]),
    # a whole day that did not exist
    ("Pacific/Apia", "0 12 * * ? *", "2011-12-29", ["2011-12-29T22:00", "2011-12-30T10:00", "2011-12-30T22:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "cron", "after", "expected"), CLOCKS)
def test_a_skipped_time_opens_when_the_clocks_have_moved_on_and_a_doubled_one_once(
    zone: str, cron: str, after: str, expected: list[str]
) -> None:
    assert starts(window(cron, zone), after, len(expected)) == expected


def test_the_offset_moves_the_calendar_day_before_the_clocks_are_asked() -> None:
    on_the_day = window("cron(30 1 ? * SAT *)", "Europe/London", offset=1)
    assert starts(on_the_day, "2027-03-27T12:00", 1) == ["2027-03-28T01:00"]
    past_the_day = window("cron(30 1 28 MAR ? *)", "Europe/London", offset=1)
    assert starts(past_the_day, "2027-03-27T12:00", 1) == ["2027-03-29T00:30"]


def test_a_window_lasts_its_duration_whatever_the_clocks_do() -> None:
    (night,) = openings(window("cron(0 0 28 3 ? *)", "Europe/London", 4 * HOUR), utc("2027-03-01T00:00"), 1)
    assert night == Opening(utc("2027-03-28T00:00"), utc("2027-03-28T04:00"))


def test_a_window_is_open_for_its_whole_duration_when_the_clocks_skip_inside_it() -> None:
    tested = window("cron(30 0 28 MAR ? *)", "Europe/London")
    assert opening(tested, utc("2027-03-28T01:15")) == Opening(utc("2027-03-28T00:30"), utc("2027-03-28T01:30"))


def test_a_window_that_began_in_the_first_of_two_hours_is_open_in_the_second() -> None:
    tested = window("cron(30 1 31 OCT ? *)", "Europe/London")
    assert opening(tested, utc("2027-10-31T01:10")) == Opening(utc("2027-10-31T00:30"), utc("2027-10-31T01:30"))


# --- open now -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "start"),
    [
        ("2027-06-01T21:59", "2027-06-01T22:00"),
        ("2027-06-01T22:00", "2027-06-01T22:00"),
        ("2027-06-01T23:59", "2027-06-01T22:00"),
        ("2027-06-02T00:00", "2027-06-01T22:00"),
        ("2027-06-02T03:59", "2027-06-01T22:00"),
        ("2027-06-02T04:00", "2027-06-02T22:00"),
    ],
)
def test_a_window_across_midnight_is_open_until_its_end_and_closed_at_it(now: str, start: str) -> None:
    tested = window("cron(0 22 * * ? *)", duration=6 * HOUR)
    assert opening(tested, utc(now)) == Opening(utc(start), utc(start) + 6 * HOUR)


def test_a_window_across_new_year_is_open_though_its_year_is_over() -> None:
    tested = window("cron(0 22 31 DEC ? 2027)", duration=6 * HOUR)
    assert opening(tested, utc("2028-01-01T03:00")) == Opening(utc("2027-12-31T22:00"), utc("2028-01-01T04:00"))
    assert opening(tested, utc("2028-01-01T04:00")) is None


def test_a_year_that_is_left_out_is_not_open_on_its_last_day() -> None:
    tested = window("cron(0 0 * * ? 2027,2029)", duration=24 * HOUR)
    assert opening(tested, utc("2028-12-31T22:00")) == Opening(utc("2029-01-01T00:00"), utc("2029-01-02T00:00"))


def test_of_overlapping_openings_the_one_that_closes_last_is_open() -> None:
    tested = window("cron(0 0 * * ? *)", duration=36 * HOUR)
    assert opening(tested, utc("2027-06-02T06:00")) == Opening(utc("2027-06-02T00:00"), utc("2027-06-03T12:00"))


def test_an_opening_that_is_over_in_between_is_not_mistaken_for_open() -> None:
    tested = window("cron(0 2,8 * * ? *)", duration=3 * HOUR)
    assert opening(tested, utc("2027-06-02T06:00")) == Opening(utc("2027-06-02T08:00"), utc("2027-06-02T11:00"))


def test_the_moment_asked_about_may_be_in_any_zone() -> None:
    tested = window("cron(0 2 ? * SAT *)")
    summer = datetime.fromisoformat("2027-01-02T12:30:00+10:00")
    assert opening(tested, summer) == Opening(utc("2027-01-02T02:00"), utc("2027-01-02T03:00"))


def test_an_opening_holds_its_start_and_not_its_end() -> None:
    tested = Opening(utc("2027-01-02T02:00"), utc("2027-01-02T03:00"))
    assert tested.start in tested
    assert tested.end not in tested


# --- never ----------------------------------------------------------------------------------------------------------


def test_a_window_whose_years_are_over_never_opens() -> None:
    tested = window("cron(0 2 ? * SAT 2025)")
    assert opening(tested, utc("2026-06-01T00:00")) is None
    assert openings(tested, utc("2026-06-01T00:00"), 3) == []


def test_a_window_in_a_february_29_that_never_comes_never_opens() -> None:
    assert openings(window("cron(0 2 29 FEB ? 2027)"), utc("2026-06-01T00:00"), 1) == []


def test_a_window_further_away_than_400_days_does_not_open_but_is_listed() -> None:
    leap = window("cron(0 2 29 FEB ? *)")
    assert opening(leap, utc("2026-06-01T00:00")) is None
    assert starts(leap, "2026-06-01T00:00", 2) == ["2028-02-29T02:00", "2032-02-29T02:00"]


# --- duration and zone ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", timedelta(seconds=30)),
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        ("7d", timedelta(days=7)),
        ("0s", timedelta(0)),
        ("3660d", timedelta(days=3660)),
    ],
)
def test_a_duration_is_a_number_and_its_unit(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "90", "m", "-1m", "1.5h", "1h30m", "7 d", "7D", "٣d", "3661d", "9" * 99 + "d", 90, None]
)
def test_any_other_duration_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(PolicyError, match="such as 90m"):
        parse_duration(text)


@pytest.mark.parametrize("duration", [timedelta(0), timedelta(seconds=-1), timedelta(days=367)])
def test_a_window_that_is_never_open_or_always_is_refused(duration: timedelta) -> None:
    with pytest.raises(PolicyError, match="duration"):
        window("cron(0 2 ? * SAT *)", duration=duration)


@pytest.mark.parametrize(
    ("zone", "remedy"),
    [
        ("europe/london", "did you mean Europe/London?"),
        ("Europe/Lodnon", "did you mean Europe/London?"),
        ("Mars/Base", "IANA name"),
        ("../../etc/passwd", "IANA name"),
        ("/etc/localtime", "zone cannot be '/etc/localtime'"),
        ("localtime", "zone cannot be 'localtime'"),
        ("right/Europe/London", "zone cannot be 'right/Europe/London'"),
        ("Europe", "zone cannot be 'Europe'"),
        ("", "IANA name"),
        ("Europe/London\0", "zone cannot be"),
        (None, "zone cannot be None"),
    ],
)
def test_an_unknown_zone_is_refused_with_a_near_one(zone: str, remedy: str) -> None:
    with pytest.raises(PolicyError) as refused:
        window("cron(0 2 ? * SAT *)", zone)
    assert remedy in str(refused.value)


def test_a_window_is_read_from_the_compiled_set() -> None:
    value = {"cron": "cron(0 2 ? * SAT *)", "zone": "Europe/London", "duration": "4h", "schedule_offset": 1}
    assert Window.from_json("tested", value) == window("cron(0 2 ? * SAT *)", "Europe/London", 4 * HOUR, 1)
    del value["schedule_offset"]
    assert Window.from_json("tested", value).offset_days == 0


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"cron": "0 2 ? * SAT *", "zone": "UTC"}, "needs duration"),
        ({"cron": "0 2 ? * SAT *", "zone": "UTC", "duration": "4h", "offset": 1}, "does not know offset"),
        ({"cron": "0 2 ? * SAT *", "zone": "UTC", "duration": 4}, "duration 4 cannot be read"),
        ({"cron": ["0 2 ? * SAT *"], "zone": "UTC", "duration": "4h"}, "cron cannot be"),
        ({"cron": "0 2 ? * SAT *", "zone": 5, "duration": "4h"}, "zone cannot be 5"),
        ("0 2 ? * SAT *", "cannot be '0 2"),
        (None, "cannot be None"),
    ],
)
def test_a_wrong_document_is_refused_by_the_window_s_name(value: object, says: str) -> None:
    with pytest.raises(PolicyError, match=f"window 'prod': .*{says}|window 'prod' {says}"):
        Window.from_json("prod", value)


# --- what holds for every window ------------------------------------------------------------------------------------


def _lists(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    one = number.map(str)
    ranged = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    stepped = st.tuples(st.one_of(st.just("*"), one, ranged), st.integers(1, 12)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    item = st.one_of(one, ranged, stepped)
    return st.one_of(st.just("*"), one, st.lists(item, min_size=1, max_size=3).map(",".join))


_MONTH_DAYS = st.one_of(_lists(1, 28), st.just("L"))
_WEEK_DAYS = st.one_of(
    _lists(1, 7),
    st.tuples(st.integers(1, 7), st.integers(1, 5)).map(lambda pair: f"{pair[0]}#{pair[1]}"),
    st.integers(1, 7).map(lambda day: f"{day}L"),
)
_DAYS = st.one_of(_MONTH_DAYS.map(lambda days: (days, "?")), _WEEK_DAYS.map(lambda days: ("?", days)))
CRONS = st.builds(
    lambda minutes, hours, days, months, years: f"cron({minutes} {hours} {days[0]} {months} {days[1]} {years})",
    _lists(0, 59),
    _lists(0, 23),
    _DAYS,
    _lists(1, 12),
    st.sampled_from(["*", "*", "2026-2028", "2027,2029"]),
)
ZONES = st.sampled_from(
    [
        "UTC",
        "Europe/London",
        "America/New_York",
        "Australia/Sydney",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        "Pacific/Apia",
    ]
)
WINDOWS = st.builds(
    Window,
    st.just("any"),
    CRONS,
    ZONES,
    st.integers(1, 14 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    st.integers(0, 6),
)
NOWS = st.datetimes(datetime(2026, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(WINDOWS, NOWS)
def test_an_opening_contains_now_or_starts_later(tested: Window, now: datetime) -> None:
    found = opening(tested, now)
    assume(found is not None)
    assert found is not None
    assert now in found or now < found.start <= now + AHEAD
    assert found.end - found.start == tested.duration
    assert found.start.tzinfo is UTC


@given(WINDOWS, NOWS)
def test_openings_ascend_and_each_is_the_one_that_is_open_at_its_start(tested: Window, now: datetime) -> None:
    listed = openings(tested, now, 6)
    moments = [now, *(item.start for item in listed)]
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert [opening(tested, item.start) for item in listed] == listed


@given(WINDOWS, NOWS)
def test_what_is_not_open_now_opens_with_the_first_that_is_listed(tested: Window, now: datetime) -> None:
    found = opening(tested, now)
    listed = openings(tested, now, 1)
    assume(found is None or now not in found)
    assert [found] == listed if found else not listed or listed[0].start > now + AHEAD


@given(WINDOWS, NOWS, st.integers(0, 5))
def test_a_moment_inside_an_opening_is_open(tested: Window, now: datetime, which: int) -> None:
    listed = openings(tested, now, which + 1)
    assume(len(listed) > which)
    inside = listed[which].end - timedelta(microseconds=1)
    found = opening(tested, inside)
    assert found is not None
    assert inside in found
    assert found.end >= listed[which].end


@given(CRONS, NOWS)
def test_the_times_are_those_of_an_independent_reading_of_aws_cron(cron: str, now: datetime) -> None:
    expected: list[datetime] = []
    moment: datetime | None = now
    fields = eventbridge._parse_cron_fields(cron)
    while len(expected) < 4 and (moment := eventbridge._cron_next_fire(fields, moment)):
        expected.append(moment)
    assume(not expected or expected[-1] < now + timedelta(days=1400))
    assert [item.start for item in openings(window(cron), now, 4)][: len(expected)] == expected
