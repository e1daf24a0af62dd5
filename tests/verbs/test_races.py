"""What the simulation found: races and mixed controls that once left a remediation stuck, doubled or unproved."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import ticket
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState
from chalicelib.core.findings import Control, Source, remediation_id
from chalicelib.core.plans import BatchState
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.tickets import Errand
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import receive, take
from chalicelib.sweep import sweep
from tests.sets import HERE, NODE, NOW, finding, policy, policy_set, scan
from tests.verbs.conftest import Broken, World, execution_event, node_event, ssm_event


class Between:
    """A port before whose method something else happens, once."""

    def __init__(self, whole: Any, method: str, first: Any) -> None:
        self._whole, self._method, self._first = whole, method, first

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._first:
            first, self._first = self._first, None
            first()
        return getattr(self._whole, name)


REPAIR = {"name": "Example-Repair", "version": "1", "parameters": {}}


def association_world() -> World:
    """A node whose patches are complete and whose association is not, under a policy that repairs it."""
    world = World(policies=policy_set(policy(document=REPAIR), documents=["Example-Repair"]))
    world.node(patch=scan(NOW - timedelta(hours=1), missing=0, patches=()))
    say_association(world, compliant=False)
    return world


def say_association(world: World, *, compliant: bool) -> None:
    event = ssm_event(NODE, compliant, world.clock.now())
    receive(world.ports, {**event, "detail": {**event["detail"], "compliance-type": "Association"}})


def association(world: World) -> Remediation:
    found = world.ledger.head(remediation_id(NODE, Control.ASSOCIATION))
    assert found is not None
    return found


def test_a_note_in_between_leaves_nobody_running_in_a_finished_batch(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    noisy = replace(world.ports, inventory=Between(world.inventory, "patch_states", world.say))
    world.automations.end(HERE, execution, "Failed", at=world.clock.now())
    follow(noisy, execution_event(NODE, execution, "Failed"))
    assert world.causes()[-3:] == ["noted", "succeeded", "resolved"]
    assert [batch.state for batch in world.ledger.batches_since(NOW)] == [BatchState.FINISHED]


def test_clean_patches_neither_stop_nor_prove_the_repair_of_an_association() -> None:
    world = association_world()
    world.pass_minutes(5)
    assert world.round().executions == 1
    execution = str(association(world).execution)
    world.pass_minutes(10)
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.automations.end(HERE, execution, "Success", at=world.clock.now())
    follow(world.ports, execution_event(NODE, execution, "Success"))
    sweep(world.ports)
    assert association(world).state is State.VERIFYING
    world.pass_minutes(61)
    sweep(world.ports)
    assert association(world).state is State.WAITING
    assert "not proven" in association(world).because


@pytest.mark.parametrize(("noncompliant", "minutes", "after"), [
    (0, 7, State.RESOLVED), (0, 1, State.VERIFYING), (1, 7, State.VERIFYING), (None, 0, State.VERIFYING),
])  # fmt: skip
def test_an_association_is_repaired_when_systems_manager_says_so_of_a_run_after_its_intent(
    noncompliant: int | None, minutes: int, after: State
) -> None:
    """What an event says of it proves nothing: it may be forged, or of another association."""
    world = association_world()
    world.pass_minutes(5)
    dispatch(world.ports)
    execution = str(association(world).execution)
    world.pass_minutes(10)
    say_association(world, compliant=True)
    assert association(world).state is State.RUNNING
    if noncompliant is not None:
        world.inventory.associate(NODE, AssociationState(noncompliant, NOW + timedelta(minutes=minutes)))
    world.automations.end(HERE, execution, "Success", at=world.clock.now())
    follow(world.ports, execution_event(NODE, execution, "Success"))
    sweep(world.ports)
    assert association(world).state is after
    world.pass_minutes(70)
    sweep(world.ports)
    assert association(world).state is (State.RESOLVED if after is State.RESOLVED else State.WAITING)


@pytest.mark.parametrize(("told", "because"), [
    (None, "Systems Manager does not say so of its associations"),
    (AssociationState(2, NOW), "2 of its associations are not"),
    (Denied("ssm:ListComplianceItems: AccessDenied"), "Systems Manager does not say so of its associations"),
    (AssociationState(0, NOW), "its associations are compliant again"),
])  # fmt: skip
def test_no_event_alone_closes_an_association(told: AssociationState | Denied | None, because: str) -> None:
    world = association_world()
    world.policies = policy_set(policy(action="ticket"))
    ports = world.ports
    if isinstance(told, Denied):
        ports = replace(ports, inventory=Broken(world.inventory, "associations", told))
    elif told:
        world.inventory.associate(NODE, told)
    world.pass_minutes(5)
    event = ssm_event(NODE, True, world.clock.now())
    receive(ports, {**event, "detail": {**event["detail"], "compliance-type": "Association"}})
    case = association(world)
    fine = isinstance(told, AssociationState) and not told.noncompliant
    assert (case.state is State.RESOLVED) is fine
    assert because in world.ledger.trail(case.id)[-1].because


def test_no_answer_about_an_association_is_asked_for_again() -> None:
    world = association_world()
    busy = replace(world.ports, inventory=Broken(world.inventory, "associations", Temporary("busy")))
    world.pass_minutes(5)
    event = ssm_event(NODE, True, world.clock.now())
    with pytest.raises(Temporary):
        receive(busy, {**event, "detail": {**event["detail"], "compliance-type": "Association"}})
    assert association(world).state is State.QUEUED


def test_a_clean_scan_from_before_the_end_of_the_execution_proves_nothing(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(10)
    by_hand = scan(world.clock.now(), missing=0, patches=())
    world.inventory.scan(NODE, by_hand)
    world.say(compliant=True)
    world.pass_minutes(10)
    world.end(execution)
    world.pass_minutes(61)
    sweep(world.ports)
    assert world.causes()[-2:] == ["succeeded", "failed"], "and the old scan is no news to the sweep"
    assert world.case().state is State.WAITING
    world.pass_minutes(31)
    world.round()
    world.pass_minutes(5)
    assert world.round().executions == 1


def opening(world: World) -> Errand:
    """A ticket is owed, and the ticket system does not answer."""
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    down = replace(world.ports, tickets=Broken(world.tickets, "open", Temporary("down")))
    receive(down, ssm_event(NODE, compliant=False, at=world.clock.now()))
    (owed,) = world.ledger.errands(world.clock.now() + timedelta(hours=1))
    return owed


def test_two_runs_of_one_errand_leave_no_second_ticket_behind(world: World) -> None:
    owed = opening(world)
    before = world.case()
    world.node(state="terminated", ping=None)
    receive(world.ports, node_event(NODE, "terminated", world.clock.now()))
    world.pass_minutes(15)
    sweep(world.ports)
    ticket.run(world.ports, owed, before)
    assert [each.resolved for each in world.tickets.kept.values()] == [True, True]
    assert world.case().state is State.GONE
    assert world.ledger.errands(world.clock.now() + timedelta(days=9)) == []


def test_a_late_run_of_an_errand_that_is_done_stops_nobody(world: World) -> None:
    owed = opening(world)
    before = world.case()
    world.pass_minutes(15)
    sweep(world.ports)
    down = replace(world.ports, tickets=Broken(world.tickets, "open", Temporary("down")))
    assert ticket.run(down, owed, before) == before
    assert ticket.run(world.ports, owed, before).ticket == "oi-000000000001"
    assert [each.resolved for each in world.tickets.kept.values()] == [False]


def test_a_ticket_from_an_earlier_episode_is_not_taken_for_the_new_one(world: World) -> None:
    owed = opening(world)
    world.pass_minutes(1)
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.say(compliant=True)
    world.pass_minutes(1)
    world.inventory.scan(NODE, scan(world.clock.now()))
    world.say()
    assert (world.case().episode, world.case().ticket) == (1, "oi-000000000001")
    ticket.run(world.ports, owed, world.case())
    assert world.case().ticket == "oi-000000000001"
    assert [each.resolved for each in world.tickets.kept.values()] == [False, True]


def test_a_persons_turn_after_an_exemption_has_an_open_ticket(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    world.say()
    until = "2026-11-23T13:00:00Z"
    world.policies = policy_set(policy("spare", action="exempt", reason="x", until=until, expires=until,
                                       approved={"by": "a", "on": "b", "ticket": "c"}),
                                policy(action="ticket"))  # fmt: skip
    world.pass_minutes(1)
    world.say()
    assert (world.case().state, world.case().ticket) == (State.EXEMPT, None)
    world.pass_minutes(60)
    world.round()
    assert world.case().state is State.TICKETED
    assert [each.resolved for each in world.tickets.kept.values()] == [True, False]


def rule_says(world: World, *, compliant: bool) -> str:
    """A Config rule dates what it was told earlier with its own time."""
    return take(world.ports, finding(compliant, world.clock.now(), Source.CONFIG)).status


def test_old_good_news_under_a_new_date_hides_no_newer_scan(world: World) -> None:
    world.node(patch=scan(NOW - timedelta(minutes=5), missing=0, patches=()))
    world.say(compliant=True, at=NOW - timedelta(minutes=5))
    world.inventory.scan(NODE, scan(NOW))
    world.pass_minutes(1)
    rule_says(world, compliant=True)
    world.say(at=NOW)
    assert world.case().state is State.QUEUED


def test_old_bad_news_under_a_new_date_starts_nothing_on_a_clean_node(world: World) -> None:
    world.node(patch=scan(NOW, missing=0, patches=()))
    world.pass_minutes(10)
    rule_says(world, compliant=False)
    world.pass_minutes(5)
    assert world.round().executions == 0
    assert world.causes() == ["queued", "resolved"]


def test_good_news_that_nothing_proved_yet_is_asked_for_again(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    world.say()
    late = finding(True, NOW + timedelta(minutes=2), Source.SWEEP)
    world.pass_minutes(2)
    assert [take(world.ports, late).status, take(world.ports, late).status] == ["noted", "duplicate"]
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=2), missing=0, patches=()))
    assert take(world.ports, late).status == "decided"
    assert world.case().state is State.RESOLVED


def test_the_sweep_closes_what_a_later_claim_kept_open(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    world.say()
    world.pass_minutes(5)
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.pass_minutes(5)
    rule_says(world, compliant=False)
    world.pass_minutes(15)
    sweep(world.ports)
    assert world.case().state is State.RESOLVED


def test_a_newer_scan_still_stands_after_an_older_one_closed_the_case(world: World) -> None:
    """The sweep's finding is in the trail already; what closed the case over it is older, so it counts again."""
    bad = finding(False, NOW + timedelta(minutes=5), Source.SWEEP)
    world.node(patch=scan(NOW, missing=0, patches=()))
    world.pass_minutes(5)
    assert take(world.ports, bad).status == "decided"
    world.pass_minutes(5)
    world.round()  # Systems Manager still describes the scan of before
    assert world.causes() == ["queued", "resolved"]
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=5)))
    sweep(world.ports)
    assert world.case().state is State.QUEUED
    world.pass_minutes(6)
    world.round()
    assert world.case().state is State.RUNNING


def test_an_agent_that_one_clock_calls_quiet_for_less_than_an_hour_is_not_heard(world: World) -> None:
    world.policies = policy_set(policy("silent", action="ticket"), stale_after=7 * 86400)
    lost = NOW - timedelta(minutes=65)
    world.node(patch=scan(NOW, missing=0, patches=()), ping="ConnectionLost", last_seen=lost, launched=lost)
    sweep(world.ports)
    reporting = remediation_id(NODE, Control.REPORTING)
    lines = world.ledger.trail(reporting)
    assert lines[0].after is State.TICKETED
    world.pass_minutes(-10)
    sweep(world.ports)
    world.pass_minutes(25)
    sweep(world.ports)
    assert world.ledger.trail(reporting) == lines, "it stays a person's turn until the agent is heard"
