"""Look-ups: the same figures for everybody, and an audit that finds what was taken away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.memory import MemoryLedger
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Cause, Remediation, State, advance, apply, replay
from chalicelib.lookup import LISTED, UNDECIDED, decided, executions, near, nodes, remediations, status, waits
from chalicelib.ports import Change
from chalicelib.proof import verify
from tests.many import fill
from tests.sets import NODE, NOW
from tests.verbs.conftest import World
from tests.verbs.test_budgets import spend


def written(world: World) -> None:
    for control in (Control.PATCH, Control.ASSOCIATION):
        case = Remediation(NODE, control)
        for cause in (Cause.TICKETED, Cause.NOTED):
            line = advance(case, cause, because="why", now=NOW)
            case = apply(case, line)
            world.ledger.append(Change(line, case))


def test_a_case_that_only_has_notes_says_why_it_waits() -> None:
    case = Remediation(NODE, Control.PATCH)
    line = advance(case, Cause.NOTED, because="ssm says compliant, but no scan on record proves it", now=NOW)
    assert waits(apply(case, line))["reason"] == UNDECIDED


def test_what_is_held_has_no_moment_that_is_over_for_its_next() -> None:
    case = replace(Remediation(NODE, Control.PATCH), state=State.QUEUED, due=NOW, because="prod: remediate now")
    assert waits(case, NOW)["next"] == format_moment(NOW), "the next round takes it"
    held = replace(case, held="wave")
    assert (waits(held, NOW)["next"], waits(held, NOW)["reason"]) == (None, "held by wave: prod: remediate now")
    assert waits(held, NOW - timedelta(minutes=5))["next"] == format_moment(NOW), "it is looked at again then"


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


def test_what_is_happening_now_is_told_without_reading_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    now = fill(world.ledger, 300)
    heads = [*world.ledger.all_heads()]
    held = next(case for case in heads if case.state is State.QUEUED)
    line = advance(held, Cause.NOTED, because="a surge", now=now, sets={"held": "surge"})
    world.ledger.append(Change(line, apply(held, line)))
    newest = sorted((case for case in heads if case.since), key=lambda case: (case.since, case.id))[-1]
    monkeypatch.setattr(world.ledger, "all_heads", lambda: pytest.fail("the whole fleet was read"))
    monkeypatch.setattr(world.ledger, "work", lambda states, **_: pytest.fail("a whole state was read")
                        if State.RESOLVED in states or states == [State.QUEUED] else iter([held]))  # fmt: skip
    monkeypatch.setattr(world.ledger, "held", lambda: iter([apply(held, line)]))
    told = status(world.ledger, now)
    assert told["states"] == Counter(case.state.value for case in heads)
    assert told["held"] == {"surge": 1} and told["fresh"]["moved"] == format_moment(newest.since or now) != ""
    assert told["totals"]["waiting"] > LISTED == len(told["waiting"])
    due = sorted((case for case in heads if case.state is State.WAITING), key=lambda case: case.turn)
    assert [one["id"] for one in told["waiting"]] == [case.id for case in due[:LISTED]]
    case = newest
    assert nodes(world.ledger, str(case.node)) == nodes(world.ledger, case.id) == nodes(world.ledger, case.node.id)
    last = decided(world.ledger, now, limit=3)
    assert last[0]["id"] == newest.id and len(last) == 3
    only = decided(world.ledger, now, policy="policy-3", limit=2)
    assert {one["policy"] for one in only} == {"policy-3"} and len(only) == 2


@pytest.mark.parametrize(("most", "failing", "told"), [
    ("3", 2, {"failures": 2, "limit": 3, "spent": False}), ("2", 2, {"failures": 2, "limit": 2, "spent": True}),
    ("50%", 1, {"failures": 1, "ended": 4, "limit": 2, "max": "50%", "spent": False}),
])  # fmt: skip
def test_a_policys_error_budget_is_told_as_far_as_it_is_used(most: str, failing: int, told: dict[str, Any]) -> None:
    world = World()
    spend(world, most, failing=failing)
    (found,) = executions(world.ports)["budgets"]
    assert {name: found[name] for name in told} == told and (found["policy"], found["within"]) == ("all-now", 86400)
