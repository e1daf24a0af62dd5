"""Many hands at once: one probe for an account that refuses, each failure charged, a census only of whole places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from chalicelib import budget, fleet, guard, isolate, surge
from chalicelib.adapters.hands import Threads
from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import Remediation
from chalicelib.crew import all_of, each
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from patchwarden.simulate.scheduler import Scheduler
from tests.sets import HERE, NODE, NOW, machine, policy, policy_set, scan, tag
from tests.verbs.conftest import World
from tests.verbs.test_fleet import Killed, Watched, many
from tests.verbs.test_surge import SURGE, said

ELSEWHERE = Location("444455556666", "us-east-1")
REGIONS = ("ap-southeast-2", "eu-central-1", "eu-west-1", "us-east-1", "us-west-2")


class Greenlets:
    """The port `Crew`: every work begins at once, and gives way whenever the ledger is asked."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def together(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        made: list[Any] = [None] * len(works)

        def one(number: int) -> None:
            try:
                made[number] = works[number]()
            except (Temporary, Denied) as error:
                made[number] = error

        self._scheduler.together([partial(one, number) for number in range(len(works))])
        return made

    def alone(self, work: Callable[[], Any]) -> Any:
        return work()


class Yielding:
    """A port of which every call takes a moment, in which others go on."""

    def __init__(self, whole: Any, scheduler: Scheduler) -> None:
        self._whole, self._scheduler = whole, scheduler

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._whole, name)

        def asked(*given: Any, **named: Any) -> Any:
            self._scheduler.pause(0.01)
            answer = real(*given, **named)
            self._scheduler.pause(0.01)
            return answer

        return asked


def at_once(world: World, work: Callable[[Ports], Any], **ports: Any) -> None:
    """Do this with hands that give way to each other at every call of the ledger and the inventory."""
    scheduler = Scheduler()
    bundle = replace(world.ports, **ports)
    bundle = replace(bundle, ledger=Yielding(bundle.ledger, scheduler), inventory=Yielding(bundle.inventory, scheduler),
                     crew=Greenlets(scheduler))  # fmt: skip
    scheduler.spawn(lambda: work(bundle))
    scheduler.run_until(3600.0)


class Refusing:
    """An inventory that one account refuses to show."""

    def __init__(self) -> None:
        self.asked: list[Location] = []

    def nodes(self, place: Location, ids: Sequence[str]) -> None:
        self.asked.append(place)
        if place.account == NODE.account:
            raise Barred("AccessDenied")


def test_an_account_that_refused_before_is_asked_once_however_many_hands_there_are(world: World) -> None:
    refuses, degraded = Refusing(), list[str]()
    places = [Node(account, region, NODE.id) for account in (NODE.account, "444455556666") for region in REGIONS]
    isolate.refuse(world.ports, HERE, "AccessDenied")
    world.clock.move(timedelta(minutes=5))

    def work(ports: Ports) -> None:
        aside = isolate.degraded(ports.ledger)
        each(ports, places, lambda node: ports.inventory.nodes(node.location, [node.id]), degraded, aside=aside)

    at_once(world, work, inventory=refuses)
    assert [place.account for place in refuses.asked].count(NODE.account) == 1
    assert {place.region for place in refuses.asked if place.account != NODE.account} == set(REGIONS)
    assert degraded == [NODE.account]
    assert isolate.degraded(world.ledger)[NODE.account].tries == 2


def test_an_account_that_answers_again_is_read_in_every_region_and_in_order(world: World) -> None:
    places = [Node(account, region, NODE.id) for region in REGIONS for account in (NODE.account, "444455556666")]
    made = each(replace(world.ports, crew=Threads()), places, str, [], aside={NODE.account})
    assert made == list(map(str, places)), "what hangs together stands where it stood"


def test_hands_that_meet_a_refusal_at_the_same_time_set_the_account_aside_once(world: World) -> None:
    refuses, degraded = Refusing(), list[str]()
    places = [Node(NODE.account, region, NODE.id) for region in REGIONS]

    def work(ports: Ports) -> None:
        each(ports, places, lambda node: ports.inventory.nodes(node.location, [node.id]), degraded)

    at_once(world, work, inventory=refuses)
    assert len(refuses.asked) == len(REGIONS)
    assert degraded == [NODE.account] and isolate.degraded(world.ledger)[NODE.account].tries == 1
    assert len(world.notices.of("account_degraded")) == 1


def test_a_refusal_is_said_before_what_is_only_busy(world: World) -> None:
    def fails(number: int) -> None:
        raise Barred("AccessDenied") if number == 2 else Temporary("slow down")

    with pytest.raises(Barred):
        all_of(world.ports, [1, 2, 3], fails)


def test_a_glance_that_is_refused_asks_no_node_by_itself(world: World) -> None:
    world.policies = policy_set(policy("dev", tag("Environment", "dev")))
    nodes = many(world, 20)
    asked = []

    class Closed(Watched):
        def nodes(self, location: Location, ids: Sequence[str]) -> Any:
            asked.append(tuple(ids))
            raise Barred("ec2:describe_instances: AccessDenied")

    sweep(replace(world.ports, inventory=Closed(world)))
    assert len(nodes) == 20 and len(asked) == 1
    assert NODE.account in isolate.degraded(world.ledger)


