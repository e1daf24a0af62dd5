"""Pausing: the switch that stops every new start, and lets them go again."""

from __future__ import annotations

import getpass
from datetime import datetime, timedelta

import click

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.windows import parse_duration
from chalicelib.ports import Pause
from patchwarden import output
from patchwarden.scope import Scope


@click.command()
@click.option("--reason", required=True, help="Why; everybody who looks at the status reads it.")
@click.option("--until", help="A moment (2026-11-24T06:00:00Z) or a span (4h) after which starts go on by themselves.")
@click.option("--by", default=getpass.getuser, help="Who pauses.", show_default="the user of this machine")
@click.pass_obj
def pause(scope: Scope, reason: str, until: str | None, by: str) -> None:
    """Start nothing new, anywhere, from the next round of dispatch on (within 60 s).

    What is due stays queued. Executions in flight go on to their end and are followed.
    """
    ports = scope.ports()
    now = ports.clock.now()
    ends = _moment(until, now) if until else None
    ports.ledger.set_pause(Pause(by=by, reason=reason, since=now, until=ends))
    running = len(ports.ledger.open_batches())
    until_when = format_moment(ends) if ends else "somebody resumes"
    output.note(f"paused until {until_when}; {running} executions are in flight and go on")


@click.command()
@click.pass_obj
def resume(scope: Scope) -> None:
    """Let starts go on; what is queued leaves with the next round of dispatch."""
    ports = scope.ports()
    paused = ports.ledger.pause()
    if paused is None:
        output.note("nothing is paused")
        return
    ports.ledger.set_pause(None)
    output.note(f"resumed; it was paused by {paused.by} at {format_moment(paused.since)}: {paused.reason}")


def _moment(text: str, now: datetime) -> datetime:
    """When the pause ends: a later moment, or a span from now."""
    try:
        ends = now + _span(text) if text[-1:].isalpha() and "T" not in text else parse_moment(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or write a span such as 4h", param_hint="--until") from error
    if ends <= now:
        raise click.BadParameter(f"{format_moment(ends)} has passed", param_hint="--until")
    return ends


def _span(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except PolicyError as error:
        raise ValueError(str(error)) from error
