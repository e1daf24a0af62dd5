"""The runbook interpreter: what Systems Manager Automation would do with a document, step by step, in virtual time.

A `Run` is driven from outside: `advance` lets it do all that it can do now and answers when to call again.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from patchwarden.simulator import automation_record as record
from patchwarden.simulator.automation_record import ExecutionRecord, StepExecution
from patchwarden.simulator.references import Unresolved, as_type, resolve, select, strings
from patchwarden.simulator.runbook import LOOP, Runbook, Step
from patchwarden.simulator.steps import ACTIONS, GUIDE, Done, Place, StepFailed, Wait, World, holds

CANCELLATION = timedelta(minutes=2)
"""How long the steps that `onCancel` leads to may take."""


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