def test_no_failure_is_lost_when_thirty_hands_charge_one_budget_at_once(world: World) -> None:
    given = {"budget": {"max": "30", "within": 86400, "accounts": ["policy/all-now/abc", "plan/def"]}, "policy": "all"}
    nodes = [Node(HERE.account, HERE.region, f"i-{number:017x}") for number in range(30)]
    cases = [Remediation(node, Control.PATCH, number=4, batch="b-1", decision=given) for node in nodes]
    failed: list[Exception] = []

    def work(ports: Ports) -> None:
        try:
            all_of(ports, cases, partial(budget.charge, ports))
        except Temporary as error:
            failed.append(error)

    at_once(world, work)
    kept = world.ledger.kept("budget/policy/all-now/abc")
    assert failed == [] and kept and len(kept.value["failed"]) == 30
    lines = world.ledger.entries(subject_of(Kind.GUARD, "budget/policy/all-now/abc"))
    assert [line.what for line in lines] == ["tripped"]
    assert len(world.notices.of("guard_tripped")) == 1


def counted(world: World) -> dict[str, int]:
    return {name: place.nodes for name, place in surge.census(world.ports).items()}


def surging(world: World, count: int) -> list[Node]:
    world.policies = policy_set(policy(), surge=SURGE)
    return many(world, count)


def test_a_place_that_is_read_in_two_goes_is_counted_in_neither_if_its_first_half_is_lost(world: World) -> None:
    surging(world, 120)

    def slow(place: Location, after: str | None) -> None:
        if place == HERE:
            world.clock.move(timedelta(seconds=70))

    assert sweep(replace(world.ports, inventory=Watched(world, slow))).late == (str(HERE),)
    assert str(HERE) not in counted(world) and counted(world)[str(ELSEWHERE)] == 0
    world.ledger.keep(f"{surge.CENSUS}/{HERE}", {}, expected=1)
    assert sweep(replace(world.ports, inventory=Watched(world, slow))).late == ()
    assert str(HERE) not in counted(world), "its end alone is half a count"
    sweep(world.ports)
    assert counted(world)[str(HERE)] == 120


def test_a_place_that_begins_anew_since_its_page_is_forgotten_is_counted(world: World) -> None:
    surging(world, 3)
    world.ledger.keep(fleet.PASS, {**fleet.Pass(7, NOW, ended=NOW, late={str(HERE): "gone"}).to_json()}, expected=0)

    def refuses(place: Location, after: str | None) -> None:
        if after == "gone":
            raise Denied("InvalidNextToken")

    sweep(replace(world.ports, inventory=Watched(world, refuses)))
    assert counted(world)[str(HERE)] == 3


def test_what_a_pass_counted_before_it_was_killed_is_in_the_census(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "PLACES", 1)
    surging(world, 30)

    def dies(place: Location, after: str | None) -> None:
        if place == ELSEWHERE:
            raise Killed

    with pytest.raises(Killed):
        sweep(replace(world.ports, inventory=Watched(world, dies)))
    assert counted(world)[str(HERE)] == 30 and str(ELSEWHERE) not in counted(world)


def test_a_census_that_cannot_be_kept_leaves_its_places_to_be_read_once_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    surging(world, 30)
    real = world.ledger.keep

    def keep(name: str, value: Any, *, expected: int) -> None:
        if name == surge.CENSUS:
            raise Temporary("slow down")
        real(name, value, expected=expected)

    monkeypatch.setattr(world.ledger, "keep", keep)
    assert not sweep(world.ports).whole and world.ledger.kept(fleet.PASS) is None
    monkeypatch.undo()
    assert sweep(world.ports).whole and counted(world)[str(HERE)] == 30


def test_what_was_let_go_while_the_fleet_is_read_trips_nothing_again(world: World) -> None:
    """The count of such a place took its news from before the release."""
    world.policies = policy_set(policy(), surge=SURGE)
    nodes = many(world, 40)
    for node in nodes:
        world.inventory.scan(node, replace(scan(NOW - timedelta(hours=2)), id=node.id))
    sweep(world.ports)
    assert len(said(world, "guard_tripped")) == 1
    world.pass_minutes(10)

    def lets_go(place: Location, after: str | None) -> None:
        line = world.ledger.entry(subject_of(Kind.GUARD, "surge/fleet"))
        if guard.tripped(line) and line:
            world.clock.move(timedelta(seconds=1))
            guard.release(world.ports, line, "a person says so")
            world.clock.move(timedelta(seconds=1))

    sweep(replace(world.ports, inventory=Watched(world, lets_go)))
    assert len(said(world, "guard_released")) == 1
    assert len(said(world, "guard_tripped")) == 1
    sweep(world.ports)
    assert len(said(world, "guard_tripped")) == 1


def test_an_older_count_does_not_take_the_place_of_a_newer_one(world: World) -> None:
    newer, older = surge.tally(HERE, {}, NOW), surge.tally(HERE, {}, NOW - timedelta(minutes=3))
    newer.nodes, older.nodes = {1: 0, 2: 0}, {1: 0}
    surge.remember(world.ports, {HERE: newer})
    surge.remember(world.ports, {HERE: older})
    assert counted(world)[str(HERE)] == 2


def test_who_does_not_report_is_no_node_of_the_census(world: World) -> None:
    world.policies = policy_set(policy(), surge=SURGE, stale_after=86400)
    many(world, 2)
    world.inventory.node(NODE, machine(ping=None))
    assert sweep(world.ports).stale == 1
    assert world.ledger.head(remediation_id(NODE, Control.REPORTING)) is not None
    assert counted(world)[str(HERE)] == 2


def test_a_sweep_by_many_hands_finds_what_one_hand_finds(world: World) -> None:
    surging(world, 60)
    at_once(world, sweep)
    assert counted(world)[str(HERE)] == 60
    assert sum(1 for _ in world.ledger.all_heads()) == 60
