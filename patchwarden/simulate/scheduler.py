"""The scheduler: virtual time, and invocations that give way to each other at every outside call."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from functools import partial

from greenlet import getcurrent, greenlet

Action = Callable[[], object]


class Scheduler:
    """Actions in order of their moment, in seconds from the start; equal moments in the order they were given."""

    def __init__(self) -> None:
        self.now = 0.0
        self._coming: list[tuple[float, int, Action]] = []
        self._given = 0
        self._end = 0.0
        self._hub = getcurrent()
        self._idle: list[greenlet] = []
        self._hands: list[greenlet] = []

    def at(self, moment: float, action: Action) -> None:
        self._given += 1
        heapq.heappush(self._coming, (max(moment, self.now), self._given, action))

    def spawn(self, work: Action) -> None:
        """Begin the work now; it runs until it pauses."""
        if not self._idle:
            self._idle.append(greenlet(self._serve, parent=self._hub))
            self._hands.append(self._idle[-1])
        hand = self._idle.pop()
        self.at(self.now, partial(hand.switch, work))

    def _serve(self, work: Action) -> None:
        """One hand: do the work, then wait for another; a new greenlet costs as much as a hundred switches."""
        while True:
            work()
            self._idle.append(getcurrent())
            work = self._hub.switch()

    def pause(self, seconds: float) -> None:
        """Give way: whoever calls goes on so many seconds later, at once if nobody else comes before that."""
        then, coming = self.now + seconds, self._coming
        if then <= self._end and not (coming and coming[0][0] <= then):
            self.now = then
            return
        self.at(then, getcurrent().switch)
        self._hub.switch()

    def together(self, works: Sequence[Action]) -> None:
        """Begin all of them now; whoever calls goes on when the last has ended."""
        left, caller = len(works), getcurrent()

        def ended(work: Action) -> None:
            nonlocal left
            work()
            left -= 1
            if not left:
                self.at(self.now, caller.switch)

        for work in works:
            self.spawn(partial(ended, work))
        if works:
            self._hub.switch()

    def close(self) -> None:
        """End what has not ended. A hand that waits for ever is never collected, and keeps its whole world with it."""
        self._coming.clear()
        for hand in self._hands:
            while not hand.dead and hand:
                hand.throw()
        self._hands.clear()
        self._idle.clear()

    def run_until(self, end: float) -> None:
        coming, self._end = self._coming, end
        while coming and coming[0][0] <= end:
            self.now, _, action = heapq.heappop(coming)
            action()
        self.now = end
