"""Paths: the part of JSONPath that a policy may use, checked on the parsed tree and compiled to dict walks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import parse_moment
from chalicelib.core.vocabulary import EVERY, FIELDS, Field, Type, item_fields, place, render

if TYPE_CHECKING:
    from chalicelib.core.profile import Checked, Comparison

LONGEST = 300
"""Characters of a path: the parser is recursive, and no honest path is longer."""


class Fault(Enum):
    """What is wrong with a path: it cannot be read, may not be used, leads nowhere, or can never match."""

    SYNTAX = "syntax"
    UNSAFE = "unsafe"
    UNKNOWN = "unknown"
    NEVER = "never"


class PathError(PolicyError):
    """A path that policies may not use. `hint` is the remedy, empty where there is none to give."""

    def __init__(self, fault: Fault, what: str, hint: str = "") -> None:
        super().__init__(f"{what}: {hint}" if hint else what)
        self.fault, self.what, self.hint = fault, what, hint


class Absent(Enum):
    """The one value that is no value: the field is missing, which is a fact."""

    MISSING = "missing"


MISSING: Final = Absent.MISSING


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The fact is not known or not what it should be; `why` reads on after the path."""

    why: str


Keep = Callable[[Mapping[str, Any]], bool]
"""A filter, as a test of one item."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a path looks for in a list or map: the items that `keep` keeps, or the field `take` of each.

    `relies` are the fields that every item must have as the vocabulary says, or nothing is known.
    """

    keep: Keep | None
    take: str | None
    relies: Mapping[str, Field]

    def among(self, found: Any) -> list[Any] | Unreadable:
        items = list(found.values()) if isinstance(found, dict) else found
        wrong = next(_wrong_items(items, self.relies), None)
        if wrong is not None:
            return wrong
        kept = items if self.keep is None else list(filter(self.keep, items))
        return list(kept) if self.take is None else [item[self.take] for item in kept]


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """A checked path. One without a `search` is singular: it is walked, and yields one value or MISSING.

    With a `search`, `steps` lead to the list or map that is searched, and it yields a list of values.
    `field` is what it yields (None: whole items), `base` what `steps` lead to.
    """

    text: str
    steps: tuple[str | int, ...]
    field: Field | None
    base: Field
    search: Search | None = None

    @property
    def many(self) -> bool:
        return self.search is not None

    @property
    def optional(self) -> bool:
        """Whether it may find nothing although all its blocks are there."""
        return self.many or self.base.optional or any(type(step) is int for step in self.steps)

    def read(self, facts: Mapping[str, Any]) -> Any:
        """The value, MISSING, or Unreadable; for `many` a list or Unreadable."""
        found = _walk(facts, self.steps, self.base)
        return found if self.search is None or isinstance(found, Unreadable) else self.search.among(found)


def walked(steps: Sequence[str | int]) -> Path:
    """A singular path from its steps, without a parser; PathError if it leads out of the vocabulary."""
    if not all(type(step) is str or (type(step) is int and step >= 0) for step in steps) or EVERY in steps:
        raise PathError(Fault.SYNTAX, f"{list(steps)} are no steps of a path")
    text = render(steps)
    field = _known(text, steps)
    return Path(text, tuple(steps), field, field)


def parse(text: str) -> Path:
    """A path from its text; PathError says what is not allowed. Loads jsonpath-ng."""
    from chalicelib.core import profile

    safe = profile.checked(text)
    if EVERY not in safe.steps:
        return walked(safe.steps)
    prefix = safe.steps[: safe.steps.index(EVERY)]
    base = FIELDS.get(place(prefix))
    if base is None or base.type not in (Type.LIST, Type.MAP):
        raise PathError(Fault.UNKNOWN, f"{render(prefix)} is nothing that can be searched", _SEARCHABLE)
    whole = place(safe.steps) == (*base.steps, EVERY)
    field = None if whole else _known(render(safe.steps), safe.steps)
    if base.type is Type.MAP:
        return Path(text, prefix, field, base, _in_map(base, safe))
    return Path(text, prefix, field, base, _in_list(base, safe, field))


