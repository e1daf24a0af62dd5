"""Remediations: the remediation actions of Config rules, the executions they start, and the exceptions Config makes.

https://docs.aws.amazon.com/config/latest/developerguide/remediation.html
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.automations import Automations
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Evaluation
from patchwarden.simulator.refusals import Refusal

STATES = {"Success": "SUCCEEDED", "Pending": "QUEUED", "InProgress": "IN_PROGRESS", "Cancelling": "IN_PROGRESS"}
STEP_STATES = {"Success": "SUCCEEDED", "Pending": "PENDING", "InProgress": "IN_PROGRESS", "Failed": "FAILED"}
LOOK = timedelta(minutes=1)
AGAIN = timedelta(minutes=5)
"""How often Config looks at an execution, and when it tries again; AWS names no figures."""

DEFAULT_ATTEMPTS, DEFAULT_WITHIN = 5, 60
Configuration = Mapping[str, Any]


@dataclass(slots=True)
class Attempts:
    """What Config did about one resource under one rule: its last execution, and when earlier ones had failed."""

    execution: str
    invoked_at: datetime
    failed_at: list[datetime] = field(default_factory=list)


class Remediations:
    """Config's remediation in every account and Region. One exception for a resource stops all automatic attempts."""

    def __init__(
        self, clock: VirtualClock, automations: Automations, results: Callable[[Location], Iterator[Evaluation]]
    ) -> None:
        self.configurations: dict[Location, dict[str, Configuration]] = defaultdict(dict)
        self.exceptions: dict[Location, dict[tuple[str, str], str]] = defaultdict(dict)
        self._attempts: dict[Location, dict[tuple[str, str], Attempts]] = defaultdict(dict)
        self._clock = clock
        self._automations = automations
        self._results = results

    def put(self, location: Location, configuration: Configuration) -> None:
        """Keep it; an automatic one speaks for what is non-compliant already."""
        name = configuration["ConfigRuleName"]
        self.configurations[location][name] = configuration
        for result in list(self._results(location)) if configuration.get("Automatic") else ():
            if result.rule.name == name:
                self.evaluated(result)

    def evaluated(self, result: Evaluation) -> None:
        """A result stands: an automatic remediation starts where it says NON_COMPLIANT."""
        configured = self.configurations[result.node.location].get(result.rule.name, {})
        if configured.get("Automatic") and result.compliance == "NON_COMPLIANT":
            self._automatic(result.node.location, result.rule.name, result.resource_id)

    def start(self, location: Location, rule: str, resource: str) -> None:
        """Start the rule's document for one resource; a Refusal where Systems Manager refuses."""
        configured = self.configurations[location].get(rule)
        if configured is None:
            raise Refusal("NoSuchRemediationConfigurationException", f"No RemediationConfiguration for rule {rule}")
        parameters = {name: _values(given, resource) for name, given in configured.get("Parameters", {}).items()}
        version = configured.get("TargetVersion")
        asked = {"DocumentName": configured["TargetId"], "Parameters": parameters}
        started = self._automations.start(location, asked | ({"DocumentVersion": version} if version else {}),
                                          f"arn:aws:iam::{location.account}:role/config-remediation")  # fmt: skip
        before = self._attempts[location].get((rule, resource))
        made = Attempts(started, self._clock.now(), before.failed_at if before else [])
        self._attempts[location][rule, resource] = made
        self._clock.after(LOOK.total_seconds(), lambda: self._look(location, rule, resource, started))

    def status(self, location: Location, rule: str) -> Iterator[dict[str, Any]]:
        """The RemediationExecutionStatus of every resource that was tried under the rule."""
        for (name, resource), made in self._attempts[location].items():
            if name == rule:
                told = self._automations.find(location, made.execution).to_api()
                yield {"ResourceKey": {"resourceType": _type(resource), "resourceId": resource},
                       "State": STATES.get(told["AutomationExecutionStatus"], "FAILED"),
                       "StepDetails": [_step(step) for step in told["StepExecutions"]],
                       "InvocationTime": made.invoked_at, "LastUpdatedTime": self._clock.now()}  # fmt: skip

    def _automatic(self, location: Location, rule: str, resource: str) -> None:
        made = self._attempts[location].get((rule, resource))
        running = made and not self._automations.find(location, made.execution).over
        if not running and (rule, resource) not in self.exceptions[location]:
            self.start(location, rule, resource)

    def _look(self, location: Location, rule: str, resource: str, execution: str) -> None:
        found = self._automations.find(location, execution)
        if not found.over:
            self._clock.after(LOOK.total_seconds(), lambda: self._look(location, rule, resource, execution))
        elif found.to_api()["AutomationExecutionStatus"] != "Success":
            self._failed(location, rule, resource)

    def _failed(self, location: Location, rule: str, resource: str) -> None:
        """After too many failures within the time an exception; else, while it is non-compliant, another attempt."""
        configured, now = self.configurations[location][rule], self._clock.now()
        if not configured.get("Automatic"):
            return
        within = timedelta(seconds=configured.get("RetryAttemptSeconds", DEFAULT_WITHIN))
        made = self._attempts[location][rule, resource]
        made.failed_at = [*(at for at in made.failed_at if now - at <= within), now]
        if len(made.failed_at) >= configured.get("MaximumAutomaticAttempts", DEFAULT_ATTEMPTS):
            made.failed_at = []
            self.exceptions[location][rule, resource] = "Added by AWS Config: too many failed remediation attempts"
            return
        self._clock.after(AGAIN.total_seconds(), lambda: self._again(location, rule, resource))

    def _again(self, location: Location, rule: str, resource: str) -> None:
        for result in list(self._results(location)):
            if result.rule.name == rule and result.resource_id == resource:
                self.evaluated(result)


def _values(given: Mapping[str, Any], resource: str) -> list[str]:
    return [resource] if "ResourceValue" in given else list(given["StaticValue"]["Values"])


def _type(resource: str) -> str:
    """Config's type of what the patch rule speaks about."""
    return "AWS::SSM::PatchCompliance" if "/" in resource else "AWS::SSM::ManagedInstanceInventory"


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    told = {"Name": step["StepName"], "State": STEP_STATES.get(step["StepStatus"], "EXITED")}
    late = {"ErrorMessage": step.get("FailureMessage"), "StartTime": step.get("ExecutionStartTime"),
            "StopTime": step.get("ExecutionEndTime")}  # fmt: skip
    return told | {key: value for key, value in late.items() if value is not None}
