"""The index: which policies can still match a finding, so that 10,000 policies cost what ten do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from chalicelib.core.conditions import Condition, Truth, every
from chalicelib.core.paths import Path, Unreadable
from chalicelib.core.readings import Readings, When

_SHARED = 2
"""A mask pays from so many policies on: what one policy asks alone is asked only when its turn comes."""


class Ranked(Protocol):
    """What the index needs to know of a policy."""

    @property
    def when(self) -> When: ...

    def ended(self, now: datetime) -> bool: ...


P = TypeVar("P", bound=Ranked)


@dataclass(frozen=True, slots=True)
class _Table:
    """One path that equalities are held against: who does not ask it, and who accepts which value."""

    path: Path
    free: int
    accepts: Mapping[Any, int]

    def permits(self, found: Any) -> int:
        """A mask of the policies that this value does not exclude; -1, all of them, for an unknown one."""
        return -1 if isinstance(found, Unreadable) else self.free | self.accepts.get(found, 0)


@dataclass(frozen=True, slots=True)
class Index(Generic[P]):
    """Policies in rank order, the worst first, so that the best that is left is the highest bit of a mask.

    Equalities exclude at once, by one look-up per path; a condition that several policies share excludes
    all of them when it is first found false. What is left is judged in rank order.
    """

    policies: tuple[P, ...]
    asks: tuple[tuple[Condition, ...], ...]
    everyone: int
    tables: tuple[_Table, ...]
    sharing: Mapping[Condition, int]

    @classmethod
    def of(cls, policies: Sequence[P]) -> Index[P]:
        """The index of policies that come in rank order, the best first."""
        worst_first = tuple(reversed(policies))
        asks = tuple(_cheap_first(policy.when) for policy in worst_first)
        everyone = (1 << len(asks)) - 1
        return cls(worst_first, asks, everyone, tuple(_tables(asks, everyone)), _sharing(asks))

    def standing(self, readings: Readings, now: datetime) -> Iterator[tuple[P, Truth]]:
        """Policies that match or may match, in rank order; those that ended by `now` are left out."""
        left = self.everyone
        for table in self.tables:
            left &= table.permits(readings.find(table.path))
            if not left:
                return
        while left:
            number = left.bit_length() - 1
            policy = self.policies[number]
            if not policy.ended(now):
                truth, denied = _judge(self.asks[number], policy.when, readings)
                if truth is not Truth.FALSE:
                    yield policy, truth
                elif denied is not None:
                    left &= ~self.sharing.get(denied, 0)
            left &= (1 << number) - 1


def _judge(asked: Sequence[Condition], when: When, readings: Readings) -> tuple[Truth, Condition | None]:
    """The answer, and the one condition that alone denies it."""
    doubt = Truth.TRUE
    for condition in asked:
        truth = readings.truth(condition)
        if truth is Truth.FALSE:
            return truth, condition
        if truth is Truth.UNKNOWN:
            doubt = truth
    return (every((doubt, when.others(readings))) if when.any or when.none else doubt), None


def _cheap_first(when: When) -> tuple[Condition, ...]:
    """What all of must hold, walks before searches."""
    return tuple(sorted((clause.condition for clause in when.all), key=lambda condition: condition.path.many))


def _sharing(asks: Sequence[Sequence[Condition]]) -> dict[Condition, int]:
    asking: dict[Condition, list[int]] = defaultdict(list)
    for number, conditions in enumerate(asks):
        for condition in conditions:
            asking[condition].append(number)
    return {condition: _mask(numbers) for condition, numbers in asking.items() if len(numbers) >= _SHARED}


def _tables(asks: Sequence[Sequence[Condition]], everyone: int) -> Iterator[_Table]:
    """The tables of the paths that several policies hold equalities against, most asked first."""
    wanted: dict[Path, dict[int, frozenset[Any]]] = defaultdict(dict)
    for number, conditions in enumerate(asks):
        for condition in conditions:
            if condition.accepts is not None:
                earlier = wanted[condition.path].get(number, condition.accepts)
                wanted[condition.path][number] = earlier & condition.accepts
    for path, accepted in sorted(wanted.items(), key=lambda item: -len(item[1])):
        if len(accepted) >= _SHARED:
            yield _Table(path, everyone & ~_mask(accepted), _accepts(accepted))


def _accepts(wanted: Mapping[int, frozenset[Any]]) -> dict[Any, int]:
    accepting: dict[Any, list[int]] = defaultdict(list)
    for number, values in wanted.items():
        for value in values:
            accepting[value].append(number)
    return {value: _mask(numbers) for value, numbers in accepting.items()}


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask
