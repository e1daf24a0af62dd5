"""Site: which path shows which page, and what goes back to the browser. It knows no web framework."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chalicelib import act as people
from chalicelib import approve, lookup
from chalicelib.answers import TooLarge
from chalicelib.core.errors import Denied, PatchwardenError
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import valid_place
from chalicelib.core.printing import csv_text, json_text, plain
from chalicelib.pages import flow, node, now, rules, trail
from chalicelib.pages import waiting as waits
from chalicelib.pages.look import Look, Page, takes
from chalicelib.pages.views import Ask, Badge, Banner, Chart, Figure, Link, Table, Timeline, View, Words
from chalicelib.ports import Past, Ports, Signer, Vault
from chalicelib.routes import MOST, Parameter, Wrong

FOLDER = Path(__file__).with_name("templates")

Query = Mapping[str, str]

_PLACES = {"account": "Account", "region": "Region", "ou": "OU", "policy": "Policy", "tag": "Tag (Key=value)"}
_SPAN = {"since": "Since", "at": "Until"}
_NAME = Parameter("policy", {"type": "string", "minLength": 1, "maxLength": 128}, "The id of a policy.")

PAGES = (
    Page("overview", "Overview", now.overview, tuple(one for one in takes("trend") if one.name in ("at", "since")),
         {"since": "Since"}, since="14d"),
    Page("funnel", "Funnel", flow.funnel, takes("funnel"), {**_SPAN, **_PLACES, "severity": "Severity"}),
    Page("waiting", "Waiting", waits.waiting, takes("whynot"), {"state": "State", "account": "Account",
                                                                "policy": "Policy"}),
    Page("policies", "Policies", rules.policies, (_NAME,), {"policy": "Policy"}),
    Page("speed", "Speed", flow.speed, takes("durations", "sla"), {**_SPAN, **_PLACES, "severity": "Severity"}),
    Page("executions", "Executions", now.executions, takes("executions"), {"account": "Account", "policy": "Policy"}),
    Page("exemptions", "Exemptions", rules.exemptions, takes("exemptions"), {"at": "At"}),
    Page("audit", "Audit", trail.search, takes("search"),
         {**_SPAN, "node": "Node", "account": "Account", "ou": "OU", "state": "State", "cause": "What",
          "actor": "Actor", "policy": "Policy", "text": "Text"}, since="7d"),
    Page("audit/fleet", "Audit", trail.fleet, takes("fleet"), {"at": "At", "state": "State", **_PLACES}),
    Page("audit/diff", "Audit", trail.diff, takes("diff"), {"since": "Since", "at": "Until", **_PLACES}, since="7d"),
    Page("audit/verify", "Audit", trail.verify, takes("search", without=("at",))[:1], {"since": "Since"}, since="24h"),
)  # fmt: skip
"""The pages by path, in the order of the menu; what stands below another is not in it."""

NODE = Page("node", "Node", node.node, (
    Parameter("verify", {"type": "string", "enum": ["1"]}, "1: hold it against the signed checkpoints."),
    Parameter("skip", {"type": "integer", "minimum": 0, "maximum": 10**6}, "How many lines are left out."),
))  # fmt: skip

MENU = tuple(Link(page.title, page.path) for page in PAGES if "/" not in page.path)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
                               "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip
"""https://developer.mozilla.org/docs/Web/HTTP/CSP"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages are made from; without vault and signer no signature is checked.

    `source`: where the past is read from instead of ledger and vault; `note`: what has to be said of it on each page.
    `patient`: no gateway ends a request after 29 s.
    """

    ports: Ports
    vault: Vault | None = None
    signer: Signer | None = None
    source: Past | None = None
    note: str = ""
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, whether they may act, and the token that their forms must bring back."""

    name: str
    may_act: bool = False
    token: str = ""


