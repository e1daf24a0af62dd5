"""Letters: what came to nothing after every try, as it lies in a queue until somebody sends it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import sentence

_ARN = r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:"
OURS = re.compile(rf"{_ARN}(patchwarden-[A-Za-z0-9_-]+)(?::[A-Za-z0-9$_-]+)?\Z")
"""The function that a failure may go back to. A queue's text names it, so it must be one of ours."""

LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as its queue holds it. `handle` is what it is deleted by; `tries` how often it was received."""

    id: str
    queue: str
    body: str
    attributes: Mapping[str, str] = field(hash=False)
    sent_at: datetime
    tries: int
    handle: str


@dataclass(frozen=True, slots=True)
class Failure:
    """What a letter says. `function` None: it cannot be sent again, and `because` says why."""

    letter: Letter
    function: str | None
    payload: Any
    because: str

    @property
    def about(self) -> str:
        """The event's type and account, or what else it was, in a few words."""
        if not isinstance(self.payload, dict):
            return "unreadable"
        kind = self.payload.get("detail-type") or ("request" if "ResourceId" in self.payload else "invocation")
        return sentence(f"{kind} {self.payload.get('account') or self.payload.get('AccountId') or ''}", 120)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.letter.id, "queue": self.letter.queue, "at": format_moment(self.letter.sent_at),
                "function": self.function, "about": self.about, "because": self.because,
                "payload": self.payload}  # fmt: skip


def read(letter: Letter) -> Failure:
    """What failed, where it was to go and why; never raises for what a letter holds.

    A rule's dead letter is the event, with attributes:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    A function's is a record with `requestContext` and `requestPayload`:
    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    try:
        body = json.loads(letter.body)
    except ValueError:
        return Failure(letter, None, None, "it holds no JSON, so nobody can say what it was")
    if isinstance(body, dict) and isinstance(body.get("requestContext"), dict):
        context, answer = body["requestContext"], body.get("responsePayload")
        error = answer.get("errorMessage") if isinstance(answer, dict) else None
        why = f"{context.get('condition') or 'failed'}: {error or 'no error was told'}"
        return _to(letter, context.get("functionArn"), body.get("requestPayload"), why)
    told = letter.attributes
    why = f"{told.get('ERROR_CODE') or 'not delivered'}: {told.get('ERROR_MESSAGE') or 'no error was told'}"
    return _to(letter, told.get("TARGET_ARN"), body, why)


def _to(letter: Letter, arn: object, payload: Any, why: str) -> Failure:
    found = OURS.match(arn) if isinstance(arn, str) else None
    because = sentence(why, LONGEST_REASON)
    if not isinstance(payload, dict):
        return Failure(letter, None, payload, f"{because}; it holds no event")
    if found is None:
        return Failure(letter, None, payload, f"{because}; {sentence(repr(arn), 120)} is no function of Patchwarden")
    return Failure(letter, found.group(1), payload, because)
