"""Turns: in which order what wants to leave is served, so that no account waits for another's flood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import TypeVar

from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Remediation

AGED = timedelta(minutes=30)
"""Who has waited so long is served like an emergency: what is less critical does not wait for ever."""

_NEVER = datetime.max.replace(tzinfo=UTC)

Urgency = tuple[int, int, datetime]
"""Sorts the most urgent first: its class, its policy's priority, and since when it is due."""

T = TypeVar("T")


def in_turn(
    leaving: Iterable[T], place: Callable[[T], Location], cases: Callable[[T], Sequence[Remediation]], now: datetime
) -> list[T]:
    """The first of every account, then the second of every account; within an account the same over its Regions.

    In each place, and among those whose turn is the same, the most urgent comes first.
    """
    waiting: dict[Location, list[tuple[Urgency, T]]] = defaultdict(list)
    for one in leaving:
        waiting[place(one)].append((min(urgency(case, now) for case in cases(one)), one))
    accounts: dict[str, list[list[tuple[Urgency, T]]]] = defaultdict(list)
    for location in sorted(waiting):
        accounts[location.account].append(sorted(waiting[location], key=itemgetter(0)))
    return [one for _, one in _by_turns([_by_turns(regions) for _, regions in sorted(accounts.items())])]


def urgency(case: Remediation, now: datetime) -> Urgency:
    """Emergencies and what has waited for `AGED` first, then by the policy's severity, 1 to 4."""
    aged = case.due is not None and now - case.due >= AGED
    first = aged or bool(case.decision.get("urgent"))
    grade = 0 if first else int(case.decision.get("severity", 3))
    # among those who come first only the wait counts: a flood of new emergencies must not pass who waits
    priority = 0 if first else -int(case.decision.get("priority", 0))
    return grade, priority, case.due or _NEVER


def _by_turns(rows: Sequence[Sequence[tuple[Urgency, T]]]) -> list[tuple[Urgency, T]]:
    """The first of each row, the most urgent of them first, then the second of each row, and so on."""
    turns: dict[int, list[tuple[Urgency, T]]] = defaultdict(list)
    for row in rows:
        for turn, one in enumerate(row):
            turns[turn].append(one)
    return [one for turn in sorted(turns) for one in sorted(turns[turn], key=itemgetter(0))]
