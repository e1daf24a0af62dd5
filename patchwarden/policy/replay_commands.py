"""The commands `policy replay` and `policy diff`: what another policy set would have done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchwarden import output
from patchwarden.policy.commands import policy
from patchwarden.scope import FINDINGS, Scope, form_option, now_option
from patchwarden.when import When, since_option

if TYPE_CHECKING:
    from patchwarden.policy.replay import Comparison


def decisions_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--since`, `--trail`, `--now`, `--expected` and `--output`: which decisions, and what may change."""
    for option in (
        form_option,
        click.option("--expected", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="A file with the changes that are wanted, one a line; exit 3 for any other."),
        now_option,
        click.option("--trail", type=click.Path(path_type=Path, exists=True, dir_okay=False),
                     help="Read the decisions from this file of transitions (JSON lines) instead of the ledger."),
        since_option("30d", "From when on in the ledger: a moment, or a span before --now."),
    ):  # fmt: skip
        command = option(command)
    return command


@policy.command("replay")
@click.option("--candidate", required=True, metavar="SET",
              help="A directory, a git revision, a published digest, or active.")  # fmt: skip
@decisions_options
@click.pass_obj
def policy_replay(
    scope: Scope, candidate: str, since: When, trail: Path | None, now: datetime, expected: Path | None, form: str
) -> None:
    """What the candidate would have decided, against what was decided. Asks nothing of AWS but the ledger.

    Guards and quotas are not modelled: executions are those that the decisions ask for.
    """
    from patchwarden.policy.comparing import compare_shown, past
    from patchwarden.policy.replay import as_decided, under
    from patchwarden.policy.sets import named

    set_ = named(candidate, scope)
    found = past(scope, since=since.back(now), now=now, trail=trail)
    before = as_decided(set_.policies.settings.linger)
    _show(compare_shown(found, before, under(set_.title, set_.policies)), expected, form)


@policy.command("diff")
@click.argument("a", default="active")
@click.argument("b", default="policies")
@click.option("--fixtures", is_flag=True, help="Compare by the tests of the directory B: no ledger is needed.")
@click.option("--path", default="policies", show_default=True, help="Where the policies are in a git revision.")
@decisions_options
@click.pass_obj
def policy_diff(
    scope: Scope, a: str, b: str, fixtures: bool, path: str, since: When, trail: Path | None, now: datetime,
    expected: Path | None, form: str,
) -> None:  # fmt: skip
    """What set B would decide otherwise than set A: directories, git revisions, published digests, or active."""
    from patchwarden.policy.comparing import by_tests, compare_shown, past
    from patchwarden.policy.replay import under
    from patchwarden.policy.sets import named

    first, second = (named(text, scope, path=path) for text in (a, b))
    found = by_tests(second) if fixtures else past(scope, since=since.back(now), now=now, trail=trail)
    comparison = compare_shown(found, under(first.title, first.policies), under(second.title, second.policies))
    _show(comparison, expected, form)


def _show(found: Comparison, expected: Path | None, form: str) -> None:
    from patchwarden.policy.comparing import show, surprises

    odd = surprises(found, expected) if expected else None
    show(found, form, odd)
    if odd:
        output.note(f"not in {expected}: {output.counted(len(odd), 'change')}; to expect them, add:")
        for text in sorted(odd):
            output.note(f"  {text}")
    sys.exit(FINDINGS if odd else 0)
