"""Shapes: holding a value against botocore's model of a service, more strictly than boto3's own validator does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
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


def violations(value: Any, shape: Any, path: str = "", *, loose: frozenset[str] = frozenset()) -> Iterator[str]:
    """Everything about the value that the model does not allow: type, names, requirement, length, range, enum, pattern.

    boto3 itself never looks at patterns, enums and upper bounds: those only the service refuses. Shapes whose names are
    in `loose` are not held to length and pattern.
    """
    expected: Any = _TYPES[shape.type_name]
    if not isinstance(value, expected) or (isinstance(value, bool) and shape.type_name != "boolean"):
        yield f"Value at '{path}' must be of type {shape.type_name}, not {type(value).__name__}"
        return
    if shape.name not in loose:
        yield from _out_of_bounds(value, shape, path)
    if shape.type_name == "structure":
        yield from _in_structure(value, shape, path, loose)
    elif shape.type_name == "list":
        for number, item in enumerate(value):
            yield from violations(item, shape.member, f"{path}[{number}]", loose=loose)
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from violations(key, shape.key, f"{path}.{key} (the key)", loose=loose)
            yield from violations(item, shape.value, f"{path}.{key}", loose=loose)


def _in_structure(value: Mapping[str, Any], shape: Any, path: str, loose: frozenset[str]) -> Iterator[str]:
    for name in shape.required_members:
        if name not in value:
            yield f"Value null at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
    for name, item in value.items():
        if name not in shape.members:
            yield f"Unknown member '{_below(path, name)}'"
            continue
        yield from violations(item, shape.members[name], _below(path, name), loose=loose)


def _out_of_bounds(value: Any, shape: Any, path: str) -> Iterator[str]:
    bounds, failed = shape.metadata, f"Value '{str(value)[:100]}' at '{path}' failed to satisfy constraint: Member must"
    kind = "have length" if isinstance(value, str | list | dict | bytes) else "have value"
    size = len(value) if kind == "have length" else value
    if "min" in bounds and size < bounds["min"]:
        yield f"{failed} {kind} greater than or equal to {bounds['min']}"
    if "max" in bounds and size > bounds["max"]:
        yield f"{failed} {kind} less than or equal to {bounds['max']}"
    if bounds.get("enum") and value not in bounds["enum"]:
        yield f"{failed} satisfy enum value set: [{', '.join(bounds['enum'])}]"
    if "pattern" in bounds and not _pattern(bounds["pattern"]).fullmatch(value):
        yield f"{failed} satisfy regular expression pattern: {bounds['pattern']}"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    translated = text
    for java, python in _PROPERTIES:
        translated = translated.replace(java, python)
    return re.compile(translated, 0 if translated != text else re.ASCII)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
