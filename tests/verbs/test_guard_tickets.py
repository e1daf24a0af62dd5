"""The one ticket of a guard: carried on when it trips again, and opened where somebody answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from chalicelib import guard, wave
from chalicelib.adapters.memory import MemoryClock
from chalicelib.core.errors import Temporary
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.nodes import Location, Node
from chalicelib.core.tickets import Errand
from chalicelib.dispatch import dispatch
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from tests.sets import policy, policy_set
from tests.verbs.conftest import World
from tests.verbs.test_isolate import OTHER, Barring
from tests.verbs.test_waves import finish, rolled

SUBJECT = subject_of(Kind.GUARD, "budget/policy/all-now/abc")


def trip(world: World, because: str = "2 nodes failed") -> Entry:
    return guard.trip(world.ports, world.ledger.entry(SUBJECT), SUBJECT, because,
                      location="111122223333/eu-west-1", value={})  # fmt: skip


def release(ports: Ports) -> None:
    line = ports.ledger.entry(SUBJECT)
    assert line
    guard.release(ports, line, "the mirror is back", actor="ops@example.com")


def test_one_that_trips_again_before_its_ticket_is_resolved_keeps_it(world: World) -> None:
    trip(world)
    guard.settle(world.ports)
    release(world.ports)
    assert trip(world, "3 nodes failed").value["ticket"] == "oi-000000000001"
    guard.settle(world.ports)
    assert [one.resolved for one in world.tickets.kept.values()] == [False]
    release(world.ports)
    guard.settle(world.ports)
    assert [one.resolved for one in world.tickets.kept.values()] == [True], "no other one, and none left open"
    assert trip(world).value["ticket"] is None, "what was resolved is over"


def test_its_ticket_is_opened_in_another_account_if_its_own_takes_none(world: World) -> None:
    """Whom it holds is told of by this ticket alone: a deadline that passes opens no other."""
    rolled(world, attempts=1)
    finish(world, failing=1)
    bar = Barring(world.tickets, "open", "resolve")
    ports = replace(world.ports, tickets=bar)
    world.pass_minutes(1)
    dispatch(ports)
    (line,) = world.ledger.subjects(Kind.ROLLOUT)
    assert (line.value["location"], bool(line.value["ticket"])) == ("444455556666/eu-west-1", True)
    wave.resume(world.ports, line, "that node was broken before", "ops@example.com")
    dispatch(ports)
    assert [one.resolved for one in world.tickets.kept.values() if "incident" in one.key] == [True]


def test_where_every_account_refuses_it_is_asked_for_again_in_the_next_round(world: World) -> None:
    bar = Barring(world.tickets, "open")
    trip(world)
    guard.settle(replace(world.ports, tickets=bar), [])
    assert not world.tickets.kept and len(world.notices.of("errand_postponed")) == 1
    bar.on = False
    guard.settle(replace(world.ports, tickets=bar), [])
    assert len(world.tickets.kept) == 1


def test_its_own_place_is_asked_first(world: World) -> None:
    trip(world)
    guard.settle(world.ports, [OTHER.location, Location("111122223333", "us-east-1")])
    (ticket,) = world.tickets.kept.values()
    assert str(ticket.location) == "111122223333/eu-west-1"


def test_a_ticket_system_that_hangs_costs_no_start_elsewhere(world: World) -> None:
    """Each call takes 45 seconds and fails; a round has 35 for its starts."""
    mine = {"path": "$.account", "steps": ["account"], "operator": "equals", "operand": "111122223333",
            "match": "any", "if_missing": False, "line": None}  # fmt: skip
    world.policies = policy_set(policy("all-now", window="saturday"))
    here = [Node("111122223333", "eu-west-1", f"i-{number:017x}") for number in range(3)]
    there = [Node("444455556666", "eu-west-1", f"i-{number:017x}") for number in range(10, 13)]
    for node in [*here, *there]:
        world.node(node)
        world.say(node)
    world.policies = policy_set(
        policy("person", mine, action="ticket", priority=5), policy("all-now", window="saturday")
    )
    world.clock.move(datetime(2026, 11, 28, 2, 1, tzinfo=UTC) - world.clock.now())
    hangs = Hangs(world.clock)
    assert dispatch(replace(world.ports, tickets=hangs)).started == 3
    assert hangs.asked == 1, "a place that does not answer is not asked again in this round"
    assert {world.case(node).ticket for node in here} == {None}
    world.pass_minutes(15)
    sweep(world.ports)
    assert all(world.case(node).ticket for node in here), "what is owed is not forgotten"


class Hangs:
    """A ticket system that answers nobody."""

    def __init__(self, clock: MemoryClock) -> None:
        self._clock, self.asked = clock, 0

    def open(self, errand: Errand) -> str:
        self.asked += 1
        self._clock.move(timedelta(seconds=45))
        raise Temporary("timed out")

    def update(self, errand: Errand) -> None:
        self.open(errand)

    def resolve(self, errand: Errand) -> None:
        self.open(errand)
