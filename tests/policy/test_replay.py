"""Replay: the decisions that were made are found again, and what another set would have done is counted rightly."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib.core.nodes import Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import State, Transition
from patchwarden.cli import cli
from patchwarden.policy.replay import Comparison, as_decided, asked, compare, under
from tests.sets import HERE, NODE, NOW, ledger_file, policy, policy_set, scan, tag
from tests.verbs.conftest import World

LINGER = timedelta(minutes=5)
SHIPPED = Path(__file__).parents[2] / "policies"


@pytest.fixture
def world() -> World:
    return World()


def node(number: int) -> Node:
    return Node(HERE.account, HERE.region, f"i-{number:017x}")


def trail(world: World) -> list[Transition]:
    """Every line, in order of time, as a file of JSON lines gives it back."""
    lines = [line for head in world.ledger.all_heads() for line in world.ledger.trail(head.id)]
    told = [json.loads(json.dumps(line.to_json())) for line in lines]
    return sorted(map(Transition.from_json, told), key=lambda line: (line.at, line.remediation, line.number))


def replayed(world: World, candidate: PolicySet) -> Comparison:
    return compare(asked(trail(world)), as_decided(LINGER), under("candidate", candidate))


def a_week(world: World) -> None:
    """Nodes of several kinds with failures, cool-downs, windows, tickets and an exemption that ends."""
    world.policies = policy_set(
        policy("exempt", tag("App", "erp"), action="exempt", reason="x", until="2026-11-25T12:00:00.000Z"),
        policy("window", tag("Environment", "prod"), window="saturday"),
        policy("ask", tag("Environment", "lab"), action="approve"),
        policy("now", tag("Environment", "dev"), attempts=2),
    )
    tags = [
        {"Environment": "prod"},
        {"Environment": "dev"},
        {"Environment": "dev", "App": "erp"},
        {},
        {"Environment": "lab"},
    ]
    for number in range(10):
        world.node(node(number), tags=tags[number % 5])
    for _ in range(5 * 24):
        for number in range(10):
            world.say(node(number))
            world.pass_minutes(1)
        world.round()
        for number in range(10):
            case = world.ledger.head(f"{HERE.account}.{HERE.region}.{node(number).id}.patch")
            if case and case.state is State.RUNNING:
                word = "Failed" if number == 1 else "Success"
                world.end(str(case.execution), nodes={node(number): word})
                world.inventory.scan(
                    node(number), replace(scan(world.clock.now(), missing=0, patches=()), id=node(number).id)
                )
        world.pass_minutes(50)


class TestTheSameSet:
    def test_the_set_that_decided_decides_the_same_again(self, world: World) -> None:
        a_week(world)
        found = replayed(world, world.policies)
        assert found.decisions > 20
        assert found.changes == ()
        assert found.starts["before"] == found.starts["after"]
        assert found.starts["before"]["nodes"] > 5

    def test_a_decision_within_a_cool_down_knows_of_it(self, world: World) -> None:
        world.node()
        execution = world.start()
        world.end(execution, "Failed")
        world.pass_minutes(5)
        world.policies = policy_set(policy("renamed"))
        world.say()
        found = replayed(world, world.policies)
        assert found.decisions == 2
        assert [change.text for change in found.changes] == ["remediate by all-now -> remediate by renamed"]

    def test_the_starts_it_counts_are_those_that_happened(self, world: World) -> None:
        world.policies = policy_set(policy("now"))
        for number in range(60):
            world.node(node(number))
            world.say(node(number))
        world.pass_minutes(5)
        assert world.round().executions == 2
        starts = replayed(world, world.policies).starts["after"]
        assert starts == {"nodes": 60, "executions": 2, "peak_per_hour": 2}


class TestAnotherSet:
    def test_every_change_is_told_from_and_to_with_samples(self, world: World) -> None:
        world.policies = policy_set(policy("now"), policy("looks-at-tags", tag("App", "none")))
        for number in range(7):
            world.node(node(number), tags={"App": "web" if number else "db"})
            world.say(node(number))
        candidate = policy_set(policy("now", window="saturday"), policy("careful", tag("App", "db"), action="ticket"))
        found = replayed(world, candidate)
        assert [(one.text, one.count, len(one.samples)) for one in found.changes] == [
            ("remediate by now -> remediate by now in saturday", 6, 5),
            ("remediate by now -> ticket by careful", 1, 1),
        ]
        assert found.changes[1].samples == (f"{HERE.account}.{HERE.region}.{node(0).id}.patch#1",)
        assert (found.decisions, found.changed) == (7, 7)
        assert found.starts == {"before": {"nodes": 7, "executions": 1, "peak_per_hour": 1},
                                "after": {"nodes": 6, "executions": 1, "peak_per_hour": 1}}  # fmt: skip

    def test_another_plan_under_the_same_policy_is_a_change(self, world: World) -> None:
        world.policies = policy_set(policy("now"))
        world.node()
        world.say()
        (change,) = replayed(world, policy_set(policy("now", reboot="never"))).changes
        assert change.text == "remediate by now -> remediate by now, done differently"

    def test_another_moment_in_the_same_window_is_a_change(self, world: World) -> None:
        world.policies = policy_set(policy("weekly", window="saturday"))
        world.node()
        world.say()
        frozen = {"name": "f", "since": "2026-11-28T00:00:00Z", "until": "2026-11-29T00:00:00Z", "reason": "x"}
        (change,) = replayed(world, policy_set(policy("weekly", window="saturday"), freezes=[frozen])).changes
        assert change.text.endswith("-> remediate by weekly in saturday, at another moment")

    def test_facts_that_were_never_fetched_are_counted(self, world: World) -> None:
        world.node()
        world.say()
        found = replayed(world, policy_set(policy("tags", tag("App", "web")), policy("all-now", band="default")))
        assert found.unseen == 1
        assert found.changes[0].after == "ticket by tags"

    def test_a_case_that_ends_before_its_window_starts_nothing(self, world: World) -> None:
        world.policies = policy_set(policy("weekly", window="saturday"))
        world.node()
        world.say()
        world.pass_minutes(60)
        world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
        world.say(compliant=True)
        found = replayed(world, policy_set(policy("now")))
        assert found.starts["before"]["nodes"] == 0
        assert found.starts["after"]["nodes"] == 1

    def test_a_decision_that_is_made_again_starts_once(self, world: World) -> None:
        """Deferred to Saturday, asked again on Saturday: one start under either set."""
        world.policies = policy_set(policy("weekly", window="saturday"))
        world.node()
        world.say()
        world.clock.move(datetime(2026, 11, 28, 2, 1, tzinfo=UTC) - NOW)
        world.round()
        found = replayed(world, policy_set(policy("now")))
        assert found.decisions == 2
        assert (found.starts["before"]["nodes"], found.starts["after"]["nodes"]) == (1, 1)

    def test_a_retry_is_a_start_of_its_own(self, world: World) -> None:
        world.node()
        execution = world.start()
        world.end(execution, "Failed")
        world.pass_minutes(31)
        world.round()
        assert replayed(world, world.policies).starts["after"]["nodes"] == 2

    def test_the_peak_is_that_of_any_hour(self, world: World) -> None:
        world.policies = policy_set(policy("weekly", window="saturday"))
        for number in range(4):
            world.node(node(number))
            world.say(node(number))
            world.pass_minutes(25)
        found = replayed(world, policy_set(policy("now")))
        assert found.starts == {"before": {"nodes": 4, "executions": 1, "peak_per_hour": 1},
                                "after": {"nodes": 4, "executions": 4, "peak_per_hour": 3}}  # fmt: skip


def test_notes_are_no_decisions(world: World) -> None:
    world.policies = policy_set(policy("weekly", window="saturday"))
    world.node()
    for minute in range(5):
        world.say(at=NOW + timedelta(minutes=minute))
    assert len(trail(world)) == 5
    assert replayed(world, world.policies).decisions == 1


# The commands


def run(*words: Any) -> Result:
    return CliRunner().invoke(cli, ["policy", *map(str, words)], catch_exceptions=False)


@pytest.fixture
def file(world: World, tmp_path: Path) -> Path:
    """A trail as JSON lines: decisions of the shipped policies about their fixtures."""
    world.policies = policy_set(policy("now"))
    for number in range(3):
        world.node(node(number), tags={"Environment": "prod"})
        world.say(node(number))
    path = tmp_path / "trail.jsonl"
    path.write_text("".join(json.dumps(line.to_json()) + "\n" for line in trail(world)), encoding="utf-8")
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The shipped policies, with the windows of prod exchanged."""
    path = tmp_path / "other"
    (path / "fixtures").mkdir(parents=True)
    for file in [*SHIPPED.glob("*.yaml"), *SHIPPED.glob("fixtures/*.yaml")]:
        text = file.read_text(encoding="utf-8")
        changed = (
            text.replace("window: prod-saturday", "window: prod-night") if file.name == "prod-window.yaml" else text
        )
        (path / file.relative_to(SHIPPED)).write_text(changed, encoding="utf-8")
    return path


