"""Failure queues: SQS and its twin hold letters alike, and a function that fails says so."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.adapters.failures import Lambdas, MemoryFailures, SqsFailures
from chalicelib.core.errors import Temporary
from chalicelib.core.letters import Letter
from chalicelib.ports import Failures
from tests import aws

ATTRIBUTES = {"ERROR_CODE": "NO_PERMISSIONS", "TARGET_ARN": "arn:aws:lambda:eu-west-1:111122223333:function:x"}
Put = Callable[[str], None]


@pytest.fixture(params=["memory", "sqs"])
def queues(request: pytest.FixtureRequest) -> Iterator[tuple[Failures, Put]]:
    if request.param == "memory":
        twin = MemoryFailures()

        def keep(body: str) -> None:
            number = len(twin.kept)
            at = datetime(2026, 11, 23, 12, 0, number, tzinfo=UTC)
            twin.put(Letter(f"{number}", "patchwarden-dev-failures", body, ATTRIBUTES, at, 1, "handle"))

        yield twin, keep
        return
    with mock_aws():
        sqs = aws.client("sqs")
        names = ("patchwarden-dev-rule-failures", "patchwarden-dev-failures")
        urls = [sqs.create_queue(QueueName=name)["QueueUrl"] for name in names]
        told = {name: {"StringValue": value, "DataType": "String"} for name, value in ATTRIBUTES.items()}

        def send(body: str) -> None:
            sqs.send_message(QueueUrl=urls[1], MessageBody=body, MessageAttributes=told)

        yield SqsFailures((names[0], urls[1]), lambda: sqs), send


def test_a_letter_is_read_whole_and_nobody_else_sees_it_until_it_is_put_back(queues: tuple[Failures, Put]) -> None:
    failures, put = queues
    put('{"a": 1}')
    [letter] = failures.letters(10)
    assert (letter.body, letter.attributes) == ('{"a": 1}', ATTRIBUTES)
    assert failures.letters(10) == []
    failures.put_back(letter)
    assert [each.id for each in failures.letters(10)] == [letter.id]


def test_a_letter_that_is_discarded_is_gone_and_the_others_stay(queues: tuple[Failures, Put]) -> None:
    failures, put = queues
    for number in range(13):
        put(f"{number}")
    letters = failures.letters(100)
    assert sorted(letter.body for letter in letters) == sorted(map(str, range(13)))
    failures.discard(letters[0])
    for letter in letters[1:]:
        failures.put_back(letter)
    assert {each.id for each in failures.letters(100)} == {each.id for each in letters[1:]}


class Answering:
    """A Lambda client that answers so."""

    def __init__(self, said: Any, error: str | None = None) -> None:
        self._said, self._error = said, error
        self.asked: list[dict[str, Any]] = []

    def invoke(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        failed = {"FunctionError": self._error} if self._error else {}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(self._said).encode()), **failed}


def test_a_function_gets_the_very_payload_and_its_failure_is_ours() -> None:
    well = Answering({"status": "decided"})
    Lambdas(lambda: well).invoke("patchwarden-dev-on_execution", {"detail": {}})
    assert json.loads(well.asked[0]["Payload"]) == {"detail": {}}
    with pytest.raises(Temporary, match="out of memory"):
        Lambdas(lambda: Answering({"errorMessage": "out of memory"}, "Unhandled")).invoke("patchwarden-dev-x", {})
