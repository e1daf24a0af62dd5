"""Scheduling: start a schedule now, show what its runs came to, and which nodes belong to which schedule."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from chalicelib import pause, schedules
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import NodeState
from chalicelib.core.journal import Entry
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import Book, Run
from chalicelib.core.pauses import Brake
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Operation, Schedule
from chalicelib.ports import Ports
from patchwarden import output
from patchwarden.policy.problems import near_or_all
from patchwarden.policy.schedule_commands import schedule
from patchwarden.scope import FAILURE, FINDINGS, REFUSED, Scope, form_option

TAG = "PatchSchedule"
"""The tag by which the owner of a node joins a schedule."""


@schedule.command("run")
@click.argument("name")
@click.option("--operation", type=click.Choice([word.value for word in Operation]),
              help="Scan or Install; what the schedule says where absent.")  # fmt: skip
@click.option("--only-account", "only", metavar="self|ACCOUNT",
              help="Only where your own credentials belong, without the hub and its journal.")  # fmt: skip
@click.option("--policies", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="With --only-account: read the schedule from these policy files.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Start without asking.")
@click.option("--by", default=getpass.getuser, help="Who asks; it stands in the journal.",
              show_default="the user of this machine")  # fmt: skip
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
@click.option("--all", "every", is_flag=True, help="Also the nodes that are in exactly one installing schedule.")
@form_option
@click.pass_obj
def schedule_members(scope: Scope, account: str | None, every: bool, form: str) -> None:
    """Which nodes are in which schedules, read from their accounts; exit 3 if a node is in none, or in several.

    Nodes join by their tag PatchSchedule or by whatever else a schedule targets. Only schedules that install count:
    `state` is none, one, several, or unknown for a tag that names no schedule. Whether a node is in a resource group or
    an account in a unit is not asked: such schedules stand with a question mark, and count as one.
    """
    ports = scope.aws("schedule members")
    policies = ports.policies.active()
    places = [one for one in policies.settings.locations if account in (None, one.account)]
    if not places:
        raise click.BadParameter(f"{account} is not in the scope of the policies", param_hint="--account")
    found, unread = members(ports, policies, places)
    shown = found if every or form != "table" else [one for one in found if one["state"] != "one"]
    output.rows(shown, ("node", "name", "tag", "state", "installs", "scans"), form=form)
    for place, why in unread.items():
        output.note(f"{place} could not be read: {why}")
    if form == "table":
        counts = {state: sum(one["state"] == state for one in found) for state in _STATES}
        output.note(
            ", ".join(f"{counts[state]} in {state}" for state in _STATES[:3]) + f", {counts['unknown']} unknown"
        )
    sys.exit(FAILURE if unread else FINDINGS if any(one["state"] != "one" for one in found) else 0)


_STATES = ("one", "none", "several", "unknown")


def members(ports: Ports, policies: PolicySet, places: list[Location]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Every managed node with its schedules, and the places that could not be read with the reason."""
    found: list[dict[str, Any]] = []
    unread: dict[str, str] = {}
    for place in places:
        try:
            nodes = ports.inventory.nodes(place, ports.fleets.managed(place))
        except (Temporary, Denied) as error:
            unread[str(place)] = str(error)
            continue
        found += [_member(policies, place, node) for node in nodes.values() if not node.gone]
    return found, unread


def _member(policies: PolicySet, place: Location, node: NodeState) -> dict[str, Any]:
    tags = node.tags or {}
    joined = {one.id: word for one in policies.schedules if one.enabled and (word := _joins(one, place, node, tags))}
    by_id = {one.id: one for one in policies.schedules}
    installs = [f"{name}{mark}" for name, mark in _marked(joined) if by_id[name].operation is Operation.INSTALL]
    scans = [f"{name}{mark}" for name, mark in _marked(joined) if by_id[name].operation is Operation.SCAN]
    state = "none" if not installs else "one" if len(installs) == 1 else "several"
    if tags.get(TAG) is not None and tags[TAG] not in by_id:
        state = "unknown"
    return {"node": f"{place}/{node.id}", "name": tags.get("Name", ""), "tag": tags.get(TAG, ""), "state": state,
            "installs": " ".join(installs), "scans": " ".join(scans)}  # fmt: skip


def _marked(joined: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, "" if word == "yes" else "?") for name, word in joined.items())


def _joins(one: Schedule, place: Location, node: NodeState, tags: Mapping[str, str]) -> str | None:
    """`yes`, `maybe` where nobody has asked the organisation or the resource group, or None."""
    where, target = one.where, one.target
    listed = place.account in where.accounts
    if place.account in where.exclude or place.region not in where.regions or not (listed or where.units):
        return None
    if one.platform != "all" and (node.platform or "").lower() != one.platform:
        return None
    if target.kind == "tag" and tags.get(str(target.name)) not in target.values:
        return None
    return "yes" if listed and target.kind != "resource_group" else "maybe"
