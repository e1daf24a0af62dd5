"""Failing: what came to nothing after every try, listed and sent again."""

from __future__ import annotations

import sys

import click

from chalicelib import failures as verb
from chalicelib import wiring
from chalicelib.ports import Failures, Functions
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import FAILURE, Scope, by_option, form_option

_COLUMNS = ("id", "at", "queue", "function", "about", "because")


@click.group(cls=Group)
def failures() -> None:
    """What failed for good: the dead letters of the rules and of the functions."""


@failures.command("list")
@form_option
@click.pass_obj
def list_(scope: Scope, form: str) -> None:
    """What lies in the failure queues, the oldest first, and why. Changes nothing."""
    queues, _ = _deployed(scope)
    output.rows([failure.to_json() for failure in verb.lying(queues)], _COLUMNS, form=form)


@failures.command()
@click.option("--id", "ids", multiple=True, help="Only this one, as `failures list` names it; may be repeated.")
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent where, and send nothing.")
@by_option("Who sends it again.")
@form_option
@click.pass_obj
def redrive(scope: Scope, ids: tuple[str, ...], every: bool, dry_run: bool, by: str, form: str) -> None:
    """Send failures again to the function that they were for; exit 1 if one fails again.

    Safe at any later time: nothing starts twice, and what is no longer so is not acted on. What fails again, or
    cannot be sent, stays in its queue. Each one is an entry of the journal.
    """
    if bool(ids) is every:
        raise click.UsageError("say which ones: --id ID (may be repeated), or --all")
    queues, functions = _deployed(scope)
    if dry_run:
        chosen = [one for one in verb.lying(queues) if every or one.letter.id in ids]
        output.rows([one.to_json() for one in chosen], _COLUMNS, form=form)
        sendable = sum(one.function is not None for one in chosen)
        output.note(f"{sendable} of {len(chosen)} would be sent; nothing was")
        return
    ports = scope.ports()
    done = verb.redrive(queues, functions, ports.ledger, ports.clock, only=None if every else ids, by=by)
    told = [{**one.failure.to_json(), "done": one.done, "because": one.because} for one in done]
    output.rows(told, ("id", "done", "function", "about", "because"), form=form)
    missing = sorted(set(ids) - {one.failure.letter.id for one in done})
    if missing:
        output.note(f"not in the queues, or in another hand at this moment: {', '.join(missing)}")
    if missing or not all(one.done for one in done):
        sys.exit(FAILURE)


def _deployed(scope: Scope) -> tuple[Failures, Functions]:
    scope.only_aws("what failed for good lies in queues: failures")
    return wiring.failures(wiring.Settings.from_environment())
