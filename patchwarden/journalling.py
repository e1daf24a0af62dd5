"""Journalling: what people and guards did to the service itself, and which policy sets they put in force."""

from __future__ import annotations

from typing import Any

import click

from chalicelib import lookup
from chalicelib.core.journal import Entry, Kind
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.auditing import audit
from patchwarden.scope import Scope, form_option
from patchwarden.when import When, since_option

_KINDS = [*(one.value for one in Kind), lookup.POLICIES]
_LISTED = ("at", "subject", "what", "actor", "because")


@audit.command()
@click.option("--kind", type=click.Choice(_KINDS), help="Only what is about this.")
@click.option("--subject", help="A part of the subject, such as account/111122223333 or a guard's name.")
@click.option("--actor", help="A part of who did it.")
@since_option(says="From when on: a moment, or a span before now; else all.")
@click.option("--limit", type=click.IntRange(min=1), help="Only so many, the newest; they stand oldest first too.")
@form_option
@click.pass_obj
def journal(
    scope: Scope, kind: str | None, subject: str | None, actor: str | None, since: When | None, limit: int | None,
    form: str,
) -> None:  # fmt: skip
    """Who did what to the service itself: pauses, guards, rollouts, schedules, policy sets; oldest first.

    What was done about nodes is in `audit search`.
    """
    ports = scope.ports()
    begin = since.back(ports.clock.now()) if since else None
    lines = lookup.journal(ports.ledger, kind=kind, subject=subject, actor=actor, since=begin)
    if not lines and form == "table":
        _nothing(lookup.journal(ports.ledger, kind=kind))
        return
    shown = lines[-limit:] if limit else lines
    output.rows(shown, _LISTED, form=form)
    if len(shown) < len(lines):
        output.note(f"the newest {len(shown)} of {output.counted(len(lines), 'line')}")


def entries_of(ports: Ports, line: Entry, form: str) -> None:
    """Print every entry of the subject of this one, first to last."""
    lines = [one.to_json() for one in ports.ledger.entries(line.subject)]
    output.rows(lines, ("number", "at", "what", "actor", "because"), form=form)


def _nothing(known: list[dict[str, Any]]) -> None:
    """An answer without lines, with the names that there are: a mistyped filter must not look like a clean record."""
    if not known:
        output.note("the journal is empty: nobody has done anything to the service yet")
        return
    actors = ", ".join(sorted({line["actor"] for line in known})[:5])
    subjects = ", ".join(sorted({line["subject"] for line in known})[:5])
    output.note(f"none of {output.counted(len(known), 'line')} fits; actors are {actors}; subjects are {subjects}")
