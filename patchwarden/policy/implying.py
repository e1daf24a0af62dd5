"""Implying: what can be said of two conditions whatever the facts are. What cannot be proven is answered no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalicelib.core.conditions import OPERATORS, Condition, Truth
from chalicelib.core.paths import MISSING
from chalicelib.core.readings import Clause, When

_ORDERS = {"gt": 1, "gte": 1, "lt": -1, "lte": -1}
_SAME = {
    "starts_with": lambda one, other: one.startswith(other),
    "ends_with": lambda one, other: one.endswith(other),
    "glob": lambda one, other: one == other,
}  # fmt: skip


def implies(one: Condition, other: Condition) -> bool:
    """Whether `other` is true of every finding of which `one` is true."""
    if one.path.text != other.path.text:
        return False
    if (one.operator, one.operand, one.match, one.if_missing) == (
        other.operator, other.operand, other.match, other.if_missing,
    ):  # fmt: skip
        return True
    if one.path.many or "count" in (one.operator, other.operator):
        return _many_implies(one, other)
    return _if_missing(one, other) and _values_imply(one, other)


def excludes(one: Condition, other: Condition) -> bool:
    """Whether no finding meets both."""
    if one.path.text != other.path.text:
        return False
    if one.path.many or "count" in (one.operator, other.operator):
        return _counts_exclude(one, other)
    if _takes_missing(one) and _takes_missing(other):
        return False
    return _values_exclude(one, other)


def _takes_missing(condition: Condition) -> bool:
    return condition.judge(MISSING) is Truth.TRUE


def _if_missing(one: Condition, other: Condition) -> bool:
    return not _takes_missing(one) or _takes_missing(other)


def _values(condition: Condition) -> tuple[Any, ...] | None:
    """The only values that meet it, where they can be counted."""
    field = condition.path.field
    if condition.operator in ("equals", "in"):
        return condition.wanted if condition.operator == "in" else (condition.wanted,)
    if condition.operator == "absent":
        return ()
    if field is not None and field.values:
        return tuple(value for value in field.values if _met(condition, value))
    return None


def _met(condition: Condition, value: Any) -> bool:
    return condition.test(value)


def _values_imply(one: Condition, other: Condition) -> bool:
    """Of values that are there."""
    few = _values(one)
    if few is not None:
        return all(_met(other, value) for value in few)
    if other.operator == "exists":
        return True
    if one.operator in _ORDERS:
        return _order_implies(one, other)
    if one.operator in ("not_equals", "not_in") and other.operator in ("not_equals", "not_in"):
        return not any(_met(one, value) for value in _refused(other))
    same = _SAME.get(one.operator)
    return same is not None and one.operator == other.operator and same(one.wanted, other.wanted)


def _refused(condition: Condition) -> tuple[Any, ...]:
    return condition.wanted if condition.operator == "not_in" else (condition.wanted,)


def _order_implies(one: Condition, other: Condition) -> bool:
    if other.operator in ("not_equals", "not_in"):
        return not any(_met(one, value) for value in _refused(other))
    if _ORDERS.get(other.operator) != _ORDERS[one.operator]:
        return False
    if one.wanted == other.wanted:
        return one.operator == other.operator or other.operator in ("gte", "lte")
    return _met(other, one.wanted)


def _values_exclude(one: Condition, other: Condition) -> bool:
    for few, held in ((_values(one), other), (_values(other), one)):
        if few is not None:
            return not any(_met(held, value) for value in few)
    if one.operator in _ORDERS and other.operator in _ORDERS:
        return _ORDERS[one.operator] != _ORDERS[other.operator] and not (
            _met(one, other.wanted) and _met(other, one.wanted)
        )
    if one.operator == other.operator == "starts_with":
        return not (one.wanted.startswith(other.wanted) or other.wanted.startswith(one.wanted))
    if one.operator == other.operator == "ends_with":
        return not (one.wanted.endswith(other.wanted) or other.wanted.endswith(one.wanted))
    return False


# --- paths that find several ----------------------------------------------------------------------------------------


def _many_implies(one: Condition, other: Condition) -> bool:
    if OPERATORS[one.operator].whole and OPERATORS[other.operator].whole:
        return all(not _count(one)(number) or _count(other)(number) for number in _numbers(one, other))
    if OPERATORS[one.operator].whole or OPERATORS[other.operator].whole:
        return other.operator == "exists" and not one.if_missing
    quantified = one.match == other.match
    return quantified and (not one.if_missing or other.if_missing) and _values_imply(one, other)


def _counts_exclude(one: Condition, other: Condition) -> bool:
    if not (OPERATORS[one.operator].whole and OPERATORS[other.operator].whole):
        return False
    return not any(_count(one)(number) and _count(other)(number) for number in _numbers(one, other))


def _count(condition: Condition) -> Callable[[int], bool]:
    return lambda number: condition.test(range(number)) if condition.operator == "count" else _there(condition, number)


def _there(condition: Condition, number: int) -> bool:
    return (number > 0) is (condition.operator == "exists")


def _numbers(*conditions: Condition) -> set[int]:
    """Enough numbers to tell: each bound, and its neighbours."""
    bounds = [bound for each in conditions if each.operator == "count" for bound in each.operand.values()]
    return {max(0, bound + step) for bound in (0, *bounds) for step in (-1, 0, 1)}


# --- groups of conditions -------------------------------------------------------------------------------------------


def covers(wider: When, narrower: When) -> bool:
    """Whether `wider` speaks for every finding for which `narrower` does."""
    return (
        all(_holds(narrower, clause) for clause in wider.all)
        and (not wider.any or any(_holds(narrower, clause) for clause in wider.any) or _any_by_any(wider, narrower))
        and all(_denied(narrower, clause) for clause in wider.none)
    )


def apart(one: When, other: When) -> bool:
    """Whether no finding is spoken for by both."""
    return any(_denied(other, clause) for clause in one.all) or any(_denied(one, clause) for clause in other.all)


def impossible(when: When) -> tuple[Clause, Clause] | None:
    """Two clauses that cannot hold together, so that it speaks for no finding at all."""
    for number, clause in enumerate(when.all):
        for other in when.all[number + 1 :]:
            if excludes(clause.condition, other.condition):
                return clause, other
        for other in when.none:
            if implies(clause.condition, other.condition):
                return clause, other
    return None


def _holds(when: When, clause: Clause) -> bool:
    """Whether the clause is true of every finding that `when` speaks for."""
    if any(implies(each.condition, clause.condition) for each in when.all):
        return True
    return bool(when.any) and all(implies(each.condition, clause.condition) for each in when.any)


def _any_by_any(wider: When, narrower: When) -> bool:
    return bool(narrower.any) and all(
        any(implies(each.condition, clause.condition) for clause in wider.any) for each in narrower.any
    )


def _denied(when: When, clause: Clause) -> bool:
    """Whether the clause is true of no finding that `when` speaks for."""
    if any(excludes(each.condition, clause.condition) for each in when.all):
        return True
    if any(implies(clause.condition, each.condition) for each in when.none):
        return True
    return bool(when.any) and all(excludes(each.condition, clause.condition) for each in when.any)
