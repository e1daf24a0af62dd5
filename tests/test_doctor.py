"""The doctor: nothing to say of what is well, and for every fault one remark with its place and its remedy."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from moto import mock_aws

from chalicelib import pause, wiring
from chalicelib.adapters.accounts import Refusal as Denial
from chalicelib.adapters.dynamodb import TABLE
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.policy_store import Fixed
from chalicelib.core.baselines import Baseline, kept, operating_system, token
from chalicelib.core.errors import PolicyError
from chalicelib.core.events import EVENT_PATTERNS
from chalicelib.core.nodes import Location
from chalicelib.core.policies import PolicySet
from chalicelib.core.publications import Act, publication
from chalicelib.ports import Ports
from patchwarden import doctor
from patchwarden.cli import cli
from patchwarden.doctor import roles
from patchwarden.doctor.config_rules import config_rule
from patchwarden.doctor.hub import Hub
from patchwarden.doctor.members import CHECKS, RECORDED, UNDELIVERED, examine
from patchwarden.doctor.quotas import ADAPTIVE
from patchwarden.doctor.remarks import Asks, Patient, Reach, Remark
from patchwarden.simulator.fleet import ACCOUNTS
from patchwarden.simulator.refusals import Refusal
from patchwarden.simulator.setup import RECORDER
from patchwarden.simulator.simulation import Simulation, simulate
from tests.sets import policy_set

PASSED_ON: Any = {"core": {"passthrough": {"services": ["ssm", "config", "ec2", "sts", "iam", "servicequotas"]}}}
OTHER = "pb-0ffffffffffffffff"
BUS = "arn:aws:events:eu-west-1:111122223333:event-bus/patchwarden-prod"
SETTINGS = wiring.Settings(sqlite=":memory:", external_id="ours", hub_account=ACCOUNTS[0])


@dataclass
class Undated:
    """A reach whose answers say nothing of the time."""

    whole: Reach

    def call(self, location: Location, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return {**self.whole.call(location, service, operation, **parameters), "ResponseMetadata": {}}

    def pages(self, location: Location, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        return self.whole.pages(location, service, operation, **parameters)


@dataclass
class Clinic:
    """A healthy member account, and the doctor who looks at it."""

    sim: Simulation
    place: Location
    behind: timedelta = timedelta()
    asks: Asks = field(default_factory=lambda: Asks(executions=10, schedules=("weekly",)))
    dated: bool = True

    def patient(self, place: Location | None = None, *, hub: bool = False) -> Patient:
        here = {"session": self.sim.session, "clock": self.sim.clock, "attempts": 1}
        reach = wiring.reach(SETTINGS, **here)  # type: ignore[arg-type]
        stranger = wiring.reach(replace(SETTINGS, external_id=None), **here)  # type: ignore[arg-type]
        asking: Reach = reach if self.dated else Undated(reach)
        return Patient(
            place or self.place, asking, stranger, self._now, self.sim.clock.sleep, SETTINGS.role, hub=hub,
            asks=self.asks, home=Location(ACCOUNTS[0], "eu-west-1"),
            baselines=wiring.baselines(SETTINGS, session=self.sim.session, time=self.sim.clock),
        )  # fmt: skip

    def _now(self) -> datetime:
        return self.sim.clock.now() + self.behind

    def remarks(self) -> list[Remark]:
        return list(examine(self.patient()))

    def faults(self) -> list[Remark]:
        return [one for one in self.remarks() if one.level != "ok"]

    def the(self, service: str) -> Any:
        session: Any = self.sim.session(self.place.account, self.place.region)
        return session.client(service)


@pytest.fixture
def clinic() -> Iterator[Clinic]:
    with mock_aws(config=PASSED_ON):
        sim = simulate(lambda event: None, nodes=24)
        place = next(one for one in sim.fleet.locations if one.account != ACCOUNTS[0])
        found = Clinic(sim, place)
        sim.aws.setup.external_id = "ours"
        for machine in sim.fleet.at(place):
            if machine.state != "terminated":
                machine.state, machine.agent = "running", True
        found.the("sqs").create_queue(QueueName=UNDELIVERED)
        events = found.the("events")
        for handler, pattern in EVENT_PATTERNS.items():
            name = f"patchwarden-{handler.replace('_', '-')}"
            events.put_rule(Name=name, EventPattern=json.dumps(pattern), State="ENABLED")
            target = {"Id": "hub", "Arn": BUS, "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:1:undelivered"}}
            events.put_targets(Rule=name, Targets=[target])
        yield found


Break = Callable[[Clinic], object]


def test_of_a_healthy_member_there_is_nothing_to_say(clinic: Clinic) -> None:
    assert clinic.faults() == []
    checked = {one.check for one in clinic.remarks()}
    assert checked == {"role", "clock", "trust", "roles", "permissions", "runbooks", "rules", "queues", "recorder",
                       "config-rule", "nodes", "baselines", "concurrency", "quotas"}  # fmt: skip


def _newer_is_not_the_default(clinic: Clinic) -> None:
    """https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/2539"""
    one = (clinic.place, "Patchwarden-PatchNodes")
    clinic.sim.aws.setup.newest[one] = clinic.sim.aws.automations.text("Patchwarden-PatchNodes") or ""
    clinic.sim.aws.setup.documents[one] = '{"schemaVersion": "0.3", "mainSteps": []}'


def _as_texts(value: Any) -> Any:
    match value:
        case dict():
            return {name: _as_texts(each) for name, each in value.items()}
        case list():
            return [_as_texts(each) for each in value]
        case bool():
            return str(value).lower()
    return str(value)


def test_a_runbook_whose_numbers_became_texts_on_the_way_is_ours(clinic: Clinic) -> None:
    """CloudFormation may hand on the numbers and booleans of an object as texts, and Systems Manager takes both."""
    one = (clinic.place, "Patchwarden-PatchNodes")
    text = clinic.sim.aws.automations.text(one[1]) or ""
    clinic.sim.aws.setup.documents[one] = json.dumps(_as_texts(yaml.safe_load(text)))
    assert [each.what for each in clinic.faults() if each.check == "runbooks"] == []


def _remediated(**given: Any) -> Break:
    """The rule has a remediation action, with Config's own defaults for what is not given."""

    def put(clinic: Clinic) -> None:
        rules = [one for one in clinic.sim.aws.compliance.rules(clinic.place) if "patch-compliance" in one.name]
        rule = next(one.name for one in rules if "/aws-service-rule/" not in one.arn)
        action = {"ConfigRuleName": rule, "TargetType": "SSM_DOCUMENT", "TargetId": "Patchwarden-RemediateFromConfig",
                  "Parameters": {"AutomationAssumeRole": {"StaticValue": {"Values": ["arn"]}}}, **given}  # fmt: skip
        clinic.sim.aws.remediations.configurations[clinic.place][rule] = action

    return put


