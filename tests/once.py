"""What is built once for a whole run of the tests, whichever of the processes that share the run comes first."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parent.parent
SEED, NODES = 2, 12
"""Of the demo: as small as it gets."""


def once(folder: Path, build: Callable[[Path], object]) -> Path:
    """The folder, filled by `build` if nobody did yet; who comes while it is built waits for it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            build(folder)
            (folder / "done").touch()
    return folder


def demo(folder: Path) -> None:
    """`demo.sqlite` and `figures.json`, as `patchwarden demo` leaves them."""
    from patchwarden.demo import run

    assert run(seed=SEED, nodes=NODES, figures=folder / "figures.json", file=folder / "demo.sqlite") == 0


def package(stage: str, out: Path) -> Path:
    """`sam.json` and `deployment.zip` of the stage, made as `make package` makes them."""
    command = [sys.executable, str(ROOT / "deploy" / "package.py"), "--stage", stage, "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def copied(ledger: Path, copy: Path) -> Path:
    """A ledger file of one's own with what was published to it, in which a test may do what it likes."""
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    published = ledger.with_suffix(".policies")
    if published.exists():
        shutil.copytree(published, copy.with_suffix(".policies"), dirs_exist_ok=True)
    return copy
