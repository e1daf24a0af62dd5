"""Look-ups: the same figures for everybody, and an audit that finds what was taken away."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.adapters.memory import MemoryLedger
from chalicelib.core.findings import Control
from chalicelib.core.remediations import Cause, Remediation, advance, apply, replay
from chalicelib.lookup import near, nodes, remediations
from chalicelib.ports import Change
from chalicelib.proof import verify
from tests.sets import NODE, NOW
from tests.verbs.conftest import World


def written(world: World) -> None:
    for control in (Control.PATCH, Control.ASSOCIATION):
        case = Remediation(NODE, control)
        for cause in (Cause.TICKETED, Cause.NOTED):
            line = advance(case, cause, because="why", now=NOW)
            case = apply(case, line)
            world.ledger.append(Change(line, case))


def test_a_whole_ledger_has_no_faults() -> None:
    world = World()
    written(world)
    found = verify(world.ledger, NOW)
    assert (found.remediations, found.lines, found.faults) == (2, 4, ())


def test_a_head_that_was_taken_away_is_found_by_the_lines_it_left() -> None:
    world = World()
    written(world)
    world.node()
    world.say()
    lost = world.case().id
    del world.ledger._heads[lost]
    world.ledger._turns = {
        state: [turn for turn in turns if lost not in turn] for state, turns in world.ledger._turns.items()
    }
    world.ledger._whose = {turn: case for turn, case in world.ledger._whose.items() if case.id != lost}
    assert verify(world.ledger, NOW).faults == (f"{lost}: its lines are there, but its head is gone",)


class Behind(MemoryLedger):
    """A ledger whose list of heads is one write behind, as an index may be."""

    def all_heads(self) -> Iterator[Remediation]:
        for case in super().all_heads():
            yield replay(case.node, case.control, self.trail(case.id)[:-1])


def test_an_index_that_is_behind_is_no_fault() -> None:
    world = World(ledger=Behind())
    written(world)
    assert verify(world.ledger, NOW).faults == ()


def test_pages_go_on_where_the_last_one_ended() -> None:
    world = World()
    written(world)
    first = remediations(world.ledger, state=None, limit=1, after=None)
    second = remediations(world.ledger, state=None, limit=1, after=first["next"])
    ids = [page["remediations"][0]["id"] for page in (first, second)]
    assert ids == sorted(ids) and len(set(ids)) == 2 and second["next"] is None


def test_a_node_is_found_by_what_people_call_it() -> None:
    world = World()
    written(world)
    for text in (str(NODE), NODE.id, f"{NODE.account}.{NODE.region}.{NODE.id}.patch"):
        assert nodes(world.ledger, text) == [NODE], text
    assert nodes(world.ledger, "i-0000000000000000f") == []
    assert near(world.ledger, NODE.id[:-1] + "1") == [str(NODE)]
