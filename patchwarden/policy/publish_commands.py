"""The commands `policy publish`, `policy history` and `policy rollback`: which set is in force, and since when."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment
from chalicelib.core.publications import Publication
from chalicelib.ports import Shelf
from patchwarden import output
from patchwarden.policy.commands import DIRECTORY, policy
from patchwarden.scope import FINDINGS, Scope, by_option, form_option
from patchwarden.when import When, since_option

if TYPE_CHECKING:
    from patchwarden.policy.replay import Comparison
    from patchwarden.policy.sets import Named

_YES = click.option("--yes", is_flag=True, help="Do not ask before it is put in force.")
_BY = by_option("Who decides this.")
_REASON = click.option(
    "--reason", "--because", "reason", required=True, help="Why; everybody who reads the history reads it."
)


@policy.command("publish")
@DIRECTORY
@_REASON
@_BY
@since_option("30d", "From when on past decisions are put to both sets.")
@_YES
@click.pass_obj
def policy_publish(scope: Scope, directory: Path, reason: str, by: str, since: When, yes: bool) -> None:
    """Check and test DIRECTORY, show what it would change, and put it in force.

    The services follow within a minute. Nothing is published if somebody else published in between.
    """
    from patchwarden.policy.publish import publish
    from patchwarden.policy.sets import from_directory, revision_of

    ports, shelf = scope.ports(), _shelf(scope)
    now = ports.clock.now()
    _checked(directory, now)
    last, candidate = ports.ledger.active_policies(), from_directory(str(directory), directory)
    if last and last.digest == candidate.policies.digest:
        output.note(f"the set {last.digest[:12]} is in force already: {_told(last)}")
        return
    summary = _compared(scope, candidate, since.back(now), now)
    if not yes:
        click.confirm(f"Put {candidate.policies.digest[:12]} in force?", abort=True, err=True)
    line = publish(ports.ledger, shelf, candidate.document, last, by=by, because=reason, now=ports.clock.now(),
                   revision=revision_of(directory), summary=summary.summary() if summary else None)  # fmt: skip
    output.note(f"in force within a minute: {_told(line)}")


def _checked(directory: Path, now: datetime) -> None:
    """Stop at an error or a failed test; warnings are shown and stop nothing."""
    from patchwarden.policy.lint import check_directory

    checked = check_directory(directory, now=now)
    for each in checked.found:
        click.echo(output.plain(each.text()), err=True)
    if checked.errors:
        output.note(f"nothing was published: {output.counted(checked.errors, 'error')} in {directory}")
        sys.exit(FINDINGS)


def _compared(scope: Scope, candidate: Named, since: datetime, now: datetime) -> Comparison | None:
    """What it changes against the set in force, printed; None where no set is in force that loads."""
    from patchwarden.policy.comparing import compare_shown, past, show
    from patchwarden.policy.replay import under
    from patchwarden.policy.sets import named

    try:
        active = named("active", scope)
    except PolicyError as error:
        output.note(f"there is nothing to compare with: {error}")
        return None
    found = compare_shown(past(scope, since=since, now=now), under(active.title, active.policies),
                          under(candidate.policies.digest[:12], candidate.policies))  # fmt: skip
    show(found, "table")
    return found


@policy.command("history")
@form_option
@click.pass_obj
def policy_history(scope: Scope, form: str) -> None:
    """Which set was put in force when, by whom and why; the last one decides."""
    from chalicelib.core.publications import fault

    ports = scope.ports()
    lines = ports.ledger.publications()
    records = [{**line.to_json(), "set": line.digest[:12], "commit": (line.revision or "")[:12]} for line in lines]
    output.rows(records, _HISTORY, form=form, whole=[line.to_json() for line in lines],
                empty="no set was ever published here: the one packed with the code decides")  # fmt: skip
    wrong = fault(ports.ledger.active_policies(), lines)
    if wrong:
        output.note(f"Error: {wrong}")
        sys.exit(FINDINGS)


_HISTORY = ("number", "at", "act", "set", "commit", "by", "because")


@policy.command("rollback")
@click.argument("digest")
@_REASON
@_BY
@_YES
@click.pass_obj
def policy_rollback(scope: Scope, digest: str, reason: str, by: str, yes: bool) -> None:
    """Put the set of DIGEST (or its first 7 digits or more), which was published before, in force again."""
    from patchwarden.policy.publish import roll_back
    from patchwarden.policy.sets import published

    ports, shelf = scope.ports(), _shelf(scope)
    whole = published(digest, scope)
    if whole is None:
        raise click.ClickException(f"{digest} was never published: `patchwarden policy history` lists what was")
    if not yes:
        click.confirm(f"Put {whole[:12]} in force again?", abort=True, err=True)
    line = roll_back(ports.ledger, shelf, whole, by=by, because=reason, now=ports.clock.now())
    output.note(f"in force within a minute: {_told(line)}")


def _shelf(scope: Scope) -> Shelf:
    shelf = scope.shelf()
    if shelf is None:
        raise click.ClickException("nothing can be published here: set PATCHWARDEN_POLICY_BUCKET to a versioned bucket")
    return shelf


def _told(line: Publication) -> str:
    act = line.act.value.replace("_", " ")
    return f"{line.digest[:12]}, {act} by {line.by} at {format_moment(line.at)}: {line.because}"
