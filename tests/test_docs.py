"""The pages that are written from tables say what the tables say, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patchwarden.architecture import architecture, ways_in
from patchwarden.diagrams import states

DOCS = Path(__file__).parent.parent / "docs"
PAGES = [DOCS.parent / "README.md", DOCS.parent / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
_LINK = re.compile(r"\]\(([^)#\s]*)#?([^)\s]*)\)")


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


def _anchors(page: str) -> set[str]:
    """What a heading is called in an address: small letters, no marks, hyphens for blanks."""
    prose = re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for place, anchor in _LINK.findall(text):
        if "://" in place:
            continue
        there = (page.parent / place).resolve() if place else page
        assert there.exists(), f"{page.name}: there is no {place}"
        if anchor:
            assert anchor in _anchors(there.read_text(encoding="utf-8")), f"{page.name}: {place} has no #{anchor}"


def test_the_picture_draws_no_line_to_what_is_not_in_it() -> None:
    """Mermaid makes a box of any name, so a verb that moved would stand beside the hub, under its bare name."""
    drawing = architecture().partition("```mermaid")[2].partition("```")[0]
    declared = set(re.findall(r"(?:^|\s)(\w+)[\[(]", drawing, re.MULTILINE))
    lines = [line for line in drawing.splitlines() if "->" in line]
    begins = {found[1] for line in lines if (found := re.match(r"\s*(\w+)", line))}
    ends = {found[1] for line in lines if (found := re.search(r">(?:\|[^|]*\|)? (\w+)", line))}
    assert len(ends) > 5
    assert (begins | ends) - declared == set()
    assert not re.search(r"every 1 \w+s\b", architecture())
