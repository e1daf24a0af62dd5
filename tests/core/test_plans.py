"""Batches: who shares an execution, when it leaves, and that its identity is no accident."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.findings import Control
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import (
    PATCH_NODES,
    PATCH_STOPPED_NODE,
    Batch,
    Member,
    Plan,
    batch_id,
    groups,
    parameters,
)
from chalicelib.core.remediations import Remediation, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LINGER = timedelta(minutes=5)


def queued(number: int, *, account: str = "111122223333", due: datetime = NOW, **decision: object) -> Remediation:
    node = Node(account, "eu-west-1", f"i-{number:017d}")
    return Remediation(node, Control.PATCH, State.QUEUED, number=1, due=due, decision=decision, plan=Plan().to_json())


def sizes(cases: list[Remediation], now: datetime) -> list[int]:
    return [len(group) for _, _, group in groups(cases, now=now, linger=LINGER)]


def test_a_group_lingers_until_its_oldest_member_has_waited() -> None:
    cases = [queued(1), queued(2, due=NOW + timedelta(minutes=3))]
    assert sizes(cases, NOW + timedelta(minutes=4, seconds=59)) == []
    assert sizes(cases, NOW + timedelta(minutes=5)) == [2]


def test_a_full_group_leaves_at_once_and_the_rest_lingers() -> None:
    assert sizes([queued(number) for number in range(120)], NOW) == [50, 50]
    assert sizes([queued(number) for number in range(120)], NOW + LINGER) == [50, 50, 20]


def test_an_open_window_and_an_emergency_do_not_linger() -> None:
    assert sizes([queued(1, window="prod-saturday"), queued(2)], NOW) == [2]
    assert sizes([queued(1, urgent=True)], NOW) == [1]


def test_other_accounts_and_other_plans_do_not_share() -> None:
    other = replace(queued(3), plan=Plan(reboot="never").to_json())
    found = list(groups([queued(1), queued(2, account="444455556666"), other], now=NOW + LINGER, linger=LINGER))
    assert sorted((str(location), plan.reboot) for location, plan, _ in found) == [
        ("111122223333/eu-west-1", "if-needed"),
        ("111122223333/eu-west-1", "never"),
        ("444455556666/eu-west-1", "if-needed"),
    ]


def test_the_most_urgent_leave_first() -> None:
    cases = [queued(number, priority=number % 2, due=NOW - timedelta(seconds=number)) for number in range(60)]
    first = next(groups(cases, now=NOW, linger=LINGER))[2]
    assert [case.decision["priority"] for case in first[:30]] == [1] * 30
    assert first[0].due == NOW - timedelta(seconds=59)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2)), max_size=180, unique=True))
def test_nobody_is_lost_or_doubled_once_everybody_has_waited(items: list[tuple[int, int]]) -> None:
    cases = [queued(number, account=f"11112222333{account}") for number, account in items]
    left = [case for _, _, group in groups(cases, now=NOW + LINGER, linger=LINGER) for case in group]
    assert sorted(case.id for case in left) == sorted(case.id for case in cases)


def test_a_batch_has_one_identity_and_a_retry_another() -> None:
    cases, place = [queued(1), queued(2)], Location("111122223333", "eu-west-1")
    first = batch_id(place, Plan(), cases)
    assert first == batch_id(place, Plan(), cases)
    assert first != batch_id(place, Plan(), [replace(cases[0], number=4), cases[1]])
    assert first != batch_id(place, Plan(reboot="never"), cases)


def test_token_and_snapshot_are_uuids_that_never_change_with_a_release() -> None:
    batch = Batch("b", Location("111122223333", "eu-west-1"), PATCH_NODES, "3", {"NodeIds": ["i-1"]},
                  (Member("r", "i-1", 2, "p"),), NOW)  # fmt: skip
    assert batch.token == "996ce90d-449e-5a1d-8cb0-3ada2d5fccbe"
    assert str(uuid.UUID(batch.snapshot)) == batch.snapshot != batch.token
    assert Batch.from_json(batch.to_json()) == batch


def test_the_runbooks_get_lists_of_text_without_empty_ones() -> None:
    plan = Plan(reboot="never", concurrency="5", max_errors="1", snapshot=True)
    many = parameters(plan, "b", ["i-1", "i-2"], document=PATCH_NODES)
    one = parameters(plan, "b", ["i-1"], document=PATCH_STOPPED_NODE)
    assert many["NodeIds"] == ["i-1", "i-2"] and many["RebootOption"] == ["NoReboot"] and many["MaxErrors"] == ["1"]
    assert one["NodeId"] == ["i-1"] and one["SnapshotRootVolume"] == ["true"] and "MaxErrors" not in one
    assert all(value and all(value) for value in (*many.values(), *one.values()))


def test_another_document_gets_its_own_parameters_and_the_nodes() -> None:
    plan = Plan(document="Repair", parameters={"Mode": ["safe"]})
    assert parameters(plan, "b", ["i-1"], document="Repair")["Mode"] == ["safe"]
    assert parameters(plan, "b", ["i-1"], document="Repair")["NodeIds"] == ["i-1"]
