"""The REST API as callers meet it: the same figures as the look-ups, one problem for each slip, each act once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import app as service
from chalicelib import wiring
from chalicelib.adapters.memory import MemoryClock
from chalicelib.core.findings import Control
from chalicelib.history import fleet
from chalicelib.openapi import ANSWERS, document
from chalicelib.pages.routes import ACT, GETS
from chalicelib.past import FromLedger
from chalicelib.pause import in_force
from chalicelib.ports import Ports
from chalicelib.routes import ROUTES, Route
from chalicelib.serve import caller
from patchwarden import auditing
from tests.api.gateway import CALLER, Gateway
from tests.once import copied

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ports(the_demo: Path, tmp_path: Path) -> Iterator[Ports]:
    """A copy of the demo's ledger, an hour after its end."""
    file = copied(the_demo / "demo.sqlite", tmp_path / "demo.sqlite")
    bundle = wiring.local(str(file))
    last = max(line.at for case in bundle.ledger.all_heads() for line in bundle.ledger.trail(case.id))
    bundle = replace(bundle, clock=MemoryClock(last + timedelta(hours=1)))
    wiring.use(bundle)
    yield bundle
    wiring.use(None)


@pytest.fixture
def gateway(ports: Ports) -> Gateway:
    return Gateway(service.app)


def post(
    gateway: Gateway, path: str, body: Any, key: str | None = "k-1", **more: Any
) -> tuple[int, Any, dict[str, str]]:
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    status, said, raw = gateway.send("POST", path, headers=headers, body=json.dumps(body).encode(), **more)
    return status, json.loads(raw), said


def test_the_document_in_the_docs_is_the_one_that_is_served(gateway: Gateway) -> None:
    kept = json.loads((ROOT / "docs" / "openapi.json").read_text())
    assert kept == document(), "make docs draws it anew"
    status, said = gateway.ask("/openapi.json")
    assert status == 200 and {**said, "schema_version": None} == {**kept, "schema_version": None}


def test_the_filters_are_those_of_the_command_line() -> None:
    fleet_route = next(route for route in ROUTES if route.name == "fleet")
    taken = {one.name: one.schema.get("enum") for one in fleet_route.parameters}
    for name, kind, _ in auditing._FILTERS:
        assert taken.pop(name) == (list(kind.choices) if isinstance(kind, click.Choice) else None), name
    assert {*taken} == {"at", "limit", "after"}
    assert {*Control} == {*next(one for one in fleet_route.parameters if one.name == "control").schema["enum"]}


def test_every_route_of_the_app_is_in_the_table_and_asks_who_calls(gateway: Gateway) -> None:
    served = {(method, path) for path, methods in service.app.routes.items() for method in methods}
    pages = {("POST", ACT), *(("GET", path) for path in GETS)}
    assert served == {(route.method, route.path) for route in ROUTES} | pages
    assert {route.name for route in ROUTES} == {*ANSWERS}
    entries = [entry for methods in service.app.routes.values() for entry in methods.values()]
    assert all(entry.authorizer is not None for entry in entries)


def test_the_fleet_is_what_the_look_up_says(gateway: Gateway, ports: Ports) -> None:
    at = ports.clock.now()
    status, said = gateway.ask("/fleet?limit=200")
    assert status == 200 and said == fleet(FromLedger(ports.ledger), at, limit=200)
    half, day = gateway.ask("/fleet?at=2026-11-24&state=waiting"), datetime.fromisoformat("2026-11-24T00:00:00+00:00")
    assert half[1]["states"].keys() <= {"waiting"} and half[1]["at"] == "2026-11-24T00:00:00.000Z"
    assert half[1]["total"] == fleet(FromLedger(ports.ledger), day)["states"].get("waiting", 0)


def test_pages_end_and_hold_everything_once(gateway: Gateway, ports: Ports) -> None:
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        query = f"limit=5&after={after}" if after else "limit=5"
        _, _, raw = gateway.send("GET", "/remediations", query=query.replace("#", "%23"))
        page = json.loads(raw)
        found += [row["id"] for row in page["remediations"]]
        after = page["next"]
    assert sorted(found) == sorted(case.id for case in ports.ledger.all_heads())


