"""Hostile text goes through every way out as text: nothing in it is run, obeyed or shown as something else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from chalicelib import act, approve, proof, wiring
from chalicelib.adapters.memory import MemoryClock
from chalicelib.adapters.notices import JsonNotices
from chalicelib.core.nodes import Node
from chalicelib.core.points import EVERYTHING
from chalicelib.pages.site import PAGES, Desk, Visitor, show
from chalicelib.past import FromLedger
from chalicelib.report import report
from patchwarden.cli import cli
from patchwarden.evidence_pack import PRINTERS, printed
from tests.hostile import FORMULA, HOSTILE, MARK, steering
from tests.pages import demo
from tests.sets import HERE, NOW, policy, policy_set, tag
from tests.verbs.conftest import World

TEXTS = list(HOSTILE.values())
APPROVED = {"by": "ciso@example.com", "on": "2026-11-02", "ticket": "RISK-1"}


def _policies() -> Any:
    """One policy for each text and action, whose title, owner and reason are that text."""
    made = []
    for place, text in enumerate(TEXTS):
        for action in ("ticket", "approve", "remediate", "exempt", "observe"):
            more = {"reason": text, "until": "2027-01-01T00:00:00Z", "approved": {**APPROVED, "ticket": text[:100]}}
            given = {"title": text, "owner": text, **(more if action == "exempt" else {}),
                     "band": "default" if action == "observe" else "standard"}  # fmt: skip
            made.append(policy(f"p{place}-{action}", tag("Place", str(place)), tag("Action", action), action=action,
                               window="saturday" if action == "remediate" else None, **given))  # fmt: skip
    return policy_set(*made)


@pytest.fixture(scope="module")
def world() -> World:
    """Nodes whose tags, names and platforms are hostile, in every state, with hostile people speaking about them."""
    made = World(policies=policy_set(policy("now")))
    broken = Node(HERE.account, HERE.region, "i-0000000000000beef")
    made.node(broken)
    run = made.start(broken)
    made.end(run, "Failed", nodes={broken: "Failed"})
    made.policies = _policies()
    for place, text in enumerate(TEXTS):
        for number, action in enumerate(("ticket", "approve", "remediate", "exempt", "observe")):
            node = Node(HERE.account, HERE.region, f"i-{place:08x}{number:09x}")
            tags = {"Place": str(place), "Action": action, "Name": text, text: "as a name", "Owner": text}
            made.node(node, tags=tags, platform_name=text, group=text)
            made.say(node)
            case = made.case(node)
            assert case.decision["policy"] == f"p{place}-{action}", case
            act.acknowledge(made.ports, case.id, text, text, f"k{place}")
            if action == "approve":
                said = approve.reject if place % 2 else approve.approve
                said(made.ports, case.id, by=text, because=text)
            if action == "remediate":
                act.hold(made.ports, case.id, by=text, because=text)
    for place, text in enumerate(TEXTS[:40]):
        made.pause(text, scope=f"account/{place:012}", by=text)
    return made


@pytest.fixture
def wired(world: World) -> Iterator[World]:
    wiring.use(world.ports)
    yield world
    wiring.use(None)


def paths(world: World) -> list[str]:
    heads = [
        case for case in world.ledger.all_heads() if case.decision.get("policy", "").endswith(("ticket", "-approve"))
    ]
    return [*(page.path for page in PAGES), "waiting?limit=200", "audit?limit=200&since=30d",
            *(f"node/{case.node}" for case in heads[:: max(1, len(heads) // 40)])]  # fmt: skip


def test_no_page_lets_data_become_markup(browser: Browser, world: World) -> None:
    """What the browser made of each page: no element, handler, address or style that is not ours."""
    seen = ""
    with demo.served(Desk(world.ports), name=HOSTILE["single attribute"]) as at:
        page = browser.new_page()
        complaints = list[str]()
        page.on("console", lambda message: complaints.append(message.text))
        for path in paths(world):
            page.goto(at + path)
            found = page.evaluate("""() => {
                const all = [...document.querySelectorAll('*')], own = new Set(['https:', 'http:']);
                return {
                    elements: all.map(one => one.localName),
                    handlers: all.flatMap(one => one.getAttributeNames())
                                 .filter(name => /^on|^style$|^autofocus$/.test(name)),
                    away: all.flatMap(one => [one.href, one.src, one.action]).filter(to => typeof to == 'string' && to)
                             .filter(to => !to.startsWith(location.origin)),
                    evil: typeof window.evil, text: document.body.innerText, title: document.title,
                };
            }""")
            assert not {MARK, "script", "img", "iframe", "style", "animate", "object"} & {*found["elements"]}, path
            assert (found["handlers"], found["away"], found["evil"]) == ([], [], "undefined"), path
            assert not steering(found["text"], "\n\t") and found["title"].endswith(" · Patchwarden"), path
            seen += found["text"]
        page.close()
    assert complaints == []
    for name in ("element", "script", "attribute", "template", "rich markup"):
        assert HOSTILE[name][:250] in seen, f"{name} is not shown as it was written"
    assert "{{ 7 * 7 }}" in seen


def answered(world: World, path: str, form: str) -> str:
    bare, _, query = path.partition("?")
    asked = dict(part.split("=") for part in query.split("&") if part)
    answer = show(Desk(world.ports), f"{bare}.{form}", asked, Visitor("me"))
    assert answer.status == 200, (path, answer.body[:300])
    return answer.body


def test_no_json_holds_what_steers(world: World) -> None:
    for path in paths(world):
        body = answered(world, path, "json")
        assert not steering(body), path
        assert json.loads(body)
    titles = {one["title"] for one in json.loads(answered(world, "policies", "json"))["policies"]}
    assert {*TEXTS} <= titles, "a program reads back just what was written"


def checked(text: str, path: str) -> int:
    """How many cells a spreadsheet would find, each of them harmless."""
    head, *rows = list(csv.reader(io.StringIO(text)))
    assert all(len(row) == len(head) for row in rows), path
    cells = [cell for row in rows for cell in row]
    for cell in cells:
        assert not cell.lstrip().startswith(FORMULA) or cell.lstrip("-").isdigit(), (path, cell)
        assert not steering(cell, ""), (path, cell)
    return len(cells)


def test_no_cell_is_a_formula(world: World) -> None:
    assert sum(checked(answered(world, path, "csv"), path) for path in paths(world)) > 1000


COMMANDS = [
    ["status"], ["executions"], ["approvals"], ["tail", "--since", "2026-11-01"], ["explain", "NODE"],
    *(["audit", name] for name in ("fleet", "search", "diff", "whynot", "exemptions", "durations", "sla", "funnel",
                                   "ages", "trend")),
    ["audit", "show", "NODE"],
]  # fmt: skip


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_no_command_lets_data_steer_the_terminal(wired: World, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "clock", lambda: wired.clock)
    node = next(case for case in wired.ledger.all_heads() if case.decision.get("policy") == "p26-approve").node
    spoke = 0
    for words in COMMANDS:
        done = CliRunner().invoke(cli, [*(str(node) if word == "NODE" else word for word in words), "-o", form])
        assert done.exit_code == 0, (words, done.output, done.exception)
        assert not steering(done.stdout), (words, steering(done.stdout))
        assert not steering(done.stderr), words
        if form == "csv" and words[0] != "tail":
            checked(done.stdout, str(words))
        spoke += len(done.stdout)
    assert spoke > 10_000


@pytest.mark.parametrize("wrong", [["--tag", "x"], ["--tag", "Owner=x"], ["--tag", HOSTILE["single attribute"]],
                                   ["--ou", "x"], ["--policy", "p\x1b[2J"]])  # fmt: skip
def test_no_error_lets_data_steer_the_terminal(wired: World, wrong: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that names nothing is told what there is, and that is what nodes say of themselves."""
    monkeypatch.setattr(wiring, "clock", lambda: wired.clock)
    done = CliRunner().invoke(cli, ["audit", "fleet", *wrong])
    assert done.exit_code == 2 and "; " in done.stderr and not steering(done.output, "\n"), steering(done.output, "\n")


