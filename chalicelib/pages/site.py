"""Site: which path shows which page, and what goes back to the browser. It knows no web framework."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from chalicelib import approve
from chalicelib.core.errors import PatchwardenError
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import sentence
from chalicelib.pages import node, now, rules
from chalicelib.pages.views import Ask, Banner, Chart, Link, Table, Timeline, View
from chalicelib.ports import Ports

FOLDER = Path(__file__).with_name("templates")

Query = Mapping[str, str]
Page = Callable[[Ports, Query], View]

PAGES: dict[str, Page] = {
    "": now.overview,
    "waiting": now.waiting,
    "executions": now.executions,
    "policies": rules.policies,
    "exemptions": rules.exemptions,
}
"""The pages by path below the root, in the order of the menu."""

MENU = (Link("Overview", "."), Link("Waiting", "waiting"), Link("Executions", "executions"),
        Link("Policies", "policies"), Link("Exemptions", "exemptions"))  # fmt: skip

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
                               "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}  # fmt: skip
"""https://developer.mozilla.org/docs/Web/HTTP/CSP"""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str
    kind: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks, whether they may act, and the token that their forms must bring back."""

    name: str
    may_act: bool = False
    token: str = ""


def show(ports: Ports, path: str, query: Query, visitor: Visitor) -> Answer:
    """The answer to GET of a path below the root; `.json` and `.csv` behind it ask for the same in another form."""
    path = path.strip("/")
    if path in _FILES:
        return Answer(200, (FOLDER / path).read_text(), _FILES[path])
    path, form = _form(path)
    found = _view(ports, path, query)
    if found is None:
        return _told(ports, visitor, path, 404, "There is no such page.")
    if form == "json":
        return Answer(200, json.dumps(found.data, indent=2, sort_keys=True, ensure_ascii=False), "application/json")
    if form == "csv":
        return Answer(200, _csv(found.main), "text/csv; charset=utf-8")
    return Answer(200, _html(ports, found, path, query, visitor))


def act(ports: Ports, path: str, form: Mapping[str, str], visitor: Visitor) -> Answer:
    """The answer to POST: a person's yes, no or hold, and back to the page of the node."""
    path = path.strip("/")
    if not visitor.may_act or form.get("token") != visitor.token:
        return _told(ports, visitor, path, 403, "You may look here, but not act.")
    deed = _DEEDS.get(form.get("say", ""))
    if path != "say" or deed is None:
        return _told(ports, visitor, path, 404, "There is nothing to do here.")
    try:
        receipt = deed(ports, form.get("remediation", ""), by=visitor.name, because=form.get("because", ""))
    except PatchwardenError as error:
        return _told(ports, visitor, path, 503, str(error))
    if receipt.status == "refused":
        return _told(ports, visitor, path, 409, receipt.because)
    account, region, rest = form["remediation"].split(".", 2)
    return Answer(303, "", headers={"Location": f"node/{account}/{region}/{rest.rsplit('.', 1)[0]}"})


_DEEDS = {"approve": approve.approve, "reject": approve.reject}
_FILES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def _form(path: str) -> tuple[str, str]:
    for form in ("json", "csv"):
        if path.endswith(f".{form}"):
            bare = path.removesuffix(f".{form}")
            return ("" if bare == "overview" else bare), form
    return path, "html"


def _view(ports: Ports, path: str, query: Query) -> View | None:
    if path in PAGES:
        return PAGES[path](ports, query)
    return node.node(ports, path.removeprefix("node/")) if path.startswith("node/") else None


def _told(ports: Ports, visitor: Visitor, path: str, status: int, text: str) -> Answer:
    view = View("Not done" if status != 404 else "Not found", text, {"error": text}, Table("", (), ()))
    return Answer(status, _html(ports, view, path, {}, visitor))


def _html(ports: Ports, view: View, path: str, query: Query, visitor: Visitor) -> str:
    root = "../" * path.count("/") or "./"
    asked = f"?{urlencode(query)}" if query else ""
    bare = path.rpartition("/")[2] or "overview"
    refresh = query.get("refresh", "")
    made: str = _template().render(
        view=view, root=root, menu=MENU, at=format_moment(ports.clock.now()), token=visitor.token,
        may_act=visitor.may_act, json=f"{bare}.json{asked}", csv=f"{bare}.csv{asked}",
        refresh=refresh if refresh.isdigit() else "",
    )  # fmt: skip
    return made


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       finalize=_shown)  # fmt: skip
    kinds = {"link": Link, "table": Table, "chart": Chart, "banner": Banner, "timeline": Timeline, "ask": Ask}
    made.tests |= {name: _is(kind) for name, kind in kinds.items()}
    return made.get_template("page.html")


def _is(kind: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kind)


def _shown(value: object) -> object:
    """Text from tags and nodes may hold what steers a terminal or turns a line around: only printable text is shown."""
    return sentence(value, 4000) if type(value) is str else value


def _csv(table: Table) -> str:
    """CSV whose cells no spreadsheet takes for a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        cells = ("" if value is None else value.text if isinstance(value, Link) else str(value) for value in row)
        writer.writerow("'" + cell if cell.startswith(_FORMULA) else cell for cell in map(str, cells))
    return out.getvalue()


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
