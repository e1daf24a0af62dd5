"""Guards together: a surge, a wave, a pause and an account that refuses us hold at once, and none undoes another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib import guard
from chalicelib.core.journal import Kind
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause, State
from chalicelib.core.surges import chosen
from chalicelib.core.waves import number
from chalicelib.dispatch import dispatch
from tests.sets import policy, policy_set
from tests.verbs.conftest import World
from tests.verbs.test_isolate import Barring
from tests.verbs.test_surge import finish, fleet, flip, guards, newest, queued, running, starts
from tests.verbs.test_waves import entries, in_work, minute, waves

ACCOUNTS = ("111122223333", "444455556666")


def other(account: str) -> str:
    return next(one for one in ACCOUNTS if one != account)


def surged(world: World, **then: Any) -> tuple[list[Node], str]:
    """A fleet that has just turned non-compliant, and the account in which its canary would be."""
    nodes = fleet(world, 40, **then)
    flip(world, nodes)
    world.pass_minutes(6)
    (canary,) = chosen(queued(world), 1)
    return nodes, canary.split(".")[0]


def rolled_in_two_accounts(world: World, *spec: dict[str, Any]) -> list[Node]:
    world.policies = policy_set(policy("all-now", waves=waves(*spec)))
    nodes = [Node(ACCOUNTS[n % 2], "eu-west-1", f"i-{n:017x}") for n in range(40)]
    for node in nodes:
        world.node(node)
        world.say(node)
    world.pass_minutes(6)
    return nodes


def test_a_surge_counts_what_is_paused_and_chooses_its_canary_where_starts_go_on(world: World) -> None:
    nodes, account = surged(world)
    world.pause("a change", scope=f"account/{account}")
    minute(world)
    assert newest(world).value["newly"] == 40
    assert [node.account for node in running(world)] == [other(account)]
    assert {world.case(node).held for node in nodes if node.account == account} == {"pause"}
    assert {case.held for case in queued(world) if case.node.account != account} == {"surge"}
    world.resume(f"account/{account}")
    minute(world)
    assert starts(world) == 1, "the end of a pause is no end of the surge"
    assert {case.held for case in queued(world)} == {"surge"}


def test_a_canary_that_is_paused_before_it_starts_is_replaced(world: World) -> None:
    _, account = surged(world)
    bar = Barring(world.automations, "start", account=account)
    dispatch(replace(world.ports, automations=bar))
    assert [name.split(".")[0] for name in newest(world).value["canaries"]] == [account] and not running(world)
    world.pause("a change", scope=f"account/{account}")
    minute(world)
    assert [node.account for node in running(world)] == [other(account)]
    assert len(newest(world).value["canaries"]) == 1


def test_a_canary_whose_account_refuses_is_replaced_and_the_surge_still_ends(world: World) -> None:
    nodes, account = surged(world)
    bar = Barring(world.automations, "start", account=account)
    ports = replace(world.ports, automations=bar)
    for _ in range(5):
        dispatch(ports)
        world.pass_minutes(1)
    assert guards(world)[:1] == ["tripped"] and guards(world).count("canary chosen") == 1
    assert [node.account for node in running(world)] == [other(account)] and bar.asked == 1
    finish(world, running(world))
    for _ in range(3):
        dispatch(ports)
        world.pass_minutes(1)
    assert "released" in guards(world)
    assert {node.account for node in running(world)} == {other(account)}
    assert {world.case(node).held for node in nodes if node.account == account} == {"account"}


def test_a_case_that_two_hold_is_told_so_once_and_not_in_turns(world: World) -> None:
    nodes, account = surged(world)
    ports = replace(world.ports, automations=Barring(world.automations, "start", account=account))
    for _ in range(40):
        dispatch(ports)
        world.pass_minutes(1)
    there = [node for node in nodes if node.account == account]
    assert guard.tripped(newest(world)) and {world.case(node).held for node in there} == {"account"}
    told = [
        [line.because for line in world.ledger.trail(world.case(node).id) if line.cause is Cause.NOTED]
        for node in there
    ]
    assert max(map(len, told)) == 1, told


def test_what_a_surge_holds_takes_no_hourly_room_and_no_slot_of_a_group(world: World) -> None:
    surged(world, max_per_hour=1, per_group=[{"by": "availability-zone", "max": 1}])
    minute(world)
    assert [str(one) for one in newest(world).value["canaries"]] == [world.case(node).id for node in running(world)]
    assert {case.held for case in queued(world)} == {"surge"}


@pytest.mark.parametrize("how", ["pause", "refusal"])
def test_a_wave_waits_for_whom_cannot_start_and_counts_nobody_as_failed(world: World, how: str) -> None:
    rolled_in_two_accounts(world, {"percent": 40}, {"percent": 100})
    away = ACCOUNTS[0]
    bar = Barring(world.automations, "start", account=away)
    ports = replace(world.ports, automations=bar) if how == "refusal" else world.ports
    if how == "pause":
        world.pause("a change", scope=f"account/{away}")
    dispatch(ports)
    first = [case.node for case in in_work(world)]
    assert first and {node.account for node in first} == {other(away)}
    finish(world, first)
    for _ in range(30):
        world.pass_minutes(1)
        dispatch(ports)
    assert entries(world) == ["began"] and not in_work(world), "half a wave is no wave"
    assert not any(guard.tripped(line) for line in world.ledger.subjects(Kind.ROLLOUT))
    bar.on = False
    if how == "pause":
        world.resume(f"account/{away}")
    for _ in range(60):
        world.pass_minutes(1)
        dispatch(ports)
        finish(world, [case.node for case in in_work(world)])
    assert entries(world) == ["began", "verified", "opened wave 2"]
    assert {case.state for case in world.ledger.all_heads()} == {State.RESOLVED}


@pytest.mark.parametrize("how", ["pause", "refusal"])
def test_a_node_that_was_chosen_for_a_wave_and_cannot_start_is_replaced(world: World, how: str) -> None:
    nodes = rolled_in_two_accounts(world, {"nodes": 1}, {"percent": 100})
    away = min(nodes, key=lambda node: number("all-now", str(node))).account
    bar = Barring(world.automations, "start", account=away)
    ports = replace(world.ports, automations=bar)
    dispatch(ports)
    assert not in_work(world)
    if how == "pause":
        world.pause("a change", scope=f"account/{away}")
    for _ in range(3):
        world.pass_minutes(1)
        dispatch(ports)
    (chosen_one,) = [case.node for case in in_work(world)]
    assert chosen_one.account == other(away)
    finish(world, [chosen_one])
    world.pass_minutes(1)
    dispatch(ports)
    assert entries(world) == ["began", "picked", "verified", "opened wave 2"]
    assert {case.node.account for case in in_work(world)} == {other(away)}
