"""A node that somebody else patches is left alone: no second installation, no attempt charged, nothing forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import pause
from chalicelib.core.errors import Temporary
from chalicelib.core.journal import Kind, entry, subject_of
from chalicelib.core.nodes import Location, Node
from chalicelib.core.occurrences import Book, Order, Place, Run, RunState
from chalicelib.core.pauses import ALL
from chalicelib.core.remediations import State
from chalicelib.core.schedules import Operation
from chalicelib.dispatch import dispatch
from tests.sets import HERE, NODE, policy, policy_set
from tests.verbs.conftest import Broken, World

OTHER = Node(HERE.account, HERE.region, "i-0fedcba9876543210")
ELSEWHERE = Location("444455556666", "us-east-1")


def due(world: World, *nodes: Node) -> None:
    for node in nodes:
        world.say(world.node(node))
    world.pass_minutes(5)


def test_a_node_that_somebody_else_patches_waits_and_the_others_start(world: World) -> None:
    due(world, NODE, OTHER)
    world.automations.elsewhere = {HERE: {NODE.id: "their-command"}}
    world.round()
    (batch,) = world.automations.started
    assert [member.node for member in batch.members] == [OTHER.id]
    case = world.case()
    assert (case.state, case.held, case.attempts, case.leases) == (State.WAITING, "busy", 0, ())
    assert "command their-command patches the node already" in case.because
    world.automations.elsewhere = {}
    for _ in range(12):
        world.pass_minutes(1)
        world.round()
    assert world.case().state is State.RUNNING, "it is asked again, and not lost"


def test_a_node_whose_stopped_execution_still_works_on_it_is_not_started_anew(world: World) -> None:
    """Systems Manager does not promise that a cancelled command ends."""
    execution = world.start(world.node())
    world.automations.elsewhere = {HERE: {NODE.id: "ours-that-goes-on"}}
    begun = pause.begin(world.ports, ALL, by="ops", reason="stop it all")
    pause.stop_running(world.ports, begun)
    world.end(execution, "Cancelled", nodes={NODE: "Pending"})
    world.resume()
    for _ in range(60):
        world.pass_minutes(1)
        world.round()
    assert len(world.automations.started) == 1 and world.case().state in (State.WAITING, State.QUEUED)
    world.automations.elsewhere = {}
    for _ in range(60):
        world.pass_minutes(1)
        world.round()
    assert len(world.automations.started) == 2


def test_nobody_starts_where_it_cannot_be_told(world: World) -> None:
    due(world, NODE)
    deaf = Broken(world.automations, "patching", Temporary("Rate exceeded"))
    dispatch(replace(world.ports, automations=deaf))
    assert world.automations.started == [] and world.case().state is State.QUEUED
    world.pass_minutes(1)
    world.round()
    assert len(world.automations.started) == 1


def test_what_is_busy_past_its_deadline_is_a_persons_turn(world: World) -> None:
    world.policies = policy_set(policy(deadline=3600))
    due(world, NODE)
    world.automations.elsewhere = {HERE: {NODE.id: "for-ever"}}
    for _ in range(90):
        world.pass_minutes(1)
        world.round()
    assert world.case().state is State.TICKETED and world.automations.started == []
    assert "has passed" in world.case().because


def running(world: World, *, state: RunState = RunState.STARTED, **order: Any) -> None:
    """A run of the schedule `monthly`, which installs on everything here unless told otherwise."""
    now = world.clock.now()
    operation = order.pop("operation", Operation.INSTALL)
    place = Place((HERE.account,), (HERE.region,), "10%", "0")
    known = {"parameters": {"Platform": ["all"]}, "target": ("InstanceIds", ("*",)), "concurrency": "10%",
             "max_errors": "0", "places": (place,), **order}  # fmt: skip
    run = Run("run-1", "monthly", operation, now, now + timedelta(hours=2), ELSEWHERE, Order(**known), state, now)
    subject = subject_of(Kind.SCHEDULE, "monthly")
    last = world.ledger.entry(subject)
    world.ledger.enter(entry(last, subject, "started", because="its time has come", actor="patchwarden", now=now,
                             value=Book(run=run).to_json()))  # fmt: skip


@pytest.mark.parametrize(("holds", "given"), [
    (True, {}),
    (True, {"state": RunState.INTENDED}),
    (False, {"state": RunState.ENDED}),
    (False, {"operation": Operation.SCAN}),
    (True, {"target": ("tag:Environment", ("dev", "test"))}),
    (False, {"target": ("tag:Environment", ("prod",))}),
    (True, {"target": ("ResourceGroup", ("anything",))}),
    (False, {"parameters": {"Platform": ["windows"]}}),
    (False, {"places": (Place(("444455556666",), ("eu-west-1",), "1", "0"),)}),
    (False, {"places": (Place(("111122223333",), ("us-east-1",), "1", "0"),)}),
    (True, {"places": (Place((), ("eu-west-1",), "1", "0", units=("ou-1",)),)}),
    (False, {"places": (Place((), ("eu-west-1",), "1", "0", units=("ou-1",), exclude=("111122223333",)),)}),
    (False, {"places": ()}),
])  # fmt: skip
def test_a_node_that_a_schedules_installation_may_come_to_is_left_to_it(
    world: World, holds: bool, given: dict[str, Any]
) -> None:
    due(world, NODE)
    running(world, **given)
    world.round()
    assert (world.automations.started == []) is holds
    if holds:
        assert world.case().held == "busy" and "schedule monthly installs there" in world.case().because


def test_it_leaves_when_the_schedule_is_over_and_a_journal_nobody_can_read_holds_too(world: World) -> None:
    due(world, NODE)
    subject = subject_of(Kind.SCHEDULE, "monthly")
    strange = {"run": {"operation": "Install", "state": "started", "shape": "of another release"}}
    world.ledger.enter(entry(None, subject, "started", because="x", actor="patchwarden", now=world.clock.now(),
                             value=strange))  # fmt: skip
    world.round()
    assert world.automations.started == [] and "cannot be read" in world.case().because
    running(world, state=RunState.ENDED)
    for _ in range(37):
        world.pass_minutes(1)
        world.round()
    assert world.case().state is State.RUNNING
