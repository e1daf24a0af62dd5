"""The record of an automation execution, as GetAutomationExecution tells it.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetAutomationExecution.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

PENDING = "Pending"
IN_PROGRESS = "InProgress"
CANCELLING = "Cancelling"
SUCCESS = "Success"
FAILED = "Failed"
TIMED_OUT = "TimedOut"
CANCELLED = "Cancelled"

NO_OUTPUT = "No output available yet because the step is not successfully executed"
"""What SSM says in the execution's outputs in place of the output of a step that did not succeed."""


@dataclass(frozen=True, slots=True)
class StepExecution:
    """One step as far as it has come. `fixed` is what the document says of it, spelled as the API does."""

    name: str
    action: str
    status: str = PENDING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    inputs: Mapping[str, str] = field(default_factory=dict, hash=False)
    outputs: Mapping[str, list[str]] = field(default_factory=dict, hash=False)
    failure: str | None = None
    failure_details: Mapping[str, Any] | None = field(default=None, hash=False)
    fixed: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_api(self, execution: str) -> dict[str, Any]:
        """The StepExecution; a step that has not begun is no more than its name, its action and `Pending`."""
        told = {"StepName": self.name, "Action": self.action, "StepStatus": self.status, **self.fixed}
        if self.started_at is None:
            return told
        told |= {
            "StepExecutionId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{execution}/{self.name}")),
            "ExecutionStartTime": self.started_at,
            "Inputs": dict(self.inputs),
            "Outputs": dict(self.outputs),
            "OverriddenParameters": {},
        }
        late = {
            "ExecutionEndTime": self.ended_at,
            "FailureMessage": self.failure,
            "FailureDetails": self.failure_details,
        }
        return told | {key: value for key, value in late.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution as far as it has come: a new value after each change."""

    id: str
    document: str
    version: str
    executed_by: str
    parameters: Mapping[str, list[str]] = field(hash=False)
    steps: tuple[StepExecution, ...]
    status: str = PENDING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: Mapping[str, list[str]] = field(default_factory=dict, hash=False)
    failure: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in {SUCCESS, FAILED, TIMED_OUT, CANCELLED}

    def step(self, name: str) -> StepExecution:
        """The step of that name; KeyError if the document has none."""
        found = next((step for step in self.steps if step.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def with_step(self, changed: StepExecution) -> ExecutionRecord:
        return replace(self, steps=tuple(changed if step.name == changed.name else step for step in self.steps))

    def to_api(self) -> dict[str, Any]:
        """The AutomationExecution of GetAutomationExecution; times are aware datetimes."""
        current = next((step for step in self.steps if step.status == IN_PROGRESS), None)
        told = {
            "AutomationExecutionId": self.id,
            "DocumentName": self.document,
            "DocumentVersion": self.version,
            "AutomationExecutionStatus": self.status,
            "StepExecutions": [step.to_api(self.id) for step in self.steps],
            "StepExecutionsTruncated": False,
            "Parameters": {key: list(values) for key, values in self.parameters.items()},
            "Outputs": dict(self.outputs),
            "Mode": "Auto",
            "ExecutedBy": self.executed_by,
            "Targets": [],
            "ResolvedTargets": {"ParameterValues": [], "Truncated": False},
        }
        late = {
            "ExecutionStartTime": self.started_at,
            "ExecutionEndTime": self.ended_at,
            "FailureMessage": self.failure,
            "CurrentStepName": current.name if current else None,
            "CurrentAction": current.action if current else None,
        }
        return told | {key: value for key, value in late.items() if value is not None}
