"""Waves: each starts when the one before is verified, within its error budget, and has soaked."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib import guard, wave
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.surges import as_of
from chalicelib.core.waves import Count
from chalicelib.dispatch import dispatch
from chalicelib.lookup import rollouts
from chalicelib.sweep import sweep
from tests.sets import HERE, NOW, machine, policy, policy_set, scan
from tests.verbs.conftest import World

HOUR = 3600


def waves(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"tag": None, "nodes": None, "percent": None, "soak": 0, "max_errors": 0, **one} for one in given]


THREE = waves({"nodes": 1}, {"percent": 20, "soak": HOUR, "max_errors": 1}, {"percent": 100})


def rolled(world: World, count: int = 40, spec: list[dict[str, Any]] = THREE, **given: Any) -> list[Node]:
    """So many nodes of one policy with waves, all of them due."""
    world.policies = policy_set(policy("all-now", waves=spec, **given))
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(count)]
    for node in nodes:
        world.node(node)
        world.say(node)
    world.pass_minutes(6)
    world.round()
    return nodes


def in_work(world: World) -> list[Remediation]:
    return list(world.ledger.work([State.STARTING, State.RUNNING]))


def finish(world: World, *, failing: int = 0) -> None:
    """Everything that runs ends twenty minutes later; the first ones fail."""
    world.pass_minutes(20)
    cases = in_work(world)
    for number, case in enumerate(cases):
        world.scanned(case.node, **({"missing": 1} if number < failing else {}))
    for execution in {str(case.execution) for case in cases}:
        members = [case.node for case in cases if case.execution == execution]
        bad = {case.node for case in cases[:failing]}
        world.end(execution, nodes={node: "Failed" if node in bad else "Success" for node in members})


def entries(world: World) -> list[str]:
    (line,) = world.ledger.subjects(Kind.ROLLOUT)
    return [one.what for one in world.ledger.entries(line.subject)]


def newest(world: World) -> Entry:
    return world.ledger.subjects(Kind.ROLLOUT)[-1]


def minute(world: World) -> None:
    world.pass_minutes(1)
    world.round()


def test_a_rollout_goes_from_one_node_over_a_share_to_all(world: World) -> None:
    nodes = rolled(world)
    assert len(in_work(world)) == 1
    minute(world)
    assert len(in_work(world)) == 1, "the second wave waits for the proof of the first"
    finish(world)
    minute(world)
    second = {case.node for case in in_work(world)}
    assert 2 <= len(second) <= 16
    finish(world)
    minute(world)
    assert in_work(world) == [], "the second wave soaks"
    until = format_moment(newest(world).at + timedelta(hours=1))
    assert newest(world).because.endswith(f"it soaks until {until}, then the next one opens")
    assert {case.held for case in world.ledger.work([State.QUEUED])} == {"wave"}
    world.pass_minutes(60)
    world.round()
    finish(world)
    assert {world.case(node).state for node in nodes} == {State.RESOLVED}
    assert entries(world) == ["began", "verified", "opened wave 2", "verified", "opened wave 3"]
    assert [one["stands"] for one in rollouts(world.ledger)] == ["finished"]


def test_what_is_found_later_belongs_to_the_wave_it_hashes_into_and_then_to_the_next_rollout(world: World) -> None:
    rolled(world)
    late = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(100, 140)]
    for node in late:
        world.node(node)
        world.say(node)
    for _ in range(6):
        minute(world)
    assert len(in_work(world)) == 1
    for _ in range(2):
        finish(world)
        minute(world)
        world.pass_minutes(61)
        world.round()
        minute(world)
    finish(world)
    assert {world.case(node).state for node in late} == {State.RESOLVED}
    again = Node("111122223333", "eu-west-1", "i-00000000000000fff")
    world.node(again, replace(scan(world.clock.now()), id=again.id))
    world.say(again)
    for _ in range(6):
        minute(world)
    assert newest(world).value["number"] == 2 and [case.node for case in in_work(world)] == [again]


def test_a_wave_that_fails_stops_the_rollout_with_one_ticket_and_one_notice(world: World) -> None:
    nodes = rolled(world, attempts=1)
    finish(world, failing=1)
    for _ in range(5):
        minute(world)
    assert in_work(world) == [] and entries(world) == ["began", "tripped", "ticketed"]
    assert len(world.notices.of("guard_tripped")) == 1
    assert len([one for one in world.tickets.kept.values() if "incident" in one.key]) == 1
    assert "1 node of wave 1 of 3 (1 node) failed, its error budget is 0" in str(newest(world).value["stopped"])
    wave.resume(world.ports, newest(world), "that node was broken before", "ops@example.com")
    minute(world)
    assert len(in_work(world)) > 1
    minute(world)
    assert [one.resolved for one in world.tickets.kept.values() if "incident" in one.key] == [True]
    finish(world)
    minute(world)
    world.pass_minutes(61)
    world.round()
    finish(world)
    assert sum(world.case(node).state is State.RESOLVED for node in nodes) == 39


def test_a_policy_that_comes_back_after_its_rollout_had_stopped_holds_with_a_new_ticket(world: World) -> None:
    rolled(world, attempts=1)
    first = world.policies
    finish(world, failing=1)
    minute(world)
    world.policies = policy_set(policy("all-now", title="another title", waves=THREE, attempts=1))
    sweep(world.ports)
    assert entries(world)[-2:] == ["superseded", "settled"]
    world.policies = first
    minute(world)
    minute(world)
    assert in_work(world) == [] and [one["stands"] for one in rollouts(world.ledger)] == ["stopped"]
    assert [one.resolved for one in world.tickets.kept.values() if "incident" in one.key] == [True, False]
    wave.resume(world.ports, newest(world), "that node was broken before", "ops@example.com")
    world.pass_minutes(6)
    world.round()
    assert in_work(world)


def test_a_rollout_that_a_person_stopped_keeps_no_deadline_silent(world: World) -> None:
    """It has no ticket of its own."""
    nodes = rolled(world, deadline=7200)
    wave.stop(world.ports, newest(world), "the mirror is down", "ops@example.com")
    world.pass_minutes(181)
    world.round()
    assert sum(world.case(node).state is State.TICKETED for node in nodes) == len(nodes) - 1


@pytest.mark.parametrize("known", [True, False])
def test_what_a_set_published_in_the_middle_of_a_round_decides_waits_for_the_next(world: World, known: bool) -> None:
    """The window opens, and the wake decides by a set that the round has not looked at."""
    spec = THREE if known else []
    old = policy_set(policy("all-now", waves=spec, window="saturday"))
    new = policy_set(policy("all-now", title="another title", waves=THREE, window="saturday"))
    world.policies = old
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(20)]
    for node in nodes:
        world.node(node)
        world.say(node)
    world.clock.move(datetime(2026, 11, 28, 2, 1, tzinfo=UTC) - world.clock.now())
    made = dispatch(replace(world.ports, policies=Published(old, new)))
    assert (made.started, made.held) == (0, 20)
    assert {case.held for case in world.ledger.work([State.QUEUED])} == {"wave"}
    world.policies = new
    minute(world)
    assert len(in_work(world)) == 1, "its first wave, and no more"


class Published:
    """A store in which another set stands from the second look on."""

    def __init__(self, first: PolicySet, then: PolicySet) -> None:
        self._sets = [first, then]

    def active(self) -> PolicySet:
        return self._sets.pop(0) if len(self._sets) > 1 else self._sets[0]

    def trouble(self) -> str | None:
        return None


def test_the_second_wave_bears_as_many_failures_as_it_says(world: World) -> None:
    rolled(world, attempts=1)
    finish(world)
    minute(world)
    finish(world, failing=1)
    minute(world)
    assert newest(world).what == "verified"
    world.pass_minutes(61)
    world.round()
    assert len(in_work(world)) > 10


def test_a_tag_names_the_canaries_and_without_one_a_node_stands_in(world: World) -> None:
    spec = waves({"tag": "PatchRing=canary"}, {"percent": 100})
    world.policies = policy_set(policy("all-now", waves=spec))
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(20)]
    for number, node in enumerate(nodes):
        world.node(node, tags={"PatchRing": "canary"} if number in (3, 7) else {})
        world.say(node)
    world.pass_minutes(6)
    world.round()
    assert {case.node for case in in_work(world)} == {nodes[3], nodes[7]}

    other = World()
    rolled(other, 20, spec)
    assert len(in_work(other)) == 1


def test_an_emergency_rolls_out_in_waves_too(world: World) -> None:
    rolled(world, 20, waves({"nodes": 2}, {"percent": 100}), band="emergency", expires="2027-01-01T00:00:00Z")
    assert len(in_work(world)) == 2


def test_a_canary_that_is_gone_is_replaced_and_proves_nothing(world: World) -> None:
    rolled(world)
    (canary,) = in_work(world)
    world.inventory.node(canary.node, machine(id=canary.node.id, state="terminated"))
    world.end(str(canary.execution), nodes={canary.node: "Undeliverable"})
    sweep(world.ports)
    world.pass_minutes(40)
    world.round()
    minute(world)
    assert len(in_work(world)) <= 1 and newest(world).value["wave"] == 0


def test_a_canary_that_was_never_reached_proves_nothing_when_somebody_fixed_it(world: World) -> None:
    rolled(world)
    (canary,) = in_work(world)
    before = as_of(canary)
    fixed = replace(canary, state=State.RESOLVED, unreached=1)
    assert as_of(fixed) != before
    count = Count(1, 0, {canary.id: before})
    assert (count.after({canary.id: fixed}).passed, count.after({canary.id: fixed}).verified) == (1, 0)
    failed = count.after({canary.id: replace(fixed, state=State.WAITING)})
    assert (failed.failed, failed.passed) == (1, 0), "a wave still counts it as failed until then"
    proved = replace(fixed, attempted_at=world.clock.now())
    assert count.after({canary.id: proved}).verified == 1


def test_a_changed_policy_begins_anew_and_ends_a_stopped_rollout(world: World) -> None:
    rolled(world, attempts=1)
    finish(world, failing=1)
    minute(world)
    old = newest(world)
    assert guard.tripped(old)
    world.policies = policy_set(policy("all-now", waves=THREE, attempts=2))
    minute(world)
    world.pass_minutes(6)
    world.round()
    sweep(world.ports)
    assert len(world.ledger.subjects(Kind.ROLLOUT)) == 2 and len(in_work(world)) == 1
    assert [one.resolved for one in world.tickets.kept.values() if "incident" in one.key] == [True]


def test_a_person_stops_a_rollout_without_a_ticket(world: World) -> None:
    rolled(world)
    wave.stop(world.ports, newest(world), "the change board says no", "ops@example.com")
    finish(world)
    for _ in range(3):
        minute(world)
    assert in_work(world) == [] and world.tickets.kept == {}
    assert rollouts(world.ledger)[0]["stands"] == "stopped"


def test_two_rounds_at_once_open_no_wave_twice(world: World) -> None:
    rolled(world)
    finish(world)
    world.pass_minutes(1)
    dispatch(world.ports)
    first = {case.id for case in in_work(world)}
    dispatch(world.ports)
    assert {case.id for case in in_work(world)} == first
    assert entries(world).count("opened wave 2") == 1
    assert world.clock.now() - NOW < timedelta(hours=1)


def test_a_canary_that_comes_back_starts_beside_none_that_replaced_it(world: World) -> None:
    world.policies = policy_set(policy("all-now", waves=THREE))
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(40)]
    for node in nodes:
        world.node(node, state="stopping")
        world.say(node)
    world.pass_minutes(6)
    for _ in range(4):
        world.round()
        world.pass_minutes(1)
    assert len(newest(world).value["picked"]) > 1, "each is asked again in five minutes, and another one is chosen"
    for node in nodes:
        world.inventory.node(node, machine(id=node.id))
    for _ in range(10):
        minute(world)
        assert len(in_work(world)) <= 1
    finish(world)
    minute(world)
    assert newest(world).what == "opened wave 2" and len(in_work(world)) > 1, "none of them is left behind"


@pytest.mark.parametrize("held", ["busy", "max_per_hour"])
def test_a_wave_is_not_verified_without_those_that_come_back_by_themselves(world: World, held: str) -> None:
    spec = waves({"percent": 20}, {"percent": 100})
    world.policies = policy_set(policy("all-now", waves=spec, max_per_hour=5 if held == "max_per_hour" else None))
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(60)]
    for node in nodes:
        world.node(node)
        world.say(node)
    members = {node.id for node in nodes if int(world.case(node).decision["wave"]) == 0}
    if held == "busy":
        world.automations.elsewhere = {HERE: dict.fromkeys(sorted(members)[5:], "theirs")}
    world.pass_minutes(6)
    world.round()
    assert len(in_work(world)) == 5 < len(members)
    finish(world)
    for _ in range(8):
        minute(world)
    assert newest(world).what == "began"
    world.automations.elsewhere = {}
    for _ in range(8):
        world.pass_minutes(40)
        world.round()
        minute(world)
        finish(world)
        if newest(world).what != "began":
            break
    assert {case.node.id for case in world.ledger.work([State.QUEUED, State.WAITING])}.isdisjoint(members)
