"""Crew: hands that share work which waits for answers from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from chalicelib.core.errors import Denied, Temporary

Done = TypeVar("Done")


class Crew(Protocol):
    """Hands: they share work that waits for answers from outside."""

    def together(self, works: Sequence[Callable[[], Done]]) -> list[Done | Temporary | Denied]:
        """What each came to, in order; begun in order, some at the same time. Who is busy or refuses is a value.

        Anything else that one raises is raised here, when all have ended. A work may itself share out works.
        """

    def alone(self, work: Callable[[], Done]) -> Done:
        """Do this while no other hand does anything alone, for counts that several share; it asks nothing outside."""


class OneByOne:
    """The port `Crew` with one pair of hands: for ledgers in a file and in memory."""

    def together(self, works: Sequence[Callable[[], Done]]) -> list[Done | Temporary | Denied]:
        return [_or_error(work) for work in works]

    def alone(self, work: Callable[[], Done]) -> Done:
        return work()


def _or_error(work: Callable[[], Done]) -> Done | Temporary | Denied:
    try:
        return work()
    except (Temporary, Denied) as error:
        return error
