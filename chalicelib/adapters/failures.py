"""Failures: the dead letters of rules and functions in SQS, and the functions that they go back to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.config import Config

from chalicelib.adapters.accounts import botocore_session, configuration, translating
from chalicelib.core.errors import Temporary
from chalicelib.core.letters import Letter

_HIDDEN = 900
"""Seconds for which a received letter is nobody else's: longer than a function runs."""


class MemoryFailures:
    """The twin: letters as they were put in; `kept` is what lies there."""

    def __init__(self) -> None:
        self.kept: dict[str, Letter] = {}
        self._hidden: set[str] = set()

    def put(self, letter: Letter) -> None:
        self.kept[letter.id] = letter

    def letters(self, most: int) -> list[Letter]:
        seen = [letter for letter in self.kept.values() if letter.id not in self._hidden]
        found = sorted(seen, key=lambda letter: letter.sent_at)[:most]
        self._hidden |= {letter.id for letter in found}
        return found

    def put_back(self, letter: Letter) -> None:
        self._hidden.discard(letter.id)

    def discard(self, letter: Letter) -> None:
        self.kept.pop(letter.id, None)


class SqsFailures:
    """The port `Failures` over SQS queues, by their names or URLs.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    """

    def __init__(self, queues: tuple[str, ...], client: Callable[[], Any] | None = None) -> None:
        self._queues = queues
        self._connect = client or (lambda: botocore_session().create_client("sqs", config=configuration()))
        self._connected: Any = None

    def letters(self, most: int) -> list[Letter]:
        """A queue is asked until it has nothing more to give; a letter that comes twice counts once."""
        found: dict[str, Letter] = {}
        for queue in self._queues:
            while len(found) < most:
                page = [_letter(queue, told) for told in self._receive(queue, min(10, most - len(found)))]
                if not {letter.id for letter in page} - found.keys():
                    break
                found |= {letter.id: letter for letter in page}
        return sorted(found.values(), key=lambda letter: letter.sent_at)

    def put_back(self, letter: Letter) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html"""
        self._ask("change_message_visibility", letter.queue, ReceiptHandle=letter.handle, VisibilityTimeout=0)

    def discard(self, letter: Letter) -> None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html"""
        self._ask("delete_message", letter.queue, ReceiptHandle=letter.handle)

    def _receive(self, queue: str, most: int) -> list[dict[str, Any]]:
        # waiting a second asks every server of the queue, where a short poll may overlook a letter
        told = self._ask("receive_message", queue, MaxNumberOfMessages=most, VisibilityTimeout=_HIDDEN,
                         WaitTimeSeconds=1, MessageAttributeNames=["All"],
                         AttributeNames=["SentTimestamp", "ApproximateReceiveCount"])  # fmt: skip
        messages: list[dict[str, Any]] = told.get("Messages", [])
        return messages

    def _ask(self, operation: str, queue: str, **parameters: Any) -> dict[str, Any]:
        with translating(f"queue {queue} sqs:{operation}"):
            self._connected = self._connected or self._connect()
            url = queue if "://" in queue else self._connected.get_queue_url(QueueName=queue)["QueueUrl"]
            answer: dict[str, Any] = getattr(self._connected, operation)(QueueUrl=url, **parameters)
        return answer


def _letter(queue: str, told: Mapping[str, Any]) -> Letter:
    said = told.get("MessageAttributes", {})
    return Letter(
        id=told["MessageId"],
        queue=queue,
        body=told["Body"],
        attributes={name: value.get("StringValue", "") for name, value in said.items()},
        sent_at=datetime.fromtimestamp(int(told["Attributes"]["SentTimestamp"]) / 1000, UTC),
        tries=int(told["Attributes"]["ApproximateReceiveCount"]),
        handle=told["ReceiptHandle"],
    )


class Lambdas:
    """The port `Functions`: the function itself, under its own role, so that whoever sends again needs no other right.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def __init__(self, client: Callable[[], Any] | None = None) -> None:
        patient = configuration(attempts=1).merge(Config(read_timeout=_HIDDEN))
        self._connect = client or (lambda: botocore_session().create_client("lambda", config=patient))
        self._connected: Any = None

    def invoke(self, function: str, payload: Mapping[str, Any]) -> None:
        with translating(f"function {function} lambda:Invoke"):
            self._connected = self._connected or self._connect()
            answer = self._connected.invoke(FunctionName=function, Payload=json.dumps(payload).encode())
            said = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise Temporary(f"function {function}: {_error(said)}")


def _error(said: bytes) -> str:
    try:
        told = json.loads(said)
    except ValueError:
        return "it ended without a word"
    return str(told.get("errorMessage", told))[:300] if isinstance(told, dict) else str(told)[:300]
