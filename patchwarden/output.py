"""Output: one answer as a table, JSON, JSON lines or CSV; data on standard output, the rest on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from chalicelib.core import printing
from chalicelib.core.printing import counted, plain

__all__ = ["FORMATS", "console", "counted", "csv_text", "note", "plain", "rows", "table"]

FORMATS = ("table", "json", "jsonl", "csv")
NOTHING = "nothing to show"
SCHEMA = 1
"""Of JSON documents; another number means that a field is gone or means something else."""

WIDE = 10_000
"""Of what is piped: a row is one line, so that `grep` finds a node together with its reason."""

_FOLDED = 20
"""A cell that is longer may be folded to this many letters and still be read."""


def console(*, stderr: bool = False) -> Console:
    """A console that keeps whole lines when it is piped; NO_COLOR is honoured."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=None if stream.isatty() else WIDE
    )


def rows(records: Iterable[Mapping[str, Any]], columns: Sequence[str], *, form: str, whole: Any = None,
         empty: str = NOTHING) -> None:  # fmt: skip
    """Print records; `columns` choose what a table and a CSV show, `whole` is the JSON document if it says more.

    A JSON document that is an object has a `schema_version`; `empty` is what a table without records says.
    """
    listed = list(records)
    if form == "json":
        document = {"schema_version": SCHEMA, **whole} if isinstance(whole, dict) else whole
        click.echo(printing.json_text(listed if whole is None else document, indent=2))
    elif form == "jsonl":
        for record in listed:
            click.echo(printing.json_text(record))
    elif form == "csv":
        click.echo(csv_text(listed, columns), nl=False)
    else:
        table(listed, columns, empty=empty)


def table(records: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None = None, *,
          empty: str = NOTHING) -> None:  # fmt: skip
    """A table on standard output; an empty one says so."""
    if not records:
        console().print(Text(empty, style="dim"))
        return
    screen = console()
    if screen.is_terminal and screen.width < _least(records, columns):
        _blocks(screen, records, columns, title)
        return
    grid = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        grid.add_column(column.replace("_", " "), overflow="fold")
    for record in records:
        grid.add_row(*(Text(plain(record.get(column))) for column in columns))
    screen.print(grid)


def _least(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> int:
    """How wide a terminal must be, so that no column is folded to a few letters."""
    longest = (max(len(column), *(len(plain(record.get(column))) for record in records)) for column in columns)
    return sum(min(cell, _FOLDED) + 2 for cell in longest)


def _blocks(screen: Console, records: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str | None) -> None:
    """One record below the other, where columns side by side would be a few letters wide."""
    if title:
        screen.print(Text(title, style="bold"))
    for record in records:
        for column in columns:
            name, value = column.replace("_", " "), plain(record.get(column))
            if value:
                screen.print(Text.assemble((f"{name}: ", "dim"), value))
        screen.print()


def csv_text(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV whose cells no spreadsheet takes for a formula."""
    return printing.csv_text(columns, ([record.get(column) for column in columns] for record in records))


def note(text: str) -> None:
    """A word beside the data, on standard error."""
    console(stderr=True).print(Text(plain(text)))
