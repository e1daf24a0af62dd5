"""Marks: how far the nodes of one place were looked through for an emergency, so that the next look goes on there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.facts import PatchState
from chalicelib.core.moments import format_moment, parse_moment

MOST_LEFT = 200
"""How many nodes that refused an answer a place remembers; with more of them all of it is looked at again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The place was looked through at `until`; the look under way began at `at` and came up to the id `after`.

    `left`: nodes that could not be asked; they are wanted whatever the date of their scan.
    """

    until: datetime | None = None
    at: datetime | None = None
    after: str | None = None
    left: tuple[str, ...] = ()

    def wants(self, id: str, scan: PatchState | None, lag: timedelta) -> bool:
        """Whether the node's scan may say what was not read yet; of one that was never scanned nobody knows."""
        return self.until is None or scan is None or scan.ended_at >= self.until - lag or id in self.left

    def past(self, upto: str, left: Sequence[str]) -> Mark:
        """Behind the nodes up to this id, of which `left` refused; those left before them have been asked again."""
        others = [id for id in self.left if id > upto or id <= (self.after or "")]
        return replace(self, after=upto, left=tuple(sorted({*others, *left})))

    def ended(self) -> Mark:
        """After the last node; where too many refused, it is as if nobody had looked."""
        return Mark(self.until) if len(self.left) > MOST_LEFT else Mark(self.at, left=self.left)

    def to_json(self, began: datetime) -> dict[str, Any]:
        moments = {"until": self.until, "at": self.at}
        told = {name: format_moment(moment) if moment else None for name, moment in moments.items()}
        return {**told, "after": self.after, "left": list(self.left), "began": format_moment(began)}

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None, began: datetime) -> Mark:
        """As it was kept; for an emergency that was begun anew it is as if nobody had looked."""
        if kept is None or kept.get("began") != format_moment(began):
            return cls()
        until, at = (parse_moment(kept[name]) if kept.get(name) else None for name in ("until", "at"))
        return cls(until, at, kept.get("after"), tuple(kept.get("left", ())))
