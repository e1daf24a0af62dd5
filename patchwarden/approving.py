"""Approving: what waits for a person's yes, and the commands that say yes or no."""

from __future__ import annotations

import getpass
import sys

import click

from chalicelib import lookup, wiring
from chalicelib.act import hold as take_over
from chalicelib.approve import approve as say_yes
from chalicelib.approve import reject as say_no
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.points import Where
from chalicelib.intake import Receipt
from chalicelib.lookup import who_may
from patchwarden import filtering, output
from patchwarden.auditing import asked, of_options, page_options
from patchwarden.scope import FAILURE, REFUSED, Scope, form_option, known_nodes, one_node

_LISTED = ("node", "policy", "title", "until", "has", "by")


@click.command()
@of_options
@page_options
@form_option
@click.pass_obj
def approvals(scope: Scope, of: Where, limit: int, after: str | None, form: str) -> None:
    """What waits for somebody's yes, and until when it asks."""
    here = asked(scope, None)
    filtering.turn(after)
    of = here.checked(of)
    found = lookup.approvals(here.ports, account=of.account, policy=of.policy, limit=limit, after=after)
    listed = [{**one, "has": f"{len(one['given'])} of {one['minimum'] or '?'}", "by": who_may(one)}
              for one in found["approvals"]]  # fmt: skip
    output.rows(listed, _LISTED, form=form, whole=found, empty="nothing asks for a yes")
    if found["next"] and form != "json":
        output.note(f"there is more: go on with --after '{found['next']}'")


_control = click.option("--control", type=click.Choice([control.value for control in Control]), show_default=True,
                        default=Control.PATCH.value, help="Which of the node's remediations.")  # fmt: skip
_because = click.option(
    "--because", "--reason", "because", required=True, help="Why; it stands in the trail beside your name."
)
_node = click.argument("node", shell_complete=known_nodes)


@click.command()
@_node
@_control
@_because
@click.pass_obj
def approve(scope: Scope, node: str, control: str, because: str) -> None:
    """Say yes to what a policy asks about NODE, as the one whose AWS credentials these are.

    Exit code 4: your yes does not count here, and nothing was written.
    """
    ports = scope.ports()
    case = remediation_id(one_node(ports, node), Control(control))
    _told(say_yes(ports, case, by=_me(scope), because=because))


@click.command()
@_node
@_control
@_because
@click.pass_obj
def reject(scope: Scope, node: str, control: str, because: str) -> None:
    """Say no: NODE stays a person's turn, and nothing starts until somebody requests it anew."""
    ports = scope.ports()
    case = remediation_id(one_node(ports, node), Control(control))
    _told(say_no(ports, case, by=_me(scope), because=because))


@click.command()
@_node
@_control
@_because
@click.pass_obj
def hold(scope: Scope, node: str, control: str, because: str) -> None:
    """Take over NODE, which waits: it becomes your turn, with a ticket, until somebody requests it anew."""
    ports = scope.ports()
    case = remediation_id(one_node(ports, node), Control(control))
    _told(take_over(ports, case, by=_me(scope), because=because))


def _me(scope: Scope) -> str:
    """A local ledger knows no identities: the user of this machine, and nobody checks that."""
    return getpass.getuser() if scope.file else wiring.caller()


def _told(receipt: Receipt) -> None:
    output.note(f"{receipt.status}: {receipt.because}")
    if receipt.status == "refused":
        sys.exit(REFUSED if receipt.state else FAILURE)