def test_an_answer_that_did_not_change_is_not_sent_again(gateway: Gateway, ports: Ports) -> None:
    _, headers, _ = gateway.send("GET", "/fleet")
    assert isinstance(ports.clock, MemoryClock)
    ports.clock.move(timedelta(minutes=5))
    status, _, body = gateway.send("GET", "/fleet", headers={"if-none-match": headers["ETag"]})
    assert (status, body) == (304, b"")
    post(gateway, f"/remediations/{next(ports.ledger.all_heads()).id}/acknowledge", {"reason": "seen"})
    assert gateway.send("GET", "/fleet", headers={"if-none-match": headers["ETag"]})[0] == 200


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/fleet?limit=201", 400, "at most 200"),
        ("/fleet?limit=0", 400, "limit"),
        ("/fleet?at=yesterday", 400, "2026-06-30T12:00:00Z"),
        ("/fleet?at=2026-02-30", 400, "2026-02-30 is no moment"),
        ("/fleet?stat=open", 400, "it takes at, account"),
        ("/fleet?state=sleeping", 400, "is one of open"),
        ("/search?since=2027-01-01&at=2026-01-01", 400, "ends before it begins"),
        ("/search?after=x", 400, "cursor"),
        ("/search?since=99999w", 200, ""),
        ("/remediations/111122223333.eu-west-1.i-00000000000000000.patch", 404, "nothing is recorded"),
        ("/remediations/x", 400, "such as 111122223333.eu-west-1"),
        ("/nodes/1/eu-west-1/i-00000000", 400, "12 digits"),
        ("/decisions/zz", 400, "digest"),
        ("/fleet?at=9999-12-31", 400, "9999-12-31 is still to come"),
        ("/decisions/00000000?since=2026-01-01&at=9999-12-31", 400, "still to come"),
        ("/search?after=zz/aa/9", 400, "is no cursor: give the `next` of the page before"),
        ("/fleet?after=zzz", 400, "The `next` of the page before"),
        ("/fleet/diff?after=..%2F..", 400, "after"),
        ("/exemptions?after=%00", 400, "after"),
        ("/remediations?after=zzz", 400, "The `next` of the page before"),
        ("/whynot?after=2026-11-24", 400, "after"),
        ("/approvals?after=a%23b", 400, "after"),
        ("/approvals?limit=201", 400, "at most 200"),
    ],
)
def test_a_slip_is_one_problem_that_names_it(gateway: Gateway, path: str, status: int, says: str) -> None:
    where, _, query = path.partition("?")
    found, headers, raw = gateway.send("GET", where, query=query)
    assert found == status, raw
    if status != 200:
        said = json.loads(raw)
        assert headers["Content-Type"] == "application/problem+json"
        assert said["status"] == status and says in said["detail"]


@pytest.mark.parametrize("path", ["/status", "/pages/overview.json"])
def test_what_nobody_foresaw_is_a_problem_too_and_tells_nothing(gateway: Gateway, ports: Ports, path: str) -> None:
    def counts() -> Any:
        raise ZeroDivisionError("a secret")

    ports.ledger.counts = counts  # type: ignore[method-assign]
    status, headers, body = gateway.send("GET", path)
    assert (status, headers["Content-Type"]) == (500, "application/problem+json")
    said = json.loads(body)
    assert (said["status"], said["title"]) == (500, "something went wrong here") and b"secret" not in body
    page = gateway.send("GET", "/pages/overview")
    assert page[0] == 500 and page[1]["Content-Security-Policy"].startswith("default-src 'none'")


def test_an_act_needs_a_caller_and_a_key(gateway: Gateway, ports: Ports) -> None:
    assert post(gateway, "/pause", {"reason": "a look"}, key=None)[0] == 400
    nobody = Gateway(service.app, caller=None)
    assert post(nobody, "/pause", {"reason": "a look"})[0] == 403
    reader = {"sub": "1", "cognito:groups": "patchwarden-read"}
    assert post(nobody, "/pause", {"reason": "a look"}, claims=reader)[0] == 403
    assert in_force(ports.ledger, ports.clock.now()) == ()
    member = {"sub": "1", "email": "op@example.com", "cognito:groups": "[other patchwarden-act]"}
    assert post(nobody, "/pause", {"reason": "a look"}, claims=member)[0] == 200
    assert caller({"authorizer": {"claims": {**member, "cognito:username": "op"}}}) == "op"
    (pause,) = in_force(ports.ledger, ports.clock.now())
    assert pause.by == "1", "an address may be changed"
    forged = {**member, "cognito:username": "arn:aws:iam::111122223333:user/the-boss"}
    assert post(nobody, "/resume", {"reason": "a look"}, key="k-2", claims=forged)[0] == 403


def test_a_pause_is_done_once_for_its_key_and_lifted_by_another(gateway: Gateway, ports: Ports) -> None:
    status, first, headers = post(gateway, "/pause", {"reason": "a look", "until": "4h"})
    assert status == 200 and "Idempotency-Replayed" not in headers
    again = post(gateway, "/pause", {"reason": "a look", "until": "4h"})
    assert again[:2] == (200, first) and again[2]["Idempotency-Replayed"] == "true"
    assert post(gateway, "/pause", {"reason": "another"})[0] == 422
    assert post(gateway, "/resume", {"reason": "done"}, key="k-2")[1]["was"]["by"] == CALLER
    assert in_force(ports.ledger, ports.clock.now()) == ()
    told = [(line.what, line.actor, line.because) for line in ports.ledger.entries("pause/all")]
    assert told == [("paused", CALLER, "a look"), ("resumed", CALLER, "done")]


