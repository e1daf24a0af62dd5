"""Asking: whether the conditions of a policy are well put, and can ever be true."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from chalicelib.core.conditions import OPERATORS, Operator, Takes, kind_of
from chalicelib.core.nodes import ACCOUNT, NODE_ID, REGION
from chalicelib.core.paths import Fault, Path, PathError, Unreadable, parse, typed
from chalicelib.core.vocabulary import ANY_TAG, FIELDS, Field, Steps, Type
from patchwarden.policy.problems import near, near_or_all
from patchwarden.policy.source import Location, Source

_FAULTS = {Fault.SYNTAX: "PW301", Fault.UNSAFE: "PW302", Fault.UNKNOWN: "PW303", Fault.NEVER: "PW305"}

_FORMS: dict[Steps, tuple[re.Pattern[str], str]] = {
    ("account",): (ACCOUNT, "an account id has 12 digits"),
    ("region",): (REGION, "a Region is written like eu-west-1"),
    ("node", "id"): (NODE_ID, "a node id is written like i-0123456789abcdef0"),
}


@lru_cache(maxsize=4096)
def parsed(text: str) -> Path | PathError:
    """The path, or what is wrong with it: every text is parsed once in a run."""
    try:
        return parse(text)
    except PathError as error:
        return error


def operators(condition: dict[str, Any]) -> list[str]:
    return [name for name in condition if name in OPERATORS]


def check_condition(source: Source, where: Location, condition: dict[str, Any]) -> None:
    """Every problem of one condition that has the right shape."""
    names = operators(condition)
    if len(names) != 1:
        what = f"a condition has one operator, not {' and '.join(names)}" if names else "this condition has no operator"
        source.add("PW205", where, what, "part it into two conditions" if names else f"add one of {_ALL}")
        return
    path = check_path(source, (*where, "path"), condition["path"])
    if path is None:
        return
    name, rule, kind = names[0], OPERATORS[names[0]], kind_of(path)
    if kind not in rule.types and not (path.many and rule.whole):
        fits = [each for each, other in OPERATORS.items() if kind in other.types or (path.many and other.whole)]
        source.add_at_key("PW304", (*where, name), f"{path.text} is a {kind}: {name} does not apply", _use(fits))
        return
    if path.field is not None and not rule.whole:
        _check_values(source, (*where, name), path, path.field, condition[name])
    if rule.takes is Takes.COUNT and not _some_count(condition[name]):
        what = f"no number of values is {_bounds(condition[name])}"
        source.add("PW305", (*where, name), what, "write bounds that some whole number meets")
    _check_options(source, where, condition, path, rule)


_ALL = ", ".join(OPERATORS)


def _use(names: list[str]) -> str:
    return f"use {', '.join(names)}"


def check_path(source: Source, where: Location, text: str) -> Path | None:
    """The path that stands there, or None and its problem."""
    path = parsed(text)
    if isinstance(path, Path):
        return path
    hint = path.hint
    if path.fault is Fault.UNKNOWN and not hint:
        hint = _nearest(text)
    source.add(_FAULTS[path.fault], where, path.what, hint)
    return None


def _nearest(text: str) -> str:
    """The nearest path, a tag being called as the author calls it; else where paths begin."""
    last = text.rpartition(".")[2]
    paths = [field.path.replace(ANY_TAG, last) for field in FIELDS.values()]
    return near(text, paths) or f"paths begin with {', '.join(sorted({f'$.{steps[0]}' for steps in FIELDS}))}"


def _check_values(source: Source, where: Location, path: Path, field: Field, operand: Any) -> None:
    if not _meets_some(field, where[-1], operand):
        what = f"none of the values of {path.text} {where[-1]} {_shown(operand)}"
        source.add("PW305", where, what, f"its values are {', '.join(field.values) or '0 and above'}")
        return
    several = isinstance(operand, list)
    for number, value in enumerate(operand if several else [operand]):
        hint = _never(field, value, compared=where[-1] in _EQUALITIES)
        if hint:
            what = f"{path.text} is a {field.type}, and never {_shown(value)}"
            source.add("PW305", (*where, number) if several else where, what, hint)


_EQUALITIES = ("equals", "not_equals", "in", "not_in")


def _some_count(bounds: dict[str, int]) -> bool:
    """Whether some number meets all bounds: if one does, then one at most one beyond a bound."""
    test = OPERATORS["count"].make(bounds)
    return any(test(range(number)) for bound in (0, *bounds.values()) for number in (bound, bound + 1, bound - 1))


def _bounds(bounds: dict[str, int]) -> str:
    return " and ".join(f"{name} {number}" for name, number in bounds.items())


def _meets_some(field: Field, name: str | int, operand: Any) -> bool:
    """Whether a value of the field can meet the operator, where that is known: words, or numbers from 0 on."""
    if name in _TEXT_OPERATORS and field.values:
        return any(map(OPERATORS[str(name)].make(operand), field.values))
    if name in _DOWNWARDS and field.type is Type.NUMBER and isinstance(operand, int | float):
        return bool(OPERATORS[str(name)].make(operand)(0))
    return True


_TEXT_OPERATORS = ("starts_with", "ends_with", "glob")
_DOWNWARDS = ("lt", "lte")
"""All numbers among the facts count something."""


def _never(field: Field, value: Any, *, compared: bool) -> str:
    """The remedy, if the field can never have this value; else empty."""
    if isinstance(typed(value, field.type), Unreadable):
        return _retype(field.type, value)
    if compared and field.values and value not in field.values:
        return near_or_all(str(value), field.values)
    if compared and field.steps in _FORMS and not _FORMS[field.steps][0].match(value):
        return _FORMS[field.steps][1]
    return ""


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _retype(wanted: Type, value: Any) -> str:
    if wanted is Type.STRING:
        return f"quote it: '{_shown(value)}'"
    if wanted is Type.MOMENT:
        return "write day, time and zone: 2027-03-31T00:00:00Z"
    return "remove the quotes" if isinstance(value, str) else f"write a {wanted}"


def _check_options(source: Source, where: Location, condition: dict[str, Any], path: Path, rule: Operator) -> None:
    if rule.negative and path.optional and "if_missing" not in condition:
        name = operators(condition)[0]
        hint = "add if_missing: true if it matches what has none, else if_missing: false"
        source.add_at_key("PW306", (*where, name), f"{path.text} may be missing: say what {name} means then", hint)
    if "match" in condition and (not path.many or rule.whole):
        hint = "remove it: only a path with [*] or a filter finds several values"
        source.add_at_key("PW307", (*where, "match"), "match has no effect here", hint)
    if "if_missing" in condition and (rule.whole or not path.optional):
        why = f"{path.text} is never missing" if not rule.whole else "exists, absent and count know what is missing"
        source.add_at_key("PW307", (*where, "if_missing"), "if_missing has no effect here", f"remove it: {why}")
