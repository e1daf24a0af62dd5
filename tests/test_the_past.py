"""Any fleet at any moment: every way of asking says what counting the lines of the trail by hand says."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import app as service
from chalicelib import answers, history, speed, wiring
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.points import Where
from chalicelib.core.remediations import TRANSITIONS, Cause, Remediation, State, advance, apply
from chalicelib.evidence import done, export
from chalicelib.pages.site import Desk, Visitor, show
from chalicelib.past import FromLedger
from chalicelib.ports import Change, Past
from chalicelib.standing import FromStanding, grow
from patchwarden.cli import cli
from tests import oracle
from tests.api.gateway import Gateway
from tests.verbs.conftest import World

BEGIN = datetime(2026, 11, 2, 22, tzinfo=UTC)
ACCOUNTS, REGIONS = ("111122223333", "444455556666"), ("eu-west-1", "us-east-1", "ap-south-1")
MILLISECOND, HOUR = timedelta(milliseconds=1), timedelta(hours=1)
PAUSES = (timedelta(0), timedelta(0), MILLISECOND, timedelta(minutes=7), 2 * HOUR - MILLISECOND, 2 * HOUR, 19 * HOUR,
          timedelta(days=2))  # fmt: skip
OVER = (State.RESOLVED, State.GONE)


def walked(seed: int, trails: int = 12) -> World:
    """A ledger whose trails go any way that the law allows: several at one moment, over midnight, gone and back."""
    chance, world = random.Random(seed), World()
    moments = [BEGIN + timedelta(hours=chance.randrange(60)) for _ in range(trails)]
    for number, at in enumerate(moments):
        node = Node(chance.choice(ACCOUNTS), chance.choice(REGIONS), f"i-{number:017x}")
        case = Remediation(node, chance.choice([Control.PATCH, Control.ASSOCIATION]))
        for _ in range(chance.randrange(1, 14)):
            case = _step(chance, world, case, at)
            at += chance.choice(PAUSES)
    last = max(line.at for case in world.ledger.all_heads() for line in world.ledger.trail(case.id))
    world.clock.move(last + 5 * timedelta(days=1) - world.clock.now())
    return world


def _step(chance: random.Random, world: World, case: Remediation, at: datetime) -> Remediation:
    cause = chance.choice(sorted(set(TRANSITIONS[case.state]) - {Cause.WITHDRAWN}))
    sets: dict[str, Any] = {}
    if case.number == 0 or (case.state in OVER and cause not in (Cause.NOTED, Cause.RESOLVED, Cause.GONE)):
        sets |= {"first_seen": format_moment(at - chance.choice(PAUSES)), "attempts": 0}
        sets |= {"episode": case.episode + 1} if case.number else {}
    if cause in (Cause.DEFERRED, Cause.QUEUED, Cause.TICKETED, Cause.EXEMPTED, Cause.OBSERVED):
        number = chance.randrange(3)
        ends = format_moment(at + timedelta(hours=chance.randrange(90)))
        sets["decision"] = {"policy": f"policy-{number}", "policy_digest": str(number) * 64, "set_digest": "a" * 64,
                            "action": "remediate", "severity": number + 1, "priority": 0,
                            **({"deadline": ends} if number else {})}  # fmt: skip
    facts = {"facts": {"node": {"tags": {"Team": chance.choice(["web", "data"])}}}} if chance.random() < 0.5 else {}
    line = advance(case, cause, because="so", now=at, sets=sets, evidence=facts)
    head = apply(case, line)
    world.ledger.append(Change(line, head))
    return head


def edges(lines: list[oracle.Line], seed: int) -> list[datetime]:
    """Before everything, at the first line, around some others, at midnight, after the last, and long after it."""
    times = sorted({datetime.fromisoformat(line["at"]) for line in lines})
    some = random.Random(seed).sample(times, min(4, len(times)))
    around = [one + shift for one in some for shift in (-MILLISECOND, timedelta(0), MILLISECOND)]
    midnight = times[len(times) // 2].replace(hour=0, minute=0, second=0, microsecond=0)
    return [times[0] - timedelta(days=3), times[0] - MILLISECOND, times[0], *around, midnight, midnight - MILLISECOND,
            times[-1], times[-1] + MILLISECOND, times[-1] + timedelta(days=4)]  # fmt: skip


WHERES: tuple[dict[str, str], ...] = (
    {}, {"account": ACCOUNTS[0]}, {"region": REGIONS[1]}, {"state": "resolved"}, {"state": "gone"},
    {"policy": "policy-1"}, {"tag": "Team=web"}, {"account": ACCOUNTS[1], "region": REGIONS[0], "severity": "2"},
)  # fmt: skip


def where_of(given: dict[str, str]) -> Where:
    return Where(**{name: int(value) if name == "severity" else value for name, value in given.items()})  # type: ignore[arg-type]


def rows(told: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("id", "state", "number", "hash", "since", "policy")
    return [tuple(one[name] for name in names) for one in told["remediations"]]


@settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(seed=st.integers(0, 10**6))
def test_ledger_export_and_standing_say_what_the_lines_say(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    world = walked(seed)
    folder, vault = tmp_path_factory.mktemp("out"), wiring.folder(tmp_path_factory.mktemp("vault"))
    list(export(world.ports, wiring.folder(folder), open_days=True))
    list(export(world.ports, vault))
    days = done(vault)
    grow(world.ledger, vault, days[: len(days) - 1 - seed % 3])
    pasts: list[Past] = [FromLedger(world.ledger, remember=True), FromStanding(world.ledger, vault),
                         wiring.exported(folder)]  # fmt: skip
    lines = oracle.exported(folder)
    assert len(lines) == sum(len(world.ledger.trail(case.id)) for case in world.ledger.all_heads())
    moments = edges(lines, seed)
    for place, at in enumerate(moments):
        given, text = WHERES[place % len(WHERES)], format_moment(at)
        since = moments[(place * 7 + seed) % len(moments)]
        for past in pasts:
            for filters in ({}, given):
                told = history.fleet(past, at, where_of(filters), limit=1000)
                said = {"states": told["states"], "total": told["total"], "remediations": rows(told)}
                assert said == oracle.fleet(lines, text, filters), (type(past), text, filters)
            if since > at:
                continue
            _same_spans(past, lines, since, at, given)


def _same_spans(past: Past, lines: list[oracle.Line], since: datetime, at: datetime, given: dict[str, str]) -> None:
    begin, end, where = format_moment(since), format_moment(at), where_of(given)
    moved = history.diff(past, since, at, where, limit=1000)
    said = oracle.diff(lines, begin, end, given)
    assert [(one["id"], one["before"], one["after"]) for one in moved["remediations"]] == said
    assert moved["changed"] == len(said) == sum(one["remediations"] for one in moved["moves"])
    found = oracle.episodes(lines, end, given)
    fast = speed.durations(past, since, at, where)
    assert fast["spans"]["detected_to_verified"] == oracle.durations(found, begin, end)
    assert fast["funnel"] == speed.funnel(past, since, at, where)["stages"] == oracle.funnel(found, begin, end)
    late = speed.sla(past, since, at, where, limit=1000)
    assert {name: late[name] for name in oracle.sla([], begin, end)} == oracle.sla(found, begin, end)
    assert speed.ages(past, at, where)["open"] == sum(one["state"] not in ("resolved", "gone") for one in found)
    curve = history.trend(past, since, at, where, steps=2)["points"]
    assert [point["states"] for point in curve] == [
        oracle.fleet(lines, point["at"], given)["states"] for point in curve
    ]


@pytest.fixture(params=[1, answers.LARGEST], ids=["from-standing", "from-the-ledger"])
def ways(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One ledger behind every way in, whose past stands on what each day's export left, or is read line by line."""
    world, vault = walked(77, 25), wiring.folder(tmp_path / "vault")
    list(export(world.ports, vault))
    grow(world.ledger, vault, done(vault))
    list(export(world.ports, wiring.folder(tmp_path / "out"), open_days=True))
    monkeypatch.setattr(answers, "LARGEST", request.param)
    monkeypatch.setattr(wiring, "vault", lambda settings: vault)
    monkeypatch.setattr(wiring, "clock", lambda: world.clock)
    wiring.use(world.ports)
    yield Desk(world.ports, vault), Gateway(service.app), tmp_path / "out"
    wiring.use(None)


