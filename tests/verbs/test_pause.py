"""The pause: what it holds, from when on, who reads of it, and what becomes of what is in flight."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import act, pause
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.journal import Kind
from chalicelib.core.nodes import Node
from chalicelib.core.pauses import ALL
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.lookup import health, status
from chalicelib.ports import Invocation
from chalicelib.proof import verify
from chalicelib.sweep import sweep
from tests.sets import NODE, policy, policy_set, tag
from tests.verbs.conftest import Broken, World, execution_event

OTHER = Node("444455556666", "us-east-1", "i-0fedcba9876543210")


def due(world: World, *nodes: Node) -> None:
    """Nodes that would start with the next round."""
    for node in nodes:
        world.node(node)
        world.say(node)
    world.pass_minutes(5)


@pytest.mark.parametrize(
    "scope", [f"account/{NODE.account}", f"region/{NODE.region}", "policy/now"], ids=["account", "region", "policy"]
)
def test_a_pause_of_a_part_holds_that_part_and_nothing_else(world: World, scope: str) -> None:
    world.policies = policy_set(policy("now", tag("Kind", "hot")), policy("rest", priority=-1))
    world.node(NODE, tags={"Kind": "hot"})
    world.node(OTHER, tags={"Kind": "cold"})
    world.say(NODE)
    world.say(OTHER)
    world.pass_minutes(5)
    world.pause("a bad patch", scope=scope)
    assert world.round().executions == 1
    assert (world.case(NODE).state, world.case(NODE).held) == (State.QUEUED, "pause")
    assert world.case(OTHER).state is State.RUNNING
    world.resume(scope)
    assert world.round().executions == 1


def test_what_a_pause_holds_is_noted_once_however_long_it_lasts(world: World) -> None:
    due(world, NODE)
    world.pause("freeze")
    for _ in range(3):
        assert world.round().held == 1
        world.pass_minutes(1)
    assert world.causes() == ["queued", "noted"]
    assert world.ledger.trail(world.case().id)[-1].because == "held by pause: paused by operator: freeze"
    assert [told["because"] for told in world.notices.of("paused")] == ["paused by operator: freeze"]


@pytest.mark.parametrize(("first", "second", "until"), [(None, 30, None), (30, None, None), (60, 30, 60), (30, 60, 60)])
def test_a_second_pause_never_shortens_the_first(
    world: World, first: int | None, second: int | None, until: int | None
) -> None:
    begun = world.clock.now()
    world.pause("an incident", by="bob", until=begun + timedelta(minutes=first) if first else None)
    world.pass_minutes(1)
    for _ in range(2):
        world.pause("a load test", by="ann", until=begun + timedelta(minutes=second) if second else None)
    (held,) = pause.in_force(world.ledger, world.clock.now())
    assert held.because == "paused by ann: a load test; before by bob: an incident"
    assert held.until == (begun + timedelta(minutes=until) if until else None) and held.since == begun
    world.resume()
    world.pause("a short look", until=world.clock.now() + timedelta(minutes=5))
    assert pause.read(world.ports).everything == "paused by operator: a short look"


def test_a_pause_that_is_over_adds_nothing_to_the_next(world: World) -> None:
    world.pause("an incident", until=world.clock.now() + timedelta(minutes=5))
    world.pass_minutes(6)
    world.pause("a load test", until=world.clock.now() + timedelta(minutes=5))
    assert pause.read(world.ports).everything == "paused by operator: a load test"


@pytest.mark.parametrize("paused", [True, False], ids=["paused", "not-paused"])
def test_a_resume_that_comes_again_lifts_no_later_pause(world: World, paused: bool) -> None:
    if paused:
        world.pause("a look")
    told = act.resume(world.ports, "ann", "over", "k")
    world.pass_minutes(2)
    world.pause("an incident", by="bob")
    assert act.resume(world.ports, "ann", "over", "k") == told and (told["was"] is not None) is paused
    assert pause.read(world.ports).everything == "paused by bob: an incident"
    assert verify(world.ledger, world.clock.now()).lines


def test_a_pause_that_comes_again_holds_nothing_that_was_let_go(world: World) -> None:
    told = act.pause(world.ports, "ann", "a look", None, "k")
    world.pass_minutes(2)
    world.resume()
    assert act.pause(world.ports, "ann", "a look", None, "k") == told
    assert pause.read(world.ports).everything is None


class Meanwhile:
    """A port beside which something happens at its first call."""

    def __init__(self, whole: Any, method: str, happens: Any) -> None:
        self._whole, self._method, self._happens = whole, method, happens

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._happens:
            happens, self._happens = self._happens, None
            happens()
        return getattr(self._whole, name)


@pytest.mark.parametrize("scope", [ALL, f"account/{NODE.account}", "policy/now"])
def test_a_pause_between_the_intent_and_the_start_holds_the_start(world: World, scope: str) -> None:
    world.policies = policy_set(policy("now"))
    due(world, NODE)
    ledger = Meanwhile(world.ledger, "save_batch", lambda: world.pause("stop", scope=scope))
    dispatch(replace(world.ports, ledger=ledger))
    assert not world.automations.started and world.ledger.open_batches() == []
    assert (world.case().state, world.case().held, world.case().leases) == (State.QUEUED, "pause", ())
    assert world.causes() == ["queued", "intended", "withdrawn"]


def test_a_switch_that_becomes_unreadable_holds_the_start_too(world: World) -> None:
    due(world, NODE)

    class Late:
        """A ledger whose pauses can be read once, and then no more."""

        left = 2

        def __getattr__(self, name: str) -> Any:
            return getattr(world.ledger, name)

        def subjects(self, kind: Kind) -> Any:
            self.left -= kind is Kind.PAUSE
            if kind is Kind.PAUSE and self.left < 0:
                raise Denied("no access")
            return world.ledger.subjects(kind)

    dispatch(replace(world.ports, ledger=Late()))
    assert not world.automations.started and world.case().state is State.QUEUED
    assert "the pause switch cannot be read: no access" in world.ledger.trail(world.case().id)[-1].because


def test_status_and_health_say_who_why_until_and_how_many(world: World) -> None:
    world.policies = policy_set(policy("now"))
    due(world, NODE)
    world.pause("a bad patch", scope="policy/now", by="op", until=world.clock.now() + timedelta(hours=1))
    world.round()
    told = status(world.ledger, world.clock.now())
    assert told["paused"] is None and told["held"] == {"pause": 1}
    assert told["pauses"] == [{"scope": "policy/now", "by": "op", "reason": "a bad patch", "holds": 1,
                               "since": "2026-11-23T12:05:00.000Z", "until": "2026-11-23T13:05:00.000Z"}]  # fmt: skip
    assert [one["scope"] for one in health(world.ports)["pauses"]] == ["policy/now"]
    world.pass_minutes(61)
    over = status(world.ledger, world.clock.now())
    assert (over["pauses"], over["held"]) == ([], {}), "what is over is neither told nor counted"


def test_each_pause_and_each_end_is_a_line_that_audit_verify_checks(world: World) -> None:
    world.pause("one")
    world.pause("two, and why", by="second")
    world.resume()
    assert [(line.what, line.actor, line.because) for line in world.ledger.entries("pause/all")] == [
        ("paused", "operator", "one"), ("paused", "second", "two, and why; before by operator: one"),
        ("resumed", "operator", "over"),
    ]  # fmt: skip
    assert pause.end(world.ports, ALL, by="operator", reason="again") is None
    assert (verify(world.ledger, world.clock.now()).lines, len(world.ledger.subjects(Kind.PAUSE))) == (3, 1)


def test_what_is_late_under_a_pause_is_a_persons_turn(world: World) -> None:
    world.policies = policy_set(policy(deadline=3600))
    due(world, NODE)
    world.pause("freeze")
    world.pass_minutes(60)
    world.round()
    assert world.case().state is State.TICKETED and "its deadline" in world.case().because


def test_stopping_tells_each_node_stops_the_execution_and_what_it_never_reached_waits(world: World) -> None:
    world.node()
    execution = world.start()
    world.pause("a bad patch", by="op")
    (begun,) = pause.in_force(world.ledger, world.clock.now())
    (stopped,) = pause.stop_running(world.ports, begun)
    assert (stopped.execution, stopped.nodes, stopped.because) == (execution, 1, None)
    line = world.ledger.trail(world.case().id)[-1]
    assert (line.actor, line.because) == ("op", f"paused by op: a bad patch: execution {execution} is being stopped")
    world.automations.end(NODE.location, execution, "Cancelled", at=world.clock.now(), steps={"InstallPatches": []})
    follow(world.ports, execution_event(NODE, execution, "Cancelled"))
    case = world.case()
    assert (case.state, case.attempts, case.leases) == (State.QUEUED, 0, ())
    assert case.because == "the execution was stopped before it reached the node"
    assert world.round().executions == 0
    world.resume()
    world.pass_minutes(5)
    assert world.round().executions == 1


def test_the_commands_of_a_stopped_execution_are_cancelled_and_what_they_did_counts(world: World) -> None:
    world.node()
    execution = world.start()
    said = [Invocation(NODE.id, "Cancelled")]
    world.automations.end(NODE.location, execution, "Cancelled", at=world.clock.now(), steps={"InstallPatches": said})
    world.pause("a bad patch", scope=f"account/{NODE.account}")
    (begun,) = pause.in_force(world.ledger, world.clock.now())
    pause.stop_running(world.ports, begun)
    assert len(world.automations.cancelled) == 1
    world.pass_minutes(46)
    sweep(world.ports)
    assert (world.case().state, world.case().attempts) == (State.WAITING, 1)
    assert world.case().last_outcome == "the install ended Cancelled"


def test_what_is_outside_the_scope_runs_on_and_what_cannot_be_stopped_is_told(world: World) -> None:
    world.node()
    world.start()
    world.pause("x", scope="account/444455556666")
    (begun,) = pause.in_force(world.ledger, world.clock.now())
    assert pause.stop_running(world.ports, begun) == []
    world.pause("y")
    everything = next(one for one in pause.in_force(world.ledger, world.clock.now()) if one.scope == ALL)
    broken = replace(world.ports, automations=Broken(world.automations, "stop", Temporary("busy")))
    (stopped,) = pause.stop_running(broken, everything)
    assert stopped.because == "busy" and stopped.execution


def test_stops_are_a_second_apart_at_one_place(world: World) -> None:
    world.policies = policy_set(policy("p", priority=-1), policy("q", tag("Kind", "q"), reboot="never"))
    world.node(NODE, tags={})
    second = world.node(Node(NODE.account, NODE.region, OTHER.id), tags={"Kind": "q"})
    world.say(NODE)
    world.say(second)
    world.pass_minutes(5)
    assert world.round().executions == 2
    world.pause("z")
    (begun,) = pause.in_force(world.ledger, world.clock.now())
    before = world.clock.now()
    assert len(pause.stop_running(world.ports, begun)) == 2
    assert world.clock.now() - before == timedelta(seconds=pause.PACE)
