"""Guards: what is held, why, and until when; and that nothing is handed out twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.findings import Control
from chalicelib.core.guards import Room, admit, cool_down
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch, BatchState, Member, Plan
from chalicelib.core.remediations import Remediation, State

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HERE = Location("111122223333", "eu-west-1")


def queued(number: int, **decision: object) -> Remediation:
    node = Node(HERE.account, HERE.region, f"i-{number:017d}")
    return Remediation(node, Control.PATCH, State.QUEUED, number=1, due=NOW, decision={"policy": "p", **decision})


def batch(count: int, created_at: datetime, state: BatchState = BatchState.STARTED) -> Batch:
    members = tuple(Member(f"r{number}", f"i-{number:017d}", 2, "p") for number in range(count))
    return Batch("b", HERE, "d", None, {}, members, created_at, state)


def room(*, active: list[Remediation] | None = None, open_batches: list[Batch] | None = None,
         recent: list[Batch] | None = None, per_location: int = 20) -> Room:  # fmt: skip
    return Room.of(active or [], open_batches or [], recent or [], per_location)


def test_a_full_location_holds_everything_there() -> None:
    admitted, held = admit([(HERE, Plan(), [queued(1)])], room(open_batches=[batch(1, NOW)] * 2, per_location=2), NOW)
    assert not admitted and [each.guard for each in held] == ["concurrency"]
    assert "2 executions run in 111122223333/eu-west-1, the limit is 2" in held[0].because


def test_the_room_of_a_location_is_counted_down_in_one_round() -> None:
    groups = [(HERE, Plan(), [queued(number)]) for number in range(3)]
    admitted, held = admit(groups, room(per_location=2), NOW)
    assert (len(admitted), len(held)) == (2, 1)


def test_the_hourly_limit_counts_nodes_and_says_when_there_is_room_again() -> None:
    started = NOW - timedelta(minutes=40)
    cases = [queued(number, per_hour=5) for number in range(10, 14)]
    admitted, held = admit([(HERE, Plan(), cases)], room(recent=[batch(3, started)]), NOW)
    assert len(admitted[0].cases) == 2
    assert {each.until for each in held} == {started + timedelta(hours=1)}


class Uncounted(list[datetime]):
    """What started lately, which may be a hundred thousand: nobody may look through it for each case."""

    def __iter__(self) -> Iterator[datetime]:
        raise AssertionError("it was counted")


def test_without_an_hourly_limit_nobody_counts_what_has_started() -> None:
    here = room()
    here.started["p"] = Uncounted([NOW])
    admitted, held = admit([(HERE, Plan(), [queued(1), queued(2)])], here, NOW)
    assert len(admitted[0].cases) == 2 and not held


def test_a_withdrawn_batch_uses_nothing_up() -> None:
    recent = [batch(5, NOW, BatchState.WITHDRAWN)]
    admitted, held = admit([(HERE, Plan(), [queued(1, per_hour=1)])], room(recent=recent), NOW)
    assert len(admitted) == 1 and not held


def test_a_group_never_has_more_than_its_maximum_in_work() -> None:
    group = {"token": "111122223333/Cluster=db-a", "max": 1}
    admitted, held = admit([(HERE, Plan(), [queued(1, group=group), queued(2, group=group)])], room(), NOW)
    assert admitted[0].leases[admitted[0].cases[0].id][1] == "group/111122223333/Cluster=db-a/0"
    assert len(admitted[0].cases) == 1 and held[0].guard == "per_group"


def shared(max: int | str, token: str = "a/e/availability-zone=e-1a") -> dict[str, object]:
    return {"token": token, "max": max, "by": "availability-zone", "tag": None, "value": "e-1a"}


@pytest.mark.parametrize(
    ("share", "size", "most"),
    [("25%", 8, 2), ("25%", 7, 1), ("25%", 3, 1), ("100%", 5, 5), ("10%", 0, 1), ("50%", None, 1), (3, None, 3)],
)
def test_a_share_of_a_group_is_rounded_down_and_one_where_nobody_counted(
    share: int | str, size: int | None, most: int
) -> None:
    cases = [queued(number, groups=[shared(share)]) for number in range(6)]
    here = Room.of([], [], [], 20, {} if size is None else {"a/e/availability-zone=e-1a": size})
    admitted, held = admit([(HERE, Plan(), cases)], here, NOW)
    assert len(admitted[0].cases) == min(most, 6) and {each.guard for each in held} <= {"per_group"}


def test_slots_beyond_a_limit_that_shrank_count_too() -> None:
    busy = [
        Remediation(queued(number).node, Control.PATCH, State.RUNNING,
                    leases=(f"node/{queued(number).node}", f"group/a/e/availability-zone=e-1a/{number}"))
        for number in (3, 4)
    ]  # fmt: skip
    admitted, held = admit([(HERE, Plan(), [queued(9, groups=[shared(2)])])], room(active=busy), NOW)
    assert not admitted and "2 of group a/e/availability-zone=e-1a are in work, its limit is 2" in held[0].because


def test_every_group_of_a_node_must_have_room_and_none_is_taken_in_vain() -> None:
    both = [shared(1, "a/Cluster=db"), shared(1, "a/e/zone")]
    admitted, held = admit(
        [(HERE, Plan(), [queued(1, groups=both[:1]), queued(2, groups=both), queued(3, groups=both[1:])])], room(), NOW
    )
    assert [case.node.id[-1] for case in admitted[0].cases] == ["1", "3"] and len(held) == 1


def test_a_node_that_is_in_work_is_not_started_for_another_control() -> None:
    busy = Remediation(queued(1).node, Control.ASSOCIATION, State.RUNNING, leases=(f"node/{queued(1).node}",))
    _, held = admit([(HERE, Plan(), [queued(1)])], room(active=[busy]), NOW)
    assert [each.guard for each in held] == ["node"]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(1, 4))
def test_no_lease_is_handed_out_twice(groups: list[int], most: int) -> None:
    cases = [queued(number, group={"token": f"a/{group}", "max": most}) for number, group in enumerate(groups)]
    admitted, held = admit([(HERE, Plan(), cases)] if cases else [], room(), NOW)
    leases = [lease for each in admitted for taken in each.leases.values() for lease in taken]
    assert len(leases) == len(set(leases))
    assert sum(len(each.cases) for each in admitted) + len(held) == len(cases)
    assert all(sum(f"group/a/{group}/" in lease for lease in leases) <= most for group in range(4))


def test_the_cool_down_doubles_and_ends_growing() -> None:
    first = timedelta(minutes=30)
    assert [cool_down(n, first) for n in (1, 2, 3)] == [first, first * 2, first * 4]
    assert cool_down(40, first) == timedelta(days=7)
