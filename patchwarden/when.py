"""When: the one way in which every command reads a moment, a day or a span."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from chalicelib.core.moments import format_moment, parse_moment

EXAMPLES = "2026-11-28T02:00:00Z, 2026-11-28, now, today, yesterday, tomorrow, 90s, 15m, 2h, 3d or 2w"
"""All that is understood, in the words of the one sentence that says so."""

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"([0-9]{1,6})([smhdw])")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}


@dataclass(frozen=True, slots=True)
class When:
    """What an option says of time: a moment, a word for one, or a span whose other end the command knows.

    A day, `today`, `yesterday` and `tomorrow` are the first moment of that day in UTC.
    """

    text: str
    option: str
    moment: datetime | None = None
    span: timedelta | None = None

    def before(self, now: datetime, end: datetime | None = None) -> datetime:
        """The moment, whenever it is; a span counts back from the end, or from now."""
        return self._from(now, -1, end or now)

    def back(self, now: datetime, end: datetime | None = None) -> datetime:
        """The same, and it may not be after now."""
        found = self.before(now, end)
        if found > now:
            raise self._refused(f"{format_moment(found)} is still to come")
        return found

    def ahead(self, now: datetime) -> datetime:
        """The moment, which must be after now; a span counts from now on."""
        found = self.around(now)
        if found <= now:
            raise self._refused(f"{format_moment(found)} has passed")
        return found

    def around(self, now: datetime) -> datetime:
        """The moment, before or after now; a span counts from now on."""
        return self._from(now, 1, now)

    def _from(self, now: datetime, sign: int, end: datetime) -> datetime:
        try:
            if self.span is not None:
                return end + sign * self.span
            if self.text in _DAYS:
                return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=_DAYS[self.text])
            return self.moment or now
        except OverflowError as error:
            raise self._refused(f"{self.text} is longer than the calendar") from error

    def _refused(self, what: str) -> click.BadParameter:
        return click.BadParameter(f"{what}: write a moment or a span such as {EXAMPLES}", param_hint=f"'{self.option}'")


def read(text: str, option: str = "") -> When:
    """ValueError where the text is neither a moment nor a span; a time without its zone is none."""
    said = text.strip()
    word = said.lower()
    if word == "now" or word in _DAYS:
        return When(word, option)
    if found := _SPAN.fullmatch(word):
        return When(word, option, span=timedelta(**{_UNITS[found[2]]: int(found[1])}))
    try:
        if _DAY.fullmatch(said):
            return When(said, option, moment=datetime.fromisoformat(said).replace(tzinfo=UTC))
        return When(said, option, moment=parse_moment(said.upper()))
    except (ValueError, OverflowError) as error:
        what = "a moment without its zone" if "has no zone" in str(error) and ":" in said else "no moment and no span"
        raise ValueError(f"{text!r:.60} is {what}: write such as {EXAMPLES}") from error


class WhenType(click.ParamType[When]):
    """The type of `--since`, `--until`, `--at` and all other options about time."""

    name = "moment|span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> When:
        if isinstance(value, When):
            return value
        try:
            return read(value, param.opts[0] if param else "")
        except ValueError as error:
            self.fail(str(error), param, ctx)


WHEN = WhenType()


def since_option(
    default: str | None = None, says: str = "From when on: a moment, or a span before the end."
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--since`, as the argument `since`."""
    return click.option("--since", type=WHEN, default=default, show_default=default is not None, help=says)
