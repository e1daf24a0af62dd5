"""Proving: the audit commands that show a trail whole, check that nobody changed it, and hand it out as evidence."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import Progress

from chalicelib import evidence, lookup, proof, recheck, wiring
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.points import Where
from chalicelib.ports import Ports, Signer, Vault
from chalicelib.signed import signed, signed_nodes
from patchwarden import output
from patchwarden.auditing import asked, at_option, audit, export_option, kept, where_options
from patchwarden.scope import FINDINGS, Scope, form_option, known_nodes, one_node
from patchwarden.when import When, since_option


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
@click.option(
    "--bucket",
    is_flag=True,
    help="Check the evidence bucket's own export and what stands beside it instead; this reads all of it.",
)
@form_option
@click.pass_obj
def audit_verify(scope: Scope, since: When | None, node: str | None, folder: Path | None, against_ledger: bool,
                 bucket: bool, form: str) -> None:  # fmt: skip
    """Check chains, checkpoints and completeness; exit 3 if a line is wrong, and name it."""
    if (folder or bucket) and (since or node):
        raise click.UsageError("--export and --bucket check the whole export: leave --since and --node out")
    if folder and bucket:
        raise click.UsageError("give --export DIR or --bucket, one of the two")
    if against_ledger and not folder:
        raise click.UsageError("--against-ledger goes with --export DIR")
    found = _of_bucket(scope) if bucket else _verified(scope, since, node, folder, against_ledger)
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
        # columns are no evidence, and nobody signed them: look-ups make them anew from the lines that are checked here
        shutil.rmtree(folder / ".columns", ignore_errors=True)
        return recheck.verify_export(wiring.folder(folder), signer, ledger=ledger)
    ports = scope.ports()
    now = ports.clock.now()
    return proof.verify(
        ports.ledger, now, since=since.back(now) if since else None,
        node=_node(ports, node, vault, signer) if node else None, vault=vault, signer=signer,
    )  # fmt: skip


def _of_bucket(scope: Scope) -> proof.Verified:
    vault, signer = kept(scope)
    if vault is None or not vault.names("trail/"):
        raise click.ClickException(f"{_place(None)} holds no export: `patchwarden audit export` makes one")
    return recheck.verify_bucket(vault, signer, scope.ports().ledger)


def _node(ports: Ports, text: str, vault: Vault | None, signer: Signer | None) -> Node:
    """The node that is meant; one whose trails are gone from the ledger too, if a checkpoint names it."""
    lost = list[Node]()
    if vault and signer and not lookup.nodes(ports.ledger, text):
        lost = signed_nodes(signed(vault, signer), text)
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
    try:
        made = evidence.checkpoint(ports, vault, signer)
    except evidence.NothingNew as error:
        output.note(str(error))
        return
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
    verified, policies = _verified(scope, None, None, folder, False), here.policies()
    pack = packed(here.past, here.at, here.now, where, policies, verified, here.active(policies))
    out.write_bytes(printed(pack, ending))
    output.note(f"{out}: {output.counted(pack['total'], 'remediation')} at {pack['at']}, "
                f"{output.counted(len(pack['gaps']), 'gap')}, "
                f"{output.counted(len(verified.faults), 'fault')}")  # fmt: skip
    sys.exit(FINDINGS if verified.faults else 0)
