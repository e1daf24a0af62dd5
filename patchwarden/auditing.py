"""Auditing: the trail asked from the command line: then and now, who and why; its span and filters serve the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import history, lookup, wiring
from chalicelib.answers import set_at
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.points import Where
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import WAITS, Cause, State
from chalicelib.past import FromLedger
from chalicelib.ports import Past, Ports, Signer, Vault
from patchwarden import filtering, output
from patchwarden.groups import Group
from patchwarden.scope import Scope, form_option
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


def of_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--account` and `--policy`, of what is now, gathered as the argument `of`."""

    def gathered(*given: Any, of_account: str | None, of_policy: str | None, **named: Any) -> Any:
        return command(*given, of=Where(account=of_account, policy=of_policy), **named)

    gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for name, says in (("policy", "Only what this policy decides."), ("account", "Only this account.")):
        gathered = click.option(f"--{name}", f"of_{name}", help=says)(gathered)
    return gathered


_FILTERS: tuple[tuple[str, Any, str], ...] = (
    ("account", str, "12 digits."),
    ("region", str, "A Region."),
    ("control", click.Choice([control.value for control in Control]), "The control."),
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

    def active(self, then: PolicySet | None) -> PolicySet | None:
        """The set in force now, asked for only where that of the moment is not at hand: an export needs no ledger."""
        return None if then else self.ports.policies.active()


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
         f"no line fits from {format_moment(here.since)} to {format_moment(here.at)}: name an earlier --since, "
         "or fewer filters")  # fmt: skip


@audit.command()
@click.option("--state", type=click.Choice([state.value for state in WAITS]), help="Only this state.")
@of_options
@page_options
@form_option
@click.pass_obj
def whynot(scope: Scope, state: str | None, of: Where, limit: int, after: str | None, form: str) -> None:
    """All that is not being remediated now: why, until when, and whose turn it is."""
    here = asked(scope, None)
    filtering.turn(after)
    of, states = here.checked(of), [State(state)] if state else WAITS
    answer = lookup.whynot(here.ports.ledger, here.now, states=states, account=of.account, policy=of.policy,
                           limit=limit, after=after)  # fmt: skip
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
    policies = here.policies()
    answer = history.exemptions(here.past, here.at, policies, limit=200, active=here.active(policies))
    if not answer["known"]:
        output.note("the policy set of that moment is not at hand: of exemptions that were changed since reasons and "
                    "approvers are not known here, nor those that covered no node")  # fmt: skip
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
