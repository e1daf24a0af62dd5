"""Auditing: the trail asked from the command line: then and now, how long, who, and whether anybody changed it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from chalicelib import evidence, history, lookup, proof, speed, wiring
from chalicelib.answers import set_at
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.points import Where
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import WAITS, Cause, State
from chalicelib.past import FromLedger
from chalicelib.ports import Past, Ports, Signer, Vault
from patchwarden import filtering, output
from patchwarden.groups import Group
from patchwarden.scope import FINDINGS, Scope, form_option, known_nodes, one_node
from patchwarden.when import WHEN, When, read, since_option


@click.group(cls=Group)
def audit() -> None:
    """The trail: what was, why, for how long, and whether it is unchanged.

    Moments are UTC: 2026-06-30 is the start of that day. Spans such as 24h, 7d or 2w count back from the end.
    """


def at_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--at", type=WHEN, help="The moment asked about; now if left out.")(command)


def export_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--export", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
                        help="Ask this export instead of the ledger: fast at any size.")(command)  # fmt: skip


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--after", help="The `next` of the page before.")(command)
    return click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True,
                        help="Rows of a page.")(command)  # fmt: skip


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A filter for each field of Where, gathered as the argument `where`."""

    def gathered(*given: Any, **named: Any) -> Any:
        values = {one.name: named.pop(f"where_{one.name}") for one in fields(Where)}
        return command(*given, where=Where(**values), **named)

    gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for name, kind, says in reversed(_FILTERS):
        gathered = click.option(f"--{name}", f"where_{name}", type=kind, help=says)(gathered)
    return gathered


