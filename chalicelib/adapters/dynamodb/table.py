"""Table: how one DynamoDB table is asked and what its refusals mean, whatever lies in it under `pk` and `sk`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import MAKING, Refusal, botocore_session, configuration, translating
from chalicelib.core.errors import Temporary

_MOST_KEYS = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""
_TRIES = 5

Item = dict[str, dict[str, str]]
Key = tuple[str, str]
"""`pk` and `sk`."""
Index = tuple[str, str, str]
"""The name of an index, and of the attributes that are its partition and its sort key."""
Write = dict[str, Any]
"""One part of a transaction."""


class Table:
    """The table of this name; the client is made when it is first used."""

    def __init__(self, name: str, client: Callable[[], Any] | None = None) -> None:
        self._name = name
        self._connect = client or _client
        self._connected: Any = None

    def _ask(self, operation: str, **parameters: Any) -> dict[str, Any]:
        with translating(f"ledger table {self._name} dynamodb:{operation}"):
            answer: dict[str, Any] = getattr(self._connected or self._connection(), operation)(**parameters)
        return answer

    def _connection(self) -> Any:
        with MAKING:
            self._connected = self._connected or self._connect()
        return self._connected

    def put(self, item: Item, condition: str | None = None, **values: Any) -> Write:
        return {"Put": {"TableName": self._name, "Item": item, **_on(condition, values)}}

    def delete(self, key: Key, condition: str | None = None, **values: Any) -> Write:
        return {"Delete": {"TableName": self._name, "Key": item(key), **_on(condition, values)}}

    def transact(self, writes: list[Write]) -> list[int]:
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

    def get(self, key: Key) -> Item | None:
        answer = self._ask("get_item", TableName=self._name, Key=item(key), ConsistentRead=True)
        return answer.get("Item")

    def get_all(self, keys: Sequence[Key]) -> list[Item]:
        items: list[Item] = []
        each = list(map(item, dict.fromkeys(keys)))
        for start in range(0, len(each), _MOST_KEYS):
            asked = {"Keys": each[start : start + _MOST_KEYS], "ConsistentRead": True}
            items += self._get_some({self._name: asked})
        return items

    def _get_some(self, asked: dict[str, Any]) -> list[Item]:
        """A busy table answers for some keys only: ask for the rest, until several answers in a row bring nothing."""
        items: list[Item] = []
        in_vain = 0
        while asked and in_vain < _TRIES:
            answer = self._ask("batch_get_item", RequestItems=asked)
            found = answer.get("Responses", {}).get(self._name, [])
            items += found
            asked = answer.get("UnprocessedKeys", {})
            in_vain = 0 if found else in_vain + 1
        if asked:
            raise Temporary(f"ledger table {self._name} left keys unread {_TRIES} times")
        return items

    def query(
        self, condition: str, index: str | None = None, *, most: int | None = None, newest: bool = False,
        without: tuple[str, str] | None = None, **values: str,
    ) -> Iterator[Item]:  # fmt: skip
        """All items of one partition in order, page by page of `most`; strongly consistent unless from an index.

        `without`: leave out items whose attribute of this name holds this text; they are read, but not sent.
        """
        where: dict[str, Any] = {"IndexName": index} if index else {"ConsistentRead": True}
        where |= {"Limit": most} if most else {}
        where |= {"ScanIndexForward": False} if newest else {}
        given = {f":{name}": {"S": value} for name, value in values.items()}
        if without:
            where |= {"FilterExpression": f"NOT contains({without[0]}, :without)"}
            given[":without"] = {"S": without[1]}
        start: dict[str, Any] = {}
        while True:
            page = self._ask(
                "query",
                TableName=self._name,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=given,
                **where,
                **start,
            )
            yield from page["Items"]
            if not page.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def under(self, start: Key) -> Iterator[Item]:
        """The items of a partition whose `sk` starts so, in order."""
        pk, sk = start
        return self.query("pk = :pk AND begins_with(sk, :sk)", pk=pk, sk=sk)

    def merged(self, index: Index, partitions: Iterable[str], first: str, last: str) -> Iterator[Item]:
        """The items of several index partitions from `first` up to `last`, in one order."""
        name, partition, sort = index
        condition = f"{partition} = :pk AND {sort} BETWEEN :first AND :last"
        streams = [self.query(condition, name, pk=each, first=first, last=last) for each in partitions]
        return heapq.merge(*streams, key=lambda each: each[sort]["S"])

    def count(self, index: Index, pk: str) -> int:
        """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Other.html#Query.Counting"""
        name, partition, _ = index
        count, start = 0, dict[str, Any]()
        while True:
            page = self._ask("query", TableName=self._name, IndexName=name, Select="COUNT", **start,
                             KeyConditionExpression=f"{partition} = :pk",
                             ExpressionAttributeValues={":pk": {"S": pk}})  # fmt: skip
            count += int(page["Count"])
            if not page.get("LastEvaluatedKey"):
                return count
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def item(key: Key, **texts: str) -> Item:
    """An item of texts under this key; without any, the key as DynamoDB reads it."""
    pk, sk = key
    return {name: {"S": text} for name, text in {"pk": pk, "sk": sk, **texts}.items()}


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