def test_our_action_that_config_starts_once_is_well(clinic: Clinic) -> None:
    _remediated(Automatic=True, MaximumAutomaticAttempts=1)(clinic)
    assert clinic.faults() == []


def _agent(clinic: Clinic) -> None:
    machine = next(one for one in clinic.sim.fleet.at(clinic.place) if one.state == "running")
    clinic.sim.aws.setup.agents[machine.node.id] = "2.3.1550.0"


def _silent(clinic: Clinic) -> None:
    next(one for one in clinic.sim.fleet.at(clinic.place) if one.state == "running").agent = False


def _measured_by_another(clinic: Clinic) -> None:
    for machine in clinic.sim.fleet.at(clinic.place):
        machine.group = ""
        machine.scan(clinic.sim.clock.now(), clinic.sim.clock.now())
        system = operating_system(machine.platform.name, machine.platform.version)
        assert system, machine.platform
        clinic.sim.aws.setup.baselines[clinic.place, system] = (
            "arn:aws:ssm:eu-west-1:1:patchbaseline/pb-0ffffffffffffffff"
        )


def _record(clinic: Clinic, **changes: Any) -> None:
    clinic.sim.aws.setup.recorders[clinic.place] = {**RECORDER, **changes}


def _recorded_daily(clinic: Clinic) -> None:
    override = {"resourceTypes": [RECORDED[1]], "recordingFrequency": "DAILY"}
    _record(clinic, recordingMode={"recordingFrequency": "CONTINUOUS", "recordingModeOverrides": [override]})


def _other_pattern(clinic: Clinic) -> None:
    clinic.the("events").put_rule(Name="patchwarden-on-execution", EventPattern=json.dumps({"source": ["aws.s3"]}))


def _no_bus(clinic: Clinic) -> None:
    events = clinic.the("events")
    events.remove_targets(Rule="patchwarden-on-execution", Ids=["hub"])
    events.put_targets(Rule="patchwarden-on-execution", Targets=[{"Id": "x", "Arn": "arn:aws:sqs:eu-west-1:1:x"}])


def _no_dead_letters(clinic: Clinic) -> None:
    clinic.the("events").put_targets(Rule="patchwarden-on-execution", Targets=[{"Id": "hub", "Arn": BUS}])


