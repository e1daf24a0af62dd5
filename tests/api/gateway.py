"""API Gateway in front of the app on 127.0.0.1, as far as the REST API can tell: paths, queries, one proved caller."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from chalice.app import Chalice

CALLER = "arn:aws:sts::111122223333:assumed-role/operator/one"


class Gateway:
    """A WSGI app over the handler that Lambda calls. What has no route it refuses itself, as API Gateway does."""

    def __init__(self, app: Chalice, caller: str | None = CALLER) -> None:
        self._app, self.caller = app, caller

    def send(
        self, method: str, path: str, *, query: str = "", headers: Mapping[str, str] | None = None, body: bytes = b"",
        claims: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        found = self._route(method, unquote(path))
        if isinstance(found, int):
            return found, {"Content-Type": "application/json"}, b'{"message": "Missing Authentication Token"}'
        resource, parameters = found
        event = {
            "requestContext": {
                "resourcePath": resource, "httpMethod": method, "path": path, "identity": {"userArn": self.caller},
                **({"authorizer": {"claims": dict(claims)}} if claims else {}),
            },
            "pathParameters": parameters or None, "stageVariables": None, "isBase64Encoded": True,
            "multiValueQueryStringParameters": parse_qs(query, keep_blank_values=True) or None,
            "headers": {**(headers or {})}, "body": base64.b64encode(body).decode(),
        }  # fmt: skip
        answer = self._app(event, None)
        content = answer.get("body", "")
        raw = base64.b64decode(content) if answer.get("isBase64Encoded") else str(content).encode()
        return answer["statusCode"], answer["headers"], raw

    def _route(self, method: str, path: str) -> tuple[str, dict[str, str]] | int:
        for resource, methods in self._app.routes.items():
            matched = re.fullmatch(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", resource), path)
            if matched:
                return (resource, matched.groupdict()) if method in methods else 405
        return 403

    def ask(self, path: str, **more: Any) -> tuple[int, Any]:
        """A GET, its JSON parsed."""
        path, _, query = path.partition("?")
        status, _, body = self.send("GET", path, query=query, **more)
        return status, json.loads(body) if body else None

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-").lower(): str(value)
                   for name, value in environ.items() if name.startswith("HTTP_")}  # fmt: skip
        headers["content-type"] = environ.get("CONTENT_TYPE") or "application/json"
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
        status, answer, raw = self.send(environ["REQUEST_METHOD"], path, query=environ.get("QUERY_STRING", ""),
                                        headers=headers, body=body)  # fmt: skip
        start_response(f"{status} said", [(name, value) for name, value in answer.items()])
        return [raw]
