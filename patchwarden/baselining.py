"""Baselining: what the baselines of a directory would change in each place, changing it, and what drifted since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib import measure
from chalicelib.core.baselines import CONFLICT, Baseline, Step, kept, plan, token
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.nodes import Location
from chalicelib.glance import whole
from chalicelib.ports import Baselines, Ports
from patchwarden.policy.baseline_files import compiled_baseline
from patchwarden.policy.compile import read_directory

UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The baselines of a directory, and every account and Region of its scope."""

    baselines: tuple[Baseline, ...]
    locations: tuple[Location, ...]

    def at(self, location: Location) -> list[Baseline]:
        return [one for one in self.baselines if location in one.locations]


@dataclass(frozen=True, slots=True)
class Place:
    """One account and Region: what is to be done, or was done, there; `trouble` says why that is not all."""

    location: Location
    steps: tuple[Step, ...] = ()
    trouble: str | None = None

    @property
    def conflicts(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.act == CONFLICT)

    def rows(self) -> Iterator[dict[str, Any]]:
        where = {"account": self.location.account, "region": self.location.region}
        for step in self.steps:
            yield {**where, **step.to_json()}
        if self.trouble:
            yield {**where, "act": UNREACHABLE, "id": None, "os": None, "baseline": None, "group": None,
                   "changes": [self.trouble]}  # fmt: skip


def wanted(directory: Path) -> Wanted | list[str]:
    """What the directory asks for, or the sentences of its problems."""
    read = read_directory(directory)
    if not read.sound or read.rules is None:
        return [problem.text() for problem in read.problems]
    rules = read.rules
    baselines = tuple(compiled_baseline(file, rules) for _, (_, file) in sorted(read.baselines.items()))
    locations = tuple(Location(account, region) for account in rules.scope.accounts for region in rules.scope.regions)
    return Wanted(baselines, locations)


def survey(port: Baselines, asked: Wanted, locations: Iterable[Location]) -> Iterator[Place]:
    """What is to be done in each place; one that does not answer says so and the others go on."""
    for location in locations:
        try:
            yield Place(location, plan(asked.at(location), port.seen(location)))
        except (Temporary, Denied) as error:
            yield Place(location, trouble=str(error))


def apply(
    ports: Ports, port: Baselines, asked: Wanted, location: Location, *, by: str, because: str
) -> Place:  # fmt: skip
    """Do in one place what is to be done, and write into the journal what holds there from now on.

    Doing it again does nothing and writes nothing. What was done before a failure is in the journal too.
    """
    done: list[Step] = []
    subject = subject_of(Kind.BASELINE, str(location))
    try:
        last = ports.ledger.entry(subject)
        steps = plan(asked.at(location), port.seen(location))
        trouble = _do(port, asked.at(location), location, steps, done, (last.number if last else 0) + 1)
        _write(ports, last, subject, kept(asked.at(location), port.seen(location)), done, by=by, because=because)
    except (Temporary, Denied) as error:
        return Place(location, tuple(done), str(error))
    except Stale as error:
        return Place(location, tuple(done), f"{error}: somebody else applies here too; look again and repeat")
    return Place(location, (*done, *(step for step in steps if step.act == CONFLICT)), trouble)


def _do(
    port: Baselines, baselines: Sequence[Baseline], location: Location, steps: Sequence[Step], done: list[Step],
    number: int,
) -> str | None:  # fmt: skip
    """Take the steps in their order; the sentence of the first that failed, after which none is taken."""
    files = {one.id: one for one in baselines}
    made: dict[str, str] = {}
    for step in steps:
        if step.act == CONFLICT:
            continue
        try:
            _take(port, location, step, files.get(step.id), made, number)
        except (Temporary, Denied) as error:
            return str(error)
        done.append(step)
    return None


def _take(
    port: Baselines, location: Location, step: Step, file: Baseline | None, made: dict[str, str], number: int
) -> None:
    id = step.baseline or made.get(step.id) or ""
    if step.act == "create" and file:
        made[step.id] = port.create(location, file, token(location, file, number))
    elif step.act == "update" and file:
        port.update(location, id, file)
    elif step.act == "deregister":
        port.deregister(location, id, str(step.group))
    elif step.act == "register":
        port.register(location, id, str(step.group))
    elif step.act == "default":
        port.make_default(location, id)


def _write(
    ports: Ports, last: Entry | None, subject: str, value: dict[str, Any], done: Sequence[Step], *, by: str,
    because: str,
) -> None:  # fmt: skip
    if not done and last is not None and dict(last.value) == value:
        return
    acts = ", ".join(f"{step.act} {step.id}{f' for {step.group}' if step.group else ''}" for step in done)
    told = f"{because}: {acts or 'nothing had to change'}"
    ports.ledger.enter(
        entry(last, subject, "applied", because=told, actor=by, now=ports.clock.now(), value=value)
    )  # fmt: skip


def strangers(ports: Ports, location: Location) -> list[dict[str, Any]]:
    """The nodes of a place whose last scan used another baseline than ours, or of which nobody can say."""
    ids = sorted({one.node.id for one in whole(ports.inventory, location) if one.control is Control.PATCH})
    nodes = {id: node for id, node in ports.inventory.nodes(location, ids).items() if not node.gone}
    scans = ports.inventory.patch_states(location, list(nodes))
    return [
        {
            "account": location.account,
            "region": location.region,
            "act": "other-baseline" if found.ours is False else "unknown-baseline",
            "id": None,
            "os": None,
            "node": id,
            "baseline": scans[id].baseline if id in scans else None,
            "group": scans[id].group if id in scans else None,
            "changes": [found.because],
        }
        for id, found in sorted(measure.verdicts(ports, location, nodes, scans).items())
        if found.ours is not True
    ]
