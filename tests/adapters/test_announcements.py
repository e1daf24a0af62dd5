"""Announcements: what goes out on the bus, and that nothing waits for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from chalicelib.adapters.announcements import Announced
from chalicelib.adapters.notices import Collected
from tests import aws

FIELDS: dict[str, Any] = {"policy": "legacy", "owner": "erp@example.com", "days": 30, "because": "ends soon"}


def heard() -> list[dict[str, Any]]:
    """What a queue that listens to the bus received."""
    queues = aws.client("sqs")
    url = queues.get_queue_url(QueueName="heard")["QueueUrl"]
    found = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(message["Body"]) for message in found]


def test_a_reminder_goes_out_as_an_event_and_stands_in_the_log() -> None:
    with mock_aws():
        queue = aws.client("sqs").create_queue(QueueName="heard")["QueueUrl"]
        arn = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        events = aws.client("events")
        events.put_rule(Name="all", EventPattern=json.dumps({"source": ["patchwarden"]}), State="ENABLED")
        events.put_targets(Rule="all", Targets=[{"Id": "q", "Arn": arn}])
        notices = Collected()
        said = Announced(notices, "default")
        said.say("exemption_ends", **FIELDS)
        said.say("transition", node="i-1")
        (event,) = heard()
    assert (event["detail-type"], event["detail"]) == ("Exemption Ends", FIELDS)
    assert [what for what, _ in notices.said] == ["exemption_ends", "transition"]


class _Bus:
    def __init__(self, answer: dict[str, Any] | Exception) -> None:
        self._answer = answer

    def put_events(self, **_: Any) -> dict[str, Any]:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    "answer",
    [
        {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "x"}]},
        EndpointConnectionError(endpoint_url="https://events.example.com"),
    ],
)
def test_an_event_that_does_not_go_out_is_said_and_stops_nothing(answer: Any) -> None:
    notices = Collected()
    Announced(notices, "default", lambda: _Bus(answer)).say("exemption_ends", **FIELDS)
    assert [what for what, _ in notices.said] == ["exemption_ends", "not_announced"]
