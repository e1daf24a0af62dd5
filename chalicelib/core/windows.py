"""Windows: when acting is allowed, in the cron and offset of a maintenance window and the zone of its people."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from chalicelib.core.crons import EXAMPLE, Cron, parse_cron
from chalicelib.core.errors import PolicyError

AHEAD = timedelta(days=400)
"""How far the next opening is looked for: a yearly window is found, one in a year that is over is not."""

FAR_AHEAD = timedelta(days=3660)
LONGEST = timedelta(days=366)
_LONGEST_SPAN = timedelta(days=3660)
_FOLD = timedelta(hours=3)
_GAP = timedelta(days=1)
"""The most by which a zone has turned its clocks back, and forward, since 1970."""

_SPAN = re.compile(r"([0-9]{1,9})([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: object) -> timedelta:
    """`30s`, `90m`, `24h` or `7d`, at most 3660 days; PolicyError otherwise."""
    found = _SPAN.match(text) if isinstance(text, str) else None
    span = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None
    if span is None or span > _LONGEST_SPAN:
        raise PolicyError(
            f"the duration {_shown(text)} cannot be read: write a whole number and s, m, h or d, such as 90m"
        )
    return span


@dataclass(frozen=True, slots=True)
class Opening:
    """One time in which acting is allowed: UTC, `start` belongs to it, `end` does not."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end


@dataclass(frozen=True, slots=True)
class Window:
    """A named window: local `cron` times in an IANA `zone`, moved by `offset_days` (0-6) local calendar days.

    The offset is SSM's: TUE#2 and 2 days is the Thursday after the second Tuesday, not the second Thursday.
    A local time that the clocks skip opens when they have moved on; one that comes twice opens the first time.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreateMaintenanceWindow.html
    """

    name: str
    cron: str
    zone: str
    duration: timedelta
    offset_days: int = 0
    schedule: Cron = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "schedule", _checked(self))
        except PolicyError as error:
            raise PolicyError(f"window {self.name!r}: {error}") from error

    @classmethod
    def from_json(cls, name: str, value: object) -> Window:
        """From `cron`, `zone`, `duration` and, if it is not 0, `schedule_offset`; PolicyError otherwise."""
        if not isinstance(value, Mapping):
            raise PolicyError(f"window {name!r} cannot be {_shown(value)}: write cron, zone and duration")
        unknown = sorted(map(str, value.keys() - {"cron", "zone", "duration", "schedule_offset"}))
        missing = sorted({"cron", "zone", "duration"} - value.keys())
        if unknown or missing:
            what = f"does not know {', '.join(unknown)}" if unknown else f"needs {', '.join(missing)}"
            raise PolicyError(f"window {name!r} {what}: write cron, zone, duration and, if wanted, schedule_offset")
        try:
            duration = parse_duration(value["duration"])
        except PolicyError as error:
            raise PolicyError(f"window {name!r}: {error}") from error
        return cls(name, value["cron"], value["zone"], duration, value.get("schedule_offset", 0))


def _checked(window: Window) -> Cron:
    if type(window.offset_days) is not int or not 0 <= window.offset_days <= 6:
        raise PolicyError(f"schedule_offset cannot be {_shown(window.offset_days)}: write 1 to 6 days, or leave it out")
    if not timedelta(0) < window.duration <= LONGEST:
        raise PolicyError(f"duration cannot be {window.duration}: write more than 0 and at most 366d")
    if not isinstance(window.cron, str):
        raise PolicyError(f"cron cannot be {_shown(window.cron)}: write six fields, such as {EXAMPLE}")
    _check_zone(window.zone)
    return parse_cron(window.cron)


def _check_zone(name: object) -> None:
    """PolicyError for what is no IANA zone, or is another one on another machine."""
    if isinstance(name, str) and _is_zone(name):
        return
    near = difflib.get_close_matches(str(name), sorted(available_timezones() - _MACHINE_ZONES), n=1)
    remedy = f"did you mean {near[0]}?" if near else "write an IANA name such as Europe/London or UTC"
    raise PolicyError(f"zone cannot be {_shown(name)}: {remedy}")


_MACHINE_ZONES = frozenset({"localtime", "posixrules", "Factory"})


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return name not in _MACHINE_ZONES and not name.startswith(("posix/", "right/"))


def _shown(value: object) -> str:
    return repr(value)[:60]


def opening(window: Window, now: datetime) -> Opening | None:
    """The opening that is open now (of several, the one that closes last), else the next one within 400 days."""
    start = _started(window, now)
    if start is None or now >= start + window.duration:
        start = next(_starts(window, now, now + AHEAD), None)
    return None if start is None else Opening(start, start + window.duration)


def openings(window: Window, after: datetime, count: int) -> list[Opening]:
    """The next `count` openings that start later than `after`, or as many as ten years hold."""
    starts = islice(_starts(window, after, after + FAR_AHEAD), count)
    return [Opening(start, start + window.duration) for start in starts]


def _starts(window: Window, after: datetime, until: datetime) -> Iterator[datetime]:
    """Starts later than `after` up to `until`, ascending; several local times that the clocks skip are one start."""
    offset = timedelta(days=window.offset_days)
    last = after.astimezone(UTC)
    for tick in window.schedule.ticks(_local(window, after) - offset, _local(window, until) - offset + _FOLD):
        start = _instant(window, tick + offset)
        if last < start <= until:
            last = start
            yield start


def _started(window: Window, now: datetime) -> datetime | None:
    """The latest start that is not later than `now`, if its opening can still be open."""
    offset = timedelta(days=window.offset_days)
    before = _local(window, now) - offset
    back = window.schedule.ticks_back(before + _FOLD, before - window.duration - _GAP)
    starts = (_instant(window, tick + offset) for tick in back)
    return next((start for start in starts if start <= now), None)


def _local(window: Window, moment: datetime) -> datetime:
    assert moment.tzinfo is not None, "a moment has a zone"
    return moment.astimezone(ZoneInfo(window.zone)).replace(tzinfo=None, fold=0)


def _instant(window: Window, local: datetime) -> datetime:
    """UTC of a local time: the first of two, and the end of the gap for one that does not exist."""
    zone = ZoneInfo(window.zone)
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    while moment.astimezone(zone).replace(tzinfo=None, fold=0) != local:
        local += timedelta(minutes=1)
        moment = local.replace(tzinfo=zone).astimezone(UTC)
    return moment
