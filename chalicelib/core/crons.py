"""Crons: AWS's six-field expressions, checked and brought into the five fields that cronsim evaluates."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from chalicelib.core.errors import PolicyError

EXAMPLE = "cron(0 2 ? * SAT *)"

_LONGEST = 256
_CRON = re.compile(r"\s*cron\s*\((.*)\)\s*\Z", re.IGNORECASE | re.DOTALL)
_ITEM = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>[0-9]+))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Part:
    """One cron field: its name, its bounds, and the names of its values, the first being the lowest."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    also: str = ""

    def values(self, text: str) -> set[int]:
        """The values of a list such as `1-5,20/2`; PolicyError names what cannot be read."""
        return {value for item in text.split(",") for value in self._item(item)}

    def listed(self, text: str) -> str:
        """The same values for cronsim."""
        return "*" if text == "*" else ",".join(map(str, sorted(self.values(text))))

    def number(self, text: str) -> int:
        if text in self.names:
            return self.low + self.names.index(text)
        if not (text.isascii() and text.isdigit() and self.low <= int(text) <= self.high):
            raise self.wrong(text)
        return int(text)

    def wrong(self, item: str, remedy: str = "") -> PolicyError:
        named = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        allowed = f"write {self.low}-{self.high}{named}, with , - * /{self.also}"
        return PolicyError(f"the cron field {self.name} cannot be {item!r}: {remedy or allowed}")

    def _item(self, item: str) -> range:
        found = _ITEM.match(item)
        if found is None or (found["first"] == "*" and found["last"]):
            raise self.wrong(item)
        step = int(found["step"] or 1)
        if step == 0:
            raise self.wrong(item, "a step is 1 or more")
        if found["first"] == "*":
            return range(self.low, self.high + 1, step)
        first = self.number(found["first"])
        last = self.number(found["last"]) if found["last"] else self.high if found["step"] else first
        if last < first:
            raise self.wrong(item, "write the range upwards, or list the values with commas")
        return range(first, last + 1, step)


_MONTH_NAMES = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAY_NAMES = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MINUTES = _Part("minutes", 0, 59)
_HOURS = _Part("hours", 0, 23)
_MONTH_DAYS = _Part("day-of-month", 1, 31, also=" ? L")
_MONTHS = _Part("month", 1, 12, _MONTH_NAMES)
_WEEK_DAYS = _Part("day-of-week", 1, 7, _DAY_NAMES, also=" ? L #")
_YEARS = _Part("year", 1970, 2199)


@dataclass(frozen=True, slots=True)
class Cron:
    """AWS's six fields as cronsim reads them: five fields, and the years apart."""

    five: str
    years: frozenset[int]

    def ticks(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Local times later than `after` up to `until`, all without a zone, ascending."""
        for year in sorted(self.years.intersection(range(after.year, until.year + 1))):
            for tick in CronSim(self.five, max(after, _new_year(year) - timedelta(seconds=1))):
                if tick.year != year or tick > until:
                    break
                yield tick

    def ticks_back(self, before: datetime, until: datetime) -> Iterator[datetime]:
        """Local times earlier than `before` down to `until`, all without a zone, descending."""
        for year in sorted(self.years.intersection(range(until.year, before.year + 1)), reverse=True):
            for tick in CronSim(self.five, min(before, _new_year(year + 1)), reverse=True):
                if tick.year != year or tick < until:
                    break
                yield tick


def _new_year(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001 - a local time, which gets its zone only when it is an instant


@lru_cache(maxsize=256)
def parse_cron(text: str) -> Cron:
    """AWS's six-field cron, with or without `cron( )`; PolicyError names the field, the value and the remedy.

    Days of the week count from 1 = SUN. `L` and `#` are read; `W` is refused, because cronsim has no such rule.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/reference-cron-and-rate-expressions.html
    """
    minutes, hours, month_days, months, week_days, years = _six(text)
    five = " ".join(
        (
            _MINUTES.listed(minutes),
            _HOURS.listed(hours),
            _days_of_month(month_days),
            _MONTHS.listed(months),
            _days_of_week(week_days),
        )
    )
    try:
        CronSim(five, datetime.min.replace(tzinfo=UTC))
    except CronSimError as error:
        raise _MONTH_DAYS.wrong(month_days, f"no month of {months} has that day") from error
    return Cron(five, frozenset(_YEARS.values(years)))


def _six(text: str) -> list[str]:
    if len(text) > _LONGEST:
        raise PolicyError(f"cron {text[:60]!r} is too long: write at most {_LONGEST} characters")
    inner = _CRON.match(text)
    fields = (inner[1] if inner else text).upper().split()
    if len(fields) != 6:
        hint = "drop the seconds and " if len(fields) == 7 else ""
        raise PolicyError(
            f"cron {text!r} has {len(fields)} fields: {hint}write six, minutes hours day-of-month month "
            f"day-of-week year, such as {EXAMPLE}"
        )
    if (fields[2] == "?") == (fields[4] == "?"):
        raise PolicyError(
            f"cron {text!r} has {fields[2]} as day-of-month and {fields[4]} as day-of-week: "
            f"write ? in exactly one of them, such as {EXAMPLE}"
        )
    return fields


def _days_of_month(text: str) -> str:
    if "W" in text:
        raise _MONTH_DAYS.wrong(text, "W is not supported, write the weekday in day-of-week, such as MON#1")
    if text == "?":
        return "*"
    return ",".join("L" if item == "L" else _MONTH_DAYS.listed(item) for item in text.split(","))


def _days_of_week(text: str) -> str:
    return "*" if text in ("?", "*") else ",".join(_day_of_week(item) for item in text.split(","))


def _day_of_week(item: str) -> str:
    """AWS counts from 1 = SUN, cronsim from 0; a bare `L` is the last day of the week, `6L` the last Friday."""
    if item == "L":
        return "6"
    if "#" in item:
        day, _, nth = item.partition("#")
        if nth not in ("1", "2", "3", "4", "5"):
            raise _WEEK_DAYS.wrong(item, "after # write 1 to 5, such as TUE#2 for the second Tuesday")
        return f"{_WEEK_DAYS.number(day) - 1}#{nth}"
    if item.endswith("L"):
        return f"{_WEEK_DAYS.number(item[:-1]) - 1}L"
    return ",".join(str(value - 1) for value in sorted(_WEEK_DAYS.values(item)))