def test_a_log_line_stays_one_line_that_says_what_was_said() -> None:
    stream = io.StringIO()
    notices = JsonNotices(MemoryClock(NOW), stream)
    for text in TEXTS:
        notices.say("transition", because=text, node=text, tags={text: text}, listed=[text])
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(TEXTS) and stream.getvalue().isascii() and not steering(stream.getvalue())
    assert [json.loads(line)["what"] for line in lines] == ["transition"] * len(TEXTS)
    assert all(json.loads(line)["level"] == "INFO" for line in lines)


def test_a_ticket_holds_text_and_its_own_lines_only(world: World) -> None:
    assert len(world.tickets.kept) >= 2 * len(TEXTS)
    for ticket in world.tickets.kept.values():
        assert not steering(ticket.title, ""), ticket
        for text in ticket.texts:
            assert not steering(text) and len(text) <= 2048
            first, *_, empty, because = text.split("\n")
            assert first.startswith("Node: ") and empty == "" and because, text
            assert len(text.split("\n")) == 8, "a datum added a line"


@pytest.mark.parametrize("ending", sorted(PRINTERS))
def test_a_report_prints_text(browser: Browser, world: World, ending: str, tmp_path: Path) -> None:
    now = world.clock.now()
    pack = report(FromLedger(world.ledger), now, now, EVERYTHING, world.policies, proof.verify(world.ledger, now))
    content = printed(pack, ending)
    if ending == ".html":
        file = tmp_path / "report.html"
        file.write_bytes(content)
        page = browser.new_page()
        page.goto(file.as_uri())
        names = {*page.evaluate("[...document.querySelectorAll('*')].map(one => one.localName)")}
        assert not {MARK, "script", "img", "svg", "link", "iframe"} & names
        assert page.evaluate("typeof window.evil") == "undefined"
        assert HOSTILE["element"] in page.inner_text("body") and not steering(page.inner_text("body"), "\n\t")
        page.close()
    elif ending == ".pdf":
        assert content.startswith(b"%PDF-") and not any(
            word in content for word in (b"/JavaScript", b"/URI", b"/Launch")
        )
    elif ending == ".csv":
        assert checked(content.decode(), "report.csv") > 100
    elif ending == ".json":
        assert not steering(content.decode()) and {one["title"] for one in json.loads(content)["policies"]} >= {*TEXTS}
    else:
        lines = content.decode().splitlines()
        assert len(lines) == pack["total"] and all(json.loads(line)["class_uid"] for line in lines)
        assert content.isascii()


def test_a_name_that_is_a_filter_is_a_value(world: World) -> None:
    for text in TEXTS:
        for field in ("tag", "policy", "actor", "text", "node"):
            answer = show(Desk(world.ports), "audit.json", {field: text, "since": "30d"}, Visitor("me"))
            assert answer.status in (200, 400) and not steering(answer.body), (field, text[:40])


def test_the_world_is_as_hostile_as_it_says(world: World) -> None:
    """Else all of the above would hold for nothing: the texts are in the trail as they were written."""
    tags = {value for case in world.ledger.all_heads() for line in world.ledger.trail(case.id)
            for value in ((line.evidence.get("facts") or {}).get("node") or {}).get("tags", {}).values()}  # fmt: skip
    assert {*TEXTS} <= tags
    states = {case.state.value for case in world.ledger.all_heads()}
    assert {"ticketed", "exempt", "open", "queued"} <= states
