"""Gate: one request for a page, from what API Gateway hands over to status, headers and body."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from chalice.app import Request, Response

from chalicelib import wiring
from chalicelib.core.errors import PatchwardenError
from chalicelib.pages.site import HEADERS, Answer, Desk, Visitor, act, show
from chalicelib.serve import Unknown, caller

LARGEST = 10_000
"""Bytes that a form may have."""


def answer(request: Request) -> Response:
    """What the site says. A form counts only if the browser says that it came from one of these pages."""
    settings, ports = wiring.Settings.from_environment(), wiring.ports()
    vault = None if settings.sqlite else wiring.vault(settings)
    desk = Desk(ports, vault, wiring.signer(settings))
    path = path_of(request)
    if not path:
        return Response("", {"Location": "pages/overview"}, 303)
    try:
        said = _posted(desk, path, request) if request.method == "POST" else \
            show(desk, path, dict((request.query_params or {}).items()), visitor(request))  # fmt: skip
    except PatchwardenError as error:
        said = Answer(503, f"Come again: {error}", "text/plain; charset=utf-8")
    headers: dict[str, str | list[str]] = {**HEADERS, **said.headers, "Content-Type": said.kind}
    return Response(said.body, headers, said.status)


def path_of(request: Request) -> str:
    """The path below `/pages`, without the stage's name: the resource with its parameters filled in."""
    path: str = request.path.format(**(request.uri_params or {}))
    return path.removeprefix("/pages").strip("/")


def visitor(request: Request) -> Visitor:
    """Who calls, as API Gateway proved it; whom the user pool lets only look, or nobody proved, may not act."""
    try:
        return Visitor(caller(request.context), may_act=True)
    except Unknown:
        return Visitor("a reader")


def _posted(desk: Desk, path: str, request: Request) -> Answer:
    who = visitor(request)
    if request.headers.get("sec-fetch-site") != "same-origin":
        reason = "The browser does not say that this form came from one of these pages, so nothing was done."
        return Answer(403, reason, "text/plain; charset=utf-8")
    raw: Any = request.raw_body or b""
    body = raw.encode() if isinstance(raw, str) else raw
    if len(body) > LARGEST:
        return Answer(413, "The form is too large.", "text/plain; charset=utf-8")
    return act(desk, path, dict(parse_qsl(body.decode(errors="replace"))), who)
