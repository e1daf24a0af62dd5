"""Config's remediation action: Config starts our runbook, we decide and act, and Config's status tells the truth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from chalicelib import wiring
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.policy_store import Fixed
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation, State
from chalicelib.dispatch import dispatch
from chalicelib.intake import request
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from patchwarden.cli import cli
from patchwarden.simulator.automations import Execution
from patchwarden.simulator.bus import Weather
from patchwarden.simulator.events import PATCH_RULE, Event
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.runbook_world import RunbookWorld
from patchwarden.simulator.simulation import Simulation, simulate
from tests.sets import policy, policy_set

FUNCTION = "arn:aws:lambda:eu-central-1:111122223333:function:patchwarden-prod-remediate"
SILENT = Weather(dropped=1.0)
"""Every event is lost: what happens, Config's remediation action made happen."""


@dataclass
class Organisation:
    """A hub with the real verbs, and the account in which Config remediates."""

    policies: PolicySet
    automatic: bool = False
    attempts: int = 1
    heard: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sim: Simulation = simulate(self.heard.append, nodes=40, weather=SILENT)
        settings = wiring.Settings(sqlite=":memory:", hub_account=ACCOUNTS[0], config_rules=PATCH_RULE)
        built = wiring.build(settings, session=self.sim.session, clock=self.sim.clock, quiet=True)
        self.ports: Ports = replace(built, ledger=MemoryLedger(), policies=Fixed(self.policies))
        world = self.sim.aws.automations.world
        assert isinstance(world, RunbookWorld)
        world.functions[FUNCTION] = lambda payload: request(self.ports, payload).to_json()
        self.machine: Machine = next(
            one for one in self.sim.fleet.machines.values()
            if one.node.account == ACCOUNTS[0] and one.online and not one.hybrid and one.parts <= {"new"}
        )  # fmt: skip
        self.sim.life.turn_noncompliant()
        self.pass_hours(2)
        self.config = self.sim.session(ACCOUNTS[0], self.machine.node.region).client("config")
        self.config.put_remediation_configurations(RemediationConfigurations=[self._configuration()])

    def _configuration(self) -> dict[str, Any]:
        role = f"arn:aws:iam::{ACCOUNTS[0]}:role/patchwarden-automation"
        return {
            "ConfigRuleName": PATCH_RULE, "TargetType": "SSM_DOCUMENT", "Automatic": self.automatic,
            "TargetId": "Patchwarden-RemediateFromConfig", "ResourceType": "AWS::SSM::PatchCompliance",
            "MaximumAutomaticAttempts": self.attempts, "RetryAttemptSeconds": 86400,
            "Parameters": {
                "ResourceId": {"ResourceValue": {"Value": "RESOURCE_ID"}},
                "FunctionArn": {"StaticValue": {"Values": [FUNCTION]}},
                "AutomationAssumeRole": {"StaticValue": {"Values": [role]}},
            },
        }  # fmt: skip

    @property
    def key(self) -> dict[str, str]:
        resource = f"AWS::SSM::ManagedInstanceInventory/{self.machine.node.id}"
        return {"resourceType": "AWS::SSM::PatchCompliance", "resourceId": resource}

    def remediate(self) -> None:
        """Somebody presses Remediate in Config."""
        answer = self.config.start_remediation_execution(ConfigRuleName=PATCH_RULE, ResourceKeys=[self.key])
        assert not answer.get("FailedItems")

    def pass_hours(self, hours: float, *, serving: bool = False) -> None:
        """Time passes; if `serving`, with dispatch every five minutes, and a sweep and the events of the executions."""
        end, minute = self.sim.clock.now() + timedelta(hours=hours), 0
        while self.sim.clock.now() < end:
            self.sim.clock.run_until(self.sim.clock.now() + timedelta(minutes=5))
            minute += 5
            if serving:
                dispatch(self.ports)
                if minute % 15 == 0:
                    sweep(self.ports)

    def made_compliant(self) -> None:
        """Somebody patches the node by hand, and the daily scan finds it compliant."""
        self.machine.patch(self.sim.clock.now())
        self.machine.reboot()
        self.sim.aws.commands.scan(self.machine)
        self.pass_hours(1)

    def told(self) -> dict[str, Any]:
        """Config's own status of the remediation of the node."""
        answer = self.config.describe_remediation_execution_status(ConfigRuleName=PATCH_RULE, ResourceKeys=[self.key])
        return dict(answer["RemediationExecutionStatuses"][0])

    def why(self) -> str:
        return " ".join(step.get("ErrorMessage", "") for step in self.told()["StepDetails"])

    def exceptions(self) -> list[str]:
        answer = self.config.describe_remediation_exceptions(ConfigRuleName=PATCH_RULE)
        return [one["ResourceId"] for one in answer["RemediationExceptions"]]

    def asked(self) -> int:
        location = self.machine.node.location
        return sum(
            isinstance(one, Execution)
            and one.run.record.document == "Patchwarden-RemediateFromConfig"
            and one.run.record.parameters["ResourceId"] == [self.key["resourceId"]]
            for one in self.sim.aws.automations.known(location)
        )

    @property
    def state(self) -> State:
        return self.case.state

    @property
    def case(self) -> Remediation:
        found = self.ports.ledger.head(remediation_id(self.machine.node, Control.PATCH))
        assert found
        return found


