"""One contract for the three ledgers: what holds for one of them holds for all, so that the twin cannot lie."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from moto import mock_aws

from chalicelib.adapters.dynamodb import TABLE, DynamoLedger
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.core.errors import Stale
from chalicelib.core.findings import Control
from chalicelib.core.journal import Entry, Kind, entry
from chalicelib.core.journal import fault as fault_of_entries
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch, BatchState, Member
from chalicelib.core.publications import Act, fault, publication
from chalicelib.core.remediations import TRANSITIONS, Cause, Remediation, State, advance, apply, replay
from chalicelib.core.tickets import Deed, Errand, errand
from chalicelib.ports import Change, Kept, Ledger
from tests import aws
from tests.adapters.writer import append_many

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HERE = Location("111122223333", "eu-west-1")
THERE = Location("444455556666", "us-east-1")


@contextmanager
def memory() -> Iterator[Ledger]:
    yield MemoryLedger()


@contextmanager
def sqlite() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = SqliteLedger(Path(folder) / "made" / "when" / "used.db", durable=False)
        yield ledger
        ledger.close()


@contextmanager
def dynamodb(prepare: Callable[[Any], None] = lambda client: None) -> Iterator[Ledger]:
    with mock_aws():
        client = aws.client("dynamodb")
        client.create_table(TableName="ledger", **TABLE)
        prepare(client)
        yield DynamoLedger("ledger", lambda: client)


def one_item_a_page(client: Any) -> None:
    """DynamoDB as it is with large items: a query gives few of them, and a batch leaves keys for the next try."""

    def few(params: dict[str, Any], **_: Any) -> None:
        params["Limit"] = 1

    def half(parsed: dict[str, Any], **_: Any) -> None:
        items = parsed["Responses"].get("ledger", [])
        read = (len(items) + 1) // 2
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in items[read:]]
        if keys:
            parsed["Responses"]["ledger"] = items[:read]
            parsed["UnprocessedKeys"] = {"ledger": {"Keys": keys, "ConsistentRead": True}}

    client.meta.events.register("provide-client-params.dynamodb.Query", few)
    client.meta.events.register("after-call.dynamodb.BatchGetItem", half)


@contextmanager
def dynamodb_in_pieces() -> Iterator[Ledger]:
    with dynamodb(one_item_a_page) as ledger:
        yield ledger


TWINS: dict[str, Callable[[], AbstractContextManager[Ledger]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "dynamodb": dynamodb,
    "dynamodb in pieces": dynamodb_in_pieces,
}


@pytest.fixture(params=[*TWINS.values()], ids=[*TWINS])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    with request.param() as made:
        yield made


def fresh(number: int = 0, location: Location = HERE) -> Remediation:
    return Remediation(Node(location.account, location.region, f"i-{number:017x}"), Control.PATCH)


def step(case: Remediation, cause: Cause = Cause.NOTED, *, now: datetime = NOW, **changes: Any) -> Change:
    """The next change of a case; `sets` goes into the line, everything else into the change."""
    line = advance(case, cause, because=f"it was {cause}", now=now, sets=changes.pop("sets", None),
                   evidence={"facts": {"node": {"tags": {"App": "Zürich"}}, "share": 0.25, "none": None}})  # fmt: skip
    return Change(line, apply(case, line), **changes)


def written(ledger: Ledger, case: Remediation, *causes: Cause, **changes: Any) -> Remediation:
    """The case after these causes, each appended; the changes go with the last one."""
    for cause in causes[:-1]:
        change = step(case, cause)
        ledger.append(change)
        case = change.head
    change = step(case, causes[-1], **changes)
    ledger.append(change)
    return change.head


def due(moment: datetime, priority: int = 0) -> dict[str, Any]:
    return {"due": format_moment(moment), "decision": {"priority": priority, "policy": "prod"}}


def owed(case: Remediation, number: int = 1, after: timedelta = timedelta()) -> Errand:
    made = errand(case, Deed.OPEN, number=number, because="attempts are used up", now=NOW)
    return replace(made, due=NOW + after)


def batch(name: str, *, after: timedelta = timedelta(), location: Location = HERE) -> Batch:
    members = tuple(Member(fresh(index).id, fresh(index).node.id, 3, "prod") for index in range(3))
    values = {"NodeIds": [member.node for member in members], "BatchId": [name]}
    return Batch(name, location, "Patchwarden-PatchNodes", "7", values, members, NOW + after)


class TestTrail:
    def test_nothing_is_known_of_a_case_before_its_first_line(self, ledger: Ledger) -> None:
        assert ledger.head(fresh().id) is None
        assert ledger.heads([fresh().id]) == {}
        assert ledger.trail(fresh().id) == []
        assert list(ledger.all_heads()) == []

    def test_lines_come_back_whole_and_in_order(self, ledger: Ledger) -> None:
        changes, case = [], fresh()
        for index in range(12):
            changes.append(step(case, now=NOW + timedelta(milliseconds=index)))
            ledger.append(changes[-1])
            case = changes[-1].head
        assert ledger.trail(case.id) == [change.line for change in changes]
        assert replay(case.node, case.control, ledger.trail(case.id)) == ledger.head(case.id) == case

    def test_a_head_comes_back_equal_with_every_field_set(self, ledger: Ledger) -> None:
        sets = {"episode": 2, "first_seen": format_moment(NOW), "observed_at": format_moment(NOW), "attempts": 1,
                "plan": {"document": None, "parameters": {"Key": ["a", "b"]}}, "leases": ["node/a", "group/b/1"],
                "batch": "b", "execution": "e", "ticket": "oi-1", "held": "paused", "last_outcome": "failed",
                **due(NOW + timedelta(days=7), 30)}  # fmt: skip
        case = written(ledger, fresh(), Cause.QUEUED, sets=sets)
        assert ledger.head(case.id) == case
        assert case.leases == ("node/a", "group/b/1")
        assert case.due == NOW + timedelta(days=7)

    def test_heads_leaves_out_what_does_not_exist(self, ledger: Ledger) -> None:
        cases = [written(ledger, fresh(index), Cause.NOTED) for index in range(3)]
        asked = [fresh(9).id, *(case.id for case in cases), cases[0].id]
        assert ledger.heads(asked) == {case.id: case for case in cases}
        assert ledger.heads([]) == {}

    def test_more_heads_than_one_batch_holds(self, ledger: Ledger) -> None:
        cases = [written(ledger, fresh(index), Cause.NOTED) for index in range(103)]
        assert len(ledger.heads([case.id for case in cases])) == 103

    def test_all_heads_are_all_of_them_in_any_state(self, ledger: Ledger) -> None:
        ends = (Cause.RESOLVED, Cause.GONE, Cause.EXEMPTED, Cause.NOTED, Cause.TICKETED)
        cases = [written(ledger, fresh(index), cause) for index, cause in enumerate(ends)]
        assert {case.id: case for case in ledger.all_heads()} == {case.id: case for case in cases}


class TestRaces:
    def test_of_two_writers_with_the_same_number_one_is_stale(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(), Cause.NOTED)
        ledger.append(step(case, Cause.QUEUED))
        with pytest.raises(Stale, match=r"line 2 of .* is too late for the line before it"):
            ledger.append(step(case, Cause.TICKETED))
        assert [line.cause for line in ledger.trail(case.id)] == [Cause.NOTED, Cause.QUEUED]

    def test_of_two_first_lines_one_is_stale(self, ledger: Ledger) -> None:
        ledger.append(step(fresh(), Cause.QUEUED))
        with pytest.raises(Stale):
            ledger.append(step(fresh(), Cause.TICKETED))

    def test_a_line_cannot_leave_a_gap(self, ledger: Ledger) -> None:
        first = step(fresh())
        with pytest.raises(Stale):
            ledger.append(step(first.head))
        ledger.append(first)
        second = step(first.head)
        with pytest.raises(Stale):
            ledger.append(step(second.head))

    def test_a_line_must_follow_the_hash_before_it(self, ledger: Ledger) -> None:
        written(ledger, fresh(), Cause.NOTED)
        other = step(fresh(), Cause.QUEUED).head
        with pytest.raises(Stale):
            ledger.append(step(other))

    def test_two_interleaved_writers_both_get_their_lines_in(self, ledger: Ledger) -> None:
        written(ledger, fresh(), Cause.NOTED)
        views = [ledger.head(fresh().id) for _ in range(2)]
        for round_ in range(6):
            for writer in (0, 1):
                case = views[writer]
                assert case is not None
                try:
                    ledger.append(step(case, now=NOW + timedelta(seconds=10 * round_ + writer)))
                except Stale:
                    views[writer] = ledger.head(case.id)
                    retry = views[writer]
                    assert retry is not None
                    ledger.append(step(retry, now=NOW + timedelta(seconds=10 * round_ + writer)))
                views[writer] = ledger.head(case.id)
        case = fresh()
        assert replay(case.node, case.control, ledger.trail(case.id)).number == 13

    def test_a_change_whose_answer_was_lost_may_be_repeated(self, ledger: Ledger) -> None:
        opened = written(ledger, fresh(), Cause.QUEUED)
        start = step(opened, Cause.INTENDED, take=("node/a",), owes=owed(opened, 2))
        for _ in range(2):
            ledger.append(start)
        end = step(start.head, Cause.WITHDRAWN, give=("node/a",), done=owed(opened, 2).id)
        for _ in range(3):
            ledger.append(end)
        assert len(ledger.trail(opened.id)) == 3
        assert ledger.head(opened.id) == end.head

    def test_repeating_an_old_change_does_not_take_back_what_came_after(self, ledger: Ledger) -> None:
        opened = written(ledger, fresh(), Cause.QUEUED)
        start = step(opened, Cause.INTENDED, take=("node/a",), owes=owed(opened, 2))
        ledger.append(start)
        ledger.append(step(start.head, Cause.WITHDRAWN, give=("node/a",), done=owed(opened, 2).id))
        ledger.append(start)
        assert ledger.lease("node/a") is None
        assert ledger.errands(NOW) == []
        assert ledger.head(opened.id) != start.head


class TestLeases:
    def test_a_lease_is_held_from_taking_to_giving(self, ledger: Ledger) -> None:
        assert ledger.lease("node/a") is None
        case = written(ledger, fresh(), Cause.QUEUED, Cause.INTENDED, take=("node/a", "group/x/0"))
        assert ledger.lease("node/a") == ledger.lease("group/x/0") == case.id
        written(ledger, case, Cause.WITHDRAWN, give=("node/a",))
        assert ledger.lease("node/a") is None
        assert ledger.lease("group/x/0") == case.id

    def test_a_lease_that_another_holds_stops_the_whole_change(self, ledger: Ledger) -> None:
        written(ledger, fresh(0), Cause.QUEUED, Cause.INTENDED, take=("group/x/0",))
        other = written(ledger, fresh(1), Cause.QUEUED)
        with pytest.raises(Stale, match=r"line 2 of .* is too late for lease group/x/0"):
            ledger.append(step(other, Cause.INTENDED, take=("node/b", "group/x/0"), owes=owed(other)))
        assert ledger.head(other.id) == other
        assert len(ledger.trail(other.id)) == 1
        assert ledger.lease("node/b") is None
        assert ledger.lease("group/x/0") == fresh(0).id
        assert ledger.errands(NOW) == []

    def test_the_holder_may_take_its_lease_again(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(), Cause.QUEUED, Cause.INTENDED, take=("node/a",))
        case = written(ledger, case, Cause.STARTED, take=("node/a",))
        assert ledger.lease("node/a") == case.id

    def test_a_lease_that_was_given_is_free_for_others(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(0), Cause.QUEUED, Cause.INTENDED, take=("group/x/0",))
        written(ledger, case, Cause.GONE, give=("group/x/0",))
        written(ledger, fresh(1), Cause.QUEUED, Cause.INTENDED, take=("group/x/0",))
        assert ledger.lease("group/x/0") == fresh(1).id

    @pytest.mark.parametrize("holder", [None, 1])
    def test_only_the_holder_gives_a_lease(self, ledger: Ledger, holder: int | None) -> None:
        if holder is not None:
            written(ledger, fresh(holder), Cause.NOTED, take=("node/a",))
        with pytest.raises(Stale, match="too late for lease node/a"):
            ledger.append(step(fresh(0), give=("node/a",)))
        assert ledger.lease("node/a") == (fresh(holder).id if holder is not None else None)


class TestErrands:
    def test_an_errand_is_owed_until_a_line_says_it_is_done(self, ledger: Ledger) -> None:
        case = fresh()
        owes = owed(case)
        case = written(ledger, case, Cause.TICKETED, owes=owes)
        assert ledger.errands(NOW) == [owes]
        written(ledger, case, Cause.NOTED, sets={"ticket": "oi-1"}, done=owes.id)
        assert ledger.errands(NOW) == []

    def test_one_line_may_end_one_errand_and_owe_the_next(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(), Cause.TICKETED, owes=owed(fresh()))
        written(ledger, case, Cause.RESOLVED, done=owed(fresh()).id, owes=owed(case, 2))
        assert ledger.errands(NOW) == [owed(case, 2)]

    def test_errands_come_oldest_first_and_only_when_due(self, ledger: Ledger) -> None:
        waits = [timedelta(minutes=3), timedelta(0), timedelta(hours=1), timedelta(minutes=-5)]
        owes = [owed(fresh(index), after=wait) for index, wait in enumerate(waits)]
        for index, each in enumerate(owes):
            written(ledger, fresh(index), Cause.TICKETED, owes=each)
        assert ledger.errands(NOW) == [owes[3], owes[1]]
        assert ledger.errands(NOW - timedelta(milliseconds=1)) == [owes[3]]
        assert ledger.errands(NOW + timedelta(days=1)) == [owes[3], owes[1], owes[0], owes[2]]

    def test_a_postponed_errand_is_due_later(self, ledger: Ledger) -> None:
        written(ledger, fresh(), Cause.TICKETED, owes=owed(fresh()))
        later = replace(owed(fresh()), due=NOW + timedelta(minutes=2), tries=3)
        ledger.postpone(later)
        assert ledger.errands(NOW) == []
        assert ledger.errands(NOW + timedelta(minutes=2)) == [later]

    def test_what_is_done_cannot_be_done_or_postponed(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(), Cause.TICKETED, owes=owed(fresh()))
        case = written(ledger, case, Cause.NOTED, done=owed(fresh()).id)
        with pytest.raises(Stale, match="errand"):
            ledger.postpone(owed(fresh()))
        with pytest.raises(Stale, match=f"too late for errand {owed(fresh()).id}"):
            ledger.append(step(case, done=owed(fresh()).id))
        assert ledger.errands(NOW) == []


class TestWork:
    def test_work_is_ordered_by_due_moment_then_priority_then_id(self, ledger: Ledger) -> None:
        turns = [(2, 0), (1, 5), (1, 50), (1, -5), (1, 5), (0, 0)]
        for index, (minutes, priority) in enumerate(turns):
            written(ledger, fresh(index), Cause.QUEUED, sets=due(NOW + timedelta(minutes=minutes), priority))
        assert [case.node.id[-1] for case in ledger.work([State.QUEUED])] == ["5", "2", "1", "4", "3", "0"]

    def test_several_states_are_merged_into_one_order(self, ledger: Ledger) -> None:
        causes = [Cause.QUEUED, Cause.DEFERRED, Cause.QUEUED, Cause.DEFERRED, Cause.EXEMPTED]
        for index, cause in enumerate(causes):
            written(ledger, fresh(index), cause, sets=due(NOW - timedelta(minutes=index)))
        found = ledger.work(iter([State.QUEUED, State.WAITING, State.QUEUED]))
        assert [case.node.id[-1] for case in found] == ["3", "2", "1", "0"]

    def test_before_means_due_by_then(self, ledger: Ledger) -> None:
        for index in range(3):
            written(ledger, fresh(index), Cause.DEFERRED, sets=due(NOW + timedelta(milliseconds=index)))
        written(ledger, fresh(3), Cause.DEFERRED)
        found = ledger.work([State.WAITING], before=NOW + timedelta(milliseconds=1))
        assert [case.node.id[-1] for case in found] == ["0", "1"]

    def test_a_case_without_a_due_moment_comes_last(self, ledger: Ledger) -> None:
        written(ledger, fresh(0), Cause.DEFERRED)
        written(ledger, fresh(1), Cause.DEFERRED, sets=due(NOW + timedelta(days=300)))
        assert [case.node.id[-1] for case in ledger.work([State.WAITING])] == ["1", "0"]

    def test_a_case_is_found_in_its_present_state_only(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(), Cause.QUEUED, sets=due(NOW))
        case = written(ledger, case, Cause.INTENDED)
        assert list(ledger.work([State.QUEUED])) == []
        assert list(ledger.work([State.STARTING])) == [case]
        case = written(ledger, case, Cause.RESOLVED)
        assert list(ledger.work(set(State) - {State.RESOLVED})) == []
        assert list(ledger.work([])) == []

    def test_work_may_be_changed_while_it_is_walked(self, ledger: Ledger) -> None:
        for index in range(5):
            written(ledger, fresh(index), Cause.QUEUED, sets=due(NOW))
        for case in ledger.work([State.QUEUED]):
            ledger.append(step(case, Cause.GONE))
        assert list(ledger.work([State.QUEUED])) == []
        assert len(list(ledger.work([State.GONE]))) == 5


class TestPage:
    def test_pages_follow_one_another_by_turn_and_hold_each_case_once(self, ledger: Ledger) -> None:
        for index in range(7):
            sets = due(NOW + timedelta(minutes=index % 3), priority=index) if index % 2 else {}
            written(ledger, fresh(index), Cause.QUEUED if index < 5 else Cause.TICKETED, sets=sets)
        found, after = list[str](), None
        while page := ledger.page(State, after=after, limit=2):
            assert len(page) <= 2
            found += [case.turn for case in page]
            after = page[-1].turn
        assert found == sorted(case.turn for case in ledger.all_heads()) and len(found) == 7
        assert len(ledger.page([State.TICKETED], after=None, limit=50)) == 2
        assert ledger.page([], after=None, limit=5) == ledger.page(State, after="~~", limit=5) == []


class TestDay:
    def test_states_are_counted_and_what_is_held_is_found_without_the_rest(self, ledger: Ledger) -> None:
        assert ledger.counts() == {} and list(ledger.held()) == []
        sets = {"held": "surge", "due": format_moment(NOW)}
        free = [written(ledger, fresh(number), Cause.QUEUED) for number in range(3)]
        held = written(ledger, fresh(3), Cause.QUEUED, Cause.NOTED)
        change = step(held, Cause.NOTED, sets=sets)
        ledger.append(change)
        said = step(free[0], Cause.NOTED, sets={"last_outcome": 'a text with "held":null in it'})
        ledger.append(said)
        written(ledger, fresh(4), Cause.TICKETED)
        done = step(fresh(5), Cause.RESOLVED, sets=sets)
        ledger.append(done)
        assert ledger.counts() == {State.QUEUED: 4, State.RESOLVED: 1, State.TICKETED: 1}
        assert list(ledger.held()) == [change.head]

    def test_a_bare_id_names_what_is_recorded_of_all_nodes_that_have_it(self, ledger: Ledger) -> None:
        here, there, other = fresh(1), fresh(1, THERE), fresh(11)
        for case in (here, there, other):
            written(ledger, case, Cause.QUEUED, Cause.NOTED)
        assert ledger.named(here.node.id) == sorted([here.id, there.id])
        assert ledger.named(here.node.id[:-1]) == ledger.named("") == []

    def test_a_day_can_be_read_from_its_newest_line_on(self, ledger: Ledger) -> None:
        case = written(ledger, fresh(1), Cause.QUEUED, now=NOW)
        written(ledger, fresh(2), Cause.QUEUED, now=NOW + timedelta(seconds=5))
        written(ledger, case, Cause.NOTED, now=NOW + timedelta(seconds=9))
        assert [*ledger.newest(NOW.date())] == [*reversed([*ledger.day(NOW.date())])] != []
        assert [*ledger.newest(NOW.date() - timedelta(days=1))] == []

    def test_a_day_holds_its_own_lines_in_order_of_time(self, ledger: Ledger) -> None:
        midnight = datetime(2026, 11, 24, tzinfo=UTC)
        for minutes, number in [(5, 2), (5, 1), (-1, 0), (0, 3), (24 * 60, 4)]:
            ledger.append(step(fresh(number), now=midnight + timedelta(minutes=minutes)))
        twice = ledger.head(fresh(2).id)
        assert twice is not None
        ledger.append(step(twice, now=midnight + timedelta(minutes=5)))
        lines = [(line.at.minute, line.remediation[-7], line.number) for line in ledger.day(midnight.date())]
        assert lines == [(0, "3", 1), (5, "1", 1), (5, "2", 1), (5, "2", 2)]
        assert [line.remediation for line in ledger.day(date(2026, 11, 23))] == [fresh(0).id]
        assert list(ledger.day(date(2026, 11, 22))) == []
        late = list(ledger.day(midnight.date(), since=midnight + timedelta(minutes=5)))
        assert [line.at.minute for line in late] == [5, 5, 5]
        assert len(list(ledger.day(midnight.date(), since=midnight - timedelta(days=1)))) == 4


class TestBatches:
    def test_a_batch_comes_back_equal(self, ledger: Ledger) -> None:
        assert ledger.batch("b") is None
        ledger.save_batch(batch("b"), expected=None)
        assert ledger.batch("b") == batch("b")

    def test_a_batch_goes_from_intended_to_finished(self, ledger: Ledger) -> None:
        intended = batch("b")
        ledger.save_batch(intended, expected=None)
        assert ledger.open_batches() == [intended]
        started = replace(intended, state=BatchState.STARTED, execution="e", started_at=NOW + timedelta(seconds=1))
        ledger.save_batch(started, expected="intended")
        assert ledger.open_batches() == [started] == ledger.batches_since(NOW)
        finished = replace(started, state=BatchState.FINISHED)
        ledger.save_batch(finished, expected=BatchState.STARTED)
        assert ledger.open_batches() == []
        assert ledger.batch("b") == finished
        assert ledger.batches_since(NOW) == [finished]

    def test_an_execution_leads_to_its_batch_in_its_location_only(self, ledger: Ledger) -> None:
        started = replace(batch("b"), state=BatchState.STARTED, execution="e")
        ledger.save_batch(started, expected=None)
        assert ledger.batch_of(HERE, "e") == started
        assert ledger.batch_of(THERE, "e") is None
        assert ledger.batch_of(HERE, "f") is None
        finished = replace(started, state=BatchState.FINISHED)
        ledger.save_batch(finished, expected="started")
        assert ledger.batch_of(HERE, "e") == finished

    @pytest.mark.parametrize("expected", [None, "started", "withdrawn"])
    def test_a_batch_in_another_state_than_expected_is_stale(self, ledger: Ledger, expected: str | None) -> None:
        ledger.save_batch(batch("b"), expected=None)
        with pytest.raises(Stale, match=f"batch b is intended, not {expected}"):
            ledger.save_batch(replace(batch("b"), state=BatchState.FINISHED), expected=expected)
        assert ledger.batch("b") == batch("b")
        assert ledger.open_batches() == [batch("b")]

    def test_a_batch_that_is_not_there_cannot_go_on(self, ledger: Ledger) -> None:
        with pytest.raises(Stale, match="batch b is not there, not intended"):
            ledger.save_batch(batch("b"), expected="intended")
        assert ledger.batches_since(NOW - timedelta(days=1)) == []

    def test_saving_a_batch_may_be_repeated(self, ledger: Ledger) -> None:
        started = replace(batch("b"), state=BatchState.STARTED, execution="e")
        for _ in range(2):
            ledger.save_batch(batch("b"), expected=None)
        for _ in range(2):
            ledger.save_batch(started, expected="intended")
        assert ledger.batch("b") == started

    def test_batches_come_oldest_first(self, ledger: Ledger) -> None:
        made = [batch(f"b{index}", after=timedelta(minutes=wait), location=THERE if index % 2 else HERE)
                for index, wait in enumerate([50, -90, 0, 0, 70, -30])]  # fmt: skip
        for each in made:
            ledger.save_batch(each, expected=None)
        assert [each.id for each in ledger.open_batches()] == ["b1", "b5", "b2", "b3", "b0", "b4"]
        assert [each.id for each in ledger.batches_since(NOW)] == ["b2", "b3", "b0", "b4"]
        assert [each.id for each in ledger.batches_since(NOW - timedelta(minutes=30))] == ["b5", "b2", "b3", "b0", "b4"]

    def test_moments_are_kept_to_the_millisecond(self, ledger: Ledger) -> None:
        ledger.save_batch(batch("b", after=timedelta(microseconds=1999)), expected=None)
        stored = ledger.batch("b")
        assert stored is not None
        assert stored.created_at == NOW + timedelta(milliseconds=1)


class TestPublications:
    def test_nothing_is_in_force_before_the_first_publication(self, ledger: Ledger) -> None:
        assert ledger.active_policies() is None
        assert ledger.publications() == []

    def test_the_last_publication_is_in_force_and_all_of_them_are_kept(self, ledger: Ledger) -> None:
        first = publication(
            None, Act.PUBLISHED, "a" * 64, by="ops", because="begin", now=NOW, summary={"from": {"x": 1}}
        )
        ledger.publish(first)
        second = publication(first, Act.PUBLISHED, "b" * 64, by="sec", because="Zürich", now=NOW, revision="c0ffee")
        ledger.publish(second)
        back = publication(second, Act.ROLLED_BACK, "a" * 64, by="ops", because="too many tickets", now=NOW)
        ledger.publish(back)
        assert ledger.active_policies() == back
        assert ledger.publications() == [first, second, back]
        assert fault(ledger.active_policies(), ledger.publications()) is None

    def test_of_two_who_publish_at_once_one_is_stale(self, ledger: Ledger) -> None:
        last = None
        for number in (1, 2):
            mine = publication(last, Act.PUBLISHED, "a" * 64, by="me", because="", now=NOW)
            yours = publication(last, Act.PUBLISHED, "b" * 64, by="you", because="", now=NOW)
            ledger.publish(mine)
            with pytest.raises(Stale, match=f"publication {number} is too late: another set was published"):
                ledger.publish(yours)
            assert ledger.active_policies() == mine
            assert len(ledger.publications()) == number
            last = mine

    def test_a_publication_cannot_leave_a_gap(self, ledger: Ledger) -> None:
        first = publication(None, Act.PUBLISHED, "a" * 64, by="ops", because="", now=NOW)
        second = publication(first, Act.PUBLISHED, "b" * 64, by="ops", because="", now=NOW)
        with pytest.raises(Stale):
            ledger.publish(second)
        ledger.publish(first)
        with pytest.raises(Stale):
            ledger.publish(publication(second, Act.PUBLISHED, "c" * 64, by="ops", because="", now=NOW))

    def test_a_publication_whose_answer_was_lost_may_be_repeated(self, ledger: Ledger) -> None:
        first = publication(None, Act.PUBLISHED, "a" * 64, by="ops", because="", now=NOW)
        second = publication(first, Act.PUBLISHED, "b" * 64, by="ops", because="", now=NOW)
        for each in (first, first, second, second, first):
            ledger.publish(each)
        assert ledger.active_policies() == second
        assert ledger.publications() == [first, second]


def told(last: Entry | None, what: str, subject: str = "pause/policy/prod") -> Entry:
    return entry(last, subject, what, because="a bad baseline", actor="ops@example.com", now=NOW,
                 value={"until": None, "share": 0.25, "names": ["Zürich"]})  # fmt: skip


class TestJournal:
    def test_nothing_holds_of_a_subject_before_its_first_entry(self, ledger: Ledger) -> None:
        assert ledger.entry("pause/all") is None
        assert ledger.entries("pause/all") == []
        assert ledger.subjects(Kind.PAUSE) == []

    def test_the_newest_entry_holds_and_all_of_them_stay(self, ledger: Ledger) -> None:
        first = told(None, "paused")
        second = told(first, "resumed")
        ledger.enter(first)
        assert ledger.entry(first.subject) == first
        ledger.enter(second)
        assert ledger.entry(first.subject) == second
        assert ledger.entries(first.subject) == [first, second]
        assert fault_of_entries(second, [first, second]) is None

    def test_of_two_who_enter_at_once_one_is_stale(self, ledger: Ledger) -> None:
        ledger.enter(told(None, "paused"))
        with pytest.raises(Stale, match="entry 1 of pause/policy/prod is too late: another was written"):
            ledger.enter(told(None, "resumed"))
        first = ledger.entry("pause/policy/prod")
        ledger.enter(told(first, "resumed"))
        with pytest.raises(Stale, match="entry 2"):
            ledger.enter(told(first, "paused"))

    def test_an_entry_cannot_leave_a_gap(self, ledger: Ledger) -> None:
        first = told(None, "paused")
        second = told(first, "resumed")
        with pytest.raises(Stale):
            ledger.enter(second)
        ledger.enter(first)
        with pytest.raises(Stale):
            ledger.enter(told(second, "paused"))
        assert ledger.entries(first.subject) == [first]

    def test_an_entry_whose_answer_was_lost_may_be_repeated(self, ledger: Ledger) -> None:
        first = told(None, "paused")
        second = told(first, "resumed")
        for each in (first, first, second, second, first):
            ledger.enter(each)
        assert ledger.entries(first.subject) == [first, second]

    def test_the_subjects_of_a_kind_are_its_own_only(self, ledger: Ledger) -> None:
        for subject in ("pause/b", "pause/a/x", "guard/a", "schedule/a", "pause/a"):
            ledger.enter(told(None, "paused", subject))
        ledger.enter(told(ledger.entry("pause/a"), "resumed", "pause/a"))
        assert [(each.subject, each.number) for each in ledger.subjects(Kind.PAUSE)] == [
            ("pause/a", 2), ("pause/a/x", 1), ("pause/b", 1),
        ]  # fmt: skip
        assert [each.name for each in ledger.subjects(Kind.GUARD)] == ["a"]


class TestKept:
    def test_what_is_kept_counts_its_versions(self, ledger: Ledger) -> None:
        assert ledger.kept("sweep") is None
        ledger.keep("sweep", {"at": None}, expected=0)
        ledger.keep("sweep", {"at": "eu-west-1", "seen": [1, 2]}, expected=1)
        assert ledger.kept("sweep") == Kept({"at": "eu-west-1", "seen": [1, 2]}, 2)
        assert ledger.kept("other") is None

    @pytest.mark.parametrize("expected", [0, 1, 3])
    def test_of_two_who_keep_at_once_one_is_stale(self, ledger: Ledger, expected: int) -> None:
        ledger.keep("sweep", {"at": "a"}, expected=0)
        ledger.keep("sweep", {"at": "b"}, expected=1)
        with pytest.raises(Stale, match=f"sweep is not at version {expected}"):
            ledger.keep("sweep", {"at": "b"}, expected=expected)
        assert ledger.kept("sweep") == Kept({"at": "b"}, 2)


class TestMarks:
    def test_only_the_first_who_marks_a_name_is_told_so(self, ledger: Ledger) -> None:
        assert [ledger.mark(name) for name in ("a", "a", "b", "a", "a/b", "b")] == [
            True,
            False,
            True,
            False,
            True,
            False,
        ]


class Twins(RuleBasedStateMachine):
    """Random operations on a ledger and on its memory twin: the same answers, the same refusals, in the same words."""

    open_other: Callable[[], AbstractContextManager[Ledger]]
    cases = st.integers(0, 3)
    leases = st.lists(st.sampled_from(["node/a", "node/b", "group/x/0"]), unique=True, max_size=2).map(tuple)
    minutes = st.integers(-3, 3)

    @initialize()
    def open(self) -> None:
        self.context = self.open_other()
        self.model: Ledger = MemoryLedger()
        self.other = self.context.__enter__()
        self.clock = NOW
        self.changes: list[Change] = []
        self.batches: dict[str, Batch] = {}

    def both(self, act: Callable[[Ledger], Any]) -> bool:
        said: list[str | None] = []
        for ledger in (self.model, self.other):
            try:
                act(ledger)
                said.append(None)
            except Stale as stale:
                said.append(str(stale))
        assert said[0] == said[1]
        return said[0] is None

    @rule(number=cases, data=st.data(), take=leases, give=leases, minutes=minutes, owes=st.booleans())
    def write(
        self, number: int, data: st.DataObject, take: tuple[str, ...], give: tuple[str, ...], minutes: int, owes: bool
    ) -> None:
        self.clock += timedelta(seconds=1)
        case = self.model.head(fresh(number).id) or fresh(number)
        cause = data.draw(st.sampled_from(sorted(TRANSITIONS[case.state])))
        sets = data.draw(st.sampled_from([{}, {"due": None}, due(NOW + timedelta(minutes=minutes), minutes)]))
        errands = [each.id for each in self.model.errands(NOW + timedelta(days=1))]
        changes = {
            "take": take,
            "give": tuple(set(give) - set(take)),
            "owes": owed(case, case.number + 1, timedelta(minutes=minutes)) if owes else None,
            "done": data.draw(st.sampled_from([None, *errands])),
        }
        change = step(case, cause, now=self.clock, sets=sets, **changes)
        self.both(lambda ledger: ledger.append(change))
        self.changes.append(change)

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        if self.changes:
            change = data.draw(st.sampled_from(self.changes))
            self.both(lambda ledger: ledger.append(change))

    @rule(data=st.data())
    def come_late(self, data: st.DataObject) -> None:
        if self.changes:
            old = data.draw(st.sampled_from(self.changes))
            change = replace(old, line=replace(old.line, hash="f" * 64, because="another"))
            written_here = any(line.number == old.line.number for line in self.model.trail(old.line.remediation))
            assert not self.both(lambda ledger: ledger.append(change)) or not written_here
            if not written_here:
                self.changes.append(change)

    @rule(minutes=minutes, data=st.data())
    def postpone(self, minutes: int, data: st.DataObject) -> None:
        owing = [change.owes for change in self.changes if change.owes]
        if owing:
            later = replace(data.draw(st.sampled_from(owing)), due=NOW + timedelta(minutes=minutes), tries=1)
            self.both(lambda ledger: ledger.postpone(later))

    @rule(name=st.sampled_from("abc"), state=st.sampled_from(BatchState), data=st.data(), minutes=minutes)
    def save_batch(self, name: str, state: BatchState, data: st.DataObject, minutes: int) -> None:
        first = self.batches.setdefault(name, batch(name, after=timedelta(minutes=minutes)))
        execution = data.draw(st.sampled_from([None, f"e-{name}-1", f"e-{name}-2"]))
        expected = data.draw(st.sampled_from([None, *(each.value for each in BatchState)]))
        new = replace(first, state=state, execution=execution)
        self.both(lambda ledger: ledger.save_batch(new, expected=expected))

    @rule(on=st.booleans(), scope=st.sampled_from(("all", "policy/p")))
    def switch(self, on: bool, scope: str) -> None:
        line = told(self.model.entry(f"pause/{scope}"), "paused" if on else "resumed", f"pause/{scope}")
        self.both(lambda ledger: ledger.enter(line))

    @rule(states=st.sets(st.sampled_from(State), max_size=3), minutes=st.none() | minutes)
    def look(self, states: set[State], minutes: int | None) -> None:
        before = None if minutes is None else NOW + timedelta(minutes=minutes)
        assert list(self.other.work(states, before=before)) == list(self.model.work(states, before=before))

    def teardown(self) -> None:
        for ask in QUESTIONS:
            assert ask(self.other) == ask(self.model)
        self.context.__exit__(None, None, None)


QUESTIONS: list[Callable[[Ledger], Any]] = [
    lambda ledger: {case.id: case for case in ledger.all_heads()},
    lambda ledger: ledger.heads([fresh(index).id for index in range(5)]),
    lambda ledger: [ledger.trail(fresh(index).id) for index in range(4)],
    lambda ledger: list(ledger.work(State)),
    lambda ledger: list(ledger.day(NOW.date())),
    lambda ledger: [ledger.lease(name) for name in ("node/a", "node/b", "group/x/0")],
    lambda ledger: [ledger.errands(NOW + timedelta(minutes=minutes)) for minutes in range(-3, 4)],
    lambda ledger: [ledger.batch(name) for name in "abc"],
    lambda ledger: [ledger.batch_of(HERE, f"e-{name}-{number}") for name in "abc" for number in (1, 2)],
    lambda ledger: ledger.open_batches(),
    lambda ledger: ledger.subjects(Kind.PAUSE),
    lambda ledger: [ledger.batches_since(NOW + timedelta(minutes=minutes)) for minutes in range(-3, 4)],
]


@pytest.mark.parametrize(
    ("twin", "examples", "steps"), [(sqlite, 40, 30), (dynamodb, 12, 20)], ids=["sqlite", "dynamodb"]
)
def test_a_ledger_and_its_memory_twin_cannot_be_told_apart(
    twin: Callable[[], AbstractContextManager[Ledger]], examples: int, steps: int
) -> None:
    class Compared(Twins):
        open_other = staticmethod(twin)

    run_state_machine_as_test(
        Compared,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )


def test_four_processes_on_one_file_lose_nothing(tmp_path: Path) -> None:
    path, spawned = tmp_path / "ledger.db", multiprocessing.get_context("spawn")
    writers = [spawned.Process(target=append_many, args=(str(path), fresh(), writer, 25)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(60)
    assert [process.exitcode for process in writers] == [0] * 4
    ledger, case = SqliteLedger(path), fresh()
    lines = ledger.trail(case.id)
    assert replay(case.node, case.control, lines) == ledger.head(case.id)
    assert len(lines) == 4 * 25
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    ledger.close()
