"""The command line. Exit codes: 0 ok, 1 failure, 2 usage, 3 findings, 4 refused by a guard."""

from __future__ import annotations

import json
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from chalicelib import lookup, wiring
from chalicelib.core.errors import Denied, PatchwardenError, Stale, Temporary
from chalicelib.core.nodes import Node
from chalicelib.ports import Ports
from patchwarden import (
    journalling,  # noqa: F401  (it joins a group)
    output,
    proving,  # noqa: F401  (it joins a group)
    scheduling,  # noqa: F401  (it joins a group)
    timing,  # noqa: F401  (it joins a group)
    trending,  # noqa: F401  (it joins a group)
)
from patchwarden.approving import approvals, approve, hold, reject
from patchwarden.auditing import audit
from patchwarden.baseline_commands import baseline
from patchwarden.doctor.commands import doctor
from patchwarden.emergencies.commands import emergency
from patchwarden.exceptions import config, standing
from patchwarden.failing import failures
from patchwarden.groups import Group
from patchwarden.guarding import guard, of_the_wave, rollout
from patchwarden.isolating import accounts
from patchwarden.pausing import pause, resume
from patchwarden.policy import (  # noqa: F401  (they join the group)
    exemption_commands,
    explain_commands,
    fixture_commands,
    publish_commands,
    replay_commands,
    starter_commands,
)
from patchwarden.policy.commands import policy
from patchwarden.policy.schedule_commands import schedule
from patchwarden.report_commands import report
from patchwarden.scope import DEMO_LEDGER, FAILURE, ONLY_AWS, REFUSED, Scope, form_option, known_nodes, one_node
from patchwarden.simulate.commands import simulate
from patchwarden.sweeping import sweep
from patchwarden.watching import again_and_again, completion, every_option, executions, tail, top
from patchwarden.web import web


class _Root(Group):
    """The command line itself, whose own options stand before the command."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if error.option_name not in ("--local", "--ledger"):
                raise click.UsageError(_no_such(error), ctx=error.ctx) from error
            what = f"{error.option_name} stands before the command, as in `patchwarden {error.option_name} ... status`"
            raise click.UsageError(what.replace("--local ...", "--local"), ctx=error.ctx) from error
        except click.ClickException as error:
            # a message may name what is there: tags of nodes, and those must not steer the terminal
            vars(error)["message"] = "\n".join(map(output.plain, error.message.split("\n")))
            raise
        except Denied as error:
            error.args = (_with_remedy(str(error.args[0]), ctx), *error.args[1:])
            raise


def _no_such(error: click.NoSuchOption) -> str:
    """What is meant, if one option is near; click offers up to three that share a few letters."""
    given, known = error.option_name, error.ctx.command.get_params(error.ctx) if error.ctx else []
    names = [name for option in known for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
    part = given.removeprefix("--")
    longer = [name for name in names if len(part) > 2 and part in name]
    near = longer or get_close_matches(given, names, n=1, cutoff=0.8)
    return f"No such option {given!r}{f': did you mean {near[0]}?' if near else ''}"


def _with_remedy(refusal: str, ctx: click.Context) -> str:
    """The refusal of AWS with what to look at; `--local` only where a ledger file could answer."""
    asked_aws = isinstance(ctx.obj, Scope) and ctx.obj.file is None
    if not asked_aws or "Check credentials" in refusal:
        return refusal
    other = "" if ctx.meta.get(ONLY_AWS) else ", or use --local"
    return f"{refusal.rstrip('.')}. Check credentials, Region and permissions{other}"


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--local", is_flag=True, help="Read the ledger file of the last demo instead of the deployed table.")
@click.option("--ledger", "file", type=click.Path(path_type=Path), help="Read this ledger file; implies --local.")
@click.version_option(package_name="patchwarden", prog_name="patchwarden")
@click.pass_context
def cli(context: click.Context, local: bool, file: Path | None) -> None:
    """Keep the managed nodes of an AWS organisation patched, and prove it.

    Exit codes: 0 ok, 1 failure, 2 usage, 3 findings, 4 refused by a guard.
    """
    context.obj = Scope(file or (DEMO_LEDGER if local else None))


def main() -> None:
    """Run the command line; our own errors end in one sentence, never in a traceback."""
    try:
        cli(prog_name="patchwarden")
    except Stale as error:
        _stop(f"{error}: somebody else was first, so nothing was done; look again and repeat", REFUSED)
    except Temporary as error:
        _stop(f"{error}: try again in a minute")
    except PatchwardenError as error:
        _stop(str(error).rstrip("."))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _stop(f"{where}{error.strerror or error}; name a file or folder that exists and that you may write to")


def _stop(sentence: str, code: int = FAILURE) -> None:
    output.note(f"Error: {sentence}")
    sys.exit(code)


@cli.command()
@click.option("--watch", is_flag=True, help="Draw it again and again.")
@every_option
@form_option
@click.pass_obj
def status(scope: Scope, watch: bool, every: float, form: str) -> None:
    """What is happening now: states, executions, what waits and until when, what is a person's turn."""
    ports = scope.ports()
    if watch:
        again_and_again(lambda: _show_status(ports, "table"), ports.clock, every)
    else:
        _show_status(ports, form)


