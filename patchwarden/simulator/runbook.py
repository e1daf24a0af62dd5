"""Runbook: an automation document as the interpreter reads it, its parameters, and its steps with where each leads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import yaml

from patchwarden.simulator.automation_record import StepExecution
from patchwarden.simulator.steps import ACTIONS

LOOP = "aws:loop"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MOST_ITERATIONS = 100
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-action-loop.html"""

DEFAULT_TIMEOUTS = {"aws:waitForAwsResourceProperty": 3600, "aws:changeInstanceState": 3600, "aws:executeScript": 600}
"""Seconds; the other actions wait for ever."""


class RunbookError(Exception):
    """The document is none that the interpreter understands."""


class ParameterError(Exception):
    """Systems Manager would refuse these parameters: InvalidAutomationExecutionParametersException."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as the document declares it; one without a default is required."""

    kind: str
    default: Any = None
    pattern: str | None = None
    allowed: tuple[Any, ...] = ()
    least: int = 0
    most: int = 50

    def read(self, name: str, values: list[str]) -> Any:
        """The value in the parameter's type; ParameterError if the document does not allow it."""
        if any(not 1 <= len(value) <= 512 for value in values):
            raise ParameterError(f"{name}: a value is 1 to 512 characters long")
        if self.kind.endswith("List"):
            if not self.least <= len(values) <= self.most:
                raise ParameterError(f"{name} takes {self.least} to {self.most} values, not {len(values)}")
        elif len(values) != 1:
            raise ParameterError(f"{name} takes one value, not {len(values)}")
        read = [self._read_one(name, value) for value in values]
        return read if self.kind.endswith("List") else read[0]

    def _read_one(self, name: str, text: str) -> Any:
        if self.pattern and not re.search(self.pattern, text):
            raise ParameterError(f"{name}: {text!r} does not match {self.pattern}")
        if self.allowed and text not in [_spelled(value) for value in self.allowed]:
            raise ParameterError(f"{name}: {text!r} is none of {list(self.allowed)}")
        if self.kind in {"String", "StringList"}:
            return text
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ParameterError(f"{name}: {text!r} is no {self.kind}") from error


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the document declares it, defaults filled in; `following` is the next one in the order of the page."""

    name: str
    action: str
    inputs: Mapping[str, Any] = field(hash=False)
    outputs: tuple[Mapping[str, str], ...] = field(hash=False)
    next_step: str | None
    following: str | None
    is_end: bool
    on_failure: str
    on_cancel: str
    critical: bool
    timeout: timedelta | None
    attempts: int

    def after_success(self, leads_to: str | None) -> str | None:
        if leads_to:
            return leads_to
        return None if self.is_end else self.next_step or self.following

    def after_failure(self) -> str | None:
        if self.is_end or self.on_failure == "Abort":
            return None
        return _target(self.on_failure) or self.next_step or self.following

    def after_cancel(self) -> str | None:
        return _target(self.on_cancel)

    def targets(self) -> list[str]:
        """Every step that may come next."""
        choices = [choice["NextStep"] for choice in self.inputs.get("Choices", [])] if self.is_branch else []
        default = self.inputs.get("Default") if self.is_branch else None
        onward = None if default else self.after_success(None)
        named = [*choices, default, onward, self.after_failure(), self.after_cancel()]
        return [name for name in named if name is not None]

    @property
    def is_branch(self) -> bool:
        return self.action == "aws:branch"

    def to_record(self) -> StepExecution:
        fixed = {
            "OnFailure": self.on_failure,
            "MaxAttempts": self.attempts,
            "IsEnd": self.is_end,
            "IsCritical": self.critical,
        }
        if self.timeout:
            fixed["TimeoutSeconds"] = int(self.timeout.total_seconds())
        if onward := self.after_success(None):
            fixed["NextStep"] = onward
        return StepExecution(self.name, self.action, fixed=fixed)


@dataclass(frozen=True, slots=True)
class Runbook:
    """An automation document (schema 0.3) of the step kinds that the interpreter knows."""

    parameters: Mapping[str, Parameter] = field(hash=False)
    steps: Mapping[str, Step] = field(hash=False)
    outputs: tuple[str, ...]

    @classmethod
    def load(cls, text: str) -> Runbook:
        """Read YAML or JSON; RunbookError where the interpreter could not run what stands there."""
        return _loaded(text)

    def accept(self, given: Mapping[str, list[str]]) -> dict[str, Any]:
        """The values of all parameters, defaults filled in; ParameterError if SSM would refuse them."""
        if unknown := sorted(set(given) - set(self.parameters)):
            raise ParameterError(f"the document has no parameter {', '.join(unknown)}")
        values = {}
        for name, parameter in self.parameters.items():
            if name not in given and parameter.default is None:
                raise ParameterError(f"the parameter {name} is required")
            values[name] = parameter.read(name, list(given[name])) if name in given else parameter.default
        return values


@lru_cache(maxsize=64)
def _loaded(text: str) -> Runbook:
    """Read once, however many simulations there are in a process: nobody changes a runbook that was read."""
    document = yaml.load(text, Loader=_Loader)
    if not isinstance(document, dict) or document.get("schemaVersion") != "0.3":
        raise RunbookError("an automation document has schemaVersion '0.3'")
    steps = document.get("mainSteps") or []
    names = [step["name"] for step in steps]
    if len(set(names)) != len(names) or not names:
        raise RunbookError(f"a document has steps, each with a name of its own, not {names}")
    read = [*_in_order(steps), *(step for spec in steps for step in _looped(spec))]
    if len({step.name for step in read}) != len(read):
        raise RunbookError("a step of a loop has a name of its own, that no other step has")
    for step in read:
        if unknown := set(step.targets()) - {step.name for step in read}:
            raise RunbookError(f"step {step.name} leads to {sorted(unknown)}, which is no step")
    parameters = {name: _read_parameter(spec) for name, spec in (document.get("parameters") or {}).items()}
    return Runbook(parameters, {step.name: step for step in read}, tuple(document.get("outputs") or ()))


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _target(where: str) -> str | None:
    return where.removeprefix("step:") if where.startswith("step:") else None


def _read_parameter(spec: Mapping[str, Any]) -> Parameter:
    return Parameter(
        spec["type"],
        spec.get("default"),
        spec.get("allowedPattern"),
        tuple(spec.get("allowedValues", ())),
        spec.get("minItems", 0),
        spec.get("maxItems", 50),
    )


def _in_order(specs: list[Any]) -> list[Step]:
    names = [spec["name"] for spec in specs]
    return [_read_step(spec, following) for spec, following in zip(specs, [*names[1:], None], strict=True)]


def _looped(spec: Mapping[str, Any]) -> list[Step]:
    """The steps inside a loop of the do-while kind, the only one that the interpreter knows."""
    if spec["action"] != LOOP:
        return []
    inputs = spec["inputs"]
    if "Iterators" in inputs or "LoopCondition" not in inputs:
        raise RunbookError(f"step {spec['name']}: the interpreter knows loops with a LoopCondition only")
    if "onCancel" in spec or not 1 <= int(inputs.get("MaxIterations", 0)) <= MOST_ITERATIONS:
        raise RunbookError(f"step {spec['name']}: a loop has 1 to {MOST_ITERATIONS} MaxIterations and no onCancel")
    return _in_order(inputs["Steps"])


def _read_step(spec: Mapping[str, Any], following: str | None) -> Step:
    action = spec["action"]
    if action not in ACTIONS and action != LOOP:
        raise RunbookError(f"step {spec['name']}: the interpreter knows no action {action}")
    on_failure = spec.get("onFailure", "Abort")
    seconds = spec.get("timeoutSeconds", DEFAULT_TIMEOUTS.get(action))
    return Step(
        name=spec["name"],
        action=action,
        inputs=spec.get("inputs") or {},
        outputs=tuple(spec.get("outputs") or ()),
        next_step=spec.get("nextStep"),
        following=following,
        is_end=bool(spec.get("isEnd", False)),
        on_failure=on_failure,
        on_cancel=spec.get("onCancel", "Abort"),
        critical=bool(spec.get("isCritical", on_failure != "Continue")),
        timeout=timedelta(seconds=int(seconds)) if seconds else None,
        attempts=int(spec.get("maxAttempts", 1)),
    )
