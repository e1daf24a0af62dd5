"""The runbook interpreter: what Systems Manager Automation would do with a document, step by step, in virtual time.

A `Run` is driven from outside: `advance` lets it do all that it can do now and answers when to call again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import yaml

from patchwarden.simulator import automation_record as record
from patchwarden.simulator.automation_record import ExecutionRecord, StepExecution
from patchwarden.simulator.references import Unresolved, as_type, resolve, select, strings
from patchwarden.simulator.steps import ACTIONS, GUIDE, Done, Place, StepFailed, holds
from patchwarden.simulator.steps import Wait as Wait
from patchwarden.simulator.steps import World as World

CANCELLATION = timedelta(minutes=2)
"""How long the steps that `onCancel` leads to may take."""

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


class _Cancelled(Exception):
    """Thrown into a waiting run when somebody cancels it."""


class _TimedOut(StepFailed):
    """A step, or the cancellation, took longer than it may."""

    def __init__(self) -> None:
        Exception.__init__(self, f"Step timed out while step is executing. {GUIDE}")
        self.doing, self.kind, self.outputs = "executing", "Action", {}


class Run:
    """One execution of a runbook. `record` and `waiting` are what it stands at after the last `advance`."""

    def __init__(
        self,
        world: World,
        runbook: Runbook,
        *,
        account: str,
        region: str,
        execution_id: str,
        parameters: Mapping[str, list[str]],
        document_name: str,
        document_version: str = "1",
        executed_by: str = "",
    ) -> None:
        self._values = runbook.accept(parameters)
        self._place = Place(world, account, region)
        self._runbook = runbook
        self._results: dict[str, dict[str, Any]] = {}
        self._failures: list[StepExecution] = []
        self._cancelled_at: datetime | None = None
        self._flow = self._steps()
        self.waiting: Wait | None = None
        self.record = ExecutionRecord(
            execution_id,
            document_name,
            document_version,
            executed_by,
            dict(parameters),
            tuple(step.to_record() for step in runbook.steps.values()),
        )

    def advance(self) -> Wait | None:
        """Do all that can be done now. When to call again, or None: the execution has ended."""
        self.waiting = None if self.record.ended else next(self._flow, None)
        return self.waiting

    def cancel(self) -> Wait | None:
        """Cancel, as StopAutomationExecution does, and advance. A second cancellation changes nothing."""
        if self.record.ended or self._cancelled_at:
            return self.waiting
        self._cancelled_at = self._now()
        if self.record.status == record.PENDING:
            self._flow.close()
            self._end(None)
            return None
        self.record = replace(self.record, status=record.CANCELLING)
        try:
            self.waiting = self._flow.throw(_Cancelled())
        except StopIteration:
            self.waiting = None
        return self.waiting

    def _now(self) -> datetime:
        return self._place.world.now()

    def _steps(self) -> Generator[Wait, None, None]:
        self.record = replace(self.record, status=record.IN_PROGRESS, started_at=self._now())
        name: str | None = next(iter(self._runbook.steps))
        while name is not None:
            name = yield from self._perform(self._runbook.steps[name])
        self._end(next(iter(self._failures), None))

    def _perform(self, step: Step) -> Generator[Wait, None, str | None]:
        """Run one step to its end; the name of the step that comes next, or None."""
        self._note(step, status=record.IN_PROGRESS, started_at=self._now())
        try:
            done = yield from (self._repeat(step) if step.action == LOOP else self._attempts(step))
        except _Cancelled:
            self._note(step, status=record.CANCELLED, ended_at=self._now())
            return step.after_cancel()
        except StepFailed as failure:
            return self._fail(step, failure)
        self._results[step.name] = self._outputs(step, done)
        self._note(step, status=record.SUCCESS, ended_at=self._now(), outputs=_told(self._results[step.name]))
        return step.after_success(done.leads_to)

    def _repeat(self, step: Step) -> Generator[Wait, None, Done]:
        """Do the steps of a loop, and again while its condition holds, as often as it may be."""
        for _ in range(int(step.inputs["MaxIterations"])):
            name: str | None = step.inputs["Steps"][0]["name"]
            while name is not None:
                inner = self._runbook.steps[name]
                name = yield from self._perform(inner)
                if self.record.step(inner.name).status != record.SUCCESS:
                    raise StepFailed("executing the steps of the loop", f"Step {inner.name} did not succeed")
            if not holds(resolve(step.inputs["LoopCondition"], self._look_up)):
                break
        return Done()

    def _attempts(self, step: Step) -> Generator[Wait, None, Done]:
        for _ in range(step.attempts - 1):
            try:
                return (yield from self._attempt(step))
            except StepFailed:
                if self._out_of_time():
                    raise
        return (yield from self._attempt(step))

    def _attempt(self, step: Step) -> Generator[Wait, None, Done]:
        inputs = self._inputs(step)
        self._note(step, inputs={key: json.dumps(value) for key, value in inputs.items()})
        deadline = self._deadline(step)
        work = ACTIONS[step.action](self._place, inputs)
        while True:
            try:
                wait = next(work)
            except StopIteration as end:
                done: Done = end.value
                return done
            if deadline and self._now() >= deadline:
                raise _TimedOut
            yield replace(wait, until=min(wait.until, deadline)) if deadline else wait

    def _deadline(self, step: Step) -> datetime | None:
        own = self._now() + step.timeout if step.timeout else None
        last = self._cancelled_at + CANCELLATION if self._cancelled_at else None
        return min((moment for moment in (own, last) if moment), default=None)

    def _inputs(self, step: Step) -> dict[str, Any]:
        try:
            return {key: resolve(value, self._look_up) for key, value in step.inputs.items()}
        except Unresolved as unresolved:
            raise StepFailed("validating and resolving the step inputs", str(unresolved), kind="Verification") from None

    def _look_up(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name.partition(":")[0] in {"global", "automation"}:
            return self._system(name)
        step, _, output = name.partition(".")
        if output in self._results.get(step, {}):
            return self._results[step][output]
        raise Unresolved(f"{name} has no value")

    def _system(self, name: str) -> str:
        now = self._now()
        values = {
            "global:ACCOUNT_ID": self._place.account,
            "global:REGION": self._place.region,
            "global:DATE": f"{now:%Y-%m-%d}",
            "global:DATE_TIME": f"{now:%Y-%m-%d_%H.%M.%S}",
            "automation:EXECUTION_ID": self.record.id,
        }
        if name not in values:
            raise Unresolved(f"{name} is no system variable")
        return values[name]

    def _outputs(self, step: Step, done: Done) -> dict[str, Any]:
        outputs = dict(done.outputs)
        for declared in step.outputs:
            found = select(done.document, declared["Selector"])
            if found:
                outputs[declared["Name"]] = as_type(found, declared.get("Type", "String"))
        return outputs

    def _fail(self, step: Step, failure: StepFailed) -> str | None:
        out_of_time = self._out_of_time()
        status = record.TIMED_OUT if isinstance(failure, _TimedOut) else record.FAILED
        details = {"FailureStage": failure.doing, "FailureType": failure.kind, "Details": {}}
        self._note(
            step,
            status=record.CANCELLED if out_of_time else status,
            ended_at=self._now(),
            outputs=_told(failure.outputs),
            failure=str(failure),
            failure_details=details,
        )
        if step.critical:
            self._failures.append(self.record.step(step.name))
        return None if out_of_time else step.after_failure()

    def _out_of_time(self) -> bool:
        return self._cancelled_at is not None and self._now() >= self._cancelled_at + CANCELLATION

    def _note(self, step: Step, **changes: Any) -> None:
        self.record = self.record.with_step(replace(self.record.step(step.name), **changes))

    def _end(self, failed: StepExecution | None) -> None:
        status = record.CANCELLED if self._cancelled_at else failed.status if failed else record.SUCCESS
        self.record = replace(
            self.record,
            status=status,
            ended_at=self._now(),
            outputs={name: self._output(name) for name in self._runbook.outputs},
            failure=failed.failure if failed else None,
        )

    def _output(self, name: str) -> list[str]:
        step, _, output = name.partition(".")
        results = self._results.get(step, {})
        return strings(results[output]) if output in results else [record.NO_OUTPUT]


def _told(outputs: Mapping[str, Any]) -> dict[str, list[str]]:
    return {name: strings(value) for name, value in outputs.items()}


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
