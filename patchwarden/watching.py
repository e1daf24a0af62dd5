"""Watching: the trail as it grows, the executions in flight, and any view drawn again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import click
from rich.markup import escape

from chalicelib import lookup
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.points import Where
from chalicelib.core.printing import json_text
from chalicelib.core.remediations import State, Transition
from chalicelib.past import FromLedger
from chalicelib.ports import Clock, Ledger, Ports
from patchwarden import output
from patchwarden.auditing import asked, kept, of_options
from patchwarden.filtering import checked
from patchwarden.scope import Scope, form_option, known_nodes, one_node
from patchwarden.when import When, since_option

LATE = timedelta(seconds=90)
"""How far back a look at the growing trail reaches: the index of days may be a moment behind, and clocks differ."""

_COLORS = {State.RESOLVED: "green", State.GONE: "dim", State.TICKETED: "yellow", State.REBOOT_PENDING: "yellow"}
_LISTED = ("at", "node", "before", "cause", "after", "policy", "actor", "because")


def every_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--every SECONDS`, as the argument `every`."""
    return click.option("--every", type=click.FloatRange(min=1), default=5.0, show_default=True, metavar="SECONDS",
                        help="How often to look again.")(command)  # fmt: skip


def again_and_again(show: Callable[[], None], clock: Clock, every: float) -> None:
    """Draw a view anew until somebody presses Ctrl-C, which is its ordinary end."""
    if not output.console().is_terminal:
        raise click.UsageError("a view that is drawn again and again needs a terminal; without one, use -o json")
    try:
        while True:
            click.clear()
            show()
            output.note(f"{format_moment(clock.now())}, every {every:g} s; Ctrl-C ends it")
            clock.sleep(every)
    except KeyboardInterrupt:
        return


@click.command()
@click.option("--watch", is_flag=True, help="Draw it again and again; same as `top`.")
@every_option
@of_options
@form_option
@click.pass_obj
def executions(scope: Scope, watch: bool, every: float, of: Where, form: str) -> None:
    """What runs now and how far each execution is, how full each place is, and what kinds of failure there are."""
    here = asked(scope, None)
    ports, of = here.ports, here.checked(of)
    if watch:
        again_and_again(lambda: _show(_executions(ports, of)), ports.clock, every)
        return
    now = _executions(ports, of)
    if form == "table":
        _show(now)
    else:
        output.rows(now["executions"], _EXECUTIONS, form=form, whole=now)


@click.command()
@every_option
@of_options
@click.pass_context
def top(context: click.Context, every: float, of: Where) -> None:
    """The executions in flight, drawn again and again."""
    context.invoke(executions, watch=True, every=every, of_account=of.account, of_policy=of.policy)


def _executions(ports: Ports, of: Where) -> dict[str, Any]:
    return lookup.executions(ports, account=of.account, policy=of.policy)


_EXECUTIONS = ("execution", "location", "policies", "nodes", "running", "verifying", "proved", "other", "age")


def _show(now: dict[str, Any]) -> None:
    flying = [{**one, "policies": ", ".join(one["policies"]), "age": _span(one["seconds"])}
              for one in now["executions"]]  # fmt: skip
    if flying:
        output.table(flying, _EXECUTIONS, "Executions in flight")
    else:
        click.echo("No execution is in flight.")
    if now["places"]:
        places = [{**place, "executions": f"{place['executions']} of {place['limit'] or '?'}"}
                  for place in now["places"][:20]]  # fmt: skip
        output.table(places, ("location", "executions", "queued"), "Places, the fullest first")
    if now["budgets"]:
        budgets = [
            {**one, "failed": f"{one['failures']} of {one['limit']}", "within": _span(one["within"]),
             "now": "spent: nothing starts" if one["spent"] else "some left"}
            for one in now["budgets"]
        ]  # fmt: skip
        output.table(budgets, ("policy", "failed", "within", "now"), "Error budgets")
    if now["failures"]:
        output.table(now["failures"], ("kind", "remediations", "example", "because"), "Failed attempts still at work")


