"""Scope: where a command looks, what its exit codes mean, and the options that many commands share."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import lookup, wiring
from chalicelib.core.nodes import Node
from chalicelib.fleet import LAST, Pass
from chalicelib.ports import Clock, Ledger, Ports, Shelf
from patchwarden import output
from patchwarden.when import WHEN, When

FAILURE, FINDINGS, REFUSED = 1, 3, 4
"""Exit codes; 0 is ok and 2 is click's own for wrong usage."""

ONLY_AWS = "patchwarden.only_aws"
"""In the meta of a command's context: a ledger file cannot answer it."""

DEMO_LEDGER = Path(".patchwarden/demo.sqlite")


class Ahead:
    """The clock of a ledger file, never before its last line or sweep: a simulation's may be ahead of this machine."""

    def __init__(self, clock: Clock, ledger: Ledger) -> None:
        self._clock = clock
        self._ledger = ledger
        self._last: datetime | None = None

    def now(self) -> datetime:
        now = self._clock.now()
        self._last = self._last or max(self._moments(), default=now)
        return max(now, self._last)

    def _moments(self) -> Iterator[datetime]:
        yield from (case.since for case in self._ledger.all_heads() if case.since)
        swept = self._ledger.kept(LAST)
        ended = Pass.from_json(swept.value).ended if swept else None
        if ended:
            yield ended

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
        self.only_aws(what)
        return self.ports()

    def only_aws(self, what: str) -> None:
        """UsageError with a local ledger; without one nobody is told to take one for this command."""
        if self.file is not None:
            raise click.UsageError(f"{what} asks AWS: leave --local and --ledger away")
        click.get_current_context().meta[ONLY_AWS] = True

    def shelf(self) -> Shelf | None:
        """Where published policy sets lie; None if none can be published there."""
        here = wiring.Settings.from_environment()
        return wiring.shelf(here if self.file is None else replace(here, sqlite=str(self.file)))


def form_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-o table|json|jsonl|csv`, as the argument `form`."""
    choice = click.Choice(output.FORMATS)
    return click.option("-o", "--output", "form", type=choice, default="table", show_default=True,
                        help="How to print the data.")(command)  # fmt: skip


def by_option(says: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--by NAME`, as the argument `by`: the user of this machine unless another is named."""
    return click.option("--by", default=getpass.getuser, help=says, show_default="the user of this machine")


def now_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--now MOMENT`, as the argument `now`: this machine's time unless another is given."""
    return click.option("--now", type=WHEN, default="now", callback=_moment, show_default=True,
                        help="As if it were then; a span counts from now on.")(command)  # fmt: skip


def _moment(context: click.Context, option: click.Parameter, given: When) -> datetime:
    return moment(context, option, given) or wiring.clock().now()


def moment(context: click.Context, option: click.Parameter, given: When | None) -> datetime | None:
    """What an option says as a moment, by the clock of the ledger; as a callback of click."""
    if given is None or given.moment:
        return given.moment if given else None
    scope = context.find_object(Scope)
    there = scope is not None and scope.file is not None and scope.file.exists()
    clock = scope.ports().clock if scope is not None and there else wiring.clock()
    return given.around(clock.now())


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