class TestCommands:
    def test_replay_reads_a_file_and_needs_no_ledger(self, file: Path) -> None:
        done = run("replay", "--candidate", SHIPPED, "--trail", file, "-o", "json")
        told = json.loads(done.stdout)
        assert (done.exit_code, told["decisions"], told["before"]) == (0, 3, "as decided")
        assert {change["from"] for change in told["changes"]} <= {"remediate by now"}

    def test_diff_of_a_directory_with_itself_is_empty(self, file: Path) -> None:
        done = run("diff", SHIPPED, SHIPPED, "--trail", file)
        assert done.exit_code == 0
        assert "0 of 3 decisions would be different" in done.stdout

    def test_diff_by_fixtures_needs_no_decisions(self, other: Path) -> None:
        done = run("diff", SHIPPED, other, "--fixtures")
        assert done.exit_code == 0
        assert "remediate by prod-window in prod-saturday" in done.stdout
        assert "remediate by prod-window in prod-night" in done.stdout

    def test_a_change_that_nobody_expected_is_exit_3_and_says_how_to_expect_it(
        self, other: Path, tmp_path: Path
    ) -> None:
        expected = tmp_path / "expected.txt"
        expected.write_text("# the night is enough\n\n", encoding="utf-8")
        done = run("diff", SHIPPED, other, "--fixtures", "--expected", expected)
        assert done.exit_code == 3
        wanted = [line.strip() for line in done.stderr.splitlines() if "->" in line]
        expected.write_text("\n".join(wanted), encoding="utf-8")
        assert run("diff", SHIPPED, other, "--fixtures", "--expected", expected).exit_code == 0
        expected.write_text("\n".join(wanted[1:]), encoding="utf-8")
        assert run("diff", SHIPPED, other, "--fixtures", "--expected", expected).exit_code == 3

    def test_a_git_revision_is_compiled_as_it_was(
        self, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(other.parent)
        git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for words in (["init", "-q"], ["add", "other"], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True, capture_output=True)
        (other / "prod-window.yaml").write_text((SHIPPED / "prod-window.yaml").read_text(encoding="utf-8"))
        done = run("diff", "HEAD", SHIPPED, "--path", "other", "--fixtures", "-o", "json")
        texts = [f"{one['from']} -> {one['to']}" for one in json.loads(done.stdout)["changes"]]
        assert "remediate by prod-window in prod-night -> remediate by prod-window in prod-saturday" in texts

    @pytest.mark.parametrize("text", ["nowhere", "--output=x", "0123456789abcdef"])
    def test_a_set_that_is_not_there_is_refused(self, text: str, tmp_path: Path) -> None:
        words = ["--ledger", str(_empty(tmp_path)), "policy", "diff", "--fixtures", "--", text, str(SHIPPED)]
        done = CliRunner().invoke(cli, words)
        assert done.exit_code == 1
        assert "is no directory, not active, no published digest, and git says" in done.stderr

    def test_a_directory_with_problems_is_refused_with_its_problems(self, other: Path) -> None:
        (other / "prod-window.yaml").write_text("id: x\n", encoding="utf-8")
        done = run("diff", SHIPPED, other, "--fixtures")
        assert done.exit_code == 1
        assert "PW202" in done.stderr

    @pytest.mark.parametrize("line", ["{", "{}", '{"at": 1}', "\xff"])
    def test_a_file_that_is_no_trail_is_refused_by_its_line(self, file: Path, line: str) -> None:
        with file.open("a", encoding="latin-1") as more:
            more.write(line + "\n")
        done = run("replay", "--candidate", SHIPPED, "--trail", file)
        assert done.exit_code == 1
        assert "trail.jsonl:4 is no line of a trail" in done.stderr

    def test_nothing_on_record_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "empty.jsonl").write_text("")
        done = run("replay", "--candidate", SHIPPED, "--trail", tmp_path / "empty.jsonl")
        assert done.exit_code == 0
        assert "no decision is on record there" in done.stdout


def _empty(folder: Path) -> Path:
    path = folder / "empty.sqlite"
    return ledger_file(path)
