"""`patchwarden doctor`: the places to look at, and how its remarks are shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from chalicelib import wiring
from chalicelib.core.errors import PolicyError
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.nodes import Location
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Schedule
from chalicelib.intake import in_force
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.doctor.hub import Hub
from patchwarden.doctor.members import examine
from patchwarden.doctor.remarks import OK, Asks, Patient, Remark, Roles
from patchwarden.scope import FINDINGS, Scope, form_option

_COLUMNS = ("where", "check", "level", "what", "remedy", "command")


@click.command()
@click.option("--account", metavar="ACCOUNT", help="Only this account, 12 digits.")
@click.option("--region", metavar="REGION", help="Only this Region, such as eu-west-1.")
@click.option("--stack", default="patchwarden-prod", show_default=True, help="The hub's CloudFormation stack.")
@click.option("--hub/--no-hub", default=True, show_default=True, help="Whether the hub is looked at too.")
@click.option("--all", "everything", is_flag=True, help="Tell what is well too.")
@form_option
@click.pass_obj
def doctor(
    scope: Scope, account: str | None, region: str | None, stack: str, hub: bool, everything: bool, form: str
) -> None:
    """Look at the hub and at every member account and Region in scope, and say what to do about each fault.

    Changes nothing. Run it in the hub account, as a role that may take on the member role. Exit 3 if something is
    wrong, doubtful or could not be looked at.
    """
    scope.only_aws("doctor")
    remarks = list(_remarks(wiring.Settings.from_environment(), account, region, stack if hub else None))
    shown = [one.to_json() for one in remarks if everything or form == "json" or one.level != OK]
    if shown or form != "table":
        output.rows(shown, _COLUMNS, form=form, whole={"remarks": shown, "counts": _counts(remarks)})
    counts = _counts(remarks)
    output.note(", ".join(f"{counts[level]} {level}" for level in ("ok", "warning", "wrong", "unknown")))
    if any(one.level != OK for one in remarks):
        raise SystemExit(FINDINGS)


def _counts(remarks: list[Remark]) -> dict[str, int]:
    found = Counter(one.level for one in remarks)
    return {level: found[level] for level in ("ok", "warning", "wrong", "unknown")}


def _remarks(settings: wiring.Settings, account: str | None, region: str | None, stack: str | None) -> Iterator[Remark]:
    ports = wiring.ports()
    policies = in_force(ports)
    places = [] if isinstance(policies, PolicyError) else [
        one for one in sorted(policies.settings.locations)
        if account in (None, one.account) and region in (None, one.region)
    ]  # fmt: skip
    if not places and not isinstance(policies, PolicyError):
        raise click.ClickException(
            f"{account or 'any account'} in {region or 'any Region'} is not in scope: see policies/_set.yaml"
        )
    home = wiring.reach(settings).home()
    own_account = settings.hub_account or home.account
    reach = wiring.reach(replace(settings, hub_account=own_account), attempts=2)
    own = Patient(home, reach, reach, ports.clock.now, ports.clock.sleep, settings.role, hub=True,
                  roles=_roles(settings), home=home)  # fmt: skip
    if stack:
        running = () if isinstance(policies, PolicyError) else policies.schedules
        accounts = tuple(dict.fromkeys(one.account for one in places))
        yield from Hub(own, stack, settings.table, lambda: ports, _packed(settings), accounts,
                       any(one.enabled for one in running)).examine()  # fmt: skip
    if isinstance(policies, PolicyError):
        raise policies
    members = wiring.reach(settings, attempts=2)
    stranger = wiring.reach(replace(settings, external_id=None), attempts=2)
    names = tuple(name.strip() for name in (settings.config_rules or "").split(",") if name.strip())
    for place in places:
        yield from examine(replace(
            own, location=place, reach=members, stranger=stranger, hub=place.account == settings.hub_account,
            rules=names, asks=asks(ports, policies, place), baselines=wiring.baselines(),
        ))  # fmt: skip


def _roles(settings: wiring.Settings) -> Roles:
    return Roles(settings.automation_role, settings.execution_role, settings.administration_role)


def asks(ports: Ports, policies: PolicySet, place: Location) -> Asks:
    """What the policies ask of a place; a schedule with units may come there, for all that is known here."""
    working = [one for one in policies.schedules if one.enabled and _may_work(one, place)]
    kept = ports.ledger.entry(subject_of(Kind.BASELINE, str(place)))
    return Asks(
        executions=policies.settings.executions_per_location, schedules=tuple(one.id for one in working),
        baselines=policies.settings.baselines, kept=kept.value if kept else None,
    )  # fmt: skip


def _may_work(one: Schedule, place: Location) -> bool:
    where = one.where
    named = place.account in where.accounts or bool(where.units)
    return named and place.account not in where.exclude and place.region in where.regions


def _packed(settings: wiring.Settings) -> str | None:
    """The digest of the set that this release carries; None where none is packed."""
    path = Path(settings.policies)
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"]) if path.exists() else None
