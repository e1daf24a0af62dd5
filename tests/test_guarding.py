"""The commands that show what a guard or a rollout holds, and let it go."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from chalicelib import isolate, wiring
from chalicelib.core.nodes import Location
from patchwarden.cli import cli
from tests.verbs.conftest import World
from tests.verbs.test_surge import begun
from tests.verbs.test_waves import rolled


@pytest.fixture
def world() -> Iterator[World]:
    """A bundle that the command line finds where the deployed one would be."""
    made = World()
    yield made
    wiring.use(None)


def call(world: World, *words: str) -> Result:
    wiring.use(world.ports)
    return CliRunner().invoke(cli, words)


def test_a_guard_is_listed_released_and_then_holds_nothing(world: World) -> None:
    assert "no guard holds anything" in call(world, "guard", "list").stderr
    begun(world)
    (told,) = json.loads(call(world, "guard", "list", "-o", "json").stdout)
    assert (told["guard"], told["holds"]) == ("surge/fleet", True) and told["ticket"].startswith("oi-")
    status = call(world, "status").stdout
    assert "HELD by surge/fleet since" in status and "the ceiling is 20 %" in status
    answer = call(
        world, "guard", "release", "surge/fleet", "--reason", "the baseline is right", "--by", "ops@example.com"
    )
    assert answer.exit_code == 0 and "released surge/fleet; it held since" in answer.stderr
    assert (
        "holds nothing: the baseline is right" in call(world, "guard", "release", "surge/fleet", "--reason", "x").stderr
    )
    assert json.loads(call(world, "guard", "list", "-o", "json").stdout) == []
    shown = json.loads(call(world, "guard", "show", "surge/fleet", "-o", "json").stdout)
    assert [one["number"] for one in shown] == [1 + at for at in range(len(shown))]
    assert shown[-1]["actor"] == "ops@example.com"
    (line,) = json.loads(call(world, "guard", "list", "--all", "-o", "json").stdout)
    assert (line["holds"], line["because"]) == (False, "the baseline is right")


def test_a_node_that_a_guard_holds_is_explained_with_the_reason(world: World) -> None:
    begun(world)
    held = next(case for case in world.ledger.work(["queued"]))  # type: ignore[list-item]
    told = call(world, "explain", str(held.node)).stdout
    assert "held by surge: 40 of 40 nodes in the fleet turned non-compliant" in " ".join(told.split())


def test_a_rollout_is_shown_stopped_and_resumed(world: World) -> None:
    assert "no rollout has begun" in call(world, "rollout", "list").stderr
    rolled(world)
    (told,) = json.loads(call(world, "rollout", "list", "-o", "json").stdout)
    assert (told["stands"], told["wave"], told["waves"], told["in_work"]) == ("open", 1, 3, 1)
    assert "Rollouts in waves" in call(world, "status").stdout
    assert "began" in call(world, "rollout", "show", "all-now").stdout
    assert "lets it go on" in call(world, "rollout", "stop", "all-now", "--reason", "the board says no").stderr
    assert "is stopped already" in call(world, "rollout", "stop", "all-now", "--reason", "again").stderr
    assert json.loads(call(world, "rollout", "list", "-o", "json").stdout)[0]["stands"] == "stopped"
    assert "it was stopped: stopped by" in call(world, "rollout", "resume", "all-now", "--reason", "it says yes").stderr
    assert "is not stopped" in call(world, "rollout", "resume", "all-now", "--reason", "again").stderr


@pytest.mark.parametrize(("words", "code", "said"), [
    (("guard", "release", "surge/flet", "--reason", "x"), 1, "there is no guard surge/flet: did you mean surge/fleet?"),
    (("guard", "release", "surge/fleet"), 2, "Missing option '--reason'"),
    (("guard", "list", "--al"), 2, "No such option"),
    (("rollout", "show", "nothing"), 1, "there is no rollout nothing: none was ever recorded"),
])  # fmt: skip
def test_a_mistake_is_told_with_its_remedy(world: World, words: tuple[str, ...], code: int, said: str) -> None:
    begun(world)
    answer = call(world, *words)
    told = answer.stderr + str(answer.exception)
    assert said in told and answer.exit_code == code


def test_an_account_that_refuses_is_listed_asked_again_and_cleared(world: World) -> None:
    assert "no account refuses us" in call(world, "accounts", "list").stderr
    account = "111122223333"
    isolate.refuse(world.ports, Location(account, "eu-west-1"), "sts:AssumeRole: AccessDenied")
    (told,) = json.loads(call(world, "accounts", "list", "-o", "json").stdout)
    assert (told["account"], told["tries"], told["holds"]) == (account, 1, 0)
    answer = call(world, "accounts", "retry", account, "--reason", "mended", "--by", "ops@example.com")
    assert answer.exit_code == 0 and "is asked again at once; it refuses since" in answer.stderr
    answer = call(world, "accounts", "clear", account, "--reason", "given up", "--by", "ops@example.com")
    assert answer.exit_code == 0 and f"cleared account {account}" in answer.stderr
    assert "should it refuse, it is set aside anew" in " ".join(answer.stderr.split())
    shown = json.loads(call(world, "accounts", "show", account, "-o", "json").stdout)
    assert [one["what"] for one in shown] == ["degraded", "to be asked at once", "cleared"]
    assert [one["actor"] for one in shown] == ["patchwarden", "ops@example.com", "ops@example.com"]
    again = call(world, "accounts", "clear", account, "--reason", "twice")
    assert again.exit_code == 0 and "is not set aside: given up" in again.stderr
    wrong = call(world, "accounts", "retry", "999", "--reason", "x")
    assert wrong.exit_code and "there is no account 999: known are 111122223333" in str(wrong.exception)
    assert call(world, "accounts", "retry", account, "--reason", " ").exit_code == 2
