"""Announcements: notices that others may wait for, sent on as EventBridge events beside their line in the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chalicelib.adapters.accounts import botocore_session, configuration, translating
from chalicelib.core.errors import Denied, Temporary
from chalicelib.ports import Notices

SOURCE = "patchwarden"
ANNOUNCED = {"exemption_ends": "Exemption Ends"}
"""Which notices go out, and their detail-type."""


class Announced:
    """The port `Notices` over another one, and an event bus that hears some of them.

    An event that does not go out is said in the log; nothing waits for it.
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
    """

    def __init__(self, notices: Notices, bus: str, client: Callable[[], Any] | None = None) -> None:
        self._notices = notices
        self._bus = bus
        self._connect = client or _client
        self._connected: Any = None

    def say(self, what: str, /, **fields: Any) -> None:
        self._notices.say(what, **fields)
        if what not in ANNOUNCED:
            return
        try:
            self._send(ANNOUNCED[what], fields)
        except (Temporary, Denied) as error:
            self._notices.say("not_announced", notice=what, because=str(error))

    def _send(self, kind: str, fields: dict[str, Any]) -> None:
        entry = {
            "Source": SOURCE,
            "DetailType": kind,
            "Detail": json.dumps(fields, default=str),
            "EventBusName": self._bus,
        }
        with translating(f"bus {self._bus} events:PutEvents"):
            self._connected = self._connected or self._connect()
            answer = self._connected.put_events(Entries=[entry])
        # a refused entry comes back with HTTP 200
        if answer["FailedEntryCount"]:
            refused = answer["Entries"][0]
            raise Denied(f"bus {self._bus}: {refused.get('ErrorCode')}: {refused.get('ErrorMessage')}")


def _client() -> Any:
    return botocore_session().create_client("events", config=configuration())
