"""Decisions: every early return, its sentence, and the order in which they stand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.core.decided import Decision, closed
from chalicelib.core.decisions import decide
from chalicelib.core.facts import NodeState, PatchState, gather
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment
from chalicelib.core.plans import snapshot_id
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation, State
from tests.sets import NODE, NOW, finding, machine, policy, policy_set, scan, tag

SATURDAY_2 = datetime(2026, 11, 28, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
EXEMPT = {"action": "exempt", "reason": "end of life in May", "expires": "2027-05-01T00:00:00.000Z"}


def case(state: State = State.OPEN, **given: Any) -> Remediation:
    known = {"number": 1, "observed_at": NOW - HOUR, "first_seen": NOW - HOUR, "since": NOW - HOUR, **given}
    return Remediation(NODE, Control.PATCH, state, **known)


def answer(
    said: Finding | None = None, before: Remediation | None = None, policies: PolicySet | None = None,
    node: NodeState | None = None, patch: PatchState | None = None, now: datetime = NOW,
) -> Decision:  # fmt: skip
    said, before = said or finding(), before or Remediation(NODE, Control.PATCH)
    return decide(said, before, gather(said, before, node, patch), policies or policy_set(), now)


def test_a_finding_older_than_what_is_known_is_only_noted() -> None:
    made = answer(finding(at=NOW - 2 * HOUR), case(State.RESOLVED))
    assert made.cause is Cause.NOTED
    assert made.because.startswith("older than what is known: observed 2026-11-23T10:00:00.000Z")


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.VERIFYING])
@pytest.mark.parametrize("compliant", [True, False])
def test_while_an_execution_is_under_way_nothing_is_decided(state: State, compliant: bool) -> None:
    made = answer(finding(compliant), case(state), patch=scan(missing=0))
    assert made.cause is Cause.NOTED
    assert f"while its execution is {state}" in made.because


def test_the_scan_of_its_own_execution_verifies() -> None:
    ours = scan(missing=0, snapshot=snapshot_id("b"))
    assert answer(finding(True), case(State.VERIFYING, batch="b"), patch=ours).cause is Cause.RESOLVED


def test_a_compliant_finding_needs_a_scan_that_agrees() -> None:
    assert answer(finding(True), case(State.TICKETED)).cause is Cause.NOTED
    disputed = answer(finding(True), case(State.TICKETED), patch=scan(missing=3))
    assert "counts 3 patches against it" in disputed.because and disputed.cause is Cause.NOTED
    installed = answer(finding(True), case(State.TICKETED), patch=scan(missing=0, operation="Install"))
    assert installed.cause is Cause.NOTED and "no scan after the install" in installed.because
    proved = answer(finding(True), case(State.TICKETED), patch=scan(missing=0))
    assert proved.cause is Cause.RESOLVED and proved.sets["observed_at"] == format_moment(NOW)


def test_a_patch_that_waits_for_a_reboot_is_not_compliant() -> None:
    assert (
        answer(finding(True), case(State.REBOOT_PENDING), patch=scan(missing=0, pending_reboot=1)).cause is Cause.NOTED
    )


def test_a_terminated_node_is_gone_whatever_the_policies_want() -> None:
    assert answer(node=machine(state="terminated", ping=None)).cause is Cause.GONE


def test_a_scan_newer_than_the_finding_that_counts_nothing_resolves() -> None:
    assert answer(patch=scan(NOW + HOUR, missing=0)).cause is Cause.RESOLVED
    assert answer(patch=scan(NOW - HOUR, missing=0)).cause is Cause.QUEUED


def test_an_exemption_wins_over_a_ticket_and_ends() -> None:
    policies = policy_set(policy("legacy", **EXEMPT), policy())
    made = answer(before=case(State.TICKETED, ticket="oi-1"), policies=policies)
    assert made.cause is Cause.EXEMPTED and made.sets["due"] == "2027-05-01T00:00:00.000Z"
    assert made.because == "legacy: exempt until 2027-05-01T00:00:00.000Z: end of life in May"
    assert answer(policies=policies, now=datetime(2027, 5, 1, tzinfo=UTC)).cause is Cause.QUEUED


def test_what_a_person_owns_is_left_to_them_until_they_ask() -> None:
    owned = case(State.TICKETED, ticket="oi-1", because="2 of 2 attempts failed", attempts=2)
    assert answer(before=owned).because == "a person owns it (oi-1): 2 of 2 attempts failed"
    assert answer(finding(source=Source.REQUEST), owned).cause is Cause.QUEUED


def test_attempts_that_are_used_up_become_a_ticket() -> None:
    made = answer(before=case(State.WAITING, attempts=2, last_outcome="the install ended Failed"))
    assert made.cause is Cause.TICKETED
    assert made.because == "all-now: 2 of 2 attempts failed: the install ended Failed"


def test_a_regression_is_a_new_episode_with_new_attempts() -> None:
    made = answer(before=case(State.RESOLVED, attempts=2, episode=1, ticket="oi-1"))
    assert made.cause is Cause.QUEUED
    assert (made.sets["episode"], made.sets["attempts"], made.sets["ticket"]) == (2, 0, None)
    assert made.sets["first_seen"] == format_moment(NOW)


def test_a_regression_has_the_whole_deadline_before_it() -> None:
    week = policy_set(policy(deadline=7 * 86400))
    for state in (State.RESOLVED, State.GONE):
        before = case(state, first_seen=NOW - timedelta(days=30), attempts=2)
        made = answer(before=before, policies=week)
        assert (made.cause, made.sets["decision"]["deadline"]) == (
            Cause.QUEUED, format_moment(NOW + timedelta(days=7)),
        ), state  # fmt: skip
        history = gather(finding(), before)["history"]
        assert (history["attempts"], history["first_seen"]) == (0, format_moment(NOW))


def test_no_policy_means_observed_and_it_says_so() -> None:
    made = answer(policies=policy_set(policy("prod", tag("Environment", "prod"))), node=machine())
    assert (made.cause, made.because) == (Cause.OBSERVED, "no policy speaks for it: only observed")


def test_a_missing_block_of_facts_is_a_ticket_and_never_no_match() -> None:
    policies = policy_set(policy("prod", tag("Environment", "prod")), policy("rest", band="default", action="observe"))
    made = answer(policies=policies, node=machine(tags=None))
    assert made.cause is Cause.TICKETED
    assert made.because.startswith("policy prod could not be evaluated: ")
    assert answer(policies=policies).cause is Cause.TICKETED
    assert answer(policies=policies, node=machine()).cause is Cause.OBSERVED


def test_an_unknown_policy_above_an_exemption_keeps_it_from_exempting() -> None:
    policies = policy_set(
        policy("guard", tag("Frozen", "yes"), band="guardrail", action="ticket"), policy("legacy", **EXEMPT)
    )
    assert answer(policies=policies).cause is Cause.TICKETED


def test_an_approval_is_a_ticket_and_who_requests_it_does_not_give_it() -> None:
    policies = policy_set(policy("ask", action="approve"))
    for source in (Source.SSM, Source.REQUEST):
        made = answer(finding(source=source), policies=policies)
        assert made.because == "ask: the policy ask: waits for an approval until 2026-11-30T12:00:00.000Z"
        assert made.cause is Cause.TICKETED and made.sets["due"] == "2026-11-30T12:00:00.000Z"


def test_a_closed_window_waits_for_its_next_opening_and_an_open_one_lets_it_in() -> None:
    policies = policy_set(policy("prod", window="saturday"))
    made = answer(policies=policies)
    assert made.cause is Cause.DEFERRED and made.sets["due"] == format_moment(SATURDAY_2)
    assert made.because == "prod: waits for window saturday, next chance 2026-11-28T02:00:00.000Z"
    inside = answer(policies=policies, now=SATURDAY_2 + HOUR)
    assert inside.cause is Cause.QUEUED and inside.sets["decision"]["closes"] == "2026-11-28T06:00:00.000Z"
    queued = case(State.QUEUED, decision=inside.sets["decision"])
    assert closed(queued, SATURDAY_2 + 4 * HOUR) and not closed(queued, SATURDAY_2 + 3 * HOUR)


def test_a_freeze_holds_even_inside_the_window() -> None:
    freeze = {
        "name": "sale",
        "since": "2026-11-27T00:00:00.000Z",
        "until": "2026-12-01T00:00:00.000Z",
        "reason": "Black Friday",
    }
    policies = policy_set(policy("prod", window="saturday"), freezes=[freeze])
    made = answer(policies=policies)
    assert made.sets["due"] == "2026-12-05T02:00:00.000Z"
    now = answer(policies=policy_set(policy(), freezes=[freeze]), now=SATURDAY_2)
    assert now.cause is Cause.DEFERRED and "freeze sale (Black Friday)" in now.because


def test_a_deadline_before_the_next_window_is_never_silence() -> None:
    late = {"window": "saturday", "deadline": 86400}
    assert answer(policies=policy_set(policy("prod", **late))).cause is Cause.TICKETED
    act = answer(policies=policy_set(policy("prod", **late, on_deadline="remediate")))
    assert act.cause is Cause.QUEUED and act.sets["decision"]["urgent"] is True
    in_time = answer(policies=policy_set(policy("prod", window="saturday", deadline=7 * 86400)))
    assert in_time.cause is Cause.DEFERRED


def test_a_missed_deadline_does_not_keep_it_from_running_now() -> None:
    known = case(State.WAITING, first_seen=NOW - 100 * HOUR)
    assert answer(before=known, policies=policy_set(policy(deadline=3600))).cause is Cause.QUEUED


def test_a_failed_attempt_waits_out_its_cool_down() -> None:
    cooling = case(State.WAITING, attempts=1, cools_until=NOW + HOUR, due=NOW + HOUR, last_outcome="failed")
    made = answer(before=cooling)
    assert made.cause is Cause.DEFERRED and made.sets["due"] == format_moment(NOW + HOUR)
    assert answer(finding(source=Source.AGAIN), cooling, now=NOW + HOUR).cause is Cause.QUEUED


def test_the_same_answer_twice_is_a_note() -> None:
    first = answer(policies=policy_set())
    queued = case(State.QUEUED, decision=first.sets["decision"], plan=first.sets["plan"], due=NOW)
    again = answer(before=queued, policies=policy_set())
    assert (again.cause, again.because) == (Cause.NOTED, "still queued: all-now: the policy all-now: remediate now")
    assert "due" not in again.sets and "plan" not in again.sets


def test_another_policy_set_is_a_new_answer() -> None:
    first = answer(policies=policy_set())
    queued = case(State.QUEUED, decision=first.sets["decision"], due=NOW)
    assert answer(before=queued, policies=policy_set(policy(attempts=1))).cause is Cause.QUEUED


def test_waiting_for_a_reboot_is_not_installed_again() -> None:
    pending = case(State.REBOOT_PENDING)
    assert answer(before=pending, patch=scan(missing=0, pending_reboot=2)).cause is Cause.NOTED
    assert answer(before=pending, patch=scan(missing=1, pending_reboot=2)).cause is Cause.QUEUED


def test_an_association_is_never_repaired_without_a_document_of_its_own() -> None:
    said = replace(finding(), control=Control.ASSOCIATION)
    assert answer(said).because == "all-now: names no document that repairs an association"


def test_a_group_limit_needs_the_tags() -> None:
    policies = policy_set(policy("db", per_group={"tag": "Cluster", "max": 1}))
    assert policies.blocks >= {"node"}
    assert answer(policies=policies).cause is Cause.TICKETED
    made = answer(policies=policies, node=machine(tags={"Cluster": "db-a"}))
    assert made.sets["decision"]["groups"] == [{"token": "111122223333/Cluster=db-a", "max": 1}]
    assert answer(policies=policies, node=machine(tags={})).sets["decision"]["groups"] == []


def test_a_shadow_is_recorded_and_never_acts() -> None:
    policies = policy_set(policy("strict", mode="shadow", action="ticket"), policy())
    made = answer(policies=policies)
    assert made.cause is Cause.QUEUED
    assert made.sets["decision"]["shadows"] == [{"policy": "strict", "action": "ticket"}]


def test_the_clock_of_a_new_case_starts_at_the_first_finding() -> None:
    assert answer(finding(at=NOW - HOUR)).sets["first_seen"] == format_moment(NOW - HOUR)
