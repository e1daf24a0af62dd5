"""Each promise of docs/promises.md is held by tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def functions(path: Path) -> set[str]:
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists() -> None:
    named = NAMED.findall(PAGE)
    assert len(named) > 15
    assert [f"{file}::{name}" for file, name in named if name not in functions(ROOT / file)] == []


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| F\d", line)]
    assert len(rows) == 18
    assert [row for row in rows if not NAMED.search(row)] == []
