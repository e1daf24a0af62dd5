"""Web: the pages on this machine, for whoever sits at it, with their own AWS credentials or a local ledger."""

from __future__ import annotations

import getpass
import hmac
import secrets
from collections.abc import Callable, Iterable
from http import HTTPStatus
from pathlib import Path
from socketserver import ThreadingMixIn
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import click

from chalicelib import evidence, wiring
from chalicelib.core.errors import PatchwardenError
from chalicelib.pages.site import HEADERS, Answer, Desk, Visitor, act, show
from chalicelib.ports import Past
from patchwarden import output
from patchwarden.auditing import export_option, kept
from patchwarden.scope import Scope

_MOST = 10_000
"""Bytes that a form may have."""

StartResponse = Callable[[str, list[tuple[str, str]]], object]


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8040, show_default=True, help="0 takes any free one.")
@click.option("--read-only", is_flag=True, help="Show no form that changes something.")
@export_option
@click.pass_obj
def web(scope: Scope, port: int, read_only: bool, folder: Path | None) -> None:
    """Serve the pages on http://127.0.0.1 until Ctrl-C; nobody else on the network can reach them.

    The address holds a key of this run: others who are logged in to this machine cannot look or act under your name.
    With --export what is asked about the past is answered from that export; what is now comes from the ledger.
    """
    ports = scope.ports()
    source, note = from_export(folder)
    name = getpass.getuser() if scope.file else wiring.caller()
    visitor = Visitor(name, not read_only, secrets.token_urlsafe(16))
    try:
        key = secrets.token_urlsafe(16)
        site = Site(Desk(ports, *kept(scope), source, note, patient=scope.file is not None), visitor, key)
        server = make_server("127.0.0.1", port, site, server_class=_Threads, handler_class=_Quiet)
    except OSError as error:
        raise click.ClickException(f"port {port} cannot be used: {error}: give another with --port") from error
    with server:
        output.note(f"http://127.0.0.1:{server.server_port}/{key}/ as {name}; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def from_export(folder: Path | None) -> tuple[Past | None, str]:
    """The past of an export, and up to when it speaks; a ClickException if it holds nothing."""
    if folder is None:
        return None, ""
    past, last = wiring.exported(folder), evidence.last_line(wiring.folder(folder))
    if last is None:
        raise click.ClickException(f"{folder} holds no lines: make an export with `patchwarden audit export --out DIR`")
    return past, (f"What is said here of the past comes from the export in {folder}. Its last line is of {last}: "
                  "it knows of nothing later.")  # fmt: skip


class Site:
    """The pages as a WSGI application; only requests that name this machine itself, and the key, are answered."""

    def __init__(self, desk: Desk, visitor: Visitor, key: str = "") -> None:
        self._desk, self._visitor = desk, visitor
        self._below = f"/{key}/" if key else "/"

    def __call__(self, environ: dict[str, object], start: StartResponse) -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except PatchwardenError as error:
            answer = Answer(503, f"Come again: {error}", "text/plain; charset=utf-8")
        body = answer.body.encode(errors="backslashreplace")
        headers = {**HEADERS, **answer.headers, "Content-Type": answer.kind, "Content-Length": str(len(body))}
        start(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: dict[str, object]) -> Answer:
        host = str(environ.get("HTTP_HOST", "")).rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):
            return Answer(421, "This is a page of another machine.", "text/plain")
        path, method = str(environ.get("PATH_INFO", "/")), environ["REQUEST_METHOD"]
        if not hmac.compare_digest(path[: len(self._below)].encode(), self._below.encode()):
            return Answer(403, "Open the whole address that `patchwarden web` printed: it holds a key.", "text/plain")
        path = path[len(self._below) :]
        if method in ("GET", "HEAD"):
            query = dict(parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=False))
            return show(self._desk, path, query, self._visitor)
        if method != "POST":
            return Answer(405, "GET or POST", "text/plain", {"Allow": "GET, HEAD, POST"})
        size = str(environ.get("CONTENT_LENGTH") or "0")
        if not (size.isascii() and size.isdigit()) or int(size) > _MOST:
            return Answer(413, "The form is too large.", "text/plain")
        read = environ["wsgi.input"].read  # type: ignore[attr-defined]
        return act(self._desk, path, dict(parse_qsl(read(int(size)).decode(errors="replace"))), self._visitor)


class _Threads(ThreadingMixIn, WSGIServer):
    """A slow page keeps no other one waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Requests are no news to whoever makes them."""

    def log_message(self, format: str, *args: object) -> None:
        return