def show(desk: Desk, path: str, query: Query, visitor: Visitor) -> Answer:
    """The answer to GET of a path below the root; `.json` and `.csv` behind it ask for the same in another form."""
    path = path.strip("/")
    if path in _FILES:
        return Answer(200, (FOLDER / path).read_text(), _FILES[path], {"Cache-Control": "max-age=300"})
    if path == "":
        return Answer(303, "", headers={"Location": "overview"})
    path, form = _form(path)
    if path == "find":
        return _find(desk, query, visitor)
    page, where = _page(path)
    if page is None:
        return _refused(desk, visitor, path, form, 404, "There is no such page.")
    try:
        look = Look(desk.ports, desk.ports.clock.now(), where, page.read(query), desk.vault, desk.source, desk.patient,
                    signer=desk.signer, given=dict(query))  # fmt: skip
        found = page.make(look)
        whole = _all_rows(page, look, found) if found and form == "csv" else None
    except tuple(kind for kind, _ in _STATUS) as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        return _refused(desk, visitor, path, form, status, str(error))
    if found is None:
        return _refused(desk, visitor, path, form, 404, f"Nothing is recorded about {path.removeprefix('node/')}.")
    if form == "json":
        return _json(found, path, query)
    if whole:
        return _csv(whole, path, query)
    return Answer(200, _html(desk, found, page.form(look), path, query, visitor))


_STATUS: tuple[tuple[type[Exception], int], ...] = ((Wrong, 400), (TooLarge, 422), (Denied, 502),
                                                    (PatchwardenError, 503))  # fmt: skip


def act(desk: Desk, path: str, form: Mapping[str, str], visitor: Visitor) -> Answer:
    """The answer to POST: a person's yes, no or hold, and on to the page of the node."""
    path = path.strip("/")
    if not visitor.may_act or not hmac.compare_digest(form.get("token", "").encode(), visitor.token.encode()):
        return _refused(desk, visitor, path, "html", 403, "You may look here, but not act.")
    deed = _DEEDS.get(form.get("say", ""))
    if path != "act" or deed is None:
        return _refused(desk, visitor, path, "html", 404, "There is nothing to do here.")
    case = desk.ports.ledger.head(form.get("remediation", ""))
    if case is None:
        return _refused(desk, visitor, path, "html", 404, "There is no such remediation.")
    try:
        receipt = deed(desk.ports, case.id, by=visitor.name, because=form.get("because", ""))
    except PatchwardenError as error:
        return _refused(desk, visitor, path, "html", 503, f"Nothing was done: {error}", f"node/{case.node}")
    if receipt.status == "refused":
        return _refused(desk, visitor, path, "html", 409, f"Nothing was done: {receipt.because}.", f"node/{case.node}")
    return Answer(303, "", headers={"Location": f"node/{case.node}"})


_DEEDS = {"approve": approve.approve, "reject": approve.reject, "hold": people.hold}
_FILES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def _form(path: str) -> tuple[str, str]:
    bare, _, form = path.rpartition(".")
    return (bare, form) if form in ("json", "csv") else (path, "html")


def _page(path: str) -> tuple[Page | None, dict[str, str]]:
    parts = path.split("/")
    if parts[0] == "node" and len(parts) == 4 and valid_place(*parts[1:3]):
        return NODE, dict(zip(("account", "region", "node"), parts[1:], strict=True))
    return next((page for page in PAGES if page.path == path), None), {}


def _find(desk: Desk, query: Query, visitor: Visitor) -> Answer:
    """From what people call a node to its page; to a list if that may be several, or none."""
    text = query.get("node", "").strip()
    found = [str(one) for one in lookup.nodes(desk.ports.ledger, text)] if text else []
    if len(found) == 1:
        return Answer(303, "", headers={"Location": f"node/{found[0]}"})
    near = [] if found or not text else lookup.near(desk.ports.ledger, text)
    table = Table("", ("node",), [(Link(one, f"node/{one}"),) for one in found or near], "No node is called that.",
                  "Nothing is recorded about it; these are near." if near else "")  # fmt: skip
    view = View("Find a node", "Give an id, or account/region/id.", {"nodes": found, "near": near}, table, (), (table,))
    return Answer(200 if found or not text else 404, _html(desk, view, (), "find", query, visitor))


def _refused(desk: Desk, visitor: Visitor, path: str, form: str, status: int, text: str, back: str = "") -> Answer:
    if form == "json":
        problem = {"type": "about:blank", "status": status, "title": _TITLES[status], "detail": text}
        return Answer(status, json_text(problem), "application/problem+json")
    if form == "csv":
        return Answer(status, plain(text) + "\n", "text/plain; charset=utf-8")
    also = (Link("Back to the node", back),) if back else ()
    view = View(_TITLES[status], text, {"error": text}, Table("", (), ()), also=also)
    return Answer(status, _html(desk, view, (), path, {}, visitor))


