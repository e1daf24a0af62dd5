"""Timing: the audit commands that tell how long what was found took, and which deadlines were broken."""

from __future__ import annotations

from pathlib import Path

import click

from chalicelib import speed
from chalicelib.core.points import Where
from patchwarden import output
from patchwarden.auditing import asked, at_option, audit, export_option, where_options
from patchwarden.scope import Scope, form_option
from patchwarden.when import When, since_option


@audit.command()
@at_option
@since_option("30d")
@where_options
@export_option
@form_option
@click.pass_obj
def durations(scope: Scope, at: When | None, since: When, where: Where, folder: Path | None, form: str) -> None:
    """How long what was verified in the span took: MTTR (median, p90) by step, severity and policy."""
    here = asked(scope, at, since, folder)
    answer = speed.durations(here.past, here.since, here.at, here.checked(where))
    steps = [{"of": name.replace("_", " "), **row} for name, row in answer["spans"].items()]
    steps += [{"of": f"severity {row['severity'] or 'none'}", **row} for row in answer["by_severity"]]
    steps += [{"of": f"policy {row['policy'] or 'none'}", **row} for row in answer["by_policy"]]
    if form == "table":
        steps = [{**row, **{name: told(row[name]) for name in ("median", "p90", "longest")}} for row in steps]
        click.echo(f"From {answer['since']} to {answer['at']}: {answer['verified']} verified")
    output.rows(steps, ("of", "count", "median", "p90", "longest"), form=form, whole=answer)


def told(seconds: float | None) -> str:
    """A span in two units."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    return f"{hours}h {minutes:02}m" if hours else f"{minutes}m {rest:02}s"


@audit.command()
@at_option
@since_option("30d")
@where_options
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Rows of each list.")
@export_option
@form_option
@click.pass_obj
def sla(scope: Scope, at: When | None, since: When, where: Where, limit: int, folder: Path | None, form: str) -> None:
    """Deadlines that were broken in the span, and those that break next."""
    here = asked(scope, at, since, folder)
    answer = speed.sla(here.past, here.since, here.at, here.checked(where), limit=limit)
    late = [{**row, "is": "late", "by": told(row["late_by"])} for row in answer["breaches"]]
    ahead = [{**row, "is": "in time", "by": told(row["remaining"])} for row in answer["next_to_breach"]]
    if form == "table":
        click.echo(f"{answer['met']} met, {answer['breached']} broken ({answer['open_breaches']} still open), "
                   f"{answer['without_deadline']} open without a deadline")  # fmt: skip
    output.rows([*late, *ahead], ("remediation", "policy", "severity", "state", "deadline", "is", "by"), form=form,
                whole=answer, empty="no deadline was broken, and none is ahead")  # fmt: skip
