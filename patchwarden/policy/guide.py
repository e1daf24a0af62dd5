"""The tables of the guide, written from the models and tables that the loader obeys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from chalicelib.core.conditions import OPERATORS, Operator
from chalicelib.core.vocabulary import FIELDS, Field
from patchwarden.policy import baseline_files, schedule_files, set_shapes, shapes
from patchwarden.policy.check import EFFECTIVE, span
from patchwarden.policy.schema import policy_schema

_PART = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def guide(text: str) -> str:
    """The page with every table between its two marks written anew; KeyError for a table that nobody knows."""
    return _PART.sub(lambda part: part[1] + _table(*_TABLES[part[2]]()) + part[3], text)


Rows = tuple[Sequence[str], Iterable[Sequence[str]]]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(["", *lines, "", ""])


def _model(model: type[BaseModel]) -> Rows:
    shown = _properties(model)
    rows = [
        (f"`{name}`", _values(shown[name]), _default(model, name, field), _meaning(model, name, shown[name]))
        for name, field in ((field.alias or name, field) for name, field in model.model_fields.items())
    ]
    return ("field", "value", "if absent", "meaning"), rows


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    made = policy_schema()
    part = made if model is shapes.PolicyFile else made["definitions"][model.__name__]
    return dict(part["properties"])


def _values(shown: dict[str, Any]) -> str:
    if "enum" in shown:
        return ", ".join(f"`{word}`" for word in shown["enum"])
    if "$ref" in shown or "allOf" in shown:
        reference = shown.get("$ref") or shown["allOf"][0]["$ref"]
        return f"a map: {_PARTS.get(reference.rpartition('/')[2], 'see the example')}"
    if "const" in shown:
        return f"`{str(shown['const']).lower()}`"
    if "minimum" in shown and "maximum" in shown:
        return f"{shown['minimum']} to {shown['maximum']}"
    if shown.get("type") in ("string", ["string", "integer"]) and "examples" in shown:
        return f"such as `{shown['examples'][0]}`"
    return _TYPES.get(str(shown.get("type")), "a value")


_TYPES = {"string": "text", "boolean": "`true` or `false`", "array": "a list", "object": "a map", "integer": "a number"}
_PARTS = {
    "Approval": "`by`, `minimum`, `within`, `on_timeout`",
    "Approved": "`by`, `on`, `ticket`",
    "Document": "`name`, `version`, `parameters`",
    "Limits": "`concurrency`, `max_errors`, `max_per_hour`, `per_group: {tag or by, max}`, "
    "`error_budget: {max_failures, within}`, `surge`",
    "Immutable": "`tag`, `value`",
    "Rollout": "`percent`, `accounts`, `waves`",
    "Surge": "`location`, `account`, `fleet`, `at_least`, `canary`, `norm`, `same`",
    "When": "`all`, `any`, `none`",
    "Then": "see below",
    "Scope": "`accounts`, `regions`",
    "Defaults": "`attempts`, `cooldown`, `limits`",
    "Ceilings": "`attempts`, `concurrency`, `max_errors`, `max_per_hour`, `deadline`, `exemption`",
    "MinimumTests": "`at_least`, `both_outcomes`",
    "Where": "`accounts`, `units`, `exclude`, `regions`",
    "Target": "`all: true`, or `tag` and `values`, or `resource_group`",
    "ApprovedPatches": "`patches`, `compliance_level`, `non_security`",
    "RejectedPatches": "`patches`, `action`: `allow-as-dependency` or `block`",
    "BaselineWhere": "`accounts`, `regions`",
    "ScheduleLimits": "`locations` and `nodes`, each with `concurrency` and `max_errors`",
}


def _default(model: type[BaseModel], name: str, field: FieldInfo) -> str:
    if model is shapes.Then and name in set_shapes.Defaults.model_fields:
        return "as `defaults` in `_set.yaml`"
    if field.is_required():
        return "**must be there**"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ([], {}):
        return ""
    written = span(value) if isinstance(value, timedelta) else str(value).lower()
    return f"`{written}`"


def _meaning(model: type[BaseModel], name: str, shown: dict[str, Any]) -> str:
    return f"{shown.get('description', '')}{_with(name) if model is shapes.Then else ''}"


def _with(name: str) -> str:
    """With which actions a field means something, where that is not all of them."""
    actions = [action for action, names in EFFECTIVE.items() if name in names]
    return "" if len(actions) == len(EFFECTIVE) else f" ({', '.join(actions)})"


def _operators() -> Rows:
    shown = _properties(shapes.Condition)
    rows = [(f"`{name}`", _of(rule), _operand(rule), shown[name]["description"]) for name, rule in OPERATORS.items()]
    return ("operator", "for facts that are", "takes", "holds if"), rows


def _of(rule: Operator) -> str:
    return ", ".join(sorted(rule.types))


def _operand(rule: Operator) -> str:
    return str(rule.takes.value)


def _vocabulary() -> Rows:
    rows = [
        (f"`{field.path}`", _type(field), field.meaning, _missing(field), field.source) for field in FIELDS.values()
    ]
    return ("path", "type", "meaning", "may be missing", "comes from"), rows


def _type(field: Field) -> str:
    return f"{field.type}: {', '.join(f'`{value}`' for value in field.values)}" if field.values else str(field.type)


def _missing(field: Field) -> str:
    return "yes" if field.optional else ""


_TABLES: dict[str, Callable[[], Rows]] = {
    "policy": lambda: _model(shapes.PolicyFile),
    "then": lambda: _model(shapes.Then),
    "expect": lambda: _model(shapes.Expect),
    "set": lambda: _model(set_shapes.SetFile),
    "surge": lambda: _model(set_shapes.Surge),
    "wave": lambda: _model(shapes.Wave),
    "error budget": lambda: _model(shapes.ErrorBudget),
    "schedule": lambda: _model(schedule_files.ScheduleFile),
    "baseline": lambda: _model(baseline_files.BaselineFile),
    "operators": _operators,
    "vocabulary": _vocabulary,
}
