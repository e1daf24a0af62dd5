"""Automations: StartAutomationExecution and what follows, with SSM's own ideas of tokens, tags and limits.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartAutomationExecution.html
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.automation_record import ExecutionRecord
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event, automation_status, automation_step_status
from patchwarden.simulator.fan_out import FanOut, Part, Rate
from patchwarden.simulator.fleet import Fleet
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.names import Names
from patchwarden.simulator.refusals import NotServed, Refusal
from patchwarden.simulator.run_command import RunCommand
from patchwarden.simulator.runbook import ParameterError, Runbook
from patchwarden.simulator.runbook_run import Run
from patchwarden.simulator.steps import World

MOST_TAGS = 5
_FANNING = ("Targets", "TargetParameterName", "MaxConcurrency", "MaxErrors", "ClientToken", "Tags")
_TOLD = ("Targets", "TargetParameterName", "MaxConcurrency", "MaxErrors")
HISTORY = timedelta(days=30)
STEP_OVER = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})

_NOT_SERVED = ("TargetMaps", "TargetLocationsURL", "AlarmConfiguration")
_SOME_NODE = "i-0123456789abcdef0"
_DEFAULT_ROLE = "AWS-SystemsManager-AutomationExecutionRole"


@dataclass(slots=True, eq=False)
class Execution:
    """One execution, its run and what it was started with. `turn` counts how often it went on.

    `parent` started it for `target`; `watchers` are called when it is over.
    """

    location: Location
    run: Run
    tags: tuple[Mapping[str, str], ...]
    parent: str | None = None
    target: str | None = None
    turn: int = 0
    over: bool = False
    steps_told: set[str] = field(default_factory=set)
    watchers: list[Callable[[], None]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return "Local"

    @property
    def id(self) -> str:
        return self.run.record.id

    @property
    def record(self) -> ExecutionRecord:
        return self.run.record

    def to_api(self) -> dict[str, Any]:
        """GetAutomationExecution's AutomationExecution."""
        late = {"ParentAutomationExecutionId": self.parent, "Target": self.target}
        return {**self.run.record.to_api(), **{key: value for key, value in late.items() if value is not None}}


@dataclass(frozen=True, slots=True)
class _Token:
    execution: str
    request: str
    given_at: datetime


