"""The ledger in one DynamoDB table: a line is put once, a head moves on condition, both in one transaction."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import islice
from typing import Any

from chalicelib.adapters.dynamodb import items
from chalicelib.adapters.dynamodb.items import DAY, FIRST, LAST, WORK, shards
from chalicelib.adapters.dynamodb.table import Key, Table, Write, item
from chalicelib.core.errors import Stale
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Change, Kept

_ABSENT = "attribute_not_exists(pk)"
_PRESENT = "attribute_exists(pk)"
_AT_ONCE, _FEW = 8, 25
"""How many partitions are counted at once, and how many items a page has where few are wanted."""
_OPEN = frozenset({BatchState.INTENDED, BatchState.STARTED})


class DynamoLedger:
    """The port `Ledger` over the table of this name; the client is made when it is first used."""

    def __init__(self, table: str, client: Callable[[], Any] | None = None) -> None:
        self._table = Table(table, client)

    def head(self, remediation: str) -> Remediation | None:
        found = self._table.get(items.head_key(remediation))
        return items.head(found) if found else None

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        found = self._table.get_all(list(map(items.head_key, remediations)))
        return {head.id: head for head in map(items.head, found)}

    def trail(self, remediation: str) -> list[Transition]:
        return list(map(items.line, self._table.under(items.trail_start(remediation))))

    def append(self, change: Change) -> None:
        line = change.line
        writes = list(self._writes(change))
        lost = self._table.transact([write for _, write in writes])
        if lost and not self._written(line):
            names = ", ".join(dict.fromkeys(writes[index][0] for index in lost))
            raise Stale(f"line {line.number} of {line.remediation} is too late for {names}")

    def _writes(self, change: Change) -> Iterator[tuple[str, Write]]:
        """What one transaction writes, each with the words for what moved on if its condition fails."""
        line, case, put, delete = change.line, change.head, self._table.put, self._table.delete
        yield "the line before it", put(items.line_item(line), _ABSENT)
        if line.number == 1:
            yield "the line before it", put(items.head_item(case), _ABSENT)
            yield "its name", put(items.name_item(case))
        else:
            follows = "line_number = :before AND line_hash = :previous"
            yield (
                "the line before it",
                put(items.head_item(case), follows, before={"N": str(line.number - 1)}, previous={"S": line.previous}),
            )
        mine = {"S": line.remediation}
        for name in change.take:
            taken = item(items.lease_key(name), holder=line.remediation)
            yield f"lease {name}", put(taken, f"{_ABSENT} OR holder = :mine", mine=mine)
        for name in change.give:
            yield f"lease {name}", delete(items.lease_key(name), "holder = :mine", mine=mine)
        if change.owes:
            yield f"errand {change.owes.id}", put(items.errand_item(change.owes))
        if change.done:
            yield f"errand {change.done}", delete(items.errand_key(change.done), _PRESENT)

    def _written(self, line: Transition) -> bool:
        """Whether this very line is in the trail: then its answer was lost, and the transaction was not."""
        stored = self._table.get(items.line_key(line))
        return bool(stored and stored["line_hash"]["S"] == line.hash)

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        last = LAST if before is None else f"{format_moment(before)}$"
        partitions = [each for state in sorted(set(states)) for each in shards(state)]
        return map(items.head, self._table.merged(WORK, partitions, FIRST, last))

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        name, partition, sort = WORK
        condition = f"{partition} = :pk AND {sort} > :after"
        streams = [
            islice(self._table.query(condition, name, most=limit, pk=each, after=after or FIRST), limit)
            for state in sorted(set(states))
            for each in shards(state)
        ]
        merged = heapq.merge(*streams, key=lambda each: each[sort]["S"])
        return list(map(items.head, islice(merged, limit)))

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        first = format_moment(since) if since else FIRST
        return map(items.line, self._table.merged(DAY, shards(day.isoformat()), first, LAST))

    def counts(self) -> dict[State, int]:
        """A count reads what it counts, but sends none of it: some 150 pages for 100,000 remediations."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            pairs = [(state, each) for state in State for each in shards(state)]
            counted = pool.map(lambda pair: (pair[0], self._table.count(WORK, pair[1])), pairs)
            found = Counter[State]()
            for state, count in counted:
                found[state] += count
        return {state: count for state, count in sorted(found.items()) if count}

    def held(self) -> Iterator[Remediation]:
        name, partition, sort = WORK
        states = sorted(set(State) - {State.RESOLVED, State.GONE})
        streams = [self._table.query(f"{partition} = :pk", name, without=items.FREE, pk=each)
                   for state in states for each in shards(state)]  # fmt: skip
        return map(items.head, heapq.merge(*streams, key=lambda each: each[sort]["S"]))

    def named(self, node: str) -> list[str]:
        return [found["sk"]["S"] for found in self._table.query("pk = :pk", pk=items.names(node))]

    def newest(self, day: date) -> Iterator[Transition]:
        name, partition, sort = DAY
        streams = [self._table.query(f"{partition} = :pk", name, most=_FEW, newest=True, pk=each)
                   for each in shards(day.isoformat())]  # fmt: skip
        return map(items.line, heapq.merge(*streams, key=lambda each: each[sort]["S"], reverse=True))

    def all_heads(self) -> Iterator[Remediation]:
        return self.work(State)

    def lease(self, name: str) -> str | None:
        found = self._table.get(items.lease_key(name))
        return found["holder"]["S"] if found else None

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        saved, opened = items.batch_item(batch), items.listed_key(items.OPEN, batch)
        here = {"expected": {"S": expected}} if expected else {}
        writes = [
            self._table.put(saved, "batch_state = :expected" if expected else _ABSENT, **here),
            self._table.put(item(items.listed_key(items.BATCHES, batch), id=batch.id)),
            self._table.put(item(opened, id=batch.id)) if batch.state in _OPEN else self._table.delete(opened),
        ]
        if batch.execution:
            writes.append(self._table.put(item(items.served_key(batch.location, batch.execution), id=batch.id)))
        if self._table.transact(writes):
            stored = self.batch(batch.id)
            if stored != items.batch(saved):
                raise Stale(f"batch {batch.id} is {stored.state if stored else 'not there'}, not {expected}")

    def batch(self, batch: str) -> Batch | None:
        found = self._table.get(items.batch_key(batch))
        return items.batch(found) if found else None

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        found = self._table.get(items.served_key(location, execution))
        return self.batch(found["id"]["S"]) if found else None

    def open_batches(self) -> list[Batch]:
        return self._batches(items.OPEN, "0")

    def batches_since(self, since: datetime) -> list[Batch]:
        return self._batches(items.BATCHES, format_moment(since))

    def _batches(self, name: str, since: str) -> list[Batch]:
        keys = [
            items.batch_key(listed["id"]["S"])
            for each in shards(name)
            for listed in self._table.query("pk = :pk AND sk >= :since", pk=each, since=since)
        ]
        return sorted(map(items.batch, self._table.get_all(keys)), key=_age)

    def errands(self, before: datetime) -> list[Errand]:
        """The index may be a moment behind, and a deed must not be done twice: each errand is read once more."""
        listed = self._table.merged(WORK, shards("errand"), FIRST, f"{format_moment(before)}$")
        owed = map(items.errand, self._table.get_all([(each["pk"]["S"], each["sk"]["S"]) for each in listed]))
        return sorted((errand for errand in owed if errand.due <= before), key=lambda errand: (errand.due, errand.id))

    def postpone(self, errand: Errand) -> None:
        if self._table.transact([self._table.put(items.errand_item(errand), _PRESENT)]):
            raise Stale(f"errand {errand.id} is done")

    def active_policies(self) -> Publication | None:
        found = self._table.get(items.ACTIVE)
        return items.publication(found) if found else None

    def publish(self, publication: Publication) -> None:
        key = items.publication_key(publication.number)
        if self._chain(publication, key, items.ACTIVE):
            raise Stale(f"publication {publication.number} is too late: another set was published")

    def publications(self) -> list[Publication]:
        return list(map(items.publication, self._table.under(items.PUBLICATIONS_START)))

    def entry(self, subject: str) -> Entry | None:
        found = self._table.get(items.newest_key(subject))
        return items.entry(found) if found else None

    def enter(self, entry: Entry) -> None:
        if self._chain(entry, items.entry_key(entry), items.newest_key(entry.subject)):
            raise Stale(f"entry {entry.number} of {entry.subject} is too late: another was written")

    def _chain(self, line: Publication | Entry, key: Key, newest: Key) -> bool:
        """Write a line and make it the newest of its chain; whether another came first."""
        texts, first = items.chained(line), line.number == 1
        follows = {} if first else {"previous": {"S": line.previous}}
        lost = self._table.transact([
            self._table.put(item(key, **texts), _ABSENT),
            self._table.put(item(newest, **texts), _ABSENT if first else "line_hash = :previous", **follows),
        ])  # fmt: skip
        if not lost:
            return False
        stored = self._table.get(key)
        return not stored or stored["line_hash"]["S"] != line.hash

    def entries(self, subject: str) -> list[Entry]:
        return list(map(items.entry, self._table.under(items.entries_start(subject))))

    def subjects(self, kind: Kind) -> list[Entry]:
        return list(map(items.entry, self._table.query("pk = :pk", pk=items.newest_of(kind))))

    def kept(self, name: str) -> Kept | None:
        found = self._table.get(items.kept_key(name))
        return items.kept(found) if found else None

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        here = {"expected": {"N": str(expected)}} if expected else {}
        kept = items.kept_item(name, value, expected + 1)
        if self._table.transact([self._table.put(kept, "kept_version = :expected" if expected else _ABSENT, **here)]):
            raise Stale(f"{name} is not at version {expected}")

    def mark(self, name: str) -> bool:
        return not self._table.transact([self._table.put(item(items.mark_key(name)), _ABSENT)])


def _age(batch: Batch) -> tuple[datetime, str]:
    return batch.created_at, batch.id
