"""A surge: one bad baseline marks the whole fleet, and no more than the canary starts until it is proved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import guard
from chalicelib import surge as surge_verb
from chalicelib.core.errors import Temporary
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import Remediation, State
from chalicelib.intake import take
from chalicelib.lookup import health, status
from chalicelib.sweep import sweep
from tests.sets import NOW, policy, policy_set, scan
from tests.verbs.conftest import Broken, World

SURGE = {"location": 30, "account": 30, "fleet": 20, "at_least": 20, "canary": 1, "norm": None}
PLACES = [Location(account, region) for account in ("111122223333", "444455556666")
          for region in ("eu-west-1", "us-east-1")]  # fmt: skip
CLEAN: dict[str, Any] = {"missing": 0, "patches": ()}


def fleet(world: World, count: int, places: Iterable[Location] = PLACES, **then: Any) -> list[Node]:
    """So many compliant nodes, spread over the places, under one policy; a sweep has counted them."""
    world.policies = policy_set(policy(**then), surge=SURGE)
    where = list(places)
    nodes = [Node(where[n % len(where)].account, where[n % len(where)].region, f"i-{n:017x}") for n in range(count)]
    for node in nodes:
        world.node(node, replace(scan(NOW - timedelta(hours=1), **CLEAN), id=node.id))
    sweep(world.ports)
    return nodes


def flip(world: World, nodes: Iterable[Node]) -> None:
    """The nodes turn non-compliant, as their scans and Systems Manager say."""
    now = world.clock.now()
    for node in nodes:
        world.inventory.scan(node, replace(scan(now), id=node.id))
        take(world.ports, Finding(node, Control.PATCH, False, now, Source.SSM))


def finish(world: World, nodes: Iterable[Node], **counts: Any) -> None:
    """What runs on these nodes ends, and its scan says so."""
    by_run: dict[str, list[Node]] = {}
    for node in nodes:
        by_run.setdefault(str(world.case(node).execution), []).append(node)
    for execution, members in by_run.items():
        for node in members:
            world.scanned(node, **counts)
        world.end(execution, nodes=dict.fromkeys(members, "Failed" if counts else "Success"))


def running(world: World) -> list[Node]:
    return [case.node for case in world.ledger.work([State.STARTING, State.RUNNING])]


def starts(world: World) -> int:
    return sum(len(batch.members) for batch in world.ledger.batches_since(NOW - timedelta(days=1)))


def said(world: World, what: str) -> list[dict[str, Any]]:
    return world.notices.of(what)


def guards(world: World, name: str = "surge/fleet") -> list[str]:
    return [line.what for line in world.ledger.entries(subject_of(Kind.GUARD, name))]


def newest(world: World, name: str = "surge/fleet") -> Entry:
    line = world.ledger.entry(subject_of(Kind.GUARD, name))
    assert line is not None
    return line


def queued(world: World) -> list[Remediation]:
    return list(world.ledger.work([State.QUEUED]))


def test_ten_thousand_of_ten_thousand_start_one_canary_and_open_one_ticket(world: World) -> None:
    nodes = fleet(world, 10_000)
    flip(world, nodes)
    for _ in range(8):
        world.pass_minutes(1)
        world.round()
    assert starts(world) == 1
    assert guards(world) == ["tripped", "ticketed"] and len(world.ledger.subjects(Kind.GUARD)) == 1
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [False]
    assert len(said(world, "guard_tripped")) == 1
    assert {case.held for case in queued(world)} == {"surge"} and len(queued(world)) == 9_999
    assert guard.tripped(newest(world)) and health(world.ports)["guards"] == ["surge/fleet"]

    (canary,) = running(world)
    world.pass_minutes(20)
    finish(world, [canary])
    for _ in range(30):
        world.pass_minutes(1)
        world.round()
        finish(world, running(world))
    assert {case.state for case in world.ledger.all_heads()} == {State.RESOLVED}
    assert starts(world) == 10_000
    assert guards(world) == ["tripped", "ticketed", "released", "settled"]
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]
    assert len(said(world, "guard_tripped")) == len(said(world, "guard_released")) == 1


def begun(world: World, count: int = 40, **then: Any) -> list[Node]:
    """A fleet that has surged, with its canary under way."""
    nodes = fleet(world, count, **then)
    flip(world, nodes)
    for _ in range(6):
        world.pass_minutes(1)
        world.round()
    assert starts(world) == 1
    return nodes


def test_a_person_releases_what_a_surge_holds_and_old_findings_are_no_new_surge(world: World) -> None:
    begun(world)
    guard.release(world.ports, newest(world), "the baseline is right", actor="ops@example.com")
    world.pass_minutes(1)
    world.round()
    assert starts(world) == 40
    sweep(world.ports)
    assert guards(world) == ["tripped", "ticketed", "released", "settled"]
    assert newest(world).actor == "patchwarden" and world.tickets.kept.popitem()[1].resolved


def test_a_canary_that_fails_proves_nothing_and_the_rest_stays_held(world: World) -> None:
    begun(world, attempts=1)
    world.pass_minutes(20)
    finish(world, running(world), missing=1)
    for _ in range(10):
        world.pass_minutes(10)
        world.round()
    assert starts(world) == 1 and guard.tripped(newest(world)) and len(queued(world)) == 39


def test_a_canary_that_goes_away_is_replaced(world: World) -> None:
    begun(world)
    (canary,) = running(world)
    world.inventory.node(canary, replace(world.inventory.nodes(canary.location, [canary.id])[canary.id],
                                         state="terminated"))  # fmt: skip
    world.end(str(world.case(canary).execution), nodes={canary: "Undeliverable"})
    sweep(world.ports)
    for _ in range(2):
        world.pass_minutes(31)
        world.round()
    assert guards(world)[:3] == ["tripped", "ticketed", "canary chosen"] and starts(world) == 2


def test_a_canary_that_was_never_reached_stays_and_one_that_somebody_fixed_is_replaced(world: World) -> None:
    begun(world)
    (canary,) = running(world)
    world.pass_minutes(1)
    world.inventory.scan(canary, replace(scan(world.clock.now(), missing=0, patches=()), id=canary.id))
    world.pass_minutes(5)
    world.end(str(world.case(canary).execution), "Failed", nodes={canary: "Undeliverable"})
    for _ in range(2):
        world.pass_minutes(1)
        world.round()
    assert starts(world) == 1 and guard.tripped(newest(world)), "it is tried again, and nobody else meanwhile"
    world.pass_minutes(35)
    world.round()
    world.pass_minutes(6)
    world.round()
    assert world.case(canary).state is State.RESOLVED
    world.pass_minutes(1)
    world.round()
    assert guard.tripped(newest(world)) and newest(world).what == "canary chosen", "it proved nothing of the patches"
    assert starts(world) == 2


def test_a_small_fleet_is_never_a_surge_even_if_nobody_has_counted_it(world: World) -> None:
    nodes = fleet(world, 19)
    flip(world, nodes)
    world.pass_minutes(5)
    world.round()
    assert starts(world) == 19 and world.ledger.subjects(Kind.GUARD) == []


def test_twenty_of_a_fleet_that_nobody_has_counted_are_one(world: World) -> None:
    world.policies = policy_set(policy(), surge=SURGE)
    nodes = [Node("111122223333", "eu-west-1", f"i-{n:017x}") for n in range(20)]
    for node in nodes:
        world.node(node)
    flip(world, nodes)
    world.pass_minutes(5)
    world.round()
    assert starts(world) == 1 and "of an unknown number of nodes" in guard.why(newest(world))


def test_a_part_below_every_ceiling_is_served(world: World) -> None:
    nodes = fleet(world, 200)
    flip(world, nodes[:30])
    world.pass_minutes(5)
    world.round()
    assert starts(world) == 30


def test_a_surge_in_one_location_holds_nobody_elsewhere(world: World) -> None:
    nodes = fleet(world, 400)
    here = [node for node in nodes if node.location == PLACES[0]][:35]
    there = [node for node in nodes if node.location == PLACES[3]][:5]
    flip(world, [*here, *there])
    world.pass_minutes(5)
    world.round()
    assert starts(world) == 1 + 5
    assert guards(world, f"surge/{PLACES[0]}")[0] == "tripped" and len(world.ledger.subjects(Kind.GUARD)) == 1


def test_one_that_spreads_keeps_its_one_ticket_and_its_one_notice(world: World) -> None:
    nodes = fleet(world, 200)
    for place in PLACES[:3]:
        flip(world, [node for node in nodes if node.location == place][:30])
        world.pass_minutes(5)
        world.round()
    assert len(world.ledger.subjects(Kind.GUARD)) == 2, "first the location, then the fleet"
    assert len(world.tickets.kept) == len(said(world, "guard_tripped")) == 1
    for line in world.ledger.subjects(Kind.GUARD):
        assert [ticket.resolved for ticket in world.tickets.kept.values()] == [False]
        guard.release(world.ports, line, "looked at", actor="ops@example.com")
        guard.settle(world.ports)
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]


def test_the_sweep_sees_a_surge_in_what_waits_for_its_window(world: World) -> None:
    nodes = fleet(world, 40, window="saturday")
    flip(world, nodes)
    assert {world.case(node).state for node in nodes} == {State.WAITING}
    world.pass_minutes(15)
    sweep(world.ports)
    assert guards(world) == ["tripped", "ticketed"]
    world.clock.move(timedelta(days=4, hours=14, minutes=10))
    world.round()
    assert starts(world) == 0 or starts(world) == 1
    world.round()
    assert len(world.ledger.batches_since(NOW)) == 1


def test_the_ticket_comes_once_after_the_ticket_system_was_down(world: World) -> None:
    world.tickets = Broken(world.tickets, "open", Temporary("503"), times=3)  # type: ignore[assignment]
    begun(world)
    for _ in range(3):
        world.pass_minutes(15)
        sweep(world.ports)
    assert [word for word in guards(world) if word == "ticketed"] == ["ticketed"]
    assert len(world.tickets.kept) == 1


def test_two_rounds_at_once_agree_on_the_canary(world: World) -> None:
    nodes = fleet(world, 40)
    flip(world, nodes)
    ceilings = world.policies.settings.surge
    assert ceilings is not None
    cases = queued(world)
    first = surge_verb.watch(world.ports, world.policies, {}, cases, cases)
    second = surge_verb.watch(world.ports, world.policies, {}, cases, cases[5:])
    assert first["surge/fleet"] == second["surge/fleet"] == newest(world)
    free, held = surge_verb.hold(world.ports, ceilings, first, cases)
    again, _ = surge_verb.hold(world.ports, ceilings, second, cases)
    assert free == again and (len(free), len(held)) == (1, 39)


def test_more_than_ten_times_the_norm_is_a_surge(world: World) -> None:
    nodes = fleet(world, 1000)
    world.policies = policy_set(policy(), surge={**SURGE, "norm": 10})
    for _ in range(8):
        flip(world, nodes[:1])
        world.inventory.scan(nodes[0], replace(scan(world.clock.now(), **CLEAN), id=nodes[0].id))
        world.clock.move(timedelta(days=1))
        sweep(world.ports)
    flip(world, nodes[100:160])
    world.pass_minutes(5)
    world.round()
    assert "is the norm of the last 7 days" in guard.why(newest(world)) and len(queued(world)) >= 59


def test_status_tells_what_is_held_and_why(world: World) -> None:
    begun(world)
    now = status(world.ledger, world.clock.now())
    assert [one["guard"] for one in now["guards"]] == ["surge/fleet"] and now["held"] == {"surge": 39}
    assert (
        now["guards"][0]["because"]
        == "40 of 40 nodes in the fleet turned non-compliant within a day, the ceiling is 20 %"
    )
    (held,) = {line.because for line in world.ledger.trail(queued(world)[0].id) if line.cause == "noted"}
    assert held.startswith("held by surge: 40 of 40 nodes in the fleet")


@pytest.mark.parametrize("swept", [False, True])
def test_what_turned_in_an_outage_of_days_is_a_surge_when_it_is_learned_of(world: World, swept: bool) -> None:
    nodes = fleet(world, 200)
    world.pass_minutes(60)
    at = world.clock.now()
    for node in nodes:
        world.inventory.scan(node, replace(scan(at), id=node.id))
    world.pass_minutes(2 * 24 * 60)
    for node in nodes:
        take(world.ports, Finding(node, Control.PATCH, False, at, Source.SSM))
    if swept:
        sweep(world.ports)
    for _ in range(8):
        world.pass_minutes(1)
        world.round()
    assert len(running(world)) == 1
