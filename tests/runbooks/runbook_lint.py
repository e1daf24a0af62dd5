"""What may be wrong with a runbook and neither YAML nor AWS's schema notices: all that refers to something else.

A finding is a sentence that begins with the place it was found at.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, OperationModel, OperationNotFoundError, Shape, StructureShape
from jsonpath_ng.exceptions import JSONPathError
from jsonpath_ng.jsonpath import Child, Fields, Index, JSONPath, Root
from jsonpath_ng.parser import parse

from patchwarden.simulator.references import references

SYSTEM = {"global:ACCOUNT_ID", "global:REGION", "global:DATE", "global:DATE_TIME", "automation:EXECUTION_ID"}
OUTPUT_TYPES = {"String", "StringList", "Boolean", "Integer", "MapList", "StringMap"}
OWN_OUTPUTS = {
    "aws:executeScript": {"Payload", "OutputPayload"},
    "aws:executeAwsApi": {"OutputPayload"},
    "aws:runCommand": {"CommandId", "Status", "ResponseCode", "Output", "OutputPayload"},
    "aws:changeInstanceState": {"InstanceStates"},
}
PROPERTY_ACTIONS = {"aws:assertAwsResourceProperty", "aws:waitForAwsResourceProperty"}
API_ACTIONS = PROPERTY_ACTIONS | {"aws:executeAwsApi"}
NOT_AFTER_CANCEL = {"aws:approve", "aws:copyImage", "aws:createImage", "aws:createStack", "aws:createTags", "aws:loop",
                    "aws:pause", "aws:runInstances", "aws:sleep"}  # fmt: skip
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-actions.html, onCancel."""

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Edge:
    """From one step to another; `ok` if the first one must have succeeded for it."""

    start: str
    end: str
    ok: bool


@dataclass(frozen=True)
class Document:
    """A runbook as plain data, and what follows from it."""

    data: Mapping[str, Any]

    @property
    def steps(self) -> list[Step]:
        """Every step, those inside a loop after all others."""
        outer = list(self.data["mainSteps"])
        return [*outer, *(inner for step in outer for inner in _inner(step))]

    @cached_property
    def by_name(self) -> dict[str, Step]:
        return {step["name"]: step for step in self.steps}

    @cached_property
    def edges(self) -> list[Edge]:
        rows = [list(self.data["mainSteps"]), *filter(None, map(_inner, self.data["mainSteps"]))]
        return [
            edge
            for row in rows
            for step, following in zip(row, [*(step["name"] for step in row[1:]), None], strict=True)
            for edge in _edges(step, following)
        ]

    def outputs(self, step: str) -> set[str]:
        spec = self.by_name[step]
        return OWN_OUTPUTS.get(spec["action"], set()) | {output["Name"] for output in spec.get("outputs", [])}

    def reached(self, without_success_of: str | None = None) -> set[str]:
        """The steps that can be come to, if the success of one step led nowhere."""
        seen, left = set(), [self.steps[0]["name"]]
        while left:
            name = left.pop()
            if name in seen:
                continue
            seen.add(name)
            left += [e.end for e in self.edges if e.start == name and not (e.ok and name == without_success_of)]
        return seen


def lint(data: Mapping[str, Any]) -> list[str]:
    """Every finding, in the order of the document's parts."""
    document = Document(data)
    return [finding for check in CHECKS for finding in check(document)]


def _inner(step: Step) -> list[Step]:
    """The steps inside a loop."""
    return list(step["inputs"].get("Steps", [])) if step["action"] == "aws:loop" else []


def _edges(step: Step, following: str | None) -> Iterator[Edge]:
    name = step["name"]
    onward = None if step.get("isEnd") else step.get("nextStep", following)
    leads = [choice.get("NextStep") for choice in step["inputs"].get("Choices", [])]
    leads += [inner["name"] for inner in _inner(step)[:1]]
    leads.append(step["inputs"].get("Default", onward) if step["action"] == "aws:branch" else onward)
    yield from (Edge(name, lead, ok=True) for lead in leads if lead)
    failure = step.get("onFailure", "Abort")
    if failure == "Continue" and onward:
        yield Edge(name, onward, ok=False)
    for where in (failure, step.get("onCancel", "Abort")):
        if where.startswith("step:"):
            yield Edge(name, where.removeprefix("step:"), ok=False)


def _names(document: Document) -> Iterator[str]:
    for name, times in Counter(step["name"] for step in document.steps).items():
        if times > 1:
            yield f"{name}: {times} steps have this name"
    for step in document.steps:
        for name, times in Counter(output["Name"] for output in step.get("outputs", [])).items():
            if times > 1:
                yield f"{step['name']}: {times} outputs are called {name}"


def _parameters(document: Document) -> Iterator[str]:
    used = set(references(document.data.get("assumeRole", ""))) | set(references(document.data["mainSteps"]))
    for name, spec in document.data["parameters"].items():
        if name not in used:
            yield f"{name}: the parameter is declared and never used"
        if not spec.get("description"):
            yield f"{name}: the parameter is not described"
        if spec["type"].startswith("String") and "allowedValues" not in spec and "allowedPattern" not in spec:
            yield f"{name}: the parameter takes any text"
        default = spec.get("default")
        if isinstance(default, str) and not re.search(spec.get("allowedPattern", ""), default):
            yield f"{name}: the default does not match the pattern"


