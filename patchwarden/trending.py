"""Trending: the audit commands that tell how the fleet moved, how far findings came, and how old the rest is."""

from __future__ import annotations

from pathlib import Path

import click

from chalicelib import history, speed
from chalicelib.core.points import Where
from patchwarden import output
from patchwarden.auditing import asked, at_option, audit, export_option, where_options
from patchwarden.scope import Scope, form_option
from patchwarden.when import When, since_option


@audit.command()
@at_option
@since_option("14d")
@where_options
@export_option
@form_option
@click.pass_obj
def trend(scope: Scope, at: When | None, since: When, where: Where, folder: Path | None, form: str) -> None:
    """The fleet's states at 15 moments of a span."""
    here = asked(scope, at, since, folder)
    answer = history.trend(here.past, here.since, here.at, where)
    states = sorted({state for point in answer["points"] for state in point["states"]})
    rows = [{"at": point["at"], "total": point["total"], **{state: point["states"].get(state, 0) for state in states}}
            for point in answer["points"]]  # fmt: skip
    output.rows(rows, ("at", "total", *states), form=form, whole=answer)


@audit.command()
@at_option
@since_option("30d")
@where_options
@export_option
@form_option
@click.pass_obj
def funnel(scope: Scope, at: When | None, since: When, where: Where, folder: Path | None, form: str) -> None:
    """How far what was detected in the span came, and what was left where."""
    here = asked(scope, at, since, folder)
    answer = speed.funnel(here.past, here.since, here.at, where)
    if form == "table":
        stages = [{"stage": stage, "episodes": count} for stage, count in answer["stages"].items()]
        output.table(stages, ("stage", "episodes"))
    output.rows(answer["left"], ("after", "state", "episodes", "policy", "because"), form=form, whole=answer)


@audit.command()
@at_option
@where_options
@export_option
@form_option
@click.pass_obj
def ages(scope: Scope, at: When | None, where: Where, folder: Path | None, form: str) -> None:
    """How old what is not compliant is, against its deadline."""
    here = asked(scope, at, folder=folder)
    answer = speed.ages(here.past, here.at, where)
    rows = [{**row, "days": f"{row['from_days']} to {row['to_days']}" if row["to_days"] else f"over {row['from_days']}"}
            for row in answer["ages"]]  # fmt: skip
    columns = ("days", "open", "late", "in_time", "exempt", "without_deadline")
    output.rows(rows, columns, form=form, whole=answer)