def _show_status(ports: Ports, form: str) -> None:
    now = lookup.status(ports.ledger, ports.clock.now())
    now["config_exceptions"] = standing(ports)
    if form == "json":
        click.echo(json.dumps({"schema_version": output.SCHEMA, **now}, indent=2, sort_keys=True))
        return
    states = [{"state": state, "remediations": count} for state, count in now["states"].items()]
    output.rows(states, ("state", "remediations"), form=form, empty="nothing is recorded yet: no event came, no sweep")
    if form == "table":
        _status_details(now)


def _status_details(now: dict[str, Any]) -> None:
    output.note(_swept(now["sweep"]))
    for paused in now["pauses"]:
        who, why = escape(output.plain(paused["by"])), escape(output.plain(paused["reason"]))
        what = "" if paused["scope"] == "all" else f"{escape(output.plain(paused['scope'].replace('/', ' ')))} "
        until = f"until {paused['until']}" if paused["until"] else "until somebody resumes"
        output.console().print(f"[bold red]PAUSED[/] {what}by {who} {until}: {why} ({paused['holds']} queued)")
    for one in now["guards"]:
        name, why = escape(output.plain(one["guard"])), escape(output.plain(one["because"]))
        output.console().print(f"[bold red]HELD[/] by {name} since {one['since']}: {why}")
    if now["degraded"]:
        columns = ("account", "since", "tries", "probe", "holds", "ticket", "because")
        output.table(now["degraded"], columns, "Accounts that refuse us: all others go on")
    if now["rollouts"]:
        fields = ("rollout", "stands", "wave", "waves", "wave_verified", "wave_failed", "wave_in_work", "because")
        output.table([of_the_wave(one) for one in now["rollouts"]], fields, "Rollouts in waves")
    if now["executions"]:
        output.table(now["executions"], ("execution", "location", "nodes", "state", "since"), "Executions in flight")
    if now["queued"]:
        output.table(now["queued"], _QUEUED, _titled(_queued(now), "queued", now))
    if now["waiting"]:
        output.table(now["waiting"], _WAITING, _titled("Waiting, next first", "waiting", now))
    if now["ticketed"]:
        output.table(now["ticketed"], _TICKETED, _titled("A person's turn", "ticketed", now))
    if now["config_exceptions"]:
        output.table(now["config_exceptions"], ("node", "rule", "until", "state", "because"),
                     "Config starts nothing for these nodes: its exceptions stand")  # fmt: skip
    if now["errands"]:
        output.note(
            f"messages to the ticket system that did not get through yet: {now['errands']}; each sweep tries again"
        )


def _swept(last: dict[str, Any] | None) -> str:
    """The last whole pass over the fleet in one line; who does not report is never passed over in silence."""
    if last is None:
        return "last sweep: none has read the whole fleet yet, so its compliance is unknown (patchwarden sweep status)"
    unread = last["late"] + last["degraded"]
    more = f", {output.counted(unread, 'place')} not read to their end" if unread else ""
    return (
        f"last sweep: ended {last['ended']}, {last['missed']} missed by events, {last['drift']} drifted, "
        f"nodes that do not report: {last['stale']}{more} (patchwarden sweep status)"
    )


_QUEUED = ("account", "region", "node", "policy", "held", "because")
_WAITING = ("account", "region", "node", "policy", "due", "cools_until", "because")
_TICKETED = ("account", "region", "node", "ticket", "because")


