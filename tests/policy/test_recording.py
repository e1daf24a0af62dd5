"""A recorded decision is decided again from its fixture; another name hides whatever no policy names."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import wiring
from chalicelib.core.facts import gather
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation, State, advance
from chalicelib.intake import receive
from patchwarden.cli import cli
from patchwarden.policy.compile import compiled, read_directory
from patchwarden.policy.fixtures import read_fixtures
from patchwarden.policy.past import PastDecision, decision, newest
from patchwarden.policy.recording import Pseudonyms, fixture_of, to_yaml
from tests.policy.test_testing import SET
from tests.sets import NODE, NOW, finding, machine, policy, policy_set, scan, tag
from tests.verbs.conftest import World

SHIPPED = Path(__file__).parents[2] / "policies"
TAGS = {"Environment": "prod", "App": "payments", "Owner": "jane@example.com", "Name": "payments-7"}
POLICIES = """\
id: by-tag
title: Prod waits
owner: secops@example.com
when:
  all:
    - {path: $.node.tags.Environment, equals: prod}
    - {path: $.node.tags.App, glob: "pay*"}
    - {path: $.node.tags.Owner, exists: true}
then: {action: remediate, window: saturday}
tests: []
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "policies"
    there.mkdir()
    (there / "_set.yaml").write_text(SET)
    (there / "by-tag.yaml").write_text(POLICIES)
    served = World(policies=PolicySet.load(compiled(read_directory(there))))
    served.node(tags=TAGS, group="payments-asg")
    wiring.use(served.ports)
    yield served
    wiring.use(None)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["policy", *words], catch_exceptions=False)


def facts_of(directory: Path, name: str) -> dict[str, Any]:
    fixture = read_fixtures(directory)[0][name]
    assert fixture is not None
    return fixture.facts


def without_nothing(value: Any) -> Any:
    """The value without the entries that are None: missing is missing, however it is written."""
    if isinstance(value, dict):
        return {name: without_nothing(inside) for name, inside in value.items() if inside is not None}
    return [without_nothing(item) for item in value] if isinstance(value, list) else value


# --- the same facts -------------------------------------------------------------------------------------------------


def test_a_recorded_node_gives_a_fixture_with_the_very_facts_and_a_test_that_passes(world: World) -> None:
    world.say()
    result = run("record", NODE.id, "--as", "taken-down")
    assert result.exit_code == 0, result.output
    facts = facts_of(Path("policies/fixtures"), "taken-down")
    assert without_nothing(facts) == without_nothing(world.ledger.trail(world.case().id)[0].evidence["facts"])
    test = yaml.safe_load(result.stdout)[0]
    assert (test["event"], test["expect"]) == ("taken-down", {"action": "remediate", "policy": "by-tag"})
    listed = "".join(f"  {line}\n" for line in result.stdout.splitlines())
    Path("policies/by-tag.yaml").write_text(POLICIES.replace("tests: []\n", f"tests:\n{listed}"))
    assert run("test").exit_code == 0


def test_a_decision_is_recorded_as_it_was_and_not_as_it_is(world: World) -> None:
    world.say()
    world.node(tags={"Environment": "dev"})
    world.pass_minutes(30)
    world.say()
    assert run("record", f"{world.case().id}#1", "--as", "before").exit_code == 0
    assert facts_of(Path("policies/fixtures"), "before")["node"]["tags"] == TAGS
    newer = run("record", NODE.id, "--as", "after")
    assert facts_of(Path("policies/fixtures"), "after")["node"]["tags"] == {"Environment": "dev"}
    assert yaml.safe_load(newer.stdout)[0]["expect"] == {"action": "observe", "policy": "none"}


def test_the_pause_after_a_failed_attempt_is_recorded_too(world: World) -> None:
    world.policies = policy_set()
    execution = world.start()
    world.pass_minutes(10)
    world.end(execution, "Failed")
    world.say()
    past = newest(world.ledger, NODE)
    assert past is not None
    assert fixture_of(past)["history"]["cools_until"] == format_moment(NOW + timedelta(minutes=45))


