"""Pausing: the switch that stops new starts, of everything or of a part, and lets them go again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

import click

from chalicelib import pause as switch
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment
from chalicelib.core.pauses import ALL, Pause
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.scope import FAILURE, Scope, by_option
from patchwarden.when import WHEN, When

_KINDS = ("account", "region", "policy")


def _scopes(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--account`, `--region` and `--policy`, each as often as one likes."""
    for kind, what in (("policy", "id"), ("region", "name"), ("account", "12 digits")):
        text = f"Only this {kind} ({what}); may be given several times, each is a pause of its own."
        command = click.option(f"--{kind}", multiple=True, metavar=kind.upper(), help=text)(command)
    return command


_by = by_option("Who does it.")


@click.command()
@_scopes
@click.option("--reason", "--because", "reason", required=True, help="Why; everybody who looks at the status reads it.")
@click.option("--until", "--for", "until", type=WHEN,
              help="When starts go on by themselves: a moment, or a span from now.")  # fmt: skip
@click.option("--stop-running", is_flag=True, help="Also stop the executions in flight in this scope, one a second.")
@_by
@click.pass_obj
def pause(
    scope: Scope, /, reason: str, until: When | None, stop_running: bool, by: str, **given: tuple[str, ...]
) -> None:
    """Start nothing new, anywhere or in the scopes given, from the next start on (within 60 s).

    What is due stays queued. Executions in flight go on to their end and are followed, unless --stop-running is
    given. A command that a node has begun may run on even then.
    """
    ports = scope.ports()
    _must_say_why(reason)
    scopes = _chosen(ports, given)
    now = ports.clock.now()
    ends = until.ahead(now) if until else None
    for name in scopes:
        begun = switch.begin(ports, name, by=by, reason=reason, until=ends)
        if ends and begun.until != ends:
            output.note(f"{_called(name)} was paused for longer: that holds; resume it first for an earlier end")
        running = _running(ports, begun)
        goes_on = "" if stop_running else f"; executions in flight go on: {running}"
        output.note(f"{_called(name)} paused until {_end_of(begun)}{goes_on}")
        if stop_running:
            _stop(ports, begun)


@click.command()
@_scopes
@click.option("--reason", "--because", "reason", required=True, help="Why it may go on; it stands in the journal.")
@_by
@click.pass_obj
def resume(scope: Scope, /, reason: str, by: str, **given: tuple[str, ...]) -> None:
    """Let starts go on; what is queued leaves with the next round of dispatch.

    Give the same scopes as when it was paused; without any, the pause of everything ends. Exit 1 if that ended none
    while something is paused.
    """
    ports, any_ended = scope.ports(), False
    _must_say_why(reason)
    for name in _named(given) or [ALL]:
        ended = switch.end(ports, name, by=by, reason=reason)
        any_ended |= ended is not None
        if ended:
            at = format_moment(ended.since)
            output.note(f"{_called(name)} resumed; it was paused by {ended.by} at {at}: {ended.reason}")
        else:
            output.note(f"{_called(name)} was not paused")
    left = switch.in_force(ports.ledger, ports.clock.now())
    if left:
        output.note(f"still paused: {'; '.join(f'{one.scope} (until {_end_of(one)})' for one in left)}")
        sys.exit(0 if any_ended else FAILURE)


def _must_say_why(reason: str) -> None:
    if not reason.strip():
        raise click.BadParameter("say why: an empty reason helps nobody", param_hint="--reason")


def _stop(ports: Ports, begun: Pause) -> None:
    """Stop what runs, telling each as it goes; exit 1 if one of them may run on."""
    stopped = switch.stop_running(ports, begun, _tell)
    if not stopped:
        output.note("nothing was in flight")
    if any(one.because and one.execution for one in stopped):
        raise SystemExit(FAILURE)


def _tell(one: switch.Stopped) -> None:
    what = f"execution {one.execution} in {one.location} ({output.counted(one.nodes, 'node')})"
    if one.execution is None:
        output.note(f"{one.location}: {one.because}")
    elif one.because:
        output.note(f"{what} was NOT stopped: {one.because}")
    else:
        output.note(f"{what} is stopped; a node that has begun its command may still end it")


def _running(ports: Ports, begun: Pause) -> int:
    return sum(begun.covers(batch) for batch in ports.ledger.open_batches())


def _named(given: dict[str, tuple[str, ...]]) -> list[str]:
    return [f"{kind}/{name}" for kind in _KINDS for name in dict.fromkeys(given[kind])]


def _chosen(ports: Ports, given: dict[str, tuple[str, ...]]) -> list[str]:
    """The scopes, each known to the policy set: a pause of a mistyped account would hold nothing."""
    named = _named(given)
    if not named:
        return [ALL]
    try:
        policies = ports.policies.active()
    except PolicyError as error:
        output.note(f"the scopes cannot be checked: {error}")
        return named
    places = policies.settings.locations
    known = {
        "account": {place.account for place in places}, "region": {place.region for place in places},
        "policy": {one.id for one in policies.policies},
    }  # fmt: skip
    for kind in _KINDS:
        for name in given[kind]:
            if name not in known[kind]:
                raise click.BadParameter(_unknown(kind, name, known[kind]), param_hint=f"--{kind}")
    return named


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(near)}?" if near else f"; there are {', '.join(sorted(known)[:5])}"
    return f"the policy set knows no {kind} {name}{hint}"


def _called(scope: str) -> str:
    return "everything" if scope == ALL else scope.replace("/", " ")


def _end_of(begun: Pause) -> str:
    return format_moment(begun.until) if begun.until else "somebody resumes"