def _references(document: Document) -> Iterator[str]:
    for step in document.steps:
        own = {key: value for key, value in step["inputs"].items() if key not in ("Steps", "LoopCondition")}
        for name in references(own):
            yield from _reference(document, step, name)
        for name in references(step["inputs"].get("LoopCondition", {})):
            source, _, output = name.partition(".")
            if source not in [inner["name"] for inner in _inner(step)] or output not in document.outputs(source):
                yield f"{step['name']}: the loop's condition looks at {name}, which is no output of a step inside"
    for name in references(document.data.get("assumeRole", "")):
        if name not in document.data["parameters"]:
            yield f"assumeRole: {name} is no parameter"
    for name in document.data.get("outputs", []):
        source, _, output = name.partition(".")
        if source not in document.by_name or output not in document.outputs(source):
            yield f"outputs: {name} is no output of a step"


def _reference(document: Document, step: Step, name: str) -> Iterator[str]:
    source, _, output = name.partition(".")
    if name in document.data["parameters"] or name in SYSTEM:
        return
    if source not in document.by_name:
        yield f"{step['name']}: {name} is no parameter, no step's output and no system variable"
    elif output not in document.outputs(source):
        yield f"{step['name']}: {source} has no output {output}"
    elif step["name"] in document.reached(without_success_of=source):
        yield f"{step['name']}: {name} has no value if {source} did not succeed, and this step is come to all the same"


def _ways(document: Document) -> Iterator[str]:
    names = set(document.by_name)
    for edge in document.edges:
        if edge.end not in names:
            yield f"{edge.start}: leads to {edge.end}, which is no step"
    for name in sorted(names - document.reached()):
        yield f"{name}: no way leads to this step"
    for step in document.steps:
        if step.get("isEnd") and ("nextStep" in step or step.get("onFailure", "").startswith("step:")):
            yield f"{step['name']}: is the end, and leads on"
        target = step.get("onCancel", "").removeprefix("step:")
        if target in names and document.by_name[target]["action"] in NOT_AFTER_CANCEL:
            yield f"{step['name']}: a cancellation cannot lead to {target}"


def _circles(document: Document) -> Iterator[str]:
    for name in document.by_name:
        ahead = [edge.end for edge in document.edges if edge.start == name]
        seen: set[str] = set()
        while ahead:
            step = ahead.pop()
            if step not in seen:
                seen.add(step)
                ahead += [edge.end for edge in document.edges if edge.start == step]
        if name in seen:
            yield f"{name}: the ways lead in a circle"


def _selectors(document: Document) -> Iterator[str]:
    for step in document.steps:
        for output in step.get("outputs", []):
            place = f"{step['name']}.{output.get('Name')}"
            if output.get("Type") not in OUTPUT_TYPES:
                yield f"{place}: {output.get('Type')} is no type of an output"
            yield from _selector(place, output.get("Selector", ""), step)
        if step["action"] in PROPERTY_ACTIONS:
            yield from _selector(step["name"], step["inputs"].get("PropertySelector", ""), step)


def _selector(place: str, text: str, step: Step) -> Iterator[str]:
    try:
        path = parse(text)
    except JSONPathError:
        yield f"{place}: {text!r} is no JSONPath"
        return
    if step["action"] == "aws:executeScript":
        key = text.removeprefix("$.Payload.")
        if key == text or f'"{key}"' not in step["inputs"]["Script"]:
            yield f"{place}: the script returns no {text}"
        return
    operation = _operation(step) if step["action"] in API_ACTIONS else None
    if operation and _follow(operation.output_shape, path) is None:
        yield f"{place}: {operation.name} answers nothing at {text}"


def _apis(document: Document) -> Iterator[str]:
    for step in document.steps:
        if step["action"] not in API_ACTIONS:
            continue
        operation = _operation(step)
        if operation is None:
            yield f"{step['name']}: AWS has no {step['inputs'].get('Service')} {step['inputs'].get('Api')}"
            continue
        known = set(operation.input_shape.members) if operation.input_shape else set()
        for key in sorted(set(step["inputs"]) - known - {"Service", "Api", "PropertySelector", "DesiredValues"}):
            yield f"{step['name']}: {operation.name} takes no {key}"


def _operation(step: Step) -> OperationModel | None:
    session = botocore.session.get_session()
    try:
        return session.get_service_model(step["inputs"].get("Service")).operation_model(step["inputs"].get("Api"))
    except (UnknownServiceError, OperationNotFoundError):
        return None


def _follow(shape: Shape | None, path: JSONPath) -> Shape | None:
    """The shape that a plain path leads to; None where it leads nowhere."""
    if isinstance(path, Root) or shape is None:
        return shape
    if isinstance(path, Child):
        return _follow(_follow(shape, path.left), path.right)
    if isinstance(path, Fields) and isinstance(shape, StructureShape):
        return shape.members.get(path.fields[0])
    if isinstance(path, Index) and isinstance(shape, ListShape):
        return shape.member
    return None


def _scripts(document: Document) -> Iterator[str]:
    for step in document.steps:
        if step["action"] == "aws:executeScript":
            yield from (f"{step['name']}: {fault}" for fault in _script(step["inputs"]))


def _script(inputs: Mapping[str, Any]) -> Iterator[str]:
    try:
        tree = ast.parse(inputs["Script"])
    except SyntaxError as error:
        yield f"the script is no Python: {error.msg}"
        return
    handlers = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == inputs["Handler"]]
    if len(handlers) != 1 or len(handlers[0].args.args) != 2:
        yield f"the script has no {inputs['Handler']}(events, context)"
    read = set(re.findall(r'events\["(\w+)"\]', inputs["Script"]))
    given = set(inputs.get("InputPayload", {}))
    yield from (f"the script reads {name}, which it is not given" for name in sorted(read - given))
    yield from (f"the script is given {name} and does not read it" for name in sorted(given - read))


CHECKS: tuple[Callable[[Document], Iterator[str]], ...] = (
    _names,
    _parameters,
    _references,
    _ways,
    _circles,
    _selectors,
    _apis,
    _scripts,
)
