"""Fan-out: one execution that starts others, over the nodes of a location or over accounts and Regions.

First in, first out: so many at once as its concurrency says; once more have failed than its errors allow, no further
one is begun, and those under way run on. AWS does not say what an execution without any target comes to: here it
succeeds.
https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-scale.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from chalicelib.core.nodes import Location
from patchwarden.simulator import automation_record as record
from patchwarden.simulator.automation_record import ExecutionRecord, StepExecution
from patchwarden.simulator.commands import number_of
from patchwarden.simulator.refusals import Refusal


class Child(Protocol):
    """What a part starts: it tells `watchers` when it is over, and can be stopped."""

    @property
    def id(self) -> str: ...

    @property
    def record(self) -> ExecutionRecord: ...

    @property
    def over(self) -> bool: ...

    @property
    def watchers(self) -> list[Callable[[], None]]: ...


@dataclass(slots=True, eq=False)
class Part:
    """One target: a node, or an account and Region. `begin` starts its execution, or raises Refusal."""

    name: str
    begin: Callable[[], Child]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    group: int = 0
    child: Child | None = None
    status: str = record.PENDING
    failure: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def under_way(self) -> bool:
        return self.status == record.IN_PROGRESS

    def to_step(self) -> StepExecution:
        """As a step of an execution over accounts and Regions: its output is the execution that it started."""
        return StepExecution(
            self.name, "aws:executeAutomation", self.status, self.started_at, self.ended_at,
            outputs={"ExecutionId": [self.child.id]} if self.child else {}, failure=self.failure, fixed=self.fixed,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """How many parts of one group at once, and how many may fail."""

    concurrency: str
    errors: str


@dataclass(slots=True, eq=False)
class FanOut:
    """One execution with its parts, each group of them at a rate of its own."""

    location: Location
    begun: ExecutionRecord
    parts: Sequence[Part]
    rates: Sequence[Rate]
    told: Mapping[str, Any]
    tags: tuple[Mapping[str, str], ...]
    kind: str
    now: Callable[[], datetime]
    after: Callable[[float, Callable[[], None]], None]
    concluded: Callable[[FanOut], None]
    parent: str | None = None
    target: str | None = None
    over: bool = False
    cancelled: bool = False
    watchers: list[Callable[[], None]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.begun.id

    @property
    def record(self) -> ExecutionRecord:
        if self.kind == "CrossAccount":
            return replace(self.begun, steps=tuple(part.to_step() for part in self.parts))
        return self.begun

    def to_api(self) -> dict[str, Any]:
        """GetAutomationExecution's AutomationExecution."""
        counts = {word: sum(part.status == status for part in self.parts) for word, status in _COUNTED.items()}
        own = {"ProgressCounters": {"TotalSteps": len(self.parts), **counts}} if self.kind == "CrossAccount" else {}
        parent = {"ParentAutomationExecutionId": self.parent} if self.parent else {}
        return {**self.record.to_api(), **self.told, **own, **parent}

    def begin(self) -> None:
        self.begun = replace(self.begun, status=record.IN_PROGRESS, started_at=self.now())
        self.proceed()

    def cancel(self) -> None:
        """Nothing further is begun; what is under way runs on, as the run commands of its nodes would."""
        self.cancelled = True
        self.proceed()

    def proceed(self) -> None:
        """Begin as many parts as the rates allow; end what is over."""
        for number, rate in enumerate(self.rates):
            self._fill([part for part in self.parts if part.group == number], rate)
        if not self.over and all(part.ended_at for part in self.parts):
            self._conclude()

    def _fill(self, parts: Sequence[Part], rate: Rate) -> None:
        for part in [part for part in parts if part.status == record.PENDING]:
            failed = sum(each.status in (record.FAILED, record.TIMED_OUT) for each in parts)
            if self.cancelled or failed > number_of(rate.errors, len(parts), up=False):
                part.status, part.ended_at = record.CANCELLED, self.now()
            elif sum(each.under_way for each in parts) < max(1, number_of(rate.concurrency, len(parts), up=True)):
                self._begin(part)

    def _begin(self, part: Part) -> None:
        part.status, part.started_at = record.IN_PROGRESS, self.now()
        try:
            part.child = part.begin()
        except Refusal as refusal:
            part.status, part.ended_at = record.FAILED, self.now()
            part.failure = f"{refusal.code}: {refusal.message}"
            return
        child = part.child
        child.watchers.append(lambda: self._ended(part, child.record))

    def _ended(self, part: Part, ended: ExecutionRecord) -> None:
        part.status, part.failure, part.ended_at = ended.status, ended.failure, self.now()
        self.after(0, self.proceed)

    def _conclude(self) -> None:
        self.over = True
        bad = [part for part in self.parts if part.status != record.SUCCESS]
        status = record.CANCELLED if self.cancelled else record.FAILED if bad else record.SUCCESS
        failure = f"{len(bad)} of {len(self.parts)} targets did not succeed" if bad else None
        self.begun = replace(self.begun, status=status, ended_at=self.now(), failure=failure)
        self.concluded(self)
        for call in self.watchers:
            call()


_COUNTED = {
    "SuccessSteps": record.SUCCESS,
    "FailedSteps": record.FAILED,
    "CancelledSteps": record.CANCELLED,
    "TimedOutSteps": record.TIMED_OUT,
}
