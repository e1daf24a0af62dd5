"""Traces reach the X-Ray daemon as it reads them, and without one every verb runs all the same."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.tracing import Untraced, XRay
from chalicelib.core.nodes import Node
from chalicelib.ports import Tracing

SAMPLED = "Root=1-6925f1a0-3c5e7a9b1d2f4061829384a5;Parent=7d1f3a5c9e0b2846;Sampled=1"
UNSAMPLED = SAMPLED.replace("Sampled=1", "Sampled=0")
NEXT = "Root=1-6925f1dc-0123456789abcdef01234567;Parent=0f1e2d3c4b5a6978;Sampled=1;Lineage=1:a1b2c3d4:0"


class Daemon:
    """The daemon's end of the wire: the segment documents that arrived on its UDP port."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"

    def receive(self) -> dict[str, Any]:
        head, _, document = self.listener.recv(65_536).decode().partition("\n")
        assert json.loads(head) == {"format": "json", "version": 1}
        segment: dict[str, Any] = json.loads(document)
        return segment

    def receives_nothing(self) -> bool:
        self.listener.setblocking(False)
        try:
            self.listener.recv(65_536)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(60)
        found = Daemon(listener)
        monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", found.address)
        monkeypatch.setenv("_X_AMZN_TRACE_ID", SAMPLED)
        yield found


def test_a_verb_is_one_subsegment_of_the_invocation_with_its_annotations(daemon: Daemon) -> None:
    node = Node("111122223333", "eu-west-1", "i-0a1b2c3d4e5f60718")
    with XRay().verb("intake") as annotate:
        annotate(account=node.account, region=node.region, node=node)
        annotate(policy="prod-critical-window", action="remediate", remediation="r-1", members=3)
    segment = daemon.receive()
    assert segment["name"] == "intake"
    assert segment["type"] == "subsegment"
    assert segment["trace_id"] == "1-6925f1a0-3c5e7a9b1d2f4061829384a5"
    assert segment["parent_id"] == "7d1f3a5c9e0b2846"
    assert segment["end_time"] >= segment["start_time"]
    assert segment["annotations"] == {
        "account": "111122223333",
        "region": "eu-west-1",
        "node": "111122223333/eu-west-1/i-0a1b2c3d4e5f60718",
        "policy": "prod-critical-window",
        "action": "remediate",
        "remediation": "r-1",
    }
    assert segment["metadata"] == {"patchwarden": {"members": 3}}
    assert "fault" not in segment
    assert daemon.receives_nothing()


def test_what_is_not_known_is_left_out_and_what_is_long_is_cut(daemon: Daemon) -> None:
    with XRay().verb("intake") as annotate:
        annotate(policy=None, node="n" * 5_000)
    assert daemon.receive()["annotations"] == {"node": "n" * 1_000}


def test_an_error_is_recorded_and_raised_again(daemon: Daemon) -> None:
    error = ValueError("the ledger is away")
    with pytest.raises(ValueError, match="away") as raised, XRay().verb("dispatch"):
        raise error
    assert raised.value is error
    segment = daemon.receive()
    assert segment["fault"] is True
    (recorded,) = segment["cause"]["exceptions"]
    assert (recorded["type"], recorded["message"]) == ("ValueError", "the ledger is away")


def test_a_verb_within_a_verb_is_its_child(daemon: Daemon) -> None:
    tracing = XRay()
    with tracing.verb("sweep"), tracing.verb("dispatch"):
        pass
    inner, outer = daemon.receive(), daemon.receive()
    assert (inner["name"], outer["name"]) == ("dispatch", "sweep")
    assert inner["parent_id"] == outer["id"]


def test_the_next_invocation_has_its_own_trace(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    tracing = XRay()
    for header in (SAMPLED, UNSAMPLED, NEXT):
        monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
        with tracing.verb("follow"):
            pass
    parents = [daemon.receive()["parent_id"] for _ in range(2)]
    assert parents == ["7d1f3a5c9e0b2846", "0f1e2d3c4b5a6978"]
    assert daemon.receives_nothing()


@pytest.mark.parametrize(
    "header", [None, "", UNSAMPLED, "Sampled=10", "Root=;Parent=;Sampled=1", "Sampled=1", "; ;=Sampled"]
)
def test_without_a_segment_nothing_is_sent_and_nothing_fails(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, header: str | None
) -> None:
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    if header is not None:
        monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    with XRay().verb("intake") as annotate:
        annotate(node="i-0a1b2c3d4e5f60718", members=3)
    assert daemon.receives_nothing()


def test_a_daemon_that_is_away_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", SAMPLED)
    monkeypatch.setenv("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:9")
    tracing = XRay()
    for _ in range(3):
        with tracing.verb("intake") as annotate:
            annotate(node="i-0a1b2c3d4e5f60718")


# --- one contract for both ------------------------------------------------------------------------------------------

TRACINGS: list[tuple[Callable[[], Tracing], str]] = [(Untraced, SAMPLED), (XRay, SAMPLED), (XRay, UNSAMPLED)]


@pytest.mark.parametrize(("make", "header"), TRACINGS, ids=["untraced", "sampled", "unsampled"])
def test_the_traced_code_runs_as_if_nobody_looked(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Tracing], header: str
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    tracing = make()
    done = []
    with tracing.verb("intake") as annotate:
        annotate()
        annotate(node="i-0a1b2c3d4e5f60718", policy=None, members=[1, 2])
        done.append("intake")
    with pytest.raises(KeyError, match="lost"), tracing.verb("follow"):
        raise KeyError("lost")
    with tracing.verb("sweep"):
        done.append("sweep")
    assert done == ["intake", "sweep"]


# --- in a process of its own, as Lambda has it ----------------------------------------------------------------------

IMPORTED = """
import sys
from chalicelib.adapters.tracing import XRay
with XRay().verb("intake") as annotate:
    annotate(node="i-0a1b2c3d4e5f60718")
print("aws_xray_sdk" in sys.modules, "botocore" in sys.modules)
"""


def _in_lambda(monkeypatch: pytest.MonkeyPatch, header: str) -> str:
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", header)
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", IMPORTED], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    return ran.stdout.strip()


def test_the_sdk_is_not_imported_in_an_invocation_that_is_not_sampled(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _in_lambda(monkeypatch, UNSAMPLED) == "False False"
    assert daemon.receives_nothing()


def test_in_lambda_a_sampled_invocation_sends_its_subsegment(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _in_lambda(monkeypatch, SAMPLED).startswith("True")
    segment = daemon.receive()
    assert (segment["name"], segment["parent_id"]) == ("intake", "7d1f3a5c9e0b2846")
    assert segment["annotations"] == {"node": "i-0a1b2c3d4e5f60718"}
