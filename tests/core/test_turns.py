"""Turns: who is served first, that no account waits for another's flood, and that nobody waits for ever."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from operator import itemgetter

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.findings import Control
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Plan
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.turns import AGED, in_turn

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
Leaving = tuple[Location, Plan, list[Remediation]]
ACCOUNTS = [f"{number:012}" for number in range(8)]
REGIONS = ("eu-west-1", "us-east-1")


def case(
    number: int, account: str, region: str = REGIONS[0], *, due: datetime = NOW, **decision: object
) -> Remediation:
    node = Node(account, region, f"i-{number:017d}")
    return Remediation(node, Control.PATCH, State.QUEUED, number=1, due=due, decision={"policy": "p", **decision})


def alone(one: Remediation) -> Leaving:
    return one.location, Plan(), [one]


def turns(leaving: list[Leaving], now: datetime = NOW) -> list[Remediation]:
    return [cases[0] for _, _, cases in in_turn(leaving, itemgetter(0), itemgetter(2), now)]


def test_each_account_has_its_turn_before_one_has_its_second_and_regions_share_their_accounts() -> None:
    flood = [case(number, "1" * 12) for number in range(4)] + [case(9, "1" * 12, REGIONS[1])]
    found = turns([alone(one) for one in [*flood, case(5, "2" * 12), case(6, "3" * 12)]])
    assert [one.node.account[0] for one in found[:4]] == ["1", "2", "3", "1"]
    assert {one.node.region for one in found if one.node.account == "1" * 12 and found.index(one) < 4} == set(REGIONS)


def test_the_most_critical_comes_first_in_its_place_and_among_equal_turns() -> None:
    low, high = case(1, "1" * 12, severity=4), case(2, "1" * 12, severity=1)
    urgent, other = case(3, "2" * 12, urgent=True), case(4, "2" * 12, severity=2)
    assert turns([alone(one) for one in (low, high, other, urgent)]) == [urgent, high, other, low]
    by_priority = [case(5, "1" * 12, priority=1), case(6, "1" * 12, priority=7)]
    assert turns([alone(one) for one in by_priority]) == by_priority[::-1]


def test_who_has_waited_long_enough_passes_new_emergencies() -> None:
    old = case(1, "1" * 12, due=NOW - AGED, severity=4)
    new = [case(number, "1" * 12, urgent=True) for number in range(2, 5)]
    assert turns([alone(one) for one in [*new, old]])[0] == old


@given(st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(REGIONS), st.integers(1, 4), st.booleans(),
                          st.integers(0, 120)), max_size=60))  # fmt: skip
def test_everyone_is_served_once_and_no_account_is_a_turn_behind(
    drawn: list[tuple[str, str, int, bool, int]],
) -> None:
    leaving = [
        alone(case(number, account, region, due=NOW - timedelta(minutes=late), severity=severity, urgent=urgent))
        for number, (account, region, severity, urgent, late) in enumerate(drawn)
    ]
    found = turns(leaving)
    assert Counter(one.id for one in found) == Counter(cases[0].id for _, _, cases in leaving)
    left = Counter(one.node.account for one in found)
    served: Counter[str] = Counter()
    for one in found:
        behind = [account for account in left if left[account] and served[account] < served[one.node.account]]
        assert not behind, "somebody had a further turn while another had none"
        served[one.node.account] += 1
        left[one.node.account] -= 1


def test_a_flood_of_criticals_bounds_the_wait_of_everybody_else() -> None:
    """One account floods 20 emergencies a round, seven trickle one low each; a round serves 10, and is too few."""
    waiting: list[Remediation] = []
    longest: Counter[str] = Counter()
    for minute in range(90):
        now = NOW + timedelta(minutes=minute)
        waiting += [case(minute * 100 + one, ACCOUNTS[0], due=now, urgent=True, severity=1) for one in range(20)]
        waiting += [case(10**6 + minute, account, due=now, severity=4) for account in ACCOUNTS[1:]]
        served = turns([alone(one) for one in waiting], now)[:10]
        for one in served:
            assert one.due is not None
            longest[one.node.account] = max(longest[one.node.account], (now - one.due) // timedelta(minutes=1))
        gone = {one.id for one in served}
        waiting = [one for one in waiting if one.id not in gone]
    assert {one.node.account for one in waiting} == {ACCOUNTS[0]}, "only who floods has a queue"
    assert max(longest[account] for account in ACCOUNTS[1:]) == 0


def test_with_less_room_than_accounts_the_longest_wait_still_has_a_bound() -> None:
    """Eight accounts, five starts a round, always enough criticals in four of them: half an hour and a bit."""
    waiting: list[Remediation] = []
    longest = 0
    for minute in range(150):
        now = NOW + timedelta(minutes=minute)
        waiting += [case(minute, account, due=now, urgent=True) for account in ACCOUNTS[:4]]
        waiting += [case(minute, account, due=now, severity=4) for account in ACCOUNTS[4:] if minute % 8 == 0]
        served = turns([alone(one) for one in waiting], now)[:5]
        longest = max(longest, *((now - one.due) // timedelta(minutes=1) for one in served if one.due))
        gone = {one.id for one in served}
        waiting = [one for one in waiting if one.id not in gone]
    assert longest <= 40
