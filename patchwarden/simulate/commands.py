"""The command `patchwarden simulate`: run seeds, and replay the one that failed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from patchwarden import output
from patchwarden.scope import form_option
from patchwarden.simulate.faults import PROFILES
from patchwarden.simulate.moments import moment
from patchwarden.simulate.run import replay
from patchwarden.simulate.soak import Sum, reports
from patchwarden.simulate.telling import Entry, Report

FINDINGS = 3
MOST_SHOWN = 10


class Seeds(click.ParamType[range]):
    """`A..B`: from A up to, and without, B; or one seed."""

    name = "A..B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        if isinstance(value, range):
            return value
        first, dots, end = str(value).partition("..")
        if not first.isdecimal() or (dots and not end.isdecimal()):
            self.fail(f"{value!r} is no range of seeds: write 0..2000, or one number", param, ctx)
        found = range(int(first), int(end) if dots else int(first) + 1)
        if not found:
            self.fail(f"{value!r} holds no seed: the second number must be the larger one", param, ctx)
        return found


@click.command("simulate")
@click.option("--seeds", type=Seeds(), default="0..100", show_default=True, help="Which seeds; the last is not run.")
@click.option("--nodes", type=click.IntRange(1, 5000), default=50, show_default=True, help="Nodes of each seed.")
@click.option("--faults", "profile", type=click.Choice(list(PROFILES)), default="mixed", show_default=True,
              help="What may go wrong.")  # fmt: skip
@click.option("--replay", "seed", type=click.IntRange(0), help="Run this one seed and print its history.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to run in.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write the figures to this file.")
@form_option
def simulate(
    seeds: range, nodes: int, profile: str, seed: int | None, workers: int, report: Path | None, form: str
) -> None:
    """Hold the whole service to its promises, from seeds, with faults at every outside call; exit 3 if one breaks.

    Each seed is another fleet, another weather of faults and another order of concurrent invocations. A seed that
    fails is printed with the command that replays it.
    """
    if seed is not None:
        sys.exit(_replayed(replay(seed, nodes, profile), form))
    began, total = perf_counter(), Sum()
    for each in _watched(reports(seeds, nodes, profile, workers), len(seeds)):
        total.add(each)
    taken = perf_counter() - began
    figures = {**total.to_json(), "profile": profile, "nodes": nodes, "workers": workers, "seconds": round(taken, 1),
               "seeds_per_second": round(total.seeds / taken, 1)}  # fmt: skip
    if report:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    if form == "json":
        click.echo(json.dumps(figures, indent=2))
    elif form == "table":
        _told(figures)
    else:
        output.rows(_broken(figures), _BROKEN, form=form)
    sys.exit(FINDINGS if total.failures else 0)


def _watched(runs: Iterable[Report], count: int) -> Iterator[Report]:
    """A progress bar on a terminal; elsewhere nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = output.console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task, failed = bar.add_task("0 failed", total=count), 0
        for run in runs:
            failed += bool(run.wrong)
            bar.update(task, advance=1, description=f"{failed} failed")
            yield run


def _told(figures: dict[str, Any]) -> None:
    show = output.console()
    show.print(
        f"{figures['seeds']} seeds of {figures['nodes']} nodes, profile {figures['profile']}: "
        f"{figures['calls']} outside calls, {sum(figures['faults'].values())} faults, "
        f"{figures['executions']} executions, {figures['lines']} lines, "
        f"{figures['virtual_hours']} hours of virtual time in {figures['seconds']} s"
    )
    output.table(_broken(figures), _BROKEN)
    for seed, wrong in list(figures["failures"].items())[:MOST_SHOWN]:
        show.print(Text(f"\nseed {seed}: {wrong[0]}", style="bold red"))
        show.print(f"  patchwarden simulate --replay {seed} --nodes {figures['nodes']} --faults {figures['profile']}")


_BROKEN = ("promise_broken", "times")


def _broken(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"promise_broken": kind, "times": times} for kind, times in figures["broken"].items()]


def _replayed(run: Report, form: str) -> int:
    history = [{"at": str(moment(entry.at)), "who": entry.who, "what": entry.what, "fault": entry.fault}
               for entry in run.history]  # fmt: skip
    if form == "json":
        click.echo(json.dumps({"seed": run.seed, "wrong": list(run.wrong), "history": history}, indent=2))
    elif form != "table":
        output.rows(history, ("at", "who", "what", "fault"), form=form)
    else:
        for entry in run.history:
            click.echo(_line(entry))
        for sentence in run.wrong or ("every promise was kept",):
            click.echo(f"seed {run.seed}: {sentence}")
    return FINDINGS if run.wrong else 0


def _line(entry: Entry) -> str:
    fault = f"  <- {entry.fault.upper()}" if entry.fault else ""
    return f"{moment(entry.at):%d %H:%M:%S.%f}"[:-3] + f"  {entry.who:<13} {output.plain(entry.what)}{fault}"