def quiet_set(**given: Any) -> PolicySet:
    """A policy for everything, in an organisation of which the service reads one place at a time."""
    scope = {"accounts": [ACCOUNTS[0]], "regions": list(REGIONS)}
    return policy_set(policy(**given), scope=scope)


def test_config_shows_succeeded_only_after_the_scan_that_proved_it() -> None:
    there = Organisation(quiet_set())
    there.remediate()
    there.sim.clock.run_until(there.sim.clock.now() + timedelta(minutes=2))
    assert there.state.value == "queued"
    trail = there.ports.ledger.trail(there.case.id)
    assert trail[0].actor.startswith("request by AWS Config, execution ")
    states = set()
    for _ in range(60):
        there.pass_hours(0.25, serving=True)
        states.add((there.state.value == "resolved", there.told()["State"]))
        if there.told()["State"] == "SUCCEEDED":
            break
    assert (False, "SUCCEEDED") not in states
    assert (False, "IN_PROGRESS") in states
    assert there.told()["State"] == "SUCCEEDED" and there.state.value == "resolved"
    assert there.machine.report is not None and there.machine.report.compliant


OTHERWISE: dict[str, tuple[dict[str, Any], State, str]] = {
    "wait": ({"window": "saturday"}, State.WAITING, "Patchwarden says waiting until 2026-"),
    "ticket": ({"action": "ticket"}, State.TICKETED, "Patchwarden says ticketed: all-now: the policy all-now"),
    "approve": ({"action": "approve"}, State.TICKETED, "waits for an approval"),
    "observe": ({"action": "observe", "band": "default"}, State.OPEN, "Patchwarden says observed: all-now"),
    "exempt": (
        {"action": "exempt", "expires": "2027-06-01T00:00:00Z", "reason": "a vendor's machine",
         "approved": {"by": "a@example.com", "on": "2026-11-01", "ticket": "SEC-1"}},
        State.EXEMPT, "Patchwarden says exempt until 2027-06-01T00:00:00.000Z: all-now",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_decision_is_told_as_such_and_tried_once(name: str) -> None:
    given, state, sentence = OTHERWISE[name]
    there = Organisation(quiet_set(**given), automatic=True)
    there.pass_hours(6)
    assert there.case.state is state
    assert there.told()["State"] == "FAILED" and sentence in there.why()
    assert there.asked() == 1
    assert there.key["resourceId"] in there.exceptions()
    assert there.case.execution is None


def test_an_exception_of_configs_is_taken_back_when_the_node_is_proved_compliant() -> None:
    there = Organisation(quiet_set(window="saturday"), automatic=True)
    there.pass_hours(1)
    assert there.key["resourceId"] in there.exceptions()
    there.ports = replace(there.ports, policies=Fixed(quiet_set()))
    sweep(there.ports)
    assert there.key["resourceId"] in there.exceptions()
    there.made_compliant()
    sweep(there.ports)
    assert there.case.state is State.RESOLVED
    assert there.key["resourceId"] not in there.exceptions()
    assert there.exceptions(), "the other nodes wait on"


def test_more_attempts_than_one_would_be_a_loop_of_failures() -> None:
    there = Organisation(quiet_set(action="ticket"), automatic=True, attempts=3)
    there.pass_hours(6)
    assert there.asked() == 3
    assert there.key["resourceId"] in there.exceptions()


def test_a_node_outside_the_scope_is_refused_with_the_remedy() -> None:
    there = Organisation(policy_set(scope={"accounts": ["999900001111"], "regions": list(REGIONS)}))
    there.remediate()
    there.pass_hours(1)
    assert there.told()["State"] == "FAILED"
    assert "Patchwarden refused" in there.why() and "add account and Region there" in there.why()


def test_a_compliant_node_is_no_reason_to_install_anything() -> None:
    there = Organisation(quiet_set())
    there.made_compliant()
    before = len(there.sim.aws.commands.sent(there.machine.node.location))
    there.remediate()
    there.pass_hours(1, serving=True)
    assert there.told()["State"] == "SUCCEEDED" and there.state.value == "resolved"
    mine = [one for one in there.sim.aws.commands.sent(there.machine.node.location)[:-before or None]
            if there.machine.node.id in one.nodes]  # fmt: skip
    assert mine == []


def test_the_waiting_ends_before_the_runbooks_twelve_hours() -> None:
    there = Organisation(quiet_set())
    there.remediate()
    there.pass_hours(12)
    assert there.told()["State"] == "FAILED" and "Patchwarden says pending" in there.why()


def test_the_command_line_lists_the_exceptions_with_our_state_beside_them() -> None:
    there = Organisation(quiet_set(window="saturday"), automatic=True)
    there.pass_hours(1)
    wiring.use(there.ports)
    try:
        region = there.machine.node.region
        answer = CliRunner().invoke(cli, ["config", "exceptions", "--region", region, "-o", "json"])
        there.sim.aws.deny(ACCOUNTS[0], "config")
        blind = CliRunner().invoke(cli, ["config", "exceptions"])
    finally:
        wiring.use(None)
    assert answer.exit_code == 0, answer.output
    listed = {one["node"]: one for one in json.loads(answer.stdout)["exceptions"]}
    mine = listed[str(there.machine.node)]
    assert (mine["state"], mine["rule"], mine["until"]) == ("waiting", PATCH_RULE, None)
    assert mine["because"]
    assert blind.exit_code == 3 and "could not be asked" in blind.output
