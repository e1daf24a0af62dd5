"""The evidence pack as a page, a PDF, a table, JSON or OCSF findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.core.ocsf import finding
from chalicelib.core.printing import json_text
from patchwarden import output

Pack = Mapping[str, Any]
MOST_ROWS = 5_000
"""How many remediations a printed page lists; CSV, JSON and OCSF hold all."""

COLUMNS = ("id", "state", "since", "first_seen", "deadline", "policy", "action", "ticket", "because")
_EXEMPT = ("policy", "until", "approved_by", "approved_on", "ticket", "remediations", "reason")
_RULES = ("id", "title", "owner", "band", "mode", "action", "digest")
_GAPS = ("kind", "count", "what")


def printed(pack: Pack, ending: str) -> bytes:
    """The pack as a file of that ending, one of PRINTERS."""
    return PRINTERS[ending](pack)


def _sections(pack: Pack) -> list[tuple[str, tuple[str, ...], list[Mapping[str, Any]]]]:
    states = [{"state": state, "remediations": count} for state, count in pack["states"].items()]
    return [
        ("States", ("state", "remediations"), states),
        ("Gaps", _GAPS, pack["gaps"]),
        ("Exemptions in force", _EXEMPT, pack["exemptions"]),
        ("Policies in force", _RULES, pack["policies"]),
        ("Remediations", COLUMNS, pack["remediations"][:MOST_ROWS]),
    ]


def _summary(pack: Pack) -> list[str]:
    """The first lines of a printed pack; the verdict first."""
    proof = pack["verification"]
    seal = f", signed up to {proof['signed_until']}" if proof["signed_until"] else ", not signed"
    verdict = (
        f"The trail is whole, in order and unchanged: {proof['remediations']} trails, {proof['lines']} lines{seal}."
        if not proof["faults"]
        else f"THE TRAIL IS DAMAGED: {len(proof['faults'])} faults; the first: {proof['faults'][0]}"
    )
    asked = ", ".join(f"{name} {value}" for name, value in pack["filters"].items()) or "the whole fleet"
    left = pack["total"] - MOST_ROWS
    return [
        verdict,
        f"{pack['total']} remediations at {pack['at']} ({asked}); made at {pack['made_at']}.",
        f"Policy set in force: {pack['set_digest'] or 'not at hand'}.",
        *([f"{left} more remediations are in the CSV and JSON of this report."] if left > 0 else []),
        *proof["notes"],
    ]


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Patchwarden evidence {{ pack.at }}</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #111; background: #fff }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem } caption { text-align: left; font-weight: bold }
th, td { border-bottom: 1px solid #bbb; padding: .25rem .5rem; text-align: left; vertical-align: top;
  overflow-wrap: anywhere }
.damaged { border: 3px solid #a00; padding: .5rem; font-weight: bold }
@media print { body { margin: 0; font-size: 9px } thead { display: table-header-group } tr { break-inside: avoid } }
</style></head><body><h1>Evidence of patch compliance</h1>
{% for line in summary %}<p{% if loop.first and pack.verification.faults %} class="damaged"{% endif %}>{{ line }}</p>
{% endfor %}
{% for title, columns, rows in sections %}<table><caption>{{ title }} ({{ rows|length }})</caption>
<thead><tr>{% for column in columns %}<th scope="col">{{ column.replace("_", " ") }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for column in columns %}<td>{{ plain(row[column]) }}</td>{% endfor %}</tr>
{% else %}<tr><td colspan="{{ columns|length }}">none</td></tr>{% endfor %}</tbody></table>
{% endfor %}</body></html>
"""


def _html(pack: Pack) -> bytes:
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    text = page.render(pack=pack, summary=_summary(pack), sections=_sections(pack), plain=output.plain)
    return text.encode()


def _pdf(pack: Pack) -> bytes:
    from fpdf import FPDF

    document = FPDF(orientation="landscape")
    document.set_title(f"Patchwarden evidence {pack['at']}")
    document.add_page()
    document.set_font("helvetica", size=14)
    document.cell(text="Evidence of patch compliance", new_x="LMARGIN", new_y="NEXT")
    document.set_font("helvetica", size=9)
    for line in _summary(pack):
        document.multi_cell(0, text=_cut(_latin(line)), new_x="LMARGIN", new_y="NEXT")
    for title, columns, rows in _sections(pack):
        document.ln(4)
        document.set_font("helvetica", style="B", size=10)
        document.cell(text=f"{title} ({len(rows)})", new_x="LMARGIN", new_y="NEXT")
        document.set_font("helvetica", size=7)
        with document.table(line_height=3.5, text_align="LEFT") as table:
            table.row([column.replace("_", " ") for column in columns])
            for row in rows:
                table.row([_cut(_latin(output.plain(row[column]))) for column in columns])
    return bytes(document.output())


CELL = 600
"""Letters of a cell in the PDF: a row that does not fit one page cannot be printed at all."""


def _cut(text: str) -> str:
    return text if len(text) <= CELL else f"{text[:CELL]}... ({len(text)} letters; the JSON has all)"


def _latin(text: str) -> str:
    """What the PDF's built-in font has no letter for stands as an escape: nothing is lost silently."""
    return text.encode("latin-1", "backslashreplace").decode("latin-1")


def _csv(pack: Pack) -> bytes:
    return output.csv_text(pack["remediations"], ("id", *(name for name in COLUMNS[1:]), "hash", "tags")).encode()


def _json(pack: Pack) -> bytes:
    return (json_text(pack, indent=2) + "\n").encode(errors="backslashreplace")


def _ocsf(pack: Pack) -> bytes:
    found = (json.dumps(finding(point, pack["at"]), sort_keys=True) for point in pack["remediations"])
    return "".join(line + "\n" for line in found).encode()


PRINTERS: dict[str, Callable[[Pack], bytes]] = {
    ".html": _html, ".pdf": _pdf, ".csv": _csv, ".ocsf.jsonl": _ocsf, ".json": _json,
}  # fmt: skip
