"""Isolating: the accounts that refuse us, and the commands that ask one again or let it go."""

from __future__ import annotations

from typing import Any

import click

from chalicelib import guard as guards
from chalicelib import isolate, lookup
from chalicelib.core.errors import PolicyError
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.intake import in_force
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.journalling import entries_of
from patchwarden.scope import Scope, by_option, form_option

_ACCOUNTS = ("account", "since", "tries", "probe", "holds", "ticket", "because")

_reason = click.option("--reason", "--because", "reason", required=True, help="Why; it stands in the journal.")
_by = by_option("Who decides.")


@click.group(cls=Group)
def accounts() -> None:
    """Accounts that refuse us: each is set aside with one ticket, and asked again by itself. All others go on."""


@accounts.command("list")
@form_option
@click.pass_obj
def accounts_list(scope: Scope, form: str) -> None:
    """Which account refuses, since when, why, when it is asked next (probe), and how many queued nodes wait for it."""
    ports = scope.ports()
    found: list[dict[str, Any]] = lookup.refusing(ports.ledger)
    if not found and form == "table":
        output.note("no account refuses us")
        return
    output.rows(found, _ACCOUNTS, form=form)


@accounts.command("show")
@click.argument("account")
@form_option
@click.pass_obj
def accounts_show(scope: Scope, account: str, form: str) -> None:
    """Every entry of the ACCOUNT, first to last: each refusal, its ticket, and who cleared it."""
    ports = scope.ports()
    entries_of(ports, _known(ports, account), form)


@accounts.command("retry")
@click.argument("account")
@_reason
@_by
@click.pass_obj
def accounts_retry(scope: Scope, account: str, reason: str, by: str) -> None:
    """Ask the ACCOUNT again with the next round or sweep, and do not wait for its pause, which may be an hour.

    It stays set aside until it answers; then everything of it leaves again and its ticket is closed.
    """
    ports = scope.ports()
    line, said = _known(ports, account), _said(reason)
    known = isolate.retry(ports, account, by=by, reason=said)
    if known is None:
        output.note(f"account {account} is not set aside: {line.because}")
        return
    output.note(f"account {account} is asked again at once; it refuses since {format_moment(known.since)}, "
                f"{known.tries} times: {known.because}")  # fmt: skip


@accounts.command("clear")
@click.argument("account")
@_reason
@_by
@click.pass_obj
def accounts_clear(scope: Scope, account: str, reason: str, by: str) -> None:
    """Set the ACCOUNT aside no longer, since it is mended or was given up; its ticket is resolved by the next sweep.

    One that still refuses is set aside anew. Take one that was given up out of `scope` in _set.yaml first.
    """
    ports = scope.ports()
    line, said = _known(ports, account), _said(reason)
    known = isolate.clear(ports, account, by=by, reason=said)
    if known is None:
        output.note(f"account {account} is not set aside: {line.because}")
        return
    output.note(f"cleared account {account}; it refused since {format_moment(known.since)}: {known.because}")
    if _asked(ports, account):
        output.note("it is in the scope of _set.yaml, so it is asked with the next round; should it refuse, "
                    "it is set aside anew")  # fmt: skip


def _known(ports: Ports, account: str) -> Entry:
    return guards.find(ports, Kind.ACCOUNT, account)


def _said(reason: str) -> str:
    if not reason.strip():
        raise click.BadParameter("say why: an empty reason helps nobody", param_hint="--reason")
    return reason


def _asked(ports: Ports, account: str) -> bool:
    policies = in_force(ports)
    return isinstance(policies, PolicyError) or any(at.account == account for at in policies.settings.locations)
