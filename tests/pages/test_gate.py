"""The pages as API Gateway serves them: under one path, behind the caller's proved identity, with relative links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

import app as service
from chalicelib import wiring
from chalicelib.core.approvals import asks
from chalicelib.core.remediations import Remediation
from chalicelib.pages.routes import ACT, GETS
from chalicelib.pages.site import MENU, Desk
from tests.api.gateway import CALLER, Gateway

FORM = "application/x-www-form-urlencoded"
READER = {"sub": "1", "email": "reader@example.com", "cognito:groups": "patchwarden-read"}


@pytest.fixture
def gateway(desk: Desk) -> Iterator[Gateway]:
    wiring.use(desk.ports)
    yield Gateway(service.app)
    wiring.use(None)


@pytest.fixture
def asked(desk: Desk) -> Remediation:
    return min((case for case in desk.ports.ledger.all_heads() if asks(case.decision)), key=lambda case: case.id)


def post(gateway: Gateway, case: Remediation, say: str, *, site: str | None = "same-origin", **more: object) -> int:
    headers = {"content-type": FORM, **({"sec-fetch-site": site} if site else {})}
    body = urlencode({"token": "", "say": say, "remediation": case.id, "because": "the board agreed"}).encode()
    status, answer, _ = gateway.send("POST", ACT, headers=headers, body=body, **more)  # type: ignore[arg-type]
    assert status != 303 or answer["Location"] == f"node/{case.node}"
    return status


def test_every_page_is_there_and_its_links_stay_below_the_stage(gateway: Gateway, asked: Remediation) -> None:
    for path in (*(item.to for item in MENU), "audit/fleet", "audit/diff", "audit/verify", f"node/{asked.node}"):
        status, headers, body = gateway.send("GET", f"/pages/{path}")
        assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8", path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        links = re.findall(r'(?:href|action|src)="([^"]*)"', body.decode())
        assert links and not [link for link in links if link.startswith("/") or "://" in link], path
    for path, kind in (("style.css", "text/css"), ("icon.svg", "image/svg+xml"), ("speed.json", "application/json"),
                       ("speed.csv", "text/csv"), ("audit.csv", "text/csv"), ("audit/fleet.json", "application/json"),
                       (f"node/{asked.node}.json", "application/json")):  # fmt: skip
        status, headers, body = gateway.send("GET", f"/pages/{path}")
        assert status == 200 and headers["Content-Type"].startswith(kind) and body, path


def test_the_root_leads_on_and_keeps_the_stage(gateway: Gateway) -> None:
    status, headers, _ = gateway.send("GET", "/pages")
    assert (status, headers["Location"]) == (303, "pages/overview")


def test_a_filter_of_the_query_is_read(gateway: Gateway) -> None:
    status, _, body = gateway.send("GET", "/pages/waiting", query="state=exempt&account=")
    assert status == 200 and b'value="exempt" selected' in body
    assert gateway.send("GET", "/pages/waiting", query="state=bogus")[0] == 400


def test_every_path_asks_who_calls_and_each_resource_has_its_method() -> None:
    methods = {path: {*found} for path, found in service.app.routes.items() if path.startswith("/pages")}
    assert methods == {**{path: {"GET"} for path in GETS}, ACT: {"POST"}}
    entries = [
        entry for path, found in service.app.routes.items() if path.startswith("/pages") for entry in found.values()
    ]
    assert all(entry.authorizer is not None for entry in entries)
    parents = {path.rpartition("/")[0] for path in methods if "{page}" in path}
    assert parents <= {*methods}, "API Gateway gives a path to its most specific resource, which needs a method"


def test_an_act_carries_the_proved_name(gateway: Gateway, desk: Desk, asked: Remediation) -> None:
    assert post(gateway, asked, "approve") == 303
    assert any(line.actor == CALLER for line in desk.ports.ledger.trail(asked.id))
    assert post(gateway, asked, "approve") == 409


@pytest.mark.parametrize("site", [None, "cross-site", "same-site", "none"])
def test_a_form_of_another_site_does_nothing(gateway: Gateway, desk: Desk, asked: Remediation, site: str) -> None:
    assert post(gateway, asked, "approve", site=site) == 403
    assert desk.ports.ledger.head(asked.id) == asked


def test_who_may_only_read_sees_no_form_and_cannot_act(gateway: Gateway, desk: Desk, asked: Remediation) -> None:
    status, _, body = gateway.send("GET", "/pages/waiting", claims=READER)
    assert status == 200 and b"<form" in body and b'method="post"' not in body and b"may look but not act" in body
    assert post(gateway, asked, "approve", claims=READER) == 403
    assert desk.ports.ledger.head(asked.id) == asked


def test_a_form_that_is_too_large_is_refused(gateway: Gateway) -> None:
    headers = {"content-type": FORM, "sec-fetch-site": "same-origin"}
    assert gateway.send("POST", ACT, headers=headers, body=b"x=" + b"y" * 20_000)[0] == 413
