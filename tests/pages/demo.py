"""The demo's ledger with a policy that asks, built once for all tests of the pages, and a site over a copy of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from wsgiref.simple_server import make_server

from click.testing import CliRunner

from chalicelib import wiring
from chalicelib.adapters.memory import MemoryClock
from chalicelib.adapters.policy_store import Fixed, load
from chalicelib.evidence import checkpoint
from chalicelib.pages.site import Desk, Visitor
from chalicelib.wiring import Settings
from patchwarden.cli import cli
from patchwarden.simulator.fleet import START
from patchwarden.simulator.story import Story
from patchwarden.web import Site, _Quiet, _Threads
from tests.once import copied, once

ROOT = Path(__file__).parents[2]
SEED, NODES = 2, 24
TOKEN = "a-token-of-the-tests"


END = START + timedelta(hours=34)
"""Tuesday night: some are done, some wait for Saturday, some are asked for."""

WINDOW = START + timedelta(days=4, hours=14, minutes=6)
"""Saturday, in the middle of the window."""


def built(folder: Path, end: datetime = END) -> Path:
    """The folder with `demo.sqlite`, its signed evidence and `policies.json`; whoever comes first makes it."""
    return once(folder, lambda empty: _build(empty, end))


def _build(folder: Path, end: datetime) -> None:
    shutil.copytree(ROOT / "policies", folder / "policies", dirs_exist_ok=True)
    shutil.copy(Path(__file__).with_name("batch-ask.yaml"), folder / "policies")
    compiled = folder / "policies.json"
    said = CliRunner().invoke(cli, ["policy", "compile", str(folder / "policies"), "--file", str(compiled)])
    assert said.exit_code == 0, said.output
    settings = Settings(sqlite=str(folder / "demo.sqlite"), policies=str(compiled))
    story = Story(seed=SEED, nodes=NODES, settings=settings, end=end)
    for _ in story.run():
        pass
    vault, signer = wiring.vault(settings), wiring.signer(settings)
    assert vault and signer
    checkpoint(story.ports, vault, signer)


def desk(folder: Path, copy: Path) -> Desk:
    """The site's desk over a copy of the ledger, five minutes after the end of the demo."""
    copy.mkdir(parents=True, exist_ok=True)
    file = copied(folder / "demo.sqlite", copy / "demo.sqlite")
    shutil.copytree(folder / "demo.evidence", copy / "demo.evidence", dirs_exist_ok=True)
    shutil.copy(folder / "demo.key", copy)
    settings = Settings(sqlite=str(file))
    ports = wiring.local(str(file))
    last = max(line.at for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id))
    policies = Fixed(load((folder / "policies.json").read_bytes()))
    bundle = replace(ports, clock=MemoryClock(last + timedelta(minutes=5)), policies=policies)
    return Desk(bundle, wiring.vault(settings), wiring.signer(settings))


@contextmanager
def served(where: Desk, *, may_act: bool = True, name: str = "alex@example.com") -> Iterator[str]:
    """The address of the site over the desk, as `patchwarden web` serves it."""
    site = Site(where, Visitor(name, may_act, TOKEN))
    with make_server("127.0.0.1", 0, site, server_class=_Threads, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
