"""An AWS that runs as a process of its own: ministack, with IAM enforced, and three doors that AWS has and it has not.

The first: AWS's own services emit events whose source begins with `aws.`; to the emulator everybody is a stranger and
is refused, so here its PutEvents believes whom AWS would believe. The second: a rule may forward to a bus of another
account and Region, and the event keeps the account and Region it came from. The third: `aws:PrincipalArn` of a session
is the ARN of its role, which trust policies compare
(https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html). No template knows of these.
What it does not enforce: the policy of an event bus, retries and dead letters of rules.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

SERVE = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from ministack.services import eventbridge as bus
from ministack.core.responses import get_account_id, get_region, set_request_account_id, set_request_region

bus._put_events.__defaults__ = (True,)
here = bus._dispatch_to_event_bus

def forward(spec, event, rule, event_path, target_input_payload=None):
    ours = get_account_id(), get_region()
    if (spec.account_id, spec.region) == ours:
        return here(spec, event, rule, event_path, target_input_payload)
    set_request_account_id(spec.account_id)
    set_request_region(spec.region)
    try:
        bus._dispatch_event({**event, "EventBusName": spec.resource.split("/", 1)[1]})
    finally:
        set_request_account_id(ours[0])
        set_request_region(ours[1])

bus._dispatch_to_event_bus = forward

from ministack.core import iam_evaluator as iam

asked = iam._resolve_condition_key

def resolve(key, context):
    found = asked(key, context)
    if key.lower() == "aws:principalarn" and ":assumed-role/" in str(found):
        account, name = found.split(":")[4], found.split("/")[1]
        return f"arn:aws:iam::{account}:role/{name}"
    return found

iam._resolve_condition_key = resolve
from ministack.app import main
sys.argv = ["ministack"]
main()
"""
"""It ends when its standard input does, so it cannot outlive these tests, however they end."""
_PATIENCE = 600
"""How often the emulator is asked whether it is up, ten times a second."""


@contextmanager
def emulator(folder: Path, port: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Its address; `environment` is what every function finds beside its own settings."""
    given = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "AUTH": "true", "TMPDIR": str(folder),
             "HOME": str(folder), "PATH": os.defpath, "IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0",
             "USE_SSL": "1", "LAMBDA_EXECUTOR": "local", "MINISTACK_WORKER_THREADS": "16", **environment}  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-c", SERVE], env=given, stdin=subprocess.PIPE, stdout=log,
                                  stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)  # fmt: skip
        try:
            url = f"https://127.0.0.1:{port}"
            assert _up(server, url, certificate(folder)), f"it did not start: {(folder / 'log').read_text()[-2000:]}"
            yield url
        finally:
            assert server.stdin is not None
            server.stdin.close()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@cache
def session(account: str, region: str, **keys: str) -> boto3.Session:
    """As the account itself, or with lent `keys`."""
    given = keys or {"aws_access_key_id": account, "aws_secret_access_key": "nobody-checks-the-root"}
    return boto3.Session(region_name=region, **given)


def certificate(folder: Path) -> Path:
    """What the emulator shows: our bucket policies refuse whoever comes without TLS."""
    return folder / "ministack-tls" / "server.crt"


def client(url: str, service: str, session: boto3.Session, trusted: Path) -> Any:
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=url, config=config, verify=str(trusted))


def _up(server: subprocess.Popen[bytes], url: str, trusted: Path) -> bool:
    asked = client(url, "sts", session("111122223333", "eu-west-1"), trusted)
    return answers(server, lambda: trusted.exists() and asked.get_caller_identity())


def answers(server: subprocess.Popen[bytes], ask: Callable[[], object]) -> bool:
    """Whether the emulator comes to answer the question, which is asked until it is true; False when it ends."""
    for _ in range(_PATIENCE):
        try:
            server.wait(timeout=0.1)
            return False
        except subprocess.TimeoutExpired:
            pass
        try:
            if ask():
                return True
        except BotoCoreError:
            continue
    return False
