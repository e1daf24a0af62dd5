"""A rollout enforces a policy for a stable share of the nodes, and keeps it a shadow for the rest."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.conditions import Truth
from chalicelib.core.decisions import decide
from chalicelib.core.errors import PolicyError
from chalicelib.core.evaluation import Standing, evaluate, judge
from chalicelib.core.facts import gather
from chalicelib.core.nodes import Node
from chalicelib.core.readings import Readings
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.core.rollouts import Rollout, number
from tests.sets import NODE, NOW, finding, machine, policy, policy_set, tag

NODES = [replace(NODE, id=f"i-{number:017x}") for number in range(2000)]
CASE = Remediation(NODE, finding().control)


def facts_of(node: Node = NODE) -> dict[str, Any]:
    return gather(finding(node=node), Remediation(node, finding().control), machine(id=node.id))


def rolled(percent: int = 100, accounts: list[str] | None = None, **given: Any) -> dict[str, Any]:
    return policy("rolled", tag("Environment", "dev"), rollout={"percent": percent, "accounts": accounts}, **given)


def reached(percent: int, accounts: tuple[str, ...] | None = None, name: str = "rolled") -> set[str]:
    rollout = Rollout(percent, accounts)
    return {node.id for node in NODES if rollout.reach(name, Readings(facts_of(node))).truth is Truth.TRUE}


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 99, 100])
def test_a_rollout_reaches_about_its_share(percent: int) -> None:
    assert abs(len(reached(percent)) - percent * 20) <= (0 if percent in (0, 100) else 70)


def test_a_larger_share_only_adds_nodes() -> None:
    shares = [reached(percent) for percent in (0, 5, 20, 60, 100)]
    assert all(less <= more for less, more in pairwise(shares))


def test_each_policy_begins_with_nodes_of_its_own() -> None:
    assert 5 < len(reached(10) & reached(10, name="another")) < 60


def test_the_number_of_a_node_never_changes() -> None:
    assert [number("rolled", f"i-{each:017x}") for each in range(6)] == [34, 92, 81, 37, 89, 99]


def test_only_the_accounts_named_are_reached() -> None:
    assert reached(100, ("444455556666",)) == set()
    assert reached(30, ("444455556666", NODE.account)) == reached(30)


def test_a_node_that_is_reached_is_remediated_and_any_other_is_a_shadow_beside_the_decision() -> None:
    policies = policy_set(rolled(50), policy("plain", band="default", action="observe"))
    share = reached(50)
    for node in NODES[:40]:
        made = decide(finding(node=node), Remediation(node, CASE.control), facts_of(node), policies, NOW)
        if node.id in share:
            assert (made.cause, made.sets["decision"]["shadows"]) == (Cause.QUEUED, [])
        else:
            assert (made.cause, made.sets["decision"]["policy"]) == (Cause.OBSERVED, "plain")
            assert made.sets["decision"]["shadows"] == [{"policy": "rolled", "action": "remediate"}]


def test_an_evaluation_says_why_a_node_is_in_or_out() -> None:
    mine = number("rolled", NODE.id)
    said = {percent: evaluate(policy_set(rolled(percent)), facts_of(), NOW)[0] for percent in (mine, mine + 1)}
    assert (said[mine].standing, said[mine + 1].standing) == (Standing.SHADOW, Standing.ENFORCED)
    assert said[mine].to_json()["rollout"] == {
        "reaches": "false", "why": f"the node has number {mine}, the rollout only reaches those below {mine}"
    }  # fmt: skip
    assert said[mine + 1].to_json()["rollout"]["reaches"] == "true"
    (elsewhere,) = evaluate(policy_set(rolled(100, ["444455556666"])), facts_of(), NOW)
    assert elsewhere.to_json()["rollout"]["why"] == "account 111122223333 is not among the 1 of the rollout"


def test_a_rollout_without_a_node_is_unknown_and_so_a_ticket() -> None:
    facts = facts_of()
    del facts["finding"]["node"]
    policies = policy_set(rolled(50))
    (doubt,) = judge(policies, facts, NOW).unknown
    assert (doubt.policy, doubt.path, doubt.why) == ("rolled", "$.finding.node", "$.finding.node is not known")
    assert decide(finding(), CASE, facts, policies, NOW).cause is Cause.TICKETED
    (told,) = evaluate(policies, facts, NOW)
    assert (told.truth, told.why) == (Truth.UNKNOWN, "its rollout: $.finding.node is not known")


def test_a_rollout_says_nothing_about_a_policy_that_is_a_shadow_anyway() -> None:
    facts = facts_of()
    del facts["finding"]["node"]
    policies = policy_set(rolled(0, mode="shadow"))
    (told,) = evaluate(policies, facts, NOW)
    assert (told.truth, told.reach, len(judge(policies, facts, NOW).shadows)) == (Truth.TRUE, None, 1)


@pytest.mark.parametrize("rollout", [
    {"percent": 101, "accounts": None}, {"percent": -1, "accounts": None}, {"percent": True, "accounts": None},
    {"percent": 10}, {"percent": 10, "accounts": ["1111"]}, {"percent": 10, "accounts": [111122223333]},
    {"percent": 10, "accounts": None, "regions": None}, [10],
])  # fmt: skip
def test_a_set_with_a_broken_rollout_does_not_load(rollout: object) -> None:
    with pytest.raises(PolicyError):
        policy_set(policy(rollout=rollout))


def test_a_node_is_asked_for_its_number_only_by_policies_that_speak_for_it() -> None:
    """Or a decision would grow with the number of rollouts."""
    facts = facts_of()
    asked: list[str] = []

    class Watched(Rollout):
        def reach(self, policy: str, readings: Readings) -> Any:
            asked.append(policy)
            return super().reach(policy, readings)

    listed = [policy(f"p{each:04}", tag("App", f"app-{each}"), rollout={"percent": 50, "accounts": None})
              for each in range(500)]  # fmt: skip
    policies = policy_set(*listed, rolled(50))
    for one in policies.policies:
        object.__setattr__(one, "rollout", Watched(50, None))
    judge(policies, facts, NOW)
    assert set(asked) == {"rolled"}


@given(st.integers(0, 100), st.sampled_from(NODES[:50]))
def test_a_node_is_never_both_enforced_and_a_shadow(percent: int, node: Node) -> None:
    verdict = judge(policy_set(rolled(percent)), facts_of(node), NOW)
    assert (verdict.winner is None) == bool(verdict.shadows)
