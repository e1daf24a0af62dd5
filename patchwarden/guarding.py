"""Guarding: what the guards and rollouts hold, and the commands that let it go."""

from __future__ import annotations

from typing import Any

import click

from chalicelib import guard as guards
from chalicelib import lookup, wave
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.waves import Progress
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.journalling import entries_of
from patchwarden.scope import Scope, by_option, form_option

_GUARDS = ("guard", "holds", "since", "ticket", "because")
_ROLLOUTS = ("rollout", "stands", "wave", "waves", "wave_verified", "wave_failed", "wave_in_work", "ticket", "because")

_reason = click.option(
    "--reason", "--because", "reason", required=True, help="Why; it stands in the journal and in the ticket's end."
)
_by = by_option("Who decides.")


@click.group(cls=Group)
def guard() -> None:
    """Guards that tripped: surges and spent error budgets. What they hold stays queued until they are released."""


@guard.command("list")
@click.option("--all", "every", is_flag=True, help="Those that were released, too.")
@form_option
@click.pass_obj
def guard_list(scope: Scope, every: bool, form: str) -> None:
    """What each guard holds, since when and why. None: nothing is held by one."""
    ports = scope.ports()
    found = lookup.guards(ports.ledger, every=every)
    if not found and form == "table":
        output.note("no guard holds anything")
        return
    output.rows(found, _GUARDS, form=form)


@guard.command("show")
@click.argument("name")
@form_option
@click.pass_obj
def guard_show(scope: Scope, name: str, form: str) -> None:
    """Every entry of the guard NAME, first to last: when it tripped, why, who released it."""
    ports = scope.ports()
    entries_of(ports, guards.find(ports, Kind.GUARD, name), form)


@guard.command("release")
@click.argument("name")
@_reason
@_by
@click.pass_obj
def guard_release(scope: Scope, name: str, reason: str, by: str) -> None:
    """Let go what the guard NAME holds, with the next round of dispatch; its ticket is resolved by the next sweep.

    What was found before is no longer new, and what has failed before counts no more.
    """
    ports = scope.ports()
    line = guards.find(ports, Kind.GUARD, name)
    if not guards.tripped(line):
        output.note(f"{name} holds nothing: {line.because}")
        return
    guards.release(ports, line, reason, actor=by)
    output.note(f"released {name}; it held since {line.value['since']}: {guards.why(line)}")
    wider = [one["guard"] for one in lookup.guards(ports.ledger)]
    if wider:
        output.note(f"still held by {', '.join(wider)}")


@click.group(cls=Group)
def rollout() -> None:
    """Rollouts in waves: how far each has come, and what it waits for."""


@rollout.command("list")
@form_option
@click.pass_obj
def rollout_list(scope: Scope, form: str) -> None:
    """Where each rollout stands. A policy that was changed has a rollout of its own."""
    ports = scope.ports()
    found = lookup.rollouts(ports.ledger)
    if not found and form == "table":
        output.note("no rollout has begun: a policy has one when it says rollout.waves")
        return
    output.rows([of_the_wave(one) for one in found], _ROLLOUTS, form=form, whole=found)


def of_the_wave(one: dict[str, Any]) -> dict[str, Any]:
    """The rollout with its counts under the name of what they count; nobody counts in the last wave."""
    counts = {name: None if one["stands"] == "finished" else one[name] for name in ("verified", "failed", "in_work")}
    return {**one, **{f"wave_{name}": count for name, count in counts.items()}}


@rollout.command("show")
@click.argument("name")
@form_option
@click.pass_obj
def rollout_show(scope: Scope, name: str, form: str) -> None:
    """Every entry of the rollout NAME, first to last."""
    ports = scope.ports()
    entries_of(ports, _named(ports, name), form)


@rollout.command("resume")
@click.argument("name")
@_reason
@_by
@click.pass_obj
def rollout_resume(scope: Scope, name: str, reason: str, by: str) -> None:
    """Let the stopped rollout NAME go on: what has failed in its open wave so far is forgiven."""
    ports = scope.ports()
    line = _named(ports, name)
    stopped = Progress.from_json(line.value).stopped
    if stopped is None:
        output.note(f"{name} is not stopped: {line.because}")
        return
    wave.resume(ports, line, reason, by)
    output.note(f"resumed {name}; it was stopped: {stopped}")


@rollout.command("stop")
@click.argument("name")
@_reason
@_by
@click.pass_obj
def rollout_stop(scope: Scope, name: str, reason: str, by: str) -> None:
    """Start nothing more of the rollout NAME until it is resumed. What runs goes on to its end and is followed."""
    ports = scope.ports()
    line = _named(ports, name)
    stopped = Progress.from_json(line.value).stopped
    if stopped is not None:
        output.note(f"{name} is stopped already: {stopped}")
        return
    wave.stop(ports, line, reason, by)
    output.note(f"stopped {name}; `patchwarden rollout resume {name} --reason WHY` lets it go on")


def _named(ports: Ports, name: str) -> Entry:
    """The rollout of that name; a policy's id names its only one."""
    known = [line for line in ports.ledger.subjects(Kind.ROLLOUT) if line.name.split("/")[0] == name]
    return known[0] if len(known) == 1 else guards.find(ports, Kind.ROLLOUT, name)
