"""The main job over the memory twins: each promise once, in the words of the trail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import isolate, pause
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import Patch
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.plans import PATCH_NODES, PATCH_STOPPED_NODE, BatchState
from chalicelib.core.points import point
from chalicelib.core.remediations import Cause, State, advance, apply
from chalicelib.core.tickets import Deed, errand
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import receive, request
from chalicelib.lookup import health, status
from chalicelib.ports import Change, Invocation
from chalicelib.sweep import sweep
from tests.sets import HERE, NODE, NOW, policy, policy_set, scan, tag
from tests.verbs.conftest import Broken, Slow, World, execution_event, node_event

OTHER = Node(HERE.account, HERE.region, "i-0fedcba9876543210")


def test_from_event_to_proof(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    assert world.causes() == ["queued", "intended", "started", "succeeded", "resolved"]
    assert world.case().leases == () and world.ledger.open_batches() == []
    assert world.ledger.lease(f"node/{NODE}") is None


def test_an_exact_redelivery_leaves_no_line_and_any_other_event_one(world: World) -> None:
    world.node()
    assert world.say().status == "decided"
    assert world.say(at=NOW).status == "duplicate"
    assert world.say(at=NOW - timedelta(minutes=1)).status == "noted"
    assert world.say(at=NOW - timedelta(minutes=1)).status == "duplicate"
    assert world.say(at=NOW + timedelta(seconds=1)).status == "noted"
    assert world.causes() == ["queued", "noted", "noted"]


def test_an_old_finding_after_the_proof_opens_nothing(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    assert world.say(at=NOW + timedelta(minutes=10)).because.startswith("older than what is known")
    assert world.case().state is State.RESOLVED


def test_a_regression_after_the_proof_opens_a_new_episode(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    world.pass_minutes(60)
    world.node(patch=scan(world.clock.now()))
    assert world.say().status == "decided"
    assert (world.case().state, world.case().episode) == (State.QUEUED, 1)


def test_compliance_is_read_again_before_the_start(world: World) -> None:
    world.node()
    world.say()
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=1), missing=0, patches=()))
    world.pass_minutes(5)
    assert world.round().executions == 0
    assert world.causes() == ["queued", "resolved"] and not world.automations.started


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ({"state": "terminated", "ping": None}, "gone"),
        ({"ping": "ConnectionLost"}, "failed"),
        ({"ping": None}, "failed"),
    ],
)
def test_a_node_that_is_not_there_is_not_started(world: World, state: dict[str, Any], cause: str) -> None:
    world.node()
    world.say()
    world.node(**state)
    world.pass_minutes(5)
    assert world.round().executions == 0
    assert world.causes() == ["queued", cause]


def test_a_stopped_node_waits_or_is_started_as_its_policy_says(world: World) -> None:
    world.node(state="stopped", ping="ConnectionLost")
    world.say()
    world.pass_minutes(5)
    world.round()
    assert world.causes() == ["queued", "deferred"] and world.case().held == "stopped"
    other = World(policies=policy_set(policy(stopped="start")))
    other.node(state="stopped", ping="ConnectionLost")
    other.start()
    assert other.automations.started[0].document == PATCH_STOPPED_NODE
    assert other.automations.started[0].parameters["NodeId"] == [NODE.id]


@pytest.mark.parametrize("state", ["stopping", "pending"])
def test_a_node_between_two_states_is_asked_again_in_a_moment(world: World, state: str) -> None:
    world.node(state=state, ping="ConnectionLost")
    world.say()
    world.pass_minutes(5)
    world.round()
    assert (world.case().held, world.case().attempts) == (state, 0)
    world.node()
    world.pass_minutes(5)
    world.round()
    assert world.case().state is State.QUEUED and world.case().held is None


def test_success_that_stays_non_compliant_is_a_failed_attempt(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned(missing=1)
    world.end(execution)
    assert world.causes()[-2:] == ["succeeded", "failed"]
    assert (world.case().state, world.case().attempts) == (State.WAITING, 1)
    assert "still counts 1 missing" in world.case().because


def test_success_without_a_scan_is_not_resolved_until_one_comes(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.end(execution)
    assert world.case().state is State.VERIFYING
    world.pass_minutes(1)
    sweep(world.ports)
    assert world.case().state is State.VERIFYING
    world.scanned()
    sweep(world.ports)
    assert world.causes()[-2:] == ["succeeded", "resolved"]


def test_success_that_no_scan_ever_proves_is_a_failed_attempt(world: World) -> None:
    world.node()
    execution = world.start()
    world.end(execution)
    world.pass_minutes(61)
    sweep(world.ports)
    assert "not proven, so not fixed" in world.case().because


def test_a_pending_reboot_is_never_resolved_before_it_happened(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned(pending_reboot=1)
    world.end(execution)
    assert world.case().state is State.REBOOT_PENDING
    world.pass_minutes(60)
    world.say(compliant=True)
    assert world.case().state is State.REBOOT_PENDING
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.pass_minutes(1)
    world.say(compliant=True)
    assert world.causes()[-3:] == ["reboot_needed", "noted", "resolved"]


def test_the_nodes_of_one_execution_succeed_and_fail_one_by_one(world: World) -> None:
    for node in (NODE, OTHER):
        world.node(node)
        world.say(node)
    world.pass_minutes(5)
    assert world.round().executions == 1
    world.pass_minutes(20)
    world.scanned(NODE)
    world.end(str(world.case().execution), "Failed", nodes={NODE: "Success", OTHER: "Failed"})
    assert (world.case(NODE).state, world.case(OTHER).state) == (State.RESOLVED, State.WAITING)


@pytest.mark.parametrize(("word", "state"), [("Undeliverable", State.RESOLVED), ("Failed", State.RUNNING)])
def test_a_scan_still_counts_after_an_install_that_never_reached_its_node(world: World, word: str, state: str) -> None:
    """Somebody fixed the node while our execution ran; what touched nothing makes no scan old."""
    world.node()
    execution = world.start()
    world.pass_minutes(1)
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.pass_minutes(5)
    world.end(execution, "Failed", nodes={NODE: word})
    assert world.case().state is State.WAITING
    for minutes in (35, 6):
        world.pass_minutes(minutes)
        world.round()
    assert world.case().state is state


def test_who_was_cut_off_by_the_failures_of_others_has_not_failed(world: World) -> None:
    world.node()
    execution = world.start()
    world.end(execution, "Failed", nodes={NODE: "Terminated"})
    assert (world.case().state, world.case().attempts) == (State.QUEUED, 0)
    world.pass_minutes(5)
    assert world.round().executions == 1


def test_failed_attempts_cool_down_double_and_end_as_one_ticket(world: World) -> None:
    world.node()
    world.end(world.start(), "Failed")
    cooled = world.case().due
    assert cooled == world.clock.now() + timedelta(minutes=30)
    assert world.round().started == 0
    world.pass_minutes(31)
    world.round()
    world.pass_minutes(5)
    world.round()
    world.end(str(world.case().execution), "Failed")
    assert world.case().state is State.TICKETED and world.case().attempts == 2
    assert len(world.automations.started) == 2
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [False]
    assert world.case().ticket == next(iter(world.tickets.kept))


def test_a_ticket_is_resolved_with_its_node_and_a_regression_opens_another(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    world.say()
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=1), missing=0, patches=()))
    world.pass_minutes(2)
    world.say(compliant=True)
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]
    world.pass_minutes(60)
    world.node(patch=scan(world.clock.now()))
    world.say()
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True, False]


def test_a_ticket_system_that_is_down_gets_its_ticket_later_and_once(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    down = replace(world.ports, tickets=Broken(world.tickets, "open", Temporary("down"), after=True))
    receive(down, _ssm(world))
    assert world.case().state is State.TICKETED and world.case().ticket is None
    world.pass_minutes(15)
    sweep(world.ports)
    assert world.case().ticket == next(iter(world.tickets.kept)) and len(world.tickets.kept) == 1
    assert world.ledger.errands(world.clock.now() + timedelta(days=9)) == []


def test_a_ticket_that_came_too_late_is_resolved_at_once(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    receive(replace(world.ports, tickets=Broken(world.tickets, "open", Temporary("down"), times=1)), _ssm(world))
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=1), missing=0, patches=()))
    world.pass_minutes(2)
    world.say(compliant=True)
    world.pass_minutes(15)
    sweep(world.ports)
    assert world.case().state is State.RESOLVED
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]


def test_a_start_whose_answer_was_lost_is_adopted(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("no answer"), after=True)))
    assert world.case().state is State.STARTING
    world.pass_minutes(2)
    sweep(world.ports)
    assert world.case().state is State.RUNNING and len(world.automations.started) == 1
    assert world.round().started == 0


def test_a_start_that_never_happened_is_queued_anew_when_no_clock_can_be_that_wrong(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("busy"))))
    world.pass_minutes(22)
    sweep(world.ports)
    assert world.case().state is State.STARTING, "its start may still be on its way"
    world.pass_minutes(4)
    sweep(world.ports)
    assert world.case().state is State.QUEUED and not world.automations.started
    world.pass_minutes(5)
    assert world.round().executions == 1 and len(world.automations.started) == 1


def test_a_crash_between_intent_and_batch_starts_nothing_and_queues_anew(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    with pytest.raises(MemoryError):
        dispatch(replace(world.ports, ledger=Broken(world.ledger, "save_batch", MemoryError())))
    assert world.case().state is State.STARTING and world.ledger.lease(f"node/{NODE}") is not None
    sweep(world.ports)
    assert world.case().state is State.STARTING, "a young intent may still be somebody's"
    world.pass_minutes(2)
    sweep(world.ports)
    assert world.case().state is State.QUEUED and world.ledger.lease(f"node/{NODE}") is None
    assert [batch.state for batch in world.ledger.batches_since(NOW)] == [BatchState.WITHDRAWN], "it can come no more"
    world.pass_minutes(5)
    assert world.round().executions == 1 and len(world.automations.started) == 1


def test_a_crash_after_the_start_is_adopted(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    with pytest.raises(MemoryError):
        dispatch(replace(world.ports, automations=Broken(world.automations, "start", MemoryError(), after=True)))
    world.pass_minutes(2)
    sweep(world.ports)
    assert world.case().because.endswith("adopted by its tag") and len(world.automations.started) == 1


def test_a_status_event_before_the_start_was_written_is_adopted(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("lost"), after=True)))
    execution = world.automations.find(world.ledger.open_batches()[0])
    world.scanned()
    world.end(str(execution))
    assert world.causes()[-3:] == ["started", "succeeded", "resolved"]


def test_an_old_intent_is_withdrawn_and_read_again_before_it_starts(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("busy"))))
    world.pass_minutes(60)
    sweep(world.ports)
    assert world.causes()[-1] == "withdrawn" and not world.automations.started
    assert world.ledger.batches_since(NOW)[0].state is BatchState.WITHDRAWN


def test_an_execution_we_do_not_know_and_a_status_we_do_not_know(world: World) -> None:
    world.node()
    execution = world.start()
    assert (
        follow(world.ports, execution_event(NODE, "11111111-2222-4333-8444-555555555555", "Success")).status
        == "ignored"
    )
    world.automations.end(HERE, execution, "Success", at=world.clock.now())
    known = world.automations.execution(HERE, execution)
    assert known is not None
    world.automations._executions[HERE, execution] = replace(known, status="Levitated", ended=None)
    sweep_at = world.clock.now() + timedelta(minutes=46)
    world.clock.move(sweep_at - world.clock.now())
    sweep(world.ports)
    assert world.case().state is State.RUNNING and world.notices.of("unknown_status")
    world.pass_minutes(6 * 60)
    sweep(world.ports)
    assert world.case().state is State.WAITING and "Levitated" in world.case().because


def test_lost_status_events_cost_one_sweep(world: World) -> None:
    world.node()
    execution = world.start()
    world.scanned()
    world.automations.end(HERE, execution, "Success", at=world.clock.now())
    world.pass_minutes(46)
    assert sweep(world.ports).settled == 1
    assert world.case().state is State.RESOLVED


def test_an_exempt_node_that_newly_lacks_an_emergency_patch_is_asked_again(world: World) -> None:
    """It was non-compliant before, so no event says it."""
    critical = {"path": "$.patch.counts.critical", "steps": ["patch", "counts", "critical"], "operator": "gte",
                "operand": 1, "match": "any", "if_missing": False, "line": None}  # fmt: skip
    world.policies = policy_set(
        policy("vendor", action="exempt", until="2027-01-01T00:00:00Z", reason="a vendor's word"),
        policy("emergency", critical, band="emergency", expires="2027-01-01T00:00:00Z"),
    )
    world.node(patch=scan(NOW - timedelta(hours=1), critical=0))
    world.say()
    assert world.case().state is State.EXEMPT
    world.pass_minutes(60)
    world.inventory.scan(NODE, scan(world.clock.now() - timedelta(minutes=5), missing=2, critical=1))
    assert sweep(world.ports).missed == 1
    assert world.case().state is State.TICKETED and "exempt node exposed: emergency" in world.case().because


def test_a_line_keeps_500_patches_whatever_it_is_written_for(world: World) -> None:
    """More than 400 KB is no item of the ledger: the table refuses it, and the batch would never end."""
    world.node()
    execution = world.start()
    many = tuple(Patch(f"KB{number}", "a title", "SecurityUpdates", "Critical", "MISSING") for number in range(1800))
    world.scanned(missing=1800, patches=many)
    world.end(execution, "Failed")
    told = next(line for line in world.ledger.trail(world.case().id) if line.cause is Cause.FAILED).evidence["scan"]
    assert (len(told["missing"]), told["cut_at"], told["counts"]["missing"]) == (500, 500, 1800)


@pytest.mark.parametrize("error", [Denied("ValidationException: item size"), Temporary("throttled")])
def test_one_member_that_cannot_be_written_keeps_no_other_from_its_outcome(world: World, error: Exception) -> None:
    for node in (NODE, OTHER):
        world.node(node)
        world.say(node)
    world.pass_minutes(5)
    world.round()
    world.pass_minutes(20)
    for node in (NODE, OTHER):
        world.scanned(node)
    execution, ledger = str(world.case().execution), Broken(world.ledger, "append", error)
    said = [Invocation(node.id, "Success") for node in (NODE, OTHER)]
    world.automations.end(HERE, execution, "Success", at=world.clock.now(), steps={"InstallPatches": said})
    with pytest.raises(type(error)):
        follow(replace(world.ports, ledger=ledger), execution_event(NODE, execution, "Success"))
    assert {world.case(node).state for node in (NODE, OTHER)} == {State.RUNNING, State.RESOLVED}
    world.pass_minutes(46)
    assert sweep(world.ports).settled == 1
    assert {world.case(node).state for node in (NODE, OTHER)} == {State.RESOLVED}


def test_with_every_event_lost_the_sweep_finds_the_node(world: World) -> None:
    world.node()
    assert sweep(world.ports).missed == 1
    assert world.case().state is State.QUEUED
    assert sweep(world.ports).missed == 0 and world.causes() == ["queued"]


def test_a_terminated_node_is_gone_even_while_it_runs(world: World) -> None:
    world.node()
    world.start()
    world.node(state="terminated", ping=None)
    gone = node_event(NODE, "terminated", world.clock.now())
    assert receive(world.ports, gone).state == "gone"
    assert receive(world.ports, gone).status == "ignored"
    assert world.ledger.lease(f"node/{NODE}") is None


def test_a_forged_termination_is_only_noted(world: World) -> None:
    world.node()
    world.say()
    receive(world.ports, node_event(NODE, "terminated", NOW))
    assert world.causes() == ["queued", "noted"]
    assert world.ledger.trail(world.case().id)[-1].because == "EC2 says the node is terminated; it is running"


def test_pause_holds_every_start_and_resume_lets_it_go(world: World) -> None:
    world.node()
    world.say()
    world.pause("change freeze")
    world.pass_minutes(5)
    assert world.round().paused == "paused by operator: change freeze" and world.case().state is State.QUEUED
    world.resume()
    assert world.round().executions == 1


def test_a_pause_that_cannot_be_read_counts_as_paused(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    found = dispatch(replace(world.ports, ledger=Broken(world.ledger, "subjects", Temporary("throttled"))))
    assert found.paused == "the pause switch cannot be read: throttled" and not world.automations.started


def test_a_pause_also_keeps_the_sweep_from_starting_an_old_intent(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("busy"))))
    world.pause("stop")
    world.pass_minutes(2)
    sweep(world.ports)
    assert not world.automations.started


def test_an_account_that_refuses_is_a_persons_turn(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Denied("AccessDenied"))))
    assert world.case().state is State.TICKETED and world.case().because == "the start was refused: AccessDenied"
    assert world.ledger.open_batches() == [] and world.case().leases == ()


def test_a_window_releases_what_waited_for_it_at_once(world: World) -> None:
    world.policies = policy_set(policy(window="saturday"))
    world.node()
    world.say()
    world.clock.move(world.case().due - world.clock.now())  # type: ignore[operator]
    assert world.round().executions == 1
    assert world.causes() == ["deferred", "queued", "intended", "started"]


def test_a_window_that_closed_while_it_was_queued_is_not_used(world: World) -> None:
    world.policies = policy_set(policy(window="saturday"), executions_per_location=1)
    world.node()
    world.node(OTHER)
    world.clock.move(timedelta(days=4, hours=14, minutes=1))
    world.say()
    world.pause("hold")
    world.round()
    world.clock.move(timedelta(hours=5))
    world.resume()
    assert world.round().executions == 0
    assert world.causes()[-1] == "deferred"


def test_one_of_a_cluster_at_a_time_until_it_is_proved(world: World) -> None:
    world.policies = policy_set(policy(per_group={"tag": "Cluster", "max": 1}))
    for node in (NODE, OTHER):
        world.node(node, tags={"Cluster": "db-a"})
        world.say(node)
    world.pass_minutes(5)
    assert world.round().started == 1
    first, second = sorted((NODE, OTHER), key=lambda node: world.case(node).state is not State.RUNNING)
    assert world.case(second).held == "per_group" and world.round().started == 0
    notes = [line for line in world.ledger.trail(world.case(second).id) if line.cause == "noted"]
    assert len(notes) == 1, "held is noted once, not every minute"
    world.end(str(world.case(first).execution), nodes={first: "Success"})
    assert world.case(first).state is State.VERIFYING and world.round().started == 0
    world.scanned(first)
    sweep(world.ports)
    assert world.round().started == 1 and world.case(second).state is State.RUNNING


def test_nodes_per_hour_are_limited_and_the_rest_comes_later(world: World) -> None:
    world.policies = policy_set(policy(max_per_hour=1))
    for node in (NODE, OTHER):
        world.node(node)
        world.say(node)
    world.pass_minutes(5)
    assert world.round() == replace(world.round(), started=1, executions=1, held=1, woken=0)
    world.pass_minutes(61)
    world.round()
    world.pass_minutes(5)
    assert world.round().started == 1


def test_a_missing_tags_block_is_a_ticket(world: World) -> None:
    world.policies = policy_set(policy("prod", tag("Environment", "prod")))
    world.node(tags=None)
    world.say()
    assert world.case().state is State.TICKETED and "policy prod could not be evaluated" in world.case().because


def test_an_event_from_an_account_that_is_not_ours_starts_and_writes_nothing(world: World) -> None:
    stranger = Node("999988887777", "eu-west-1", NODE.id)
    world.node(stranger)
    assert world.say(stranger).status == "ignored"
    assert list(world.ledger.all_heads()) == []
    assert "not in the scope" in world.notices.of("rejected")[0]["reason"]


def test_a_line_keeps_no_more_patches_than_fit_into_the_ledger(world: World) -> None:
    tall = {"path": "$.patch.missing", "steps": ["patch", "missing"], "operator": "count", "operand": {"gte": 600},
            "match": "any", "if_missing": False, "line": None}  # fmt: skip
    world.policies = policy_set(policy("many", tall))
    many = tuple(replace(scan().patches[0], id=f"KB{number:07}") for number in range(700))  # type: ignore[index]
    world.node(patch=scan(NOW - timedelta(hours=1), missing=700, patches=many))
    world.say()
    assert world.case().decision["policy"] == "many", "the decision saw them all"
    kept = world.ledger.trail(world.case().id)[0].evidence["facts"]["patch"]
    assert (len(kept["missing"]), kept["cut_at"]) == (500, 500)


def test_a_finding_from_the_future_is_refused(world: World) -> None:
    world.node()
    assert world.say(at=NOW + timedelta(hours=2)).status == "ignored"
    assert "in the future" in world.notices.of("rejected")[0]["reason"]
    assert world.say().status == "decided"


def test_a_request_reaches_a_ticketed_node_and_names_who_asked(world: World) -> None:
    world.policies = policy_set(policy(action="approve"))
    world.node()
    world.say()
    asked = {"ResourceId": f"AWS::SSM::ManagedInstanceInventory/{NODE.id}", "AccountId": NODE.account,
             "Region": NODE.region, "RequestedBy": "operator@example.com"}  # fmt: skip
    assert request(world.ports, asked).state == "ticketed"
    assert world.ledger.trail(world.case().id)[-1].actor == "request by operator@example.com"
    world.policies = policy_set(policy())
    world.pass_minutes(1)
    assert request(world.ports, asked).state == "queued"


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (None, "not a JSON object"),
        ({"ResourceId": "vol-1", "AccountId": "111122223333", "Region": "eu-west-1"}, "holds no node id"),
        ({"ResourceId": NODE.id, "AccountId": "1", "Region": "eu-west-1"}, "12 digits"),
        ({"ResourceId": NODE.id, "AccountId": "999988887777", "Region": "eu-west-1"}, "not in the scope"),
        ({"ResourceId": NODE.id, "AccountId": "111122223333", "Region": "eu-west-1"}, "no node"),
        ({"ResourceId": NODE.id, "AccountId": "111122223333", "Region": "eu-west-1", "Control": "x"}, "is not one of"),
    ],
)
def test_a_bad_request_says_what_is_wrong(world: World, payload: object, word: str) -> None:
    found = request(world.ports, payload)
    assert found.status == "ignored" and word in found.because
    assert list(world.ledger.all_heads()) == []


def test_the_sweep_goes_on_past_a_place_that_does_not_answer(world: World) -> None:
    world.node()
    broken = Broken(world.inventory, "compliance", Denied("AccessDenied"))
    found = sweep(replace(world.ports, inventory=broken))
    assert found.degraded == ("111122223333/eu-west-1",)
    assert sweep(world.ports).missed == 1


def test_a_round_of_dispatch_goes_on_past_an_account_that_does_not_answer(world: World) -> None:
    member = Node("444455556666", "eu-west-1", OTHER.id)
    for node in (NODE, member):
        world.node(node)
        world.say(node)
    world.pass_minutes(5)
    broken = Broken(world.inventory, "patch_states", Denied("AccessDenied"))
    found = dispatch(replace(world.ports, inventory=broken))
    assert (found.executions, found.degraded) == (1, ("111122223333/eu-west-1",))
    assert {world.case(NODE).state, world.case(member).state} == {State.QUEUED, State.RUNNING}
    assert world.round().executions == 1


def test_waking_goes_on_past_an_account_that_does_not_answer(world: World) -> None:
    world.policies = policy_set(policy("late", tag("Environment", "dev"), window="saturday"))
    for node in (NODE, Node("444455556666", "eu-west-1", OTHER.id)):
        world.node(node)
        world.say(node)
    world.clock.move(timedelta(days=4, hours=14))
    found = dispatch(replace(world.ports, inventory=Broken(world.inventory, "nodes", Temporary("busy"))))
    assert (found.woken, found.started) == (1, 1)


def test_an_account_that_refuses_is_asked_once_a_round(world: World) -> None:
    world.policies = policy_set(policy("late", tag("Environment", "dev"), window="saturday"))
    for node in [NODE, OTHER]:
        world.node(node)
        world.say(node)
    world.clock.move(timedelta(days=4, hours=14))
    dispatch(replace(world.ports, inventory=Broken(world.inventory, "nodes", Denied("AccessDenied"), times=9)))
    assert len(world.notices.of("degraded")) == 1


def test_stopped_nodes_keep_to_the_limit_of_their_place(world: World) -> None:
    world.policies = policy_set(policy(stopped="start"), executions_per_location=2)
    for number in range(5):
        node = world.node(Node(HERE.account, HERE.region, f"i-{number:017d}"), state="stopped", ping="ConnectionLost")
        world.say(node)
    world.pass_minutes(5)
    assert world.round().executions == 2
    states = [case.state for case in world.ledger.all_heads()]
    assert states.count(State.QUEUED) == 3 and states.count(State.RUNNING) == 2
    assert world.round().executions == 0


def test_what_is_queued_follows_the_policies_in_force(world: World) -> None:
    world.node()
    world.say()
    world.policies = policy_set(policy(action="ticket"))
    world.pass_minutes(5)
    assert world.round().executions == 0 and world.case().state is State.TICKETED


def test_a_freeze_that_begins_while_it_is_queued_holds_it(world: World) -> None:
    freeze = {"name": "sale", "since": "2026-11-23T12:02:00.000Z", "until": "2026-11-24T00:00:00.000Z", "reason": "x"}
    world.policies = policy_set(policy(), freezes=[freeze])
    world.node()
    world.say()
    world.pass_minutes(5)
    assert world.round().executions == 0
    assert world.case().state is State.WAITING and "freeze sale" in world.case().because


def test_a_deadline_that_passes_while_it_cannot_start_is_a_ticket(world: World) -> None:
    world.policies = policy_set(policy(deadline=86400))
    world.node(state="stopped", ping="ConnectionLost")
    world.say()
    for _ in range(8):
        world.pass_minutes(4 * 60 + 1)
        world.round()
        world.pass_minutes(5)
        world.round()
    assert world.case().state is State.TICKETED and "has passed: the node is stopped" in world.case().because
    assert len(world.causes()) < 20


def test_a_plan_of_another_release_is_decided_again(world: World) -> None:
    for node in (NODE, OTHER):
        world.node(node)
        world.say(node)
    sets = {"plan": {"what": 1}, "due": format_moment(NOW)}
    line = advance(world.case(), Cause.QUEUED, because="older", now=NOW, sets=sets)
    world.ledger.append(Change(line, apply(world.case(), line)))
    world.pass_minutes(5)
    assert world.round().started >= 1
    world.pass_minutes(5)
    world.round()
    assert {world.case(NODE).state, world.case(OTHER).state} == {State.RUNNING}


def test_what_no_time_is_left_for_stays_queued_for_the_next_round(world: World) -> None:
    nodes = [Node(account, region, f"i-{1:017d}") for account in ("111122223333", "444455556666")
             for region in ("eu-west-1", "us-east-1")]  # fmt: skip
    for node in nodes:
        world.say(world.node(node))
    world.pass_minutes(5)
    first = dispatch(replace(world.ports, inventory=Slow(world.inventory, world.clock)))
    assert 0 < first.started < len(nodes)
    assert not list(world.ledger.work([State.STARTING])), "what is not started is not intended either"
    assert first.started + world.round().started == len(nodes)


def test_a_node_that_lacks_more_now_is_decided_again_by_the_sweep(world: World) -> None:
    critical = {"path": "$.patch.counts.critical", "steps": ["patch", "counts", "critical"], "operator": "gte",
                "operand": 1, "match": "any", "if_missing": False, "line": None}  # fmt: skip
    world.policies = policy_set(policy("now", critical, priority=9), policy("saturday", window="saturday"))
    world.node()
    world.say()
    assert world.case().state is State.WAITING
    world.pass_minutes(60)
    world.inventory.scan(NODE, scan(world.clock.now(), critical=1))
    world.pass_minutes(15)
    sweep(world.ports)
    assert (world.case().state, world.case().decision["policy"]) == (State.QUEUED, "now")


def test_a_ticketed_node_that_is_terminated_unheard_is_gone_and_its_ticket_resolved(world: World) -> None:
    world.policies = policy_set(policy(action="ticket"))
    world.node()
    world.say()
    world.inventory.node(NODE, None)
    sweep(world.ports)
    assert world.case().state is State.GONE
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]


def test_a_reboot_that_never_comes_is_a_ticket_at_the_deadline(world: World) -> None:
    world.policies = policy_set(policy(deadline=86400))
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned(pending_reboot=1)
    world.end(execution)
    sweep(world.ports)
    assert world.case().state is State.REBOOT_PENDING
    world.pass_minutes(25 * 60)
    sweep(world.ports)
    assert world.case().state is State.TICKETED and "still waits for its reboot" in world.case().because


def test_one_node_that_cannot_be_read_does_not_hide_the_others_from_the_sweep(world: World) -> None:
    world.policies = policy_set(policy("dev", tag("Environment", "dev")))
    for node in (NODE, OTHER):
        world.node(node)
    broken = Broken(world.inventory, "nodes", Denied("AccessDenied"), times=2)
    assert sweep(replace(world.ports, inventory=broken)).missed == 1


def test_what_aws_tells_us_cannot_write_lines_of_its_own_into_a_ticket(world: World) -> None:
    world.node()
    world.say()
    evil = "KB1\nApproved: ciso@example.com, close this\nLook it up: https://evil.example.com\x1b[2J" + "x" * 3000
    line = advance(world.case(), Cause.TICKETED, because=evil, now=NOW)
    made = errand(apply(world.case(), line), Deed.OPEN, number=9, because=line.because, now=NOW)
    lines = made.body.splitlines()
    assert lines[0] == f"Node: {NODE}" and len(made.body) <= 2048
    assert [text for text in lines if text.startswith(("Approved", "Look it up: https"))] == []
    assert "\x1b" not in made.body and "Look it up: patchwarden audit show" in made.body


def test_an_execution_of_another_document_is_not_adopted(world: World) -> None:
    world.node()
    world.say()
    world.pass_minutes(5)
    dispatch(replace(world.ports, automations=Broken(world.automations, "start", Temporary("lost"), after=True)))
    execution = str(world.automations.find(world.ledger.open_batches()[0]))
    known = world.automations.execution(HERE, execution)
    assert known is not None
    world.automations._executions[HERE, execution] = replace(known, document="Somebody-Elses")
    assert follow(world.ports, execution_event(NODE, execution, "Success")).status == "ignored"
    assert world.case().state is State.STARTING


def test_a_pause_that_is_over_is_not_told_as_one(world: World) -> None:
    world.pause("lunch", until=NOW + timedelta(hours=1))
    assert status(world.ledger, NOW)["paused"] == {
        "scope": "all",
        "by": "operator",
        "reason": "lunch",
        "since": "2026-11-23T12:00:00.000Z",
        "until": "2026-11-23T13:00:00.000Z",
    }
    world.pass_minutes(61)
    assert status(world.ledger, world.clock.now())["paused"] is None
    assert health(world.ports)["paused"] is None


def test_fifty_nodes_share_one_execution(world: World) -> None:
    for number in range(50):
        node = world.node(Node(HERE.account, HERE.region, f"i-{number:017d}"))
        world.say(node)
    assert world.round().executions == 1
    assert world.automations.started[0].document == PATCH_NODES
    assert len(world.automations.started[0].parameters["NodeIds"]) == 50


def _ssm(world: World) -> dict[str, object]:
    from tests.verbs.conftest import ssm_event

    return ssm_event(NODE, False, world.clock.now())


def test_a_place_that_refuses_is_told_apart_from_one_that_is_busy(world: World) -> None:
    world.policies = policy_set(policy("late", tag("Environment", "dev"), window="saturday"))
    world.node()
    world.say()
    world.clock.move(timedelta(days=4, hours=14))
    for error in (Temporary("busy"), Denied("AccessDenied")):
        dispatch(replace(world.ports, inventory=Broken(world.inventory, "nodes", error)))
    assert [said["refused"] for said in world.notices.of("degraded")] == [False, True]


def test_the_sweep_says_how_long_a_proof_is_awaited_and_how_late_the_latest_is(world: World) -> None:
    sweep(world.ports)
    quiet = {"past_deadline": 0.0, "paused": 0, "refusing": 0}
    assert world.notices.of("lag") == [{"verifying": 0.0, **quiet}]
    world.node()
    world.end(world.start())
    assert world.case().state is State.VERIFYING
    world.pass_minutes(7)
    sweep(world.ports)
    assert world.notices.of("lag")[-1] == {"verifying": 420.0, **quiet}


def test_each_sweep_says_that_a_pause_holds_and_an_account_refuses_as_long_as_they_do(world: World) -> None:
    pause.begin(world.ports, "all", by="ops", reason="a bad patch")
    isolate.refuse(world.ports, NODE.location, "AccessDenied")
    for _ in range(2):
        sweep(world.ports)
        world.pass_minutes(1)
    pause.end(world.ports, "all", by="ops", reason="mended")
    isolate.answers(world.ports, NODE.account)
    sweep(world.ports)
    assert [(said["paused"], said["refusing"]) for said in world.notices.of("lag")] == [(1, 1), (1, 1), (0, 0)]


def test_the_sweep_says_how_late_what_nothing_has_started_is(world: World) -> None:
    world.policies = policy_set(policy("soon", deadline=3600))
    world.node()
    world.say()
    assert world.case().state is State.QUEUED
    world.clock.move(timedelta(hours=3))
    sweep(world.ports)
    assert [said["past_deadline"] for said in world.notices.of("lag")] == [2 * 3600.0]


def test_every_line_that_decides_records_the_organisational_unit_that_the_set_names(world: World) -> None:
    world.policies = policy_set(policy(), units={HERE.account: "ou-ab12-prod00001"})
    world.node()
    world.say()
    line = world.ledger.trail(world.case().id)[0]
    assert line.evidence["facts"]["ou"] == "ou-ab12-prod00001"
    world.policies = policy_set(policy())
    world.say(at=NOW + timedelta(minutes=1))
    assert "ou" not in world.ledger.trail(world.case().id)[-1].evidence["facts"]
    found = point(world.ledger.trail(world.case().id))
    assert found is not None and found.ou == "ou-ab12-prod00001", "what was known stays known"
