"""References: the `{{ name }}` of a runbook and the selectors of its outputs, found, looked up and put in their place.

https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-variables.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from jsonpath_ng.jsonpath import JSONPath
from jsonpath_ng.parser import parse

REFERENCE = re.compile(r"\{\{\s*([A-Za-z][\w.:-]*)\s*\}\}")


class Unresolved(Exception):
    """A reference names nothing that has a value now."""


def references(value: Any) -> Iterator[str]:
    """Every name that is referred to anywhere inside the value."""
    if isinstance(value, str):
        yield from REFERENCE.findall(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from references(key)
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def resolve(value: Any, look_up: Callable[[str], Any]) -> Any:
    """The value with its references replaced. One that stands alone keeps its type; in a list, a list is joined to it.

    `look_up` raises Unresolved.
    """
    if isinstance(value, str):
        return _resolve_text(value, look_up)
    if isinstance(value, Mapping):
        return {key: resolve(item, look_up) for key, item in value.items()}
    if isinstance(value, list):
        return [part for item in value for part in _parts(item, look_up)]
    return value


def select(document: Any, path: str) -> list[Any]:
    """All that the JSONPath finds; an empty list where it finds nothing."""
    return [match.value for match in _compiled(path).find(document)]


def as_type(found: list[Any], kind: str) -> Any:
    """What a selector found, as the declared type of an output; Unresolved if it found nothing that fits."""
    if not found:
        raise Unresolved(f"the selector finds nothing to make a {kind} of")
    if kind in {"StringList", "MapList"}:
        return found[0] if len(found) == 1 and isinstance(found[0], list) else found
    return _text(found[0]) if kind == "String" else found[0]


def strings(value: Any) -> list[str]:
    """A value as the API gives it: a list of strings."""
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _parts(item: Any, look_up: Callable[[str], Any]) -> list[Any]:
    resolved = resolve(item, look_up)
    return resolved if isinstance(item, str) and isinstance(resolved, list) else [resolved]


def _resolve_text(text: str, look_up: Callable[[str], Any]) -> Any:
    alone = REFERENCE.fullmatch(text.strip())
    if alone:
        return look_up(alone[1])
    return REFERENCE.sub(lambda match: _text(look_up(match[1])), text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


@cache
def _compiled(path: str) -> JSONPath:
    return parse(path)
