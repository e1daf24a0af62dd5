"""The live side of the command line: the trail as it grows, executions in flight, and what a terminal of any width
shows."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib import wiring
from chalicelib.core.errors import PolicyError
from chalicelib.core.failures import kind_of_failure
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.outcomes import of_run
from chalicelib.core.remediations import Cause
from chalicelib.lookup import executions
from chalicelib.ports import Ports
from patchwarden.cli import cli
from patchwarden.watching import lines_since
from tests.adapters.test_ledger_contract import batch, due, fresh, written

NOW = parse_moment("2026-11-23T12:00:00Z")
QUEUED_UP = (Cause.QUEUED, Cause.INTENDED)
STARTED, SUCCEEDED = Cause.STARTED, Cause.SUCCEEDED


@pytest.fixture
def ledger(demo_ledger: Path) -> Path:
    return demo_ledger


def call(*words: object, **given: Any) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words], **given)


def far(ledger: Path) -> str:
    """A span that reaches back before the demo's first line, whatever day it is."""
    first = min(line.at for case in wiring.local(str(ledger)).ledger.all_heads()
                for line in wiring.local(str(ledger)).ledger.trail(case.id))  # fmt: skip
    return format_moment(first)[:10]


class TestTail:
    def test_it_prints_every_line_in_order_of_time(self, ledger: Path) -> None:
        ports = wiring.local(str(ledger))
        all_lines = [line for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id)]
        until = max(line.at for line in all_lines)
        told = list(lines_since(ports.ledger, min(line.at for line in all_lines), until))
        assert sorted(line.hash for line in told) == sorted(line.hash for line in all_lines)
        assert [line.at for line in told] == sorted(line.at for line in told)

    def test_what_is_asked_for_is_all_that_comes(self, ledger: Path) -> None:
        words = ("--ledger", ledger, "tail", "--since", far(ledger), "--state", "ticketed")
        lines = [json.loads(line) for line in call(*words, "-o", "jsonl").stdout.splitlines()]
        rows = list(csv.DictReader(io.StringIO(call(*words, "-o", "csv").stdout)))
        assert lines and {line["after"] for line in lines} == {"ticketed"}
        assert [row["because"] for row in rows] == [line["because"] for line in lines]
        assert len(call(*words).stdout.splitlines()) == len(lines)

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--since", "3x"], "is no moment and no span"),
            (["--since", "2999-01-01"], "is still to come"),
            (["-f", "-o", "json"], "--follow has no end"),
            (["--state", "done"], "is not one of"),
        ],
    )
    def test_a_wrong_word_is_told_with_its_remedy(self, ledger: Path, words: list[str], sentence: str) -> None:
        answer = call("--ledger", ledger, "tail", *words)
        assert answer.exit_code == 2
        assert sentence in answer.stderr


class TestExecutions:
    @pytest.fixture
    def ports(self) -> Ports:
        return wiring.local(None)

    def test_it_counts_how_far_the_members_are(self, ports: Ports) -> None:
        flying = batch("b")
        ports.ledger.save_batch(flying, expected=None)
        for number in range(3):
            case = written(ports.ledger, fresh(number), *QUEUED_UP, sets={"batch": "b"})
            if number:
                written(ports.ledger, case, *([STARTED, SUCCEEDED] if number == 1 else [STARTED]))
        one = executions(ports)["executions"][0]
        assert (one["nodes"], one["running"], one["verifying"], one["proved"], one["other"]) == (3, 2, 1, 0, 0)
        assert one["policies"] == ["prod"]

    def test_a_place_shows_its_limit_and_its_queue(self, ports: Ports) -> None:
        ports.ledger.save_batch(batch("b"), expected=None)
        written(ports.ledger, fresh(9), Cause.QUEUED, sets=due(NOW))
        place = executions(ports)["places"][0]
        assert (place["location"], place["executions"], place["queued"]) == ("111122223333/eu-west-1", 1, 1)
        assert executions(ports, account="111122223333")["places"] == [place]
        other = executions(ports, account="444455556666")
        assert other["executions"] == other["places"] == []
        of_policy = executions(ports, policy="prod")
        assert [one["policies"] for one in of_policy["executions"]] == [["prod"]]
        assert [(one["executions"], one["queued"]) for one in of_policy["places"]] == [(1, 1)]
        written(ports.ledger, fresh(8), Cause.QUEUED, sets={**due(NOW), "decision": {"priority": 0, "policy": "dev"}})
        of_other = executions(ports, policy="dev")
        assert of_other["executions"] == [] and [(one["executions"], one["queued"]) for one in of_other["places"]] == \
            [(1, 1)], "as full as it is, whoever filled it"  # fmt: skip
        assert executions(ports, policy="x")["places"] == []
        assert place["limit"] == _limit(ports)

    def test_failures_are_counted_by_kind(self, ports: Ports) -> None:
        for number, outcome in enumerate(("the install ended Failed: exit code 1", "the install ended Cancelled",
                                          "unreachable before the start: the agent does not answer")):  # fmt: skip
            written(ports.ledger, fresh(number), Cause.TICKETED, sets={"attempts": 1, "last_outcome": outcome})
        failures = executions(ports)["failures"]
        assert [(one["kind"], one["remediations"]) for one in failures] == [("install failed", 2), ("unreachable", 1)]

    def test_every_failed_outcome_that_we_write_has_a_kind(self) -> None:
        for install, installs, succeeded in ((None, True, True), (("Failed", "exit 1"), True, False),
                                             (("TimedOut", ""), True, False), (None, False, False)):  # fmt: skip
            told = of_run(install=install, installs=installs, succeeded=succeeded, failure="x", scan=None, snapshot="")
            assert kind_of_failure(told[-1][1]) != "other"


