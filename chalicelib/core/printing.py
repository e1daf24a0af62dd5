"""Printing: text that steers no terminal, and CSV that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell begins with that a spreadsheet may run, the wide letters of East Asian ones included.

https://owasp.org/www-community/attacks/CSV_Injection
"""

_STEERS = ("C", "Zl", "Zp")
_ODD = re.compile(r"[^\n\x20-\x7e]")


def plain(value: Any) -> str:
    """Text on one line without control, format and surrogate characters: they stand as escapes. Not text: its JSON."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    if text.isprintable():
        return text
    return "".join(repr(char)[1:-1] if _steers(char) else char for char in text)


def counted(count: int, what: str) -> str:
    """`1 node`, `2 nodes`, `3 patches`."""
    return f"{count} {what}{'' if count == 1 else 'es' if what.endswith('ch') else 's'}"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """CSV with a head line; a text that might be a formula stands behind an apostrophe, a number never does."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    text = plain(value)
    if isinstance(value, int | float):
        return text
    return "'" + text if text.lstrip().startswith(FORMULA) else text


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that people can read in their own letters, and that steers no terminal it is printed to."""
    text = json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)
    return _ODD.sub(lambda found: json.dumps(found[0])[1:-1] if _steers(found[0]) else found[0], text)


def _steers(char: str) -> bool:
    return unicodedata.category(char).startswith(_STEERS)
