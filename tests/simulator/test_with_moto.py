"""Under moto, DynamoDB is moto's and what the simulator answers is the simulator's, through the same session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from moto import mock_aws

from tests.simulator.world import World, code, make_world

PASSED_ON: Any = {"core": {"passthrough": {"services": ["ssm", "config", "ec2", "sts"]}}}


@pytest.fixture
def beside_moto() -> Iterator[World]:
    with mock_aws(config=PASSED_ON):
        yield make_world()


def test_dynamodb_is_motos_and_the_rest_is_simulated(beside_moto: World) -> None:
    session = beside_moto.sim.session()
    dynamodb = session.client("dynamodb")
    dynamodb.create_table(
        TableName="patchwarden",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName="patchwarden", Item={"pk": {"S": "R#1"}})
    assert dynamodb.get_item(TableName="patchwarden", Key={"pk": {"S": "R#1"}})["Item"] == {"pk": {"S": "R#1"}}

    told = session.client("ssm").describe_instance_information(MaxResults=50)["InstanceInformationList"]
    assert [one["InstanceId"] for one in told] == [one.node.id for one in beside_moto.sim.fleet.at(beside_moto.home)]
    assert len(session.client("ec2").describe_instances()["Reservations"]) == len(
        [one for one in beside_moto.sim.fleet.at(beside_moto.home) if not one.hybrid]
    )
    assert session.client("config").describe_config_rules()["ConfigRules"]
    assert session.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::111122223333:role/patchwarden"


def test_a_session_made_before_moto_began_works_too() -> None:
    world = make_world()
    session = world.sim.session()
    with mock_aws(config=PASSED_ON):
        assert session.client("dynamodb").list_tables()["TableNames"] == []
        assert session.client("ssm").list_commands()["Commands"] == []


def test_refusals_are_the_simulators(beside_moto: World) -> None:
    asked = {"AutomationExecutionId": "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13"}
    why = code(beside_moto.client("ssm").get_automation_execution, **asked)
    assert why == "AutomationExecutionNotFoundException"