def _no_rule(clinic: Clinic) -> None:
    events = clinic.the("events")
    events.remove_targets(Rule="patchwarden-on-execution", Ids=["hub"])
    events.delete_rule(Name="patchwarden-on-execution")


def _letter(clinic: Clinic) -> None:
    sqs = clinic.the("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName=UNDELIVERED)["QueueUrl"], MessageBody="{}")


def _no_queue(clinic: Clinic) -> None:
    sqs = clinic.the("sqs")
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=UNDELIVERED)["QueueUrl"])


def _asks(**changes: Any) -> Break:
    return lambda clinic: setattr(clinic, "asks", replace(clinic.asks, **changes))


def _quota(name: str, value: float) -> Break:
    return lambda clinic: clinic.sim.aws.setup.quotas.update({(clinic.place, name): value})


def _role(name: str, trust: dict[str, Any] | None) -> Break:
    return lambda clinic: clinic.sim.aws.setup.roles.update({(clinic.place.account, name): trust})


TRUSTS_EC2 = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
CONTENT = {"Name": "ours", "ApprovedPatches": ["KB1"]}


def _apply_ours(clinic: Clinic, *, but: str = "") -> dict[str, str]:
    """A baseline of ours for every system there, but one, is the default and was scanned with. Their ids by system."""
    port = clinic.patient().baselines
    assert port is not None
    machines = clinic.sim.fleet.at(clinic.place)
    named = {str(operating_system(one.platform.name, one.platform.version)) for one in machines}
    wanted = [Baseline(one.lower(), one, CONTENT, (), True, (clinic.place,)) for one in sorted(named - {but})]
    ids = {}
    for number, one in enumerate(wanted):
        ids[one.os] = port.create(clinic.place, one, token(clinic.place, one, number))
        port.make_default(clinic.place, ids[one.os])
    for machine in machines:
        machine.scan(clinic.sim.clock.now(), clinic.sim.clock.now())
    _asks(kept=kept(wanted, port.seen(clinic.place)), baselines="warn")(clinic)
    return ids


def _changed(clinic: Clinic) -> None:
    id = min(_apply_ours(clinic).values())
    clinic.the("ssm").update_patch_baseline(BaselineId=id, ApprovedPatches=["KB2"])


def _gone(clinic: Clinic) -> None:
    _apply_ours(clinic)
    entry = clinic.asks.kept
    assert entry is not None
    known = {"baseline": OTHER, "os": "DEBIAN", "digest": "", "default": True, "groups": []}
    _asks(kept={"baselines": {**entry["baselines"], "lost": known}})(clinic)


def _default_taken(clinic: Clinic) -> None:
    _apply_ours(clinic)
    ssm = clinic.the("ssm")
    other = ssm.create_patch_baseline(Name="theirs", OperatingSystem="AMAZON_LINUX_2023")["BaselineId"]
    ssm.register_default_patch_baseline(BaselineId=other)


def _group_taken(clinic: Clinic) -> None:
    _apply_ours(clinic)
    entry = clinic.asks.kept
    assert entry is not None
    (id, one), *others = entry["baselines"].items()
    _asks(kept={"baselines": {id: {**one, "groups": ["prod"]}, **dict(others)}})(clinic)


def _not_scanned_with_ours(clinic: Clinic) -> None:
    _apply_ours(clinic)
    machine = next(one for one in clinic.sim.fleet.at(clinic.place) if one.report)
    machine.baseline = OTHER
    machine.scan(clinic.sim.clock.now(), clinic.sim.clock.now())


def _no_node(clinic: Clinic) -> None:
    for machine in clinic.sim.fleet.at(clinic.place):
        machine.report = None
    clinic.sim.fleet._places[clinic.place].clear()


def _refuse(*actions: str) -> Break:
    return lambda clinic: clinic.sim.aws.setup.refused.update((clinic.place.account, one) for one in actions)


