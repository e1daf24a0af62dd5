"""A condition answers true, false or unknown, and never mistakes one for another."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonpath_ng.ext.parser import parse as plain_parse

from chalicelib.core.conditions import OPERATORS, Condition, Truth, every, some
from chalicelib.core.errors import PolicyError
from chalicelib.core.facts import NodeState, Patch, PatchState, gather
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Node
from chalicelib.core.paths import MISSING, Fault, Path, PathError, Unreadable, parse, walked
from chalicelib.core.readings import Clause, Readings, When
from chalicelib.core.remediations import Remediation
from chalicelib.core.vocabulary import ANY_TAG, FIELDS, Type, render

NODE = Node("111122223333", "eu-west-1", "i-0123456789abcdef0")
AT = datetime(2026, 11, 23, 11, 58, tzinfo=UTC)
FINDING = Finding(NODE, Control.PATCH, False, AT, Source.SSM, detail={"severity": "critical"})
MACHINE = NodeState(NODE.id, "ec2", "running", "Online", "Linux", tags={"Environment": "prod", "App": "web"})
SCAN = PatchState(
    NODE.id, "pb-1", "Scan", AT, missing=2, critical=1, security=1,
    ours=True, expected="pb-0123456789abcdef0", patches=(
        Patch("openssl", "openssl", "Security", "Critical", "MISSING"),
        Patch("bash", "bash", "Bugfix", "Low", "FAILED"),
    ),
)  # fmt: skip
FACTS = gather(FINDING, Remediation(NODE, Control.PATCH), MACHINE, SCAN)


def ask(path: str, operator: str, operand: Any, facts: dict[str, Any] = FACTS, **options: Any) -> Truth:
    condition = Condition.of(parse(path), operator, operand, **options)
    return Readings(facts).truth(condition)


# --- the vocabulary -------------------------------------------------------------------------------------------------


def leaves(value: Any, steps: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, dict):
        inner = {step for key, item in value.items() for step in leaves(item, (*steps, key))}
        return inner | ({steps} if steps in FIELDS else set())
    if isinstance(value, list):
        return {steps} | {step for item in value for step in leaves(item, (*steps, "[*]"))}
    return {steps}


def test_the_vocabulary_is_what_gather_gives() -> None:
    gathered = {
        (*steps[:2], ANY_TAG) if steps[:2] == ("node", "tags") and len(steps) > 2 else steps for steps in leaves(FACTS)
    }
    known = {steps for steps in FIELDS if steps[0] != "detail"}
    assert gathered - {("detail", "severity")} == known


@pytest.mark.parametrize(
    "field", [field for field in FIELDS.values() if field.steps[0] != "detail"], ids=lambda f: f.path
)
def test_every_field_of_whole_facts_can_be_read_as_its_type(field: Any) -> None:
    path = parse(field.path.replace(ANY_TAG, "App"))
    found = path.read(FACTS)
    assert not isinstance(found, Unreadable)
    assert found is not MISSING or field.optional


def test_every_field_says_what_it_means_and_where_it_comes_from() -> None:
    assert all(field.meaning and field.source for field in FIELDS.values())


# --- the safe profile -----------------------------------------------------------------------------------------------

ALLOWED = [
    "$.account",
    "$['node']['tags']['Environment']",
    "$.node.tags['aws:autoscaling:groupName']",
    "$.detail['patch-baseline-id']",
    "$.patch.missing",
    "$.patch.missing[0].severity",
    "$.patch.missing[*].severity",
    "$.node.tags[*]",
    "$.patch.missing[?@.class == 'Security' && @.severity == 'Critical']",
    "$.patch.missing[?@.class == 'Security' || !@.title].id",
    "$.patch.missing[?(@.class == 'a' || @.class == 'b') && @.id != 'c']",
]
REFUSED = [
    ("account", Fault.SYNTAX),
    ("$.", Fault.SYNTAX),
    ("$.account account", Fault.SYNTAX),
    ("$.patch.missing[", Fault.SYNTAX),
    ("$.patch.missing[?count(@.id) > 1]", Fault.SYNTAX),
    ("$.patch.missing[?!(@.id == 'a')]", Fault.SYNTAX),
    ("$..severity", Fault.UNSAFE),
    ("$.patch.missing[?@.id =~ '(a+)+b']", Fault.UNSAFE),
    ("$.patch.missing[?@.id = 'a']", Fault.UNSAFE),
    ("$.patch.missing[?@.id == bare]", Fault.UNSAFE),
    ("$.patch.missing[?@.id == @.title]", Fault.UNSAFE),
    ("$.patch.missing[?@.id == $.account]", Fault.UNSAFE),
    ("$.patch.missing[?$.account == 'a']", Fault.UNSAFE),
    ("$.patch.missing[?@.id[?@.x == 1]]", Fault.UNSAFE),
    ("$.patch.missing[?@.id == 'a' & @.title == 'b']", Fault.UNSAFE),
    ("$.patch.missing[?@ == 'a']", Fault.UNSAFE),
    ("$.patch.missing[?@.severity > 'Low']", Fault.UNSAFE),
    ("$.patch.missing[-1]", Fault.UNSAFE),
    ("$.patch.missing[0,1]", Fault.UNSAFE),
    ("$.patch.missing[0:2]", Fault.UNSAFE),
    ("$.patch.missing[/id]", Fault.UNSAFE),
    ("$['account','region']", Fault.UNSAFE),
    ("$.account | $.region", Fault.UNSAFE),
    ("$.account where $.region", Fault.UNSAFE),
    ("$.patch.counts.missing + 1", Fault.UNSAFE),
    ("$.patch.counts.missing * 2", Fault.UNSAFE),
    ("$.patch.missing.`len`", Fault.UNSAFE),
    ("$.detail.patch-baseline-id", Fault.UNSAFE),
    ("$.patch.count-1", Fault.UNSAFE),
    ("$.node.tags[?@ == 'web']", Fault.UNSAFE),
    ("$.node.tags." + "a" * 400, Fault.UNSAFE),
    ("$", Fault.UNKNOWN),
    ("$.node", Fault.UNKNOWN),
    ("$.tags.Environment", Fault.UNKNOWN),
    ("$.node.tags.Environment.x", Fault.UNKNOWN),
    ("$.account[0]", Fault.UNKNOWN),
    ("$.account[*]", Fault.UNKNOWN),
    ("$.patch.missing[*][*]", Fault.UNKNOWN),
    ("$.patch.missing[?@.id == 'a'][?@.id == 'a']", Fault.UNKNOWN),
    ("$.patch.missing[?@.level == 'x']", Fault.UNKNOWN),
    ("$.patch.missing[?@.severity == 3]", Fault.NEVER),
    ("$.patch.missing[?@.severity == null]", Fault.NEVER),
]


@pytest.mark.parametrize("text", ALLOWED)
def test_the_profile_allows_names_indexes_wildcards_and_plain_filters(text: str) -> None:
    assert isinstance(parse(text), Path)


@pytest.mark.parametrize(("text", "fault"), REFUSED)
def test_the_profile_refuses_what_could_surprise(text: str, fault: Fault) -> None:
    with pytest.raises(PathError) as refused:
        parse(text)
    assert refused.value.fault is fault


_PIECES = st.sampled_from([
    "$", ".", "..", "[", "]", "[*", "[?@", "?@.", "account", "node", "tags", "patch", "missing", "class", "==",
    "!=", "=~", "&&", "||", "&", "|", "!", "(", ")", "'Security'", '"', "'", "-1", "0", "1.5", ",", ":", "*",
    "/", '\\', "`", "`len`", "null", "true", "where", "@", "-", '\n', "é",
])  # fmt: skip


@given(st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=14).map("".join)).map(lambda text: "$" + text))
@example("$.patch.missing[?@.id == '\\']")
@example("$" + "(" * 200)
def test_any_text_is_a_path_or_a_path_error(text: str) -> None:
    with contextlib.suppress(PathError):
        assert isinstance(parse(text), Path)


def test_no_deprecated_jsonpath_is_let_through(recwarn: pytest.WarningsRecorder) -> None:
    for text in [*ALLOWED, *(text for text, _ in REFUSED)]:
        try:
            parse(text)
        except PathError:
            continue
    assert not recwarn.list


def test_a_singular_path_needs_no_parser_and_reads_the_same() -> None:
    for text in ALLOWED:
        path = parse(text)
        if not path.many:
            again = walked(path.steps)
            assert (again.text, again.read(FACTS)) == (render(path.steps), path.read(FACTS))


@pytest.mark.parametrize("steps", [("node", -1), ("patch", "missing", True), ("node", "tags", "[*]"), ("account", 0)])
def test_steps_that_no_path_has_are_refused(steps: tuple[Any, ...]) -> None:
    with pytest.raises(PathError):
        walked(steps)


# --- reading --------------------------------------------------------------------------------------------------------

_SCALAR = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2))
_ANY = st.recursive(
    _SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["account", "node", "tags", "App", "patch", "missing", "severity", "class"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(
    _ANY,
    st.sampled_from(["$.account", "$.node.tags.App", "$.patch.missing[0].severity", "$.patch.missing", "$.node.tags"]),
)
def test_a_walk_finds_what_jsonpath_finds(facts: Any, text: str) -> None:
    facts = facts if isinstance(facts, dict) else {"account": facts}
    found = parse(text).read(facts)
    plain = [match.value for match in plain_parse(text).find(facts)]
    if isinstance(found, Unreadable) or found is MISSING:
        expected = plain[0] if plain else None
        right = parse(text).field
        assert right is not None
        kind = {Type.STRING: str, Type.LIST: list, Type.MAP: dict}[right.type]
        assert expected is None or not isinstance(expected, kind)
    else:
        assert plain == [found]


@given(_ANY)
def test_a_filter_never_raises_and_never_trusts_a_malformed_item(missing: Any) -> None:
    found = parse("$.patch.missing[?@.class == 'a'].severity").read({"patch": {"missing": missing}})
    sound = isinstance(missing, list) and all(
        isinstance(item, dict) and isinstance(item.get("class"), str) and isinstance(item.get("severity"), str)
        for item in missing
    )
    assert isinstance(found, Unreadable) is not sound
    if sound:
        assert found == [item["severity"] for item in missing if item["class"] == "a"]


_WORD = st.sampled_from(["a", "b", ""])
_NAME = st.sampled_from(["id", "class", "severity"])
_ITEMS = st.lists(st.fixed_dictionaries({"id": _WORD, "class": _WORD, "severity": _WORD}), max_size=4)
_TESTS = st.recursive(
    st.one_of(
        st.builds(
            "@.{} {} '{}'".format, st.sampled_from(["id", "class", "severity"]), st.sampled_from(["==", "!="]), _WORD
        ),
        st.builds("{}@.{}".format, st.sampled_from(["", "!"]), _NAME),
    ),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=5,
)


@given(_TESTS, st.sampled_from(["", ".id"]), _ITEMS)
def test_a_filter_keeps_what_jsonpath_keeps(test: str, last: str, items: list[dict[str, str]]) -> None:
    text, facts = f"$.patch.missing[?{test}]{last}", {"patch": {"missing": items}}
    assert parse(text).read(facts) == [match.value for match in plain_parse(text).find(facts)]


UNKNOWN_FACTS = [
    ("a block that was not fetched", "$.node.tags.Environment", {k: v for k, v in FACTS.items() if k != "node"}),
    ("tags that could not be read", "$.node.tags.Environment", {"node": {"id": NODE.id}}),
    ("a block that is nothing", "$.node.tags.Environment", {"node": None}),
    ("a block of another type", "$.node.tags.Environment", {"node": "i-1"}),
    ("a tag that is no text", "$.node.tags.Environment", {"node": {"tags": {"Environment": 7}}}),
    ("a number that is a boolean", "$.patch.counts.missing", {"patch": {"counts": {"missing": True}}}),
    ("a count that is not there", "$.patch.counts.missing", {"patch": {"counts": {}}}),
    ("a moment without a zone", "$.patch.operation_end", {"patch": {"operation_end": "2026-11-23T12:00:00"}}),
    ("patches that were not fetched", "$.patch.missing[*].severity", {"patch": {"counts": {}}}),
    ("patches that are no list", "$.patch.missing[*].severity", {"patch": {"missing": {"severity": "Low"}}}),
    ("a patch that is no map", "$.patch.missing[*].severity", {"patch": {"missing": ["KB1"]}}),
    ("a tag that is no text among others", "$.node.tags[*]", {"node": {"tags": {"a": "b", "c": 1}}}),
]


@pytest.mark.parametrize(
    ("path", "facts"), [case[1:] for case in UNKNOWN_FACTS], ids=[case[0] for case in UNKNOWN_FACTS]
)
def test_what_is_not_known_answers_unknown_to_every_operator(path: str, facts: dict[str, Any]) -> None:
    found = parse(path)
    assert found.field is not None
    value: Any = {Type.NUMBER: 1, Type.MOMENT: "2026-01-01T00:00:00Z"}.get(found.field.type, "x")
    for operand, name in [
        (value, "equals"),
        (value, "not_equals"),
        ([value], "in"),
        ([value], "not_in"),
        (True, "exists"),
        (True, "absent"),
    ]:
        for missing in (False, True):
            assert ask(path, name, operand, facts, if_missing=missing) is Truth.UNKNOWN


MISSING_FACTS = [
    ("a tag that the node does not have", "$.node.tags.Cluster", FACTS),
    ("a detail that the event does not have", "$.detail.configRuleName", FACTS),
    ("a detail inside a part that is not there", "$.detail.newEvaluationResult.annotation", FACTS),
    (
        "a detail inside a part that is null",
        "$.detail.oldEvaluationResult.complianceType",
        {"detail": {"oldEvaluationResult": None}},
    ),
    ("an optional field that is null", "$.node.group", FACTS),
    ("an item that the list does not have", "$.patch.missing[9].severity", FACTS),
    ("a filter that finds nothing", "$.patch.missing[?@.class == 'None'].severity", FACTS),
]


@pytest.mark.parametrize(
    ("path", "facts"), [case[1:] for case in MISSING_FACTS], ids=[case[0] for case in MISSING_FACTS]
)
def test_what_is_missing_is_false_unless_it_counts_as_true(path: str, facts: dict[str, Any]) -> None:
    for name, operand in [
        ("equals", "x"),
        ("not_equals", "x"),
        ("in", ["x"]),
        ("not_in", ["x"]),
        ("starts_with", "x"),
        ("glob", "*"),
    ]:
        assert ask(path, name, operand, facts) is Truth.FALSE
        assert ask(path, name, operand, facts, if_missing=True) is Truth.TRUE
    assert ask(path, "exists", True, facts) is Truth.FALSE
    assert ask(path, "absent", True, facts) is Truth.TRUE


# --- operators ------------------------------------------------------------------------------------------------------

ANSWERS = [
    ("$.account", "equals", "111122223333", True),
    ("$.account", "equals", "444455556666", False),
    ("$.account", "not_equals", "444455556666", True),
    ("$.node.tags.App", "in", ["web", "batch"], True),
    ("$.node.tags.App", "in", ["batch"], False),
    ("$.node.tags.App", "not_in", ["batch"], True),
    ("$.node.tags.App", "not_in", ["web"], False),
    ("$.patch.counts.missing", "gt", 2, False),
    ("$.patch.counts.missing", "gte", 2, True),
    ("$.patch.counts.missing", "lt", 2.5, True),
    ("$.patch.counts.missing", "lte", 1, False),
    ("$.patch.operation_end", "lt", "2026-11-23T13:00:00+01:00", True),
    ("$.patch.operation_end", "gte", "2026-11-23T12:58:00+01:00", True),
    ("$.patch.pending_reboot", "equals", False, True),
    ("$.node.tags.App", "starts_with", "we", True),
    ("$.node.tags.App", "ends_with", "we", False),
    ("$.node.tags.App", "glob", "w?[a-c]", True),
    ("$.node.tags.App", "glob", "W*", False),
    ("$.node.tags.App", "glob", "we", False),
    ("$.node.tags.App", "exists", True, True),
    ("$.node.tags.App", "absent", True, False),
    ("$.patch.missing", "count", {"equals": 2}, True),
    ("$.patch.missing", "count", {"gt": 1, "lt": 2}, False),
    ("$.patch.missing[?@.class == 'Security']", "count", {"gte": 1, "lte": 1}, True),
    ("$.patch.missing[?@.class == 'Security' && @.severity == 'Low']", "exists", True, False),
    ("$.patch.missing[?@.class == 'Security' && @.severity == 'Low']", "absent", True, True),
    ("$.patch.missing[?@.class == 'Bugfix'].state", "equals", "FAILED", True),
    ("$.patch.missing[0].severity", "equals", "Critical", True),
    ("$.node.tags[*]", "equals", "web", True),
]


@pytest.mark.parametrize(("path", "operator", "operand", "answer"), ANSWERS)
def test_an_operator_answers_as_its_name_says(path: str, operator: str, operand: Any, answer: bool) -> None:
    assert ask(path, operator, operand) is (Truth.TRUE if answer else Truth.FALSE)


def test_every_operator_is_tried() -> None:
    assert {operator for _, operator, _, _ in ANSWERS} == set(OPERATORS)


def test_of_several_values_one_must_match_or_all() -> None:
    path = "$.patch.missing[*].severity"
    assert ask(path, "equals", "Critical") is Truth.TRUE
    assert ask(path, "equals", "Critical", match="all") is Truth.FALSE
    assert ask(path, "in", ["Critical", "Low"], match="all") is Truth.TRUE


def test_all_of_nothing_is_missing_and_not_true() -> None:
    nothing: dict[str, Any] = {"patch": {"missing": []}}
    assert ask("$.patch.missing[*].severity", "equals", "Critical", nothing, match="all") is Truth.FALSE


def test_a_glob_cannot_be_made_to_hang() -> None:
    facts = {"node": {"tags": {"App": "a" * 5000}}}
    assert ask("$.node.tags.App", "glob", "*a" * 50 + "b", facts) is Truth.FALSE


@pytest.mark.parametrize(
    ("path", "operator", "operand"),
    [
        ("$.node.tags.App", "gt", "a"),
        ("$.node.tags.App", "count", {"gte": 1}),
        ("$.node.tags.App", "equals", 5),
        ("$.node.tags.App", "equals", ["web"]),
        ("$.node.tags.App", "in", "web"),
        ("$.node.tags.App", "in", []),
        ("$.node.tags.App", "exists", False),
        ("$.node.tags", "equals", "web"),
        ("$.patch.missing", "exists", True),
        ("$.patch.missing", "count", {}),
        ("$.patch.missing", "count", {"gte": -1}),
        ("$.patch.missing", "count", {"about": 1}),
        ("$.patch.missing[?@.class == 'a']", "equals", "a"),
        ("$.patch.counts.missing", "equals", True),
        ("$.patch.counts.missing", "gt", "1"),
        ("$.patch.operation_end", "lt", "soon"),
        ("$.patch.pending_reboot", "equals", 0),
    ],
)
def test_an_operator_that_cannot_apply_is_refused_when_it_is_made(path: str, operator: str, operand: Any) -> None:
    with pytest.raises(PolicyError):
        Condition.of(parse(path), operator, operand)


# --- three values ---------------------------------------------------------------------------------------------------

T, F, U = Truth.TRUE, Truth.FALSE, Truth.UNKNOWN


def test_the_three_values_combine_as_kleene_says() -> None:
    assert [~value for value in (T, F, U)] == [F, T, U]
    assert every([]) is T
    assert some([]) is F
    for left, right in product(Truth, repeat=2):
        assert every([left, right]) is (F if F in (left, right) else U if U in (left, right) else T)
        assert some([left, right]) is (T if T in (left, right) else U if U in (left, right) else F)


def clause(answer: Truth) -> Clause:
    path, wanted = {
        T: ("$.account", "111122223333"),
        F: ("$.account", "444455556666"),
        U: ("$.node.kind", "ec2"),
    }[answer]
    return Clause(Condition.of(parse(path), "equals", wanted), None)


_GROUP = st.lists(st.sampled_from(Truth), max_size=3)


@given(_GROUP, _GROUP, _GROUP)
def test_the_groups_are_all_of_and_one_of_and_none_of(all_: list[Truth], any_: list[Truth], none: list[Truth]) -> None:
    when = When(*(tuple(map(clause, group)) for group in (all_, any_, none)))
    facts = {name: value for name, value in FACTS.items() if name != "node"}
    one = some(any_) if any_ else T
    assert when.judge(Readings(facts)) is every([every(all_), one, ~some(none)])