_MAYBE = st.sampled_from([True, False])
_STATES = st.sampled_from([State.OPEN, State.WAITING, State.QUEUED, State.TICKETED, State.EXEMPT, State.RESOLVED])


@st.composite
def past_decisions(draw: st.DrawFn) -> PastDecision:
    node = draw(st.sampled_from([NODE, Node("444455556666", "us-east-1", "mi-0fedcba9876543210")]))
    case = Remediation(node, Control.PATCH, state=draw(_STATES), attempts=draw(st.integers(0, 3)),
                       first_seen=draw(st.sampled_from([None, NOW - timedelta(days=3)])),
                       last_outcome=draw(st.sampled_from([None, "it failed: yes", "off"])))  # fmt: skip
    detail = draw(st.sampled_from([{}, {"severity": "critical", "patch-baseline-id": "pb-0123456789abcdef0"}]))
    said = Finding(
        node, Control.PATCH, False, NOW, draw(st.sampled_from(Source)), draw(st.sampled_from([None, "on"])), detail
    )
    tags = draw(st.sampled_from([None, {}, {"on": "012", "A:b/c": "12:30:00", "Owner": "é\n- x"}]))
    state = machine(id=node.id, kind=node.kind, tags=tags, ping=draw(st.sampled_from(["Online", None])))
    patches = draw(st.sampled_from([None, (), scan().patches]))
    facts = gather(said, case, state if draw(_MAYBE) else None, scan(patches=patches) if draw(_MAYBE) else None)
    told = {"key": said.key, "source": said.source, "control": "patch", "compliant": False,
            "observed_at": format_moment(NOW), "rule": said.rule}  # fmt: skip
    return PastDecision(
        case, advance(case, Cause.NOTED, because="x", now=NOW, evidence={"finding": told, "facts": facts})
    )


@given(past_decisions())
def test_whatever_was_known_is_known_again(tmp_path_factory: pytest.TempPathFactory, past: PastDecision) -> None:
    directory = tmp_path_factory.mktemp("fixtures")
    (directory / "recorded.yaml").write_text(to_yaml(fixture_of(past)), encoding="utf-8")
    found, sources = read_fixtures(directory)
    fixture = found["recorded"]
    assert fixture is not None, [problem.text() for source in sources for problem in source.problems]
    assert without_nothing(fixture.facts) == without_nothing(past.facts)
    assert fixture.finding == past.finding
    before = past.case
    if before.state is State.RESOLVED:  # what its last episode took is no fact of the next one
        before = replace(before, attempts=0, first_seen=past.finding.observed_at)
    assert fixture.case == before or past.case.first_seen is None


# --- other names ----------------------------------------------------------------------------------------------------


def test_other_names_hide_ids_and_tags_that_no_policy_names(world: World) -> None:
    world.say()
    result = run("record", NODE.id, "--anonymise", "--as", "somebody")
    text = Path("policies/fixtures/somebody.yaml").read_text()
    for secret in (NODE.account, NODE.id, "jane", "payments-7", "payments-asg", "Name", "pb-0123456789abcdef0"):
        assert secret not in text + result.stdout
    tags = yaml.safe_load(text)["node"]["tags"]
    assert (tags["Environment"], tags["App"]) == ("prod", "payments"), "what policies name or glob stays"
    assert tags["Owner"].startswith("value-"), "what is only looked for keeps its name"
    assert yaml.safe_load(result.stdout)[0]["expect"] == {"action": "remediate", "policy": "by-tag"}
    assert "another answer" not in result.stderr


def test_other_names_have_the_form_of_the_old_ones(world: World) -> None:
    world.say()
    run("record", NODE.id, "--anonymise", "--as", "somebody")
    finding = yaml.safe_load(Path("policies/fixtures/somebody.yaml").read_text())["finding"]
    assert re.fullmatch(r"\d{12}", finding["account"])
    assert re.fullmatch(r"i-[0-9a-f]{17}", finding["node"])
    assert read_directory(Path("policies")).sound


