"""A ticket system that hangs: no sweep, no outcome and no start waits for it, and nothing owed to it is lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chalicelib import dispatch as dispatching
from chalicelib.core.errors import Temporary
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import State
from chalicelib.core.tickets import Errand
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.sweep import sweep
from tests.sets import HERE, policy, policy_set, tag
from tests.verbs.conftest import Broken, Slow, World, execution_event

THERE = Location("444455556666", "us-east-1")


class Hanging:
    """A ticket system that takes half a minute for nothing in some places, and half a second elsewhere."""

    def __init__(self, world: World, *silent: Location) -> None:
        self._world, self._silent = world, silent
        self.asked: Counter[Location] = Counter()

    def __getattr__(self, name: str) -> Any:
        def asked(errand: Errand) -> Any:
            self.asked[errand.location] += 1
            if errand.location in self._silent:
                self._world.clock.move(timedelta(seconds=30))
                raise Temporary("read timeout")
            self._world.clock.move(timedelta(seconds=0.5))
            return getattr(self._world.tickets, name)(errand)

        return asked


def owing(world: World, count: int, place: Location = HERE) -> list[Node]:
    """So many nodes that are a person's turn, and whose tickets nobody took."""
    world.policies = policy_set(policy(action="ticket"))
    tickets, world.tickets = world.tickets, Broken(world.tickets, "open", Temporary("503"), times=count)  # type: ignore[assignment]
    nodes = [Node(place.account, place.region, f"i-{number:017x}") for number in range(count)]
    for node in nodes:
        world.say(world.node(node))
    world.tickets = tickets
    world.pass_minutes(5)
    return nodes


def tickets(world: World) -> Counter[str]:
    return Counter(ticket.location.account for ticket in world.tickets.kept.values())


def test_a_sweep_asks_a_silent_desk_once_and_the_others_get_theirs(world: World) -> None:
    owing(world, 40)
    owing(world, 20, THERE)
    desk = Hanging(world, HERE)
    begun = world.clock.now()
    swept = sweep(replace(world.ports, tickets=desk))
    assert world.clock.now() - begun < timedelta(minutes=1), "40 times half a minute would be twenty"
    assert desk.asked == {HERE: 1, THERE: 20} and tickets(world) == {THERE.account: 20}
    assert swept.whole and swept.errands == 60
    world.pass_minutes(90)
    sweep(replace(world.ports, tickets=Hanging(world)))
    assert tickets(world) == {HERE.account: 40, THERE.account: 20}, "each once, and none is lost"


def test_what_a_sweep_has_no_time_for_is_still_owed_as_it_was(world: World) -> None:
    owing(world, 400)
    begun = world.clock.now()
    swept = sweep(replace(world.ports, tickets=Hanging(world)))
    assert world.clock.now() - begun < timedelta(minutes=3) and 200 < swept.errands < 260
    (told,) = world.notices.of("errands_left")
    assert told["count"] == 400 - swept.errands
    left = world.ledger.errands(world.clock.now())
    assert len(left) == told["count"] and {errand.tries for errand in left} == {1}, "not put off for it"
    sweep(replace(world.ports, tickets=Hanging(world)))
    assert tickets(world) == {HERE.account: 400}


def test_a_sweep_reads_the_fleet_before_it_brings_the_tickets_that_follow(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    for number in range(30):
        world.node(Node(HERE.account, HERE.region, f"i-{number:017x}"))
    desk = Hanging(world, HERE)
    swept = sweep(replace(world.ports, tickets=desk))
    assert (swept.missed, swept.whole, desk.asked[HERE]) == (30, True, 1)
    assert len(world.ledger.errands(world.clock.now() + timedelta(days=1))) == 30


def test_every_outcome_of_an_execution_is_written_before_a_desk_is_asked(world: World) -> None:
    world.policies = policy_set(policy(attempts=1))
    nodes = [Node(HERE.account, HERE.region, f"i-{number:017x}") for number in range(20)]
    for node in nodes:
        world.say(world.node(node))
    world.pass_minutes(5)
    dispatch(world.ports)
    execution = str(world.case(nodes[0]).execution)
    world.automations.end(HERE, execution, "Failed", at=world.clock.now(), failure="the mirror is gone")
    desk, begun = Hanging(world, HERE), world.clock.now()
    seen: list[Counter[State]] = []
    ports = replace(world.ports, tickets=Watching(desk, world, seen))
    receipt = follow(ports, execution_event(nodes[0], execution, "Failed"))
    assert receipt.status == "decided" and world.clock.now() - begun == timedelta(seconds=30)
    assert desk.asked[HERE] == 1
    assert seen == [Counter({State.TICKETED: 20})], "nobody was left running while the desk hangs"
    assert len(world.ledger.errands(world.clock.now() + timedelta(days=1))) == 20


class Watching:
    """A desk that notes, whenever it is asked, how all cases stand."""

    def __init__(self, whole: Any, world: World, seen: list[Counter[State]]) -> None:
        self._whole, self._world, self._seen = whole, world, seen

    def __getattr__(self, name: str) -> Any:
        self._seen.append(Counter(case.state for case in self._world.ledger.all_heads()))
        return getattr(self._whole, name)


def test_a_queue_that_no_longer_stands_is_decided_anew_in_bounded_time(world: World) -> None:
    """Another set was published, and each of thirty places takes ten seconds to look at."""
    accounts = [f"{number:012}" for number in range(1, 31)]
    scope = {"accounts": [HERE.account, *accounts], "regions": [HERE.region]}
    looks = policy("looks", tag("Environment", "dev"))
    world.policies = policy_set(looks, scope=scope)
    for account in accounts:
        world.say(world.node(Node(account, HERE.region, "i-0fedcba9876543210")))
    world.pass_minutes(5)
    world.policies = policy_set(looks, policy("other", priority=-1), scope=scope)
    begun = world.clock.now()
    dispatch(replace(world.ports, inventory=Slow(world.inventory, world.clock)))
    assert world.clock.now() - begun <= dispatching.DECIDING + timedelta(seconds=10), "30 places would be 300 s"
    anew = {case.decision["set_digest"] == world.policies.digest for case in world.ledger.all_heads()}
    assert anew == {True, False} and world.automations.started == []
    for _ in range(8):
        world.pass_minutes(1)
        dispatch(world.ports)
    assert {case.state for case in world.ledger.all_heads()} == {State.RUNNING}
    assert len(world.automations.started) == 30
