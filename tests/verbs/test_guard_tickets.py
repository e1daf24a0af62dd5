"""The one ticket of a guard: carried on when it trips again, and opened where somebody answers."""

from __future__ import annotations

from dataclasses import replace

from chalicelib import guard
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.ports import Ports
from tests.verbs.conftest import World

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
