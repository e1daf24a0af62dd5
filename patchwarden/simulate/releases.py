"""Releases: what a guard has held for half an hour is let go by somebody who reads its ticket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from chalicelib import guard, wave
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import parse_moment
from chalicelib.ports import Ledger, Ports

HELD, OPERATOR = timedelta(minutes=30), "operator@example.com"


def stops(ledger: Ledger) -> list[Entry]:
    """The newest line of everything that may hold nodes back."""
    return [line for kind in guard.KINDS for line in ledger.subjects(kind)]


def release(ports: Ports, lines: Iterable[Entry], tell: Callable[[str, str], None]) -> Iterator[str]:
    """Lets go what has held for so long, and gives the subject of each."""
    for line in lines:
        since = parse_moment(line.value["since"]) if guard.tripped(line) else None
        if since is None or since > ports.clock.now() - HELD:
            continue
        tell("operator", f"releases {line.name}")
        if line.kind is Kind.ROLLOUT:
            wave.resume(ports, line, "looked at", OPERATOR)
        else:
            guard.release(ports, line, "looked at", actor=OPERATOR)
        yield line.subject
