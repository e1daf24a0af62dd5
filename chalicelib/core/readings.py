"""Readings: the facts of one finding, asked once, and the groups of conditions that are held against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.core.conditions import Condition, Truth, every, some
from chalicelib.core.paths import Path


class Readings:
    """The facts of one finding: each path is read, and each condition judged, at most once."""

    __slots__ = ("_found", "_truths", "facts")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.facts = facts
        self._found: dict[Path, Any] = {}
        self._truths: dict[Condition, Truth] = {}

    def find(self, path: Path) -> Any:
        """The value, MISSING or Unreadable; for a path that yields many a list or Unreadable."""
        found = self._found.get(path, self)
        if found is self:
            found = self._found[path] = path.read(self.facts)
        return found

    def truth(self, condition: Condition) -> Truth:
        truth = self._truths.get(condition)
        if truth is None:
            truth = self._truths[condition] = condition.judge(self.find(condition.path))
        return truth


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition where it stands in a policy file; line None: it follows from the policy's action."""

    condition: Condition
    line: int | None


@dataclass(frozen=True, slots=True)
class When:
    """What a policy speaks for: all of `all`, one of `any` if there are any, and none of `none`."""

    all: tuple[Clause, ...] = ()
    any: tuple[Clause, ...] = ()
    none: tuple[Clause, ...] = ()

    def clauses(self) -> tuple[Clause, ...]:
        return (*self.all, *self.any, *self.none)

    def judge(self, readings: Readings) -> Truth:
        """The answer of the three groups together."""
        return every((every(readings.truth(clause.condition) for clause in self.all), self.others(readings)))

    def others(self, readings: Readings) -> Truth:
        """The answer of `any` and `none` together."""
        one = some(readings.truth(clause.condition) for clause in self.any) if self.any else Truth.TRUE
        return every((one, ~some(readings.truth(clause.condition) for clause in self.none)))
