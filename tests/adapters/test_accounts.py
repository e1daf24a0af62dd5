"""How a call reaches an account, and what its failure means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError

from chalicelib.adapters.accounts import Accounts, Refusal, botocore_session, partition, translating
from chalicelib.adapters.dynamodb import table
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.nodes import Location, valid_place
from patchwarden.simulator.limits import Limits
from tests.adapters.simulated import World

URL = "https://ssm.eu-west-1.amazonaws.com"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def shared() -> tuple[World, Accounts]:
    """A world for many tests that each cause one failure in it."""
    made = World()
    return made, made.accounts()


def who(accounts: Accounts, location: Location) -> str:
    """The account that the other side believes to be asked by."""
    answer = accounts.call(location, "sts", "get_caller_identity")
    return f"{answer['Account']} {answer['Arn'].split('/')[1] if 'assumed-role' in answer['Arn'] else 'itself'}"


class TestWhoAsks:
    def test_each_call_is_signed_for_its_own_account(self, world: World) -> None:
        accounts = world.accounts()
        for location in [*world.sim.fleet.locations, *reversed(world.sim.fleet.locations)]:
            expected = "itself" if location.account == world.hub else "patchwarden-member"
            assert who(accounts, location) == f"{location.account} {expected}"

    def test_pages_of_two_accounts_may_be_read_in_turns(self, world: World) -> None:
        accounts, seen = world.accounts(), []
        places = [place for place in world.sim.fleet.locations if place.region == world.home.region]
        readers = [accounts.pages(place, "ssm", "describe_instance_information", MaxResults=5) for place in places]
        for _ in range(2):
            seen += [
                (place, {one["InstanceId"] for one in next(reader)["InstanceInformationList"]})
                for place, reader in zip(places, readers, strict=True)
            ]
        for place, ids in seen:
            assert len(ids) == 5
            assert ids <= {machine.node.id for machine in world.sim.fleet.at(place)}

    def test_without_a_hub_account_the_role_is_assumed_everywhere(self, world: World) -> None:
        assert who(world.accounts(hub_account=None), world.home) == f"{world.hub} patchwarden-member"

    def test_one_client_serves_all_accounts_of_a_region(self, world: World) -> None:
        made: list[tuple[str, str | None]] = []

        def session() -> boto3.Session:
            opened = world.sim.session()
            opened.events.register("creating-client-class.ssm", lambda **_: made.append(("ssm", None)))
            return opened

        accounts = Accounts(role="patchwarden-member", hub_account=world.hub, session=session, now=world.sim.clock.now)
        for location in world.sim.fleet.locations:
            accounts.call(location, "ssm", "describe_instance_information")
        assert len(made) == len({location.region for location in world.sim.fleet.locations})

    def test_nothing_is_opened_before_the_first_call(self) -> None:
        def session() -> boto3.Session:
            raise AssertionError("not wanted yet")

        Accounts(role="patchwarden-member", session=session)

    def test_the_role_is_asked_for_with_the_external_id(self) -> None:
        asked: list[dict[str, Any]] = []
        world = World()

        def session() -> boto3.Session:
            opened = world.sim.session()
            opened.events.register("provide-client-params.sts.AssumeRole", lambda params, **_: asked.append(params))
            return opened

        accounts = Accounts(role="member", external_id="ours", session=session, now=world.sim.clock.now)
        who(accounts, world.member)
        assert asked == [
            {
                "RoleArn": f"arn:aws:iam::{world.member.account}:role/member",
                "RoleSessionName": "patchwarden",
                "DurationSeconds": 3600,
                "ExternalId": "ours",
            }
        ]

    def test_a_region_of_any_partition_is_a_place_and_knows_its_partition(self) -> None:
        known = botocore.session.get_session()
        found = {
            (region, name)
            for name in known.get_available_partitions()
            for region in known.get_available_regions("ssm", name)
        }
        assert {"aws", "aws-cn", "aws-us-gov", "aws-eusc"} <= {name for _, name in found}
        assert {(region, partition(region)) for region, _ in found} == found
        assert [region for region, _ in found if not valid_place("111122223333", region)] == []


class TestCredentials:
    def test_they_are_kept_until_shortly_before_they_end(self, world: World) -> None:
        accounts = world.accounts()
        for minutes in (0, 30, 24):
            world.run(minutes=minutes)
            who(accounts, world.member)
        assert world.calls.count("AssumeRole") == 1
        world.run(minutes=2)
        who(accounts, world.member)
        assert world.calls.count("AssumeRole") == 2

    @pytest.mark.parametrize("service", ["ssm", "ec2"])
    def test_expired_ones_are_temporary_and_replaced_by_the_next_call(self, service: str) -> None:
        world = World(options={"limits": Limits(sessions_expire=True)})
        slow = world.accounts()
        slow._now = lambda: datetime(2026, 11, 23, 12, tzinfo=UTC)  # a process whose clock stands still
        operation = {"ssm": "describe_instance_information", "ec2": "describe_instances"}[service]
        slow.call(world.member, service, operation)
        world.run(hours=2)
        with pytest.raises(Temporary, match="xpired"):
            slow.call(world.member, service, operation)
        slow.call(world.member, service, operation)
        assert world.calls.count("AssumeRole") == 2

    def test_a_role_that_is_not_lent_is_the_operators_turn(self, world: World) -> None:
        world.sim.aws.deny(world.member.account, "sts")
        with pytest.raises(Denied, match=f"{world.member} sts:assume_role arn:aws:iam::{world.member.account}:role/"):
            who(world.accounts(), world.member)
        world.sim.aws.allow(world.member.account)
        assert who(world.accounts(), world.member).startswith(world.member.account)


class TestFailures:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("ThrottlingException", 400),
            ("Throttling", 400),
            ("RequestLimitExceeded", 503),
            ("TooManyRequestsException", 429),
            ("InternalServerError", 500),
            ("NobodyKnows", 500),
            ("NobodyKnows", 503),
            ("NobodyKnows", 429),
            ("ExpiredTokenException", 400),
            ("AutomationExecutionLimitExceededException", 400),
            ("TooManyUpdates", 400),
        ],
    )
    def test_a_busy_service_is_temporary(self, shared: tuple[World, Accounts], code: str, status: int) -> None:
        world, accounts = shared
        world.refuse("DescribeInstanceInformation", code, status)
        with pytest.raises(Temporary, match=code.removesuffix("Exception")):
            accounts.call(world.home, "ssm", "describe_instance_information")

    @pytest.mark.parametrize(
        "code", ["AccessDeniedException", "UnrecognizedClientException", "OptInRequired", "NobodyKnowsException", ""]
    )
    def test_everything_else_is_denied_because_an_unknown_refusal_will_not_pass_by_itself(
        self, shared: tuple[World, Accounts], code: str
    ) -> None:
        world, accounts = shared
        world.refuse("DescribeInstanceInformation", code)
        with pytest.raises(Refusal) as caught:
            accounts.call(world.member, "ssm", "describe_instance_information")
        assert caught.value.code == code.removesuffix("Exception")

    def test_the_message_names_account_region_and_operation(self, world: World) -> None:
        world.sim.aws.deny(world.member.account)
        with pytest.raises(Denied) as caught:
            world.accounts().call(world.member, "ec2", "describe_instances")
        text = str(caught.value)
        for part in (world.member.account, world.member.region, "ec2:describe_instances", "UnauthorizedOperation"):
            assert part in text

    @pytest.mark.parametrize(
        "error",
        [
            ReadTimeoutError(endpoint_url=URL),
            ConnectTimeoutError(endpoint_url=URL),
            EndpointConnectionError(endpoint_url=URL),
            ConnectionClosedError(endpoint_url=URL),
            ResponseParserError("cut off"),
        ],
    )
    def test_a_lost_answer_is_temporary(self, error: Exception) -> None:
        with pytest.raises(Temporary, match="here ssm:x: no answer"), translating("here ssm:x"):
            raise error

    @pytest.mark.parametrize("error", [NoCredentialsError(), ParamValidationError(report="x is missing")])
    def test_a_request_that_cannot_be_made_is_the_operators_turn(self, error: BotoCoreError) -> None:
        with pytest.raises(Denied, match="here ssm:x: not sent"), translating("here ssm:x"):
            raise error

    def test_an_error_without_any_detail_is_denied(self) -> None:
        with pytest.raises(Refusal), translating("here ssm:x"):
            raise ClientError({}, "X")

    def test_what_is_no_failure_of_aws_passes_through(self) -> None:
        with pytest.raises(KeyError), translating("here ssm:x"):
            raise KeyError("ours")

    def test_a_throttled_call_is_tried_again(self, world: World) -> None:
        for _ in range(2):
            world.refuse("DescribeInstanceInformation", "ThrottlingException")
        world.accounts(attempts=3).call(world.home, "ssm", "describe_instance_information")
        assert world.calls.count("DescribeInstanceInformation") == 3

    def test_a_denied_call_is_not_tried_again(self, world: World) -> None:
        world.refuse("DescribeInstanceInformation", "AccessDeniedException")
        with pytest.raises(Denied):
            world.accounts(attempts=3).call(world.home, "ssm", "describe_instance_information")
        assert world.calls == ["DescribeInstanceInformation"]

    def test_a_page_that_leads_to_itself_is_temporary(self, world: World) -> None:
        def circle(parsed: dict[str, Any], **_: Any) -> None:
            parsed["NextToken"] = "again"

        def first(params: dict[str, Any], **_: Any) -> None:
            params.pop("NextToken", None)

        def session() -> boto3.Session:
            opened = world.sim.session()
            opened.events.register("provide-client-params.ssm", first)
            opened.events.register("after-call.ssm", circle)
            return opened

        accounts = Accounts(role="member", hub_account=world.hub, session=session)
        reading = accounts.pages(world.home, "ssm", "describe_instance_information")
        next(reading)
        with pytest.raises(Temporary, match="the same page came twice"):
            list(reading)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
    ],
)
def test_the_region_is_taken_from_either_variable(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], meant: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    botocore_session.cache_clear()
    try:
        assert botocore_session().create_client("dynamodb").meta.region_name == meant
        assert table._client().meta.region_name == meant
    finally:
        botocore_session.cache_clear()
