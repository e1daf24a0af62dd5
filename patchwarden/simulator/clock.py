"""The virtual clock: simulated time, and what is due in it, in an order that never changes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from datetime import datetime, timedelta

POLL = timedelta(seconds=5)
"""How often a process that waits for a condition looks at it again."""

Process = Generator["float | Callable[[], bool]", None, None]
"""A process yields the seconds it wants to sleep, or a condition that it waits for."""


class VirtualClock:
    """A clock that moves only when told. Equal moments run in the order in which they were asked for.

    `sleep` moves the time without running anything: the sleeper holds the only thread, and what fell due meanwhile
    runs, late, when it gives the thread back.
    """

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError(f"the start {start} has no zone")
        self._now = start
        self._due: list[tuple[datetime, int, Callable[[], object]]] = []
        self._asked = 0

    def now(self) -> datetime:
        """Aware, as the start was."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; a negative pause is none."""
        self._now += timedelta(seconds=max(seconds, 0.0))

    def at(self, moment: datetime, call: Callable[[], object]) -> None:
        """Run `call` at `moment`; a moment that has passed is as good as now."""
        self._asked += 1
        heapq.heappush(self._due, (moment, self._asked, call))

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Run `call` when `seconds` have passed."""
        self.at(self._now + timedelta(seconds=seconds), call)

    def spawn(self, process: Process) -> None:
        """Run a process, from now on, to its end."""
        self.at(self._now, lambda: self._resume(process))

    def next_moment(self) -> datetime | None:
        """When the next call is due, or None if nothing is left to do."""
        return self._due[0][0] if self._due else None

    def run_until(self, moment: datetime) -> None:
        """Run everything that is due up to and including `moment`, and be there."""
        while self._due and self._due[0][0] <= moment:
            due, _, call = heapq.heappop(self._due)
            self._now = max(self._now, due)
            call()
        self._now = max(self._now, moment)

    def _resume(self, process: Process) -> None:
        try:
            wanted = next(process)
        except StopIteration:
            return
        if callable(wanted):
            self._watch(process, wanted)
        else:
            self.after(wanted, lambda: self._resume(process))

    def _watch(self, process: Process, condition: Callable[[], bool]) -> None:
        if condition():
            self._resume(process)
            return
        self.after(POLL.total_seconds(), lambda: self._watch(process, condition))