def test_what_a_person_does_stands_in_the_trail_under_their_name(gateway: Gateway, ports: Ports) -> None:
    case = next(case for case in ports.ledger.all_heads() if case.state == "ticketed")
    for _ in range(2):
        status, said, _ = post(gateway, f"/remediations/{case.id}/acknowledge", {"reason": "on it\n=1+1"})
        assert status == 200
    (line,) = [line for line in ports.ledger.trail(case.id) if line.actor == CALLER]
    assert line.because == "acknowledged: on it =1+1" and said["trail"][-1] == line.to_json()
    status, said, _ = post(gateway, f"/remediations/{case.id}/evaluate", {"reason": "look again"}, key="k-2")
    assert status == 200 and len(said["trail"]) > line.number + 1
    assert said["trail"][line.number]["because"] == "decided again on request: look again"


def test_of_an_act_only_the_number_of_its_line_is_kept(gateway: Gateway, ports: Ports) -> None:
    case = next(case for case in ports.ledger.all_heads() if case.state == "ticketed")
    kept: list[Mapping[str, Any]] = []
    keep = ports.ledger.keep

    def notes(name: str, value: Mapping[str, Any], *, expected: int) -> None:
        kept.append(value)
        keep(name, value, expected=expected)

    ports.ledger.keep = notes  # type: ignore[method-assign]
    path = f"/remediations/{case.id}/acknowledge"
    post(gateway, path, {"reason": "on it"})
    assert kept[-1]["answer"] == {"number": case.number + 1}, "a trail may be longer than an item of the ledger"
    post(gateway, path, {"reason": "still on it"}, key="k-2")
    status, said, headers = post(gateway, path, {"reason": "on it"})
    assert (status, headers["Idempotency-Replayed"]) == (200, "true")
    assert [line["because"] for line in said["trail"][-2:]] == ["acknowledged: on it", "acknowledged: still on it"]


def test_whoever_holds_a_case_over_rest_takes_it_over_once(gateway: Gateway, ports: Ports) -> None:
    case = next(case for case in ports.ledger.all_heads() if case.state in ("waiting", "queued", "open"))
    path = f"/remediations/{case.id}/hold"
    first = post(gateway, path, {"reason": "I look at it"})
    again = post(gateway, path, {"reason": "I look at it"})
    assert first[:2] == again[:2] and again[2]["Idempotency-Replayed"] == "true"
    assert first[0] == 200 and first[1]["status"] == "decided" and first[1]["state"] == "ticketed"
    line = ports.ledger.trail(case.id)[-1]
    assert (line.number, line.actor, line.because) == (case.number + 1, CALLER, f"held by {CALLER}: I look at it")
    refused = post(gateway, path, {"reason": "once more"}, key="k-2")
    assert refused[0] == 200 and refused[1]["status"] == "refused" and "only what waits" in refused[1]["because"]
    assert len(ports.ledger.trail(case.id)) == line.number
    assert post(gateway, path, {"reason": "no key"}, key=None)[0] == 400
    assert post(gateway, path.replace("patch/", "nothing/"), {"reason": "x"}, key="k-3")[0] == 404


def test_a_request_that_broke_off_is_not_done_twice(gateway: Gateway, ports: Ports) -> None:
    case = next(case for case in ports.ledger.all_heads() if case.state == "ticketed")
    keep = ports.ledger.keep

    def breaks(name: str, value: Mapping[str, Any], *, expected: int) -> None:
        if "answer" in value:
            raise KeyboardInterrupt
        keep(name, value, expected=expected)

    path = f"/remediations/{case.id}/acknowledge"
    ports.ledger.keep = breaks  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        post(gateway, path, {"reason": "seen"})
    ports.ledger.keep = keep  # type: ignore[method-assign]
    assert post(gateway, path, {"reason": "seen"})[0] == 409
    assert isinstance(ports.clock, MemoryClock)
    ports.clock.move(timedelta(minutes=2))
    assert post(gateway, path, {"reason": "seen"})[0] == 200
    assert sum(line.actor == CALLER for line in ports.ledger.trail(case.id)) == 1


CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_no_request_breaks_it_and_every_answer_is_as_described(route: Route, gateway: Gateway) -> None:
    described = schemathesis.openapi.from_wsgi("/openapi.json", gateway)
    seen = set[int]()

    @settings(max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=described[route.path][route.method].as_strategy())
    def holds(case: schemathesis.Case[Any]) -> None:
        seen.add(case.call_and_validate(checks=CHECKS).status_code)

    holds()
    assert seen & {200, 404}, seen
