"""The session of docs/first-policy.md runs as the page shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.policy.sessions import BLOCK, FIRST, stale


def test_the_page_shows_what_the_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = FIRST.read_text(encoding="utf-8")
    assert len(BLOCK.findall(page)) > 8
    assert not stale(page), "run `make docs`"
