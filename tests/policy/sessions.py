"""The sessions that the pages show: what their commands really answer, to be compared with it or written anew."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from pathlib import Path

from click.testing import CliRunner

from patchwarden.cli import cli
from patchwarden.policy.guide import guide

ROOT = Path(__file__).parents[2]
GUIDE, FIRST = ROOT / "docs" / "policies.md", ROOT / "docs" / "first-policy.md"
BLOCK = re.compile(
    r"(?:`(?P<file>policies/[\w./-]+)`[^`]*?\n\n)?```(?P<kind>yaml|console)\n(?P<text>.*?)```\n", re.DOTALL
)


def played(page: str) -> str:
    """The page with its named files written below the current directory, and what its commands answer there."""
    return BLOCK.sub(_played, page)


def _played(block: re.Match[str]) -> str:
    if block["kind"] == "yaml":
        if block["file"]:
            Path(block["file"]).write_text(block["text"], encoding="utf-8")
        return block[0]
    command = block["text"].splitlines()[0]
    answer = CliRunner().invoke(cli, shlex.split(command)[2:], prog_name="patchwarden")
    said = "\n".join(line.rstrip() for line in answer.output.splitlines()).strip("\n")
    return f"```console\n{command}\n{said}\n```\n"


def stale(page: str) -> bool:
    """Whether a command answers otherwise than the page shows; the digest of a set may be another one."""
    return _DIGEST.sub("set …", played(page)) != _DIGEST.sub("set …", page)


_DIGEST = re.compile(r"\bset [0-9a-f]{12}\b")


def refresh() -> None:
    """Write tables and sessions anew."""
    os.chdir(ROOT)
    GUIDE.write_text(played(guide(GUIDE.read_text(encoding="utf-8"))), encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        FIRST.write_text(played(FIRST.read_text(encoding="utf-8")), encoding="utf-8")
        os.chdir(ROOT)
