"""A pass over the fleet: it goes on after a kill, waits for no slow place, and says who does not report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import fleet, surge
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import State
from chalicelib.core.surges import Tally
from chalicelib.ports import Kept
from chalicelib.sweep import sweep
from tests.sets import HERE, NODE, NOW, finding, machine, policy, policy_set, scan, tag
from tests.verbs.conftest import World
from tests.verbs.test_surge import SURGE

PLACES = [Location(account, region) for account in ("111122223333", "444455556666")
          for region in ("eu-west-1", "us-east-1")]  # fmt: skip


class Killed(BaseException):
    """The invocation was ended from outside."""


class Watched:
    """An inventory that says which places were read, and lets a call take time or fail."""

    def __init__(
        self, world: World, happens: Callable[[Location, str | None], None] = lambda place, after: None
    ) -> None:
        self._whole, self._happens = world.inventory, happens
        self.read: list[tuple[str, str | None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def compliance(self, location: Location, after: str | None = None) -> Any:
        self._happens(location, after)
        self.read.append((str(location), after))
        return self._whole.compliance(location, after)


def kept(world: World, name: str = fleet.PASS) -> dict[str, Any]:
    found = world.ledger.kept(name)
    assert isinstance(found, Kept)
    return dict(found.value)


def many(world: World, count: int, place: Location = HERE) -> list[Node]:
    nodes = [Node(place.account, place.region, f"i-{number:017x}") for number in range(count)]
    for node in nodes:
        world.node(node)
    return nodes


def test_a_pass_that_was_killed_goes_on_where_its_cursor_stands(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PLACES", 1)

    def dies(place: Location, after: str | None) -> None:
        if place == PLACES[2]:
            raise Killed

    first = Watched(world, dies)
    with pytest.raises(Killed):
        sweep(replace(world.ports, inventory=first))
    assert kept(world)["after"] == str(PLACES[1]) and kept(world)["ended"] is None
    second = Watched(world)
    assert sweep(replace(world.ports, inventory=second)).whole
    names = [place for place, _ in second.read]
    assert names[:2] == [str(PLACES[2]), str(PLACES[3])], "what was read already is not read again first"
    assert names[2:] == [str(place) for place in PLACES], "then a whole pass begins"
    assert kept(world, fleet.LAST)["number"] == 2


def test_a_slow_place_is_left_for_the_next_pass_and_goes_on_at_its_page(world: World) -> None:
    many(world, 120)

    def slow(place: Location, after: str | None) -> None:
        if place == HERE:
            world.clock.move(timedelta(seconds=70))

    watched = Watched(world, slow)
    found = sweep(replace(world.ports, inventory=watched))
    assert found.late == (str(HERE),) and found.missed == 100
    assert {place for place, _ in watched.read} == set(map(str, PLACES)), "nobody waits for the slow one"
    again = Watched(world, slow)
    assert sweep(replace(world.ports, inventory=again)).late == ()
    assert again.read[0] == (str(HERE), "100")
    assert sum(1 for _ in world.ledger.all_heads()) == 120


def test_a_place_that_is_late_in_every_pass_is_counted_all_the_same(world: World) -> None:
    """Its two halves are one count, in which a node that stands in both is one node."""
    nodes = many(world, 120)
    world.policies = policy_set(surge=SURGE)

    def slow(place: Location, after: str | None) -> None:
        if place == HERE:
            world.clock.move(timedelta(seconds=70))

    def counted() -> tuple[int, int]:
        sweep(replace(world.ports, inventory=Watched(world, slow)))
        place = surge.census(world.ports).get(str(HERE))
        return (place.nodes, place.newly) if place else (0, 0)

    assert counted() == (0, 0), "half a count is none"
    assert counted() == (120, 120)
    world.pass_minutes(48 * 60)
    for node in nodes[60:]:
        world.inventory.scan(node, replace(scan(world.clock.now(), missing=0, patches=()), id=node.id))
    assert counted() == (120, 120), "half a new count changes nothing"
    assert counted() == (120, 0)
    late = many(world, 130)[120:]
    for node in late:
        world.inventory.scan(node, replace(scan(world.clock.now()), id=node.id))
    counted()
    assert counted() == (130, 10)


def test_half_a_count_is_small_and_is_what_it_was(world: World) -> None:
    tally = Tally(NOW - timedelta(days=1), NOW)
    for number in range(2000):
        page = [finding(compliant=number % 3 == 0, node=Node(HERE.account, HERE.region, f"i-{number:017x}"))]
        tally.add([*page, *page], {})
    assert Tally.from_json(tally.to_json()) == tally and len(tally.nodes) == 2000
    assert len(json.dumps(tally.to_json())) < 2000 * 7
    assert tally.place(None).newly == 1333
    surge.put_by(world.ports, HERE, "page 3", tally)
    assert surge.half(world.ports, HERE, "page 3", NOW) == tally
    assert surge.half(world.ports, HERE, "page 4", NOW) is None, "of another half"
    assert surge.half(world.ports, HERE, "page 3", NOW + timedelta(days=1)) is None, "nothing of it is new any more"


def test_a_page_that_aws_has_forgotten_begins_the_place_anew(world: World) -> None:
    nodes = many(world, 3)
    world.ledger.keep(fleet.PASS, {**fleet.Pass(7, NOW, ended=NOW, late={str(HERE): "gone"}).to_json()}, expected=0)

    def refuses(place: Location, after: str | None) -> None:
        if after == "gone":
            raise Denied("InvalidNextToken")

    assert sweep(replace(world.ports, inventory=Watched(world, refuses))).missed == len(nodes)


@pytest.mark.parametrize("error", [Temporary("slow down"), Denied("AccessDenied")])
def test_a_place_that_does_not_answer_is_named_and_the_others_are_read(world: World, error: Exception) -> None:
    many(world, 2)

    def fails(place: Location, after: str | None) -> None:
        if place == PLACES[1]:
            raise error

    found = sweep(replace(world.ports, inventory=Watched(world, fails)))
    assert (found.degraded, found.missed, found.places, found.whole) == ((str(PLACES[1]),), 2, 3, True)
    assert kept(world, fleet.LAST)["degraded"] == [str(PLACES[1])]


def test_what_no_time_is_left_for_is_read_by_the_next_invocation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PLACES", 1)
    slow = Watched(world, lambda place, after: world.clock.move(timedelta(minutes=6)))
    assert sweep(replace(world.ports, inventory=slow)).whole is False
    assert len(slow.read) == 2
    rest = Watched(world)
    assert sweep(replace(world.ports, inventory=rest)).whole
    assert rest.read[0][0] == str(PLACES[2])


def test_drift_is_what_contradicts_the_state_that_is_recorded(world: World) -> None:
    world.node()
    execution = world.start()
    world.scanned()
    world.end(execution)
    assert world.case().state is State.RESOLVED
    world.pass_minutes(60)
    world.node(patch=scan(world.clock.now()))
    found = sweep(world.ports)
    assert (found.missed, found.drift) == (1, 1)
    other = many(world, 1)[0]
    found = sweep(world.ports)
    assert (found.missed, found.drift) == (1, 0) and world.case(other).state is State.QUEUED


def reporting(world: World, node: Node = NODE) -> Any:
    return world.ledger.head(remediation_id(node, Control.REPORTING))


def control(value: str) -> dict[str, Any]:
    return {**tag("x", value), "path": "$.finding.control", "steps": ["finding", "control"]}


def test_a_node_that_does_not_report_is_found_ticketed_by_policy_and_closed_when_it_reports(world: World) -> None:
    world.policies = policy_set(
        policy("dev", control("patch")), policy("silent", control("reporting"), action="ticket"), stale_after=7 * 86400
    )
    long_ago = NOW - timedelta(days=8)
    world.inventory.node(NODE, machine(last_seen=NOW, launched=long_ago))
    world.inventory.scan(NODE, scan(long_ago, missing=0, patches=()))
    assert sweep(world.ports).stale == 1
    case = reporting(world)
    assert (case.state, case.decision["policy"], case.observed_at) == (State.TICKETED, "silent", NOW)
    lines = case.number
    world.pass_minutes(15)
    assert (sweep(world.ports).missed, reporting(world).number) == (0, lines), "it is said once"
    world.inventory.node(NODE, machine(last_seen=world.clock.now(), launched=long_ago))
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    assert (sweep(world.ports).stale, reporting(world).state) == (0, State.RESOLVED)


def test_no_runbook_is_started_for_a_node_that_does_not_report(world: World) -> None:
    world.policies = policy_set(policy("all", control("reporting")), stale_after=86400)
    world.inventory.node(NODE, machine(ping="ConnectionLost", last_seen=NOW - timedelta(hours=2)))
    sweep(world.ports)
    assert reporting(world).state is State.TICKETED
    assert "no runbook reaches" in reporting(world).because


def test_without_stale_after_nobody_is_asked_whether_he_reports(world: World) -> None:
    world.inventory.node(NODE, machine(ping=None))
    assert sweep(world.ports).stale == 0 and reporting(world) is None