def _span(seconds: int) -> str:
    """A length of time in the two units that matter."""
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // part:02}{smaller}"
    return f"{seconds}s"


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Stay, and print each line as it is written.")
@since_option("1h", "From when on: a moment, or a span before now.")
@click.option("--node", help="Only this node.", shell_complete=known_nodes)
@click.option("--account", help="Only this account.")
@click.option("--region", help="Only this Region.")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only lines that end in this state.")
@click.option("--policy", help="Only decisions of this policy.")
@click.option("--actor", help="Only lines whose actor has this in it.")
@every_option
@form_option
@click.pass_obj
def tail(scope: Scope, /, follow: bool, since: When, node: str | None, every: float, form: str, **wanted: Any) -> None:
    """The trail of the whole fleet, line by line in order of time.

    With -f it stays and prints what is written from now on, until Ctrl-C.
    """
    ports = scope.ports()
    wanted["node"] = one_node(ports, node) if node else None
    places = Where(account=wanted["account"], region=wanted["region"], policy=wanted["policy"])
    checked(places, FromLedger(ports.ledger), ports.clock.now(), ports, kept(scope)[0])
    begin = since.back(ports.clock.now())
    lines = (line for line in lines_since(ports.ledger, begin, ports.clock.now()) if _fits(line, wanted))
    if not follow:
        _print_all(lines, form)
        return
    if form not in ("table", "jsonl"):
        raise click.UsageError(f"--follow has no end, and {form} needs one: use -o jsonl")
    seen = set[str]()
    try:
        while True:
            for line in lines:
                if line.hash not in seen:
                    _print_one(line, form)
                seen.add(line.hash)
            ports.clock.sleep(every)
            now = ports.clock.now()
            lines = (line for line in lines_since(ports.ledger, now - LATE, now) if _fits(line, wanted))
    except KeyboardInterrupt:
        return


def lines_since(ledger: Ledger, begin: datetime, now: datetime) -> Iterator[Transition]:
    """Every line from `begin` on, in order of time: one look at the index for each day."""
    for day in range((now.date() - begin.date()).days + 1):
        yield from (line for line in ledger.day(begin.date() + timedelta(days=day)) if line.at >= begin)


def _fits(line: Transition, wanted: dict[str, Any]) -> bool:
    """Whether a line is one that was asked for; what was not asked for always fits."""
    account, region, rest = line.remediation.split(".", 2)
    node = Node(account, region, rest.rsplit(".", 1)[0])
    return (
        wanted["node"] in (None, node)
        and wanted["account"] in (None, account)
        and wanted["region"] in (None, region)
        and wanted["state"] in (None, line.after.value)
        and wanted["policy"] in (None, _policy(line))
        and (wanted["actor"] is None or wanted["actor"] in line.actor)
    )


def _policy(line: Transition) -> str | None:
    policy: str | None = (line.sets.get("decision") or {}).get("policy")
    return policy


def _told(line: Transition) -> dict[str, Any]:
    return {**line.to_json(), "node": line.remediation.rsplit(".", 1)[0].rsplit(".", 1)[-1], "policy": _policy(line)}


def _print_all(lines: Iterator[Transition], form: str) -> None:
    if form == "table":
        printed = False
        for line in lines:
            _print_one(line, form)
            printed = True
        if not printed:
            output.note("no line fits: name an earlier --since, or fewer filters")
        return
    told = [line.to_json() for line in lines] if form in ("json", "jsonl") else [_told(line) for line in lines]
    output.rows(told, _LISTED, form=form)


def _print_one(line: Transition, form: str) -> None:
    if form == "jsonl":
        click.echo(json_text(line.to_json()))
        return
    told = _told(line)
    color = _COLORS.get(line.after, "red" if line.cause == "failed" else "cyan")
    because = escape(output.plain(line.because))
    output.console().print(
        f"{format_moment(line.at)[:19]}Z [dim]{told['node']:<20}[/] [{color}]{line.cause.value:<13}[/] {because}"
    )


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL, to be read by its start file.

    For bash: patchwarden completion bash > ~/.local/share/bash-completion/completions/patchwarden
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None, f"click completes {shell}"
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "patchwarden", "_PATCHWARDEN_COMPLETE").source())
