"""Moments: the seconds of a run as the service is told them."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.core.moments import parse_moment

START = parse_moment("2026-11-23T12:00:00Z")


def moment(seconds: float) -> datetime:
    """The UTC moment so many seconds after the start."""
    return START + timedelta(0, 0, 0, round(seconds * 1000))  # by position: it is made at every outside call
