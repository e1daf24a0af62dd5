"""The demo: run the story, show how it goes, and end with the figures, one node and the proof of the trail."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from chalicelib import lookup, proof
from chalicelib.wiring import Settings
from patchwarden import leaving, output
from patchwarden.scope import DEMO_LEDGER
from patchwarden.simulator.fleet import START
from patchwarden.simulator.story import END, Story, telling

FUNNEL = (
    ("events_in", "events that a handler took in"),
    ("duplicates", "of them exact redeliveries: no line"),
    ("decisions", "decisions"),
    ("waiting", "remediations that waited for a window, a limit or a cool-down"),
    ("nodes_started", "starts of a node"),
    ("executions", "executions that served them"),
    ("succeeded", "remediations whose install reported success"),
    ("verified", "remediations proved by a fresh scan"),
    ("ticketed", "remediations that became a person's turn"),
    ("exempt", "exempt remediations"),
    ("gone", "nodes gone meanwhile"),
)


def run(*, seed: int, nodes: int, figures: Path | None, file: Path) -> int:
    """Run it; the exit code: 0, or 1 if the trail is not whole."""
    show = output.console()
    fresh(file)
    settings = Settings(sqlite=str(file))
    story = Story(seed=seed, nodes=nodes, settings=settings, end=END + leaving.AFTER)
    week: dict[str, Any] = {}
    story.sim.clock.at(END, lambda: week.update(story.figures()))
    story.sim.clock.at(END, lambda: leaving.leave(story, Path(settings.policies), leaving.shelf_of(file)))
    show.print(f"[bold]Patchwarden[/]: {nodes} nodes in {len(story.sim.fleet.locations)} places, seed {seed}")
    with _progress() as advance:
        for moment in story.run():
            advance(moment)
    checked = proof.verify(story.ports.ledger, story.sim.clock.now())
    found = {**week, "audit_ok": not checked.faults, "seed": seed, "nodes": nodes}
    _funnel(show, found)
    _one_node(show, story)
    for fault in checked.faults:
        show.print(Text(fault, style="bold red"))
    trails = output.counted(checked.remediations, "trail")
    word = "whole, in order and unchanged" if found["audit_ok"] else "DAMAGED"
    show.print(f"\n[bold]audit verify[/]: {trails}, {output.counted(checked.lines, 'line')}: {word}")
    _what_next(show, story, file)
    if figures:
        figures.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return 0 if found["audit_ok"] else 1


def _what_next(show: Console, story: Story, file: Path) -> None:
    """What is left to operate, and the commands to try on it."""
    show.print(f"\nAfter the week the vendors released early: {', '.join(leaving.left(story.ports))}.")
    show.print(f"The ledger is in {file}. [bold]Try next[/]:\n")
    where = "--local" if file == DEMO_LEDGER else f"--ledger {shlex.quote(str(file))}"
    for command, shows in leaving.to_try(story.ports, f"{_command()} {where}"):
        # the terminal breaks the line, not we: a break of ours would be copied into the command
        show.print(Text.assemble("  ", command, ("   # " + shows, "dim")), soft_wrap=True)


def _command() -> str:
    """How the command is called from here, where no environment may be active."""
    script = Path(sys.executable).with_name("patchwarden")
    known = shutil.which("patchwarden") or not script.exists()
    return "patchwarden" if known else os.path.relpath(script)


def fresh(file: Path) -> None:
    """A new ledger file; what SQLite and the service keep beside the old one goes with it.

    Checkpoints and published sets of the old ledger would call the new one damaged.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("", "-wal", "-shm"):
        file.with_name(file.name + ending).unlink(missing_ok=True)
    file.with_suffix(".key").unlink(missing_ok=True)
    for ending in (".evidence", ".policies"):
        shutil.rmtree(file.with_suffix(ending), ignore_errors=True)


@contextmanager
def _progress() -> Iterator[Any]:
    """A live bar on a terminal; one plain line for each day of the story elsewhere."""
    if sys.stdout.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns) as bar:
            task = bar.add_task(f"{START:%a %d %b %H:%M}", total=(END - START).total_seconds())
            yield lambda moment: bar.update(
                task, completed=(moment - START).total_seconds(), description=f"{moment:%a %d %b %H:%M}"
            )
        return
    told: set[datetime] = set()

    def tell(moment: datetime) -> None:
        day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        if day not in told:
            told.add(day)
            print(f"... {moment:%A %d %B %Y}", flush=True)  # noqa: T201

    yield tell


def _funnel(show: Console, found: dict[str, Any]) -> None:
    show.print()
    for name, words in FUNNEL:
        show.print(f"{found[name]:>7}  {words}")
    started, executions = found["nodes_started"], found["executions"]
    if executions:
        show.print(
            f"\n[bold]Coalescing[/]: {executions} executions for {started} node starts, {started / executions:.1f} each"
        )


def _one_node(show: Console, story: Story) -> None:
    """The node with the longest way, line by line."""
    node = telling(story.ports.ledger)
    if node is None:
        return
    show.print(f"\n[bold]One node from event to proof[/]: {node}")
    before: datetime | None = None
    for line in lookup.trail(story.ports.ledger, node):
        waited = f"+{_span(line.at - before)}" if before else f"{line.at:%a %H:%M}"
        show.print(Text(f"{waited:>9}  {line.cause.value:<11} {output.plain(line.because)}"))
        before = line.at


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02}m"
