"""The commands by which people say yes or no: who they are is what AWS says of their credentials."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from moto import mock_aws

from chalicelib import wiring
from patchwarden.cli import cli
from tests.sets import NODE, policy, policy_set
from tests.verbs.conftest import World

RULE = {"by": ["arn:aws:sts::*:*/moto"], "minimum": 1, "within": 86400, "on_timeout": "ticket"}


@pytest.fixture
def world() -> Iterator[World]:
    """A node that waits for a yes, and a bundle that the command line finds where the deployed one would be."""
    made = World(policies=policy_set(policy("ask", action="approve", approval=RULE)))
    made.node()
    made.say()
    wiring.use(made.ports)
    with mock_aws():
        yield made
    wiring.use(None)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def test_a_yes_carries_the_callers_arn(world: World) -> None:
    answer = call("approve", NODE.id, "--because", "the change board agreed")
    assert answer.exit_code == 0 and "decided: approved, 1 of 1" in answer.stderr
    assert world.case().state == "queued"
    assert world.case().decision["approvals"][0]["by"].startswith("arn:aws:sts::123456789012:")


def test_a_no_too(world: World) -> None:
    assert call("reject", NODE.id, "--because", "not in the quarter's end").exit_code == 0
    assert ":" in world.case().decision["rejected"]["by"] and world.case().state == "ticketed"


def test_a_yes_that_does_not_count_is_exit_4_and_writes_nothing(world: World) -> None:
    world.policies = policy_set(policy("ask", action="approve", approval={**RULE, "by": ["*@example.com"]}))
    wiring.use(world.ports)
    world.pass_minutes(24 * 60)
    world.round()
    before = world.case()
    answer = call("approve", NODE.id, "--because", "let it in")
    assert answer.exit_code == 4 and "is not among the approvers of ask" in answer.stderr
    assert world.case() == before


def test_what_waits_is_taken_over(world: World) -> None:
    call("approve", NODE.id, "--because", "the change board agreed")
    answer = call("hold", NODE.id, "--because", "its disk is full")
    assert answer.exit_code == 0 and "its disk is full" in answer.stderr
    assert world.case().state == "ticketed" and ":" in world.case().decision["hold"]["by"]
    again = call("hold", NODE.id, "--because", "once more")
    assert again.exit_code == 4 and "only what waits can be held" in again.stderr


@pytest.mark.parametrize("words", [("approve", NODE.id), ("approve", "i-0000000000000dead", "--because", "x")])
def test_a_mistake_is_told(world: World, words: tuple[str, ...]) -> None:
    answer = call(*words)
    assert answer.exit_code in (1, 2) and answer.stderr


def test_what_waits_is_listed(world: World) -> None:
    assert json.loads(call("approvals", "-o", "json").stdout)["approvals"][0]["node"] == NODE.id
    assert "0 of 1" in call("approvals").stdout
    assert call("approvals", "-o", "csv").stdout.splitlines()[0] == "node,policy,title,until,has,by"
