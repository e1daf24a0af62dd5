"""The JSON Schema of policy files, made from the very models and tables that check them."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.core.conditions import OPERATORS
from chalicelib.core.vocabulary import ANY_TAG, FIELDS, Field
from patchwarden.policy import fixture_shapes, set_shapes, shapes
from patchwarden.policy.baseline_files import BaselineFile
from patchwarden.policy.schedule_files import ScheduleFile

_DRAFT = "http://json-schema.org/draft-07/schema#"
_OTHERS = (set_shapes.SetFile, fixture_shapes.Fixture, ScheduleFile, BaselineFile)
"""What else lies in the directory; a file names its part, such as policy.schema.json#/definitions/SetFile."""

_CRITICAL = "$.patch.missing[?@.class == 'Security' && @.severity == 'Critical']"
_TAG = "$.node.tags.Environment"


def policy_schema() -> dict[str, Any]:
    """A draft-07 schema: a policy at the top, `_set.yaml`, fixtures and schedules among its definitions."""
    definitions: dict[str, Any] = {}
    for model in (shapes.PolicyFile, *_OTHERS):
        made = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
        definitions |= made.pop("$defs", {})
        definitions[model.__name__] = made
    definitions = {name: _trimmed(made) for name, made in sorted(definitions.items())}
    definitions["Condition"] |= _condition(definitions["Condition"]["properties"])
    definitions["When"]["minProperties"] = 1
    definitions["Target"]["oneOf"] = [{"required": each} for each in (["all"], ["tag", "values"], ["resource_group"])]
    definitions["Then"]["allOf"] = [_where("action", "exempt", {"required": ["until", "reason", "approved"]})]
    top = definitions.pop("PolicyFile")
    return {
        "$schema": _DRAFT,
        "title": "Patchwarden policy",
        **top,
        "allOf": [_where("band", "emergency", {"required": ["expires"]})],
        "definitions": definitions,
    }


def schema_text() -> str:
    """The schema as it is committed under docs."""
    return _laid_out(policy_schema()) + "\n"


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON with one line for whatever fits into one: small, and a change shows where it is."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _WIDTH or not isinstance(value, dict | list):
        return text
    if isinstance(value, list):
        lines = [_laid_out(item, depth + 1) for item in value]
    else:
        lines = [f"{json.dumps(name)}: {_laid_out(item, depth + 1)}" for name, item in value.items()]
    opened, closed = "[]" if isinstance(value, list) else "{}"
    return f"{opened}\n" + ",\n".join(" " * (depth + 1) + line for line in lines) + f"\n{' ' * depth}{closed}"


_WIDTH = 180


def _trimmed(node: Any) -> Any:
    """Without what an editor would show in vain: titles, defaults, and the null of a field that may be left out."""
    if isinstance(node, list):
        return [_trimmed(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {name: value for name, value in node.items() if name not in ("title", "default")}
    choices = [choice for choice in kept.pop("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        kept = {**choices[0], **kept}
    elif choices:
        kept["anyOf"] = choices
    if "$ref" in kept and len(kept) > 1:
        kept["allOf"] = [{"$ref": kept.pop("$ref")}]
    return {
        name: {key: _trimmed(inner) for key, inner in value.items()} if name == "properties" else _trimmed(value)
        for name, value in kept.items()
    }


def _condition(properties: dict[str, Any]) -> dict[str, Any]:
    """A condition whose paths can be completed, with exactly one operator and only values that the fact can have."""
    return {
        "properties": {**properties, "path": {**properties["path"], "anyOf": _paths()}},
        "oneOf": [{"required": [name]} for name in OPERATORS],
        "allOf": [_closed(field) for field in FIELDS.values() if field.values],
    }


def _paths() -> list[dict[str, Any]]:
    """Every path that needs no brackets, by name; tags by their pattern; what is in brackets the loader checks."""
    named = [field for field in FIELDS.values() if "[" not in field.path and ANY_TAG not in field.steps]
    searched = [field.path for field in FIELDS.values() if "[" in field.path]
    return [
        {
            "enum": [field.path for field in named],
            "enumDescriptions": [_said(field) for field in named],
            "errorMessage": "No fact is called this: complete $. for all of them.",
        },
        {"pattern": r"^\$\.node\.tags\.[A-Za-z_]", "examples": [_TAG]},
        {"pattern": r"^\$.*\[", "examples": [_CRITICAL, *searched]},
    ]


def _said(field: Field) -> str:
    return f"{field.meaning} ({field.type}, from {field.source})"


def _closed(field: Field) -> dict[str, Any]:
    one = {"enum": list(field.values)}
    several = {"items": one}
    then = {"properties": {"equals": one, "not_equals": one, "in": several, "not_in": several}}
    return _where("path", field.path, then)


def _where(name: str, value: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"properties": {name: {"const": value}}, "required": [name]}, "then": then}
