"""What `patchwarden simulate` prints, and with which exit code it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from patchwarden.cli import cli
from patchwarden.simulate import soak
from patchwarden.simulate.run import Simulated
from tests.simulation.sabotage import without_sweep


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(cli, ["simulate", *arguments])
    return answer.exit_code, answer.output


def test_good_seeds_are_summed_up(tmp_path: Path) -> None:
    code, said = run("--seeds", "0..3", "--nodes", "8", "-o", "json", "--report", str(tmp_path / "deep" / "soak.json"))
    assert code == 0
    figures = json.loads(said)
    assert (figures["seeds"], figures["failures"], set(figures["broken"].values())) == (3, {}, {0})
    assert json.loads((tmp_path / "deep" / "soak.json").read_text()) == figures


def test_a_seed_that_fails_is_named_with_the_command_that_replays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sabotaged(Simulated):
        def __init__(self, seed: int, nodes: int, profile: str) -> None:
            super().__init__(seed, nodes, profile)
            without_sweep(self)

    monkeypatch.setattr(soak, "Simulated", Sabotaged)
    code, said = run("--seeds", "0..1")
    assert code == 3
    assert "patchwarden simulate --replay 0 --nodes 50 --faults mixed" in said


def test_a_replay_prints_its_history_and_the_judgement() -> None:
    code, said = run("--replay", "3", "--nodes", "4", "--faults", "crashes")
    assert code == 0
    lines = said.splitlines()
    assert any("ledger.append" in line and "queued" in line for line in lines)
    assert lines[-1] == "seed 3: every promise was kept"


@pytest.mark.parametrize("given", ["x..3", "3..3", "..", "5..1"])
def test_a_range_that_is_none_is_refused_with_a_remedy(given: str) -> None:
    code, said = run("--seeds", given)
    assert code == 2
    assert "write 0..2000" in said or "must be the larger one" in said
