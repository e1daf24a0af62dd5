"""The pages in a real browser: opened, filtered, answered, exported; without a script, a complaint or a barrier."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from chalicelib.approve import reject
from chalicelib.core.approvals import asks
from chalicelib.pages.site import PAGES, Desk
from tests.pages import demo
from tests.setup_browser import AXE

WATCH = """document.addEventListener('securitypolicyviolation', event =>
    console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI))"""


def every(desk: Desk) -> list[str]:
    """The path of every page, a node's that waits for a yes and one's that was proved among them."""
    heads = sorted(desk.ports.ledger.all_heads(), key=lambda case: case.id)
    asked = next(case for case in heads if asks(case.decision))
    proved = next(case for case in heads if case.state == "resolved" and case.execution)
    return [*(page.path for page in PAGES), "speed?since=1h", f"node/{asked.node}?verify=1", f"node/{proved.node}"]


@contextmanager
def opened(browser: Browser, **settings: Any) -> Iterator[tuple[Page, list[str]]]:
    """A tab, and what it complains of."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **settings})
    page, said = context.new_page(), list[str]()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script(WATCH)
    yield page, said
    context.close()


@pytest.fixture
def address(desk: Desk) -> Iterator[str]:
    with demo.served(desk) as at:
        yield at


def test_every_page_opens_without_a_complaint_and_fits_the_screen(browser: Browser, desk: Desk, address: str) -> None:
    with opened(browser) as (page, said):
        for path in every(desk):
            answer = page.goto(address + path)
            assert answer and answer.status == 200, path
            assert page.locator("h1").inner_text() and page.locator("main").inner_text().strip(), path
            for width in (1280, 390):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} at {width}"
        assert said == []


