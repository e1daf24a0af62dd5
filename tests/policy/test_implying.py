"""What is said of two conditions whatever the facts are holds for all facts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.conditions import Condition, Truth
from chalicelib.core.paths import parse
from chalicelib.core.readings import Clause, Readings, When
from patchwarden.policy.implying import apart, covers, excludes, implies, impossible

TAG = "$.node.tags.App"
KIND = "$.node.kind"
COUNT = "$.patch.counts.missing"
MISSING = "$.patch.missing[?@.severity == 'Critical']"
SEVERITY = "$.patch.missing[*].severity"
PATHS = {text: parse(text) for text in (TAG, KIND, COUNT, MISSING, SEVERITY)}


def condition(path: str, operator: str, operand: Any, **options: Any) -> Condition:
    return Condition.of(PATHS[path], operator, operand, **options)


# --- properties -----------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "ab", "abc", "b", "ba"])
MISSES = st.booleans()


def asked(path: str, operands: st.SearchStrategy[Any], one: tuple[str, ...]) -> st.SearchStrategy[Condition]:
    lists = st.lists(operands, min_size=1, max_size=3)
    match = st.sampled_from(["any", "all"]) if PATHS[path].many else st.just("any")
    return st.one_of(
        st.builds(lambda o, v, m, i: condition(path, o, v, match=m, if_missing=i), st.sampled_from(one), operands,
                  match, MISSES),
        st.builds(lambda o, v, m, i: condition(path, o, v, match=m, if_missing=i), st.sampled_from(["in", "not_in"]),
                  lists, match, MISSES),
    )  # fmt: skip


NUMBERS = st.integers(0, 4)
BOUNDS = st.dictionaries(st.sampled_from(["equals", "gt", "gte", "lt", "lte"]), NUMBERS, min_size=1, max_size=2)
EQUAL = ("equals", "not_equals")
THERE = st.sampled_from([condition(TAG, "exists", True), condition(TAG, "absent", True)])
FOUND = st.sampled_from([condition(MISSING, "exists", True), condition(MISSING, "absent", True)])
CONDITIONS = st.one_of(
    asked(TAG, WORDS, (*EQUAL, "starts_with", "ends_with", "glob")), THERE,
    asked(KIND, st.sampled_from(["ec2", "hybrid"]), (*EQUAL, "starts_with")),
    asked(COUNT, NUMBERS, (*EQUAL, "gt", "gte", "lt", "lte")),
    asked(SEVERITY, st.sampled_from(["Critical", "Low"]), (*EQUAL, "starts_with")),
    st.builds(lambda bounds: condition(MISSING, "count", bounds), BOUNDS), FOUND,
)  # fmt: skip
GROUPS = st.lists(CONDITIONS, max_size=2).map(lambda found: tuple(Clause(one, 1) for one in found))
WHENS = st.builds(When, GROUPS, GROUPS, GROUPS)
PATCHES = st.lists(st.fixed_dictionaries({"severity": st.sampled_from(["Critical", "Low", "b"])}), max_size=3)
FACTS = st.fixed_dictionaries({
    "node": st.fixed_dictionaries({
        "kind": st.sampled_from(["ec2", "hybrid"]), "tags": st.dictionaries(st.just("App"), WORDS),
    }),
    "patch": st.fixed_dictionaries({
        "counts": st.fixed_dictionaries({"missing": st.integers(0, 5)}), "missing": PATCHES,
    }),
})  # fmt: skip


def same_path() -> st.SearchStrategy[tuple[Condition, Condition]]:
    return st.tuples(CONDITIONS, CONDITIONS).filter(lambda pair: pair[0].path is pair[1].path)


def holds(one: Condition, facts: dict[str, Any]) -> bool:
    return Readings(facts).truth(one) is Truth.TRUE


@settings(max_examples=400)
@given(same_path(), st.lists(FACTS, min_size=5, max_size=15))
def test_what_is_implied_is_true_and_what_is_excluded_is_not(
    pair: tuple[Condition, Condition], several: list[dict[str, Any]]
) -> None:
    one, other = pair
    for facts in several:
        if implies(one, other):
            assert not holds(one, facts) or holds(other, facts)
        if excludes(one, other):
            assert not (holds(one, facts) and holds(other, facts))


@settings(max_examples=200)
@given(WHENS, WHENS, st.lists(FACTS, min_size=5, max_size=15))
def test_what_covers_matches_wherever_the_other_does(one: When, other: When, several: list[dict[str, Any]]) -> None:
    for facts in several:
        first, second = (when.judge(Readings(facts)) is Truth.TRUE for when in (one, other))
        assert not covers(one, other) or not second or first
        assert not apart(one, other) or not (first and second)
        assert impossible(one) is None or not first


# --- what it can prove ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (TAG, ("equals", "a"), ("in", ["a", "b"])),
        (TAG, ("equals", "a"), ("exists", True)),
        (TAG, ("equals", "abc"), ("starts_with", "ab")),
        (TAG, ("equals", "abc"), ("not_in", ["a", "b"])),
        (TAG, ("starts_with", "abc"), ("starts_with", "ab")),
        (TAG, ("not_in", ["a", "b"]), ("not_equals", "a")),
        (KIND, ("not_equals", "ec2"), ("equals", "hybrid")),
        (COUNT, ("gte", 5), ("gt", 4)),
        (COUNT, ("lt", 5), ("lte", 5)),
        (COUNT, ("gt", 5), ("not_equals", 3)),
        (MISSING, ("count", {"gte": 2}), ("count", {"gte": 1})),
        (MISSING, ("count", {"gte": 1}), ("exists", True)),
        (SEVERITY, ("equals", "Critical"), ("in", ["Critical", "Low"])),
    ],
)
def test_it_sees_that_one_implies_the_other(path: str, one: tuple[str, Any], other: tuple[str, Any]) -> None:
    assert implies(condition(path, *one), condition(path, *other))
    assert not implies(condition(path, *other), condition(path, *one)) or path == KIND or one[0] == "count"


@pytest.mark.parametrize(
    ("path", "one", "other"),
    [
        (TAG, ("equals", "a"), ("equals", "b")),
        (TAG, ("in", ["a", "b"]), ("not_in", ["a", "b", "c"])),
        (TAG, ("starts_with", "prod"), ("starts_with", "dev")),
        (TAG, ("equals", "dev"), ("starts_with", "prod")),
        (TAG, ("exists", True), ("absent", True)),
        (KIND, ("not_equals", "ec2"), ("not_equals", "hybrid")),
        (COUNT, ("gt", 7), ("lt", 3)),
        (MISSING, ("count", {"gte": 2}), ("count", {"lt": 2})),
        (MISSING, ("exists", True), ("absent", True)),
    ],
)
def test_it_sees_that_no_finding_meets_both(path: str, one: tuple[str, Any], other: tuple[str, Any]) -> None:
    assert excludes(condition(path, *one), condition(path, *other))
    assert excludes(condition(path, *other), condition(path, *one))


def test_a_missing_tag_is_not_forgotten() -> None:
    lenient = condition(TAG, "in", ["a"], if_missing=True)
    assert not implies(lenient, condition(TAG, "exists", True))
    assert not implies(lenient, condition(TAG, "in", ["a", "b"]))
    assert not excludes(lenient, condition(TAG, "absent", True))
    assert implies(condition(TAG, "absent", True), lenient)


def test_one_of_several_is_not_all_of_them() -> None:
    one, every = (condition(SEVERITY, "equals", "Critical", match=match) for match in ("any", "all"))
    assert not implies(one, every)
    assert not excludes(one, condition(SEVERITY, "equals", "Low"))
