"""Immutable groups: one ticket for a new image instead of patches in place, for as long as one node needs it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import State
from chalicelib.sweep import sweep
from tests.sets import NODE, machine, policy, policy_set
from tests.verbs.conftest import World

FLAG = {"tag": "PatchStrategy", "value": "immutable"}
TAGS = {"PatchStrategy": "immutable"}
MATE = Node(NODE.account, NODE.region, "i-0fedcba9876543210")


def rules(*policies: dict[str, Any]) -> PolicySet:
    return policy_set(*policies, immutable=FLAG)


def group(world: World, name: str = "web", *nodes: Node) -> None:
    """Non-compliant nodes of an immutable group."""
    world.policies = rules()
    for node in nodes or (NODE, MATE):
        world.node(node, tags=TAGS, group=name)
        world.say(node)


def opened(world: World) -> list[str]:
    return [ticket.title for ticket in world.tickets.kept.values() if not ticket.resolved]


def test_the_nodes_of_a_group_share_one_ticket_and_none_is_patched(world: World) -> None:
    group(world)
    world.pass_minutes(10)
    assert world.round().executions == 0
    assert opened(world) == ["Auto Scaling group web in 111122223333/eu-west-1: a new image is due, a person's turn"]
    assert {world.case(node).ticket for node in (NODE, MATE)} == {"oi-000000000001"}
    assert "PatchStrategy=immutable: build a new image for Auto Scaling group web" in world.case().because


def test_the_ticket_is_closed_when_the_last_node_is_replaced_or_compliant(world: World) -> None:
    group(world)
    world.inventory.node(NODE, machine(state="terminated"))
    world.say(at=world.clock.now() + timedelta(seconds=1))
    assert world.case().state is State.GONE and len(opened(world)) == 1
    assert world.ledger.trail(world.case().id)[-1].because.endswith("left open for other nodes of its group")
    world.pass_minutes(1)
    world.scanned(MATE)
    world.say(MATE, compliant=True)
    assert world.case(MATE).state is State.RESOLVED and opened(world) == []
    world.pass_minutes(5)
    sweep(world.ports)
    assert world.ledger.errands(world.clock.now() + timedelta(days=9)) == []


def test_a_ticket_that_was_closed_while_a_node_joined_it_is_opened_anew(world: World) -> None:
    group(world)
    world.tickets.kept = {id: replace(one, resolved=True) for id, one in world.tickets.kept.items()}
    world.pass_minutes(5)
    sweep(world.ports)
    assert len(opened(world)) == 1
    assert {world.case(node).ticket for node in (NODE, MATE)} == {"oi-000000000002"}
    assert world.ledger.errands(world.clock.now() + timedelta(days=9)) == []


def test_a_node_that_needs_no_image_any_more_opens_no_ticket_when_it_looks_again(world: World) -> None:
    group(world, "web", NODE)
    world.pass_minutes(1)
    world.scanned()
    world.say(compliant=True)
    world.pass_minutes(5)
    sweep(world.ports)
    assert opened(world) == [] and len(world.tickets.kept) == 1
    assert world.ledger.errands(world.clock.now() + timedelta(days=9)) == []


def test_two_groups_have_two_tickets_and_a_later_episode_opens_another(world: World) -> None:
    group(world, "web", NODE)
    group(world, "db", MATE)
    assert len(opened(world)) == 2
    world.pass_minutes(1)
    world.scanned()
    world.say(compliant=True)
    assert len(opened(world)) == 1
    world.pass_minutes(1)
    world.scanned(missing=1)
    world.say()
    assert len(opened(world)) == 2 and world.case().ticket == "oi-000000000003"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"tags": None, "group": "web"}, "whether the node is immutable is unknown"),
        ({"tags": TAGS, "group": None}, "replace the node, it is not patched in place"),
    ],
)
def test_what_is_not_known_and_what_is_in_no_group_is_a_ticket_of_its_own(
    world: World, state: dict[str, Any], says: str
) -> None:
    world.policies = rules()
    world.node(**state)
    world.say()
    assert world.case().state is State.TICKETED and says in world.case().because
    assert NODE.id in opened(world)[0]


def test_only_the_very_tag_and_value_count_and_a_careful_policy_stands(world: World) -> None:
    world.policies = rules(policy())
    world.node(tags={"PatchStrategy": "in-place"}, group="web")
    world.say()
    assert world.case().state is State.QUEUED
    assert rules().blocks >= {"node"} and policy_set().settings.immutable is None
