"""Scheduling: start a schedule now, show what its runs came to, and which nodes belong to which schedule."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import pause, schedules
from chalicelib.core.journal import Entry
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import Book, Run
from chalicelib.core.pauses import Brake
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Operation, Schedule
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.membership import members
from patchwarden.policy.problems import near_or_all
from patchwarden.policy.schedule_commands import schedule
from patchwarden.scope import FAILURE, FINDINGS, REFUSED, Scope, by_option, form_option


@schedule.command("run")
@click.argument("name")
@click.option("--operation", type=click.Choice([word.value for word in Operation]),
              help="Scan or Install; what the schedule says where absent.")  # fmt: skip
@click.option("--only-account", "only", metavar="self|ACCOUNT",
              help="Only where your own credentials belong, without the hub and its journal.")  # fmt: skip
@click.option("--policies", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="With --only-account: read the schedule from these policy files.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Start without asking.")
@by_option("Who asks; it stands in the journal.")
@form_option
@click.pass_obj
def schedule_run(
    scope: Scope, name: str, operation: str | None, only: str | None, directory: Path | None, yes: bool, by: str,
    form: str,
) -> None:  # fmt: skip
    """Start schedule NAME now, whatever its calendar says; shows what it would start and asks.

    Exit 4 if a freeze, a pause or a run under way refuses it, or if you do not say yes.
    """
    if directory is not None and only is None:
        raise click.UsageError("--policies needs --only-account self: in the hub the published policies decide")
    ports = scope.aws("schedule run")
    policies = _from_files(directory) if directory else ports.policies.active()
    asked = _schedule(policies, name)
    does = Operation(operation) if operation else asked.operation
    alone = _alone(ports, only) if only else False
    brake = Brake() if alone else pause.read(ports)
    _refuse_if_held(ports, policies, asked, does, None if alone else brake)
    run = schedules.asked_for(ports, policies, asked, does, by, brake=brake, alone=alone)
    told = _told(asked, run)
    output.rows([told], tuple(told), form=form)
    if not yes and not click.confirm(f"Start this {does.value.lower()} now?", default=False, err=True):
        output.note("nothing was started")
        sys.exit(REFUSED)
    started = _start(ports, run, alone=alone)
    if started is None:
        output.note(f"the start was refused; patchwarden schedule history {name} says why")
        sys.exit(FAILURE)
    if started.execution is None:
        output.note("the start was not answered: the service finds out within five minutes whether it runs")
        sys.exit(FAILURE)
    output.note(f"execution {started.execution} runs in {started.hub}")


def _from_files(directory: Path) -> PolicySet:
    from patchwarden.policy.compile import load_directory

    loaded = load_directory(directory)
    if loaded.document is None:
        for problem in loaded.errors:
            output.note(problem.text())
        sys.exit(FINDINGS)
    return PolicySet.load(loaded.document)


def _schedule(policies: PolicySet, name: str) -> Schedule:
    found = next((one for one in policies.schedules if one.id == name), None)
    if found is None:
        known = [one.id for one in policies.schedules]
        hint = near_or_all(name, known) if known else "the policy set has no schedules"
        raise click.BadParameter(f"there is no schedule {name!r}: {hint}", param_hint="NAME")
    return found


def _alone(ports: Ports, only: str) -> bool:
    """An account's owner may act there and nowhere else."""
    home = ports.fleets.home()
    if only not in ("self", home.account):
        output.note(f"Error: these credentials are of {home.account}: a run for {only} starts with that account's own")
        sys.exit(REFUSED)
    return True


def _refuse_if_held(
    ports: Ports, policies: PolicySet, asked: Schedule, does: Operation, brake: Brake | None
) -> None:  # fmt: skip
    """`brake` None: in an account of its own, where the files alone decide."""
    now = ports.clock.now()
    if brake is None:
        why = _held_by_files(policies, asked, does, ports.fleets.home(), now)
    else:
        busy = schedules.book_of(ports, asked.id)[1].busy
        why = f"its run of {format_moment(busy.starts)} is still under way" if busy else None
        installs = does is Operation.INSTALL
        why = why or (schedules.holds(ports, policies, asked, now, brake) if installs else None)
    if why:
        output.note(f"Error: schedule {asked.id} may not start: {why}")
        sys.exit(REFUSED)


def _held_by_files(policies: PolicySet, asked: Schedule, does: Operation, home: Location, now: datetime) -> str | None:
    """In an account of its own there is no journal to ask: the freezes of the files hold all the same.

    An account outside of the schedule's list is refused: its owner may act, but not widen the schedule.
    """
    where = asked.where
    if not where.units and home.account not in where.accounts:
        return f"it is not for account {home.account}"
    if home.account in where.exclude or home.region not in where.regions:
        return f"it is not for {home}"
    if does is Operation.SCAN:
        return None
    freezes = policies.settings.freezes
    freeze = next((one for one in freezes if one.since <= now < one.until), None)
    return f"freeze {freeze.name} until {format_moment(freeze.until)}: {freeze.reason}" if freeze else None


