"""Moments: UTC times as text and back, always with a zone, always to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def parse_moment(text: str) -> datetime:
    """An aware UTC datetime from ISO 8601; a time without a zone is refused with ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone: write 2026-11-28T02:00:00Z")
    return moment.astimezone(UTC)


def stored(moment: datetime) -> datetime:
    """The moment as its text gives it back: UTC, to the millisecond."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


@lru_cache(maxsize=4096)  # a round writes the same few moments thousands of times
def format_moment(moment: datetime) -> str:
    """ISO 8601 in UTC, such as 2026-11-28T02:00:00.000Z: sorts as text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
