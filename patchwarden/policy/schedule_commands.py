"""The `schedule` commands: when patching by the calendar comes next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Schedule, coming, held
from chalicelib.core.settings import Freeze
from chalicelib.core.windows import Opening
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.policy.commands import DIRECTORY
from patchwarden.scope import FINDINGS, form_option, now_option


@click.group(cls=Group)
def schedule() -> None:
    """Patching by the calendar: what runs when."""


@schedule.command("list")
@DIRECTORY
@click.option("--next", "count", type=click.IntRange(1, 100), default=5, show_default=True,
              help="How many runs of each schedule.")  # fmt: skip
@now_option
@form_option
def schedule_list(directory: Path, count: int, now: datetime, form: str) -> None:
    """The coming runs of every schedule in DIRECTORY, in its own zone and in UTC, the next one first.

    A run that is missed or held by a freeze may still be started until its last moment. Exit 3 if DIRECTORY has errors.
    """
    from patchwarden.policy.compile import load_directory

    loaded = load_directory(directory, now=now)
    if loaded.document is None:
        for problem in loaded.errors:
            click.echo(output.plain(problem.text()), err=True)
        sys.exit(FINDINGS)
    found = coming_runs(PolicySet.load(loaded.document), now, count)
    output.rows(found, ("schedule", "operation", "local", "starts", "last_moment", "state"), form=form)


def coming_runs(policies: PolicySet, now: datetime, count: int) -> list[dict[str, Any]]:
    """The next `count` runs of each schedule, by time: `local` in its zone, `starts` and `last_moment` in UTC."""
    found = [
        _run(schedule, opening, policies.settings.freezes)
        for schedule in policies.schedules
        for opening in coming(schedule, now, count)
    ]
    return sorted(found, key=lambda run: (run["starts"], run["schedule"]))


def _run(schedule: Schedule, opening: Opening, freezes: tuple[Freeze, ...]) -> dict[str, Any]:
    local = opening.start.astimezone(ZoneInfo(schedule.calendar.zone))
    return {
        "schedule": schedule.id,
        "title": schedule.title,
        "operation": schedule.operation.value,
        "zone": schedule.calendar.zone,
        "local": local.strftime("%a %Y-%m-%d %H:%M %Z"),
        "starts": format_moment(opening.start),
        "last_moment": format_moment(opening.end),
        "state": ", ".join(_states(schedule, opening, freezes)) or "planned",
    }


def _states(schedule: Schedule, opening: Opening, freezes: tuple[Freeze, ...]) -> Iterator[str]:
    if not schedule.enabled:
        yield "disabled"
    freeze = held(schedule, opening.start, freezes)
    if freeze is not None:
        yield f"held by freeze {freeze.name}"
