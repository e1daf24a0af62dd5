"""The ledger in one DynamoDB table: a line is put once, a head moves on condition, both in one transaction.

pk                        sk             what it is                           index
R#<remediation>           T#<number>     a line of the trail                  day
R#<remediation>           HEAD           what the lines add up to             work
L#<name>                  LEASE          who holds it
E#<errand>                ERRAND         a deed owed to the ticket system     work
B#<batch>                 BATCH          the batch
X#<location>#<execution>  BATCH          which batch an execution serves
OPEN#<shard>              <time>#<batch> a batch that has not ended
BATCHES#<shard>           <time>#<batch> every batch
POLICIES                  P#<number>     a line of the trail of policy sets
POLICIES                  ACTIVE         the last of them, whose set is in force
J#<subject>               E#<number>     a line of the journal
JOURNAL#<kind>            <subject>      the newest of the subject's lines
K#<name>                  KEPT           a cursor or a count, with its version
M#<name>                  MARK           something that is done once
N#<node>                  <remediation>  a remediation of a node that has this bare id
"""

from __future__ import annotations

import heapq
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from itertools import islice
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import MAKING, Refusal, botocore_session, configuration, translating
from chalicelib.core.chain import canonical
from chalicelib.core.errors import Stale, Temporary
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Change, Kept

_WORK = ("work", "work_pk", "work_sk")
_DAY = ("day", "day_pk", "day_sk")
_TEXTS = ("pk", "sk", *_WORK[1:], *_DAY[1:])


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


TABLE: dict[str, Any] = {
    "KeySchema": _keys("pk", "sk"),
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in _TEXTS],
    "GlobalSecondaryIndexes": [
        {"IndexName": name, "KeySchema": _keys(partition, sort), "Projection": {"ProjectionType": "ALL"}}
        for name, partition, sort in (_WORK, _DAY)
    ],
    "BillingMode": "PAY_PER_REQUEST",
}
"""The table, in words that CreateTable and AWS::DynamoDB::Table share; only its name is missing.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html
"""

SHARDS = 4
"""Partitions that one state, one day or the open batches are spread over; a partition takes 1,000 writes a second.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html
"""
_MOST_KEYS = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
_TRIES = 5
_FREE = '"held":null'
"""So says the canonical JSON of what nothing holds; in a text of somebody's the quotes would be escaped."""
_AT_ONCE, _FEW = 8, 25
"""How many partitions are counted at once, and how many items a page has where few are wanted."""
_OPEN = frozenset({BatchState.INTENDED, BatchState.STARTED})
_FIRST, _LAST = "!", "~~"

Item = dict[str, dict[str, str]]


