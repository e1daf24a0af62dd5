"""A compiled set is loaded whole or refused in one sentence."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.chain import canonical
from chalicelib.core.compiled import digest_of, digest_of_policy
from chalicelib.core.errors import PolicyError
from chalicelib.core.nodes import Location
from chalicelib.core.policies import Band, Mode, PolicySet
from chalicelib.core.then import Action
from patchwarden.policy.compile import compiled_text, load_directory
from tests.sets import policy, policy_set, tag

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "policies"


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    document = load_directory(SHIPPED).document
    assert document is not None
    return document


def sealed(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "digest": digest_of(document)}


def places(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*steps, key)
        yield from places(value[key], (*steps, key))


def changed(document: dict[str, Any], steps: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    other = copy.deepcopy(document)
    inside: Any = other
    for step in steps[:-1]:
        inside = inside[step]
    change(inside, steps[-1])
    return other


# --- what a set says ------------------------------------------------------------------------------------------------


def test_the_shipped_set_loads_with_what_its_files_say(shipped: dict[str, Any]) -> None:
    policies = PolicySet.load(shipped)
    critical = policies.policy("prod-critical-24h")
    assert critical is not None
    assert (critical.band, critical.mode, critical.priority) == (Band.STANDARD, Mode.ENFORCE, 30)
    assert (critical.then.action, critical.then.window) == (Action.REMEDIATE, "prod-night")
    assert (critical.then.deadline, critical.then.cooldown) == (timedelta(hours=24), timedelta(hours=1))
    assert (critical.then.limits.max_errors, critical.then.limits.concurrency) == ("1", "10%")
    assert [(limit.by, limit.tag, limit.max) for limit in critical.then.limits.per_group] == [("tag", "Cluster", 1)]
    assert critical.origin == "prod-critical-24h.yaml:2"
    exempt = policies.policy("legacy-erp-exempt")
    assert exempt is not None
    assert exempt.expires == exempt.then.until == datetime(2027, 3, 31, tzinfo=UTC)
    assert exempt.then.approved is not None
    assert (exempt.then.approved.on, exempt.then.approved.ticket) == ("2026-11-02", "RISK-2041")


def test_the_settings_are_those_of_set_yaml(shipped: dict[str, Any]) -> None:
    settings = PolicySet.load(shipped).settings
    assert (settings.linger, settings.verify_within) == (timedelta(minutes=5), timedelta(hours=2))
    assert len(settings.locations) == 6
    assert Location("777788889999", "us-east-1") in settings.locations
    assert settings.windows["prod-saturday"].duration == timedelta(hours=4)
    assert settings.freezes[0].since == datetime(2026, 12, 19, tzinfo=UTC)
    assert settings.freezes[0].reason == "No changes while the year is closed"


def test_only_blocks_that_some_judged_policy_touches_are_asked_for() -> None:
    counts = {"path": "$.patch.counts.critical", "steps": ["patch", "counts", "critical"], "operator": "gte",
              "operand": 1, "match": "any", "if_missing": False, "line": 1}  # fmt: skip
    single = {**counts, "path": "$.patch.missing[*].severity", "steps": None, "operator": "equals", "operand": "Low"}
    assert policy_set(policy("a")).blocks == set()
    assert policy_set(policy("a", tag("App", "web"))).blocks == {"node"}
    assert policy_set(policy("a", counts)).blocks == {"patch"}
    assert policy_set(policy("a", single, mode="shadow")).blocks == {"patch", "patch.missing"}
    assert policy_set(policy("a", single, mode="off")).blocks == set()
    budget = {"max_failures": "5", "within": 86400}
    assert policy_set(policy("a", error_budget=budget)).blocks == {"patch", "patch.missing"}


def test_policies_stand_in_rank_order_whatever_the_order_of_the_document() -> None:
    listed = [
        policy("a-default", band="default"),
        policy("b-standard"),
        policy("c-standard", priority=5),
        policy("d-ticket", action="ticket"),
        policy("e-guard", band="guardrail", action="ticket"),
        policy("f-emergency", band="emergency"),
    ]
    wanted = ["e-guard", "f-emergency", "d-ticket", "c-standard", "b-standard", "a-default"]
    for order in (listed, listed[::-1], listed[3:] + listed[:3]):
        assert [one.id for one in policy_set(*order).policies] == wanted


def test_one_condition_of_many_policies_is_one_object() -> None:
    first, second = policy_set(policy("a", tag("App", "web")), policy("b", {**tag("App", "web"), "line": 7})).policies
    assert first.when.all[0].condition is second.when.all[0].condition
    assert (first.when.all[0].line, second.when.all[0].line) == (None, 7)


def test_a_policys_digest_is_of_its_meaning_and_not_of_its_place() -> None:
    one = policy("a", tag("App", "web"))
    moved = {**one, "origin": "elsewhere.yaml:40", "when": {**one["when"], "all": [{**tag("App", "web"), "line": 44}]}}
    other = policy("a", tag("App", "batch"))
    assert digest_of_policy(one) == digest_of_policy(moved) != digest_of_policy(other)
    assert policy_set(one).policies[0].digest == digest_of_policy(one)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_another_version_of_the_format_is_refused(shipped: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="format version 2, this service reads 1"):
        PolicySet.load(sealed({**shipped, "version": 2}))


@pytest.mark.parametrize("document", [None, [], "x", 7, {}, {"version": 1}, {"version": 1, "digest": "x"}])
def test_what_is_no_document_is_refused(document: object) -> None:
    with pytest.raises(PolicyError):
        PolicySet.load(document)


def test_every_changed_byte_is_refused() -> None:
    text, _ = compiled_text(SHIPPED)
    assert text is not None
    for position in range(0, len(text), 7):
        broken = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
        try:
            document = json.loads(broken)
        except json.JSONDecodeError:
            continue
        with pytest.raises(PolicyError):
            PolicySet.load(document)


def drop(inside: Any, key: Any) -> None:
    del inside[key]


def retype(inside: Any, key: Any) -> None:
    inside[key] = {"unheard": "of"} if not isinstance(inside[key], dict) else ["unheard", "of"]


def widen(inside: Any, key: Any) -> None:
    if isinstance(inside[key], dict):
        inside[key]["unheard"] = "of"


FREE = ("operand", "parameters", "accounts", "regions", "windows", "documents", "policies", "freezes", "all", "steps",
        "schedules", "exclude", "units", "values", "waves")  # fmt: skip
"""Maps and lists whose keys are the author's: one entry less or more is another set, not a malformed one."""


