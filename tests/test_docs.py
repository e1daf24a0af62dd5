"""The pages that are written from tables say what the tables say."""

from __future__ import annotations

from pathlib import Path

from patchwarden.architecture import architecture, ways_in
from patchwarden.diagrams import states

DOCS = Path(__file__).parent.parent / "docs"


def test_the_state_diagram_is_drawn_from_the_table() -> None:
    assert (DOCS / "states.md").read_text(encoding="utf-8") == states(), "stale: run `make docs`"


def test_the_architecture_is_drawn_from_the_handlers() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert page == architecture(), "stale: run `make docs`"
    names = [way.name for way in ways_in()]
    assert {"on_config_rule", "on_dispatch", "on_sweep", "remediate"} <= set(names)
    assert all(f"| `{name}` |" in page and f'{name}["{name}"]' in page for name in names)
    places = [line.split("`chalicelib/")[1].split("`")[0] for line in page.splitlines() if line.startswith("| `")]
    assert len(places) == len(names) and all((DOCS.parent / "chalicelib" / place).exists() for place in places)
