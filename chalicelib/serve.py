"""Serve: one request of the REST API, from what API Gateway hands over to status, headers and body."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from chalice.app import BadRequestError, Request, Response

from chalicelib import act, lookup, wiring
from chalicelib.answers import READS, Asked, TooLarge
from chalicelib.approve import approve, reject
from chalicelib.core.chain import digest
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.history import SCHEMA_VERSION
from chalicelib.ports import Ports
from chalicelib.routes import Route, Wrong, moment, read, span

ACTS = "patchwarden-act"
"""The group of a user pool whose members may act; with IAM the caller's policy says so by method and path."""

_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_STATUS: tuple[tuple[type[Exception], int, str], ...] = (
    (Wrong, 400, "the request cannot be read"),
    (act.Reused, 422, "the key was used before"),
    (TooLarge, 422, "too large for the table"),
    (Stale, 409, "somebody else was first"),
    (PolicyError, 503, "no policy set loads"),
    (Temporary, 503, "come again"),
    (Denied, 502, "AWS refused"),
)


class Unknown(Exception):
    """The caller is not known, or may not do this."""


class Missing(Exception):
    """There is no such thing."""


def answer(route: Route, path: Mapping[str, str], request: Request) -> Response:
    """What the route says, or one problem in the words of RFC 9457."""
    try:
        return _act(route, path, request) if route.act else _read(route, path, request)
    except Missing as error:
        return problem(404, "not found", str(error))
    except Unknown as error:
        return problem(403, "not allowed", str(error))
    except tuple(kind for kind, _, _ in _STATUS) as error:
        _, status, title = next(row for row in _STATUS if isinstance(error, row[0]))
        return problem(status, title, str(error))


def problem(status: int, title: str, detail: str) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Response(json.dumps(body), {"Content-Type": "application/problem+json"}, status)


def _read(route: Route, path: Mapping[str, str], request: Request) -> Response:
    ports = wiring.ports()
    given = read(route.parameters, dict((request.query_params or {}).items()), "query parameter")
    asked = Asked(ports, ports.clock.now(), read(route.in_path, path, "path parameter"), given)
    said = READS[route.name](asked)
    if said is None:
        raise Missing(f"nothing is recorded about {'/'.join(path.values())}")
    body = {"schema_version": SCHEMA_VERSION, **said}
    tag = f'W/"{digest({**body, "at": given.get("at")})[:32]}"'
    headers: dict[str, str | list[str]] = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in (request.headers.get("if-none-match") or ""):
        return Response("", headers, 304)
    return Response(body, {**headers, "Content-Type": "application/json"})


def _act(route: Route, path: Mapping[str, str], request: Request) -> Response:
    """Do it once for the key, under the caller's own name."""
    ports = wiring.ports()
    actor, key = caller(request.context), request.headers.get("idempotency-key") or ""
    if not _KEY.match(key):
        raise Wrong("the header Idempotency-Key is missing or wrong: 1 to 128 of A-Z a-z 0-9 _ -, new for each request")
    read((), dict((request.query_params or {}).items()), "query parameter")
    where, body = read(route.in_path, path, "path parameter"), read(route.body, _body(request), "field")
    deed = _DEEDS[route.name](ports, actor, where, body, digest([actor, key]))
    asked = {"route": route.name, "path": dict(where), "body": body}
    status, said, replayed = act.once(ports, actor, key, asked, deed, _shown(ports, route, where))
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response({"schema_version": SCHEMA_VERSION, **said}, headers, status)


def caller(context: Mapping[str, Any]) -> str:
    """Who calls, as API Gateway proved it: the user pool's member, or the IAM identity. Unknown: nobody did.

    A member may change the own e-mail address, and in some pools needs no proof of it; not so the user's name.
    """
    claims = (context.get("authorizer") or {}).get("claims")
    if claims:
        groups = re.split(r"[\s,\[\]]+", str(claims.get("cognito:groups", "")))
        if ACTS not in groups:
            raise Unknown(f"the caller is not in the group {ACTS} of the user pool")
        name = str(claims.get("cognito:username") or claims["sub"])
        if name.startswith("arn:"):
            raise Unknown("a member of the user pool is called as IAM identities are: nobody could tell them apart")
        return name
    arn = (context.get("identity") or {}).get("userArn")
    if not arn:
        raise Unknown("the caller has no proved identity: sign the request for execute-api")
    return str(arn)


def _body(request: Any) -> dict[str, Any]:
    try:
        found = request.json_body
    except (BadRequestError, ValueError, RecursionError) as error:
        raise Wrong("the body is no JSON") from error
    if not isinstance(found, dict):
        raise Wrong("the body is a JSON object")
    return found


Deed = Callable[[], tuple[int, dict[str, Any]]]


def _pause(ports: Ports, actor: str, _: Mapping[str, Any], body: Mapping[str, Any], key: str) -> Deed:
    until = _until(body.get("until"), ports.clock.now())
    return lambda: (200, act.pause(ports, actor, body["reason"], until, key))


def _until(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        ends = moment(text, now) if "-" in text else now + span(text)
    except OverflowError as error:
        raise Wrong(f"{text} is too far away") from error
    if ends <= now:
        raise Wrong(f"{text} has passed")
    return ends


def _resume(ports: Ports, actor: str, _: Mapping[str, Any], body: Mapping[str, Any], key: str) -> Deed:
    return lambda: (200, act.resume(ports, actor, body["reason"], key))


def _answered(deed: Callable[..., Any]) -> Callable[..., Deed]:
    """Approving, rejecting and holding tell what became of it: `refused` means that nothing was written."""

    def made(ports: Ports, actor: str, path: Mapping[str, Any], body: Mapping[str, Any], key: str) -> Deed:
        identity = path["identity"]
        if ports.ledger.head(identity) is None:
            raise Missing(f"nothing is recorded about {identity}")
        return lambda: (200, deed(ports, identity, by=actor, because=body["reason"]).to_json())

    return made


def _on_one(deed: Callable[..., Any]) -> Callable[..., Deed]:
    def made(ports: Ports, actor: str, path: Mapping[str, Any], body: Mapping[str, Any], key: str) -> Deed:
        identity = path["identity"]
        if ports.ledger.head(identity) is None:
            raise Missing(f"nothing is recorded about {identity}")

        def done() -> tuple[int, dict[str, Any]]:
            head = deed(ports, identity, actor, body["reason"], key)
            return 200, {"number": head.number if head else 0}

        return done

    return made


def _shown(ports: Ports, route: Route, path: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What is read of what was kept: of one remediation all that is recorded now, as a trail has no longest length."""
    if route.name not in ("evaluate", "acknowledge"):
        return dict
    return lambda _: lookup.remediation(ports.ledger, path["identity"]) or {}


_DEEDS: dict[str, Callable[..., Deed]] = {
    "pause": _pause, "resume": _resume, "evaluate": _on_one(act.reevaluate), "acknowledge": _on_one(act.acknowledge),
    "approve": _answered(approve), "reject": _answered(reject), "hold": _answered(act.hold),
}  # fmt: skip
