"""One policy wins, by its rank alone; what is unknown above it is told; the index changes nothing but the cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.conditions import Condition, Truth
from chalicelib.core.decisions import decide
from chalicelib.core.evaluation import Standing, Verdict, evaluate, judge
from chalicelib.core.facts import gather, patch_block
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.readings import Readings
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.core.vocabulary import render
from tests.sets import NODE, NOW, finding, machine, policy, policy_set, scan, tag

CASE = Remediation(NODE, finding().control)
FACTS = gather(finding(), CASE, machine(tags={"Environment": "prod", "App": "web"}), scan())
PROD, DEV, WEB = tag("Environment", "prod"), tag("Environment", "dev"), tag("App", "web")


def without(*blocks: str) -> dict[str, Any]:
    return {name: value for name, value in FACTS.items() if name not in blocks}


def winner(*policies: dict[str, Any], facts: dict[str, Any] = FACTS) -> str | None:
    won = judge(policy_set(*policies), facts, NOW).winner
    return won.id if won else None


# --- who wins -------------------------------------------------------------------------------------------------------


def test_no_policy_speaks_for_a_finding_that_none_matches() -> None:
    assert judge(policy_set(policy("a", DEV)), FACTS, NOW) == Verdict(None, (), ())


LADDER = [
    policy("z-guardrail", PROD, band="guardrail", action="approve"),
    policy("y-emergency", PROD, band="emergency"),
    policy("x-exempt", PROD, action="exempt"),
    policy("w-ticket", PROD, action="ticket"),
    policy("v-approve", PROD, action="approve"),
    policy("u-urgent", PROD, priority=7),
    policy("b-plain", PROD),
    policy("c-plain", PROD),
    policy("a-default", PROD, band="default", action="exempt"),
    policy("d-default", PROD, band="default", action="observe", priority=9),
]


def test_each_rung_wins_over_all_below_it() -> None:
    for rung, best in enumerate(LADDER):
        assert winner(*reversed(LADDER[rung:])) == best["id"]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_the_order_of_the_document_never_decides(order: tuple[int, ...]) -> None:
    listed = [LADDER[1], LADDER[3], LADDER[6], LADDER[7]]
    assert winner(*(listed[place] for place in order)) == "y-emergency"


def test_a_policy_that_is_off_or_only_a_shadow_never_wins() -> None:
    found = judge(
        policy_set(
            policy("off", PROD, mode="off", band="guardrail", action="ticket"),
            policy("shadow-b", PROD, mode="shadow", band="guardrail", action="ticket"),
            policy("shadow-a", PROD, mode="shadow"),
            policy("shadow-dev", DEV, mode="shadow"),
            policy("plain", PROD),
        ),
        FACTS,
        NOW,
    )
    assert found.winner is not None
    assert found.winner.id == "plain"
    assert [shadow.id for shadow in found.shadows] == ["shadow-b", "shadow-a"]


def test_a_policy_counts_until_the_moment_it_expires() -> None:
    policies = policy_set(policy("ends", PROD, expires=format_moment(NOW), action="ticket"), policy("plain", PROD))
    before, at = judge(policies, FACTS, NOW - timedelta(seconds=1)).winner, judge(policies, FACTS, NOW).winner
    assert (before and before.id, at and at.id) == ("ends", "plain")


# --- what is unknown ------------------------------------------------------------------------------------------------


def test_what_is_unknown_above_the_winner_is_told_with_path_and_reason() -> None:
    unread = {**FACTS, "node": {name: value for name, value in FACTS["node"].items() if name != "tags"}}
    policies = policy_set(policy("above", PROD, priority=2), policy("plain"), policy("below", PROD, priority=-1))
    found = judge(policies, unread, NOW)
    assert found.winner is not None
    assert found.winner.id == "plain"
    assert [(doubt.policy, doubt.path, doubt.why) for doubt in found.unknown] == [
        ("above", "$.node.tags.Environment", "$.node.tags is not known")
    ]


def test_if_nobody_wins_every_unknown_policy_is_told() -> None:
    found = judge(policy_set(policy("a", PROD), policy("b", WEB), policy("off", WEB, mode="off")), without("node"), NOW)
    assert (found.winner, [doubt.policy for doubt in found.unknown]) == (None, ["a", "b"])


def test_a_policy_that_something_known_denies_is_not_unknown() -> None:
    elsewhere = {"path": "$.account", "steps": ["account"], "operator": "equals", "operand": "444455556666",
                 "match": "any", "if_missing": False, "line": None}  # fmt: skip
    found = judge(policy_set(policy("a", PROD, elsewhere), policy("b", elsewhere, PROD)), without("node"), NOW)
    assert found.unknown == ()


def test_an_unknown_shadow_is_no_doubt_about_the_decision() -> None:
    assert judge(policy_set(policy("shadow", PROD, mode="shadow")), without("node"), NOW) == Verdict(None, (), ())


# --- what is told ---------------------------------------------------------------------------------------------------


def test_an_evaluation_tells_every_condition_of_every_policy() -> None:
    policies = policy_set(policy("a", PROD, WEB), policy("b", DEV, WEB), policy("c", tag("Cluster", "x"), mode="off"))
    first, second, third = evaluate(policies, FACTS, NOW)
    assert (first.truth, first.standing, first.why) == (Truth.TRUE, Standing.ENFORCED, "every condition holds")
    assert second.why == '$.node.tags.Environment equals "dev": it is "prod"'
    assert [held.truth for held in second.held] == [Truth.FALSE, Truth.TRUE]
    assert (third.standing, third.why) == (Standing.OFF, '$.node.tags.Cluster equals "x": it is missing')
    (unknown,) = evaluate(policy_set(policy("a", PROD)), without("node"), NOW)
    assert unknown.why == '$.node.tags.Environment equals "prod": $.node is not known'
    assert unknown.to_json()["outcome"] == "unknown"
    assert unknown.to_json()["conditions"][0]["truth"] == "unknown"


def test_an_ended_policy_is_told_as_ended() -> None:
    (ended,) = evaluate(policy_set(policy("a", PROD, expires=format_moment(NOW))), FACTS, NOW)
    assert (ended.standing, ended.truth) == (Standing.ENDED, Truth.TRUE)


def test_the_groups_any_and_none_say_who_denies() -> None:
    any_of = {**policy("a"), "when": {"all": [], "any": [DEV], "none": []}}
    none_of = {**policy("b"), "when": {"all": [], "any": [], "none": [PROD]}}
    first, second = evaluate(policy_set(any_of, none_of), FACTS, NOW)
    assert (first.truth, second.truth) == (Truth.FALSE, Truth.FALSE)
    assert second.why == '$.node.tags.Environment equals "prod": it is "prod"'


# --- properties -----------------------------------------------------------------------------------------------------


def condition(path: list[str | int] | str, operator: str, operand: Any, if_missing: bool = False) -> dict[str, Any]:
    steps = None if isinstance(path, str) else path
    text = path if isinstance(path, str) else render(path)
    return {"path": text, "steps": steps, "operator": operator, "operand": operand, "match": "any",
            "if_missing": if_missing, "line": None}  # fmt: skip


_VALUE = st.sampled_from(["a", "b", "c"])
_TAG = st.sampled_from(["X", "Y", "Z"])
_CONDITION = st.one_of(
    st.builds(
        lambda name, value, miss: condition(["node", "tags", name], "equals", value, miss),
        _TAG, _VALUE, st.booleans(),
    ),
    st.builds(
        lambda name, values, miss: condition(["node", "tags", name], "in", values, miss),
        _TAG, st.lists(_VALUE, min_size=1, max_size=2), st.booleans(),
    ),
    st.builds(lambda name, value: condition(["node", "tags", name], "not_equals", value, True), _TAG, _VALUE),
    st.builds(lambda name: condition(["node", "tags", name], "exists", True), _TAG),
    st.builds(lambda count: condition(["patch", "counts", "critical"], "gte", count), st.integers(0, 2)),
    st.builds(lambda count: condition(["history", "attempts"], "in", [count, 7]), st.integers(0, 2)),
    st.builds(lambda value: condition(["finding", "source"], "equals", value), st.sampled_from(["ssm", "config"])),
    st.builds(lambda value: condition("$.patch.missing[?@.class == 'a'].severity", "equals", value), _VALUE),
)  # fmt: skip
_ITEM = st.fixed_dictionaries({"class": _VALUE, "severity": _VALUE})
_ENDS = st.sampled_from([None, None, None, format_moment(NOW), format_moment(NOW + timedelta(1))])
_ROLLOUT = st.builds(
    lambda percent, accounts: {"percent": percent, "accounts": accounts},
    st.sampled_from([0, 30, 60, 100]), st.sampled_from([None, [NODE.account], ["444455556666"]]),
)  # fmt: skip
_CONDITIONS = st.lists(_CONDITION, max_size=3)
_FEW = st.lists(_CONDITION, max_size=1)


@st.composite
def policy_sets(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {
            **policy(
                f"p{number}",
                band=draw(st.sampled_from(["guardrail", "emergency", "standard", "default"])),
                action=draw(st.sampled_from(["exempt", "ticket", "observe", "approve", "remediate"])),
                mode=draw(st.sampled_from(["enforce", "enforce", "enforce", "shadow", "off"])),
                priority=draw(st.integers(0, 2)),
                expires=draw(_ENDS),
                rollout=draw(st.one_of(st.none(), st.none(), _ROLLOUT)),
            ),
            "when": {"all": draw(_CONDITIONS), "any": draw(_FEW), "none": draw(_FEW)},
        }
        for number in range(draw(st.integers(1, 8)))
    ]  # fmt: skip


@st.composite
def some_facts(draw: st.DrawFn) -> dict[str, Any]:
    """Facts as they come: blocks that were not fetched, tags that are missing, values of a wrong type."""
    facts: dict[str, Any] = gather(finding(), CASE)
    if draw(st.integers(0, 4)) == 0:
        del facts["finding"]["node"]
    facts["history"]["attempts"] = draw(st.sampled_from([0, 1, 2, "2"]))
    if draw(st.booleans()):
        facts["node"] = {"tags": draw(st.dictionaries(_TAG, st.one_of(_VALUE, st.just(3)), max_size=3))}
        if draw(st.integers(0, 4)) == 0:
            del facts["node"]["tags"]
    if draw(st.booleans()):
        facts["patch"] = patch_block(scan(patches=None))
        facts["patch"]["counts"]["critical"] = draw(st.sampled_from([0, 1, 2, None, True]))
        if draw(st.booleans()):
            facts["patch"]["missing"] = draw(st.lists(_ITEM, max_size=2))
    return facts


def by_hand(policies: PolicySet, facts: dict[str, Any]) -> tuple[str | None, list[str], list[str]]:
    """The verdict from the whole evaluation: no index, nothing lazy."""
    held = sorted(evaluate(policies, facts, NOW), key=lambda one: one.policy.rank)
    doubts: list[str] = []
    won = None
    for one in held:
        if one.standing is Standing.ENFORCED and one.truth is Truth.TRUE:
            won = one.policy.id
            break
        if one.standing is Standing.ENFORCED and one.truth is Truth.UNKNOWN:
            doubts.append(one.policy.id)
    shadows = [one.policy.id for one in held if one.standing is Standing.SHADOW and one.truth is Truth.TRUE]
    return won, doubts, shadows


def told(verdict: Verdict) -> tuple[str | None, list[str], list[str]]:
    return (
        verdict.winner.id if verdict.winner else None,
        [doubt.policy for doubt in verdict.unknown],
        [shadow.id for shadow in verdict.shadows],
    )


@given(policy_sets(), some_facts())
def test_the_index_agrees_with_brute_force(listed: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    policies = policy_set(*listed)
    assert told(judge(policies, facts, NOW)) == by_hand(policies, facts)


@given(policy_sets(), some_facts(), st.randoms(use_true_random=False))
def test_the_order_of_files_never_changes_a_verdict(
    listed: list[dict[str, Any]], facts: dict[str, Any], chance: Any
) -> None:
    shuffled = list(listed)
    chance.shuffle(shuffled)
    assert told(judge(policy_set(*shuffled), facts, NOW)) == told(judge(policy_set(*listed), facts, NOW))


@given(policy_sets(), some_facts())
def test_a_doubt_above_the_winner_never_remediates_and_never_exempts(
    listed: list[dict[str, Any]], facts: dict[str, Any]
) -> None:
    policies = policy_set(*listed)
    if judge(policies, facts, NOW).unknown:
        assert decide(finding(), CASE, facts, policies, NOW).cause is Cause.TICKETED


@given(policy_sets(), some_facts(), st.sampled_from(["node", "patch", "history", "finding"]))
def test_less_knowledge_never_turns_a_ticket_into_observe(
    listed: list[dict[str, Any]], facts: dict[str, Any], block: str
) -> None:
    policies = policy_set(*listed)
    known = judge(policies, facts, NOW)
    less = judge(policies, {name: value for name, value in facts.items() if name != block}, NOW)
    if known.unknown or (known.winner and known.winner.then.action == "ticket"):
        assert less.unknown or less.winner == known.winner


class Counted(dict[str, Any]):
    """Facts that count how often they are asked for a block."""

    asked = 0

    def get(self, key: str, default: Any = None) -> Any:
        self.asked += 1
        return super().get(key, default)


@given(policy_sets(), some_facts())
def test_each_path_is_read_at_most_once(listed: list[dict[str, Any]], facts: dict[str, Any]) -> None:
    policies, counted = policy_set(*listed), Counted(facts)
    judge(policies, counted, NOW)
    paths = {clause.condition.path for one in policies.policies for clause in one.when.clauses()}
    searched = sum(2 if path.many else 1 for path in paths)  # a search walks to its list, then searches
    rolled = 2 if any(one.rollout for one in policies.policies) else 0  # which node it is, and in which account
    assert counted.asked <= searched + rolled


# --- cost -----------------------------------------------------------------------------------------------------------


class Counting(Readings):
    """Readings that count how often a condition is judged or looked up."""

    count = 0

    def truth(self, condition: Condition) -> Truth:
        self.count += 1
        return super().truth(condition)


def counts(least: int) -> dict[str, Any]:
    return condition(["patch", "counts", "critical"], "gte", least)


SHAPES: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "an equality each": lambda each: [tag("App", f"app-{each}")],
    "one equality shared by all, and one each": lambda each: [PROD, tag("App", f"app-{each}")],
    "one equality shared by all, and one of ten others": lambda each: [PROD, tag("App", f"app-{each % 10}")],
    "a question that all share and that is false": lambda each: [
        PROD,
        counts(5),
        WEB,
        *[tag("App", "web")] * (each % 2),
    ],
    "one of three questions": lambda each: [PROD, counts(5 + each % 3)],
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_verdict_asks_no_more_of_many_policies_than_of_few(shape: Callable[[int], list[dict[str, Any]]]) -> None:
    def questions(number: int) -> int:
        policies = policy_set(*(policy(f"p{each:05}", *shape(each)) for each in range(number)), policy("z", WEB))
        readings = Counting(FACTS)
        first, _ = next(policies.enforced.standing(readings, NOW))
        assert first.id == "z"
        return readings.count

    assert questions(1000) == questions(10) <= 7
