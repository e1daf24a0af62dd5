"""Each promise of docs/promises.md is held by tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
NOT_OURS: set[int] = set()
"""Failure modes that no row speaks of yet."""


def named_in(path: Path) -> set[str]:
    """The tests of a module, those of its classes as `::Class::test`."""
    if not path.exists():
        return set()
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(f"::{node.name}")
        elif isinstance(node, ast.ClassDef):
            found |= {f"::{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return found


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 25
    assert [f"{file}{name}" for file, name in named if name not in named_in(ROOT / file)] == []


def test_every_failure_mode_has_a_row_and_every_row_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| F\d", line)]
    numbers = {int(number) for row in rows for number in re.findall(r"^\| F(\d+)", row)}
    assert numbers == {*range(1, 27)} - NOT_OURS
    assert [row for row in rows if not NAMED.search(row)] == []
