"""Error budgets: what a policy, or one plan with the same patches, may fail before nothing of it starts any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import budget, guard
from chalicelib.core.budgets import MOST, charged, spent
from chalicelib.core.journal import Kind
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause, State
from chalicelib.record import record
from chalicelib.sweep import sweep
from tests.sets import NOW, policy, policy_set, tag
from tests.verbs.conftest import World
from tests.verbs.test_waves import finish, in_work, minute

DAY = timedelta(hours=24)


def spend(
    world: World, most: str = "2", *, failing: int = 2, count: int = 4, later: int = 3, **given: Any
) -> list[Node]:
    """A policy with a budget of which so many nodes run and some fail, while others turn up in another account."""
    limit = {"max_failures": most, "within": 86400}
    world.policies = policy_set(policy("all-now", error_budget=limit, **{"attempts": 1, **given}))
    for number in range(count):
        arrive(world, Node("111122223333", "eu-west-1", f"i-{number:017x}"))
    world.pass_minutes(6)
    world.round()
    rest = [Node("444455556666", "us-east-1", f"i-{number:017x}") for number in range(100, 100 + later)]
    for node in rest:
        arrive(world, node)
    finish(world, failing=failing)
    world.round()
    return rest


def arrive(world: World, node: Node, **state: Any) -> None:
    world.node(node, **state)
    world.say(node)


def incidents(world: World) -> list[bool]:
    return [ticket.resolved for ticket in world.tickets.kept.values() if "incident" in ticket.key]


def test_a_spent_budget_holds_the_policy_in_every_account(world: World) -> None:
    rest = spend(world)
    for _ in range(5):
        minute(world)
    assert in_work(world) == [] and {world.case(node).held for node in rest} == {"error_budget"}
    assert incidents(world) == [False] and len(world.notices.of("guard_tripped")) == 1
    assert "2 nodes failed within 24 h, its error budget is 2" in world.ledger.trail(world.case(rest[0]).id)[-1].because


def test_a_failure_less_lets_it_go_on(world: World) -> None:
    spend(world, failing=1)
    assert len(in_work(world)) == 3 and world.ledger.subjects(Kind.GUARD) == []


def test_a_person_releases_it_and_what_failed_before_counts_no_more(world: World) -> None:
    rest = spend(world)
    world.pass_minutes(1)
    for line in world.ledger.subjects(Kind.GUARD):
        guard.release(world.ports, line, "the mirror is back", actor="ops@example.com")
    minute(world)
    assert {case.node for case in in_work(world)} == set(rest)
    finish(world, failing=1)
    minute(world)
    assert not any(guard.tripped(line) for line in world.ledger.subjects(Kind.GUARD))
    assert incidents(world) == [True]


def test_a_changed_policy_has_a_budget_of_its_own_but_the_patches_fail_still(world: World) -> None:
    spend(world)
    limit = {"max_failures": "2", "within": 86400}
    world.policies = policy_set(policy("all-now", error_budget=limit, attempts=2))
    sweep(world.ports)
    (left,) = [line for line in world.ledger.subjects(Kind.GUARD) if guard.tripped(line)]
    assert left.name.startswith("budget/plan/") and incidents(world) == [False]
    minute(world)
    assert in_work(world) == []
    guard.release(world.ports, left, "the mirror is back", actor="ops@example.com")
    minute(world)
    world.pass_minutes(6)
    world.round()
    assert len(in_work(world)) == 3
    sweep(world.ports)
    assert incidents(world) == [True]


def test_a_share_is_one_of_the_nodes_whose_patching_ended(world: World) -> None:
    spend(world, "50%", count=4, failing=1)
    assert len(in_work(world)) == 3
    other = World()
    spend(other, "50%", count=4, failing=2)
    assert in_work(other) == []


def test_the_same_patches_stop_under_another_policy_too(world: World) -> None:
    """The plan has an account of its own, whether or not a policy asks for single patches."""
    limit = {"max_failures": "2", "within": 86400}
    world.policies = policy_set(
        policy("one", tag("Environment", "one"), error_budget=limit, attempts=1),
        policy("two", tag("Environment", "two"), error_budget=limit, attempts=1),
        policy("three", tag("Environment", "three"), attempts=1),
    )
    for number in range(2):
        arrive(world, Node("111122223333", "eu-west-1", f"i-{number:017x}"), tags={"Environment": "one"})
    world.pass_minutes(6)
    world.round()
    finish(world, failing=2)
    others = {name: Node("444455556666", "us-east-1", f"i-{number:017x}")
              for number, name in enumerate(("two", "three"), 10)}  # fmt: skip
    for name, node in others.items():
        arrive(world, node, tags={"Environment": name})
    world.pass_minutes(6)
    world.round()
    assert world.case(others["two"]).held == "error_budget"
    assert [case.node for case in in_work(world)] == [others["three"]], "without a budget nothing is held by one"
    assert len(world.notices.of("guard_tripped")) == 1 and len(incidents(world)) == 1


def test_an_unreachable_node_costs_no_budget(world: World) -> None:
    limit = {"max_failures": "1", "within": 86400}
    world.policies = policy_set(policy("all-now", error_budget=limit, attempts=1))
    arrive(world, Node("111122223333", "eu-west-1", "i-00000000000000001"), ping="ConnectionLost")
    world.pass_minutes(6)
    world.round()
    assert [line.cause for line in world.ledger.trail("111122223333.eu-west-1.i-00000000000000001.patch")][
        1
    ] == Cause.FAILED
    assert world.ledger.subjects(Kind.GUARD) == []


def test_a_batch_is_charged_once_for_a_node_however_often_it_is_tried(world: World) -> None:
    spend(world, "9", failing=1)
    (case,) = [one for one in world.ledger.all_heads() if one.state is State.TICKETED]
    before = world.ledger.kept("budget/" + case.decision["budget"]["accounts"][0])
    for notes in range(3):
        budget.charge(world.ports, replace(case, batch="another", number=case.number + notes))
    after = world.ledger.kept("budget/" + case.decision["budget"]["accounts"][0])
    assert before and after
    assert len(after.value["failed"]) == len(before.value["failed"]) + 1


def test_a_failure_that_a_note_gets_ahead_of_is_charged_once(world: World) -> None:
    spend(world, "9", failing=0, count=1, later=1)
    (case,) = in_work(world)
    budget.charge(world.ports, case)
    record(world.ports, case, Cause.NOTED, "still non-compliant, says a finding that came in between")
    finish(world, failing=1)
    kept = world.ledger.kept("budget/" + case.decision["budget"]["accounts"][0])
    assert kept and len(kept.value["failed"]) == 1


@pytest.mark.parametrize(("most", "ended", "failures", "is_spent"), [
    ("1", 0, 1, True), ("2", 0, 1, False), ("10%", 50, 4, False), ("10%", 50, 5, True), ("10%", 3, 1, True),
])  # fmt: skip
def test_when_a_budget_is_spent(most: str, ended: int, failures: int, is_spent: bool) -> None:
    value: dict[str, Any] = charged({}, NOW, DAY, ended=("batch", ended)) if ended else {}
    for number in range(failures):
        value = charged(value, NOW, DAY, failed=str(number))
    asked = {"max": most, "within": 86400}
    assert (spent(value, asked, NOW, None) is not None) == is_spent
    assert spent(value, asked, NOW + timedelta(hours=25), None) is None, "a day later it is whole again"
    assert spent(value, asked, NOW, NOW) is None, "what was released counts no more"


def test_an_account_that_remembers_no_more_is_spent() -> None:
    value: dict[str, Any] = {}
    for number in range(MOST + 5):
        value = charged(value, NOW, DAY, failed=f"{number:05}")
    assert len(value["failed"]) == MOST and spent(value, {"max": "9%", "within": 86400}, NOW, None)


def test_a_failure_is_one_of_those_that_ended_before_its_batch_is_counted() -> None:
    value = charged({}, NOW, DAY, failed="one")
    sentence = spent(value, {"max": "50%", "within": 86400}, NOW, None)
    assert sentence == "1 of 1 node failed within 24 h, its error budget is 50%"
