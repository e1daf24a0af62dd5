"""Days: what the documents about one UTC day are called in the vault of evidence."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

TRAIL, STANDING = "trail/", "standing/"
"""What was said each day, and what it added up to by the end of the day."""

INDEXES = f"{STANDING}index/"


def end_of(day: date) -> datetime:
    """The first moment that is no part of the day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def manifest_of(day: date) -> str:
    return f"{TRAIL}day={day.isoformat()}/manifest.json"


def lines_of(day: date, account: str) -> str:
    return f"{TRAIL}day={day.isoformat()}/account={account}/lines.jsonl.gz"


def index_of(day: date) -> str:
    return f"{INDEXES}{day.isoformat()}.json"


def standing_of(day: date, account: str) -> str:
    return f"{STANDING}day={day.isoformat()}/account={account}/remediations.jsonl.gz"


def ended_of(day: date, account: str) -> str:
    return f"{STANDING}day={day.isoformat()}/account={account}/episodes.jsonl.gz"
