"""From YAML files to a decision: compiled and loaded policies decide as the files read, taken word by word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.chain import canonical
from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.evaluation import judge
from chalicelib.core.facts import gather
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.core.rollouts import number
from patchwarden.policy.compile import compiled_text
from tests.sets import NODE, NOW, finding, machine, scan

CASE = Remediation(NODE, finding().control)
SET = """\
scope: {accounts: ["111122223333", "444455556666"], regions: [eu-west-1]}
windows:
  saturday: {cron: "0 2 ? * SAT *", zone: UTC, duration: 4h}
tests: {at_least: 0, both_outcomes: false}
"""

# --- policies as their authors write them ---------------------------------------------------------------------------

_VALUE = st.sampled_from(["a", "b", "c"])
_TAG = st.sampled_from(["X", "Y", "a b"])


def _tag(name: str) -> str:
    return f"$.node.tags.{name}" if name.isalpha() else f"$.node.tags['{name}']"


_CONDITION = st.one_of(
    st.builds(lambda name, value, miss: {"path": _tag(name), "equals": value, "if_missing": miss},
              _TAG, _VALUE, st.booleans()),
    st.builds(lambda name, values: {"path": _tag(name), "in": values}, _TAG, st.lists(_VALUE, min_size=1, max_size=2)),
    st.builds(lambda name, value, miss: {"path": _tag(name), "not_equals": value, "if_missing": miss},
              _TAG, _VALUE, st.booleans()),
    st.builds(lambda name: {"path": _tag(name), "exists": True}, _TAG),
    st.builds(lambda name: {"path": _tag(name), "absent": True}, _TAG),
    st.builds(lambda least: {"path": "$.patch.counts.critical", "gte": least}, st.integers(1, 3)),
)  # fmt: skip
_FEW = st.lists(_CONDITION, min_size=1, max_size=2)
_WHEN = st.one_of(
    st.fixed_dictionaries({"all": _FEW}), st.fixed_dictionaries({"all": _FEW, "any": _FEW}),
    st.fixed_dictionaries({"any": _FEW, "none": _FEW}), st.fixed_dictionaries({"none": _FEW}),
)  # fmt: skip
_EXEMPT = {"action": "exempt", "until": "2027-01-01T00:00:00Z", "reason": "Old",
           "approved": {"by": "ciso", "on": "2026-11-01", "ticket": "RISK-1"}}  # fmt: skip
_SOON = {"expires": "2027-01-01T00:00:00Z"}
_WANTS: list[dict[str, Any]] = [
    {"then": {"action": "remediate"}}, {"then": {"action": "remediate", "window": "saturday"}},
    {"then": {"action": "approve"}}, {"then": {"action": "ticket"}}, {"then": _EXEMPT},
    {"band": "guardrail", "then": {"action": "ticket"}}, {"band": "guardrail", "then": {"action": "approve"}},
    {"band": "emergency", "then": {"action": "remediate"}, **_SOON}, {"band": "default", "then": {"action": "observe"}},
    {"band": "default", "then": {"action": "remediate"}},
]  # fmt: skip
_MODES: list[dict[str, Any]] = [
    {}, {}, {"mode": "shadow"}, {"mode": "off"},
    {"rollout": {"percent": 40}}, {"rollout": {"accounts": [NODE.account]}},
    {"rollout": {"percent": 60, "accounts": ["444455556666"]}},
]  # fmt: skip


@st.composite
def written(draw: st.DrawFn) -> list[dict[str, Any]]:
    return [
        {"id": f"p{each}", "title": "t", "owner": "o", "priority": draw(st.integers(0, 1)), "when": draw(_WHEN),
         **draw(st.sampled_from(_WANTS)), **draw(st.sampled_from(_MODES))}
        for each in range(draw(st.integers(1, 5)))
    ]  # fmt: skip


@st.composite
def known(draw: st.DrawFn) -> dict[str, Any]:
    """Facts with what may be missing: the node, its tags, the patches."""
    tags = draw(st.one_of(st.none(), st.dictionaries(_TAG, _VALUE, max_size=3)))
    node = machine(tags=tags) if draw(st.booleans()) else None
    patch = scan(critical=draw(st.integers(0, 3))) if draw(st.booleans()) else None
    return gather(finding(), CASE, node, patch)


def load(directory: Path, files: dict[str, dict[str, Any]]) -> PolicySet:
    (directory / "_set.yaml").write_text(SET)
    for name, file in files.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(file, sort_keys=False))
    text, problems = compiled_text(directory)
    assert text is not None, [problem.text() for problem in problems]
    assert canonical(json.loads(text)) == text
    return PolicySet.load(json.loads(text))


# --- the same policies, read word by word ---------------------------------------------------------------------------

_BANDS = ["guardrail", "emergency", "standard", "default"]
_ACTIONS = ["exempt", "ticket", "observe", "approve", "remediate"]
_UNKNOWN, _MISSING = object(), object()


def _found(path: str, facts: dict[str, Any]) -> Any:
    if path == "$.patch.counts.critical":
        return facts["patch"]["counts"]["critical"] if "patch" in facts else _UNKNOWN
    if "tags" not in facts.get("node", {}):
        return _UNKNOWN
    return facts["node"]["tags"].get(path.removeprefix("$.node.tags").strip(".[']"), _MISSING)


def _holds(asked: dict[str, Any], facts: dict[str, Any]) -> bool | None:
    found = _found(asked["path"], facts)
    if found is _UNKNOWN:
        return None
    if "exists" in asked or "absent" in asked:
        return (found is not _MISSING) == ("exists" in asked)
    if found is _MISSING:
        return bool(asked.get("if_missing", False))
    if "gte" in asked:
        return bool(found >= asked["gte"])
    if "not_equals" in asked:
        return bool(found != asked["not_equals"])
    return found in asked.get("in", [asked.get("equals")])


def _all(answers: list[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def _any(answers: list[bool | None]) -> bool | None:
    return True if True in answers else None if None in answers else False


def _matches(file: dict[str, Any], facts: dict[str, Any]) -> bool | None:
    held = {group: [_holds(one, facts) for one in asked] for group, asked in file["when"].items()}
    none = _any(held.get("none", []))
    return _all(
        [_all(held.get("all", [])), _any(held["any"]) if "any" in held else True, None if none is None else not none]
    )


def _acts(file: dict[str, Any]) -> bool:
    rollout = file.get("rollout", {})
    return NODE.account in rollout.get("accounts", [NODE.account]) and (
        number(file["id"], NODE.id) < rollout.get("percent", 100)
    )


def _rank(file: dict[str, Any]) -> tuple[int, int, int, str]:
    band, action = file.get("band", "standard"), file["then"]["action"]
    return _BANDS.index(band), _ACTIONS.index(action), -file["priority"], file["id"]


def by_hand(files: list[dict[str, Any]], facts: dict[str, Any]) -> tuple[str | None, list[str], list[str]]:
    """The winner, what is unknown above it, and the shadows, by nothing but the words of the files."""
    winner, doubts, shadows = None, [], []
    for file in sorted(files, key=_rank):
        mode, answer = file.get("mode", "enforce"), _matches(file, facts)
        if mode == "off":
            continue
        if mode == "shadow" or not _acts(file):
            shadows += [file["id"]] if answer else []
        elif winner is None and answer is None:
            doubts.append(file["id"])
        elif winner is None and answer:
            winner = file["id"]
    return winner, doubts, shadows


_CAUSES = {"exempt": {Cause.EXEMPTED}, "ticket": {Cause.TICKETED}, "approve": {Cause.TICKETED},
           "observe": {Cause.OBSERVED}, "remediate": {Cause.QUEUED, Cause.DEFERRED}}  # fmt: skip


@settings(max_examples=80)
@given(written(), known())
def test_compiled_and_loaded_policies_decide_as_their_files_read(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]], facts: dict[str, Any]
) -> None:
    policies = load(tmp_path_factory.mktemp("set"), {file["id"]: file for file in files})
    verdict = judge(policies, facts, NOW)
    won, doubts, shadows = by_hand(files, facts)
    assert (verdict.winner.id if verdict.winner else None) == won
    assert [doubt.policy for doubt in verdict.unknown] == doubts
    assert [shadow.id for shadow in verdict.shadows] == shadows
    made = decide(finding(), CASE, facts, policies, NOW)
    action = next((file["then"]["action"] for file in files if file["id"] == won), "observe")
    # an exemption and an emergency that meet are for a person
    assert made.cause in ({Cause.TICKETED} if doubts or verdict.against else _CAUSES[action])


# --- what never changes a decision, and what it never becomes -------------------------------------------------------


def answer(made: Decision) -> tuple[Cause, str, Any]:
    kept = {name: value for name, value in made.sets.get("decision", {}).items() if name != "set_digest"}
    return made.cause, made.because, kept


@settings(max_examples=40)
@given(written(), known(), st.randoms(use_true_random=False))
def test_the_order_and_names_of_files_never_change_a_decision(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]], facts: dict[str, Any], chance: Any
) -> None:
    names = [f"file-{each}" for each in range(len(files))]
    chance.shuffle(names)
    plain = load(tmp_path_factory.mktemp("set"), {file["id"]: file for file in files})
    shuffled = load(tmp_path_factory.mktemp("set"), dict(zip(names, files, strict=True)))
    one, other = (decide(finding(), CASE, facts, policies, NOW) for policies in (plain, shuffled))
    assert answer(one) == answer(other)


@settings(max_examples=60)
@given(written(), known(), st.sampled_from(["node", "tags", "patch"]))
def test_less_knowledge_turns_no_ticket_into_observe_and_starts_or_exempts_nothing_new(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]], facts: dict[str, Any], block: str
) -> None:
    policies = load(tmp_path_factory.mktemp("set"), {file["id"]: file for file in files})
    less = {name: value for name, value in facts.items() if name != block}
    if block == "tags" and "node" in less:
        less["node"] = {name: value for name, value in less["node"].items() if name != "tags"}
    before, after = (decide(finding(), CASE, said, policies, NOW) for said in (facts, less))
    if before.cause is Cause.TICKETED:
        assert after.cause is Cause.TICKETED
    if after.cause in (Cause.QUEUED, Cause.DEFERRED, Cause.EXEMPTED):
        assert answer(after)[0] is before.cause
        assert after.sets["decision"]["policy"] == before.sets["decision"]["policy"]


@given(known(), st.sampled_from([None, 7, True, ["a"], {"a": "b"}]))
def test_a_wrong_type_is_unknown_and_never_remediates_or_exempts(facts: dict[str, Any], wrong: object) -> None:
    from tests.sets import policy, policy_set, tag

    facts["node"] = {**facts.get("node", {}), "tags": {"X": wrong}}
    for action in ("remediate", "exempt", "observe"):
        policies = policy_set(
            policy("asks", tag("X", "a"), action=action, expires=format_moment(NOW.replace(year=2027)))
        )
        cause = decide(finding(), CASE, facts, policies, NOW).cause
        assert cause is (Cause.OBSERVED if wrong is None else Cause.TICKETED), "None is a missing tag, the rest unknown"