class DynamoLedger:
    """The port `Ledger` over the table of this name; the client is made when it is first used."""

    def __init__(self, table: str, client: Callable[[], Any] | None = None) -> None:
        self._table = table
        self._connect = client or _client
        self._connected: Any = None

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        with translating(f"ledger table {self._table} dynamodb:{operation}"):
            answer: dict[str, Any] = getattr(self._connected or self._connection(), operation)(**parameters)
        return answer

    def _connection(self) -> Any:
        with MAKING:
            self._connected = self._connected or self._connect()
        return self._connected

    def head(self, remediation: str) -> Remediation | None:
        item = self._get(f"R#{remediation}", "HEAD")
        return _remediation(item) if item else None

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        items = self._get_all([(f"R#{each}", "HEAD") for each in remediations])
        return {head.id: head for head in map(_remediation, items)}

    def trail(self, remediation: str) -> list[Transition]:
        condition = "pk = :pk AND begins_with(sk, :sk)"
        return [_transition(item) for item in self._query(condition, pk=f"R#{remediation}", sk="T#")]

    def append(self, change: Change) -> None:
        line = change.line
        writes = list(self._writes(change))
        lost = self._transact([write for _, write in writes])
        if lost and not self._written(line):
            names = ", ".join(dict.fromkeys(writes[index][0] for index in lost))
            raise Stale(f"line {line.number} of {line.remediation} is too late for {names}")

    def _writes(self, change: Change) -> Iterator[tuple[str, dict[str, Any]]]:
        """What one transaction writes, each with the words for what moved on if its condition fails."""
        line, case = change.line, change.head
        yield "the line before it", self._put(_line_item(line), "attribute_not_exists(pk)")
        if line.number == 1:
            yield "the line before it", self._put(_head_item(case), "attribute_not_exists(pk)")
            yield "its name", self._put(_item(f"N#{case.node.id}", case.id))
        else:
            follows = "line_number = :before AND line_hash = :previous"
            yield (
                "the line before it",
                self._put(_head_item(case), follows, before={"N": str(line.number - 1)}, previous={"S": line.previous}),
            )
        mine = {"S": line.remediation}
        for name in change.take:
            free = "attribute_not_exists(pk) OR holder = :mine"
            yield f"lease {name}", self._put(_item(f"L#{name}", "LEASE", holder=line.remediation), free, mine=mine)
        for name in change.give:
            yield f"lease {name}", self._delete(f"L#{name}", "LEASE", "holder = :mine", mine=mine)
        if change.owes:
            yield f"errand {change.owes.id}", self._put(_errand_item(change.owes))
        if change.done:
            yield f"errand {change.done}", self._delete(f"E#{change.done}", "ERRAND", "attribute_exists(pk)")

    def _written(self, line: Transition) -> bool:
        """Whether this very line is in the trail: then its answer was lost, and the transaction was not."""
        stored = self._get(f"R#{line.remediation}", _line_key(line.number))
        return bool(stored and stored["line_hash"]["S"] == line.hash)

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        last = _LAST if before is None else f"{format_moment(before)}$"
        partitions = [f"{state}#{shard}" for state in sorted(set(states)) for shard in range(SHARDS)]
        return map(_remediation, self._merged(_WORK, partitions, last))

    def page(self, states: Iterable[State], *, after: str | None, limit: int) -> list[Remediation]:
        name, partition, sort = _WORK
        condition = f"{partition} = :pk AND {sort} > :after"
        streams = [
            islice(self._query(condition, name, most=limit, pk=f"{state}#{shard}", after=after or "!"), limit)
            for state in sorted(set(states))
            for shard in range(SHARDS)
        ]
        merged = heapq.merge(*streams, key=lambda item: item[sort]["S"])
        return list(map(_remediation, islice(merged, limit)))

    def day(self, day: date, *, since: datetime | None = None) -> Iterator[Transition]:
        first = format_moment(since) if since else _FIRST
        partitions = [f"{day.isoformat()}#{shard}" for shard in range(SHARDS)]
        return map(_transition, self._merged(_DAY, partitions, _LAST, first))

    def counts(self) -> dict[State, int]:
        """A count reads what it counts, but sends none of it: some 150 pages for 100,000 remediations."""
        name, partition, _ = _WORK
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            pairs = [(state, f"{state}#{shard}") for state in State for shard in range(SHARDS)]
            counted = pool.map(lambda pair: (pair[0], self._count(name, partition, pair[1])), pairs)
            found = Counter[State]()
            for state, count in counted:
                found[state] += count
        return {state: count for state, count in sorted(found.items()) if count}

    def _count(self, index: str, partition: str, pk: str) -> int:
        """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Other.html#Query.Counting"""
        count, start = 0, dict[str, Any]()
        while True:
            page = self._ask("query", TableName=self._table, IndexName=index, Select="COUNT", **start,
                             KeyConditionExpression=f"{partition} = :pk",
                             ExpressionAttributeValues={":pk": {"S": pk}})  # fmt: skip
            count += int(page["Count"])
            if not page.get("LastEvaluatedKey"):
                return count
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def held(self) -> Iterator[Remediation]:
        name, partition, sort = _WORK
        states = sorted(set(State) - {State.RESOLVED, State.GONE})
        streams = [self._query(f"{partition} = :pk", name, without=_FREE, pk=f"{state}#{shard}")
                   for state in states for shard in range(SHARDS)]  # fmt: skip
        return map(_remediation, heapq.merge(*streams, key=lambda item: item[sort]["S"]))

    def named(self, node: str) -> list[str]:
        return [item["sk"]["S"] for item in self._query("pk = :pk", pk=f"N#{node}")]

    def newest(self, day: date) -> Iterator[Transition]:
        name, partition, sort = _DAY
        streams = [self._query(f"{partition} = :pk", name, most=_FEW, newest=True, pk=f"{day.isoformat()}#{shard}")
                   for shard in range(SHARDS)]  # fmt: skip
        return map(_transition, heapq.merge(*streams, key=lambda item: item[sort]["S"], reverse=True))

    def all_heads(self) -> Iterator[Remediation]:
        return self.work(State)

    def lease(self, name: str) -> str | None:
        item = self._get(f"L#{name}", "LEASE")
        return item["holder"]["S"] if item else None

    def save_batch(self, batch: Batch, *, expected: str | None) -> None:
        text, time = canonical(batch.to_json()), f"{format_moment(batch.created_at)}#{batch.id}"
        item = _item(f"B#{batch.id}", "BATCH", batch_state=batch.state.value, batch=text)
        here = {"expected": {"S": expected}} if expected else {}
        writes = [
            self._put(item, "batch_state = :expected" if expected else "attribute_not_exists(pk)", **here),
            self._put(_item(f"BATCHES#{_shard(batch.id)}", time, id=batch.id)),
        ]
        opened = f"OPEN#{_shard(batch.id)}"
        writes.append(
            self._put(_item(opened, time, id=batch.id)) if batch.state in _OPEN else self._delete(opened, time)
        )
        if batch.execution:
            writes.append(self._put(_item(_served(batch.location, batch.execution), "BATCH", id=batch.id)))
        if self._transact(writes):
            stored = self.batch(batch.id)
            if stored != Batch.from_json(json.loads(text)):
                raise Stale(f"batch {batch.id} is {stored.state if stored else 'not there'}, not {expected}")

    def batch(self, batch: str) -> Batch | None:
        item = self._get(f"B#{batch}", "BATCH")
        return _batch(item) if item else None

    def batch_of(self, location: Location, execution: str) -> Batch | None:
        item = self._get(_served(location, execution), "BATCH")
        return self.batch(item["id"]["S"]) if item else None

    def open_batches(self) -> list[Batch]:
        return self._batches("OPEN", "")

    def batches_since(self, since: datetime) -> list[Batch]:
        return self._batches("BATCHES", format_moment(since))

    def _batches(self, list_: str, since: str) -> list[Batch]:
        found = [
            f"B#{item['id']['S']}"
            for shard in range(SHARDS)
            for item in self._query("pk = :pk AND sk >= :since", pk=f"{list_}#{shard}", since=since or "0")
        ]
        return sorted(map(_batch, self._get_all([(key, "BATCH") for key in found])), key=_age)

    def errands(self, before: datetime) -> list[Errand]:
        """The index may be a moment behind, and a deed must not be done twice: each errand is read once more."""
        partitions = [f"errand#{shard}" for shard in range(SHARDS)]
        listed = self._merged(_WORK, partitions, f"{format_moment(before)}$")
        owed = map(_errand, self._get_all([(item["pk"]["S"], "ERRAND") for item in listed]))
        return sorted((errand for errand in owed if errand.due <= before), key=lambda errand: (errand.due, errand.id))

    def postpone(self, errand: Errand) -> None:
        if self._transact([self._put(_errand_item(errand), "attribute_exists(pk)")]):
            raise Stale(f"errand {errand.id} is done")

    def active_policies(self) -> Publication | None:
        item = self._get("POLICIES", "ACTIVE")
        return _publication(item) if item else None

    def publish(self, publication: Publication) -> None:
        line = {"line_hash": publication.hash, "line": canonical(publication.to_json())}
        first = publication.number == 1
        before = {} if first else {"previous": {"S": publication.previous}}
        lost = self._transact([
            self._put(_item("POLICIES", _publication_key(publication.number), **line), "attribute_not_exists(pk)"),
            self._put(_item("POLICIES", "ACTIVE", **line),
                      "attribute_not_exists(pk)" if first else "line_hash = :previous", **before),
        ])  # fmt: skip
        if lost:
            stored = self._get("POLICIES", _publication_key(publication.number))
            if not stored or stored["line_hash"]["S"] != publication.hash:
                raise Stale(f"publication {publication.number} is too late: another set was published")

    def publications(self) -> list[Publication]:
        return [_publication(item) for item in self._query("pk = :pk AND begins_with(sk, :sk)", pk="POLICIES", sk="P#")]

    def entry(self, subject: str) -> Entry | None:
        item = self._get(_journal(subject), subject)
        return _entry(item) if item else None

    def enter(self, entry: Entry) -> None:
        line = {"line_hash": entry.hash, "line": canonical(entry.to_json())}
        first = entry.number == 1
        before = {} if first else {"previous": {"S": entry.previous}}
        key = f"E#{entry.number:010}"
        lost = self._transact([
            self._put(_item(f"J#{entry.subject}", key, **line), "attribute_not_exists(pk)"),
            self._put(_item(_journal(entry.subject), entry.subject, **line),
                      "attribute_not_exists(pk)" if first else "line_hash = :previous", **before),
        ])  # fmt: skip
        if lost:
            stored = self._get(f"J#{entry.subject}", key)
            if not stored or stored["line_hash"]["S"] != entry.hash:
                raise Stale(f"entry {entry.number} of {entry.subject} is too late: another was written")

    def entries(self, subject: str) -> list[Entry]:
        return list(map(_entry, self._query("pk = :pk AND begins_with(sk, :sk)", pk=f"J#{subject}", sk="E#")))

    def subjects(self, kind: Kind) -> list[Entry]:
        return list(map(_entry, self._query("pk = :pk", pk=_journal(f"{kind}/"))))

    def kept(self, name: str) -> Kept | None:
        item = self._get(f"K#{name}", "KEPT")
        return Kept(json.loads(item["kept"]["S"]), int(item["kept_version"]["N"])) if item else None

    def keep(self, name: str, value: Mapping[str, Any], *, expected: int) -> None:
        item = _item(f"K#{name}", "KEPT", kept=canonical(dict(value)))
        put = self._put(
            {**item, "kept_version": {"N": str(expected + 1)}},
            "kept_version = :expected" if expected else "attribute_not_exists(pk)",
            **({"expected": {"N": str(expected)}} if expected else {}),
        )
        if self._transact([put]):
            raise Stale(f"{name} is not at version {expected}")

    def mark(self, name: str) -> bool:
        return not self._transact([self._put(_item(f"M#{name}", "MARK"), "attribute_not_exists(pk)")])

    def _put(self, item: Item, condition: str | None = None, **values: Any) -> dict[str, Any]:
        return {"Put": {"TableName": self._table, "Item": item, **_on(condition, values)}}

    def _delete(self, pk: str, sk: str, condition: str | None = None, **values: Any) -> dict[str, Any]:
        return {"Delete": {"TableName": self._table, "Key": _item(pk, sk), **_on(condition, values)}}

    def _transact(self, writes: list[dict[str, Any]]) -> list[int]:
        """Write all, or nothing and say which ones lost against another writer.

        https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
        """
        try:
            self._ask("transact_write_items", TransactItems=writes)
        except Refusal as refusal:
            if refusal.code != "TransactionCanceled":
                raise
            return _lost(refusal)
        return []

    def _get(self, pk: str, sk: str) -> Item | None:
        answer = self._ask("get_item", TableName=self._table, Key=_item(pk, sk), ConsistentRead=True)
        return answer.get("Item")

    def _get_all(self, keys: Sequence[tuple[str, str]]) -> list[Item]:
        items: list[Item] = []
        each = [_item(*key) for key in dict.fromkeys(keys)]
        for start in range(0, len(each), _MOST_KEYS):
            asked = {"Keys": each[start : start + _MOST_KEYS], "ConsistentRead": True}
            items += self._get_some({self._table: asked})
        return items

    def _get_some(self, asked: dict[str, Any]) -> list[Item]:
        """A busy table answers for some keys only: ask for the rest, until several answers in a row bring nothing."""
        items: list[Item] = []
        in_vain = 0
        while asked and in_vain < _TRIES:
            answer = self._ask("batch_get_item", RequestItems=asked)
            found = answer.get("Responses", {}).get(self._table, [])
            items += found
            asked = answer.get("UnprocessedKeys", {})
            in_vain = 0 if found else in_vain + 1
        if asked:
            raise Temporary(f"ledger table {self._table} left keys unread {_TRIES} times")
        return items

    def _query(
        self, condition: str, index: str | None = None, *, most: int | None = None, newest: bool = False,
        without: str = "", **values: str,
    ) -> Iterator[Item]:  # fmt: skip
        """All items of one partition in order, page by page of `most`; strongly consistent unless from an index.

        `without`: leave out heads that hold this text; they are read, but not sent.
        """
        where: dict[str, Any] = {"IndexName": index} if index else {"ConsistentRead": True}
        where |= {"Limit": most} if most else {}
        where |= {"ScanIndexForward": False} if newest else {}
        given = {f":{name}": {"S": value} for name, value in values.items()}
        if without:
            where |= {"FilterExpression": "NOT contains(head, :without)"}
            given[":without"] = {"S": without}
        start: dict[str, Any] = {}
        while True:
            page = self._ask(
                "query",
                TableName=self._table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=given,
                **where,
                **start,
            )
            yield from page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def _merged(
        self, index: tuple[str, str, str], partitions: Iterable[str], last: str, first: str = _FIRST
    ) -> Iterator[Item]:
        """The items of several index partitions from `first` up to `last`, in one order."""
        name, partition, sort = index
        condition = f"{partition} = :pk AND {sort} BETWEEN :first AND :last"
        streams = [self._query(condition, name, pk=each, first=first, last=last) for each in partitions]
        return heapq.merge(*streams, key=lambda item: item[sort]["S"])


