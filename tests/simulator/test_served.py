"""The simulated AWS behind a port says what it says inside the process, to whoever has a key."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from patchwarden.simulator.api_sts import SECRET, access_key
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS
from patchwarden.simulator.served import served
from patchwarden.simulator.simulation import simulate


def client(url: str, key: str) -> Any:
    return boto3.client("ssm", region_name=REGIONS[0], endpoint_url=url, aws_access_key_id=key,
                        aws_secret_access_key=SECRET, config=Config(retries={"total_max_attempts": 1}))  # fmt: skip


def test_it_answers_over_the_line_as_it_does_inside() -> None:
    sim = simulate(lambda event: None, nodes=12)
    inside = sim.session(ACCOUNTS[1]).client("ssm").describe_instance_information()["InstanceInformationList"]
    with served(sim) as (url, _):
        told = client(url, access_key(ACCOUNTS[1])).describe_instance_information()["InstanceInformationList"]
    assert [one["InstanceId"] for one in told] == [one["InstanceId"] for one in inside] != []


def test_a_key_of_anothers_making_is_taken_for_the_account_it_is_of() -> None:
    sim = simulate(lambda event: None, nodes=12)
    with served(sim, {"ASIASOMEBODYELSES001": ACCOUNTS[2]}.get) as (url, _):
        theirs = client(url, "ASIASOMEBODYELSES001").describe_instance_information()["InstanceInformationList"]
        with pytest.raises(ClientError, match="403"):
            client(url, "ASIANOBODYS000000001").describe_instance_information()
    here = {machine.node.id for machine in sim.fleet.machines.values() if machine.node.account == ACCOUNTS[2]}
    assert {one["InstanceId"] for one in theirs} <= here
    assert theirs != []
