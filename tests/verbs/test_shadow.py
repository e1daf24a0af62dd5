"""A shadow stands beside the real decision in the trail and never acts, nor does a policy where its rollout ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.remediations import State
from chalicelib.core.rollouts import number
from chalicelib.sweep import sweep
from tests.sets import NODE, policy, policy_set, tag
from tests.verbs.conftest import World

NODES = [replace(NODE, id=f"i-{each:017x}") for each in range(12)]
DEV = tag("Environment", "dev")


def world_of(*policies: dict[str, Any]) -> World:
    return World(policies=policy_set(*policies))


def wait(world: World, rounds: int = 6) -> None:
    for _ in range(rounds):
        world.pass_minutes(10)
        sweep(world.ports)
        world.round()


def recorded(world: World) -> list[Any]:
    """The shadows of every line that holds a decision."""
    lines = world.ledger.trail(world.case().id)
    return [line.sets["decision"]["shadows"] for line in lines if "decision" in line.sets]


@pytest.mark.parametrize("action", ["remediate", "approve", "ticket", "exempt", "observe"])
@pytest.mark.parametrize("band", ["guardrail", "emergency", "standard"])
def test_a_shadow_is_recorded_and_nothing_is_done(action: str, band: str) -> None:
    world = world_of(policy("trial", DEV, mode="shadow", action=action, band=band))
    world.node()
    world.say()
    wait(world)
    assert recorded(world)[0] == [{"policy": "trial", "action": action}]
    assert (world.case().state, world.case().decision["policy"]) == (State.OPEN, None)
    assert not world.automations.started and not world.tickets.kept
    assert world.ledger.lease(f"node/{NODE}") is None and not world.ledger.errands(world.clock.now())


@pytest.mark.parametrize("action", ["ticket", "exempt", "approve"])
def test_a_shadow_never_holds_the_real_decision_back(action: str) -> None:
    world = world_of(policy("real", DEV), policy("trial", DEV, mode="shadow", action=action, band="guardrail"))
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    assert world.causes() == ["queued", "intended", "started", "succeeded", "resolved"]
    assert recorded(world)[0] == [{"policy": "trial", "action": action}]
    assert not world.tickets.kept


def test_a_shadow_that_cannot_be_evaluated_raises_no_ticket() -> None:
    world = world_of(policy("real"), policy("trial", DEV, mode="shadow", action="ticket"))
    world.node(tags=None)
    world.say()
    assert (world.case().state, recorded(world)) == (State.QUEUED, [[]])


def test_a_shadow_that_begins_to_match_is_recorded_with_the_next_note() -> None:
    world = world_of(policy("real", window="saturday"), policy("trial", DEV, mode="shadow"))
    world.node(tags={})
    world.say()
    world.node()
    world.pass_minutes(1)
    world.say()
    world.pass_minutes(1)
    world.say()
    assert world.causes() == ["deferred", "noted", "noted"]
    assert recorded(world) == [[], [{"policy": "trial", "action": "remediate"}]]
    assert (world.case().decision["policy"], world.case().decision["shadows"][0]["policy"]) == ("real", "trial")


def rolled(percent: int) -> dict[str, Any]:
    return policy("rolled", DEV, rollout={"percent": percent, "accounts": None})


def test_a_rollout_acts_on_its_share_and_records_what_it_would_do_with_the_rest() -> None:
    world = world_of(rolled(50))
    for node in NODES:
        world.node(node)
        world.say(node)
    wait(world)
    inside = {node for node in NODES if number("rolled", node.id) < 50}
    assert 0 < len(inside) < len(NODES), "the nodes of this test fall on both sides"
    started = {member for batch in world.automations.started for member in batch.parameters["NodeIds"]}
    assert started == {node.id for node in inside}
    for node in set(NODES) - inside:
        assert world.causes(node)[0] == "observed"
        assert world.case(node).decision["shadows"] == [{"policy": "rolled", "action": "remediate"}]


def test_a_larger_share_takes_the_others_in_and_starts_nobody_twice() -> None:
    world = world_of(rolled(50))
    for node in NODES:
        world.node(node)
        world.say(node)
    wait(world)
    world.policies = policy_set(rolled(100))
    for node in NODES:
        world.say(node)
    wait(world)
    started = [member for batch in world.automations.started for member in batch.parameters["NodeIds"]]
    assert sorted(started) == sorted(node.id for node in NODES)
