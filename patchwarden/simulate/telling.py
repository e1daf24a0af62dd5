"""Telling: what a run says of itself, line by line while somebody watches, and in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from patchwarden.simulate.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history: `at` in seconds, who, what, and what went wrong with it."""

    at: float
    who: str
    what: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a run. `wrong`: each sentence is a promise that was broken."""

    seed: int
    wrong: tuple[str, ...]
    calls: int
    faults: Mapping[str, int]
    executions: int
    states: Mapping[str, int]
    lines: int
    hours: float
    history: tuple[Entry, ...] = field(default=(), repr=False)


class Telling:
    """The history of a run, which is kept only if it is `watched`."""

    def __init__(self, scheduler: Scheduler, watched: bool) -> None:
        self._scheduler, self.watched = scheduler, watched
        self.history: list[Entry] = []

    def tell(self, who: str, what: str, fault: str = "") -> None:
        if self.watched:
            self.history.append(Entry(self._scheduler.now, who, what, fault))


def short(given: Iterable[Any]) -> str:
    words = []
    for each in given:
        line = getattr(each, "line", None)
        words.append(
            f"{line.remediation} #{line.number} {line.cause} -> {line.after}: {line.because}"
            if line
            else str(sorted(each) if isinstance(each, set | frozenset) else getattr(each, "id", each))[:120]
        )
    return ", ".join(words)