def test_command_line_rest_page_and_duckdb_say_what_the_lines_say(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, folder = ways
    lines = oracle.exported(folder)
    moments = edges(lines, 3)
    for place, at in enumerate(moments[::2]):
        given, text = WHERES[place % 4], format_moment(at)
        since = format_moment(moments[place])
        told = _asked(desk, gateway, folder, "fleet", "fleet", {**given, "at": text, "limit": "200"})
        said = oracle.fleet(lines, text, given)
        assert all({**one, "remediations": rows(one)} == said for one in told), text
        if since > text:
            continue
        told = _asked(desk, gateway, folder, "diff", "fleet/diff", {**given, "since": since, "at": text})
        moved = oracle.diff(lines, since, text, given)
        assert all(one["changed"] == len(moved) for one in told), (since, text)


def _asked(desk: Desk, gateway: Gateway, folder: Path, command: str, route: str, query: dict[str, str]) -> list[Any]:
    """The answers of the command line, of the same over the export, of REST and of the page."""
    words = ["audit", command, "-o", "json", *(word for name, value in query.items() for word in (f"--{name}", value))]
    found = []
    for more in ((), ("--export", str(folder))):
        done = CliRunner().invoke(cli, [*words, *more])
        assert done.exit_code == 0, (words, done.output)
        found.append(json.loads(done.stdout))
    status, said = gateway.ask(f"/{route}?{urlencode(query)}")
    assert status == 200, said
    page = show(desk, f"audit/{command}.json", query, Visitor("me"))
    assert page.status == 200, page.body
    names = ("states", "total", "remediations") if command == "fleet" else ("changed", "moves", "remediations")
    return [{name: one[name] for name in names} for one in (*found, said, json.loads(page.body))]
