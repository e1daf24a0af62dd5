"""Hands: threads of one invocation that wait for answers from outside at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock, local
from typing import Any, TypeVar

from chalicelib.core.errors import Denied, Temporary

Done = TypeVar("Done")

LANES = 24
"""How many threads share out the works of one call, and how many more share those that a work shares out itself.

Two of these lanes together keep one vCPU busy: a call waits ten times as long as it computes. The connections that
every client keeps open must be as many (`adapters/accounts.py`).
"""


class Threads:
    """The port `Crew`. The caller takes works too, so nobody ever waits for a thread that waits for it."""

    def __init__(self, lanes: int = LANES) -> None:
        self._lanes = lanes
        self._pools: list[ThreadPoolExecutor] = []
        self._making, self._counting = Lock(), Lock()
        self._here = local()

    def together(self, works: Sequence[Callable[[], Done]]) -> list[Done | Temporary | Denied]:
        made: list[Any] = [None] * len(works)
        todo, taking = iter(range(len(works))), Lock()
        depth = getattr(self._here, "depth", 0)
        helpers = self._helpers(
            depth, min(self._lanes, len(works)) - 1, lambda: self._work(works, todo, taking, made, depth)
        )
        try:
            self._work(works, todo, taking, made, depth)
        finally:
            begun = [helper for helper in helpers if not helper.cancel()]
            wait(begun)
        for helper in begun:
            helper.result()
        return made

    def alone(self, work: Callable[[], Done]) -> Done:
        with self._counting:
            return work()

    def _helpers(self, depth: int, wanted: int, work: Callable[[], None]) -> list[Future[None]]:
        """Threads for this depth; works that lie deeper than two are done by whoever shared them out."""
        if depth >= 2 or wanted < 1:
            return []
        with self._making:
            while len(self._pools) <= depth:
                self._pools.append(ThreadPoolExecutor(self._lanes, f"lane-{len(self._pools)}"))
        return [self._pools[depth].submit(work) for _ in range(wanted)]

    def _work(
        self, works: Sequence[Callable[[], Any]], todo: Iterator[int], taking: Lock, made: list[Any], depth: int
    ) -> None:
        """Take one work after the other until none is left."""
        self._here.depth = depth + 1
        try:
            while True:
                with taking:
                    number = next(todo, None)
                if number is None:
                    return
                made[number] = _done(works[number])
        finally:
            self._here.depth = depth


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (Temporary, Denied) as error:
        return error
