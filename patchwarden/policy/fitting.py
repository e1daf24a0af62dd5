"""Fitting: a source held against a shape, every misfit a problem at its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from patchwarden.policy.problems import CODES, near_or_all
from patchwarden.policy.source import Location, Source

M = TypeVar("M", bound=BaseModel)

_TYPES = {
    "string_type": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
}
_SIZES = {
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_too_short": "not empty",
    "string_too_long": "at most {max_length} characters long",
    "too_short": "not empty",
}
_CONDITION = "write conditions as {path: $.node.kind, equals: ec2}"
_REMEDIES = {
    "owner": "say who answers for it: owner: secops@example.com",
    "when": "say which findings it speaks for: when: {all: [{path: …, equals: …}]}",
    "then": "say what it wants: then: {action: ticket}",
    "scope": "say where Patchwarden acts: scope: {accounts: ['111122223333'], regions: [eu-west-1]}",
    "tags": "write tags: {} for a node without tags",
    "action": "write action: remediate, approve, observe, ticket or exempt",
    "expect": "write expect: {action: observe}",
}


def fit(source: Source, model: type[M]) -> M | None:
    """The whole file as that shape, or None with every misfit among the source's problems."""
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        known = {(problem.line, problem.column) for problem in source.problems}
        for misfit in error.errors(include_url=False):
            mark = source.at_key(misfit["loc"]) if misfit["type"] == "extra_forbidden" else source.at(misfit["loc"])
            if (mark.line, mark.column) not in known or misfit["type"] in ("missing", "extra_forbidden"):
                source.add(*_problem(model, misfit, mark))
        return None


def piece(model: type[M], data: object) -> M | None:
    """A part of a file as that shape, or None: its misfits were told with the whole."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return None


def _problem(model: type[BaseModel], misfit: Any, mark: Any) -> tuple[str, Any, str, str]:
    kind, where, context = misfit["type"], misfit["loc"], misfit.get("ctx", {})
    name = _named(where)
    if kind in CODES:
        return kind, mark, f"{name}: {context['what']}", context["hint"]
    if kind == "extra_forbidden":
        return "PW201", mark, f"there is no field {where[-1]!r} here", _meant(str(where[-1]), _fields(model, where))
    if kind == "missing":
        return "PW202", mark, f"{where[-1]} is missing", _REMEDIES.get(str(where[-1]), "")
    if kind == "literal_error":
        words = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return "PW204", mark, f"{name} cannot be {misfit['input']!r:.60}", near_or_all(str(misfit["input"]), words)
    if kind in _TYPES:
        return "PW203", mark, f"{_placed(where)} must be {_TYPES[kind]}", _remedy(kind, misfit["input"], name)
    wanted = _SIZES[kind].format(**context) if kind in _SIZES else misfit["msg"]
    hint = "say what belongs there, or remove it" if wanted == "not empty" else ""
    return "PW203", mark, f"{name} must be {wanted}", hint


def _named(where: Location) -> str:
    return next((str(step) for step in reversed(where) if isinstance(step, str)), "this")


def _placed(where: Location) -> str:
    """The field, or the item of a list."""
    return f"item {where[-1] + 1} of {_named(where)}" if isinstance(where[-1], int) else _named(where)


_ELSEWHERE = {
    "eq": "equals", "ne": "not_equals", "regex": "glob", "matches": "glob", "contains": "glob", "like": "glob",
    "min": "gte", "max": "lte", "present": "exists", "missing": "absent", "and": "all", "or": "any", "not": "none",
}  # fmt: skip
"""What other tools call it."""


def _meant(word: str, known: list[str]) -> str:
    other = _ELSEWHERE.get(word.lower())
    return f"use {other}" if other in known else near_or_all(word, known)


_MAPS = {"count": "write bounds: count: {gte: 1}", "all": _CONDITION, "any": _CONDITION, "none": _CONDITION}


def _remedy(kind: str, value: object, name: str) -> str:
    if kind in ("dict_type", "model_type"):
        return _MAPS.get(name) or _REMEDIES.get(name, "")
    if kind == "list_type":
        return "start each item with a hyphen" if isinstance(value, dict) else f"write brackets: [{value}]"
    if kind == "string_type" and isinstance(value, int | float):
        return f"quote it: '{value}'"
    if kind in ("int_type", "bool_type") and isinstance(value, str):
        return "remove the quotes" if value.lstrip("-").isdigit() else f"{value!r} is a text"
    return ""


def _fields(model: type[BaseModel], where: Location) -> list[str]:
    """The names that may stand where an unknown one does."""
    inside: Any = model
    for step in where[:-1]:
        inside = next(_inside(inside, step), None)
    found = next(_models(inside), None)
    return [] if found is None else [field.alias or name for name, field in found.model_fields.items()]


def _inside(annotation: Any, step: str | int) -> Iterator[Any]:
    for model in _models(annotation):
        for name, field in model.model_fields.items():
            if (field.alias or name) == step:
                yield field.annotation
    for part in _parts(annotation):
        arguments = typing.get_args(part)
        if typing.get_origin(part) in (list, dict) and arguments:
            yield arguments[-1]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    return (part for part in _parts(annotation) if isinstance(part, type) and issubclass(part, BaseModel))


def _parts(annotation: Any) -> Iterator[Any]:
    """The members of a union, without annotations."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        for member in typing.get_args(annotation):
            yield from _parts(member)
    elif origin is typing.Annotated:
        yield from _parts(typing.get_args(annotation)[0])
    else:
        yield annotation