_TITLES = {400: "Cannot be read", 403: "Not allowed", 404: "Not found", 409: "Not done", 422: "Too large for this page",
           502: "AWS refused", 503: "Come again"}  # fmt: skip


def _html(desk: Desk, view: View, filters: tuple[Any, ...], path: str, query: Query, visitor: Visitor) -> str:
    asked = f"?{urlencode(query)}" if query else ""
    bare, refresh = path.rpartition("/")[2] or "overview", query.get("refresh", "")

    def further(name: str, cursor: str | None) -> str:
        """The same page from another row on."""
        kept = {key: value for key, value in query.items() if key != name}
        return "?" + urlencode({**kept, name: cursor} if cursor else kept)

    made: str = _template().render(
        view=view, note=desk.note, filters=filters, root="../" * path.count("/") or "./", menu=MENU,
        current=path.partition("/")[0],
        at=format_moment(desk.ports.clock.now()), token=visitor.token, may_act=visitor.may_act, name=visitor.name,
        json=f"{bare}.json{asked}", csv=f"{bare}.csv{asked}", further=further, later=query.get("after"),
        forms=view.title not in _TITLES.values(), path=path,
        refresh=refresh if refresh.isascii() and refresh.isdigit() and 5 <= int(refresh[:6]) <= 86_400 else "",
    )  # fmt: skip
    return made


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True, finalize=_shown)  # fmt: skip
    kinds = {"link": Link, "table": Table, "chart": Chart, "banner": Banner, "timeline": Timeline, "ask": Ask,
             "badge": Badge, "words": Words, "figure": Figure}  # fmt: skip
    made.tests |= {name: _is(kind) for name, kind in kinds.items()}
    made.tests["short"] = lambda value: isinstance(value, str) and len(value) <= SHORT and " " not in value
    made.filters["readable"] = _readable
    return made.get_template("page.html")


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


def _readable(moment: str) -> str:
    return f"{moment[:10]} {moment[11:19]} UTC"


SHORT = 22
"""Letters of a word that is not broken over two lines."""

MUCH = 4000
"""Characters of one text on a page; the JSON has all."""


def _shown(value: object) -> object:
    """Text from tags and nodes may hold what steers a reader or turns a line around: it stands as escapes."""
    if type(value) is not str:
        return value
    text = plain(value)
    return text if len(text) <= MUCH else f"{text[:MUCH]}… ({len(text)} characters)"


AT_ONCE = 5_000
"""Rows that one CSV may have; API Gateway hands over 6 MB at most."""


def _all_rows(page: Page, look: Look, found: View) -> Table:
    """The main table with the rows of the pages that follow; just its own page if the URL names a limit."""
    table, rows = found.main, [*found.main.rows]
    while table.next and len(rows) < AT_ONCE and "limit" not in look.query:
        more = page.make(replace(look, query={**look.query, "limit": MOST, "after": table.next}))
        table = more.main if more else replace(table, next=None)
        rows += table.rows if more else []
    return replace(table, rows=rows)


def _following(path: str, form: str, query: Query, cursor: str | None) -> str | None:
    """Where the rows that follow are, beside this page; None: these were the last."""
    return f"{path.rpartition('/')[2]}.{form}?{urlencode({**query, 'after': cursor})}" if cursor else None


def _json(found: View, path: str, query: Query) -> Answer:
    """What the page says, and under `page` whether that is all of it."""
    following = _following(path, "json", query, found.next)
    whole = {"complete": following is None and not found.cut, "next": following, "cut": [*found.cut]}
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Answer(200, json_text({**found.data, "page": whole}, indent=2), "application/json", headers)


def _csv(table: Table, path: str, query: Query) -> Answer:
    """The main table; badges and links are their text, figures what programs read. A last row says if more follow."""
    rows = [[_raw(cell) for cell in row] for row in table.rows]
    following = _following(path, "csv", query, table.next)
    if following:
        rows.append([f"more rows follow: {following}", *[None] * (len(table.columns) - 1)])
    headers = {"Link": f'<{following}>; rel="next"'} if following else {}
    return Answer(200, csv_text(table.columns, rows), "text/csv; charset=utf-8", headers)


def _raw(cell: Any) -> Any:
    if isinstance(cell, Figure):
        return cell.value
    return cell.text if isinstance(cell, Link | Badge) else cell