def _queued(now: dict[str, Any]) -> str:
    """Nobody may read that what a guard, a wave or a pause holds is about to start."""
    free = not now["pauses"] and all(one["held"] is None for one in now["queued"])
    return "Queued: starts with the next rounds" + ("" if free else ", once nothing holds it")


def _titled(title: str, state: str, now: dict[str, Any]) -> str:
    """The title of a list, which says so where the list is only the beginning."""
    shown, total = len(now[state]), now["totals"][state]
    return title if shown == total else f"{title} ({shown} of {total}; `audit whynot --state {state}` lists all)"


@cli.command()
@click.argument("node", required=False, shell_complete=known_nodes)
@click.option(
    "--event", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="An EventBridge event as JSON."
)
@click.option("--live", is_flag=True, help="With --event: ask the node's account for its facts.")
@form_option
@click.pass_obj
def explain(scope: Scope, node: str | None, event: Path | None, live: bool, form: str) -> None:
    """Why a NODE is where it is, or what would be done with an --event. Changes nothing.

    With --event the facts about the node come from the local ledger's trail, or with --live from AWS; without
    either only the event itself is known, and a policy that needs more says so.
    """
    if (node is None) == (event is None):
        raise click.UsageError("give a NODE or --event FILE, one of the two")
    if event is not None:
        known = bool(scope.file or live)
        _explain_event(scope.ports() if known else wiring.local(None), event, form, live_facts=known)
        return
    ports = scope.ports()
    _explain_node(ports, one_node(ports, str(node)), form)


def _explain_event(ports: Ports, path: Path, form: str, *, live_facts: bool) -> None:
    from patchwarden import telling
    from patchwarden.explaining import explain_event
    from patchwarden.policy.explain_commands import read_event

    answer = explain_event(ports, read_event(path))
    if answer["finding"] and not live_facts:
        output.note(
            "Only the event is known here: --local adds what the demo's trail knows of the node, --live asks AWS"
        )
    if form == "table":
        telling.show(answer)
        return
    output.rows([_flat(answer) if form == "csv" else answer], _EXPLAINED, form=form, whole=answer)


_EXPLAINED = ("node", "control", "compliant", "action", "policy", "because")


def _flat(answer: dict[str, Any]) -> dict[str, Any]:
    finding, decision = answer["finding"] or {}, answer["decision"] or {}
    place = "/".join(str(finding[name]) for name in ("account", "region", "node")) if finding else None
    because = decision.get("because") or answer["ignored_because"]
    return {
        **finding,
        "node": place,
        "action": decision.get("action") or "ignored",
        "policy": decision.get("policy"),
        "because": because,
    }


def _explain_node(ports: Ports, node: Node, form: str) -> None:
    from patchwarden.explaining import explain_node

    answer = explain_node(ports, node)
    if form == "table":
        for case in answer["remediations"]:
            _print_case(case)
        return
    output.rows(answer["remediations"], ("id", "state", "policy", "due", "because"), form=form, whole=answer)


def _print_case(case: dict[str, Any]) -> None:
    from patchwarden import telling

    output.console().print(f"[bold]{escape(case['id'])}[/]")
    telling.show(case)
    output.table(case["steps"], ("number", "at", "cause", "after", "because"))


for _command in (
    accounts,
    audit,
    config,
    doctor,
    emergency,
    guard,
    rollout,
    policy,
    schedule,
    baseline,
    report,
    pause,
    resume,
    simulate,
    executions,
    top,
    tail,
    approvals,
    approve,
    reject,
    hold,
    completion,
    failures,
    sweep,
    web,
):
    cli.add_command(_command)


@cli.command()
@click.option("--seed", type=int, default=7, show_default=True, help="The same seed gives the same figures.")
@click.option(
    "--nodes", type=click.IntRange(12, 5000), default=60, show_default=True, help="How many nodes the fleet has."
)
@click.option(
    "--json", "figures", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file."
)
@click.option("--file", type=click.Path(path_type=Path, dir_okay=False), default=DEMO_LEDGER, show_default=True,
              help="Where the ledger is kept; an older one there is replaced.")  # fmt: skip
def demo(seed: int, nodes: int, figures: Path | None, file: Path) -> None:
    """Run the story of a simulated organisation from the first event to the last proof."""
    from patchwarden.demo import run

    sys.exit(run(seed=seed, nodes=nodes, figures=figures, file=file))
