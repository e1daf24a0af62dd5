"""Publications: which policy set was put in force when, by whom and why, as a hash-chained trail of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.moments import format_moment, parse_moment


class Act(StrEnum):
    PUBLISHED = "published"
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class Publication:
    """One line: from `at` on the set of `digest` decides. `revision` is git's, `summary` what the replay found."""

    number: int
    at: datetime
    act: Act
    digest: str
    by: str
    because: str
    revision: str | None
    summary: Mapping[str, Any] = field(hash=False)
    previous: str
    hash: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "at": format_moment(self.at), "act": self.act.value, "summary": dict(self.summary)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Publication:
        return cls(**{**value, "at": parse_moment(value["at"]), "act": Act(value["act"])})


def publication(
    last: Publication | None,
    act: Act,
    digest: str,
    *,
    by: str,
    because: str,
    now: datetime,
    revision: str | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Publication:
    """The line that follows `last`, the one in force; `summary` holds JSON types."""
    number, previous = (last.number + 1, last.hash) if last else (1, GENESIS)
    at = parse_moment(format_moment(now))
    line = Publication(number, at, act, digest, by, because, revision, dict(summary or {}), previous)
    return replace(line, hash=link(previous, line.to_json()))


def fault(active: Publication | None, lines: Sequence[Publication]) -> str | None:
    """The first thing wrong with the trail of policy sets, naming the line; None if there is nothing."""
    previous = GENESIS
    for number, line in enumerate(lines, 1):
        if line.number != number:
            return f"policies: line {number} is missing; line {line.number} stands in its place"
        if line.previous != previous:
            return f"policies: line {number} does not follow from the line before it"
        if link(previous, line.to_json()) != line.hash:
            return f"policies: line {number} was changed after it was written"
        previous = line.hash
    if active != (lines[-1] if lines else None):
        seen = active.number if active else 0
        return f"policies: the trail ends at line {len(lines)}, but the set in force is that of another line {seen}"
    return None