LATER = {"schedule_offset", "hooks", "output", "waves", "error_budget", "surge", "stale_after", "units"}
"""What a set of an earlier release does not have."""


def test_a_document_with_a_right_digest_but_a_missing_part_is_refused(shipped: dict[str, Any]) -> None:
    for steps in places(shipped):
        if steps[0] == "digest" or steps[-1] in LATER or (len(steps) > 1 and steps[-2] in FREE):
            continue
        with pytest.raises(PolicyError):
            PolicySet.load(sealed(changed(shipped, steps, drop)))


def test_a_set_that_was_compiled_before_there_were_guards_still_loads(shipped: dict[str, Any]) -> None:
    older = shipped
    later = [
        one for one in places(shipped) if one[-1] in LATER - {"schedule_offset"} and one[-2:] != ("where", "units")
    ]
    for steps in later:
        older = changed(older, steps, drop)
    policies = PolicySet.load(sealed(older))
    assert policies.settings.surge is None
    assert {(policy.then.waves, policy.then.limits.error_budget) for policy in policies.policies} == {((), None)}


def test_a_document_with_a_right_digest_but_a_part_of_another_type_is_refused(shipped: dict[str, Any]) -> None:
    for steps in places(shipped):
        if steps[0] != "digest":
            with pytest.raises(PolicyError):
                PolicySet.load(sealed(changed(shipped, steps, retype)))


def test_a_document_with_a_part_that_we_do_not_know_is_refused(shipped: dict[str, Any]) -> None:
    for steps in places(shipped):
        inside: Any = shipped
        for step in steps:
            inside = inside[step]
        if isinstance(inside, dict) and steps[-1] not in ("parameters", "windows", "units"):
            with pytest.raises(PolicyError):
                PolicySet.load(sealed(changed(shipped, steps, widen)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("band", "urgent"),
        ("mode", "loud"),
        ("action", "reboot"),
        ("reboot", "always"),
        ("stopped", "delete"),
        ("on_deadline", "pray"),
        ("window", "never-defined"),
        ("expires", "2027-01-01"),
        ("deadline", -5),
        ("severity", True),
    ],
)
def test_a_word_that_no_policy_may_use_is_refused(name: str, value: Any) -> None:
    with pytest.raises(PolicyError):
        policy_set(policy("a", **{name: value}))


@pytest.mark.parametrize(
    "clause",
    [
        {"operator": "matches"},
        {"match": "some"},
        {"operand": 5},
        {"steps": ["node", "tags", "Other"]},
        {"steps": ["node", "tagz", "App"]},
        {"steps": ["node", "tags", -1]},
        {"steps": None, "path": "$..App"},
        {"steps": None, "path": "$.node.tags.App["},
    ],
)
def test_a_condition_that_the_workbench_would_not_write_is_refused(clause: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        policy_set(policy("a", {**tag("App", "web"), **clause}))


def test_two_policies_with_one_id_are_refused() -> None:
    with pytest.raises(PolicyError, match="same id"):
        policy_set(policy("a"), policy("a", priority=3))


def test_a_refusal_is_one_sentence() -> None:
    with pytest.raises(PolicyError) as refused:
        policy_set(policy("a", {**tag("App", "web"), "operand": ["x\n" * 500]}))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


@given(st.sampled_from(["settings", "policies", "schedules"]), _JSON)
def test_whatever_stands_in_a_part_it_loads_or_is_a_policy_error(name: str, value: Any) -> None:
    good: dict[str, Any] = {"version": 1, "settings": {}, "policies": [], "schedules": []}
    with pytest.raises(PolicyError):
        PolicySet.load(sealed({**good, name: value}))


# --- cost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "steps", "loaded"), [
    ("$.node.tags.App", ["node", "tags", "App"], False),
    ("$.patch.missing[0].id", ["patch", "missing", 0, "id"], False),
    ("$.patch.missing[*].id", None, True),
])  # fmt: skip
def test_jsonpath_is_imported_only_if_a_path_of_the_set_searches(path: str, steps: Any, loaded: bool) -> None:
    clause = {**tag("App", "web"), "path": path, "steps": steps}
    document = {"version": 1, "settings": SETTINGS, "policies": [policy("a", clause)], "schedules": []}
    code = (
        "import json, sys; from chalicelib.core.policies import PolicySet; PolicySet.load(json.loads(sys.argv[1]));"
        "print('jsonpath_ng' in sys.modules, 'yaml' in sys.modules, 'pydantic' in sys.modules)"
    )
    command = [sys.executable, "-c", code, canonical(sealed(document))]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == [str(loaded), "False", "False"]


SETTINGS = {
    "linger": 300,
    "verify_within": 3600,
    "executions_per_location": 20,
    "freezes": [],
    "documents": [],
    "surge": None,
    "scope": {"accounts": ["111122223333"], "regions": ["eu-west-1"]},
    "windows": {},
}