def _told(asked: Schedule, run: Run) -> dict[str, Any]:
    order = run.order
    places = [name for place in order.places for name in (*place.accounts, *place.units)]
    regions = sorted({region for place in order.places for region in place.regions})
    key, values = order.target
    return {
        "schedule": asked.id,
        "operation": run.operation.value,
        "accounts": " ".join(places) or run.hub.account,
        "without": " ".join(asked.where.exclude) if order.places else "",
        "regions": " ".join(regions) or run.hub.region,
        "target": f"{key}={','.join(values)}",
        "platform": asked.platform,
        "locations_at_once": " ".join(place.concurrency for place in order.places) or "1",
        "nodes_at_once": order.concurrency,
        "reboot": order.parameters["RebootOption"][0] if run.operation is Operation.INSTALL else "no",
    }


def _start(ports: Ports, run: Run, *, alone: bool) -> Run | None:
    if alone:
        return replace(run, execution=ports.fleets.start(run))
    return schedules.run_now(ports, run, because=f"{run.by} asked for it")


@schedule.command("history")
@click.argument("name")
@click.option("--last", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many lines.")
@form_option
@click.pass_obj
def schedule_history(scope: Scope, name: str, last: int, form: str) -> None:
    """What schedule NAME did, the newest line first; a run that ended tells its nodes by outcome."""
    ports = scope.ports()
    lines = [line for _, line in zip(range(last), schedules.history(ports, name), strict=False)]
    if not lines:
        _schedule(ports.policies.active(), name)
        output.note(f"nothing is recorded about {name} yet: the service looks every five minutes")
    whole = [_whole(ports, line) for line in lines] if form == "json" else None
    output.rows([_line(line) for line in lines], _HISTORY, form=form, whole=whole)


_HISTORY = ("at", "what", "operation", "execution", "ok", "failed", "skipped", "unread", "by", "because")


def _whole(ports: Ports, line: Entry) -> dict[str, Any]:
    """The entry with what each location came to, which is kept next to it."""
    told = line.to_json()
    run = Book.from_json(line.value).run
    if line.what == "ended" and run:
        counts = {**run.counts, "places": schedules.places_of(ports, run)}
        told["value"] = {**line.value, "run": {**line.value["run"], "counts": counts}}
    return told


def _line(line: Entry) -> dict[str, Any]:
    run = Book.from_json(line.value).run
    ran = run if line.what in ("intended", "started", "ended", "withdrawn") else None
    counts = {name: ran.counts.get(name) for name in ("ok", "failed", "skipped", "unread")} if ran else {}
    return {
        "at": format_moment(line.at),
        "what": line.what,
        "operation": ran.operation.value if ran else None,
        "execution": ran.execution if ran else None,
        **counts,
        "by": line.actor,
        "because": line.because,
    }


@schedule.command("members")
@click.option("--account", help="Only this account.")
@click.option("--schedule", "name", help="Only the nodes that are in this schedule.")
@click.option("--all", "every", is_flag=True, help="Also the nodes that are in exactly one installing schedule.")
@form_option
@click.pass_obj
def schedule_members(scope: Scope, account: str | None, name: str | None, every: bool, form: str) -> None:
    """Which nodes are in which schedules, read from their accounts; exit 3 if a node is in none, or in several.

    Nodes join by their tag PatchSchedule or by whatever else a schedule targets. Only schedules that install count:
    `state` is none, one, several, or unknown for a tag that names no schedule. Units are looked up in the organisation,
    resource groups in each account. What could not be looked up is said and ends with exit 1; a schedule that is in
    doubt for it stands with a question mark, and counts as one.
    """
    ports = scope.aws("schedule members")
    policies = ports.policies.active()
    places = [one for one in policies.settings.locations if account in (None, one.account)]
    if not places:
        raise click.BadParameter(f"{account} is not in the scope of the policies", param_hint="--account")
    if name:
        _schedule(policies, name)
    census = members(ports, policies, places)
    found = [one for one in census.nodes if not name or name in _names(one)]
    shown = found if every or name or form != "table" else [one for one in found if one["state"] != "one"]
    output.rows(shown, ("node", "name", "tag", "state", "installs", "scans"), form=form)
    for what in (*census.missing, *census.unread):
        output.note(what)
    if form == "table":
        counts = {state: sum(one["state"] == state for one in found) for state in _STATES}
        output.note(
            ", ".join(f"{counts[state]} in {state}" for state in _STATES[:3]) + f", {counts['unknown']} unknown"
        )
    sys.exit(FAILURE if census.unread else FINDINGS if any(one["state"] != "one" for one in found) else 0)


_STATES = ("one", "none", "several", "unknown")


def _names(one: Mapping[str, Any]) -> list[str]:
    return f"{one['installs']} {one['scans']}".replace("?", "").split()
