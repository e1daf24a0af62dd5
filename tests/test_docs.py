"""The pages that are written from tables say what the tables say."""

from __future__ import annotations

from pathlib import Path

from patchwarden.diagrams import states

DOCS = Path(__file__).parent.parent / "docs"


def test_the_state_diagram_is_drawn_from_the_table() -> None:
    assert (DOCS / "states.md").read_text(encoding="utf-8") == states(), "stale: run `make docs`"
