"""A process that writes to a ledger file beside others. It imports little, so that all of them are there at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.core.errors import Stale
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.ports import Change

BEGIN = datetime(2026, 11, 23, 12, tzinfo=UTC)


def append_many(path: str, blank: Remediation, writer: int, lines: int) -> None:
    """Append so many lines to the one remediation, reading again whenever another was first."""
    ledger, done = SqliteLedger(Path(path)), 0
    while done < lines:
        case = ledger.head(blank.id) or blank
        line = advance(case, Cause.NOTED, because="it was noted",
                       now=BEGIN + timedelta(seconds=writer, milliseconds=done),
                       sets={"last_outcome": f"line {done} of writer {writer}"})  # fmt: skip
        try:
            ledger.append(Change(line, apply(case, line)))
        except Stale:
            continue
        done += 1
    ledger.close()
