"""Automations: StartAutomationExecution and what follows, with SSM's own ideas of tokens, tags and limits.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartAutomationExecution.html
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event, automation_status, automation_step_status
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.names import Names
from patchwarden.simulator.refusals import NotServed, Refusal
from patchwarden.simulator.run_command import RunCommand
from patchwarden.simulator.runbook import ParameterError, Run, Runbook, World

MOST_TAGS = 5
HISTORY = timedelta(days=30)
STEP_OVER = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})

_RATE_CONTROL = ("Targets", "TargetMaps", "TargetLocations", "TargetLocationsURL", "TargetParameterName")
_NOT_SERVED = (*_RATE_CONTROL, "AlarmConfiguration")


@dataclass(slots=True, eq=False)
class Execution:
    """One execution, its run and what it was started with. `turn` counts how often it went on."""

    location: Location
    run: Run
    tags: tuple[Mapping[str, str], ...]
    turn: int = 0
    over: bool = False
    steps_told: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        return self.run.record.id

    def to_api(self) -> dict[str, Any]:
        """GetAutomationExecution's AutomationExecution."""
        return self.run.record.to_api()


@dataclass(frozen=True, slots=True)
class _Token:
    execution: str
    request: str
    given_at: datetime


class Automations:
    """Systems Manager Automation in every account and Region; the documents are the same everywhere."""

    def __init__(
        self, clock: VirtualClock, names: Names, commands: RunCommand, limits: Limits,
        emit: Callable[[Event, datetime], None],
    ) -> None:  # fmt: skip
        self.world: World | None = None
        self.limits = limits
        self._clock = clock
        self._names = names
        self._commands = commands
        self._emit = emit
        self._documents: dict[str, list[Runbook]] = {}
        self._executions: dict[Location, dict[str, Execution]] = defaultdict(dict)
        self._running: Counter[Location] = Counter()
        self._tokens: dict[tuple[Location, str], _Token] = {}

    def publish(self, name: str, text: str) -> int:
        """Make a document, or its next version, known everywhere. The version's number."""
        self._documents.setdefault(name, []).append(Runbook.load(text))
        return len(self._documents[name])

    def find(self, location: Location, execution: str) -> Execution:
        """The execution; AWS refuses one that it does not know or has forgotten."""
        found = self._executions[location].get(execution)
        if found is None or self._forgotten(found):
            raise Refusal("AutomationExecutionNotFoundException", f"Automation execution {execution} does not exist")
        return found

    def known(self, location: Location) -> list[Execution]:
        """Every execution there, newest first."""
        return [one for one in reversed(self._executions[location].values()) if not self._forgotten(one)]

    def start(self, location: Location, request: Mapping[str, Any], caller: str) -> str:
        """StartAutomationExecution on behalf of `caller`, an ARN. The execution's id."""
        token = request.get("ClientToken", "").lower()
        said = json.dumps({key: value for key, value in request.items() if key != "ClientToken"}, sort_keys=True)
        if earlier := self._remembered(location, token):
            return _same(earlier, said)
        execution = self._accept(location, request, caller)
        self._executions[location][execution.id] = execution
        self._running[location] += 1
        if token:
            self._tokens[location, token] = _Token(execution.id, said, self._clock.now())
        self._clock.after(1, lambda: self._advance(execution, 0))
        return execution.id

    def stop(self, location: Location, execution: str, kind: str) -> None:
        """StopAutomationExecution. `Complete` lets the current step end, which the simulator does not do."""
        found = self.find(location, execution)
        if kind == "Complete":
            raise NotServed("StopAutomationExecution Type=Complete")
        if found.over:
            message = f"Automation execution {execution} is in status {found.run.record.status}"
            raise Refusal("InvalidAutomationStatusUpdateException", message)
        found.run.cancel()
        self._advance(found, found.turn)

    def _remembered(self, location: Location, token: str) -> _Token | None:
        earlier = self._tokens.get((location, token)) if token else None
        memory = self.limits.token_memory
        if earlier and memory is not None and self._clock.now() - earlier.given_at > memory:
            return None
        return earlier

    def _accept(self, location: Location, request: Mapping[str, Any], caller: str) -> Execution:
        if asked := [name for name in _NOT_SERVED if request.get(name)]:
            raise NotServed(f"StartAutomationExecution with {', '.join(asked)}")
        if "MaxConcurrency" in request or "MaxErrors" in request:
            raise _bad_parameters("MaxConcurrency and MaxErrors need Targets and TargetParameterName")
        if len(request.get("Tags", [])) > MOST_TAGS:
            raise _bad_parameters(f"an execution takes at most {MOST_TAGS} tags")
        if self._running[location] >= self.limits.automations:
            message = "The number of concurrently running automations has exceeded the limit"
            raise Refusal("AutomationExecutionLimitExceededException", message)
        run = self._run(location, request, caller)
        return Execution(location, run, tuple(request.get("Tags", ())))

    def _run(self, location: Location, request: Mapping[str, Any], caller: str) -> Run:
        assert self.world is not None, "nobody has given the runbooks a world"
        name, version, runbook = self._document(request["DocumentName"], request.get("DocumentVersion", "$DEFAULT"))
        try:
            return Run(
                self.world,
                runbook,
                account=location.account,
                region=location.region,
                execution_id=self._names.uuid(f"execution/{location}"),
                parameters=request.get("Parameters", {}),
                document_name=name,
                document_version=version,
                executed_by=caller,
            )
        except ParameterError as error:
            raise _bad_parameters(str(error)) from error

    def _document(self, asked: str, version: str) -> tuple[str, str, Runbook]:
        name = asked.rsplit("/", 1)[-1]
        versions = self._documents.get(name)
        if not versions:
            raise Refusal("AutomationDefinitionNotFoundException", f"Automation definition {asked} not found")
        number = len(versions) if version in ("$DEFAULT", "$LATEST") else int(version)
        if number > len(versions):
            message = f"Automation definition {name} has no version {version}"
            raise Refusal("AutomationDefinitionVersionNotFoundException", message)
        return name, str(number), versions[number - 1]

    def _advance(self, execution: Execution, turn: int) -> None:
        """Let the run go on and tell what has ended since. Whichever of timer and command comes second is too late."""
        if execution.over or turn != execution.turn:
            return
        execution.turn += 1
        wait = execution.run.advance()
        self._tell_steps(execution)
        if wait is None:
            self._conclude(execution)
            return
        turn = execution.turn
        self._clock.at(wait.until, lambda: self._advance(execution, turn))
        command = self._commands.find(execution.location, wait.command) if wait.command else None
        if command:
            self._commands.when_over(command, lambda: self._advance(execution, turn))

    def _conclude(self, execution: Execution) -> None:
        execution.over = True
        self._running[execution.location] -= 1
        at = self._clock.now() + timedelta(seconds=1)
        self._emit(automation_status(self._names.uuid("event"), execution.location, execution.to_api(), at), at)

    def _tell_steps(self, execution: Execution) -> None:
        told, now = execution.to_api(), self._clock.now()
        for step in told["StepExecutions"]:
            if step["StepStatus"] in STEP_OVER and step["StepName"] not in execution.steps_told:
                execution.steps_told.add(step["StepName"])
                name = self._names.uuid("event")
                self._emit(automation_step_status(name, execution.location, told, step, now), now)

    def _forgotten(self, execution: Execution) -> bool:
        ended_at = execution.run.record.ended_at
        return ended_at is not None and self._clock.now() - ended_at > HISTORY


def _same(earlier: _Token, said: str) -> str:
    """A replay gets the execution that it started; the same token with another request is refused."""
    if earlier.request != said:
        raise Refusal("IdempotentParameterMismatch", "The specified client token was used with other parameters")
    return earlier.execution


def _bad_parameters(why: str) -> Refusal:
    return Refusal("InvalidAutomationExecutionParametersException", why)
