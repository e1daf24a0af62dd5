"""Items: how what the ledger keeps looks in the table, under which keys, and how it is read again.

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

import json
import zlib
from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.dynamodb.table import Index, Item, Key, item
from chalicelib.core.chain import canonical
from chalicelib.core.journal import Entry
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Remediation, Transition
from chalicelib.core.tickets import Errand
from chalicelib.ports import Kept

WORK: Index = ("work", "work_pk", "work_sk")
DAY: Index = ("day", "day_pk", "day_sk")
_TEXTS = ("pk", "sk", *WORK[1:], *DAY[1:])


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


TABLE: dict[str, Any] = {
    "KeySchema": _keys("pk", "sk"),
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in _TEXTS],
    "GlobalSecondaryIndexes": [
        {"IndexName": name, "KeySchema": _keys(partition, sort), "Projection": {"ProjectionType": "ALL"}}
        for name, partition, sort in (WORK, DAY)
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
FREE = ("head", '"held":null')
"""So says the canonical JSON of what nothing holds; in a text of somebody's the quotes would be escaped."""
FIRST, LAST = "!", "~~"
"""What every sort key of an index comes after, and before."""


def shards(name: str) -> list[str]:
    """The partitions that what has this name is spread over."""
    return [f"{name}#{shard}" for shard in range(SHARDS)]


def _sharded(name: str, id: str) -> str:
    return f"{name}#{zlib.crc32(id.encode()) % SHARDS}"


# --- remediations ---------------------------------------------------------------------------------------------------


def head_key(remediation: str) -> Key:
    return f"R#{remediation}", "HEAD"


def head_item(case: Remediation) -> Item:
    keys = {"work_pk": _sharded(case.state, case.id), "work_sk": case.turn}
    made = item(head_key(case.id), **keys, line_hash=case.hash, head=canonical(case.to_json()))
    return {**made, "line_number": {"N": str(case.number)}}


def head(found: Item) -> Remediation:
    return Remediation.from_json(json.loads(found["head"]["S"]))


def trail_start(remediation: str) -> Key:
    return f"R#{remediation}", "T#"


def line_key(line: Transition) -> Key:
    return f"R#{line.remediation}", f"T#{line.number:010}"


def line_item(line: Transition) -> Item:
    at = format_moment(line.at)
    return item(
        line_key(line),
        day_pk=_sharded(at[:10], line.remediation),
        day_sk=f"{at}#{line.remediation}#{line.number:010}",
        line_hash=line.hash,
        line=canonical(line.to_json()),
    )


def line(found: Item) -> Transition:
    return Transition.from_json(json.loads(found["line"]["S"]))


def names(node: str) -> str:
    return f"N#{node}"


def name_item(case: Remediation) -> Item:
    return item((names(case.node.id), case.id))


def lease_key(name: str) -> Key:
    return f"L#{name}", "LEASE"


# --- errands --------------------------------------------------------------------------------------------------------


def errand_key(errand: str) -> Key:
    return f"E#{errand}", "ERRAND"


def errand_item(errand: Errand) -> Item:
    keys = {"work_pk": _sharded("errand", errand.id), "work_sk": f"{format_moment(errand.due)}#{errand.id}"}
    return item(errand_key(errand.id), **keys, errand=canonical(errand.to_json()))


def errand(found: Item) -> Errand:
    return Errand.from_json(json.loads(found["errand"]["S"]))


# --- batches --------------------------------------------------------------------------------------------------------

OPEN, BATCHES = "OPEN", "BATCHES"


def batch_key(batch: str) -> Key:
    return f"B#{batch}", "BATCH"


def batch_item(batch: Batch) -> Item:
    return item(batch_key(batch.id), batch_state=batch.state.value, batch=canonical(batch.to_json()))


def batch(found: Item) -> Batch:
    return Batch.from_json(json.loads(found["batch"]["S"]))


def listed_key(name: str, batch: Batch) -> Key:
    """Where the list of this name has the batch."""
    return _sharded(name, batch.id), f"{format_moment(batch.created_at)}#{batch.id}"


def served_key(location: Location, execution: str) -> Key:
    return f"X#{location}#{execution}", "BATCH"


# --- policy sets and the journal ------------------------------------------------------------------------------------

ACTIVE: Key = ("POLICIES", "ACTIVE")
PUBLICATIONS_START: Key = ("POLICIES", "P#")


def publication_key(number: int) -> Key:
    return "POLICIES", f"P#{number:010}"


def publication(found: Item) -> Publication:
    return Publication.from_json(json.loads(found["line"]["S"]))


def entries_start(subject: str) -> Key:
    return f"J#{subject}", "E#"


def entry_key(entry: Entry) -> Key:
    return f"J#{entry.subject}", f"E#{entry.number:010}"


def newest_key(subject: str) -> Key:
    return newest_of(subject.split("/", 1)[0]), subject


def newest_of(kind: str) -> str:
    return f"JOURNAL#{kind}"


def entry(found: Item) -> Entry:
    return Entry.from_json(json.loads(found["line"]["S"]))


def chained(of: Publication | Entry) -> dict[str, str]:
    """What the item of a chained line has beside its key."""
    return {"line_hash": of.hash, "line": canonical(of.to_json())}


# --- cursors and marks ----------------------------------------------------------------------------------------------


def kept_key(name: str) -> Key:
    return f"K#{name}", "KEPT"


def kept_item(name: str, value: Mapping[str, Any], version: int) -> Item:
    return {**item(kept_key(name), kept=canonical(dict(value))), "kept_version": {"N": str(version)}}


def kept(found: Item) -> Kept:
    return Kept(json.loads(found["kept"]["S"]), int(found["kept_version"]["N"]))


def mark_key(name: str) -> Key:
    return f"M#{name}", "MARK"
