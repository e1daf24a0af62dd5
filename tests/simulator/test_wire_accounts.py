"""Accounts: roles are lent, requests act where they are signed for, and a broken line breaks as boto3 knows it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError

from chalicelib.core.nodes import Location
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.refusals import Refusal
from patchwarden.simulator.wire import Fault, Phase
from tests.simulator.world import ONCE, TOKEN, World, code, execution_of, make_world, patch, refused, with_sleeper

ROLE = "arn:aws:iam::444455556666:role/path/patchwarden-member"
MEMBER = Location("444455556666", "eu-west-1")


def borrowed(world: World, service: str = "ssm", **options: Any) -> Any:
    """A client of a member account by way of the role there."""
    lent = world.client("sts").assume_role(RoleArn=ROLE, RoleSessionName="it", **options)["Credentials"]
    session = boto3.Session(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"], "eu-west-1")
    world.sim.wire.install(session)
    make: Any = session.client
    return make(service, config=ONCE)


# --- roles ----------------------------------------------------------------------------------------------------------


def test_a_lent_role_acts_in_its_own_account(world: World) -> None:
    told = borrowed(world).describe_instance_information(MaxResults=50)["InstanceInformationList"]
    assert [one["InstanceId"] for one in told] == [one.node.id for one in world.sim.fleet.at(MEMBER)]
    identity = borrowed(world, "sts").get_caller_identity()
    assert identity["Account"] == "444455556666"
    assert identity["Arn"] == "arn:aws:sts::444455556666:assumed-role/patchwarden-member/it"


def test_an_execution_tells_which_role_started_it(tmp_path: Path) -> None:
    world = with_sleeper(tmp_path)
    ssm = borrowed(world)
    started = ssm.start_automation_execution(DocumentName="Sleeper", Parameters={"BatchId": ["b"]})
    told = ssm.get_automation_execution(AutomationExecutionId=started["AutomationExecutionId"])["AutomationExecution"]
    assert told["ExecutedBy"] == "arn:aws:sts::444455556666:assumed-role/patchwarden-member/it"
    asked = {"AutomationExecutionId": started["AutomationExecutionId"]}
    assert code(world.client("ssm").get_automation_execution, **asked) == "AutomationExecutionNotFoundException"


@pytest.mark.parametrize(
    "role", ["arn:aws:iam::999999999999:role/patchwarden-member", "arn:aws:iam::444455556666:user/x"]
)
def test_a_role_outside_the_organisation_is_not_lent(world: World, role: str) -> None:
    answer = refused(world.client("sts").assume_role, RoleArn=role, RoleSessionName="it")
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("AccessDenied", 403)


def test_sts_holds_requests_to_its_model(world: World) -> None:
    sts = world.client("sts")
    assert code(sts.assume_role, RoleArn=ROLE, RoleSessionName="with blanks") == "ValidationException"
    assert code(sts.assume_role, RoleArn=ROLE, RoleSessionName="it", DurationSeconds=43201) == "ValidationException"


@pytest.mark.parametrize(
    ("service", "why"), [("ssm", "ExpiredTokenException"), ("ec2", "RequestExpired"), ("sts", "ExpiredToken")]
)
def test_lent_credentials_end_with_their_time(world: World, service: str, why: str) -> None:
    calls = {"ssm": "list_commands", "ec2": "describe_instances", "sts": "get_caller_identity"}
    client = borrowed(world, service, DurationSeconds=900)
    world.run(seconds=899)
    getattr(client, calls[service])()
    world.run(seconds=1)
    assert code(getattr(client, calls[service])) == why


def test_they_last_where_that_is_switched_off() -> None:
    world = make_world(limits=Limits(sessions_expire=False))
    ssm = borrowed(world)
    world.run(hours=5)
    assert ssm.list_commands()["Commands"] == []


def test_a_token_that_was_never_given_out_is_invalid(world: World) -> None:
    session = boto3.Session("ASIA444455556666SIMU", "x", "forged", "eu-west-1")
    world.sim.wire.install(session)
    make: Any = session.client
    assert code(make("ssm", config=ONCE).list_commands) == "InvalidClientTokenId"


# --- denied and down ------------------------------------------------------------------------------------------------


def test_a_denied_account_refuses_everything_but_sts_and_the_others_go_on(world: World) -> None:
    world.sim.aws.deny(MEMBER.account)
    assert code(world.client("ssm", MEMBER).list_commands) == "AccessDeniedException"
    assert code(world.client("config", MEMBER).describe_config_rules) == "AccessDeniedException"
    assert code(world.client("ec2", MEMBER).describe_instances) == "UnauthorizedOperation"
    assert world.client("sts", MEMBER).get_caller_identity()["Account"] == MEMBER.account
    assert world.client("ssm").list_commands()["Commands"] == []
    world.sim.aws.allow(MEMBER.account)
    assert world.client("ssm", MEMBER).list_commands()["Commands"] == []


def test_one_service_may_be_denied_and_a_role_may_be_withheld(world: World) -> None:
    world.sim.aws.deny(MEMBER.account, "ec2", "sts")
    assert code(world.client("ec2", MEMBER).describe_instances) == "UnauthorizedOperation"
    assert world.client("ssm", MEMBER).list_commands()["Commands"] == []
    assert code(world.client("sts").assume_role, RoleArn=ROLE, RoleSessionName="it") == "AccessDenied"


def test_a_running_automation_goes_on_in_an_account_that_denies_us(noncompliant: World) -> None:
    machines = [one for one in noncompliant.sim.fleet.at(MEMBER) if one.online]
    execution = patch(noncompliant, machines)
    noncompliant.sim.aws.deny(MEMBER.account)
    noncompliant.run(hours=3)
    noncompliant.sim.aws.allow(MEMBER.account)
    assert execution_of(noncompliant, machines[0], execution)["AutomationExecutionStatus"] == "Success"


def test_a_region_that_is_down_answers_nobody_there_and_everybody_elsewhere(world: World) -> None:
    world.sim.aws.down.add(MEMBER)
    answer = refused(world.client("ssm", MEMBER).list_commands)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 503
    assert world.client("ssm", Location(MEMBER.account, "us-east-1")).list_commands()["Commands"] == []


# --- broken lines ---------------------------------------------------------------------------------------------------


class Breaks:
    """Breaks the line at one phase of one operation, as often as it is told to; keeps what it saw."""

    def __init__(self, operation: str, phase: Phase, error: Exception, times: int = 1) -> None:
        self.seen: list[tuple[str, str, Phase]] = []
        self._where = (operation, phase)
        self._error = error
        self._times = times

    def __call__(self, service: str, operation: str, phase: Phase) -> None:
        self.seen.append((service, operation, phase))
        if (operation, phase) == self._where and self._times:
            self._times -= 1
            raise self._error


CLOSED = ConnectionClosedError(endpoint_url="https://ssm.eu-west-1.amazonaws.com")
UNREACHED = EndpointConnectionError(endpoint_url="https://ssm.eu-west-1.amazonaws.com")
ASKED: dict[str, Any] = {"DocumentName": "Sleeper", "Parameters": {"BatchId": ["b"]}, "ClientToken": TOKEN}


def broken(folder: Path, fault: Fault) -> World:
    return with_sleeper(folder, fault=fault)


def started(world: World) -> int:
    return len(world.sim.aws.automations.known(world.home))


def test_an_answer_lost_after_the_effect_leaves_the_effect(tmp_path: Path) -> None:
    world = broken(tmp_path, Breaks("StartAutomationExecution", "after", CLOSED))
    ssm = world.client("ssm")
    with pytest.raises(ConnectionClosedError):
        ssm.start_automation_execution(**ASKED)
    assert started(world) == 1
    world.run(seconds=1)
    again = ssm.start_automation_execution(**ASKED)["AutomationExecutionId"]
    assert [one.id for one in world.sim.aws.automations.known(world.home)] == [again]


def test_a_request_lost_before_the_effect_leaves_none(tmp_path: Path) -> None:
    world = broken(tmp_path, Breaks("StartAutomationExecution", "before", UNREACHED))
    with pytest.raises(EndpointConnectionError):
        world.client("ssm").start_automation_execution(**ASKED)
    assert started(world) == 0


def test_a_fault_may_be_an_answer_of_aws(world: World) -> None:
    world.sim.wire.fault = Breaks("ListTagsForResource", "before", Refusal("AccessDeniedException", "not the tags"))
    asked = {"ResourceType": "ManagedInstance", "ResourceId": world.the("hybrid").node.id}
    assert code(world.at(world.the("hybrid")).list_tags_for_resource, **asked) == "AccessDeniedException"


def test_a_refused_request_has_no_effect_and_so_no_after(tmp_path: Path) -> None:
    fault = Breaks("none", "after", CLOSED)
    world = broken(tmp_path, fault)
    assert code(world.client("ssm").start_automation_execution, DocumentName="Nobody-Wrote-This")
    assert fault.seen == [("ssm", "StartAutomationExecution", "before")]


def test_the_runbooks_own_calls_are_never_broken(noncompliant: World) -> None:
    machines = [one for one in noncompliant.sim.fleet.at(noncompliant.home) if one.online]
    patch(noncompliant, machines)
    fault = noncompliant.sim.wire.fault = Breaks("SendCommand", "before", CLOSED)
    noncompliant.run(hours=2)
    assert fault.seen == []
    assert all(one.report and one.report.compliant for one in machines)


# --- boto3's own retries --------------------------------------------------------------------------------------------


def patient(world: World, mode: str, attempts: int) -> Any:
    make: Any = world.sim.session().client
    return make("ssm", config=Config(retries={"mode": mode, "total_max_attempts": attempts}))


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_boto3_tries_again_and_the_pause_is_simulated_time(tmp_path: Path, mode: str) -> None:
    fault = Breaks("StartAutomationExecution", "after", CLOSED, times=2)
    world = broken(tmp_path, fault)
    before = world.sim.clock.now()
    patient(world, mode, 4).start_automation_execution(**ASKED)
    assert started(world) == 1
    assert world.sim.clock.now() - before == timedelta(seconds=0.5 + 1 + 2), (
        "the second try came too soon and was throttled"
    )


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_boto3_gives_up_after_the_attempts_it_was_given(tmp_path: Path, mode: str) -> None:
    fault = Breaks("StartAutomationExecution", "before", CLOSED, times=9)
    world = broken(tmp_path, fault)
    with pytest.raises(ConnectionClosedError):
        patient(world, mode, 3).start_automation_execution(**ASKED)
    assert len(fault.seen) == 3


def test_a_throttled_start_waits_its_turn_in_simulated_time(tmp_path: Path) -> None:
    world = with_sleeper(tmp_path)
    ssm = patient(world, "standard", 3)
    before = world.sim.clock.now()
    for number in range(3):
        ssm.start_automation_execution(**{**ASKED, "ClientToken": f"00000000-0000-4000-8000-{number:012x}"})
    assert started(world) == 3
    assert timedelta(seconds=2) <= world.sim.clock.now() - before <= timedelta(seconds=4)


def test_without_a_token_a_lost_answer_is_a_double_start(tmp_path: Path) -> None:
    world = broken(tmp_path, Breaks("StartAutomationExecution", "after", CLOSED))
    asked = {key: value for key, value in ASKED.items() if key != "ClientToken"}
    with pytest.raises(ClientError) as caught:
        patient(world, "standard", 2).start_automation_execution(**asked)
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    world.run(seconds=1)
    patient(world, "standard", 1).start_automation_execution(**asked)
    assert started(world) == 2
