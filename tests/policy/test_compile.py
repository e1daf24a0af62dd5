"""A directory of files becomes one document, and every problem of every file is told at once."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.chain import canonical
from chalicelib.core.compiled import digest_of_policy
from chalicelib.core.policies import PolicySet
from patchwarden.policy.compile import Loaded, compiled_text, load_directory
from patchwarden.policy.problems import Level, Problem
from patchwarden.policy.source import LARGEST, read
from patchwarden.policy.testing import run_tests

SHIPPED = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

POLICY = """\
id: tested
title: A policy under test
owner: secops@example.com
when:
  all:
    - {path: $.node.tags.Environment, equals: prod}
then: {action: remediate}
"""
SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
tests: {at_least: 0, both_outcomes: false}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two files: `_set.yaml` and one sound policy."""
    (tmp_path / "_set.yaml").write_text(SET)
    (tmp_path / "tested.yaml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The policies that ship, to be changed."""
    return Path(shutil.copytree(SHIPPED, tmp_path / "policies"))


def told(loaded: Loaded) -> list[tuple[str, str, int, int]]:
    return [(Path(one.file).name, one.code, one.line, one.column) for one in loaded.problems]


def document(directory: Path) -> dict[str, Any]:
    loaded = load_directory(directory, now=NOW)
    assert loaded.document is not None, loaded.problems
    return loaded.document


def only(directory: Path) -> dict[str, Any]:
    (policy,) = document(directory)["policies"]
    return dict(policy)


# --- the policies that ship -----------------------------------------------------------------------------------------


def test_the_shipped_policies_have_no_problem() -> None:
    assert load_directory(SHIPPED, now=NOW).problems == []


def test_the_shipped_policies_pass_their_own_tests() -> None:
    results = run_tests(SHIPPED)
    assert len(results) >= 16
    assert [result.text() for result in results if not result.passed] == []


def test_the_set_packed_with_the_code_is_made_of_these_policies() -> None:
    packed = SHIPPED.parent / "chalicelib" / "policies.json"
    text, _ = compiled_text(SHIPPED)
    assert packed.read_text() == f"{text}\n", "run `patchwarden policy compile -f chalicelib/policies.json`"


def test_the_shipped_set_is_what_the_organisation_asked_for() -> None:
    ids = {policy["id"]: policy["then"]["action"] for policy in document(SHIPPED)["policies"]}
    assert ids == {
        "association-ticket": "ticket",
        "cluster-one-at-a-time": "remediate",
        "dev-now": "remediate",
        "hybrid-ticket": "ticket",
        "legacy-erp-exempt": "exempt",
        "not-reporting-ticket": "ticket",
        "prod-critical-24h": "remediate",
        "prod-security-72h": "remediate",
        "prod-window": "remediate",
    }


# --- the document ---------------------------------------------------------------------------------------------------


def test_the_text_is_canonical_and_loads(directory: Path) -> None:
    text, problems = compiled_text(directory)
    assert problems == []
    assert text is not None
    assert text == canonical(json.loads(text))
    assert PolicySet.load(json.loads(text)).policies[0].id == "tested"


def test_the_names_and_order_of_files_change_no_policy_but_its_origin(copied: Path) -> None:
    before = document(copied)
    for number, file in enumerate(sorted(copied.glob("[a-z]*.yaml"), reverse=True)):
        file.rename(copied / f"{number:02}.yaml")
    after = document(copied)
    assert [digest_of_policy(policy) for policy in after["policies"]] == [
        digest_of_policy(policy) for policy in before["policies"]
    ]
    assert after["settings"] == before["settings"]


def test_the_same_files_give_the_same_digest_wherever_they_lie(copied: Path) -> None:
    assert document(copied)["digest"] == document(SHIPPED)["digest"]


def test_a_comment_changes_no_policys_digest(directory: Path) -> None:
    before = digest_of_policy(only(directory))
    (directory / "tested.yaml").write_text("# why this is so\n\n" + POLICY)
    assert digest_of_policy(only(directory)) == before
    assert only(directory)["origin"] == "tested.yaml:3"


def test_what_a_policy_leaves_out_is_what_set_yaml_says(directory: Path) -> None:
    (directory / "_set.yaml").write_text(SET + "defaults: {attempts: 4, cooldown: 2h, limits: {max_per_hour: 7}}\n")
    then = only(directory)["then"]
    assert (then["attempts"], then["cooldown"]) == (4, 7200)
    assert then["limits"] == {"concurrency": "10%", "max_errors": "10%", "max_per_hour": 7, "per_group": None,
                              "error_budget": None}  # fmt: skip


def test_what_nobody_says_is_no_more_than_the_ceiling(directory: Path) -> None:
    (directory / "_set.yaml").write_text(SET + "ceilings: {concurrency: 1, max_errors: 5%, max_per_hour: 40}\n")
    limits = only(directory)["then"]["limits"]
    assert limits == {"concurrency": "1", "max_errors": "5%", "max_per_hour": 40, "per_group": None,
                      "error_budget": None}  # fmt: skip


def test_what_a_policy_says_stands_over_set_yaml(directory: Path) -> None:
    (directory / "_set.yaml").write_text(SET + "defaults: {attempts: 4, limits: {max_per_hour: 7}}\n")
    then = POLICY.replace(
        "then: {action: remediate}", "then: {action: remediate, attempts: 2, limits: {max_per_hour: 9}}"
    )
    (directory / "tested.yaml").write_text(then)
    assert (only(directory)["then"]["attempts"], only(directory)["then"]["limits"]["max_per_hour"]) == (2, 9)


def test_a_policys_own_surge_ceiling_and_the_same_missing_set_reach_the_service(directory: Path) -> None:
    (directory / "tested.yaml").write_text(POLICY.replace("remediate}", "remediate, limits: {surge: 5%}}"))
    (directory / "_set.yaml").write_text(SET + "surge: {same: 10%}\n")
    strict = PolicySet.load(document(directory))
    assert strict.policies[0].then.limits.surge == 5
    assert strict.settings.surge and strict.settings.surge.same == 10 and "patch.missing" in strict.blocks


def test_every_name_of_one_path_compiles_to_the_same_condition(directory: Path) -> None:
    before = only(directory)["when"]
    (directory / "tested.yaml").write_text(
        POLICY.replace("$.node.tags.Environment", "\"$['node'].tags['Environment']\"")
    )
    assert only(directory)["when"] == before


def test_without_a_document_of_its_own_a_policy_remediates_patches_only(directory: Path) -> None:
    implied = only(directory)["when"]["all"][-1]
    assert (implied["path"], implied["operand"], implied["line"]) == ("$.finding.control", "patch", None)
    (directory / "tested.yaml").write_text(POLICY.replace("action: remediate", "action: ticket"))
    assert len(only(directory)["when"]["all"]) == 1


def test_with_a_document_of_its_own_it_may_remediate_an_association(directory: Path) -> None:
    (directory / "_set.yaml").write_text(SET + "documents: [Example-Repair]\n")
    own = "then:\n  action: remediate\n  document: {name: Example-Repair, version: '3', parameters: {Mode: fast}}\n"
    (directory / "tested.yaml").write_text(POLICY.replace("then: {action: remediate}\n", own))
    policy = only(directory)
    assert len(policy["when"]["all"]) == 1
    assert policy["then"]["document"] == {"name": "Example-Repair", "version": "3", "parameters": {"Mode": ["fast"]}}


def test_an_exemption_ends_with_its_until(copied: Path) -> None:
    (exempt,) = (policy for policy in document(copied)["policies"] if policy["then"]["action"] == "exempt")
    assert exempt["expires"] == exempt["then"]["until"] == "2027-03-31T00:00:00.000Z"


# --- problems -------------------------------------------------------------------------------------------------------


def test_every_problem_of_every_file_is_told_at_once(directory: Path) -> None:
    (directory / "_set.yaml").write_text(SET + "linger: soon\n")
    (directory / "a.yaml").write_text(POLICY.replace("owner:", "ower:").replace("$.node.tags", "$..tags"))
    (directory / "b.yaml").write_text(POLICY.replace("id: tested", "id: other").replace("remediate", "remediat"))
    (directory / "c.yaml").write_text("id: [")
    assert told(load_directory(directory)) == [
        ("_set.yaml", "PW206", 3, 9),
        ("a.yaml", "PW202", 1, 1),
        ("a.yaml", "PW201", 3, 1),
        ("a.yaml", "PW302", 6, 14),
        ("b.yaml", "PW204", 7, 16),
        ("c.yaml", "PW101", 2, 1),
        ("tested.yaml", "PW208", 1, 5),
    ]


def test_a_problem_reads_as_editors_and_people_read_it() -> None:
    problem = Problem("policies/a.yaml", 7, 14, "PW303", "no fact is called $.nod", "did you mean $.node.id?")
    assert problem.text() == "policies/a.yaml:7:14: PW303 no fact is called $.nod; did you mean $.node.id?"
    assert problem.to_json() == {
        "file": "policies/a.yaml", "line": 7, "column": 14, "code": "PW303", "level": "error",
        "what": "no fact is called $.nod", "hint": "did you mean $.node.id?",
    }  # fmt: skip


def test_a_file_that_cannot_be_read_is_told_once_and_not_by_the_tests_that_name_it(copied: Path) -> None:
    file = copied / "prod-window.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("title:", "\ttitle:", 1), encoding="utf-8")
    assert [(problem.code, Path(problem.file).name) for problem in load_directory(copied).errors] == [
        ("PW101", "prod-window.yaml")
    ]


def test_two_policies_with_one_id_are_told_at_the_second(directory: Path) -> None:
    (directory / "z.yaml").write_text(POLICY)
    (problem,) = load_directory(directory).problems
    assert (Path(problem.file).name, problem.code, problem.line, problem.column) == ("z.yaml", "PW208", 1, 5)
    assert "tested.yaml" in problem.what


def test_a_directory_without_set_yaml_is_no_set(directory: Path) -> None:
    (directory / "_set.yaml").unlink()
    loaded = load_directory(directory)
    assert loaded.document is None
    assert {problem.code for problem in loaded.problems} == {"PW101", "PW505"}


def test_a_file_over_one_mebibyte_is_not_read(directory: Path) -> None:
    (directory / "tested.yaml").write_text("#" * (LARGEST + 1))
    assert told(load_directory(directory)) == [("tested.yaml", "PW102", 1, 1)]


def test_a_file_that_is_not_utf_8_is_told(directory: Path) -> None:
    (directory / "tested.yaml").write_bytes(POLICY.replace("A policy", "Ä policy").encode("latin-1"))
    assert told(load_directory(directory)) == [("tested.yaml", "PW101", 1, 1)]


def test_columns_count_characters_and_lines_any_line_end(directory: Path) -> None:
    text = POLICY.replace("A policy under test", "Ünïcödé 🎉").replace("equals: prod", "equals: 5")
    (directory / "tested.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (directory / "tested.yaml").write_bytes((directory / "tested.yaml").read_bytes().replace(b"{path", b"{  path"))
    assert told(load_directory(directory)) == [("tested.yaml", "PW305", 6, 49)]


def test_an_alias_bomb_is_refused_before_it_grows(directory: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
    )
    (directory / "tested.yaml").write_text(bomb)
    assert told(load_directory(directory)) == [("tested.yaml", "PW104", 1, 4)]


def test_a_warning_alone_still_compiles(directory: Path) -> None:
    ended = POLICY.replace("owner:", "band: emergency\nexpires: 2026-01-01T00:00:00Z\nowner:")
    (directory / "tested.yaml").write_text(ended)
    loaded = load_directory(directory, now=NOW)
    assert [problem.level for problem in loaded.problems] == [Level.WARNING]
    assert loaded.errors == []
    assert loaded.document is not None


def test_the_mode_off_needs_no_quotes(directory: Path) -> None:
    (directory / "tested.yaml").write_text(POLICY + "mode: off\n")
    assert only(directory)["mode"] == "off"


def test_a_fixture_may_be_json(directory: Path) -> None:
    (directory / "fixtures").mkdir()
    fixture = yaml.safe_load((SHIPPED / "fixtures" / "prod-linux.yaml").read_text())
    (directory / "fixtures" / "prod.json").write_text(json.dumps(fixture, default=lambda moment: moment.isoformat()))
    (directory / "tested.yaml").write_text(
        POLICY + "tests:\n  - {name: now, event: prod, expect: {action: remediate, policy: tested}}\n"
    )
    assert load_directory(directory).problems == []
    assert [result.passed for result in run_tests(directory)] == [True]
    (directory / "fixtures" / "prod.json").write_text("{")
    assert ("prod.json", "PW101", 1, 2) in told(load_directory(directory))


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any-text.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    source = read(path)
    assert source.data is not None or source.problems


_KEYS = [
    "id", "title", "owner", "when", "all", "any", "path", "equals", "in", "count", "then", "action", "tests", "expect",
    "event", "set", "unset", "limits", "mode", "band", "document", "until",
]  # fmt: skip
_DATA = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 5), st.text("abc$.[]*?@='", max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(_KEYS),
            inner, max_size=5,
        ),
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["id", "title", "owner", "when", "then", "tests", "band"]), _DATA, max_size=7))
def test_no_shape_breaks_the_checks(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    directory = tmp_path_factory.getbasetemp() / "any-shape"
    directory.mkdir(exist_ok=True)
    (directory / "_set.yaml").write_text(SET)
    (directory / "any.yaml").write_text(json.dumps(data))
    loaded = load_directory(directory, now=NOW)
    assert loaded.document is not None or loaded.errors


# --- mutations of the good policies ---------------------------------------------------------------------------------


def keys(text: str) -> Iterator[int]:
    """Where each key of a policy file ends; the title and state of a patch that a test makes up are free."""
    for found in re.finditer(r"(?m)(?:^[ -]*|[{,] )(\$?[\w.]+):(?= |$)", text):
        if found[1] not in ("title", "state") or not found[0].startswith(", "):
            yield found.end(1)


def noticed(directory: Path) -> bool:
    loaded = load_directory(directory, now=NOW)
    return bool(loaded.problems) or any(not result.passed for result in run_tests(directory))


@pytest.mark.parametrize(
    "name", ["_set.yaml", "prod-critical-24h.yaml", "legacy-erp-exempt.yaml", "prod-security-72h.yaml"]
)
def test_a_slip_in_any_key_is_noticed(copied: Path, name: str) -> None:
    text = (copied / name).read_text()
    places = list(keys(text))
    assert len(places) > 10
    for place in places:
        (copied / name).write_text(text[:place] + "z" + text[place:])
        assert noticed(copied), text[:place].splitlines()[-1]


MUTATIONS: list[tuple[str, str, str]] = [
    ("dev-now.yaml", "in: [dev, staging]", "in: [dev]"),
    ("dev-now.yaml", "in: [dev, staging]", "in: [development, staging]"),
    ("dev-now.yaml", "in: [dev, staging]}", "not_in: [prod], if_missing: true}"),
    ("dev-now.yaml", "in: [dev, staging]}", "in: [dev, staging], if_missing: true}"),
    ("dev-now.yaml", "action: remediate", "action: approve"),
    ("dev-now.yaml", "band: standard", "band: emergency\nexpires: 2027-01-01T00:00:00Z"),
    ("prod-window.yaml", "window: prod-saturday", "window: prod-night"),
    ("prod-window.yaml", "  window: prod-saturday\n", ""),
    ("prod-window.yaml", "deadline: 14d", "deadline: 30d"),
    ("prod-window.yaml", "on_deadline: ticket", "on_deadline: remediate"),
    ("prod-window.yaml", "in: [prod, production]", "in: [production]"),
    ("prod-critical-24h.yaml", "priority: 30", "priority: 3"),
    ("prod-critical-24h.yaml", "count: {gte: 1}", "count: {gte: 2}"),
    ("prod-critical-24h.yaml", "count: {gte: 1}", "count: {gte: 0}"),
    ("prod-critical-24h.yaml", "== 'Critical'", "!= 'Critical'"),
    ("prod-critical-24h.yaml", "|| @.class == 'SecurityUpdates'", "|| @.class == 'Security Updates'"),
    ("prod-critical-24h.yaml", "deadline: 24h", "deadline: 30d"),
    ("prod-critical-24h.yaml", "band: standard", "band: standard\nmode: shadow"),
    ("cluster-one-at-a-time.yaml", "priority: 20", "priority: 0"),
    ("cluster-one-at-a-time.yaml", "priority: 20", "priority: 40"),
    ("cluster-one-at-a-time.yaml", "exists: true", "absent: true"),
    ("hybrid-ticket.yaml", "band: guardrail", "band: standard"),
    ("hybrid-ticket.yaml", "equals: hybrid", "equals: ec2"),
    ("hybrid-ticket.yaml", "action: ticket", "action: remediate"),
    ("legacy-erp-exempt.yaml", "equals: legacy-erp", "equals: legacy"),
    ("legacy-erp-exempt.yaml", "until: 2027-03-31", "until: 2027-04-30"),
    ("legacy-erp-exempt.yaml", "until: 2027-03-31", "until: 2028-03-31"),
    ("legacy-erp-exempt.yaml", "until: 2027-03-31", "until: 2026-03-31"),
    ("legacy-erp-exempt.yaml", "band: standard", "band: default"),
    ("prod-security-72h.yaml", "mode: shadow", "mode: enforce"),
    ("prod-security-72h.yaml", "mode: shadow", "mode: off"),
    ("prod-security-72h.yaml", "gte: 1", "gte: 0"),
    ("association-ticket.yaml", "equals: association", "equals: patch"),
    ("association-ticket.yaml", "band: default", "band: guardrail"),
    ("_set.yaml", "0 2 ? * SAT *", "0 3 ? * SAT *"),
    ("_set.yaml", "0 2 ? * SAT *", "0 2 ? * SUN *"),
    ("_set.yaml", "Europe/Dublin", "America/New_York"),
    ("_set.yaml", "duration: 4h", "duration: 1h"),
    ("_set.yaml", "until: 2027-01-04", "until: 2026-12-20"),
    ("_set.yaml", "exemption: 180d", "exemption: 90d"),
    ("_set.yaml", "max_errors: 20%", "max_errors: 5%"),
]


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_a_change_of_meaning_is_noticed_by_check_or_test(copied: Path, name: str, old: str, new: str) -> None:
    text = (copied / name).read_text()
    assert old in text
    (copied / name).write_text(text.replace(old, new, 1))
    assert noticed(copied)
