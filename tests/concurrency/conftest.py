"""A DynamoDB that runs as a process of its own, and eight more processes that write to it at once."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import pytest

from chalicelib.adapters.dynamodb import TABLE, DynamoLedger
from tests.concurrency.contest import Ring, connect, enter
from tests.e2e.emulator import answers, free_port

WRITERS = 8

_SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from ministack.app import main
sys.argv = ["ministack"]
main()
"""
"""It ends when its standard input does, so it cannot outlive these tests, however they end."""

T = TypeVar("T")


@dataclass(frozen=True)
class Contest:
    """A table nobody has used, and the writers who will all begin at the same moment."""

    endpoint: str
    table: str
    folder: Path
    writers: ProcessPoolExecutor

    @property
    def ledger(self) -> DynamoLedger:
        return DynamoLedger(self.table, lambda: connect(self.endpoint))

    def hold(self, part: Callable[..., T], *given: Any, unconditional: bool = False) -> list[T]:
        """What each writer's part came to; `unconditional`: as if the ledger wrote without its conditions."""
        ring = Ring(self.endpoint, self.table, self.folder, WRITERS, unconditional)
        parts = [self.writers.submit(part, ring, number, *given) for number in range(WRITERS)]
        return [each.result(timeout=60) for each in parts]


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if find_spec("ministack") is None:
        pytest.skip("ministack is not installed: no DynamoDB to write to from several processes")
    folder, port = tmp_path_factory.mktemp("ministack"), free_port()
    given = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "SERVICES": "dynamodb", "TMPDIR": str(folder),
             "HOME": str(folder), "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", _SERVE], env=given, stdin=subprocess.PIPE, stdout=log,
                                  stderr=subprocess.STDOUT)  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            assert _up(server, url), f"ministack did not start: {(folder / 'log').read_text()[-300:]}"
            yield url
        finally:
            server.kill()
            server.communicate()


@pytest.fixture(scope="session")
def writers() -> Iterator[ProcessPoolExecutor]:
    spawned = multiprocessing.get_context("spawn")
    start = spawned.Barrier(WRITERS)
    with ProcessPoolExecutor(WRITERS, mp_context=spawned, initializer=enter, initargs=(start,)) as pool:
        yield pool


@pytest.fixture
def contest(endpoint: str, writers: ProcessPoolExecutor, tmp_path: Path, request: pytest.FixtureRequest) -> Contest:
    table = request.node.name
    connect(endpoint).create_table(TableName=table, **TABLE)
    return Contest(endpoint, table, tmp_path, writers)


def _up(server: subprocess.Popen[bytes], url: str) -> bool:
    return answers(server, lambda: connect(url).list_tables())
