"""The session of docs/first-policy.md runs as the page shows it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from patchwarden.cli import cli

PAGE = Path(__file__).parents[2] / "docs" / "first-policy.md"
BLOCK = re.compile(
    r"(?:`(?P<file>policies/[\w./-]+)`[^`]*?\n\n)?```(?P<kind>yaml|console)\n(?P<text>.*?)```\n", re.DOTALL
)


def played(page: str, directory: Path) -> str:
    """The page with its files written below `directory` and what its commands really answer there."""
    return BLOCK.sub(lambda block: _played(block, directory), page)


def _played(block: re.Match[str], directory: Path) -> str:
    if block["kind"] == "yaml":
        (directory / block["file"]).write_text(block["text"])
        return block[0]
    command = block["text"].splitlines()[0]
    answer = CliRunner().invoke(cli, shlex.split(command)[2:], prog_name="patchwarden")
    said = "\n".join(line.rstrip() for line in answer.output.splitlines())
    return f"```console\n{command}\n{said}\n```\n"


def test_the_page_shows_what_the_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    assert len(BLOCK.findall(page)) > 8
    assert played(page, tmp_path) == page
