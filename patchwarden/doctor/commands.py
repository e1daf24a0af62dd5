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
from chalicelib.intake import in_force
from patchwarden import output
from patchwarden.doctor.hub import Hub
from patchwarden.doctor.members import examine
from patchwarden.doctor.remarks import OK, Patient, Remark
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
    if scope.file is not None:
        raise click.UsageError("doctor looks at AWS: leave --local and --ledger away")
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
    home = wiring.reach(settings).home()
    reach = wiring.reach(replace(settings, hub_account=settings.hub_account or home.account), attempts=2)
    if stack:
        own = Patient(home, reach, reach, ports.clock.now, ports.clock.sleep, settings.role, hub=True)
        yield from Hub(own, stack, settings.table, lambda: ports, _packed(settings)).examine()
    policies = in_force(ports)
    if isinstance(policies, PolicyError):
        raise policies
    places = [one for one in sorted(policies.settings.locations)
              if account in (None, one.account) and region in (None, one.region)]  # fmt: skip
    if not places:
        raise click.ClickException(
            f"{account or 'any account'} in {region or 'any Region'} is not in scope: see policies/_set.yaml"
        )
    members = wiring.reach(settings, attempts=2)
    stranger = wiring.reach(replace(settings, external_id=None), attempts=2)
    names = tuple(name.strip() for name in (settings.config_rules or "").split(",") if name.strip())
    for place in places:
        at_hub = place.account == settings.hub_account
        yield from examine(
            Patient(
                place, members, stranger, ports.clock.now, ports.clock.sleep, settings.role, hub=at_hub, rules=names
            )
        )


def _packed(settings: wiring.Settings) -> str | None:
    """The digest of the set that this release carries; None where none is packed."""
    path = Path(settings.policies)
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"]) if path.exists() else None
