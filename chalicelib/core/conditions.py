"""Conditions: one question about the facts, answered true, false or unknown."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from chalicelib.core.errors import PolicyError
from chalicelib.core.paths import MISSING, Path, Unreadable, typed
from chalicelib.core.vocabulary import Field, Type


class Truth(Enum):
    """Kleene's three values. UNKNOWN is neither: an error never means that nothing matched."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"

    def __invert__(self) -> Truth:
        return _NOT[self]


_NOT = {Truth.TRUE: Truth.FALSE, Truth.FALSE: Truth.TRUE, Truth.UNKNOWN: Truth.UNKNOWN}


def every(truths: Iterable[Truth]) -> Truth:
    """False if one is false, else unknown if one is unknown, else true."""
    found = set(truths)
    return Truth.FALSE if Truth.FALSE in found else Truth.UNKNOWN if Truth.UNKNOWN in found else Truth.TRUE


def some(truths: Iterable[Truth]) -> Truth:
    """True if one is true, else unknown if one is unknown, else false."""
    return ~every(~truth for truth in truths)


class Takes(Enum):
    """What stands after an operator."""

    ONE = "a value"
    SEVERAL = "a list of values"
    TRUE = "true"
    COUNT = "gte, gt, equals, lt or lte with a whole number"


Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Operator:
    """What an operator takes and speaks of. `make` turns its operand, typed as the field is, into a test.

    A `whole` operator tests what the path found as a whole: its presence or its number.
    """

    types: frozenset[Type]
    takes: Takes
    make: Callable[[Any], Test]
    negative: bool = False
    whole: bool = False


def _one_of(wanted: Sequence[Any]) -> Test:
    return frozenset(wanted).__contains__


def _none_of(wanted: Sequence[Any]) -> Test:
    refused = frozenset(wanted)
    return lambda value: value not in refused


def _compare(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    return lambda wanted: lambda value: compare(value, wanted)


def _glob(pattern: str) -> Test:
    matches = re.compile(fnmatch.translate(pattern)).match
    return lambda value: matches(value) is not None


def _count(bounds: Mapping[str, int]) -> Test:
    tests = [_COUNTS[name](number) for name, number in bounds.items()]
    return lambda found: all(test(len(found)) for test in tests)


def _there(found: Any) -> bool:
    return found is not MISSING and found != []


_COUNTS: dict[str, Callable[[int], Test]] = {
    "equals": _compare(operator.eq),
    "gt": _compare(operator.gt),
    "gte": _compare(operator.ge),
    "lt": _compare(operator.lt),
    "lte": _compare(operator.le),
}
COUNTS = tuple(_COUNTS)
MATCH = frozenset({"any", "all"})

_SCALARS = frozenset({Type.STRING, Type.NUMBER, Type.BOOLEAN, Type.MOMENT})
_ORDERED = frozenset({Type.NUMBER, Type.MOMENT})
_TEXT = frozenset({Type.STRING})
_LISTS = frozenset({Type.LIST})
_PRESENT = _SCALARS | {Type.MAP}

OPERATORS: dict[str, Operator] = {
    "equals": Operator(_SCALARS, Takes.ONE, _compare(operator.eq)),
    "not_equals": Operator(_SCALARS, Takes.ONE, _compare(operator.ne), negative=True),
    "in": Operator(_SCALARS, Takes.SEVERAL, _one_of),
    "not_in": Operator(_SCALARS, Takes.SEVERAL, _none_of, negative=True),
    "gt": Operator(_ORDERED, Takes.ONE, _compare(operator.gt)),
    "gte": Operator(_ORDERED, Takes.ONE, _compare(operator.ge)),
    "lt": Operator(_ORDERED, Takes.ONE, _compare(operator.lt)),
    "lte": Operator(_ORDERED, Takes.ONE, _compare(operator.le)),
    "starts_with": Operator(_TEXT, Takes.ONE, lambda wanted: lambda value: value.startswith(wanted)),
    "ends_with": Operator(_TEXT, Takes.ONE, lambda wanted: lambda value: value.endswith(wanted)),
    "glob": Operator(_TEXT, Takes.ONE, _glob),
    "exists": Operator(_PRESENT, Takes.TRUE, lambda _: _there, whole=True),
    "absent": Operator(_PRESENT, Takes.TRUE, lambda _: lambda found: not _there(found), whole=True),
    "count": Operator(_LISTS, Takes.COUNT, _count, whole=True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A path, one operator with what it is held against, and what a missing value means.

    `operand` is as the policy writes it, `wanted` as the field's type has it: a moment, or a tuple of values.
    Equal conditions of a set are one object, so that a finding asks each question once.
    """

    path: Path
    operator: str
    operand: Any
    match: str
    if_missing: bool
    wanted: Any
    test: Test

    @classmethod
    def of(cls, path: Path, name: str, operand: Any, *, match: str = "any", if_missing: bool = False) -> Condition:
        """A condition that is ready to judge; PolicyError if operator, operand and path do not fit together."""
        rule = OPERATORS[name]
        kind = kind_of(path)
        if kind not in rule.types and not (path.many and rule.whole):
            raise PolicyError(f"{name} cannot be held against {path.text}, which is {_A[kind]}")
        wanted = _operand(rule.takes, path.field, operand)
        return cls(path, name, operand, match, if_missing, wanted, rule.make(wanted))

    @property
    def accepts(self) -> frozenset[Any] | None:
        """The only findings that do not deny it, where it is an equality on a singular path; else None."""
        if self.path.many or self.operator not in ("equals", "in"):
            return None
        values = self.wanted if self.operator == "in" else (self.wanted,)
        return frozenset((*values, MISSING) if self.if_missing else values)

    def judge(self, found: Any) -> Truth:
        """The answer for what the path found."""
        if isinstance(found, Unreadable):
            return Truth.UNKNOWN
        if OPERATORS[self.operator].whole:
            return _truth(self.test(found))
        values = found if self.path.many else () if found is MISSING else (found,)
        if not values:
            return _truth(self.if_missing)
        return _truth((all if self.match == "all" else any)(map(self.test, values)))


def kind_of(path: Path) -> Type:
    """The type of what the path yields; a filter that ends in whole items yields maps."""
    return path.field.type if path.field else Type.MAP


_A = {kind: f"a {kind}" for kind in Type}


def _truth(answer: bool) -> Truth:
    return Truth.TRUE if answer else Truth.FALSE


def _operand(takes: Takes, field: Field | None, operand: Any) -> Any:
    """The operand with moments read; PolicyError if it is not what the operator takes."""
    if takes is Takes.TRUE and operand is True:
        return operand
    if takes is Takes.COUNT and isinstance(operand, dict) and _counts(operand):
        return operand
    if takes is Takes.ONE:
        return _value(field, operand)
    if takes is Takes.SEVERAL and isinstance(operand, list) and operand:
        return tuple(_value(field, item) for item in operand)
    raise PolicyError(f"{operand!r:.60} is not {takes.value}")


def _counts(operand: Mapping[str, Any]) -> bool:
    whole = all(type(number) is int and number >= 0 for number in operand.values())
    return whole and bool(operand) and operand.keys() <= _COUNTS.keys()


def _value(field: Field | None, value: Any) -> Any:
    assert field is not None, "only a whole operator fits a path that yields items"
    read = typed(value, field.type)
    if isinstance(read, Unreadable):
        raise PolicyError(f"{field.path} can never be {value!r:.60}: {read.why}")
    return read
