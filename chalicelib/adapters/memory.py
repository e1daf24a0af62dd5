"""The ledger in memory: the twin that tests and simulations run on; deterministic, and gone with the process."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any

from chalicelib.core.chain import GENESIS
from chalicelib.core.errors import Stale
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment, stored
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Change, Kept

_OPEN = frozenset({BatchState.INTENDED, BatchState.STARTED})


class MemoryLedger:
    """The port `Ledger` over dictionaries."""

    def __init__(self) -> None:
        self._trails: dict[str, list[Transition]] = {}
        self._heads: dict[str, Remediation] = {}
        self._turn: dict[str, str] = {}
        self._turns: dict[State, list[str]] = {state: [] for state in State}
        self._whose: dict[str, Remediation] = {}
        self._leases: dict[str, str] = {}
        self._errands: dict[str, Errand] = {}
        self._batches: dict[str, Batch] = {}
        self._served: dict[tuple[Location, str], str] = {}
        self._publications: list[Publication] = []
        self._journal: dict[str, list[Entry]] = {}
        self._kept: dict[str, Kept] = {}
        self._marks: set[str] = set()

    def head(self, remediation: str) -> Remediation | None:
        return self._heads.get(remediation)

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        return {each: self._heads[each] for each in remediations if each in self._heads}

    def trail(self, remediation: str) -> list[Transition]:
        return list(self._trails.get(remediation, ()))

    def append(self, change: Change) -> None:
        line = change.line
        if self._written(line):
            return
        head = self._heads.get(line.remediation)
        end = (head.number, head.hash) if head else (0, GENESIS)
        lost = ", ".join(change.lost(end, self._leases.get, self._errands.__contains__))
        if lost:
            raise Stale(f"line {line.number} of {line.remediation} is too late for {lost}")
        self._trails.setdefault(line.remediation, []).append(line)
        self._replace_head(change.head)
        self._leases |= dict.fromkeys(change.take, line.remediation)
        for name in change.give:
            del self._leases[name]
        if change.owes:
            self._errands[change.owes.id] = _as_stored(change.owes)
        if change.done:
            del self._errands[change.done]

    def _written(self, line: Transition) -> bool:
        lines = self._trails.get(line.remediation, [])
        return 0 < line.number <= len(lines) and lines[line.number - 1].hash == line.hash

    def _replace_head(self, case: Remediation) -> None:
        old, turn = self._heads.get(case.id), case.turn
        if old:
            turns, before = self._turns[old.state], self._turn[case.id]
            del turns[bisect_left(turns, before)], self._whose[before]
        insort(self._turns[case.state], turn)
        self._turn[case.id] = turn
        self._whose[turn] = self._heads[case.id] = case

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        last = "~~" if before is None else f"{format_moment(before)}$"
        due = [turn for state in set(states) for turn in self._turns[state][: bisect_right(self._turns[state], last)]]
        return iter([self._whose[turn] for turn in sorted(due)])

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        behind = [self._turns[state][bisect_right(self._turns[state], after or "") :][:limit] for state in set(states)]
        return [self._whose[turn] for turn in sorted(chain.from_iterable(behind))[:limit]]

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        lines = [line for trail in self._trails.values() for line in trail
                 if line.at.date() == day and (since is None or line.at >= since)]  # fmt: skip
        return iter(sorted(lines, key=lambda line: (line.at, line.remediation, line.number)))

    def counts(self) -> dict[State, int]:
        return {state: len(turns) for state, turns in self._turns.items() if turns}

    def held(self) -> Iterator[Remediation]:
        return (case for case in self.work(set(State) - {State.RESOLVED, State.GONE}) if case.held)

    def named(self, node: str) -> list[str]:
        return sorted(identity for identity, case in self._heads.items() if case.node.id == node)

    def newest(self, day: date) -> Iterator[Transition]:
        return reversed([*self.day(day)])

    def all_heads(self) -> Iterator[Remediation]:
        return iter(list(self._heads.values()))

    def lease(self, name: str) -> str | None:
        return self._leases.get(name)

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        new, old = Batch.from_json(batch.to_json()), self._batches.get(batch.id)
        if old == new:
            return
        if (old.state.value if old else None) != expected:
            raise Stale(f"batch {batch.id} is {old.state if old else 'not there'}, not {expected}")
        self._batches[batch.id] = new
        if new.execution:
            self._served[new.location, new.execution] = new.id

    def batch(self, batch: str) -> Batch | None:
        return self._batches.get(batch)

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        return self._batches.get(self._served.get((location, execution), ""))

    def open_batches(self) -> list[Batch]:
        return sorted((batch for batch in self._batches.values() if batch.state in _OPEN), key=_age)

    def batches_since(self, since: datetime) -> list[Batch]:
        return sorted((batch for batch in self._batches.values() if batch.created_at >= since), key=_age)

    def errands(self, before: datetime) -> list[Errand]:
        due = [errand for errand in self._errands.values() if errand.due <= before]
        return sorted(due, key=lambda errand: (errand.due, errand.id))

    def postpone(self, errand: Errand) -> None:
        if errand.id not in self._errands:
            raise Stale(f"errand {errand.id} is done")
        self._errands[errand.id] = _as_stored(errand)

    def active_policies(self) -> Publication | None:
        return self._publications[-1] if self._publications else None

    def publish(self, publication: Publication) -> None:
        if publication in self._publications:
            return
        last = self.active_policies()
        if publication.previous != (last.hash if last else GENESIS):
            raise Stale(f"publication {publication.number} is too late: another set was published")
        self._publications.append(publication)

    def publications(self) -> list[Publication]:
        return list(self._publications)

    def entry(self, subject: str) -> Entry | None:
        return self._journal[subject][-1] if subject in self._journal else None

    def enter(self, entry: Entry) -> None:
        lines = self._journal.get(entry.subject, [])
        if entry in lines:
            return
        end = (lines[-1].number, lines[-1].hash) if lines else (0, GENESIS)
        if (entry.number - 1, entry.previous) != end:
            raise Stale(f"entry {entry.number} of {entry.subject} is too late: another was written")
        self._journal.setdefault(entry.subject, []).append(replace(entry, value=_copied(entry.value)))

    def entries(self, subject: str) -> list[Entry]:
        return list(self._journal.get(subject, ()))

    def subjects(self, kind: Kind) -> list[Entry]:
        mine = f"{kind}/"
        return [self._journal[subject][-1] for subject in sorted(self._journal) if subject.startswith(mine)]

    def kept(self, name: str) -> Kept | None:
        return self._kept.get(name)

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        version = self._kept[name].version if name in self._kept else 0
        if version != expected:
            raise Stale(f"{name} is not at version {expected}")
        self._kept[name] = Kept(_copied(value), version + 1)

    def mark(self, name: str) -> bool:
        first = name not in self._marks
        self._marks.add(name)
        return first


class MemoryClock:
    """The port `Clock`, standing still until somebody moves it; sleeping moves it too."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.move(timedelta(seconds=seconds))

    def move(self, step: timedelta) -> None:
        self._now += step


def _copied(value: Any) -> Any:
    """The JSON value anew, so that no writer can change what it has written."""
    if isinstance(value, Mapping):
        return {name: _copied(each) for name, each in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def _age(batch: Batch) -> tuple[datetime, str]:
    return batch.created_at, batch.id


def _as_stored(errand: Errand) -> Errand:
    """What a stored ledger would give back: moments to the millisecond."""
    return replace(errand, due=stored(errand.due))
