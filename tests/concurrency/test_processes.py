"""Eight processes and one table: what the ledger promised to one of them, none of the others has undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from chalicelib.core.audit import fault
from chalicelib.core.plans import BatchState
from chalicelib.core.remediations import Cause, advance, apply
from chalicelib.core.tickets import Deed, Errand
from chalicelib.ports import Change, Ledger
from tests.concurrency.conftest import WRITERS, Contest
from tests.concurrency.contest import HERE, NOW, Told, batch, case, do_errands, note_lines, start_batches, take_and_give

CASES, LINES = 3, 15
LEASES = ("node/111122223333/eu-west-1/i-0", "group/111122223333/Cluster=db/0", "group/111122223333/Cluster=db/1")


def lines_of(ledger: Ledger) -> Counter[tuple[str, int, str]]:
    heads = list(ledger.all_heads())
    return Counter((line.remediation, line.number, line.hash) for head in heads for line in ledger.trail(head.id))


def acknowledged(told: list[Told]) -> Counter[tuple[str, int, str]]:
    return Counter(line for each in told for line in each.lines)


def faults(ledger: Ledger) -> list[str]:
    found = (fault(head, ledger.trail(head.id)) for head in ledger.all_heads())
    return [each for each in found if each]


def test_no_line_of_any_writer_is_lost_or_doubled_though_answers_are(contest: Contest) -> None:
    told = contest.hold(note_lines, CASES, LINES)
    assert lines_of(contest.ledger) == acknowledged(told)
    assert sum(lines_of(contest.ledger).values()) == WRITERS * LINES
    assert faults(contest.ledger) == []
    assert sum(each.lost for each in told) >= WRITERS * LINES // 5, "too few answers were lost to show anything"
    assert sum(each.late for each in told) > WRITERS, "the writers did not meet"


def test_each_line_of_a_trail_says_something_that_only_one_writer_said(contest: Contest) -> None:
    contest.hold(note_lines, 1, 6)
    said = [line.because for line in contest.ledger.trail(case(0).id)]
    assert sorted(said) == sorted(f"writer {writer}, line {line}" for writer in range(WRITERS) for line in range(6))


def test_a_lease_is_never_held_by_two_though_answers_are_lost(contest: Contest) -> None:
    told = contest.hold(take_and_give, LEASES, 8)
    assert [name for each in told for name in each.doubled] == []
    assert lines_of(contest.ledger) == acknowledged(told)
    assert faults(contest.ledger) == []
    assert [contest.ledger.lease(name) for name in LEASES] == [None] * len(LEASES), "a lease was not given back"
    assert sum(each.late for each in told) > WRITERS, "nobody waited for a lease"


def test_an_errand_is_noted_as_done_by_one_writer_alone(contest: Contest) -> None:
    head = case(0)
    for number in range(12):
        owed = Errand(
            f"errand-{number:02}", head.id, Deed.OPEN, HERE, key="k", title="t", body="b", severity=3, due=NOW
        )
        line = advance(head, Cause.NOTED, because="owed", now=NOW)
        head = apply(head, line)
        contest.ledger.append(Change(line, head, owes=owed))
    done = [errand for each in contest.hold(do_errands) for errand in each]
    assert sorted(done) == [f"errand-{number:02}" for number in range(12)]
    assert len(contest.ledger.trail(head.id)) == 24
    assert faults(contest.ledger) == []


def test_a_batch_has_the_execution_of_one_writer_alone(contest: Contest) -> None:
    names = tuple(f"batch-{number}" for number in range(12))
    told = contest.hold(start_batches, names)
    assert Counter(name for each in told for name in each) == Counter(names)
    for writer, mine in enumerate(told):
        for name in mine:
            wanted = replace(batch(name), state=BatchState.STARTED, execution=f"{name}-{writer}")
            assert contest.ledger.batch(name) == wanted


def test_without_its_conditions_the_ledger_would_lose_lines(contest: Contest) -> None:
    told = contest.hold(note_lines, CASES, LINES, unconditional=True)
    assert sum(lines_of(contest.ledger).values()) < WRITERS * LINES
    assert lines_of(contest.ledger) != acknowledged(told)


def test_without_its_conditions_two_would_hold_one_lease(contest: Contest) -> None:
    told = contest.hold(take_and_give, LEASES, 8, unconditional=True)
    assert [name for each in told for name in each.doubled] != []