def _limit(ports: Ports) -> int | None:
    try:
        return ports.policies.active().settings.executions_per_location
    except PolicyError:
        return None


@pytest.mark.parametrize("words", [["top"], ["status", "--watch"], ["executions", "--watch"]])
def test_a_live_view_refuses_a_pipe(ledger: Path, words: list[str]) -> None:
    answer = call("--ledger", ledger, *words)
    assert answer.exit_code == 2
    assert "needs a terminal" in answer.stderr


@pytest.mark.parametrize("words", [["top"], ["status", "--watch"], ["tail", "-f", "--since", "2026-11-23"]])
def test_a_live_view_is_drawn_and_ends_with_ctrl_c(ledger: Path, words: list[str]) -> None:
    shown, code = in_terminal(ledger, words, until="12" if words[0] == "tail" else "Ctrl-C ends it")
    assert code == 0
    assert "Traceback" not in shown


def test_a_narrow_terminal_gets_one_record_below_the_other(ledger: Path) -> None:
    narrow, wide = (in_terminal(ledger, ["status"], COLUMNS=width, NO_COLOR="1")[0] for width in ("50", "160"))
    assert "ticket: oi-" in narrow.replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert "ticket: oi-" not in wide.replace("\x1b[2m", "").replace("\x1b[0m", "")


def test_no_color_means_none(ledger: Path) -> None:
    shown, _ = in_terminal(ledger, ["status", "--watch"], until="Ctrl-C ends it", NO_COLOR="1")
    assert not [code for code in ("\x1b[31m", "\x1b[33m", "\x1b[1;31m") if code in shown]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_completion(shell: str) -> None:
    assert "_PATCHWARDEN_COMPLETE" in call("completion", shell).stdout


def test_a_shell_completes_the_nodes_of_the_local_ledger(ledger: Path) -> None:
    node = next(wiring.local(str(ledger)).ledger.all_heads()).node.id
    given = (f"COMP_WORDS=patchwarden --ledger {ledger} explain {node[:6]}", "COMP_CWORD=4",
             "_PATCHWARDEN_COMPLETE=bash_complete")  # fmt: skip
    begin = "from patchwarden.cli import main; main()"
    command = ["env", *given, sys.executable, "-c", begin]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"plain,{node}" in found.stdout.splitlines()


def in_terminal(ledger: Path, words: list[str], *, until: str | None = None, **environment: str) -> tuple[str, int]:
    """What a command shows in a terminal up to these words, and its exit code after Ctrl-C; None: up to its end."""
    ours, theirs = pty.openpty()
    given = {"TERM": "xterm-256color", "COLUMNS": "120", **environment}
    command = [sys.executable, "-m", "patchwarden", "--ledger", str(ledger), *words]
    command = ["env", *(f"{name}={value}" for name, value in given.items()), *command]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as run:
        os.close(theirs)
        shown = "".join(_read(ours, until))
        if until:
            os.killpg(run.pid, signal.SIGINT)
            shown += "".join(_read(ours, None))
    os.close(ours)
    return shown, run.returncode


def _read(terminal: int, until: str | None) -> Iterator[str]:
    told = ""
    while until is None or until not in told:
        try:
            piece = os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # Linux says so when the other side is closed
            return
        if not piece:
            return
        told += piece
        yield piece
