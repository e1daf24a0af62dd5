"""Two more signs of a surge: many nodes that miss the very same patches, and a policy's own, stricter ceiling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib import guard, surge
from chalicelib.core.errors import PolicyError
from chalicelib.core.facts import Patch
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.intake import take
from chalicelib.sweep import sweep
from tests.sets import policy, policy_set, scan, tag
from tests.verbs.conftest import World
from tests.verbs.test_surge import PLACES, SURGE, finish, fleet, guards, newest, queued, running, starts

WIDE = {**SURGE, "location": 90, "account": 90, "fleet": 90}


def lacking(world: World, nodes: Iterable[Node], *each: str, alike: bool = True) -> None:
    """The nodes turn non-compliant: all miss these patches, or each one more of its own."""
    now = world.clock.now()
    for number, node in enumerate(nodes):
        ids = each if alike else (*each, f"KB{number:07}")
        patches = tuple(Patch(id, id, "SecurityUpdates", "Critical", "MISSING") for id in ids)
        world.inventory.scan(node, replace(scan(now, missing=len(ids), patches=patches), id=node.id))
        take(world.ports, Finding(node, Control.PATCH, False, now, Source.SSM))


def rounds(world: World, count: int = 6) -> None:
    for _ in range(count):
        world.pass_minutes(1)
        world.round()


@pytest.mark.parametrize(("alike", "started"), [(True, 1), (False, 30)])
def test_a_tenth_of_the_fleet_that_misses_the_very_same_patches_is_held(
    world: World, alike: bool, started: int
) -> None:
    nodes = fleet(world, 200)
    world.policies = policy_set(policy(), surge={**WIDE, "same": 10})
    lacking(world, nodes[:30], "KB5035849", "KB5034441", alike=alike)
    rounds(world)
    assert starts(world) == started, "30 of 200 nodes is far below the share of 90 %"
    if alike:
        assert "30 of 200 nodes in the fleet turned non-compliant within a day and miss the very same patches" in (
            guard.why(newest(world))
        )
        assert len(world.tickets.kept) == 1
        finish(world, running(world))
        rounds(world, 20)
        assert starts(world) == 30 and guards(world) == ["tripped", "ticketed", "released", "settled"]
    else:
        assert guards(world) == []


def test_who_misses_more_is_another_set_and_nobody_is_asked_for_it_without_the_setting(world: World) -> None:
    nodes = fleet(world, 200)
    world.policies = policy_set(policy(), surge={**WIDE, "same": 10})
    lacking(world, nodes[:15], "KB1")
    lacking(world, nodes[15:30], "KB1", "KB2")
    rounds(world)
    assert starts(world) == 30, "15 and 15 are below at_least"
    assert "patch.missing" in world.policies.blocks and "patch.missing" not in policy_set(surge=WIDE).blocks


CAUTIOUS = policy("cautious", tag("Tier", "db"), surge=5)


def tiers(world: World, *policies: dict[str, Any], count: int = 200) -> list[Node]:
    """Every second node is a database."""
    nodes = fleet(world, count)
    for number, node in enumerate(nodes):
        world.node(node, replace(scan(world.clock.now(), missing=0, patches=()), id=node.id),
                   tags={"Tier": "db" if number % 2 else "web"})  # fmt: skip
    world.policies = policy_set(*policies or (CAUTIOUS, policy("web", tag("Tier", "web"))), surge=WIDE)
    return nodes


def test_a_policy_with_a_stricter_ceiling_is_held_alone(world: World) -> None:
    nodes = tiers(world)
    lacking(world, nodes[:80], "KB1", alike=False)
    rounds(world)
    db = [case.node for case in queued(world)]
    assert len(running(world)) == 41, "every web node, and one database"
    assert len(db) == 39 and {case.held for case in queued(world)} == {"surge"}
    name = "surge/policy/cautious/fleet"
    assert guards(world, name) == ["tripped", "ticketed"] and guards(world) == []
    assert guard.why(newest(world, name)).startswith("policy cautious: 40 of 200 nodes in the fleet turned")
    finish(world, running(world))
    rounds(world, 20)
    assert starts(world) == 80 and guards(world, name)[-2:] == ["released", "settled"]


def test_a_policy_that_loses_its_ceiling_holds_nothing_by_it(world: World) -> None:
    nodes = tiers(world)
    lacking(world, nodes[:80], "KB1", alike=False)
    rounds(world)
    world.policies = policy_set(policy("cautious", tag("Tier", "db")), policy("web", tag("Tier", "web")), surge=WIDE)
    sweep(world.ports)
    assert guards(world, "surge/policy/cautious/fleet")[-2:] == ["released", "settled"]
    rounds(world)
    assert len(running(world)) == 80


def test_a_policy_and_a_place_that_are_held_at_once_neither_wait_for_each_other_nor_start_two_by_two(
    world: World,
) -> None:
    nodes = tiers(world)
    lacking(world, nodes[1:80:2], "KB1", alike=False)
    rounds(world)
    assert len(running(world)) == 1, "the canary of the policy"
    world.policies = replace(world.policies, settings=policy_set(surge={**SURGE, "at_least": 30}).settings)
    lacking(world, nodes[80:], "KB1", alike=False)
    rounds(world)
    assert guards(world)[0] == "tripped", "the fleet surges too, and its share is 80 %"
    assert starts(world) == 1, "the canary of the policy is that of the fleet"
    assert len(world.tickets.kept) == 1
    finish(world, running(world))
    rounds(world, 30)
    finish(world, running(world))
    rounds(world, 30)
    assert starts(world) == 160 and not [line for line in guard.standing(world.ports).values() if guard.tripped(line)]


def test_a_share_that_is_none_does_not_load() -> None:
    for share in (0, 101):
        with pytest.raises(PolicyError):
            policy_set(policy(surge=share))
    with pytest.raises(PolicyError):
        policy_set(surge={**SURGE, "same": 0})


def test_a_set_of_a_release_before_this_one_means_what_it_meant() -> None:
    old: PolicySet = policy_set(surge=SURGE)
    ceilings = old.settings.surge
    assert ceilings and ceilings.same is None and old.policies[0].then.limits.surge is None


def test_two_guards_with_other_canaries_do_not_hold_each_other_for_ever(world: World) -> None:
    lacking(world, tiers(world)[1:80:2], "KB1", alike=False)
    cases = queued(world)
    standing = {}
    for name, canary in (("surge/fleet", cases[0]), ("surge/policy/cautious/fleet", cases[1])):
        value = {"canaries": {canary.id: ""}}
        subject = subject_of(Kind.GUARD, name)
        standing[name] = guard.trip(world.ports, None, subject, "too much", location=str(PLACES[0]), value=value)
    ceilings = world.policies.settings.surge
    assert ceilings is not None
    free, held = surge.hold(world.ports, ceilings, standing, cases)
    assert {case.id for case in free} == {case.id for case in cases[:2]} and len(held) == 38
