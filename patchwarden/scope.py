"""Scope: where a command looks, what its exit codes mean, and the options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import lookup, wiring
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Node
from chalicelib.core.windows import parse_duration
from chalicelib.ports import Clock, Ledger, Ports, Shelf
from patchwarden import output

FAILURE, FINDINGS, REFUSED = 1, 3, 4
"""Exit codes; 0 is ok and 2 is click's own for wrong usage."""

DEMO_LEDGER = Path(".patchwarden/demo.sqlite")


class Ahead:
    """The clock of a ledger file, never before its last line: that of a simulation may be ahead of this machine."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self._ledger = ledger
        self._last: datetime | None = None

    def now(self) -> datetime:
        now = self._clock.now()
        self._last = self._last or max((case.since for case in self._ledger.all_heads() if case.since), default=now)
        return max(now, self._last)

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a command looks: a local ledger file, or None for the deployed table."""

    file: Path | None

    def ports(self) -> Ports:
        if self.file is None:
            return wiring.ports()
        if not self.file.exists():
            raise click.ClickException(f"there is no ledger at {self.file}: run `patchwarden demo` first")
        if self.file.is_file() and not self.file.stat().st_size:
            raise click.ClickException(f"{self.file} is empty: it is no ledger; `patchwarden demo` makes one")
        ports = wiring.local(str(self.file))
        return replace(ports, clock=Ahead(ports.clock, ports.ledger))

    def aws(self, what: str) -> Ports:
        """The bundle for a command that only AWS can answer; UsageError with a local ledger."""
        if self.file is not None:
            raise click.UsageError(f"{what} asks AWS: leave --local and --ledger away")
        return self.ports()

    def shelf(self) -> Shelf | None:
        """Where published policy sets lie; None if none can be published there."""
        here = wiring.Settings.from_environment()
        return wiring.shelf(here if self.file is None else replace(here, sqlite=str(self.file)))


def form_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-o table|json|jsonl|csv`, as the argument `form`."""
    choice = click.Choice(output.FORMATS)
    return click.option("-o", "--output", "form", type=choice, default="table", show_default=True,
                        help="How to print the data.")(command)  # fmt: skip


def now_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--now MOMENT`, as the argument `now`: this machine's time unless another is given."""
    return click.option("--now", callback=_moment, metavar="MOMENT",
                        help="As if it were then, such as 2026-11-28T02:00:00Z.")(command)  # fmt: skip


def _moment(context: click.Context, option: click.Parameter, text: str | None) -> datetime:
    given = moment(context, option, text)
    scope = context.find_object(Scope)
    if given is None and scope is not None and scope.file is not None and scope.file.exists():
        given = scope.ports().clock.now()
    return given or wiring.clock().now()


def moment(context: click.Context, option: click.Parameter, text: str | None) -> datetime | None:
    """What an option says as a moment; as a callback of click."""
    if text is None:
        return None
    try:
        return parse_moment(text)
    except ValueError as error:
        raise click.BadParameter("write day, time and zone, such as 2026-11-28T02:00:00Z") from error


def ago(text: str, now: datetime, option: str) -> datetime:
    """The moment that `--since` and its like mean: a span back from now (90m, 24h, 7d), a day, or a moment."""
    try:
        if "-" not in text:
            return now - parse_duration(text)
        then = parse_moment(text if "T" in text else f"{text}T00:00:00Z")
    except (ValueError, PolicyError) as error:
        remedy = "write a span back from now such as 90m, 24h or 7d, or a moment such as 2026-11-28T02:00:00Z"
        raise click.BadParameter(f"{text!r} is neither: {remedy}", param_hint=option) from error
    if then > now:
        raise click.BadParameter(f"{format_moment(then)} is still to come", param_hint=option)
    return then


def known_nodes(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
    """Completion: the nodes of the local ledger; a shell that waits for a table in the cloud helps nobody."""
    scope = context.find_root().params
    file = scope.get("file") or (DEMO_LEDGER if scope.get("local") else None)
    if file is None or not Path(file).exists():
        return []
    cases = wiring.local(str(file)).ledger.all_heads()
    return sorted({case.node.id for case in cases if case.node.id.startswith(begun)})


def one_node(ports: Ports, text: str) -> Node:
    """The node a person means; says what is near when there is none."""
    found = lookup.nodes(ports.ledger, text)
    if len(found) == 1:
        return found[0]
    if found:
        raise click.ClickException(f"{text} is in several places: {', '.join(map(str, found))}: give one of them")
    near = lookup.near(ports.ledger, text)
    hint = (
        f"; did you mean {', '.join(near)}?"
        if near
        else ": give account/region/id, or an id such as i-0123456789abcdef0"
    )
    raise click.ClickException(f"nothing is recorded about {text}{hint}")
