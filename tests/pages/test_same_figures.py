"""The same question has the same answer on the command line, over REST, on a page, and from the export in DuckDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import duckdb
import pytest
from click.testing import CliRunner

import app as service
from chalicelib import history, speed, wiring
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.points import EVERYTHING
from chalicelib.core.remediations import State
from chalicelib.evidence import done, export
from chalicelib.pages.site import Desk, Visitor, show
from chalicelib.pages.views import told
from chalicelib.ports import Past
from chalicelib.standing import grow
from patchwarden.cli import cli
from patchwarden.web import from_export
from tests import oracle
from tests.api.gateway import Gateway
from tests.many import ACCOUNTS, UNITS, fill
from tests.verbs.conftest import World

Figures = dict[str, Any]


@pytest.fixture
def ways(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Desk, Gateway, Path]]:
    """The same bundle behind all of them, and its export."""
    wiring.use(desk.ports)
    monkeypatch.setattr(wiring, "clock", lambda: desk.ports.clock)
    folder = tmp_path / "export"
    list(export(desk.ports, wiring.folder(folder), open_days=True))
    yield desk, Gateway(service.app), folder
    wiring.use(None)


def called(*words: str) -> Any:
    done = CliRunner().invoke(cli, [*words, "-o", "json"])
    assert done.exit_code == 0, (words, done.output)
    return json.loads(done.stdout)


def page(desk: Desk, path: str, **query: str) -> Any:
    answer = show(desk, f"{path}.json", query, Visitor("me"))
    assert answer.status == 200, answer.body
    return {name: value for name, value in json.loads(answer.body).items() if name != "page"}


def html(desk: Desk, path: str, **query: str) -> str:
    answer = show(desk, path, query, Visitor("me"))
    assert answer.status == 200
    return answer.body


def same(*answers: Figures, but: tuple[str, ...] = ()) -> Figures:
    """The answer that all give; what only one way adds is named in `but`."""
    first, *others = ({name: value for name, value in one.items() if name not in but} for one in answers)
    for other in others:
        assert other == first
    return first


AT, SINCE = "2026-11-24T06:00:00Z", "2026-11-23"


def test_states_and_waiting(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, folder = ways
    now = format_moment(desk.ports.clock.now())
    found = same(called("status"), gateway.ask("/status")[1], page(desk, "overview")["status"],
                 but=("schema_version", "config_exceptions"))  # fmt: skip
    states = found["states"]
    assert sum(states.values()) > 20 and len(states) >= 5
    past: Past = wiring.exported(folder)
    assert {
        state: count for (state,), count in past.tally(desk.ports.clock.now(), EVERYTHING, ("state",)).items()
    } == states
    assert called("audit", "fleet", "--at", now, "--limit", "1")["states"] == states
    drawn = html(desk, "overview")
    assert f'<a href="./audit/fleet?state=resolved">{states["resolved"]}</a>' in drawn
    waits = same(called("audit", "whynot"), gateway.ask("/whynot")[1], page(desk, "waiting"), but=("approvals",))
    assert len(waits["remediations"]) == sum(states.get(state, 0) for state in (
        "waiting", "queued", "reboot_pending", "ticketed", "exempt", "open"))  # fmt: skip


def test_the_fleet_at_a_moment(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, folder = ways
    at = ("--at", AT)
    found = same(called("audit", "fleet", *at), called("audit", "fleet", *at, "--export", str(folder)),
                 gateway.ask(f"/fleet?at={AT}")[1], page(desk, "audit/fleet", at=AT))  # fmt: skip
    assert found["total"] > 20
    assert found["states"] == oracle.fleet(oracle.exported(folder), format_moment(parse_moment(AT)), {})["states"]
    drawn = html(desk, "audit/fleet", at=AT)
    assert all(f'<span class="value">{count}</span>' in drawn for count in found["states"].values())
    moved = same(called("audit", "diff", *at, "--since", SINCE), gateway.ask(f"/fleet/diff?at={AT}&since={SINCE}")[1],
                 called("audit", "diff", *at, "--since", SINCE, "--export", str(folder)),
                 page(desk, "audit/diff", at=AT, since=SINCE))  # fmt: skip
    assert moved["changed"] == found["total"]


def test_columns_that_somebody_changed_are_made_anew_once_the_export_is_checked(
    ways: tuple[Desk, Gateway, Path],
) -> None:
    _, _, folder = ways
    asked = ("audit", "fleet", "--at", AT, "--export", str(folder), "--limit", "1")
    states = called(*asked)["states"]
    for file in [*(folder / ".columns").glob("*.parquet")]:
        half = file.with_suffix(".half")
        duckdb.execute(f"COPY (SELECT * REPLACE ('resolved' AS became) FROM '{file}') TO '{half}' (FORMAT parquet)")
        half.replace(file)
    assert {*called(*asked)["states"]} == {"resolved"}
    assert CliRunner().invoke(cli, ["audit", "verify", "--export", str(folder)]).exit_code == 0
    assert called(*asked)["states"] == states


@pytest.mark.parametrize("query", [{}, {"policy": "dev-now"}, {"account": "111122223333", "severity": "3"}])
def test_how_fast_and_how_far(ways: tuple[Desk, Gateway, Path], query: dict[str, str]) -> None:
    desk, gateway, folder = ways
    options = [word for name, value in query.items() for word in (f"--{name}", value)]
    asked = "&".join(f"{name}={value}" for name, value in {"since": "30d", **query}.items())
    shown = {**page(desk, "speed", **query), "funnel": page(desk, "funnel", **query)}
    for name in ("durations", "sla", "funnel", "ages"):
        since = () if name == "ages" else ("--since", "30d")
        rest = asked.removeprefix("since=30d").lstrip("&") if name == "ages" else asked
        same(called("audit", name, *since, *options), called("audit", name, *since, *options, "--export", str(folder)),
             gateway.ask(f"/{name}?{rest}")[1], shown[name])  # fmt: skip
    durations, drawn = shown["durations"], html(desk, "speed", **query)
    whole = durations["spans"]["detected_to_verified"]
    assert told(whole["median"]) in drawn and told(whole["p90"]) in drawn
    assert durations["funnel"] == shown["funnel"]["stages"]
    assert sum(row["episodes"] for row in shown["funnel"]["left"]) + durations["funnel"]["verified"] == \
        durations["funnel"]["detected"]  # fmt: skip
    if not query:
        assert durations["verified"] >= 5 and whole["median"] < whole["p90"], "there is something to compare"


def test_how_it_moved(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, folder = ways
    found = same(called("audit", "trend", "--since", "7d"), gateway.ask("/trend?since=7d")[1],
                 called("audit", "trend", "--since", "7d", "--export", str(folder)),
                 page(desk, "overview", since="7d")["trend"])  # fmt: skip
    assert [point["total"] for point in found["points"]][-1] > 20 > found["points"][0]["total"] == 0
    assert found["schema_version"] == history.SCHEMA_VERSION and speed.ENDED


def test_exemptions_approvals_executions_and_policies(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, _ = ways
    same(called("audit", "exemptions"), gateway.ask("/exemptions?limit=200")[1], page(desk, "exemptions", limit="200"))
    asked = same(called("approvals"), gateway.ask("/approvals")[1])["approvals"]
    assert asked == page(desk, "waiting")["approvals"] and len(asked) > 2
    same(called("executions"), gateway.ask("/executions")[1], page(desk, "executions"), but=("schema_version",))
    same(gateway.ask("/policies")[1], page(desk, "policies"), but=("schema_version", "last"))


def test_what_is_now_is_asked_by_account_and_policy(ways: tuple[Desk, Gateway, Path]) -> None:
    desk, gateway, _ = ways
    ledger = desk.ports.ledger
    asked = called("approvals")["approvals"]
    account, policy = asked[0]["account"], asked[0]["policy"]
    running = next(case for case in ledger.work([State.QUEUED, State.WAITING]) if case.decision.get("policy"))
    for given in ({"account": account}, {"policy": policy}, {"account": account, "policy": policy},
                  {"account": running.node.account, "policy": str(running.decision["policy"])}):  # fmt: skip
        words, query = [word for name, value in given.items() for word in (f"--{name}", value)], urlencode(given)
        few = same(called("approvals", *words), gateway.ask(f"/approvals?{query}")[1])["approvals"]
        assert few == page(desk, "waiting", **given)["approvals"]
        assert few == [one for one in asked if all(one[name] == value for name, value in given.items())]
        waits = same(called("audit", "whynot", *words), gateway.ask(f"/whynot?{query}")[1],
                     page(desk, "waiting", **given), but=("approvals",))["remediations"]  # fmt: skip
        assert waits and all(one[name] == value for one in waits for name, value in given.items())
        same(called("executions", *words), gateway.ask(f"/executions?{query}")[1],
             page(desk, "executions", **given), but=("schema_version",))  # fmt: skip
    first = called("approvals", "--limit", "1")
    rest = called("approvals", "--after", first["next"])
    assert [*first["approvals"], *rest["approvals"]] == asked and rest["next"] is None
    for command in (("approvals",), ("executions",), ("audit", "whynot")):
        wrong = CliRunner().invoke(cli, [*command, "--policy", f"{policy}s"])
        assert wrong.exit_code == 2 and f"did you mean {policy}" in wrong.output


def test_the_pages_take_the_past_from_an_export_and_say_how_far_it_goes(
    ways: tuple[Desk, Gateway, Path], tmp_path: Path
) -> None:
    desk, _, folder = ways
    source, note = from_export(folder)
    last = max(line.at for case in desk.ports.ledger.all_heads() for line in desk.ports.ledger.trail(case.id))
    assert str(folder) in note and format_moment(last) in note
    local = replace(desk, source=source, note=note)
    for path in ("audit/fleet", "funnel", "speed", "exemptions", "audit"):
        assert page(local, path) == page(desk, path)
        assert note in html(local, path)
    (tmp_path / "empty" / "trail").mkdir(parents=True)
    done = CliRunner().invoke(cli, ["web", "--export", str(tmp_path / "empty")])
    assert done.exit_code == 1 and "audit export --out" in done.output


MANY = 3_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Desk, Gateway, Path]]:
    """More than the table is asked about one by one, what each day's export left, and an export of all of it."""
    world, vault = World(), wiring.folder(tmp_path_factory.mktemp("vault"))
    world.clock.move(fill(world.ledger, MANY) - world.clock.now() + timedelta(hours=1))
    list(export(world.ports, vault))
    assert grow(world.ledger, vault, done(vault)) > 20
    folder = tmp_path_factory.mktemp("export")
    list(export(world.ports, wiring.folder(folder), open_days=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "vault", lambda settings: vault)
        patch.setattr(wiring, "clock", lambda: world.clock)
        wiring.use(world.ports)
        yield Desk(world.ports, vault), Gateway(service.app), folder
        wiring.use(None)


ALL = ("fleet", "trend", "durations", "sla")
SOME = ("fleet", "diff", "funnel", "ages")


@pytest.mark.parametrize(("commands", "where"), [
    (ALL, {}), (("fleet",), {"account": ACCOUNTS[1]}), (SOME, {"ou": UNITS[0], "tag": "Team=web", "severity": "3"}),
])  # fmt: skip
def test_a_large_fleet_gets_the_same_figures_from_each(
    many: tuple[Desk, Gateway, Path], commands: tuple[str, ...], where: dict[str, str]
) -> None:
    desk, gateway, folder = many
    then = format_moment(desk.ports.clock.now() - timedelta(days=9, hours=5))
    spans = {"fleet": {"at": then}, "trend": {"since": "14d"}, "durations": {"at": then, "since": "7d"},
             "sla": {"since": "30d"}, "diff": {"since": "9d"}, "funnel": {"since": "30d"},
             "ages": {"at": then}}  # fmt: skip
    for command in commands:
        query = {**where, **spans[command]}
        words = ["audit", command, *(word for name, value in query.items() for word in (f"--{name}", value))]
        route = "fleet/diff" if command == "diff" else command
        found = same(called(*words), called(*words, "--export", str(folder)),
                     gateway.ask(f"/{route}?{urlencode(query)}")[1], _paged(desk, command, query),
                     but=("schema_version",))  # fmt: skip
        assert any(found.get(name) for name in ("total", "points", "changed", "verified", "met", "stages", "open"))


_ON = {"trend": ("overview", "trend"), "durations": ("speed", "durations"), "sla": ("speed", "sla"),
       "ages": ("speed", "ages"), "funnel": ("funnel", None), "fleet": ("audit/fleet", None),
       "diff": ("audit/diff", None)}  # fmt: skip


def _paged(desk: Desk, command: str, query: dict[str, str]) -> Any:
    path, part = _ON[command]
    said = page(desk, path, **query)
    return said[part] if part else said


def test_a_large_fleet_stands_on_what_the_export_left(
    many: tuple[Desk, Gateway, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, gateway, _ = many
    monkeypatch.setattr(desk.ports.ledger, "trail", lambda identity: pytest.fail(f"the trail of {identity} was read"))
    monkeypatch.setattr(desk.ports.ledger, "all_heads", lambda: pytest.fail("every head was read"))
    for route in ("fleet", "trend?since=14d", "durations?since=7d", "sla", "funnel?since=7d", "ages"):
        assert gateway.ask(f"/{route}")[0] == 200
    monkeypatch.undo()
    monkeypatch.setattr(wiring, "vault", lambda settings: None)
    status, said = gateway.ask("/fleet")
    assert status == 422 and "daily export" in said["detail"]