_FILTERS: tuple[tuple[str, Any, str], ...] = (
    ("account", str, "12 digits."),
    ("region", str, "A Region."),
    ("control", click.Choice(["patch", "association"]), "The control."),
    ("node", str, "A node: its id, or account/region/id."),
    ("ou", str, "An organisational unit, as the line recorded it."),
    ("tag", str, "Key=value, or Key for any value, as the trail recorded it."),
    ("state", click.Choice([state.value for state in State]), "A state."),
    ("policy", str, "The id of the policy that decided."),
    ("digest", str, "The start of a policy's or of a set's digest."),
    ("action", click.Choice(["exempt", "ticket", "observe", "approve", "remediate"]), "What the policy wanted."),
    ("ticket", str, "A ticket."),
    ("execution", str, "An automation execution."),
    ("held", str, "The guard that holds it."),
    ("severity", click.IntRange(1, 4), "The deciding policy's severity; 1 is the worst."),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the answer comes from, and its span."""

    ports: Ports
    past: Past
    vault: Vault | None
    signer: Signer | None
    at: datetime
    since: datetime
    now: datetime
    exported: bool = False

    def checked(self, where: Where) -> Where:
        """The filter with its node's place filled in; UsageError where it names what nobody knows."""
        return filtering.checked(where, self.past, max(self.at, self.now), self.ports, self.vault,
                                 active=not self.exported)  # fmt: skip

    def policies(self) -> PolicySet | None:
        """The set in force at the moment, as far as its document is at hand."""
        published = history.published_at(self.past, self.at)
        found = wiring.policy_set(self.vault, published.digest) if published else None
        return found or set_at(self.ports, self.past, self.at)


_DAY = read("24h", "--since")


def asked(scope: Scope, at: When | None, since: When = _DAY, folder: Path | None = None) -> Asked:
    """UsageError if the span ends before it begins."""
    ports = scope.ports()
    now = ports.clock.now()
    past = wiring.exported(folder) if folder else FromLedger(ports.ledger)
    end = now if at is None else at.before(now) if folder else at.back(now)
    begin = since.before(now, end)
    if begin > end:
        raise click.UsageError(
            f"--since {since.text} is after --at {format_moment(end)}: the span ends before it begins"
        )
    vault, signer = kept(scope)
    return Asked(ports, past, wiring.folder(folder) if folder else vault, signer, end, begin, now, folder is not None)


def kept(scope: Scope) -> tuple[Vault | None, Signer | None]:
    """Where evidence lies and who signs it."""
    here = wiring.Settings.from_environment()
    settings = here if scope.file is None else replace(here, sqlite=str(scope.file))
    return wiring.vault(settings), wiring.signer(settings)


def show(answer: dict[str, Any], rows: str, columns: tuple[str, ...], form: str, empty: str = output.NOTHING) -> None:
    """The whole answer as JSON, or its rows; a page that goes on says how."""
    output.rows(answer[rows], columns, form=form, whole=answer, empty=empty)
    if answer.get("next") and form != "json":
        output.note(f"there is more: go on with --after '{answer['next']}'")


_FLEET = ("id", "state", "since", "policy", "due", "because")


@audit.command()
@at_option
@where_options
@page_options
@export_option
@form_option
@click.pass_obj
def fleet(scope: Scope, at: When | None, where: Where, limit: int, after: str | None, folder: Path | None,
          form: str) -> None:  # fmt: skip
    """The fleet as it was at a moment, such as --at 2026-06-30."""
    here = asked(scope, at, folder=folder)
    filtering.identity(after)
    answer = history.fleet(here.past, here.at, here.checked(where), limit=limit, after=after)
    if form == "table":
        states = ", ".join(f"{count} {state}" for state, count in answer["states"].items()) or "nothing recorded"
        click.echo(f"At {answer['at']}: {output.counted(answer['total'], 'remediation')}: {states}")
    show(
        answer, "remediations", _FLEET, form, "no remediation fits: nothing was known then, or the filters say too much"
    )


@audit.command()
@at_option
@since_option("24h")
@where_options
@page_options
@export_option
@form_option
@click.pass_obj
def diff(scope: Scope, at: When | None, since: When, where: Where, limit: int, after: str | None, folder: Path | None,
         form: str) -> None:  # fmt: skip
    """What differs between two moments, --since and --at."""
    here = asked(scope, at, since, folder)
    filtering.identity(after)
    answer = history.diff(here.past, here.since, here.at, here.checked(where), limit=limit, after=after)
    if form == "table":
        click.echo(
            f"From {answer['since']} to {answer['at']}: remediations that changed their state: {answer['changed']}"
        )
        output.table(answer["moves"], ("before", "after", "remediations"))
    show(answer, "remediations", ("id", "before", "after"), form, "no state differs")


@audit.command()
@at_option
@since_option("24h")
@click.option("--actor", help="A part of who did it.")
@click.option("--cause", type=click.Choice([cause.value for cause in Cause]), help="What happened.")
@click.option("--text", help="A part of the sentence.")
@where_options
@page_options
@export_option
@form_option
@click.pass_obj
def search(scope: Scope, at: When | None, since: When, actor: str | None, cause: str | None, text: str | None,
           where: Where, limit: int, after: str | None, folder: Path | None, form: str) -> None:  # fmt: skip
    """Lines of the trail by what they say themselves, oldest first."""
    here = asked(scope, at, since, folder)
    where = here.checked(where)
    try:
        answer = history.search(here.past, here.since, here.at, where=where, actor=actor, cause=cause, text=text,
                                limit=limit, after=after)  # fmt: skip
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--after") from error
    if actor:
        output.note(
            f"only acts on nodes are here: pauses, releases, publications are in `audit journal --actor {actor}`"
        )
    show(answer, "lines", ("at", "remediation", "number", "cause", "after", "actor", "because"), form,
         "no line fits: name an earlier --since, or fewer filters")  # fmt: skip


@audit.command()
@click.option("--state", type=click.Choice([state.value for state in WAITS]), help="Only this state.")
@page_options
@form_option
@click.pass_obj
def whynot(scope: Scope, state: str | None, limit: int, after: str | None, form: str) -> None:
    """All that is not being remediated now: why, until when, and whose turn it is."""
    ports = scope.ports()
    filtering.turn(after)
    states = [State(state)] if state else WAITS
    answer = lookup.whynot(ports.ledger, ports.clock.now(), states=states, limit=limit, after=after)
    show(answer, "remediations", ("id", "state", "who", "next", "reason"), form,
         "nothing waits: all that is known is compliant, or under way")  # fmt: skip


@audit.command()
@at_option
@export_option
@form_option
@click.pass_obj
def exemptions(scope: Scope, at: When | None, folder: Path | None, form: str) -> None:
    """The exemptions in force at a moment: who approved them, until when, what they cover."""
    here = asked(scope, at, folder=folder)
    answer = history.exemptions(here.past, here.at, here.policies(), limit=200)
    if not answer["known"]:
        output.note("the policy set of that moment is not at hand: reasons and approvers are not known here")
    columns = ("policy", "until", "approved_by", "approved_on", "ticket", "remediations", "reason")
    output.rows(answer["exemptions"], columns, form=form, whole=answer, empty="no exemption was in force")


@audit.command()
@click.argument("digest")
@at_option
@since_option("30d")
@page_options
@export_option
@form_option
@click.pass_obj
def decisions(scope: Scope, digest: str, at: When | None, since: When, limit: int, after: str | None,
              folder: Path | None, form: str) -> None:  # fmt: skip
    """The decisions under the policy or set whose DIGEST begins so; `policy explain --decision ID#N` tells one."""
    if len(digest) < 8 or not set(digest) <= set("0123456789abcdef"):
        raise click.BadParameter("give at least the first 8 hex digits, as `audit fleet -o json` shows them")
    here = asked(scope, at, since, folder)
    try:
        answer = history.decisions(here.past, digest, here.since, here.at, limit=limit, after=after)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--after") from error
    show(answer, "decisions", ("at", "decision", "policy", "action", "cause", "because"), form,
         f"no decision under {digest} since {format_moment(here.since)}: name an earlier --since")  # fmt: skip


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


@audit.command("show")
@click.argument("node", shell_complete=known_nodes)
@form_option
@click.pass_obj
def audit_show(scope: Scope, node: str, form: str) -> None:
    """Every line about NODE, with its hash."""
    ports = scope.ports()
    lines = lookup.trail(ports.ledger, one_node(ports, node))
    records = [{**line.to_json(), "hash8": line.hash[:8]} for line in lines]
    whole = [line.to_json() for line in lines]
    output.rows(whole if form == "jsonl" else records, _TRAIL, form=form, whole=whole)


_TRAIL = ("number", "at", "before", "cause", "after", "actor", "because", "hash8")


@audit.command("verify")
@since_option(says="Only trails that got a line from then on.")
@click.option("--node", help="Only this node's trails.")
@click.option("--export", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Check this export instead of the ledger.")  # fmt: skip
@click.option("--against-ledger", is_flag=True, help="With --export: each day must hold what the ledger holds.")
@form_option
@click.pass_obj
def audit_verify(scope: Scope, since: When | None, node: str | None, folder: Path | None, against_ledger: bool,
                 form: str) -> None:  # fmt: skip
    """Check chains, checkpoints and completeness; exit 3 if a line is wrong, and name it."""
    if folder and (since or node):
        raise click.UsageError("--export checks the whole export: leave --since and --node out")
    if against_ledger and not folder:
        raise click.UsageError("--against-ledger goes with --export DIR")
    found = _verified(scope, since, node, folder, against_ledger)
    faults = [{"fault": fault} for fault in found.faults]
    for note in found.notes:
        output.note(note)
    if not found.lines and not faults:
        output.note("there is nothing to check: no trail is recorded")
    trails = output.counted(found.remediations, "trail")
    if form != "table":
        output.rows(faults, ("fault",), form=form, whole=asdict(found))
    elif not faults and found.lines:
        seal = (
            f"; {output.counted(found.checkpoints, 'checkpoint')} up to {found.signed_until}"
            if found.checkpoints
            else ""
        )
        click.echo(f"{trails}, {output.counted(found.lines, 'line')}: whole, in order and unchanged{seal}")
    elif faults:
        said = f"{output.counted(len(faults), 'fault')} in {trails}"
        output.table(faults, ("fault",), said)
    sys.exit(FINDINGS if faults else 0)


def _verified(
    scope: Scope, since: When | None, node: str | None, folder: Path | None, against_ledger: bool
) -> proof.Verified:
    vault, signer = kept(scope)
    if folder:
        if not any((folder / name).is_dir() for name in ("trail", "service", "checkpoints")):
            raise click.ClickException(
                f"{folder} holds no export: make one with `patchwarden audit export --out {folder}`"
            )
        ledger = scope.ports().ledger if against_ledger else None
        return proof.verify_export(wiring.folder(folder), signer, ledger=ledger)
    ports = scope.ports()
    now = ports.clock.now()
    return proof.verify(
        ports.ledger, now, since=since.back(now) if since else None,
        node=_node(ports, node, vault, signer) if node else None, vault=vault, signer=signer,
    )  # fmt: skip


def _node(ports: Ports, text: str, vault: Vault | None, signer: Signer | None) -> Node:
    """The node that is meant; one whose trails are gone from the ledger too, if a checkpoint names it."""
    lost = list[Node]()
    if vault and signer and not lookup.nodes(ports.ledger, text):
        lost = proof.signed_nodes(proof.signed(vault, signer), text)
    return lost[0] if len(lost) == 1 else one_node(ports, text)


@audit.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="A folder; else the evidence bucket.")
@since_option(says="The first day; else where the last export ended.")
@form_option
@click.pass_obj
def export(scope: Scope, out: Path | None, since: When | None, form: str) -> None:
    """Copy the trail, the journal and the policies out, by day and account; the same again changes nothing."""
    ports = scope.ports()
    kept_in, _ = kept(scope)
    vault = wiring.folder(out) if out else kept_in
    if vault is None:
        raise click.UsageError("give --out DIR, or set PATCHWARDEN_EVIDENCE_BUCKET")
    first = since.back(ports.clock.now()).date() if since else None
    days = list[dict[str, Any]]()
    with Progress(console=output.console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("days", total=None)
        for day in evidence.export(ports, vault, scope.shelf(), since=first, open_days=out is not None):
            days.append(day)
            bar.update(task, total=day["of"], advance=1, description=day["day"])
    if out and kept_in:
        _copied(kept_in, vault)
    written = [day for day in days if day["lines"]]
    output.rows(written, ("day", "lines", "accounts", "written", "final"), form=form, empty="no day has a line yet")
    lines, files = (sum(day[name] for day in days) for name in ("lines", "written"))
    output.note(f"{output.counted(lines, 'line')} of {output.counted(len(written), 'day')} in {_place(out)}; "
                f"{output.counted(files, 'file')} new or other than before")  # fmt: skip


def _place(out: Path | None) -> str:
    bucket = wiring.Settings.from_environment().evidence_bucket
    return str(out) if out else f"s3://{bucket}" if bucket else "the evidence beside the ledger"


def _copied(source: Vault, target: Vault) -> None:
    """The checkpoints belong to an export: without them nobody can tell it from a rewritten one."""
    for name, original in source.originals("checkpoints/").items():
        body = source.get(name, original.version) if original.version is not None else None
        if body is not None:
            target.put(name, body)


@audit.command()
@click.pass_obj
def checkpoint(scope: Scope) -> None:
    """Sign what the trails look like now, as the service does every hour."""
    ports = scope.ports()
    vault, signer = kept(scope)
    if vault is None or signer is None:
        raise click.UsageError("set PATCHWARDEN_EVIDENCE_BUCKET and PATCHWARDEN_SIGNING_KEY")
    made = evidence.checkpoint(ports, vault, signer)
    click.echo(json.dumps({"checkpoint": made.number, "heads": made.count, "until": format_moment(made.until)}))


@audit.command()
@at_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="A file that ends in .html, .pdf, .csv, .json or .ocsf.jsonl.")  # fmt: skip
@where_options
@export_option
@click.pass_obj
def report(scope: Scope, at: When | None, out: Path, where: Where, folder: Path | None) -> None:
    """The evidence pack: nodes, states, policies, exemptions with approvers, gaps, and whether the trail is whole."""
    from chalicelib.report import report as packed
    from patchwarden.evidence_pack import PRINTERS, printed

    ending = next((ending for ending in PRINTERS if out.name.endswith(ending)), None)
    if ending is None:
        raise click.BadParameter(f"{out.name} must end in {', '.join(PRINTERS)}", param_hint="--out")
    here = asked(scope, at, folder=folder)
    where = here.checked(where)
    verified = _verified(scope, None, None, folder, False)
    pack = packed(here.past, here.at, here.now, where, here.policies(), verified)
    out.write_bytes(printed(pack, ending))
    output.note(f"{out}: {output.counted(pack['total'], 'remediation')} at {pack['at']}, "
                f"{output.counted(len(pack['gaps']), 'gap')}, "
                f"{output.counted(len(verified.faults), 'fault')}")  # fmt: skip
    sys.exit(FINDINGS if verified.faults else 0)
