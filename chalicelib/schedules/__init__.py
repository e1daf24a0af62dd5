"""Schedules: start what the calendar says, once for each occurrence, and follow what became of it."""

from __future__ import annotations

from chalicelib.schedules.book import book_of, history
from chalicelib.schedules.round import Turn, follow, run_due
from chalicelib.schedules.settle import places_of
from chalicelib.schedules.start import asked_for, holds, run_now

__all__ = ["Turn", "asked_for", "book_of", "follow", "history", "holds", "places_of", "run_due", "run_now"]