class Automations:
    """Systems Manager Automation in every account and Region; the documents are the same everywhere.

    `units` says which accounts an organisational unit holds, `groups` which nodes a resource group: those whose tag
    has one of some values. `unreachable` answers why the hub cannot act in a place, or None.
    """

    def __init__(
        self, clock: VirtualClock, names: Names, commands: RunCommand, limits: Limits,
        emit: Callable[[Event, datetime], None], fleet: Fleet,
    ) -> None:  # fmt: skip
        self.world: World | None = None
        self.units: dict[str, tuple[str, ...]] = {}
        self.groups: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.unreachable: Callable[[Location], str | None] = lambda location: None
        self._fleet = fleet
        self.limits = limits
        self._clock = clock
        self._names = names
        self._commands = commands
        self._emit = emit
        self._documents: dict[str, list[Runbook]] = {}
        self._texts: dict[str, str] = {}
        self._executions: dict[Location, dict[str, Execution | FanOut]] = defaultdict(dict)
        self._running: Counter[Location] = Counter()
        self._tokens: dict[tuple[Location, str], _Token] = {}

    def publish(self, name: str, text: str) -> int:
        """Make a document, or its next version, known everywhere. The version's number."""
        self._documents.setdefault(name, []).append(_loaded(text))
        self._texts[name] = text
        return len(self._documents[name])

    def text(self, name: str) -> str | None:
        """The newest version of a document as it was published, or None."""
        return self._texts.get(name)

    def find(self, location: Location, execution: str) -> Execution | FanOut:
        """The execution; AWS refuses one that it does not know or has forgotten."""
        found = self._executions[location].get(execution)
        if found is None or self._forgotten(found):
            raise Refusal("AutomationExecutionNotFoundException", f"Automation execution {execution} does not exist")
        return found

    def known(self, location: Location) -> list[Execution | FanOut]:
        """Every execution there, newest first."""
        return [one for one in reversed(self._executions[location].values()) if not self._forgotten(one)]

    def start(self, location: Location, request: Mapping[str, Any], caller: str) -> str:
        """StartAutomationExecution on behalf of `caller`, an ARN. The execution's id."""
        token = request.get("ClientToken", "").lower()
        said = json.dumps({key: value for key, value in request.items() if key != "ClientToken"}, sort_keys=True)
        if earlier := self._remembered(location, token):
            return _same(earlier, said)
        self._check(location, request)
        execution = self._begin(location, request, caller)
        if token:
            self._tokens[location, token] = _Token(execution.id, said, self._clock.now())
        return execution.id

    def _begin(
        self, location: Location, request: Mapping[str, Any], caller: str, parent: str | None = None,
        target: str | None = None,
    ) -> Execution | FanOut:  # fmt: skip
        """Start an execution of whichever kind the request asks for, here or as a part of another one."""
        execution: Execution | FanOut
        if request.get("TargetLocations"):
            execution = self._over_places(location, request, caller)
        elif request.get("Targets"):
            execution = self._over_nodes(location, request, caller, parent)
        else:
            execution = Execution(location, self._run(location, request, caller), tuple(request.get("Tags", ())),
                                  parent, target)  # fmt: skip
        self._executions[location][execution.id] = execution
        self._running[location] += parent is None
        started = execution
        go = started.begin if isinstance(started, FanOut) else lambda: self._advance(started, 0)
        self._clock.after(1, go)
        return execution

    def _over_nodes(self, location: Location, request: Mapping[str, Any], caller: str, parent: str | None) -> FanOut:
        """Rate control: one execution for each node that the target finds here."""
        name = request["TargetParameterName"]
        plain = {key: value for key, value in request.items() if key not in _FANNING}
        found = self._resolved(location, request["Targets"][0])
        run = self._run(
            location, {**plain, "Parameters": {**request.get("Parameters", {}), name: [_SOME_NODE]}}, caller
        )
        begun = replace(run.record, parameters=request.get("Parameters", {}), steps=())

        def part(node: str) -> Part:
            asked = {**plain, "Parameters": {**request.get("Parameters", {}), name: [node]}}
            return Part(node, lambda: self._begin(location, asked, caller, begun.id, node))

        rate = Rate(request.get("MaxConcurrency", "10"), request.get("MaxErrors", "0"))
        told = {key: request[key] for key in _TOLD if key in request}
        resolved = {"ParameterValues": found[:50], "Truncated": len(found) > 50}
        return self._fan_out(location, begun, [part(node) for node in found], [rate],
                             {**told, "ResolvedTargets": resolved}, request, "Local", parent)  # fmt: skip

    def _over_places(self, location: Location, request: Mapping[str, Any], caller: str) -> FanOut:
        """One execution for each account and Region, each with the whole list of targets."""
        inner = {key: value for key, value in request.items() if key not in ("TargetLocations", "ClientToken", "Tags")}
        name = request.get("TargetParameterName")
        checked = {**request.get("Parameters", {}), **({name: [_SOME_NODE]} if name else {})}
        run = self._run(location, {**inner, "Parameters": checked}, caller)
        begun = replace(run.record, parameters=request.get("Parameters", {}), steps=())

        def part(place: Location, group: int, role: str, number: int) -> Part:
            where = {"TargetLocation": {"Accounts": [place.account], "Regions": [place.region],
                                        "ExecutionRoleName": role}}  # fmt: skip
            arn = f"arn:aws:sts::{place.account}:assumed-role/{role}/Automation"
            return Part(f"executeAutomation_{number}", lambda: self._reach(place, inner, arn, begun.id), where, group)

        parts = [
            part(place, group, wanted.get("ExecutionRoleName", _DEFAULT_ROLE), 0)
            for group, wanted in enumerate(request["TargetLocations"])
            for place in self._places(wanted)
        ]
        for number, each in enumerate(parts, 1):
            each.name = f"executeAutomation_{number}"
        rates = [
            Rate(one.get("TargetLocationMaxConcurrency", "1"), one.get("TargetLocationMaxErrors", "0"))
            for one in request["TargetLocations"]
        ]
        told = {key: request[key] for key in (*_TOLD, "TargetLocations") if key in request}
        return self._fan_out(location, begun, parts, rates, told, request, "CrossAccount", None)

    def _fan_out(
        self, location: Location, begun: ExecutionRecord, parts: list[Part], rates: list[Rate],
        told: Mapping[str, Any], request: Mapping[str, Any], kind: str, parent: str | None,
    ) -> FanOut:  # fmt: skip
        return FanOut(location, begun, parts, rates, told, tuple(request.get("Tags", ())), kind, self._clock.now,
                      self._clock.after, self._close, parent)  # fmt: skip

    def _reach(self, place: Location, inner: Mapping[str, Any], caller: str, parent: str) -> Execution | FanOut:
        why = self.unreachable(place)
        if why:
            raise Refusal("AccessDenied", why)
        return self._begin(place, inner, caller, parent)

    def _places(self, wanted: Mapping[str, Any]) -> list[Location]:
        """The account-Regions of a TargetLocation, account by account, without those that are excluded."""
        left_out = {account for name in wanted.get("ExcludeAccounts", ()) for account in self.units.get(name, (name,))}
        if unknown := [name for name in wanted["Accounts"] if not name.isdigit() and name not in self.units]:
            raise Refusal("InvalidTarget", f"The organizational unit {unknown[0]} was not found")
        accounts = dict.fromkeys(each for name in wanted["Accounts"] for each in self.units.get(name, (name,)))
        return [
            Location(account, region) for account in accounts if account not in left_out for region in wanted["Regions"]
        ]

    def _resolved(self, location: Location, target: Mapping[str, Any]) -> list[str]:
        """The nodes that a target names here; stopped ones too."""
        key, values = target["Key"], target["Values"]
        if key == "ParameterValues":
            return list(values)
        there = [machine for machine in self._fleet.at(location) if machine.state != "terminated"]
        if key in ("InstanceIds", "AWS::EC2::Instance"):
            there = [machine for machine in there if key == "InstanceIds" or not machine.hybrid]
            return [machine.node.id for machine in there if values == ["*"] or machine.node.id in values]
        if key == "ResourceGroup":
            if values[0] not in self.groups:
                raise Refusal("InvalidTarget", f"The resource group {values[0]} was not found")
            key, values = f"tag:{self.groups[values[0]][0]}", self.groups[values[0]][1]
        if not key.startswith("tag:"):
            raise NotServed(f"StartAutomationExecution with the target {key}")
        tagged = [machine for machine in there if machine.tags.get(key.removeprefix("tag:")) in values]
        # our runbooks' target type is the EC2 instance, so a tag names no hybrid node; a group names what is in it
        return [machine.node.id for machine in tagged if target["Key"] == "ResourceGroup" or not machine.hybrid]

    def stop(self, location: Location, execution: str, kind: str) -> None:
        """StopAutomationExecution. `Complete` lets the current step end, which the simulator does not do."""
        found = self.find(location, execution)
        if kind == "Complete":
            raise NotServed("StopAutomationExecution Type=Complete")
        if found.over:
            message = f"Automation execution {execution} is in status {found.record.status}"
            raise Refusal("InvalidAutomationStatusUpdateException", message)
        if isinstance(found, FanOut):
            found.cancel()
            return
        found.run.cancel()
        self._advance(found, found.turn)

    def _remembered(self, location: Location, token: str) -> _Token | None:
        earlier = self._tokens.get((location, token)) if token else None
        memory = self.limits.token_memory
        if earlier and memory is not None and self._clock.now() - earlier.given_at > memory:
            return None
        return earlier

    def _check(self, location: Location, request: Mapping[str, Any]) -> None:
        if asked := [name for name in _NOT_SERVED if request.get(name)]:
            raise NotServed(f"StartAutomationExecution with {', '.join(asked)}")
        if bool(request.get("Targets")) != ("TargetParameterName" in request):
            raise _bad_parameters("Targets and TargetParameterName need each other")
        if not request.get("Targets") and ("MaxConcurrency" in request or "MaxErrors" in request):
            raise _bad_parameters("MaxConcurrency and MaxErrors need Targets and TargetParameterName")
        if any(one.get("Targets") for one in request.get("TargetLocations", ())):
            raise NotServed("StartAutomationExecution with Targets of a TargetLocation")
        if len(request.get("Tags", [])) > MOST_TAGS:
            raise _bad_parameters(f"an execution takes at most {MOST_TAGS} tags")
        if self._running[location] >= self.limits.automations:
            message = "The number of concurrently running automations has exceeded the limit"
            raise Refusal("AutomationExecutionLimitExceededException", message)

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
        self._close(execution)
        for call in execution.watchers:
            call()

    def _close(self, execution: Execution | FanOut) -> None:
        self._running[execution.location] -= execution.parent is None
        at = self._clock.now() + timedelta(seconds=1)
        self._emit(automation_status(self._names.uuid("event"), execution.location, execution.to_api(), at), at)

    def _tell_steps(self, execution: Execution) -> None:
        told, now = execution.to_api(), self._clock.now()
        for step in told["StepExecutions"]:
            if step["StepStatus"] in STEP_OVER and step["StepName"] not in execution.steps_told:
                execution.steps_told.add(step["StepName"])
                name = self._names.uuid("event")
                self._emit(automation_step_status(name, execution.location, told, step, now), now)

    def _forgotten(self, execution: Execution | FanOut) -> bool:
        ended_at = execution.record.ended_at
        return ended_at is not None and self._clock.now() - ended_at > HISTORY


@lru_cache(maxsize=64)
def _loaded(text: str) -> Runbook:
    """A runbook does not change, and every simulation of a process publishes the same few."""
    return Runbook.load(text)


def _same(earlier: _Token, said: str) -> str:
    """A replay gets the execution that it started; the same token with another request is refused."""
    if earlier.request != said:
        raise Refusal("IdempotentParameterMismatch", "The specified client token was used with other parameters")
    return earlier.execution


def _bad_parameters(why: str) -> Refusal:
    return Refusal("InvalidAutomationExecutionParametersException", why)
