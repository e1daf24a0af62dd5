"""Served: the simulated AWS behind a port of this machine, for clients in other processes.

A client finds it by `AWS_ENDPOINT_URL_SSM` and its like. It listens on 127.0.0.1 only.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patchwarden.simulator.api_sts import access_key, account_of
from patchwarden.simulator.protocols import Answer
from patchwarden.simulator.simulation import Simulation
from patchwarden.simulator.wire import SERVICES

_SIGNED = re.compile(r"Credential=([^/]+)/\d{8}/[^/]+/([^/]+)/aws4_request")
_TOKEN = "simulated/9999999999/patchwarden-member/patchwarden"

_READ = ("Authorization", "X-Amz-Target", "X-Amz-Security-Token")

Whose = Callable[[str], str | None]
"""Whose an access key of another's making is, as STS GetAccessKeyInfo says; None: nobody's."""


def nobody(key: str) -> str | None:
    """For a world in which the simulator alone lends keys."""
    return None


class _Door:
    """Requests as they come over the line, answered one at a time."""

    def __init__(self, simulation: Simulation, whose: Whose) -> None:
        self.lock = threading.RLock()
        self._simulation = simulation
        self._whose = whose
        self._known: dict[str, str] = {}

    def answer(self, headers: Mapping[str, str], body: bytes) -> Answer:
        signed = _SIGNED.search(headers.get("Authorization", ""))
        if signed is None or signed[2] not in SERVICES:
            return Answer(403, {}, b"not signed for a simulated service")
        with self.lock:
            ours = self._ours(signed[1], headers)
            return self._simulation.wire.answer(signed[2], ours, body) if ours else Answer(403, {}, b"nobody's key")

    def _ours(self, key: str, headers: Mapping[str, str]) -> Mapping[str, str] | None:
        """The same request with a key that the simulator knows; None if the key is nobody's."""
        if account_of(key):
            return headers
        account = self._known.get(key) or self._whose(key)
        if account is None:
            return None
        self._known[key] = account
        signature = headers["Authorization"].replace(key, access_key(account, lent=True))
        return {**headers, "Authorization": signature, "X-Amz-Security-Token": _TOKEN}


@contextmanager
def served(simulation: Simulation, whose: Whose = nobody) -> Iterator[tuple[str, threading.RLock]]:
    """The address, and the lock to hold while somebody else moves the simulation on."""
    door = _Door(simulation, whose)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = door.answer({name: self.headers[name] for name in _READ if self.headers[name]}, body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", door.lock
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