def test_other_names_are_the_same_every_time_and_the_file_is_called_by_them(world: World) -> None:
    world.say()
    assert run("record", NODE.id, "--anonymise").exit_code == 0
    (file,) = Path("policies/fixtures").iterdir()
    assert NODE.id not in file.name
    first = file.read_text()
    assert run("record", NODE.id, "--anonymise").exit_code == 0
    assert [path.read_text() for path in Path("policies/fixtures").iterdir()] == [first]
    assert Path(".patchwarden/anonymise.key").stat().st_mode & 0o077 == 0, "the key is nobody else's to read"


def test_other_names_hang_on_the_key() -> None:
    mine, yours = (Pseudonyms(key, policy_set()) for key in (b"mine", b"yours"))
    assert mine.account(NODE.account) == mine.account(NODE.account) != yours.account(NODE.account)


def test_accounts_that_policies_name_stay() -> None:
    rolled = policy(rollout={"percent": 100, "accounts": [NODE.account]})
    account = {**tag("x", NODE.account), "path": "$.account", "steps": ["account"]}
    for policies in (policy_set(rolled), policy_set(policy("a", account))):
        assert Pseudonyms(b"key", policies).account(NODE.account) == NODE.account


def test_an_event_of_config_names_nobody_either(world: World) -> None:
    event = json.loads((SHIPPED.parent / "tests/events/config_patch_non_compliant.json").read_text())
    node = Node(event["account"], event["region"], "i-0a1b2c3d4e5f60718")
    world.node(node, tags=TAGS)
    receive(world.ports, event)
    past = newest(world.ledger, node)
    assert past is not None
    text = to_yaml(Pseudonyms(b"key", world.policies).fixture(fixture_of(past)))
    for secret in (node.account, node.id, past.finding.rule or "no rule"):
        assert secret not in text
    assert "AWS::SSM::ManagedInstanceInventory/i-" in text


def test_an_answer_that_the_names_would_change_is_told(world: World) -> None:
    world.policies = policy_set(
        policy("by-tag", tag("Environment", "prod"), rollout={"percent": 100, "accounts": None})
    )
    world.say()
    Path("policies/by-tag.yaml").write_text(POLICIES.replace("equals: prod", "equals: dev"))
    assert "what was decided then was another answer (by-tag: remediate)" in run("record", NODE.id).stderr


# --- what cannot be recorded ----------------------------------------------------------------------------------------


def test_a_file_that_says_something_else_is_not_overwritten(world: World) -> None:
    world.say()
    run("record", NODE.id, "--as", "taken")
    first = Path("policies/fixtures/taken.yaml").read_text()
    world.node(tags={})
    world.pass_minutes(30)
    world.say()
    result = run("record", NODE.id, "--as", "taken")
    assert result.exit_code == 1
    assert "is there already and says something else" in result.output
    assert Path("policies/fixtures/taken.yaml").read_text() == first


@pytest.mark.parametrize(("what", "name", "says"), [
    (NODE.id, "../escape", "cannot be the name of a fixture"),
    ("i-0000000000000000f", "x", "nothing is recorded about"),
    ("111122223333.eu-west-1.i-0123456789abcdef0.patch#7", "x", "so no line 7"),
])  # fmt: skip
def test_what_cannot_be_recorded_is_said(world: World, what: str, name: str, says: str) -> None:
    world.say()
    result = run("record", what, "--as", name)
    assert result.exit_code == 1
    assert says in result.output
    assert not list(Path().glob("**/escape.yaml"))


def test_a_finding_that_says_compliant_is_no_policys_decision(world: World) -> None:
    world.say()
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=1), missing=0, patches=()))
    world.say(compliant=True, at=NOW + timedelta(minutes=2))
    result = run("record", f"{world.case().id}#2")
    assert result.exit_code == 1
    assert "no policy is asked about that" in result.output


def test_a_past_decision_gives_its_finding_back(world: World) -> None:
    world.say()
    past = decision(world.ledger, f"{world.case().id}#1")
    assert past.finding == replace(finding(), detail=past.finding.detail)
    shutil.rmtree("policies")
    assert past.id == f"{NODE.account}.{NODE.region}.{NODE.id}.patch#1"
