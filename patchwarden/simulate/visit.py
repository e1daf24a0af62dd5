"""A visit: one invocation of a verb, with its own clock and its own crew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib.core.errors import Denied, PatchwardenError, Temporary
from chalicelib.ports import Ports
from patchwarden.simulate.faults import Killed
from patchwarden.simulate.moments import moment
from patchwarden.simulate.scheduler import Scheduler

DEFECTS = (PatchwardenError, AssertionError, LookupError, TypeError, ValueError, AttributeError)
"""What a verb may not raise: each of these is a broken promise of ours and not the world's."""

Verb = Callable[[Ports], object]


@dataclass(slots=True)
class Visit:
    """One invocation of a verb: its clock's error, and when Lambda ends it."""

    name: str
    skew: float
    ends: float


class VisitClock:
    """The port `Clock` of one invocation."""

    def __init__(self, scheduler: Scheduler, visit: Visit) -> None:
        self._scheduler, self._visit = scheduler, visit
        self._at, self._moment = 0.0, moment(0.0)

    def now(self) -> datetime:
        at = self._scheduler.now + self._visit.skew
        if at != self._at:
            self._at, self._moment = at, moment(at)
        return self._moment

    def sleep(self, seconds: float) -> None:
        self._scheduler.pause(seconds)


class VisitCrew:
    """The port `Crew` of one invocation: every work runs at the same time, and is killed with the invocation."""

    def __init__(self, scheduler: Scheduler, visit: Visit) -> None:
        self._scheduler, self._visit = scheduler, visit

    def together(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        made: list[Any] = [None] * len(works)
        broke: list[BaseException] = []

        def one(number: int) -> None:
            try:
                made[number] = works[number]()
            except (Temporary, Denied) as error:
                made[number] = error
            except Killed as error:
                self._visit.ends = -1.0
                broke.insert(0, error)
            except DEFECTS as error:
                broke.append(error)

        self._scheduler.together([partial(one, number) for number in range(len(works))])
        if broke:
            raise broke[0]
        return made

    def alone(self, work: Callable[[], Any]) -> Any:
        return work()
