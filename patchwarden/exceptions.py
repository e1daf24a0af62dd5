"""Exceptions: where Config's automatic remediation holds still, and how Patchwarden stands on the node there."""

from __future__ import annotations

from typing import Any

import click

from chalicelib.core.errors import Denied, PolicyError, Temporary
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Location
from chalicelib.intake import in_force
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import FINDINGS, Scope, form_option

_COLUMNS = ("node", "rule", "until", "state", "because")


@click.group(cls=Group)
def config() -> None:
    """What AWS Config's remediation actions did with our nodes."""


@config.command("exceptions")
@click.option("--account", metavar="ACCOUNT", help="Only this account, 12 digits.")
@click.option("--region", metavar="REGION", help="Only this Region, such as eu-west-1.")
@form_option
@click.pass_obj
def exceptions(scope: Scope, account: str | None, region: str | None, form: str) -> None:
    """The remediation exceptions of the Config rules in PATCHWARDEN_CONFIG_RULES.

    Config makes one after a failed attempt and starts nothing more for the node. Patchwarden takes it back with the
    sweep after the node was proved compliant. Exit 3 if a place could not be asked.
    """
    ports = scope.aws("config exceptions")
    if ports.exceptions is None:
        raise click.ClickException(
            "no Config rule is named: set PATCHWARDEN_CONFIG_RULES=ec2-managedinstance-patch-compliance-status-check"
        )
    found, silent = listed(ports, account, region)
    output.rows(found, _COLUMNS, form=form, whole={"exceptions": found, "unanswered": silent})
    for place in silent:
        output.note(f"{place['location']} could not be asked: {place['why']}")
    if silent:
        raise SystemExit(FINDINGS)


MOST = 20
"""Places that `status` asks, one call each; with more, `config exceptions` is the command that takes its time."""


def standing(ports: Ports) -> list[dict[str, Any]] | None:
    """The exceptions that stand, for the status; None: nobody asked, because no rule is named or there are many places.

    A place that does not answer leaves the rest unsaid too: a short list must not look like a whole one.
    """
    policies = in_force(ports)
    if ports.exceptions is None or isinstance(policies, PolicyError) or len(policies.settings.locations) > MOST:
        return None
    found, silent = listed(ports)
    return None if silent else found


def listed(
    ports: Ports, account: str | None = None, region: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Every exception in the places of the policy set, with how our remediation stands; and the silent places."""
    assert ports.exceptions is not None, "nobody asks without a port"
    policies = in_force(ports)
    if isinstance(policies, PolicyError):
        raise policies
    found, silent = [], []
    for place in sorted(policies.settings.locations):
        if (account or place.account, region or place.region) != (place.account, place.region):
            continue
        try:
            found += _at(ports, place)
        except (Denied, Temporary) as error:
            silent.append({"location": str(place), "why": str(error)})
    return found, silent


def _at(ports: Ports, place: Location) -> list[dict[str, Any]]:
    assert ports.exceptions is not None, "nobody asks without a port"
    standing = ports.exceptions.exceptions(place)
    heads = ports.ledger.heads([remediation_id(one.node, Control.PATCH) for one in standing])
    told = []
    for one in standing:
        case = heads.get(remediation_id(one.node, Control.PATCH))
        told.append({
            "node": str(one.node), "rule": one.rule, "until": one.until and f"{one.until:%Y-%m-%dT%H:%M:%SZ}",
            "message": one.message, "state": case.state.value if case else None,
            "because": case.because if case else "Patchwarden knows nothing of this node",
        })  # fmt: skip
    return told
