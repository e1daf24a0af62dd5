"""The commands `emergency start`, `status`, `stop` and `list`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chalicelib import emergency as journal
from chalicelib.core.emergencies import STOPPED, Emergency
from chalicelib.core.errors import PatchwardenError
from chalicelib.core.moments import format_moment
from chalicelib.core.overrides import text_of
from chalicelib.ports import Ports, Shelf
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import FAILURE, FINDINGS, REFUSED, Scope, by_option, form_option
from patchwarden.when import WHEN, When

if TYPE_CHECKING:
    from patchwarden.emergencies.radius import Radius
    from patchwarden.emergencies.standing import Progress
    from patchwarden.emergencies.starting import Draft

_DIRECTORY = click.option("--policies", "directory", default=Path("policies"), show_default=True,
                          type=click.Path(path_type=Path, file_okay=False), help="The policy files.")  # fmt: skip
_BY = by_option("Who decides this.")


@click.group(cls=Group)
def emergency() -> None:
    """Bring named patches onto nodes now, whatever baselines and windows say, and prove it by the patches' names."""


@emergency.command("start")
@click.option(
    "--cve", "cves", multiple=True, metavar="CVE", help="What must be fixed; the nodes' scans say by which patches."
)
@click.option("--kb", "kbs", multiple=True, metavar="KB", help="A Windows update, such as KB5035849.")
@click.option("--package", "packages", multiple=True, metavar="NAME=VERSION[@SYSTEM]",
              help="A Linux package from its first fixed version on; for one system only if it is named.")  # fmt: skip
@click.option("--scope", "where", multiple=True, required=True, metavar="SCOPE",
              help="all, account=ID, region=NAME, platform=linux, tag:KEY=VALUE; more than once too.")  # fmt: skip
@click.option("--waves", multiple=True, metavar="WAVES",
              help="'PatchRing=canary 30m, 10% 1h 1, 100%' or none; one node, 10%, all if absent.")  # fmt: skip
@click.option("--reboot", type=click.Choice(["if-needed", "never"]), default="if-needed", show_default=True,
              help="Whether a node may reboot at once.")  # fmt: skip
@click.option("--expires", type=WHEN, default="72h", show_default=True,
              help="When it ends by itself: a moment, or a span from now.")  # fmt: skip
