"""The last moment before a start: what no longer may start when its second comes stays back, with its reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.core.errors import PolicyError
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from tests.sets import HERE, policy, policy_set, tag
from tests.verbs.conftest import World

ENDS = datetime(2026, 11, 28, 6, tzinfo=UTC)  # of the Saturday's window
OTHER = Node(HERE.account, HERE.region, "i-0fedcba9876543210")
YEAR_END = {"name": "year-end", "since": "2026-11-28T06:00:00.000Z", "until": "2026-12-01T00:00:00.000Z",
            "reason": "the books"}  # fmt: skip


class Slowly:
    """A port of which one method takes half a minute; `then` happens meanwhile."""

    def __init__(self, whole: Any, method: str, world: World, then: Any = None) -> None:
        self._whole, self._method, self._world, self._then = whole, method, world, then

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._world.clock.move(timedelta(seconds=30))
            if self._then:
                self._then()
        return getattr(self._whole, name)


def late_round(world: World, then: Any = None) -> None:
    """A round that begins ten seconds before six, and whose last write before the start takes half a minute."""
    world.clock.move(ENDS - timedelta(seconds=10) - world.clock.now())
    dispatch(replace(world.ports, ledger=Slowly(world.ledger, "save_batch", world, then)))


@pytest.mark.parametrize("set", [
    policy_set(policy(window="saturday")),
    policy_set(policy(), freezes=[YEAR_END]),
], ids=["window", "freeze"])  # fmt: skip
def test_what_comes_to_its_start_after_the_window_waits_for_the_next(world: World, set: Any) -> None:
    world.policies = set
    world.clock.move(ENDS - timedelta(minutes=10) - world.clock.now())
    world.say(world.node())
    assert world.case().state is State.QUEUED
    late_round(world)
    assert world.automations.started == [], "it would have started inside the freeze, or after the window"
    case = world.case()
    assert (case.state, case.leases, case.attempts) == (State.WAITING, (), 0)
    assert case.due and case.due > world.clock.now() + timedelta(days=1)
    lines = world.ledger.trail(case.id)
    assert "ended at 2026-11-28T06:00:00.000Z" in lines[-2].because
    assert ("window saturday" if set.policies[0].then.window else "freeze year-end") in lines[-1].because


def test_who_shares_the_batch_leaves_with_the_next_round(world: World) -> None:
    world.policies = policy_set(policy("weekly", tag("Weekly", "yes"), window="saturday", band="standard"),
                                policy("always", band="default"))  # fmt: skip
    world.clock.move(ENDS - timedelta(minutes=10) - world.clock.now())
    for node in (world.node(tags={"Weekly": "yes"}), world.node(OTHER)):
        world.say(node)
    late_round(world)
    assert world.automations.started == [] and world.case(OTHER).state is State.QUEUED
    world.pass_minutes(6)
    dispatch(world.ports)
    (batch,) = world.automations.started
    assert [member.node for member in batch.members] == [OTHER.id]
    assert world.case().state is State.WAITING


def test_a_freeze_that_is_published_while_a_round_runs_holds_it_too(world: World) -> None:
    world.say(world.node())
    frozen = policy_set(policy(), freezes=[{**YEAR_END, "since": "2026-11-01T00:00:00.000Z"}])
    _published_meanwhile(world, frozen)
    assert world.automations.started == [] and world.case().state is State.WAITING
    assert "freeze year-end" in world.case().because


def test_a_set_that_stops_loading_while_a_round_runs_starts_nothing(world: World) -> None:
    world.say(world.node())
    _published_meanwhile(world, None)
    assert world.automations.started == []
    assert (world.case().state, world.case().held) == (State.QUEUED, "closed")


def _published_meanwhile(world: World, policies: Any) -> None:
    store = _Store(world.policies)
    ports = replace(world.ports, policies=store)

    def publish() -> None:
        store.policies = policies

    world.pass_minutes(5)
    dispatch(replace(ports, ledger=Slowly(world.ledger, "save_batch", world, publish)))


class _Store:
    def __init__(self, policies: Any) -> None:
        self.policies = policies

    def active(self) -> Any:
        if self.policies is None:
            raise PolicyError("the set is broken")
        return self.policies

    def trouble(self) -> None:
        return None
