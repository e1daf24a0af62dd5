"""An explanation says who won and why the others did not, from whatever it is asked: an event, a fixture, the trail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib import wiring
from chalicelib.core.facts import gather
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from chalicelib.core.rollouts import number
from patchwarden.cli import cli
from patchwarden.explaining import Question, explain
from patchwarden.telling import laid_out, lines
from tests.sets import NODE, NOW, finding, machine, policy, policy_set, scan, tag
from tests.verbs.conftest import World, ssm_event

ROOT = Path(__file__).parents[2]
CASE = Remediation(NODE, finding().control)
FACTS = gather(finding(), CASE, machine(tags={"Environment": "prod", "App": "web"}), scan())
PROD, DEV, WEB = tag("Environment", "prod"), tag("Environment", "dev"), tag("App", "web")


@pytest.fixture
def world() -> Iterator[World]:
    there = World(policies=policy_set(policy("prod", PROD, window="saturday"), policy("dev", DEV)))
    there.node(tags={"Environment": "prod"})
    wiring.use(there.ports)
    yield there
    wiring.use(None)


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, ["policy", "explain", *words], catch_exceptions=False)


def asked(*words: str) -> Any:
    result = run(*words, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def results(policies: PolicySet, facts: dict[str, Any] = FACTS) -> dict[str, tuple[str, str]]:
    told = explain(Question(finding(), CASE, facts, policies, NOW))
    return {one["policy"]: (one["result"], one["because"]) for one in told["decision"]["policies"]}


# --- why each policy did or did not win -----------------------------------------------------------------------------


def test_every_policy_says_why_it_won_or_did_not() -> None:
    mine = number("rolled", NODE.id)
    told = results(policy_set(
        policy("by-band", PROD, band="default"),
        policy("by-action", PROD),
        policy("by-priority", PROD, action="approve"),
        policy("by-id", PROD, action="approve", priority=5),
        policy("a-winner", PROD, action="approve", priority=5),
        policy("elsewhere", DEV),
        policy("shadow", PROD, mode="shadow", action="ticket"),
        policy("rolled", PROD, action="exempt", rollout={"percent": mine, "accounts": None}),
        policy("off", PROD, mode="off"),
        policy("ended", PROD, expires=format_moment(NOW)),
    ))  # fmt: skip
    assert told == {
        "a-winner": ("won", "the first of 5 that match"),
        "by-id": ("lost", "a-winner comes first by its id: all else is equal"),
        "by-priority": ("lost", "a-winner has priority 5 against 0"),
        "by-action": ("lost", "a-winner is more careful: approve goes before remediate"),
        "by-band": ("lost", "a-winner is in band standard, which stands above default"),
        "elsewhere": ("no", '$.node.tags.Environment equals "dev": it is "prod"'),
        "shadow": ("shadow", "it matches, but never decides here: mode: shadow"),
        "rolled": ("shadow", "it matches, but never decides here: the node has number "
                             f"{mine}, the rollout only reaches those below {mine}"),
        "off": ("off", "mode: off, so it is not judged"),
        "ended": ("ended", "it ended at 2026-11-23T12:00:00.000Z"),
    }  # fmt: skip


def test_a_winner_by_rollout_says_why_its_node_is_in() -> None:
    told = results(policy_set(policy("rolled", PROD, rollout={"percent": 100, "accounts": [NODE.account]})))
    mine = number("rolled", NODE.id)
    assert told["rolled"] == (
        "won", f"the only one that matches; the node has number {mine}, the rollout reaches those below 100"
    )  # fmt: skip


def test_what_is_unknown_above_the_winner_holds_it_and_below_it_does_not() -> None:
    facts = {name: value for name, value in FACTS.items() if name != "node"}
    told = results(
        policy_set(policy("above", PROD, priority=2), policy("plain"), policy("under", PROD, priority=-1)), facts
    )
    assert told["above"] == (
        "unknown", '$.node.tags.Environment equals "prod": $.node is not known; it may match, so a person decides'
    )  # fmt: skip
    assert told["plain"] == ("held", "it would win, but above above it could not be evaluated")
    assert told["under"][0] == "unknown"
    assert told["under"][1].endswith("it ranks below the winner, so it raises no doubt")


def test_each_condition_says_ok_no_or_unknown_with_what_was_found_and_where() -> None:
    none_of = {**policy("b"), "when": {"all": [{**PROD, "line": 7}], "any": [], "none": [{**WEB, "line": 9}]}}
    told = explain(Question(finding(), CASE, FACTS, policy_set(none_of), NOW))
    said = [(one["answer"], one["group"], one["wanted"], one["found"], one["line"])
            for one in told["decision"]["policies"][0]["conditions"]]  # fmt: skip
    assert said == [("ok", "all", "prod", "prod", 7), ("no", "none", "web", "web", 9)]


# --- from where it is asked -----------------------------------------------------------------------------------------


def test_a_fixture_is_asked_at_its_own_time_or_another() -> None:
    told = asked("--fixture", "prod-linux", "--policies", str(ROOT / "policies"))
    assert (told["decision"]["policy"], told["now"]) == ("prod-critical-24h", "2026-11-23T11:58:02.114Z")
    assert told["decision"]["next"] == "2026-11-23T23:00:00.000Z"
    later = asked("--fixture", "prod-linux", "--policies", str(ROOT / "policies"), "--now", "2026-11-24T01:00:00Z")
    assert (later["decision"]["cause"], later["decision"]["next"]) == ("queued", "2026-11-24T01:00:00.000Z")


def test_an_event_is_asked_of_another_directory_at_another_time(world: World, tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    event.write_text(json.dumps(ssm_event(NODE, False, NOW)))
    told = asked("--event", str(event), "--policies", str(ROOT / "policies"), "--now", "2026-11-23T12:05:00Z")
    assert set(told) >= {"finding", "ignored_because", "decision"}
    assert (told["now"], told["finding"]["node"]) == ("2026-11-23T12:05:00.000Z", NODE.id)
    assert asked("--event", str(event), "--live")["decision"]["policy"] == "prod"
    event.write_text(json.dumps({**ssm_event(NODE, False, NOW), "source": "aws.s3"}))
    assert asked("--event", str(event))["finding"] is None


def test_a_node_is_asked_on_its_newest_facts(world: World) -> None:
    world.say()
    told = asked("--node", NODE.id, "--now", "2026-11-28T03:00:00Z")
    assert told["state"] == "waiting"
    assert (told["decision"]["cause"], told["decision"]["next"]) == ("queued", "2026-11-28T03:00:00.000Z")
    assert [one["result"] for one in told["decision"]["policies"]] == ["no", "won"]


def test_a_node_that_is_resolved_has_no_decision_ahead_of_it(world: World) -> None:
    world.say()
    world.inventory.scan(NODE, scan(NOW + timedelta(minutes=1), missing=0, patches=()))
    world.say(compliant=True, at=NOW + timedelta(minutes=2))
    assert asked("--node", NODE.id)["decision"] is None


def test_a_past_decision_is_asked_on_the_facts_it_saw(world: World) -> None:
    world.say()
    world.node(tags={"Environment": "dev"})
    world.pass_minutes(60)
    world.say()
    told = asked("--decision", f"{world.case().id}#1")
    assert (told["now"], told["decision"]["policy"], told["recorded"]["same"]) == (format_moment(NOW), "prod", True)
    assert told["recorded"]["because"] == told["decision"]["because"]
    newer = asked("--decision", f"{world.case().id}#2")
    assert (newer["decision"]["policy"], newer["recorded"]["policy"]) == ("dev", "dev")


def test_a_past_decision_that_would_be_another_today_says_so(world: World) -> None:
    world.say()
    world.policies = policy_set(policy("prod", PROD, action="ticket"))
    wiring.use(world.ports)
    told = asked("--decision", f"{world.case().id}#1")
    assert (told["decision"]["action"], told["recorded"]["action"], told["recorded"]["same"]) == (
        "ticket", "remediate", False
    )  # fmt: skip
    assert "ANOTHER ANSWER: remediate (deferred)" in run("--decision", f"{world.case().id}#1").stdout


@pytest.mark.parametrize(("number", "says"), [
    ("#9", "has 3 lines, so no line 9"), ("#2", "is no decision but intended; decisions there: #1"),
    ("#0", "write <remediation>#<line number>"), ("", "write <remediation>#<line number>"),
])  # fmt: skip
def test_a_line_that_is_no_decision_is_named_with_those_that_are(world: World, number: str, says: str) -> None:
    world.policies = policy_set()
    world.start()
    result = run("--decision", f"{world.case().id}{number}")
    assert result.exit_code == 1
    assert says in result.output


def test_nothing_is_written_by_an_explanation(world: World) -> None:
    world.say()
    before = world.ledger.trail(world.case().id)
    for words in (["--node", NODE.id], ["--decision", f"{world.case().id}#1"]):
        run(*words)
    assert world.ledger.trail(world.case().id) == before


@pytest.mark.parametrize("words", [[], ["--node", "a", "--fixture", "b"]])
def test_one_thing_is_asked_at_a_time(words: list[str]) -> None:
    assert run(*words).exit_code == 2


def test_a_fixture_that_is_not_there_is_answered_with_a_near_one() -> None:
    result = run("--fixture", "prod-linus", "--policies", str(ROOT / "policies"))
    assert result.exit_code == 1
    assert "did you mean prod-linux?" in result.output


# --- how it reads ---------------------------------------------------------------------------------------------------


def test_the_answer_comes_first_and_then_what_decided() -> None:
    said = run("--fixture", "prod-linux", "--policies", str(ROOT / "policies")).stdout.splitlines()
    assert said[0] == "DECISION  remediate (deferred), next 2026-11-23T23:00:00.000Z (in 11h 1m)"
    words = [line.split()[0] for line in said if line and not line.startswith(" ")]
    assert words == ["DECISION", "node", "finding", "asked", "won", "lost", "shadow", *["no"] * 6]


def test_a_node_says_where_it_stands_what_holds_it_and_that_all_is_paused(world: World) -> None:
    world.policies = policy_set()
    wiring.use(world.ports)
    world.node(state="stopped", ping="ConnectionLost")
    world.say()
    world.pass_minutes(5)
    world.round()
    world.pause("a bad baseline", by="ops")
    for command in (["policy", "explain", "--node", NODE.id], ["explain", NODE.id]):
        said = CliRunner().invoke(cli, command, catch_exceptions=False).stdout
        assert "STATE     waiting since 2026-11-23T12:05:00.000Z, next " in said
        assert "held      stopped" in said
        assert "PAUSED    nothing starts: ops: a bad baseline" in said


def test_a_narrow_terminal_breaks_between_words_only() -> None:
    told = explain(Question(finding(), CASE, FACTS, policy_set(policy("a-policy", PROD), policy("b", DEV)), NOW))
    narrow = [f"{word}{line}" for word, line in laid_out(lines(told, verbose=True), 48)]
    assert all(len(line) <= 48 or " " not in line[10:].strip() for line in narrow)
    assert any(str(NODE) in line for line in narrow)


def test_what_a_tag_says_cannot_steer_the_terminal() -> None:
    facts = {**FACTS, "node": {**FACTS["node"], "tags": {"Environment": "\x1b[2Jprod"}}}
    told = explain(Question(finding(), CASE, facts, policy_set(policy("a", PROD)), NOW))
    said = "".join(f"{word}{line}" for word, line in laid_out(lines(told), 80))
    assert "\x1b" not in said
    assert "\\x1b[2Jprod" in said