def _client() -> Any:
    """boto3's client without boto3, which would be a fifth of a cold start; it does not validate our requests again,
    which would be a quarter of each call."""
    settings = configuration().merge(Config(parameter_validation=False))
    return botocore_session().create_client("dynamodb", config=settings)


def _on(condition: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    if not condition:
        return {}
    given = {f":{name}": value for name, value in values.items()}
    return {"ConditionExpression": condition, **({"ExpressionAttributeValues": given} if given else {})}


def _lost(refusal: Refusal) -> list[int]:
    """Which writes of a cancelled transaction met another writer; Temporary or the refusal if that was not why."""
    codes = [str(reason.get("Code")) for reason in refusal.answer.get("CancellationReasons", [])]
    lost = [index for index, code in enumerate(codes) if code in {"ConditionalCheckFailed", "TransactionConflict"}]
    if lost:
        return lost
    if {"ThrottlingError", "ProvisionedThroughputExceeded"} & set(codes):
        raise Temporary(str(refusal)) from refusal
    raise refusal


def _item(pk: str, sk: str, **texts: str) -> Item:
    return {name: {"S": text} for name, text in {"pk": pk, "sk": sk, **texts}.items()}


def _line_key(number: int) -> str:
    return f"T#{number:010}"


def _line_item(line: Transition) -> Item:
    at = format_moment(line.at)
    return _item(
        f"R#{line.remediation}",
        _line_key(line.number),
        day_pk=f"{at[:10]}#{_shard(line.remediation)}",
        day_sk=f"{at}#{line.remediation}#{line.number:010}",
        line_hash=line.hash,
        line=canonical(line.to_json()),
    )


def _head_item(case: Remediation) -> Item:
    keys = {"work_pk": f"{case.state}#{_shard(case.id)}", "work_sk": case.turn}
    item = _item(f"R#{case.id}", "HEAD", **keys, line_hash=case.hash, head=canonical(case.to_json()))
    return {**item, "line_number": {"N": str(case.number)}}


def _errand_item(errand: Errand) -> Item:
    keys = {"work_pk": f"errand#{_shard(errand.id)}", "work_sk": f"{format_moment(errand.due)}#{errand.id}"}
    return _item(f"E#{errand.id}", "ERRAND", **keys, errand=canonical(errand.to_json()))


def _remediation(item: Item) -> Remediation:
    return Remediation.from_json(json.loads(item["head"]["S"]))


def _transition(item: Item) -> Transition:
    return Transition.from_json(json.loads(item["line"]["S"]))


def _errand(item: Item) -> Errand:
    return Errand.from_json(json.loads(item["errand"]["S"]))


def _publication(item: Item) -> Publication:
    return Publication.from_json(json.loads(item["line"]["S"]))


def _entry(item: Item) -> Entry:
    return Entry.from_json(json.loads(item["line"]["S"]))


def _journal(subject: str) -> str:
    return f"JOURNAL#{subject.split('/', 1)[0]}"


def _publication_key(number: int) -> str:
    return f"P#{number:010}"


def _batch(item: Item) -> Batch:
    return Batch.from_json(json.loads(item["batch"]["S"]))


def _age(batch: Batch) -> tuple[datetime, str]:
    return batch.created_at, batch.id


def _served(location: Location, execution: str) -> str:
    return f"X#{location}#{execution}"


def _shard(name: str) -> int:
    return zlib.crc32(name.encode()) % SHARDS
