"""Fairness on the whole service: an account that floods us takes nobody's turn, and what is critical goes first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from chalicelib.core.nodes import Node
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from tests.sets import HERE, policy, policy_set, tag
from tests.verbs.conftest import World

FLOODED = HERE.account
QUIET = [f"{number:012}" for number in range(1, 6)]
LOW, HIGH = policy("low", severity=4, band="default"), policy("high", tag("Tier", "high"), severity=1)
TIERS = [policy(f"high-{tier}", tag("Tier", f"high-{tier}"), severity=1, concurrency=f"{tier + 1}")
         for tier in range(8)]  # fmt: skip
"""Each is a plan of its own, so that its nodes share no execution with the others."""


class Unhurried:
    """Systems Manager, in which every start takes its time."""

    def __init__(self, world: World, call: timedelta) -> None:
        self._world, self._call = world, call

    def __getattr__(self, name: str) -> Any:
        if name == "start":
            self._world.clock.move(self._call)
        return getattr(self._world.automations, name)


def service(world: World, linger: int = 300) -> None:
    scope = {"accounts": [FLOODED, *QUIET], "regions": [HERE.region]}
    world.policies = policy_set(LOW, HIGH, *TIERS, scope=scope, executions_per_location=1000, linger=linger)


_numbers = count(1)


def found(world: World, account: str, many: int = 1, tier: str = "low") -> list[Node]:
    nodes = [Node(account, HERE.region, f"i-{next(_numbers):017x}") for _ in range(many)]
    for node in nodes:
        world.say(world.node(node, tags={"Tier": tier}))
    return nodes


def round_(world: World, call: timedelta = timedelta(seconds=5)) -> None:
    """One round in which each start takes so long, and then the rest of its minute."""
    begun: datetime = world.clock.now()
    dispatch(replace(world.ports, automations=Unhurried(world, call)))
    world.clock.move(max(begun + timedelta(minutes=1) - world.clock.now(), timedelta()))


def started(world: World, nodes: Iterable[Node]) -> bool:
    return all(world.case(node).state is State.RUNNING for node in nodes)


def test_who_has_one_node_does_not_wait_for_who_has_a_thousand(world: World) -> None:
    service(world)
    flood = found(world, FLOODED, 1000)
    world.pass_minutes(1)
    quiet = [node for account in QUIET for node in found(world, account)]
    world.pass_minutes(5)
    round_(world)
    assert started(world, quiet), "each account has its turn before anybody has a second"
    assert 1 <= sum(world.case(node).state is State.RUNNING for node in flood) // 50 <= 6


def test_what_is_critical_leaves_before_what_is_low_and_was_there_before(world: World) -> None:
    service(world)
    flood = found(world, FLOODED, 1000)
    world.pass_minutes(6)
    round_(world)
    critical = [*found(world, FLOODED, 3, "high"), *found(world, FLOODED, 2, "high")]
    before = len(world.automations.started)
    round_(world)
    first = world.automations.started[before]
    assert {node.id for node in critical} <= {member.node for member in first.members}
    assert not started(world, flood)


def test_a_flood_of_critical_ones_starves_neither_another_account_nor_its_own_low_ones(world: World) -> None:
    service(world, linger=0)
    (own,), (other,) = found(world, FLOODED), found(world, QUIET[0])
    waited: dict[Node, int] = {}
    for minute in range(60):
        for tier in range(8):
            found(world, FLOODED, tier=f"high-{tier}")
        round_(world, timedelta(seconds=20))
        for node in (own, other):
            if node not in waited and started(world, [node]):
                waited[node] = minute
        assert len(list(world.ledger.work([State.QUEUED]))) >= 5, "three starts a round serve no flood of eight"
    assert waited[other] == 0, "although eight critical batches are due"
    assert 30 <= waited[own] <= 36, "critical ones go first, but who has waited for half an hour counts as much"