FAULTS: dict[str, tuple[Break, str, str, str, str]] = {
    "role": (lambda it: it.sim.aws.deny(it.place.account, "sts"), "role", "wrong",
             "the role patchwarden-member cannot be taken on", "HubAccount and ExternalId"),
    "external id": (lambda it: setattr(it.sim.aws.setup, "external_id", "theirs"), "role", "wrong",
                    "cannot be taken on", "HubAccount and ExternalId"),
    "trust": (lambda it: setattr(it.sim.aws.setup, "external_id", None), "trust", "wrong",
              "can be taken on without the external id", "sts:ExternalId"),
    "clock": (lambda it: setattr(it, "behind", timedelta(minutes=7)), "clock", "wrong",
              "clock is 7 min 0 s ahead and off AWS's", "NTP"),
    "start": (_refuse("ssm:StartAutomationExecution"), "permissions", "wrong",
              "may not ssm:StartAutomationExecution on Patchwarden-PatchNodes", "deploy the member role"),
    "read": (_refuse("ssm:DescribeInstancePatches"), "permissions", "wrong", "may not ssm:DescribeInstancePatches",
             "deploy the member role"),
    "runbook gone": (lambda it: it.sim.aws.setup.documents.update({(it.place, "Patchwarden-PatchNodes"): None}),
                     "runbooks", "wrong", "Patchwarden-PatchNodes is not there", "Runbooks=yes"),
    "runbook not the default": (
        _newer_is_not_the_default,
        "runbooks", "wrong", "ours is version 2 of Patchwarden-PatchNodes, but version 1 is the default",
        "make it the default"),
    "runbook swapped": (
        lambda it: it.sim.aws.setup.documents.update({(it.place, "Patchwarden-PatchNodes"): '{"mainSteps": []}'}),
        "runbooks", "wrong", "Patchwarden-PatchNodes version 1 is not what this release holds", "of this release"),
    "rule disabled": (lambda it: it.the("events").disable_rule(Name="patchwarden-on-execution"), "rules", "wrong",
                      "patchwarden-on-execution is disabled", "enable it"),
    "rule gone": (_no_rule, "rules", "wrong", "there is no rule patchwarden-on-execution", "ForwardEvents=yes"),
    "rule swapped": (_other_pattern, "rules", "wrong", "listens for something else", "of this release"),
    "rule without bus": (_no_bus, "rules", "wrong", "no event bus as its target", "HubBusArn"),
    "rule without dead letters": (_no_dead_letters, "rules", "warning", "could not deliver", "deploy/member.yaml"),
    "no recorder": (lambda it: it.sim.aws.setup.recorders.update({it.place: None}), "recorder", "wrong",
                    "there is no recorder", "switch it on"),
    "recorder off": (lambda it: it.sim.aws.setup.stopped.add(it.place), "recorder", "wrong", "default is off",
                     "start it"),
    "not recorded": (lambda it: _record(it, recordingGroup={"allSupported": False, "resourceTypes": [RECORDED[0]]}),
                     "recorder", "wrong", "the recorder does not record AWS::SSM::PatchCompliance, AWS::SSM::Ass",
                     "switch it on"),
    "excluded": (
        lambda it: _record(it, recordingGroup={"exclusionByResourceTypes": {"resourceTypes": [RECORDED[1]]}}),
        "recorder", "wrong", "does not record AWS::SSM::PatchCompliance", "switch it on"),
    "daily": (_recorded_daily, "recorder", "warning",
              "AWS::SSM::PatchCompliance: recorded once a day, so events come up to 24 h late", "CONTINUOUS"),
    "no config rule": (lambda it: it.sim.aws.setup.without_rule.add(it.place), "config-rule", "wrong",
                       "no rule EC2_MANAGEDINSTANCE_PATCH_COMPLIANCE_STATUS_CHECK", "ConfigRule=yes"),
    "another action": (_remediated(TargetId="Example-PatchAtOnce"), "config-rule", "wrong",
                       "is remediated by Example-PatchAtOnce, which no policy, window or pause holds", "take it away"),
    "an action without end": (_remediated(Automatic=True), "config-rule", "wrong",
                              "starts our runbook up to 5 times within 60 seconds", "ConfigRemediation=yes"),
    "agent": (_agent, "agents", "warning", "agent older than 3.0.502", "update the agent"),
    "silent": (_silent, "nodes", "warning", "not checking in", "start the node"),
    "baseline": (_measured_by_another, "baselines", "warning",
                 "nodes were measured by another baseline than the default", "what else scans them"),
    "concurrency": (lambda it: it.sim.aws.setup.settings.update({(it.place, ADAPTIVE): "False"}), "concurrency",
                    "warning", "adaptive concurrency is off", "switch it on"),
    "clock without a date": (lambda it: setattr(it, "dated", False), "clock", "unknown", "the answer carried no Date",
                             "run doctor again"),
    "no role of the runbooks": (_role("patchwarden-automation", None), "roles", "wrong",
                                "there is no role patchwarden-automation", "MemberRoles=yes"),
    "role of the runbooks": (_role("patchwarden-automation", TRUSTS_EC2), "roles", "wrong",
                             "patchwarden-automation does not trust ssm.amazonaws.com", "its trust policy"),
    "no role of the schedules": (_role("AWS-SystemsManager-AutomationExecutionRole", None), "roles", "wrong",
                                 "there is no role AWS-SystemsManager-AutomationExecutionRole", "schedules need"),
    "role of the schedules": (_role("AWS-SystemsManager-AutomationExecutionRole", TRUSTS_EC2), "roles", "wrong",
                              "does not trust 111122223333", "its trust policy"),
    "pass": (_refuse("iam:PassRole"), "permissions", "wrong",
             "patchwarden-member may not iam:PassRole on arn:aws:iam::", "deploy the member role"),
    "tag": (_refuse("ssm:AddTagsToResource"), "permissions", "wrong",
            "patchwarden-member may not ssm:AddTagsToResource on arn:aws:ssm:", "deploy the member role"),
    "no queue": (_no_queue, "queues", "warning", "there is no queue patchwarden-undelivered", "ForwardEvents=yes"),
    "undelivered": (_letter, "queues", "wrong", "patchwarden-undelivered holds 1 events", "purge"),
    "no node": (_no_node, "nodes", "warning", "Systems Manager knows no node here", "AmazonSSMManagedInstanceCore"),
    "never applied": (_asks(baselines="enforce"), "baselines", "wrong", "no baseline of policies/baselines was ever",
                      "apply it"),
    "baseline changed": (_changed, "baselines", "wrong", "is not as it was applied", "who did that"),
    "baseline gone": (_gone, "baselines", "wrong", "the baseline lost (pb-0ffffffffffffffff) is gone", "apply ours"),
    "default taken": (_default_taken, "baselines", "wrong", "is no longer the default for AMAZON_LINUX_2023", "who"),
    "group taken": (_group_taken, "baselines", "wrong", "is no longer registered for the patch groups prod", "who did"),
    "system without": (lambda it: _apply_ours(it, but="AMAZON_LINUX_2023"), "baselines", "warning",
                       "no baseline of ours stands for AMAZON_LINUX_2023: i-", "write one for AMAZON_LINUX_2023"),
    "scanned with another": (_not_scanned_with_ours, "baselines", "warning",
                             "scanned with pb-0ffffffffffffffff, but", "what else scans them"),
    "too many at once": (_asks(executions=501), "quotas", "warning",
                         "executions_per_location asks for 501 at once, and 500 run (Service Quotas)",
                         "lower executions_per_location"),
    "far too many": (_asks(executions=5501), "quotas", "wrong",
                     "500 run, 5000 more may queue (Service Quotas), and every further start is refused",
                     "lower executions_per_location"),
    "slow starts": (_quota("Rate of StartAutomationExecution requests", 0.5), "quotas", "wrong",
                    "StartAutomationExecution is taken 0.5 times a second", "Service Quotas"),
    "schedules": (_asks(schedules=tuple(map(str, range(26)))), "quotas", "warning",
                  "26 schedules may work here at once, and 25 rate-control executions run", "Service Quotas"),
    "full": (_quota("Managed nodes per account and Region", 4), "quotas", "warning", "4 of 4 managed nodes",
             "Service Quotas"),
    "cannot look": (_refuse("config:DescribeConfigurationRecorders"), "recorder", "unknown", "could not look",
                    "DoctorPermissions=yes"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_place_and_its_remedy(name: str, clinic: Clinic) -> None:
    harm, check, level, what, remedy = FAULTS[name]
    harm(clinic)
    found = clinic.faults()
    assert {one.check for one in found} == {check}, found
    first = found[0]
    assert first.level == level and first.where == str(clinic.place)
    assert what in first.what and remedy in first.remedy


def test_a_region_without_the_rule_is_told_as_such(clinic: Clinic) -> None:
    clinic.sim.aws.setup.without_rule |= {clinic.place}
    where = Location(clinic.place.account, "eu-south-1")
    patient = clinic.patient(where)
    clinic.sim.aws.setup.without_rule.add(where)
    (said,) = config_rule(patient)
    assert said.level == "warning" and "eu-south-1 may not have the rule" in said.what


def test_a_service_that_does_not_answer_is_unknown_and_not_well() -> None:
    def fails(service: str, operation: str, phase: str) -> None:
        if operation == "DescribeConfigRules" and phase == "before":
            raise Refusal("InternalServerError", "no", 500)

    with mock_aws(config=PASSED_ON):
        sim = simulate(lambda event: None, nodes=12, fault=fails)
        sim.aws.setup.external_id = "ours"
        place = next(one for one in sim.fleet.locations if one.account != ACCOUNTS[0])
        told = {one.check: one.level for one in examine(Clinic(sim, place).patient())}
    assert told["config-rule"] == "unknown"


def test_what_the_organisation_takes_away_is_not_allowed() -> None:
    taken = {"EvalDecision": "allowed", "OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
    assert not roles.allowed(taken)
    assert roles.allowed({"EvalDecision": "allowed"})


def test_the_probes_change_nothing(clinic: Clinic) -> None:
    clinic.remarks()
    assert clinic.sim.aws.automations.known(clinic.place) == []
    assert clinic.the("ssm").describe_ops_items(
        OpsItemFilters=[{"Key": "Status", "Values": ["Open"], "Operator": "Equal"}]
    )["OpsItemSummaries"] == []  # fmt: skip


# --- the hub ----------------------------------------------------------------------------------------------------------

QUEUES = ("Failure", "RuleFailure")


@dataclass
class Stacked:
    """A reach in whose hub one stack is: moto's CloudFormation needs more than is installed here."""

    whole: Reach
    outputs: dict[str, str]
    rules: tuple[str, ...] = ()

    def call(self, location: Location, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        if service != "cloudformation":
            return self.whole.call(location, service, operation, **parameters)
        if parameters["StackName"] != "patchwarden-prod":
            raise Denial("Stack does not exist", "ValidationError", {})
        if operation == "describe_stack_resource":
            role = f"patchwarden-prod-{parameters['LogicalResourceId']}"
            return {"StackResourceDetail": {"PhysicalResourceId": role}}
        told = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        return {"Stacks": [{"StackName": "patchwarden-prod", "Outputs": told}]}

    def pages(self, location: Location, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        if service != "cloudformation":
            yield from self.whole.pages(location, service, operation, **parameters)
            return
        kind = "AWS::Events::Rule"
        yield {"StackResourceSummaries": [{"ResourceType": kind, "PhysicalResourceId": id} for id in self.rules]}


OURS = {"Effect": "Allow", "Principal": "*", "Action": "events:PutEvents", "Resource": BUS, "Sid": "MembersForward",
        "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abcdefghij"}}}  # fmt: skip


@dataclass
class HubClinic:
    """A hub that is well, its ledger in memory and the rest in moto."""

    sim: Simulation
    ports: Ports
    lost: tuple[str, ...] = ()
    table: str = "patchwarden-prod"
    packed: str | None = None
    rules: tuple[str, ...] = ("OnDispatchEvent", "patchwarden-prod|OnExecutionEvent")
    stack: str = "patchwarden-prod"

    def the(self, service: str) -> Any:
        session: Any = self.sim.session(ACCOUNTS[0], "eu-west-1")
        return session.client(service)

    def faults(self) -> list[Remark]:
        place = Location(ACCOUNTS[0], "eu-west-1")
        whole = Clinic(self.sim, place).patient(hub=True)
        outputs = {name: value for name, value in self._outputs().items() if name not in self.lost}
        patient = replace(whole, reach=Stacked(whole.reach, outputs, self.rules))
        hub = Hub(patient, self.stack, self.table, lambda: self.ports, self.packed, (ACCOUNTS[1],), scheduled=True)
        return [one for one in hub.examine() if one.level != "ok"]

    def _outputs(self) -> dict[str, str]:
        sqs = self.the("sqs")
        return {"HubBusArn": BUS} | {
            f"{name}Queue": sqs.get_queue_url(QueueName=name.lower())["QueueUrl"] for name in QUEUES
        }

    def let_in(self, *statements: dict[str, Any]) -> None:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        self.the("events").put_permission(EventBusName="patchwarden-prod", Policy=policy)


@pytest.fixture
def hub() -> Iterator[HubClinic]:
    with mock_aws(config=PASSED_ON):
        sim = simulate(lambda event: None, nodes=12)
        built = wiring.build(SETTINGS, session=sim.session, clock=sim.clock, quiet=True)
        found = HubClinic(sim, replace(built, ledger=MemoryLedger(), policies=Fixed(policy_set())))
        for name in QUEUES:
            found.the("sqs").create_queue(QueueName=name.lower())
        found.the("events").create_event_bus(Name="patchwarden-prod")
        found.let_in(OURS)
        found.the("events").put_rule(Name="OnDispatchEvent", ScheduleExpression="rate(1 minute)")
        found.the("events").put_rule(
            Name="OnExecutionEvent", EventBusName="patchwarden-prod", EventPattern='{"source": ["aws.ssm"]}'
        )
        table = found.the("dynamodb")
        table.create_table(**{**TABLE, "TableName": "patchwarden-prod", "DeletionProtectionEnabled": True})
        table.update_continuous_backups(
            TableName="patchwarden-prod", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        yield found


def test_of_a_healthy_hub_there_is_nothing_to_say(hub: HubClinic) -> None:
    assert hub.faults() == []


def _pitr_off(hub: HubClinic) -> None:
    hub.the("dynamodb").update_continuous_backups(
        TableName="patchwarden-prod", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False}
    )


def _unprotected(hub: HubClinic) -> None:
    hub.the("dynamodb").update_table(TableName="patchwarden-prod", DeletionProtectionEnabled=False)


def _given_up(hub: HubClinic) -> None:
    sqs = hub.the("sqs")
    sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="failure")["QueueUrl"], MessageBody="{}")


def _refuse_function(name: str, action: str) -> Callable[[HubClinic], object]:
    return lambda hub: hub.sim.aws.setup.refused.add((f"patchwarden-prod-{name}Role", action))


def _no_administration(hub: HubClinic) -> None:
    hub.sim.aws.setup.roles[ACCOUNTS[0], "AWS-SystemsManager-AutomationAdministrationRole"] = None


class Troubled(Fixed):
    def trouble(self) -> str | None:
        return "the set 1234 does not lie in the bucket"


class Broken(Fixed):
    def active(self) -> PolicySet:
        raise PolicyError("the set 1234 is not that of its digest")


def _policies(kind: type[Fixed]) -> Callable[[HubClinic], object]:
    return lambda hub: setattr(hub, "ports", replace(hub.ports, policies=kind(policy_set())))


def _other_files(hub: HubClinic) -> None:
    line = publication(None, Act.PUBLISHED, "a" * 64, by="sec", because="first", now=hub.sim.clock.now())
    hub.ports.ledger.publish(line)
    hub.packed = "f" * 64


HUB_FAULTS: dict[str, tuple[Callable[[HubClinic], object], str, str, str]] = {
    "deletion": (_unprotected, "ledger", "can be deleted with one call", "--deletion-protection-enabled"),
    "restore": (_pitr_off, "ledger", "cannot be restored", "update-continuous-backups"),
    "bus open": (lambda it: it.let_in({**OURS, "Condition": {"StringEquals": {"events:source": "aws.ssm"}}}), "bus",
                 "takes events from any AWS account", "make deploy"),
    "letters": (_given_up, "queues", "FailureQueue holds 1 that were given up", "receive-message"),
    "paused": (lambda it: pause.begin(it.ports, "account/111122223333", by="alice", reason="a storm"), "paused",
               "account 111122223333 is paused by alice: a storm", "patchwarden resume --reason … --account 1111"),
    "no rule": (lambda it: setattr(it, "rules", ()), "rules", "has no rule: nothing wakes the service", "make deploy"),
    "rule off": (lambda it: it.the("events").disable_rule(Name="OnDispatchEvent"), "rules",
                 "the hub's rule OnDispatchEvent is disabled", "aws events enable-rule --name OnDispatchEvent"),
    "rule of the bus off": (
        lambda it: it.the("events").disable_rule(Name="OnExecutionEvent", EventBusName="patchwarden-prod"), "rules",
        "the hub's rule OnExecutionEvent is disabled", "--event-bus-name patchwarden-prod"),
    "rule deleted": (lambda it: it.the("events").delete_rule(Name="OnDispatchEvent"), "rules",
                     "the stack's rule OnDispatchEvent was deleted by hand", "make deploy"),
    "no stack": (lambda it: setattr(it, "stack", "patchwarden-pord"), "stack", "there is no stack patchwarden-pord",
                 "make deploy STAGE=pord"),
    "outputs": (lambda it: setattr(it, "lost", ("HubBusArn",)), "stack", "has no output HubBusArn", "make deploy"),
    "table": (lambda it: setattr(it, "table", "patchwarden-dev"), "ledger", "there is no table patchwarden-dev",
              "describe-stacks"),
    "bus closed": (lambda it: it.let_in({**OURS, "Effect": "Deny"}), "bus", "lets no member account put events",
                   "make deploy"),
    "no set": (_policies(Broken), "policies", "no policy set loads: the set 1234", "policy publish"),
    "other files": (_other_files, "policies", "in force is aaaaaaaaaaaa, these files are ffffffffffff", "policy diff"),
    "set that does not decide": (_policies(Troubled), "policies",
                                 "the published set does not decide: the set 1234 does not lie", "policy publish"),
    "become": (_refuse_function("OnSweep", "sts:AssumeRole"), "permissions",
               "the function OnSweep may not sts:AssumeRole on arn:aws:iam::444455556666:role/patchwarden-member",
               "make deploy"),
    "schedule": (_refuse_function("OnSchedules", "iam:PassRole"), "permissions",
                 "the function OnSchedules may not iam:PassRole on", "make deploy"),
    "administration": (_no_administration, "roles",
                       "there is no role AWS-SystemsManager-AutomationAdministrationRole", "update-stack-set"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB_FAULTS)
def test_a_fault_of_the_hub_is_named_with_its_command(name: str, hub: HubClinic) -> None:
    harm, check, what, command = HUB_FAULTS[name]
    harm(hub)
    (said,) = hub.faults()
    assert said.check == check and what in said.what and command in said.command and said.remedy


def test_a_stack_that_is_not_there_does_not_hide_the_ledger(hub: HubClinic) -> None:
    _pitr_off(hub)
    hub.stack = "patchwarden-pord"
    found = hub.faults()
    assert [one.check for one in found] == ["stack", "ledger"]
    assert "no stack patchwarden-pord" in found[0].what


# --- every remark has been said ---------------------------------------------------------------------------------------

ELSEWHERE = {
    "eu-south-1 may not have the rule": "test_a_region_without_the_rule_is_told_as_such",
    "could not look: ": "test_a_service_that_does_not_answer_is_unknown_and_not_well",
}
"""Remarks that no row of the tables calls forth, and the test that does."""

_NOT_WELL = frozenset({"WARNING", "WRONG", "UNKNOWN", "unknown"})


def _remarks_in_the_code() -> dict[str, list[str]]:
    """Every remark that is no praise, by its place in the code, as the texts between what is filled in."""
    found = {}
    for path in sorted(Path(doctor.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "says"):
                continue
            level = node.args[1]
            if (level.id if isinstance(level, ast.Name) else getattr(level, "value", None)) in _NOT_WELL:
                parts = [one.value for one in ast.walk(node.args[2]) if isinstance(one, ast.Constant)]
                found[f"{path.name}:{node.lineno}"] = [str(one).strip(" ,;:()") for one in parts if len(str(one)) > 3]
    return found


def test_every_remark_has_a_patient_who_makes_the_doctor_say_it() -> None:
    said = [row[3] for row in FAULTS.values()] + [row[2] for row in HUB_FAULTS.values()] + list(ELSEWHERE)
    code = _remarks_in_the_code()
    assert len(code) > 40
    unsaid = {
        place: parts for place, parts in code.items()
        if parts and not any(part in one or one in part for part in parts for one in said)
    }  # fmt: skip
    assert unsaid == {}
    assert set(ELSEWHERE.values()) <= set(globals())


def test_every_check_has_a_patient() -> None:
    sick = {row[1] for row in FAULTS.values()}
    assert {name for name, _ in CHECKS} <= sick
    assert {"role", "trust", "clock", "agents", "concurrency"} <= sick
    assert {"stack", "ledger", "policies", "rules", "permissions", "bus", "queues", "roles", "paused"} == {
        row[1] for row in HUB_FAULTS.values()
    }


def test_the_command_line_looks_at_aws_only() -> None:
    answer = CliRunner().invoke(cli, ["--local", "doctor"])
    assert answer.exit_code == 2 and "leave --local" in answer.output


def test_the_command_tells_every_fault_and_ends_with_3(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    clinic.sim.aws.setup.stopped.add(clinic.place)
    built = wiring.build(SETTINGS, session=clinic.sim.session, clock=clinic.sim.clock, quiet=True)
    scope = {"accounts": [clinic.place.account], "regions": [clinic.place.region]}
    monkeypatch.setattr(wiring, "reach", partial(wiring.reach, session=clinic.sim.session, clock=clinic.sim.clock))
    monkeypatch.setenv("PATCHWARDEN_EXTERNAL_ID", "ours")
    wiring.use(replace(built, ledger=MemoryLedger(), policies=Fixed(policy_set(scope=scope))))
    try:
        answer = CliRunner().invoke(cli, ["doctor", "--no-hub", "-o", "json"])
        elsewhere = CliRunner().invoke(cli, ["doctor", "--no-hub", "--account", "999900001111"])
    finally:
        wiring.use(None)
    assert answer.exit_code == 3, answer.output
    said = json.loads(answer.stdout)
    assert said["counts"]["wrong"] == 1
    (wrong,) = [one for one in said["remarks"] if one["level"] == "wrong"]
    assert wrong["what"] == "the recorder default is off"
    assert wrong["command"].startswith("aws configservice start-configuration-recorder")
    assert elsewhere.exit_code == 1 and "999900001111 in any Region is not in scope" in elsewhere.output
