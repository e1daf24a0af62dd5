"""Starting: from what was asked to lists in the bucket, a policy in force, an entry in the journal and open cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from chalicelib import emergency, seek, wiring
from chalicelib.core.emergencies import STOPPED, Emergency
from chalicelib.core.errors import Denied, PatchwardenError, PolicyError, Temporary
from chalicelib.core.overrides import PatchList, text_of
from chalicelib.core.policies import PolicySet
from chalicelib.ports import Ports, Shelf
from patchwarden.emergencies import writing
from patchwarden.emergencies.asking import Wanted
from patchwarden.emergencies.radius import Radius, survey
from patchwarden.emergencies.resolving import Resolved, lists_of, resolve, system
from patchwarden.policy.compile import Directory, compiled, read_directory, with_policy
from patchwarden.policy.lint import check_directory
from patchwarden.policy.publish import publish
from patchwarden.policy.sets import revision_of


@dataclass(frozen=True, slots=True)
class Draft:
    """An emergency before anything is written: what it would be, whom it meets, and the set with it."""

    asked: Wanted
    emergency: Emergency
    radius: Radius
    resolved: Resolved
    before: PolicySet
    after: PolicySet
    least: int


def sound(directory: Path, active: PolicySet, now: datetime) -> Directory:
    """The policy files, if they are what is in force: an emergency publishes nothing else beside itself."""
    read = read_directory(directory, now=now)
    if not read.sound:
        problems = "\n".join(problem.text() for problem in read.problems)
        raise click.ClickException(f"{directory} has problems, and nothing was started:\n{problems}")
    digest = str(compiled(read)["digest"])
    if digest != active.digest:
        raise click.ClickException(
            f"{directory} is the set {digest[:12]}, in force is {active.digest[:12]}: check out what is in force, or "
            "publish what you have first: an emergency must not bring anything else with it"
        )
    return read


def draft(ports: Ports, asked: Wanted, directory: Path, files: Directory, now: datetime) -> Draft:
    """Read the fleet and decide about every node in scope; writes nothing but a copy of the policies."""
    before = ports.policies.active()
    places = [place for place in before.settings.locations if asked.scope.at(place)]
    if not places:
        raise click.BadParameter(f"{asked.scope} is no account and Region of _set.yaml", param_hint="--scope")
    resolved = resolve(ports, places, asked)
    if not resolved.named:
        raise click.ClickException(unresolved(resolved))
    try:
        lists = lists_of(resolved)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    one = Emergency(asked.id, asked.cves, lists, asked.scope, now, asked.expires, asked.by, asked.because,
                    asked.only_lacking)  # fmt: skip
    after = _tried(directory, files, asked, one, now)
    assert files.rules is not None, "a sound directory has rules"
    radius = survey(ports, places, one, before, after, now)
    _all_there(asked, radius)
    return Draft(asked, one, radius, resolved, before, after, max(2, files.rules.tests.at_least))


def _all_there(asked: Wanted, radius: Radius) -> None:
    """A system that no node in scope reports is mistyped: its nodes would get another version, or none."""
    there = {system(row.seen.state) for row in radius.rows}
    names = ", ".join(sorted(there)) or "none"
    unread = f"; {len(radius.unread)} could not be read" if radius.unread else ""
    for name in sorted({name for name, _ in asked.own} - there):
        raise click.BadParameter(
            f"no node in scope reports the operating system {name!r}: they report {names}{unread}",
            param_hint="--package",
        )


def unresolved(resolved: Resolved) -> str:
    """Which CVEs no scan knows, and what to do."""
    where = f" ({len(resolved.unread)} places could not be read)" if resolved.unread else ""
    return (
        f"no scan in this scope says what fixes {', '.join(resolved.unknown)}{where}: name the patches of the vendor's "
        "advisory with --kb or --package, or have the nodes scanned first; a patch that is not missing names no CVE"
    )


def _tried(directory: Path, files: Directory, asked: Wanted, one: Emergency, now: datetime) -> PolicySet:
    """The set with the emergency in it; ClickException with what is wrong with its policy."""
    with writing.copied(directory) as copy:
        path = copy / f"{one.id}.yaml"
        path.write_text(writing.text_of(writing.policy_of(asked, one)), encoding="utf-8")
        after, problems = with_policy(files, path, now)
    if problems:
        raise click.ClickException("\n".join(f"{asked.id}: {one.what}; {one.hint}" for one in problems))
    return after


def begin(
    ports: Ports, shelf: Shelf, made: Draft, directory: Path
) -> tuple[Emergency, list[Path], int, dict[str, str]]:
    """Store the lists, write and publish the policy, enter the start, and open a case for every node it meets.

    The emergency, the files written, the cases opened, and the places where none could be, with the reason.
    """
    now = ports.clock.now()
    one = replace(made.emergency, lists=tuple(_stored(ports, each) for each in made.emergency.lists), since=now)
    policy = writing.policy_of(made.asked, one)
    with writing.copied(directory) as copy:
        after, _ = with_policy(read_directory(copy), _first(copy, policy), now)
        tests = writing.tests_of(one, made.radius, after, made.least, now)
        policy = {**policy, "tests": tests["tests"]}
        writing.write(copy, policy, tests["fixtures"])
        checked = check_directory(copy, now=now)
        if checked.errors:
            told = "\n".join(each.text() for each in checked.found)
            raise click.ClickException(f"the policy of {one.id} does not hold, and nothing was started:\n{told}")
        document = compiled(read_directory(copy))
    last = ports.ledger.active_policies()
    if last and last.digest != made.before.digest:
        raise click.ClickException(
            "another policy set was published meanwhile, so nothing was started: look again and repeat"
        )
    emergency.begin(ports, one)
    files = writing.write(directory, policy, tests["fixtures"])
    try:
        publish(ports.ledger, shelf, document, last, by=one.by, because=f"{one.id}: {one.because}", now=now,
                revision=revision_of(directory), summary=None)  # fmt: skip
    except PatchwardenError as error:
        emergency.end(ports, one.id, STOPPED, by="patchwarden", because=f"its policy could not be published: {error}")
        for path in files:
            path.unlink(missing_ok=True)
        raise
    opened, failed = _opened(replace(ports, policies=wiring.fixed(PolicySet.load(document))), one, made.radius)
    return one, files, opened, failed


def _first(copy: Path, policy: dict[str, object]) -> Path:
    path = copy / "emergency.tmp"
    path.write_text(writing.text_of(policy), encoding="utf-8")
    return path


def _stored(ports: Ports, part: PatchList) -> PatchList:
    return replace(part, version_id=ports.lists.put(part.list, text_of(part.named)))


def _opened(ports: Ports, one: Emergency, radius: Radius) -> tuple[int, dict[str, str]]:
    """What could not be opened now is opened by the next sweep. Nobody is asked again who was just asked."""
    places = [place for place in ports.policies.active().settings.locations if one.scope.at(place)]
    known = {row.seen.node: row.seen for row in radius.rows}
    made = ports.crew.together([partial(seek.find, ports, place, one, None, known) for place in places])
    failed = {str(place): str(each) for place, each in zip(places, made, strict=True)
              if isinstance(each, Temporary | Denied)}  # fmt: skip
    return sum(each.opened for each in made if isinstance(each, seek.Found)), failed


def switch_off(ports: Ports, shelf: Shelf, id: str, *, by: str, because: str) -> str | None:
    """Publish the set in force with the emergency's policy off; its digest, or None if no such policy counts.

    It is made of the published document itself, so that nobody needs the files to stop what runs.
    """
    import json

    from chalicelib.core.compiled import digest_of

    last = ports.ledger.active_policies()
    if last is None:
        return None
    try:
        document = json.loads(shelf.get(last.digest))
    except ValueError as error:
        raise PolicyError(f"the set {last.digest[:12]} does not load: {error}") from error
    wanted = [one for one in document["policies"] if one["id"] == id and one["mode"] == "enforce"]
    if not wanted:
        return None
    wanted[0]["mode"] = "off"
    document["digest"] = digest_of(document)
    publish(ports.ledger, shelf, document, last, by=by, because=f"{id} stopped: {because}", now=ports.clock.now())
    return str(document["digest"])