def test_a_complaint_would_be_heard(browser: Browser, address: str) -> None:
    with opened(browser) as (page, said):
        page.goto(address + "overview")
        with page.expect_console_message(lambda message: message.text.startswith("CSP script-src")):
            page.evaluate(
                "document.body.append(Object.assign(document.createElement('script'), {src: 'https://x.invalid'}))"
            )
        assert any(line.startswith("CSP script-src") for line in said), said


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_meets_a_barrier(browser: Browser, desk: Desk, address: str, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not here: python -m tests.setup_browser fetches it")
    found = []
    with opened(browser, color_scheme=scheme) as (page, _):
        for path in every(desk):
            page.goto(address + path)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            page.evaluate(AXE.read_text())
            answer = page.evaluate("axe.run({resultTypes: ['violations']})")
            found += [(path, one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"])
                      for one in answer["violations"] if one["impact"] != "minor"]  # fmt: skip
    assert found == []


def test_a_filter_lives_in_the_address(browser: Browser, address: str) -> None:
    with opened(browser) as (page, said):
        page.goto(address + "waiting")
        page.get_by_label("State").select_option("ticketed")
        page.get_by_label("Policy").fill("batch-ask")
        page.get_by_role("button", name="Show").click()
        assert "state=ticketed" in page.url and "policy=batch-ask" in page.url
        table = page.get_by_role("table").last
        states = table.locator("td[data-label=state]").all_inner_texts()
        assert states and {*states} == {"ticketed"}
        assert {*table.locator("td[data-label=policy]").all_inner_texts()} == {"batch-ask"}
        assert page.get_by_label("State").input_value() == "ticketed"
        assert said == []


def test_what_cannot_be_read_is_told_in_a_sentence(browser: Browser, address: str) -> None:
    with opened(browser) as (page, _):
        for wrong in ("waiting?state=bogus", "speed?since=soon", "audit?limit=10000", "funnel?colour=red"):
            answer = page.goto(address + wrong)
            assert answer and answer.status == 400, wrong
            assert page.locator(".question").inner_text().startswith(("the filter ", "'colour' is no filter")), wrong


def test_a_yes_a_no_and_a_hold_need_no_script_and_carry_the_name(browser: Browser, desk: Desk, address: str) -> None:
    ledger = desk.ports.ledger
    asked = sorted((case for case in ledger.all_heads() if asks(case.decision)), key=lambda case: case.id)
    waits = next(case for case in ledger.all_heads() if case.state == "waiting")
    with opened(browser, java_script_enabled=False) as (page, said):
        for case, button, title, says in (
            (asked[0], "Approve", f"Answer {asked[0].node.id}", "approved by alex@example.com"),
            (asked[1], "Reject", f"Answer {asked[1].node.id}", "rejected by alex@example.com"),
            (waits, "Hold", f"Take over {waits.node.id}", "held by alex@example.com"),
        ):
            page.goto(address + "waiting")
            turn = page.locator("details", has_text=title)
            turn.locator("summary").click()
            turn.get_by_label("Why").fill(f"the board said {button.lower()}")
            turn.get_by_role("button", name=button).click()
            assert page.url == f"{address}node/{case.node}"
            assert says in page.locator(".timeline").inner_text()
        assert said == []
    lines = {case.id: ledger.trail(case.id) for case in (*asked[:2], waits)}
    assert all(any(line.actor == "alex@example.com" for line in found) for found in lines.values())
    now = {case.id: ledger.head(case.id) for case in (*asked[:2], waits)}
    assert now[asked[0].id].state == "queued"  # type: ignore[union-attr]
    assert now[asked[1].id].decision["rejected"]["by"] == "alex@example.com"  # type: ignore[union-attr]
    assert now[waits.id].state == "ticketed"  # type: ignore[union-attr]


def test_an_act_that_is_refused_says_why(browser: Browser, desk: Desk, address: str) -> None:
    case = next(case for case in desk.ports.ledger.all_heads() if asks(case.decision))
    with opened(browser) as (page, _):
        page.goto(f"{address}node/{case.node}")
        assert reject(desk.ports, case.id, by="somebody@example.com", because="first").status == "decided"
        page.get_by_label("Why").fill("too late")
        page.get_by_role("button", name="Approve").click()
        assert "Nothing was done: nothing asks for an approval" in page.locator(".question").inner_text()
        page.get_by_role("link", name="Back to the node").click()
        assert page.locator("h1").inner_text() == str(case.node)


def test_each_page_goes_home_as_json_and_csv(browser: Browser, desk: Desk, address: str) -> None:
    with opened(browser) as (page, said):
        for path in every(desk):
            page.goto(address + path)
            there = page.get_by_role("link", name="JSON").evaluate("link => link.href")
            answer = page.request.get(there)
            assert answer.headers["content-type"] == "application/json" and json.loads(answer.text()), there
            with page.expect_download() as saved:
                page.get_by_role("link", name="CSV").click()
            head, *rows = Path(saved.value.path()).read_text().splitlines()
            assert head and all(rows), path
        assert said == []


def test_a_keyboard_is_enough(browser: Browser, address: str) -> None:
    with opened(browser) as (page, _):
        page.goto(address + "waiting")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "To the content"
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.tagName"))
        assert {"A", "SELECT", "INPUT", "BUTTON", "SUMMARY"} <= reached


def test_on_paper_are_the_figures_and_not_the_forms(browser: Browser, address: str) -> None:
    with opened(browser) as (page, _):
        page.goto(address + "speed")
        assert page.pdf()[:5] == b"%PDF-"
        page.emulate_media(media="print")
        assert not page.get_by_role("button", name="Show").is_visible()
        assert page.get_by_role("cell", name="detected to verified").is_visible()
        assert page.locator("figure table").first.is_visible(), "what a chart was drawn from is printed with it"


def test_who_only_looks_sees_no_form(browser: Browser, desk: Desk) -> None:
    with demo.served(desk, may_act=False) as at, opened(browser) as (page, _):
        for path in every(desk):
            page.goto(at + path)
            assert page.locator("form[method=post]").count() == 0, path
