"""The command line as a person meets it: exit codes, one sentence on standard error, data on standard output."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from chalicelib import wiring
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.remediations import Cause
from chalicelib.fleet import LAST, Pass
from chalicelib.lookup import present
from chalicelib.ports.bundle import Unwired
from chalicelib.record import record
from patchwarden import cli as command_line
from patchwarden import demo as demo_page
from patchwarden import leaving
from patchwarden.cli import cli, main
from patchwarden.demo import fresh
from patchwarden.output import FORMATS
from patchwarden.scope import Ahead, Scope
from tests.once import copied
from tests.walking import commands

ROOT = Path(__file__).parent.parent
EVENTS = ROOT / "tests" / "events"


@pytest.fixture
def ledger(demo_ledger: Path) -> Path:
    return demo_ledger


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def node_of(ledger: Path, state: str) -> str:
    with_all = wiring.local(str(ledger)).ledger.all_heads()
    return next(str(case.node) for case in with_all if case.state == state)


@pytest.mark.parametrize("words", [["status"], ["audit", "verify"]])
def test_json_is_json_and_nothing_else(ledger: Path, words: list[str]) -> None:
    found = call("--ledger", ledger, *words, "-o", "json")
    assert found.exit_code == 0
    assert isinstance(json.loads(found.stdout), dict)


def test_a_trail_comes_as_table_json_lines_and_csv(ledger: Path) -> None:
    node = node_of(ledger, "resolved")
    table = call("--ledger", ledger, "audit", "show", node)
    lines = [
        json.loads(line) for line in call("--ledger", ledger, "audit", "show", node, "-o", "jsonl").stdout.splitlines()
    ]
    rows = list(csv.DictReader(io.StringIO(call("--ledger", ledger, "audit", "show", node, "-o", "csv").stdout)))
    assert [line["number"] for line in lines] == [int(row["number"]) for row in rows]
    assert all(line["hash"] for line in lines) and "resolved" in table.stdout


def test_a_row_that_is_piped_is_one_line_for_grep(ledger: Path) -> None:
    told = json.loads(call("--ledger", ledger, "status", "-o", "json").stdout)["ticketed"]
    lines = call("--ledger", ledger, "status").stdout.splitlines()
    assert max(len(one["because"]) for one in told) > 100
    assert all(any(one["node"] in line and one["because"] in line for line in lines) for one in told)


def test_a_node_is_explained_by_what_decided_about_it(ledger: Path) -> None:
    node = node_of(ledger, "resolved")
    told = json.loads(call("--ledger", ledger, "explain", node, "-o", "json").stdout)
    (case,) = told["remediations"]
    assert case["state"] == "resolved"
    assert "unknown" not in {policy["outcome"] for policy in case["policies"]}


def test_every_command_that_answers_takes_the_same_formats() -> None:
    def leaves(command: click.Command) -> Iterator[click.Command]:
        for each in command.commands.values() if isinstance(command, click.Group) else ():
            yield from leaves(each) if isinstance(each, click.Group) else (each,)

    forms = {each.name: option.type for each in leaves(cli) for option in each.params if "--output" in option.opts}
    assert len(forms) > 40
    assert {tuple(form.choices) for form in forms.values() if isinstance(form, click.Choice)} == {FORMATS}


def test_an_unknown_node_is_said_so_with_what_is_near(ledger: Path) -> None:
    node = node_of(ledger, "resolved")
    wrong = node[:-1] + ("0" if node[-1] != "0" else "1")
    found = call("--ledger", ledger, "explain", wrong.rsplit("/", 1)[1])
    assert found.exit_code == 1
    assert f"did you mean {node}" in found.stderr


@pytest.mark.parametrize(
    ("sample", "finding"),
    [("config_patch_non_compliant", True), ("config_volume_tags", False), ("execution_success", False)],
)
def test_an_event_is_explained_without_an_account(sample: str, finding: bool) -> None:
    found = call("explain", "--event", EVENTS / f"{sample}.json", "-o", "json")
    told = json.loads(found.stdout)
    assert found.exit_code == 0
    assert (told["finding"] is not None) is finding
    assert (told["ignored_because"] is None) is finding
    if finding:
        assert set(told["finding"]) == {"account", "region", "node", "control", "compliant", "observed_at"}
        assert told["decision"]["because"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_an_event_file_that_is_no_json_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(text)
    found = call("explain", "--event", file)
    assert found.exit_code == 1 and "is not JSON" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["statsu"], 2, "Did you mean 'status'?"),
        (["explain"], 2, "give a NODE or --event FILE"),
        (["explain", "--event", "/nowhere.json"], 2, "does not exist"),
        (["--ledger", "/nowhere.sqlite", "status"], 1, "there is no ledger at /nowhere.sqlite: run `patchwarden demo`"),
        (["status", "-o", "xml"], 2, "'xml' is not one of"),
        (["status", "--acount", "1"], 2, "No such option '--acount'\n"),
        (["pause", "--acount", "1"], 2, "No such option '--acount': did you mean --account?\n"),
        (["pause", "--acc", "1"], 2, "No such option '--acc': did you mean --account?\n"),
        (["schedule", "run", "x", "--account", "1"], 2, "No such option '--account': did you mean --only-account?\n"),
        (["demo", "--nodes", "3"], 2, "--nodes"),
        (["pause"], 2, "Missing option '--reason'"),
    ],
)
def test_a_slip_has_its_code_and_its_remedy(words: list[str], code: int, says: str) -> None:
    found = call(*words)
    assert found.exit_code == code
    assert says in found.stderr


def test_a_damaged_trail_is_exit_3_and_names_the_line(ledger: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        number, text = target.execute("select rowid, line from transitions limit 1").fetchone()
        changed = {**json.loads(text), "because": "nothing to see here"}
        target.execute("update transitions set line = ? where rowid = ?", (json.dumps(changed), number))
        target.commit()
    found = call("--ledger", copy, "audit", "verify")
    assert found.exit_code == 3
    assert f"{changed['remediation']}: line {changed['number']} was changed after it was written" in found.stdout


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (Denied("no access."), 1, "Error: no access"),
        (Temporary("busy"), 1, "busy: try again in a minute"),
        (Stale("moved"), 4, "somebody else was first"),
    ],
)
def test_our_own_errors_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int, says: str
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "cli", fails)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == code
    assert says in capsys.readouterr().err


def test_a_ledger_file_is_offered_only_to_a_command_that_it_can_answer(ledger: Path) -> None:
    wiring.use(replace(wiring.local(str(ledger)), ledger=Unwired()))
    try:
        status, run = call("status"), call("schedule", "run", "daily-scan")
    finally:
        wiring.use(None)
    assert str(status.exception).endswith("Check credentials, Region and permissions, or use --local")
    assert str(run.exception).endswith("Check credentials, Region and permissions")
    other = call("--ledger", ROOT / "README.md", "status")
    assert str(other.exception) == f"the ledger file {ROOT / 'README.md'} cannot be used: file is not a database"
    refused = call("--ledger", ledger, "schedule", "run", "daily-scan")
    assert refused.exit_code == 2 and "leave --local and --ledger away" in refused.stderr


def test_a_pause_is_set_seen_and_lifted(ledger: Path) -> None:
    assert call("--ledger", ledger, "pause", "--reason", "a look", "--until", "4h", "--by", "op").exit_code == 0
    assert "PAUSED by op until" in call("--ledger", ledger, "status").stdout
    assert call("--ledger", ledger, "pause", "--reason", "x", "--until", "2020-01-01T00:00:00Z").exit_code == 2
    assert "it was paused by op" in call("--ledger", ledger, "resume", "--reason", "seen").stderr
    assert "PAUSED" not in call("--ledger", ledger, "status").stdout
    again = call("--ledger", ledger, "resume", "--reason", "again")
    assert again.exit_code == 0 and "everything was not paused" in again.stderr


def test_a_part_is_paused_beside_the_rest_and_both_lines_are_verified(ledger: Path) -> None:
    before = json.loads(call("--ledger", ledger, "audit", "verify", "-o", "json").stdout)["lines"]
    scoped = ("--account", "111122223333", "--policy", "prod-window")
    assert call("--ledger", ledger, "pause", "--reason", "a bad patch", *scoped, "--by", "op").exit_code == 0
    told = json.loads(call("--ledger", ledger, "status", "-o", "json").stdout)
    assert told["paused"] is None
    assert [(one["scope"], one["by"], one["until"]) for one in told["pauses"]] == [
        ("account/111122223333", "op", None), ("policy/prod-window", "op", None),
    ]  # fmt: skip
    assert "PAUSED account 111122223333 by op until somebody resumes: a bad patch" in call(
        "--ledger", ledger, "status").stdout  # fmt: skip
    left = call("--ledger", ledger, "resume", "--reason", "fixed", "--account", "111122223333")
    assert left.exit_code == 0 and "still paused: policy/prod-window" in left.stderr
    missed = call("--ledger", ledger, "resume", "--reason", "fixed", "--policy", "prod-windwo")
    assert missed.exit_code == 1 and "policy prod-windwo was not paused" in missed.stderr
    assert call("--ledger", ledger, "resume", "--reason", " ", "--policy", "prod-window").exit_code == 2
    call("--ledger", ledger, "resume", "--reason", "fixed", "--policy", "prod-window")
    verified = call("--ledger", ledger, "audit", "verify", "-o", "json")
    assert (verified.exit_code, json.loads(verified.stdout)["lines"]) == (0, before + 4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--account", "111122223334"], "no account 111122223334; did you mean 111122223333"),
        (["--policy", "prod-windwo"], "no policy prod-windwo; did you mean prod-window"),
        (["--region", "mars"], "no region mars; there are"),
    ],
)
def test_a_scope_that_nobody_knows_pauses_nothing(ledger: Path, words: list[str], says: str) -> None:
    found = call("--ledger", ledger, "pause", "--reason", "x", *words)
    assert found.exit_code == 2 and says in " ".join(found.stderr.replace("│", " ").split())
    assert json.loads(call("--ledger", ledger, "status", "-o", "json").stdout)["pauses"] == []


def test_it_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "patchwarden", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0 and ran.stdout.startswith("patchwarden, version")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["fleet", "--at", "yesterdy"], 2, "is no moment and no span"),
        (["search", "--since", "5 minutes"], 2, "is no moment and no span"),
        (["search", "--after", "x"], 2, "is no cursor"),
        (["diff", "--since", "2026-11-30", "--at", "2026-11-24"], 2, "the span ends before it begins"),
        (["decisions", "abc"], 2, "at least the first 8 hex digits"),
        (["report", "--out", "x.doc"], 2, "must end in .html, .pdf"),
        (["verify", "--against-ledger"], 2, "goes with --export DIR"),
        (["verify", "--bucket"], 1, "holds no export: `patchwarden audit export` makes one"),
        (["verify", "--bucket", "--node", "i-1"], 2, "leave --since and --node out"),
        (["fleet", "--export", "."], 1, "holds no export"),
        (["shwo"], 2, "show"),
    ],
)
def test_a_slip_in_an_audit_has_its_code_and_its_remedy(ledger: Path, words: list[str], code: int, says: str) -> None:
    found = CliRunner().invoke(cli, ["--ledger", str(ledger), "audit", *words])
    told = found.stderr or str(found.exception)
    assert says in told
    assert found.exit_code == code


def test_an_audit_gives_the_same_figures_from_the_ledger_and_from_its_export(ledger: Path, tmp_path: Path) -> None:
    ledger = copied(ledger, tmp_path / "copy.sqlite")
    signed, twice = (call("--ledger", ledger, "audit", "checkpoint") for _ in range(2))
    assert signed.exit_code == twice.exit_code == 0 and twice.stdout == ""
    assert "checkpoint 1 speaks for now already: nothing to sign" in twice.stderr
    assert call("--ledger", ledger, "audit", "export", "--out", tmp_path / "out").exit_code == 0
    again = call("--ledger", ledger, "audit", "export", "--out", tmp_path / "out")
    assert "0 files new or other than before" in again.stderr
    for words in (["fleet", "--at", "2026-11-24"], ["diff", "--since", "2026-11-24"], ["durations"], ["sla"],
                  ["exemptions"], ["search", "--since", "7d", "--limit", "500"]):  # fmt: skip
        one, two = (call("--ledger", ledger, "audit", *words, *more, "-o", "json") for more in
                    ([], ["--export", str(tmp_path / "out")]))  # fmt: skip
        assert one.exit_code == two.exit_code == 0, one.stderr + two.stderr
        assert json.loads(one.stdout) == json.loads(two.stdout), words
        assert json.loads(one.stdout)["schema_version"] == 1
    checked = call("--ledger", ledger, "audit", "verify", "--export", tmp_path / "out", "--against-ledger")
    assert checked.exit_code == 0 and "1 checkpoint up to" in checked.stdout


@pytest.mark.parametrize("ending", ["html", "pdf", "csv", "json", "ocsf.jsonl"])
def test_a_report_is_printed_and_hostile_text_stays_text(ledger: Path, tmp_path: Path, ending: str) -> None:
    copy, out = copied(ledger, tmp_path / "copy.sqlite"), tmp_path / f"report.{ending}"
    ports = wiring.local(str(copy))
    case = next(case for case in ports.ledger.all_heads() if case.state == "ticketed")
    hostile = '=HYPERLINK("http://x")<script>alert(1)</script>\u202e\u65e5'
    record(ports, case, Cause.TICKETED, hostile)
    found = call("--ledger", copy, "audit", "report", "--out", out)
    assert found.exit_code == 0, found.stderr
    raw = out.read_bytes()
    if ending == "pdf":
        assert raw.startswith(b"%PDF")
        return
    text = raw.decode()
    assert case.id in text
    if ending == "html":
        assert "<script" not in text and "&lt;script&gt;" in text and "whole, in order and unchanged" in text
    if ending == "csv":
        cells = {cell for row in csv.reader(io.StringIO(text)) for cell in row}
        assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]
        assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    if ending == "ocsf.jsonl":
        findings = [json.loads(line) for line in text.splitlines()]
        assert {(one["class_uid"], one["type_uid"] // 100) for one in findings} == {(2003, 2003)}
        assert len(findings) == len(list(ports.ledger.all_heads()))


def test_what_was_done_to_the_service_is_asked_by_who_did_it(ledger: Path, tmp_path: Path) -> None:
    file = copied(ledger, tmp_path / "copy.sqlite")
    assert call("--ledger", file, "pause", "--reason", "audit day", "--by", "mary").exit_code == 0
    assert call("--ledger", file, "resume", "--reason", "over", "--by", "john").exit_code == 0
    found = json.loads(call("--ledger", file, "audit", "journal", "--actor", "MARY", "-o", "json").stdout)
    assert [(line["subject"], line["actor"], line["because"]) for line in found] == [("pause/all", "mary", "audit day")]
    ended = call("--ledger", file, "audit", "journal", "--kind", "pause", "--actor", "john", "-o", "csv").stdout
    assert [line.split(",")[1:4] for line in ended.splitlines()[1:]] == [["pause/all", "resumed", "john"]]
    newest = call("--ledger", file, "audit", "journal", "--kind", "pause", "--limit", "1", "-o", "jsonl")
    assert json.loads(newest.stdout)["what"] == "resumed" and "the newest 1 of " in newest.stderr
    assert call("--ledger", file, "audit", "journal", "--kind", "guard", "-o", "csv").stdout.count("\n") == 1
    nobody = call("--ledger", file, "audit", "journal", "--actor", "marry")
    assert "none of" in nobody.stderr and "mary" in nobody.stderr
    assert "audit journal" in call("--ledger", file, "audit", "search", "--actor", "mary").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["audit", "fleet", "--policy", "prod-windw"], "knows no policy prod-windw; did you mean prod-window?"),
        (["audit", "search", "--policy", "prod-windw"], "knows no policy prod-windw; did you mean prod-window?"),
        (["tail", "--policy", "prod-windw"], "knows no policy prod-windw; did you mean prod-window?"),
        (["audit", "durations", "--account", "111122223334"], "did you mean 111122223333?"),
        (["audit", "report", "--out", "x.json", "--account", "111122223334"], "did you mean 111122223333?"),
        (["audit", "sla", "--tag", "Enviroment=prod"], "no node on record has a tag Enviroment; did you mean"),
        (["audit", "fleet", "--tag", "Environment=prodd"], "did you mean Environment=prod"),
        (["audit", "fleet", "--node", "i-0"], "nothing is recorded about i-0"),
        (["audit", "fleet", "--node", "111122223333/i-0"], "give an id, or account/region/id"),
        (["audit", "fleet", "--after", "nonsense"], "is no cursor"),
        (["audit", "whynot", "--after", "nonsense"], "is no cursor"),
    ],
)
def test_a_filter_that_names_nothing_is_refused(ledger: Path, words: list[str], says: str) -> None:
    found = call("--ledger", ledger, *words)
    assert found.exit_code == 2, found.stdout
    assert says in found.stderr


def test_a_node_filter_takes_the_whole_name(ledger: Path) -> None:
    node = node_of(ledger, "resolved")
    told = json.loads(call("--ledger", ledger, "audit", "fleet", "--node", node, "-o", "json").stdout)
    assert {(one["account"], one["region"], one["node"]) for one in told["remediations"]} == {tuple(node.split("/"))}


def test_a_list_of_the_status_that_is_only_a_beginning_says_so(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = json.loads(call("--ledger", ledger, "status", "-o", "json").stdout)
    states = {name: now["states"].get(name, 0) for name in ("queued", "ticketed", "waiting")}
    assert now["totals"] == states and max(states.values()) > 1
    monkeypatch.setattr(present, "LISTED", 1)
    state = max(states, key=lambda name: states[name])
    table = call("--ledger", ledger, "status").stdout
    assert f"(1 of {states[state]}; `audit whynot --state {state}` lists all)" in " ".join(table.split())
    assert "account" in table and "region" in table


@pytest.mark.parametrize(("pauses", "held", "free"), [([], None, True), ([], "wave", False), ([{}], None, False)])
def test_what_is_held_is_not_said_to_start_with_the_next_rounds(
    pauses: list[dict[str, Any]], held: str | None, free: bool
) -> None:
    title = command_line._queued({"pauses": pauses, "queued": [{"held": None}, {"held": held}]})
    assert title.startswith("Queued: starts with the next rounds")
    assert title.endswith(", once nothing holds it") is not free


@pytest.mark.parametrize(
    "words",
    [["policy", "check", "policies", "--sarif"], ["policy", "compile", "policies", "-f"]],
)
def test_what_cannot_be_written_is_one_sentence(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "nowhere" / "file.json"
    monkeypatch.setattr(sys, "argv", ["patchwarden", *words, str(place)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert f"Error: {place}: No such file or directory; name a file" in capsys.readouterr().err.replace("\n", "")


def test_what_the_demo_says_to_try_is_one_line_each_on_a_narrow_terminal(ledger: Path) -> None:
    told = io.StringIO()
    story: Any = SimpleNamespace(ports=wiring.local(str(ledger)))
    demo_page._what_next(Console(file=told, width=40, force_terminal=True, no_color=True), story, ledger)
    lines = told.getvalue().splitlines()
    for command, shows in leaving.to_try(story.ports, f"{demo_page._command()} --ledger {ledger}"):
        assert any(command in line and shows in line for line in lines), command


def test_what_the_demo_says_to_try_works_when_it_is_copied(ledger: Path, tmp_path: Path) -> None:
    file = copied(ledger, tmp_path / "a copy.sqlite")
    ports = wiring.local(str(file))
    lines = list(leaving.to_try(ports, f"patchwarden --ledger '{file}'"))
    words = [shlex.split(line)[3:] for line, _ in lines]
    assert [each[0] for each in words] == ["status", "approvals", "approve", "explain", "rollout", "audit", "web"]
    assert {said.split(" ", 1)[1] for said in leaving.left(ports)} == {
        "for a yes", "for a window", "for a person with a ticket",
    }  # fmt: skip
    for each in words[:-1]:
        found = call("--ledger", file, *each)
        assert found.exit_code == 0 and found.output.strip(), (each, found.output)
    assert call("--ledger", file, "audit", "verify").exit_code == 0
    assert "queued" in call("--ledger", file, "explain", words[2][1]).stdout


def test_a_new_demo_leaves_nothing_of_the_old_one_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "demo.sqlite"
    for name in ("demo.evidence", "demo.policies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "old.json").write_text("{}")
    for name in ("demo.sqlite", "demo.key", "other.key"):
        (tmp_path / name).write_text("old")
    fresh(file)
    assert [each.name for each in tmp_path.iterdir()] == ["other.key"]


def test_a_ledger_that_may_not_be_written_is_read(
    ledger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copied(ledger, tmp_path / "copy.sqlite")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    before = file.read_bytes()
    assert json.loads(call("--ledger", file, "status", "-o", "json").stdout)["states"]
    refused = call("--ledger", file, "pause", "--reason", "x")
    assert isinstance(refused.exception, Denied) and "readonly" in str(refused.exception)
    assert file.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"copy.sqlite", "copy.policies"}


def test_an_empty_file_is_no_ledger_and_stays_empty(tmp_path: Path) -> None:
    file = tmp_path / "empty.sqlite"
    file.touch()
    found = call("--ledger", file, "status")
    assert (found.exit_code, file.stat().st_size) == (1, 0) and "it is no ledger" in found.stderr


def test_nothing_is_not_called_whole(tmp_path: Path) -> None:
    file = tmp_path / "new.sqlite"
    wiring.local(str(file)).ledger.mark("made")
    found = call("--ledger", file, "audit", "verify")
    assert found.exit_code == 0 and "nothing to check" in found.stderr and "whole" not in found.stdout
    other = call("audit", "verify", "--export", tmp_path)
    assert other.exit_code == 1 and "holds no export" in other.stderr


def test_the_future_is_not_asked_about(ledger: Path) -> None:
    found = call("--ledger", ledger, "audit", "fleet", "--at", "2099-01-01")
    assert found.exit_code == 2 and "is still to come" in found.stderr


def test_one_ledger_has_one_now(ledger: Path) -> None:
    """The story's clock may be ahead of this machine's: all commands take the later one."""
    there = wiring.local(str(ledger)).ledger
    swept = there.kept(LAST)
    assert swept, "the story has swept"
    ended = Pass.from_json(swept.value).ended
    last = max(moment for moment in (ended, *(case.since for case in there.all_heads())) if moment)
    assert last == ended, "nothing that is told lies in the future: the last sweep neither"
    early = last - timedelta(days=30)

    class Early:
        def now(self) -> datetime:
            return early

        def sleep(self, seconds: float) -> None:
            raise AssertionError(seconds)

    clock = Ahead(Early(), wiring.local(str(ledger)).ledger)
    assert clock.now() == last
    early = last + timedelta(days=1)
    assert clock.now() == early
    assert isinstance(Scope(ledger).ports().clock, Ahead)


@pytest.mark.parametrize(
    "words", [["schedule", "run", "nightly"], ["schedule", "members"], ["config", "exceptions"], ["doctor"]]
)
def test_what_only_aws_can_answer_is_refused_for_a_local_ledger(ledger: Path, words: list[str]) -> None:
    found = call("--ledger", ledger, *words)
    assert found.exit_code == 2 and "leave --local and --ledger away" in found.stderr


@pytest.mark.parametrize("flag", ["--local", "--ledger"])
def test_where_to_look_stands_before_the_command(flag: str) -> None:
    found = call("status", flag)
    assert found.exit_code == 2 and f"{flag} stands before the command" in found.stderr


def test_a_closed_remediation_says_that_there_is_nothing_to_decide(ledger: Path) -> None:
    told = call("--ledger", ledger, "explain", node_of(ledger, "resolved")).stdout
    assert "resolved: nothing to decide; the last decision was line" in " ".join(told.split())


def test_why_is_said_by_either_word(ledger: Path, tmp_path: Path) -> None:
    file = copied(ledger, tmp_path / "copy.sqlite")
    assert call("--ledger", file, "pause", "--because", "audit day").exit_code == 0
    assert call("--ledger", file, "resume", "--reason", "over").exit_code == 0
    assert "--reason" in call("approve", "--help").stdout and "--because" in call("guard", "release", "--help").stdout


def test_a_node_is_known_by_each_of_its_names(ledger: Path) -> None:
    node = node_of(ledger, "ticketed")
    account, region, id = node.split("/")
    kind = "ssm:{}:{}:managed-instance" if id.startswith("mi-") else "ec2:{}:{}:instance"
    arn = f"arn:aws:{kind.format(region, account)}/{id}"
    names = (node, id, f" {id} ", arn, ".".join((account, region, id)), ".".join((account, region, id, "patch")))
    for words in (("audit", "show"), ("explain",), ("tail", "--since", "99d", "--node"), ("audit", "fleet", "--node")):
        found = [call("--ledger", ledger, *words, name, "-o", "json") for name in names]
        assert {one.exit_code for one in found} == {0}, (words, [one.output for one in found])
        assert all(f'"{id}"' in one.stdout or f".{id}." in one.stdout for one in found), words


def test_no_list_of_commands_cuts_a_sentence() -> None:
    for path, group in commands():
        if isinstance(group, click.Group):
            told = call(*path, "--help").stdout
            listed = " ".join(told.partition("Commands:")[2].split())
            for name, command in group.commands.items():
                sentence = command.get_short_help_str(10_000)
                assert sentence and f"{name} {sentence}" in listed, (path, name)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("status", "nothing is recorded yet"),
        ("approvals", "nothing asks for a yes"),
        ("executions", "No execution is in flight"),
        ("tail", "no line fits"),
        ("guard list", "no guard holds anything"),
        ("rollout list", "no rollout has begun"),
        ("emergency list", "there never was an emergency"),
        ("policy history", "no set was ever published here"),
        ("audit fleet", "no remediation fits"),
        ("audit search", "no line fits from 20"),
        ("audit whynot", "nothing waits"),
        ("audit sla", "no deadline was broken"),
        ("audit decisions 12345678", "no decision under 12345678 since"),
        ("audit journal", "the journal is empty"),
        ("audit verify", "there is nothing to check"),
    ],
)
def test_a_ledger_without_lines_says_what_is_not_there(tmp_path: Path, words: str, says: str) -> None:
    file = tmp_path / "new.sqlite"
    wiring.local(str(file)).ledger.mark("made")
    found = call("--ledger", file, *words.split())
    assert found.exit_code == 0 and says in found.output, found.output


def test_every_json_object_has_a_schema_version(ledger: Path) -> None:
    for words in ("status", "executions", "explain " + node_of(ledger, "ticketed"), "audit whynot", "audit verify"):
        told = json.loads(call("--ledger", ledger, *words.split(), "-o", "json").stdout)
        assert told["schema_version"] == 1, words


def test_an_export_says_where_it_went_and_how_much_it_was(ledger: Path, tmp_path: Path) -> None:
    found = call("--ledger", ledger, "audit", "export", "--out", tmp_path / "out", "-o", "json")
    lines, days = (
        sum(day["lines"] for day in json.loads(found.stdout)),
        len(list((tmp_path / "out" / "trail").iterdir())),
    )
    said = " ".join(found.stderr.split())
    assert lines and f"{lines} lines of {days} days in {tmp_path / 'out'}; " in said, said
