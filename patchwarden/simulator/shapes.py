"""Shapes: holding a value against botocore's model of a service, more strictly than boto3's own validator does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeAlias

_TYPES: dict[str, Any] = {
    "structure": (dict,),
    "map": (dict,),
    "list": (list,),
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime, int, float),
    "blob": (bytes, str),
}
_PROPERTIES = (("\\p{L}", "\\w"), ("\\p{Z}", "\\s"), ("\\p{N}", "\\d"))
"""Java's character properties, as near as `re` comes to them inside a character class."""
_BOUNDS = frozenset({"min", "max", "enum", "pattern"})

# The way to a value: the way to what holds it, and its own name or number. Spelled only where something is wrong.
_Path: TypeAlias = tuple["_Path | None", "str | int"]


def violations(value: Any, shape: Any, path: str = "", *, loose: frozenset[str] = frozenset()) -> list[str]:
    """Everything about the value that the model does not allow: type, names, requirement, length, range, enum, pattern.

    boto3 itself never looks at patterns, enums and upper bounds: those only the service refuses. Shapes whose names are
    in `loose` are not held to length and pattern.
    """
    found: list[str] = []
    _hold(value, shape, (None, path), loose, found)
    return found


def _hold(value: Any, shape: Any, path: _Path, loose: frozenset[str], found: list[str]) -> None:
    kind = shape.type_name
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        found.append(f"Value at '{_spelled(path)}' must be of type {kind}, not {type(value).__name__}")
        return
    if shape.name not in loose and not _BOUNDS.isdisjoint(shape.metadata):
        found.extend(_out_of_bounds(value, shape.metadata, path))
    if kind == "structure":
        _hold_structure(value, shape, path, loose, found)
    elif kind == "list":
        for number, item in enumerate(value):
            _hold(item, shape.member, (path, number), loose, found)
    elif kind == "map":
        for key, item in value.items():
            _hold(key, shape.key, (path, f"{key} (the key)"), loose, found)
            _hold(item, shape.value, (path, key), loose, found)


def _hold_structure(value: Mapping[str, Any], shape: Any, path: _Path, loose: frozenset[str], found: list[str]) -> None:
    for name in shape.required_members:
        if name not in value:
            where = _spelled((path, name))
            found.append(f"Value null at '{where}' failed to satisfy constraint: Member must not be null")
    members = shape.members
    for name, item in value.items():
        if name not in members:
            found.append(f"Unknown member '{_spelled((path, name))}'")
            continue
        _hold(item, members[name], (path, name), loose, found)


def _out_of_bounds(value: Any, bounds: Mapping[str, Any], path: _Path) -> Iterator[str]:
    by_length = isinstance(value, str | list | dict | bytes)
    kind, size = ("have length", len(value)) if by_length else ("have value", value)
    if "min" in bounds and size < bounds["min"]:
        yield f"{_failed(value, path)} {kind} greater than or equal to {bounds['min']}"
    if "max" in bounds and size > bounds["max"]:
        yield f"{_failed(value, path)} {kind} less than or equal to {bounds['max']}"
    if bounds.get("enum") and value not in bounds["enum"]:
        yield f"{_failed(value, path)} satisfy enum value set: [{', '.join(bounds['enum'])}]"
    if "pattern" in bounds and not _pattern(bounds["pattern"]).fullmatch(value):
        yield f"{_failed(value, path)} satisfy regular expression pattern: {bounds['pattern']}"


def _failed(value: Any, path: _Path) -> str:
    return f"Value '{str(value)[:100]}' at '{_spelled(path)}' failed to satisfy constraint: Member must"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    translated = text
    for java, python in _PROPERTIES:
        translated = translated.replace(java, python)
    return re.compile(translated, 0 if translated != text else re.ASCII)


def _spelled(path: _Path) -> str:
    above, name = path
    if above is None:
        return str(name)
    before = _spelled(above)
    if isinstance(name, int):
        return f"{before}[{name}]"
    return f"{before}.{name}" if before else name