def _in_map(base: Field, safe: Checked) -> Search:
    if safe.keep is not None:
        raise PathError(Fault.UNSAFE, f"{base.path} is a map, and a filter searches a list", "name the tag")
    return Search(None, None, {"": FIELDS[place(safe.steps)]})


def _in_list(base: Field, safe: Checked, field: Field | None) -> Search:
    relies = dict(_compared(base, safe.comparisons))
    if field is None:
        return Search(safe.keep, None, relies)
    take = field.steps[-1]
    return Search(safe.keep, take, {**relies, take: field})


_SEARCHABLE = "lists are " + ", ".join(field.path for field in FIELDS.values() if field.type is Type.LIST)


def _compared(base: Field, comparisons: Sequence[Comparison]) -> Iterator[tuple[str, Field]]:
    """The fields that a filter relies on; PathError for one that no item has, or a test that no item can pass."""
    known = item_fields(base.steps)
    for test in comparisons:
        field = known.get(test.name)
        if field is None:
            hint = f"an item has {', '.join(known)}"
            raise PathError(Fault.UNKNOWN, f"no item of {base.path} has a field {test.name!r}", hint)
        if test.operator and isinstance(typed(test.value, field.type), Unreadable):
            raise PathError(Fault.NEVER, f"@.{test.name} is a {field.type}, never {test.value!r}", _QUOTE)
        if test.operator not in (None, "==", "!=") and field.type is not Type.NUMBER:
            raise PathError(Fault.UNSAFE, f"@.{test.name} is a {field.type} and has no order", "use == or !=")
        yield test.name, field


_QUOTE = "quote a text, and do not quote a number"


def _known(text: str, steps: Sequence[str | int]) -> Field:
    field = FIELDS.get(place(steps))
    if field is None:
        raise PathError(Fault.UNKNOWN, f"no fact is called {text}")
    return field


def _walk(facts: Mapping[str, Any], steps: Sequence[str | int], field: Field) -> Any:
    value: Any = facts
    for depth, step in enumerate(steps):
        if type(step) is int:
            if not isinstance(value, list):
                return Unreadable(f"{render(steps[:depth])} is {_kind(value)}, not a list")
            value = value[step] if step < len(value) else MISSING
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return Unreadable(f"{render(steps[:depth])} is {_kind(value)}, not a map")
        if value is MISSING or (value is None and depth >= field.needs):
            return MISSING
        if value is None:
            return Unreadable(f"{render(steps[: depth + 1])} is not known")
    return typed(value, field.type)


def typed(value: Any, wanted: Type) -> Any:
    """The value as the vocabulary's type (a moment as a datetime), or Unreadable."""
    if wanted is Type.MOMENT:
        return _moment(value)
    if isinstance(value, _PYTHON[wanted]) and (wanted is Type.BOOLEAN or not isinstance(value, bool)):
        return value
    return Unreadable(f"it is {_kind(value)}, not a {wanted}")


_PYTHON: dict[Type, type | tuple[type, ...]] = {
    Type.STRING: str,
    Type.NUMBER: (int, float),
    Type.BOOLEAN: bool,
    Type.LIST: list,
    Type.MAP: dict,
}


def _moment(value: Any) -> datetime | Unreadable:
    try:
        return parse_moment(value)
    except (ValueError, TypeError):
        return Unreadable(f"it is {_kind(value)}, not a moment with a zone")


def _wrong_items(items: Iterable[Any], relies: Mapping[str, Field]) -> Iterator[Unreadable]:
    """The name "" stands for the item itself."""
    for number, item in enumerate(items):
        for name, field in relies.items():
            if name and not isinstance(item, dict):
                yield Unreadable(f"item {number} is {_kind(item)}, not a map")
            elif isinstance(typed(item.get(name) if name else item, field.type), Unreadable):
                yield Unreadable(f"item {number} has no {name or 'value'} of type {field.type}")


_KINDS: dict[type, str] = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a map",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)
