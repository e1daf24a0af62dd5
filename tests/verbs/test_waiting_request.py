"""Whoever asked for a node may ask how it stands; and what Config asks for by itself is no person's word."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.memory_aws import MemoryExceptions
from chalicelib.core.remediations import State
from chalicelib.core.replies import REPLIES, Reply, reply
from chalicelib.intake import request
from chalicelib.ports import RemediationException
from chalicelib.release import release
from tests.sets import HERE, NODE, NOW, policy, policy_set
from tests.verbs.conftest import World

PREFIXED = f"AWS::SSM::ManagedInstanceInventory/{NODE.id}"


def ask(world: World, **given: Any) -> dict[str, Any]:
    known = {"ResourceId": PREFIXED, "AccountId": NODE.account, "Region": NODE.region,
             "RequestedBy": "AWS Config, execution x", "Automatic": True, **given}  # fmt: skip
    return request(world.ports, known).to_json()


def test_every_state_has_its_reply_and_only_one_is_a_proof() -> None:
    assert set(REPLIES) == set(State)
    assert [state for state, said in REPLIES.items() if said is Reply.VERIFIED] == [State.RESOLVED]
    assert reply(None) is Reply.REFUSED


def test_the_answer_has_the_same_fields_whatever_was_asked(world: World) -> None:
    world.node()
    first = ask(world)
    fields = {"status", "because", "remediation", "state", "due", "outcome"}
    assert set(first) == fields and first["outcome"] == "pending"
    waiting = request(world.ports, {"Wait": first["remediation"]}).to_json()
    assert set(waiting) == fields
    assert waiting == {**first, "status": "known"}


def test_the_question_writes_nothing(world: World) -> None:
    world.node()
    first = ask(world)
    before = world.causes()
    for _ in range(3):
        request(world.ports, {"Wait": first["remediation"]})
    assert world.causes() == before


@pytest.mark.parametrize("wrong", ["nothing/known", "", None, 3, "x" * 5000, {"a": 1}])
def test_a_question_about_nothing_says_so(world: World, wrong: object) -> None:
    said = request(world.ports, {"Wait": wrong}).to_json()
    assert (said["status"], said["outcome"]) == ("ignored", "refused")
    assert said["because"].startswith("no remediation") and len(said["because"]) < 200


def test_what_config_asks_for_by_itself_takes_no_ticket_out_of_a_persons_hands(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    assert ask(world)["outcome"] == "ticketed"
    world.policies = policy_set(policy())
    world.pass_minutes(1)
    assert ask(world)["outcome"] == "ticketed"
    world.pass_minutes(1)
    assert ask(world, Automatic=False, RequestedBy="alice")["outcome"] == "pending"


def test_automatic_is_true_or_false(world: World) -> None:
    world.node()
    assert ask(world, Automatic="yes")["because"] == "Automatic must be true or false, not 'yes'"


def proved(world: World) -> None:
    execution = world.case().execution
    assert execution
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    assert world.case().state is State.RESOLVED


def exception(**given: Any) -> RemediationException:
    return RemediationException(NODE, "the-rule", PREFIXED, "AWS::SSM::PatchCompliance", **given)


def released(world: World, *kept: RemediationException) -> int:
    from dataclasses import replace

    port = MemoryExceptions(list(kept))
    count = release(replace(world.ports, exceptions=port), HERE)
    assert count == len(kept) - len(port.kept)
    return count


def test_an_exception_stands_until_the_node_is_proved(world: World) -> None:
    world.node()
    ask(world)
    assert released(world, exception()) == 0
    world.pass_minutes(5)
    world.round()
    assert released(world, exception()) == 0
    proved(world)
    assert released(world, exception()) == 1


def test_a_persons_exception_and_one_that_config_never_asked_about_are_left_alone(world: World) -> None:
    world.node()
    world.start()
    proved(world)
    assert released(world, exception()) == 0, "Config never asked for this node"
    world.pass_minutes(60)
    ask(world)
    world.pass_minutes(5)
    world.round()
    if world.case().state is not State.RESOLVED:
        proved(world)
    assert released(world, exception(until=NOW + timedelta(days=30))) == 0
    assert released(world, exception()) == 1
