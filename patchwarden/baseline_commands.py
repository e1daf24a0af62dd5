"""The `baseline` commands: patch baselines from files, in every account and Region."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chalicelib import wiring
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.nodes import Location
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.policy.commands import DIRECTORY
from patchwarden.policy.problems import near_or_all
from patchwarden.scope import FAILURE, FINDINGS, Scope, by_option, form_option

if TYPE_CHECKING:
    from patchwarden.baselining import Place, Wanted

_COLUMNS = ("account", "region", "act", "id", "os", "baseline", "group", "changes")
_DRIFT = ("account", "region", "act", "id", "node", "baseline", "group", "changes")


@click.group(cls=Group)
def baseline() -> None:
    """Patch baselines as files: what would change, change it, what drifted."""


def _places(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, what in (("region", "Regions"), ("account", "accounts")):
        command = click.option(f"--{name}", f"{name}s", multiple=True, metavar=name.upper(),
                               help=f"Only these {what} of the scope; may be repeated.")(command)  # fmt: skip
    return command


@baseline.command("plan")
@DIRECTORY
@_places
@form_option
@click.pass_obj
def baseline_plan(scope: Scope, directory: Path, accounts: Sequence[str], regions: Sequence[str], form: str) -> None:
    """What DIRECTORY/baselines would change, in every account and Region of the scope. Changes nothing.

    Exit 1 if a place did not answer, 3 if DIRECTORY has errors.
    """
    from patchwarden.baselining import survey

    _ports(scope)
    asked = _wanted(directory)
    places = list(survey(wiring.baselines(), asked, _chosen(asked, accounts, regions)))
    _show(places, form)
    sys.exit(FAILURE if any(place.trouble for place in places) else 0)


@baseline.command("apply")
@DIRECTORY
@_places
@click.option("--yes", is_flag=True, help="Do not ask first.")
@by_option("Who decides this.")
@click.option(
    "--reason", "--because", "reason", default="baseline apply", show_default=True, help="Why; the journal keeps it."
)
@form_option
@click.pass_obj
def baseline_apply(
    scope: Scope, directory: Path, accounts: Sequence[str], regions: Sequence[str], yes: bool, by: str, reason: str,
    form: str,
) -> None:  # fmt: skip
    """Show what would change, ask, and change it; a place that fails does not stop the others.

    Only baselines that carry the tag `patchwarden:baseline` are changed. The journal keeps what holds in each place.
    Exit 1 if a place failed or a conflict is left to a person, 3 if DIRECTORY has errors.
    """
    from patchwarden.baselining import apply, survey

    ports = _ports(scope)
    asked = _wanted(directory)
    port, chosen = wiring.baselines(), _chosen(asked, accounts, regions)
    planned = list(survey(port, asked, chosen))
    steps = sum(len(place.steps) - len(place.conflicts) for place in planned)
    if steps and not yes:
        _diff(planned, err=True)
        where = sum(len(place.steps) > len(place.conflicts) for place in planned)
        click.confirm(
            f"Make {output.counted(steps, 'change')} in {output.counted(where, 'place')}?", abort=True, err=True
        )
    places = [apply(ports, port, asked, location, by=by, because=reason) for location in chosen]
    _show(places, form)
    done = sum(len(place.steps) - len(place.conflicts) for place in places)
    output.note(f"{output.counted(done, 'change')} made in {output.counted(len(places), 'place')}")
    sys.exit(FAILURE if any(place.trouble or place.conflicts for place in places) else 0)


@baseline.command("drift")
@DIRECTORY
@_places
@form_option
@click.pass_obj
def baseline_drift(scope: Scope, directory: Path, accounts: Sequence[str], regions: Sequence[str], form: str) -> None:
    """What is not as the files say, and nodes whose last scan used another baseline than ours.

    Exit 3 if there is any, 1 if a place did not answer and nothing else was found.
    """
    from patchwarden.baselining import Place, strangers, survey

    ports = _ports(scope)
    asked = _wanted(directory)
    places = list(survey(wiring.baselines(), asked, _chosen(asked, accounts, regions)))
    nodes: list[dict[str, Any]] = []
    for place in list(places):
        if place.trouble:
            continue
        try:
            nodes += strangers(ports, place.location)
        except (Temporary, Denied) as error:
            places.append(Place(place.location, trouble=f"its nodes could not be read: {error}"))
    rows = [*(row for place in places for row in place.rows()), *nodes]
    if form == "table":
        _diff(places)
        if nodes:
            output.table([_flat(row) for row in nodes], ("account", "region", "node", "baseline", "changes"),
                         "Nodes whose last scan did not use our baseline")  # fmt: skip
    else:
        output.rows([_flat(row) for row in rows] if form == "csv" else rows, _DRIFT, form=form, whole=rows)
    found = bool(nodes) or any(place.steps for place in places)
    sys.exit(FINDINGS if found else FAILURE if any(place.trouble for place in places) else 0)


def _ports(scope: Scope) -> Ports:
    return scope.aws("baseline")


def _wanted(directory: Path) -> Wanted:
    from patchwarden.baselining import wanted

    asked = wanted(directory)
    if isinstance(asked, list):
        for sentence in asked:
            click.echo(output.plain(sentence), err=True)
        sys.exit(FINDINGS)
    return asked


def _chosen(asked: Wanted, accounts: Sequence[str], regions: Sequence[str]) -> list[Location]:
    for name, given, known in (
        ("--account", accounts, {one.account for one in asked.locations}),
        ("--region", regions, {one.region for one in asked.locations}),
    ):
        for value in given:
            if value not in known:
                hint = near_or_all(value, sorted(known))
                raise click.BadParameter(f"{value} is not in the scope of _set.yaml: {hint}", param_hint=name)
    return [
        one
        for one in asked.locations
        if (not accounts or one.account in accounts) and (not regions or one.region in regions)
    ]


def _show(places: Iterable[Place], form: str) -> None:
    listed = list(places)
    if form == "table":
        _diff(listed)
        return
    rows = [row for place in listed for row in place.rows()]
    output.rows([_flat(row) for row in rows] if form == "csv" else rows, _COLUMNS, form=form, whole=rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "changes": "; ".join(row["changes"])}


_SIGNS = {"create": "+", "register": "+", "default": "+", "update": "~", "deregister": "-", "conflict": "!"}


def _diff(places: Iterable[Place], *, err: bool = False) -> None:
    """One block for each place, as a diff is read: + is new, ~ changes, - goes, ! is left to a person."""
    for place in places:
        quiet = not place.steps and not place.trouble
        click.echo(f"{place.location}: nothing to change" if quiet else f"{place.location}", err=err)
        for step in place.steps:
            group = f" for patch group {step.group}" if step.group else ""
            known = f" ({step.baseline})" if step.baseline else ""
            click.echo(output.plain(f"  {_SIGNS[step.act]} {step.act} {step.id}, {step.os}{known}{group}"), err=err)
            for change in step.changes:
                click.echo(output.plain(f"      {change}"), err=err)
        if place.trouble:
            click.echo(output.plain(f"  ! {place.trouble}"), err=err)
