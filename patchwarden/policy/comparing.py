"""Comparing: where the decisions come from, the bar while they are put to two sets, and what is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from chalicelib.core.remediations import Transition
from chalicelib.ports import Ledger
from patchwarden import output
from patchwarden.policy.replay import Asked, Comparison, Ended, Version, asked, compare
from patchwarden.policy.sets import Named, tested
from patchwarden.scope import Scope

DAY = timedelta(days=1)


def by_tests(set_: Named) -> Iterator[tuple[float, Asked | Ended]]:
    """The situations of the set's own tests."""
    if set_.directory is None:
        raise click.UsageError("--fixtures needs a directory or a git revision as B")
    for each in tested(set_.directory):
        yield 1.0, each


def past(
    scope: Scope, *, since: datetime, now: datetime, trail: Path | None = None
) -> Iterator[tuple[float, Asked | Ended]]:
    """The decisions of the file, or of the ledger since then, each with the share of the whole that is read."""
    share = 0.0

    def told() -> Iterator[Transition]:
        nonlocal share
        lines = _from_file(trail) if trail else _from_ledger(scope.ports().ledger, since, now)
        for share, line in lines:  # noqa: B007
            yield line

    for each in asked(told()):
        yield share, each


def _from_ledger(ledger: Ledger, since: datetime, until: datetime) -> Iterator[tuple[float, Transition]]:
    days = (until.date() - since.date()).days + 1
    for number in range(days):
        for line in ledger.day((since + number * DAY).date()):
            if since <= line.at <= until:
                yield number / days, line


def _from_file(path: Path) -> Iterator[tuple[float, Transition]]:
    size, read = max(path.stat().st_size, 1), 0
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            read += len(text)
            try:
                line = Transition.from_json(json.loads(text))
            except (ValueError, KeyError, TypeError) as error:
                raise click.ClickException(f"{path}:{number} is no line of a trail: {error}") from error
            yield read / size, line


def compare_shown(decisions: Iterator[tuple[float, Asked | Ended]], before: Version, after: Version) -> Comparison:
    """The comparison, with a bar on standard error while it runs, if that is a terminal."""
    with _bar(f"{before.title} → {after.title}") as advance:

        def watched() -> Iterator[Asked | Ended]:
            for share, each in decisions:
                advance(share)
                yield each

        return compare(watched(), before, after)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[float], None]]:
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console(stderr=True), transient=True) as bar:
        task = bar.add_task(output.plain(title), total=1.0)
        yield lambda share: bar.update(task, completed=share)


def surprises(found: Comparison, expected: Path) -> set[str]:
    """The changes that the file does not list: one a line, `#` begins a comment."""
    lines = (line.strip() for line in expected.read_text(encoding="utf-8").splitlines())
    return {change.text for change in found.unexpected(line for line in lines if not line.startswith("#"))}


def show(found: Comparison, form: str, odd: set[str] | None = None) -> None:
    """Print a comparison; `odd` are the changes that nobody expected, None: nobody said what is expected."""
    marked = odd or set()
    records = [{"from": one.before, "to": one.after, "decisions": one.count, "such as": one.samples[0],
                "expected": one.text not in marked} for one in found.changes]  # fmt: skip
    whole = found.to_json()
    for change, record in zip(whole["changes"], records, strict=True):
        change["expected"] = record["expected"]
    columns = ("from", "to", "decisions", "such as", *(("expected",) if odd is not None else ()))
    if form != "table" or records:
        output.rows(records, columns, form=form, whole=whole)
    if form == "table":
        for line in sentences(found):
            click.echo(output.plain(line))


def sentences(found: Comparison) -> Iterator[str]:
    """The comparison in words."""
    yield f"{found.before} → {found.after}: {found.changed} of {found.decisions} decisions would be different"
    if not found.decisions:
        yield "no decision is on record there: name a longer --since, a --trail FILE, or compare by --fixtures"
        return
    was, will = found.starts["before"], found.starts["after"]
    for name, words in _FIGURES:
        yield f"  {words}: {was[name]} → {will[name]} ({will[name] - was[name]:+})"
    if found.unseen:
        yield f"  {found.unseen} decisions are tickets because facts that {found.after} asks for were never fetched"


_FIGURES = (
    ("nodes", "starts of a node"),
    ("executions", "executions"),
    ("peak_per_hour", "most executions within an hour"),
)
