"""What only the ledger table can go through: lost answers, throttling, refusals, tampering."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from chalicelib.adapters.dynamodb import SHARDS, TABLE, DynamoLedger
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch
from chalicelib.core.remediations import Cause, Remediation, State, advance, apply
from chalicelib.core.tickets import Deed, Errand
from chalicelib.ports import Change
from tests import aws

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CASE = Remediation(Node("111122223333", "eu-west-1", "i-0123456789abcdef0"), Control.PATCH)


def step(case: Remediation, cause: Cause = Cause.NOTED, take: tuple[str, ...] = ()) -> Change:
    line = advance(case, cause, because="it was said", now=NOW)
    return Change(line, apply(case, line), take=take)


def owed(id: str) -> Errand:
    return Errand(
        id, CASE.id, Deed.OPEN, CASE.location, key=id, title="a person's turn", body="why", severity=3, due=NOW
    )


def key(pk: str, sk: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        made = aws.client("dynamodb", config=Config(retries={"total_max_attempts": 1}))
        made.create_table(TableName="ledger", **TABLE)
        yield made


@pytest.fixture
def ledger(client: Any) -> DynamoLedger:
    return DynamoLedger("ledger", lambda: client)


def lose_the_next_answer(client: Any, operation: str) -> None:
    """The request takes effect, and the connection breaks before its answer comes."""
    event = f"after-call.dynamodb.{operation}"

    def lose(**_: Any) -> None:
        client.meta.events.unregister(event, lose)
        raise ReadTimeoutError(endpoint_url="https://dynamodb.eu-west-1.amazonaws.com")

    client.meta.events.register(event, lose)


class _Body:
    """What urllib3 would give botocore to read."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def answering(**answers: tuple[int, dict[str, Any]]) -> DynamoLedger:
    """A ledger on a wire where each operation has one answer: a status and a body."""
    client = aws.client("dynamodb", config=Config(retries={"total_max_attempts": 1}))
    make: Any = AWSResponse

    def answer(request: Any, event_name: str, **_: Any) -> Any:
        status, body = answers[event_name.rsplit(".", 1)[1]]
        return make(request.url, status, {}, _Body(json.dumps(body).encode()))

    client.meta.events.register("before-send.dynamodb", answer)
    return DynamoLedger("ledger", lambda: client)


def error(code: str, status: int = 400, **more: Any) -> tuple[int, dict[str, Any]]:
    return status, {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "no", **more}


def test_a_line_whose_answer_was_lost_is_written_once(ledger: DynamoLedger, client: Any) -> None:
    lose_the_next_answer(client, "TransactWriteItems")
    change = step(CASE, take=("node/a",))
    with pytest.raises(Temporary, match=r"ledger table ledger dynamodb:transact_write_items: no answer"):
        ledger.append(change)
    ledger.append(change)
    assert ledger.trail(CASE.id) == [change.line]
    assert ledger.lease("node/a") == CASE.id


def test_a_batch_whose_answer_was_lost_is_saved_once(ledger: DynamoLedger, client: Any) -> None:
    lose_the_next_answer(client, "TransactWriteItems")
    batch = Batch("b", Location("111122223333", "eu-west-1"), "Patchwarden-PatchNodes", None, {}, (), NOW)
    with pytest.raises(Temporary):
        ledger.save_batch(batch, expected=None)
    ledger.save_batch(batch, expected=None)
    assert ledger.open_batches() == [batch]


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("ProvisionedThroughputExceededException", 400), ("InternalServerError", 500),
     ("AnythingAtAll", 503), ("RequestLimitExceeded", 400)],
)  # fmt: skip
def test_a_busy_table_is_temporary(code: str, status: int) -> None:
    ledger = answering(TransactWriteItems=error(code, status), GetItem=error(code, status))
    with pytest.raises(Temporary, match=code.removesuffix("Exception")):
        ledger.append(step(CASE))
    with pytest.raises(Temporary):
        ledger.head(CASE.id)


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "NeverHeardOfException"])
def test_what_aws_refuses_is_the_operators_turn(code: str) -> None:
    ledger = answering(TransactWriteItems=error(code), GetItem=error(code))
    said = r"ledger table ledger dynamodb:\w+: " + code.removesuffix("Exception")
    with pytest.raises(Denied, match=said):
        ledger.append(step(CASE))
    with pytest.raises(Denied, match=said):
        ledger.head(CASE.id)


