"""The `report` commands: what resource data sync brought together, as Athena's named queries ask it too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from chalicelib import wiring
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import form_option
from patchwarden.when import When, since_option

_SILENT = "7d"


@click.group(cls=Group)
def report() -> None:
    """Reports over a copy of the resource data sync bucket: the same queries as in Athena.

    Copy it first: aws s3 sync s3://BUCKET DIR. Nothing is asked of AWS here.
    """


def _asks(name: str, since: str | None = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every report takes."""

    def options(command: Callable[..., Any]) -> Callable[..., Any]:
        data = click.Path(path_type=Path, exists=True, file_okay=False)
        command = form_option(command)
        command = click.option("--tag", "tags", multiple=True, callback=_pairs, metavar="KEY=VALUE",
                               help="Only nodes with this tag; repeat it, and all must hold.")(command)  # fmt: skip
        command = since_option(since, "Scanned since then: a moment, or a span before now.")(command)
        command = click.option("--data", required=True, type=data, help="Where the copy of the bucket lies.")(command)
        return report.command(name)(command)

    return options


def _pairs(context: click.Context, option: click.Parameter, given: Sequence[str]) -> str:
    for pair in given:
        if not pair.partition("=")[1] or pair.startswith("=") or "\n" in pair:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE, such as Environment=prod")
    return "\n".join(given)


def _tell(name: str, data: Path, since: When | None, parameters: Sequence[str], form: str) -> None:
    from patchwarden.reporting.local import NoData, Synced

    begin = since.back(wiring.clock().now()) if since else None
    try:
        answer = Synced(data).ask(name, (f"{begin:%Y-%m-%dT%H:%M:%SZ}" if begin else "", *parameters))
    except NoData as error:
        raise click.ClickException(str(error)) from error
    output.rows(answer.rows, answer.columns, form=form)


@_asks("noncompliant")
def report_noncompliant(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every patch that keeps a node from being compliant, the newest scan first."""
    _tell("noncompliant", data, since, (tags,), form)


@_asks("missing")
def report_missing(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every update that is missing somewhere, the one that most nodes lack first."""
    _tell("missing", data, since, (tags,), form)


@_asks("worst")
def report_worst(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every account, the one with the most non-compliant nodes first."""
    _tell("worst", data, since, (tags,), form)


@_asks("cves")
def report_cves(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every CVE that a missing or failed patch would close, the one open on most nodes first."""
    _tell("cves", data, since, (tags,), form)


@_asks("silent", since=_SILENT)
def report_silent(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every node that does not check in: not active, never scanned, or not since --since."""
    _tell("silent", data, since, (tags,), form)


@_asks("agents")
def report_agents(data: Path, since: When | None, tags: str, form: str) -> None:
    """Every version of the agent, the one on most nodes first."""
    _tell("agents", data, since, (tags,), form)


@_asks("applications")
@click.argument("text", default="")
def report_applications(text: str, data: Path, since: When | None, tags: str, form: str) -> None:
    """Every installed application whose name holds TEXT, such as python, by name and version."""
    _tell("applications", data, since, (tags, text), form)
