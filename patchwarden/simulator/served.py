"""Served: the simulated AWS behind a port of this machine, for clients in other processes.

A client finds it by `AWS_ENDPOINT_URL_SSM` and its like. It listens on 127.0.0.1 only.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from patchwarden.simulator.api_sts import access_key, account_of
from patchwarden.simulator.simulation import Simulation
from patchwarden.simulator.wire import SERVICES

_SIGNED = re.compile(r"Credential=([^/]+)/\d{8}/[^/]+/([^/]+)/aws4_request")
_TOKEN = "simulated/9999999999/patchwarden-member/patchwarden"

Whose = Callable[[str], str | None]
"""Whose an access key of another's making is, as STS GetAccessKeyInfo says; None: nobody's."""


def nobody(key: str) -> str | None:
    """For a world in which the simulator alone lends keys."""
    return None


@contextmanager
def served(simulation: Simulation, whose: Whose = nobody) -> Iterator[tuple[str, threading.RLock]]:
    """The address, and the lock to hold while somebody else moves the simulation on."""
    lock, known = threading.RLock(), dict[str, str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name: self.headers[name] for name in ("Authorization", "X-Amz-Target") if self.headers[name]}
            signed = _SIGNED.search(headers.get("Authorization", ""))
            if signed is None or signed[2] not in SERVICES:
                self.send_error(403, "not signed for a simulated service")
                return
            key, token = signed[1], self.headers["X-Amz-Security-Token"]
            with lock:
                if account_of(key) is None:
                    account = known.get(key) or whose(key)
                    if account is None:
                        self.send_error(403, "nobody's access key")
                        return
                    known[key] = account
                    headers["Authorization"] = headers["Authorization"].replace(key, access_key(account, lent=True))
                    token = _TOKEN
                if token:
                    headers["X-Amz-Security-Token"] = token
                answer = simulation.wire.answer(signed[2], headers, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", lock
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