@pytest.mark.parametrize(
    ("codes", "expected", "says"),
    [
        (("TransactionConflict", "None"), Stale, "too late for the line before it"),
        (("None", "None", "None", "ConditionalCheckFailed"), Stale, "too late for lease node/a"),
        (("ConditionalCheckFailed", "ThrottlingError"), Stale, "too late"),
        (("None", "ThrottlingError"), Temporary, "TransactionCanceled"),
        (("ProvisionedThroughputExceeded", "None"), Temporary, "TransactionCanceled"),
        (("None", "ValidationError"), Denied, "TransactionCanceled"),
        ((), Denied, "TransactionCanceled"),
    ],
)
def test_a_cancelled_transaction_says_whose_turn_it_is(
    codes: tuple[str, ...], expected: type[Exception], says: str
) -> None:
    reasons = [{"Code": code} for code in codes]
    cancelled = error("TransactionCanceledException", CancellationReasons=reasons)
    ledger = answering(TransactWriteItems=cancelled, GetItem=(200, {}))
    with pytest.raises(expected, match=says):
        ledger.append(step(CASE, take=("node/a",)))


def test_keys_that_are_never_processed_are_temporary(ledger: DynamoLedger, client: Any) -> None:
    asked: list[Any] = []

    def nothing(parsed: dict[str, Any], **_: Any) -> None:
        asked.append(parsed)
        parsed["Responses"] = {}
        parsed["UnprocessedKeys"] = {"ledger": {"Keys": [{"pk": {"S": "R#x"}, "sk": {"S": "HEAD"}}]}}

    client.meta.events.register("after-call.dynamodb.BatchGetItem", nothing)
    with pytest.raises(Temporary, match="left keys unread 5 times"):
        ledger.heads([CASE.id])
    assert len(asked) == 5


def test_a_line_is_never_overwritten_even_if_the_head_was_removed(ledger: DynamoLedger, client: Any) -> None:
    first = step(CASE)
    ledger.append(first)
    client.delete_item(TableName="ledger", Key=key(f"R#{CASE.id}", "HEAD"))
    with pytest.raises(Stale):
        ledger.append(step(CASE, Cause.QUEUED))
    assert ledger.trail(CASE.id) == [first.line]


def test_an_errand_is_done_by_what_the_table_says_and_not_by_an_index_that_is_behind(
    ledger: DynamoLedger, client: Any
) -> None:
    done, postponed = owed("done"), owed("postponed")
    for index, each in enumerate((done, postponed)):
        case = replace(CASE, node=replace(CASE.node, id=f"i-0123456789abcdef{index}"))
        ledger.append(replace(step(case), owes=each))
    assert ledger.errands(NOW) == [done, postponed]
    stale = [
        client.get_item(TableName="ledger", Key=key(f"E#{each.id}", "ERRAND"))["Item"] for each in (done, postponed)
    ]

    def behind(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Items"] = stale

    client.meta.events.register("after-call.dynamodb.Query", behind)
    assert ledger.errands(NOW) == [done, postponed]
    client.delete_item(TableName="ledger", Key=key(f"E#{done.id}", "ERRAND"))
    ledger.postpone(replace(postponed, due=NOW + timedelta(hours=1)))
    assert ledger.errands(NOW) == []


def test_a_line_with_its_head_costs_one_request(ledger: DynamoLedger, client: Any) -> None:
    sent: list[str] = []
    client.meta.events.register("before-call.dynamodb", lambda model, **_: sent.append(model.name))
    ledger.append(step(CASE, take=("node/a",)))
    assert sent == ["TransactWriteItems"]
    assert ledger.head(CASE.id) is not None
    assert sent == ["TransactWriteItems", "GetItem"]
    assert len(list(ledger.work([State.OPEN]))) == 1
    assert len(sent) == 2 + SHARDS


def test_the_client_is_made_when_it_is_first_used() -> None:
    made: list[int] = []

    def connect() -> Any:
        made.append(1)
        raise AssertionError("not wanted yet")

    DynamoLedger("ledger", connect)
    assert made == []


def test_the_table_is_described_in_words_that_cloudformation_shares() -> None:
    keys = {"KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "BillingMode"}
    assert set(TABLE) == keys
    named = {key["AttributeName"] for index in [TABLE, *TABLE["GlobalSecondaryIndexes"]] for key in index["KeySchema"]}
    assert named == {attribute["AttributeName"] for attribute in TABLE["AttributeDefinitions"]}


def test_the_client_of_its_own_reaches_the_table() -> None:
    with mock_aws():
        aws.client("dynamodb").create_table(TableName="patchwarden", **TABLE)
        ledger = DynamoLedger("patchwarden")
        ledger.append(step(CASE))
        assert [head.number for head in ledger.all_heads()] == [1]