@click.option("--through", multiple=True, metavar="FREEZE", help="A freeze of _set.yaml that does not hold it.")
@click.option("--only-lacking", is_flag=True, help="Leave nodes alone whose scan says nothing of the patches.")
@click.option("--severity", type=click.IntRange(1, 4), default=1, show_default=True, help="Of its tickets.")
@click.option("--owner", default="secops@example.com", show_default=True, help="Who answers for its policy.")
@click.option("--because", "--reason", "because", required=True, help="Why; it stands in every trail.")
@click.option("--id", "name", metavar="emergency-NAME", help="What it is called; by its CVE or first patch if absent.")
@_DIRECTORY
@_BY
@click.option("--dry-run", is_flag=True, help="Show whom it meets, and write nothing.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@form_option
@click.pass_obj
def emergency_start(
    scope: Scope, /, cves: Sequence[str], kbs: Sequence[str], packages: Sequence[str], where: Sequence[str],
    waves: Sequence[str], name: str | None, expires: When, directory: Path, dry_run: bool, yes: bool, form: str,
    through: Sequence[str], **given: Any,
) -> None:  # fmt: skip
    """Show whom it meets, ask, and start: lists in the bucket, a policy in force, a case for every node.

    Reads the scans of every node in scope. Exit 1 if a place could not be read, 4 if you do not say yes, or if no
    node is met.
    """
    from patchwarden.emergencies.asking import wanted
    from patchwarden.emergencies.starting import begin, draft, sound

    ports = scope.ports()
    now = ports.clock.now().replace(microsecond=0)
    asked = wanted(cves=cves, kbs=kbs, packages=packages, scope=where, waves=waves, expires=expires, name=name, now=now,
                   through=tuple(through), **given)  # fmt: skip
    scope.aws("emergency start")
    if not directory.is_dir():
        raise click.BadParameter(f"there is no directory {directory}", param_hint="--policies")
    shelf = _shelf(scope)
    _refuse_if_running(ports, asked.id)
    read = sound(directory, ports.policies.active(), now)
    output.note("reading what the nodes' last scans say: one call for each node, many places at the same time")
    made = draft(ports, asked, directory, read, now)
    _show(made, form)
    if dry_run:
        output.note("nothing was written: this was a dry run")
        sys.exit(FAILURE if made.radius.unread else 0)
    if not made.radius.met:
        _refused(nobody(made.radius))
    count = sum(row.outcome in ("starts", "waits") for row in made.radius.met)
    if not yes and not click.confirm(
        f"Start {asked.id} on {output.counted(count, 'node')} until {format_moment(asked.expires)}?", err=True
    ):
        _refused("nothing was started")
    one, files, opened, failed = begin(ports, shelf, made, directory)
    for path in files:
        output.note(f"written: {path}")
    output.note(f"{one.id} is in force within a minute: cases opened: {opened}. Commit the files above, and watch it: "
                f"patchwarden emergency status {one.id}")  # fmt: skip
    for place, why in failed.items():
        output.note(f"no case could be opened in {place}, the next sweep tries again: {why}")
    sys.exit(FAILURE if failed else 0)


def _shelf(scope: Scope) -> Shelf:
    shelf = scope.shelf()
    if shelf is None:
        raise click.ClickException("no emergency can start here: set PATCHWARDEN_POLICY_BUCKET to a versioned bucket")
    return shelf


def _refused(why: str) -> None:
    output.note(f"Error: {why}")
    sys.exit(REFUSED)


def nobody(radius: Radius) -> str:
    """Why nothing is started where no node is met; nobody may take what was not read for patched."""
    if not radius.unread:
        return "no node in scope is without these patches, so nothing was started"
    return f"nothing was started: no node that was read lacks these patches, but {len(radius.unread)} could not be read"


def _refuse_if_running(ports: Ports, id: str) -> None:
    one = journal.named(ports.ledger, id)
    if one and one.in_force(ports.clock.now()):
        since = format_moment(one.since)
        _refused(
            f"{id} runs since {since}: look with patchwarden emergency status {id}, end it with "
            f"patchwarden emergency stop {id}, or give this one another --id"
        )


def _show(made: Draft, form: str) -> None:
    radius = made.radius
    if form == "json":
        told = {**radius.to_json(), "emergency": made.emergency.to_json(), "unresolved": list(made.resolved.unknown)}
        click.echo(json.dumps(told, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        output.rows(radius.summary() if form == "table" else [row.to_json() for row in radius.rows],
                    _GROUPS if form == "table" else _NODES, form=form)  # fmt: skip
    if form == "table":
        _details(made)
    if made.resolved.unknown and made.resolved.named:
        from patchwarden.emergencies.starting import unresolved

        output.note(unresolved(made.resolved))
    for place, why in {**made.resolved.unread, **radius.unread}.items():
        output.note(f"{place} could not be read, so its nodes are not counted: {why}")


_GROUPS = ("account", "region", "platform", "cluster", "nodes", "lacks", "pending", "unsaid", "has", "starts",
           "tickets", "stopped", "silent")  # fmt: skip
_NODES = ("node", "platform", "cluster", "standing", "reach", "outcome", "wave", "window", "says", "because")


def _details(made: Draft) -> None:
    """The lists word by word, and what a person must know before saying yes."""
    radius = made.radius
    for part in made.emergency.lists:
        system = part.system or f"{part.platform}, any version"
        output.note(f"For {system}, list {part.list[:12]}:")
        for line in text_of(part.named).decode().splitlines():
            output.note(f"  {line}")
    turns = [row.to_json() for row in radius.met if row.outcome not in ("starts", "waits")]
    if turns:
        output.table(turns[:20], ("node", "outcome", "because"), "Not started: a person's turn")
        if len(turns) > 20:
            output.note(f"and {len(turns) - 20} more: -o json lists them all")
    for line in sentences(radius):
        output.note(line)


def sentences(radius: Radius) -> list[str]:
    """Windows and freezes, who cannot be reached, exempt nodes, and the waves, one line each."""
    told, totals = radius.to_json(), radius.to_json()["totals"]
    lines = [f"{totals['starts']} of {_nodes(totals['nodes'])} start, on {totals['has']} the patches are already"]
    if totals["unsaid"]:
        lines.append(
            f"the scans of {_nodes(totals['unsaid'])} say nothing of the patches: they are installed where they apply; "
            "--only-lacking leaves these alone"
        )
    lines += [f"window {name} is overridden for {_nodes(count)}" for name, count in sorted(told["windows"].items())]
    for name, how in told["freezes"].items():
        lines.append(f"freeze {name} {how}" + ("" if how.startswith("overridden") else f" (--through {name})"))
    if totals["exempt"]:
        lines.append(f"exempt and exposed: {_nodes(totals['exempt'])}; each is a ticket, and stays as it is")
    if totals["stopped"] or totals["silent"]:
        lines.append(
            f"stopped, so that they wait until they run: {totals['stopped']}; without an answer: {totals['silent']}"
        )
    lines += [f"wave {one['wave']} ({one['who']}): {_nodes(one['nodes'])}" for one in told["waves"]]
    return lines


def _nodes(count: int) -> str:
    return f"{count} node" if count == 1 else f"{count} nodes"


@emergency.command("status")
@click.argument("id", required=False)
@form_option
@click.pass_obj
def emergency_status(scope: Scope, id: str | None, form: str) -> None:
    """How emergency ID goes (the only one that runs if absent). Exit 3 while a node is not verified."""
    from patchwarden.emergencies.standing import progress

    ports = scope.ports()
    one = _the(ports, id)
    view, now = progress(ports.ledger, one), ports.clock.now()
    told = view.to_json(now)
    output.rows(view.places(), _PLACES, form=form, whole=told)
    if form == "table":
        _told(view, told)
    if one.in_force(now) and not any(policy.id == one.id for policy in ports.policies.active().enforced.policies):
        output.note(f"Error: {one.id} is not in the policy set in force, so nothing of it starts: somebody published "
                    f"without its file; commit {one.id}.yaml with its fixtures and publish")  # fmt: skip
    left = len(view.cases) - view.verified - view.states().get("gone", 0)
    sys.exit(FINDINGS if left else 0)


_PLACES = ("place", "nodes", "verified", "running", "queued", "waiting", "reboot", "ticket", "observed", "gone")


def _told(view: Progress, told: dict[str, Any]) -> None:
    if told["stuck"]:
        output.table(told["stuck"][:30], ("node", "state", "due", "ticket", "because"), "Not moving by themselves")
        if len(told["stuck"]) > 30:
            output.note(f"and {len(told['stuck']) - 30} more: -o json lists them all")
    said = f": {told['said']}" if told["said"] else ""
    output.note(
        f"{told['emergency']} {told['state']} for {told['for']}, until {told['expires']}, by {told['by']}{said}"
    )
    verified = f"{view.verified} of {output.counted(len(view.cases), 'node')}"
    output.note(f"{verified} {'is' if view.verified == 1 else 'are'} verified by the names of the patches")
    rollout = view.rollout
    if rollout:
        stopped = f", stopped: {rollout['stopped']}" if rollout["stopped"] else ""
        output.note(f"wave {rollout['wave']} of {rollout['of']}{stopped} ({rollout['because']})")
    if not view.cases:
        output.note("no case is open yet: the sweep looks every fifteen minutes")


def _the(ports: Ports, id: str | None) -> Emergency:
    """The emergency of that id, or the only one that runs."""
    from patchwarden.policy.problems import near_or_all

    known, now = journal.known(ports.ledger), ports.clock.now()
    if id is None:
        running = [one for one in known.values() if one.in_force(now)]
        if len(running) == 1:
            return running[0]
        names = ", ".join(one.id for one in running)
        raise click.UsageError(f"name one of {names}" if names else "no emergency runs: patchwarden emergency list")
    if id not in known:
        hint = near_or_all(id, known) if known else "there never was one"
        raise click.BadParameter(f"there is no emergency {id!r}: {hint}", param_hint="ID")
    return known[id]


@emergency.command("stop")
@click.argument("id")
@click.option(
    "--because", "--reason", "because", required=True, help="Why; it stands in the journal and in every trail."
)
@_DIRECTORY
@_BY
@click.pass_obj
def emergency_stop(scope: Scope, id: str, because: str, directory: Path, by: str) -> None:
    """End emergency ID: from the next round on nothing more of it starts; what runs goes on to its end.

    Works without the policy files: the set in force is published anew with the policy off.
    """
    from patchwarden.emergencies import starting, writing
    from patchwarden.emergencies.standing import progress

    ports = scope.ports()
    one = _the(ports, id)
    ended = journal.end(ports, one.id, STOPPED, by=by, because=because)
    if ended is None:
        output.note(f"{id} was stopped already: {one.said}")
    else:
        output.note(f"{id} is stopped: nothing more of it starts")
    running = progress(ports.ledger, one).running
    if running:
        executions = sorted({str(case.execution) for case in running if case.execution})
        output.note(f"{len(running)} nodes are in work and go on to their end ({', '.join(executions)}); to stop those "
                    f"too: patchwarden pause --policy {id} --stop-running --reason ...")  # fmt: skip
    try:
        digest = starting.switch_off(ports, _shelf(scope), id, by=by, because=because)
    except PatchwardenError as error:
        output.note(f"Error: its policy is still in force, though nothing starts by it: {error}; repeat this command")
        sys.exit(FAILURE)
    output.note(f"its policy is off in the set {digest[:12]}, in force within a minute" if digest else
                "no policy of it is in force")  # fmt: skip
    path = writing.switch_off(directory, id) if directory.is_dir() else None
    if path:
        output.note(f"written: {path} (mode: off); commit it")


@emergency.command("list")
@form_option
@click.pass_obj
def emergency_list(scope: Scope, form: str) -> None:
    """Every emergency there ever was, the newest first."""
    from patchwarden.emergencies.standing import head

    ports = scope.ports()
    known = sorted(journal.known(ports.ledger).values(), key=lambda one: one.since, reverse=True)
    output.rows([head(one, ports.clock.now()) for one in known], _LIST, form=form,
                empty="there never was an emergency")  # fmt: skip


_LIST = ("emergency", "state", "since", "for", "expires", "scope", "by", "because", "said")
