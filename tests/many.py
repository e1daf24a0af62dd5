"""A ledger of many remediations with true trails over several days, made without running the service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.adapters.memory import MemoryLedger
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.ports import Change

BEGIN = datetime(2026, 11, 2, 6, tzinfo=UTC)
ACCOUNTS = ("111122223333", "444455556666", "777788889999")
UNITS = ("ou-ab12-prod00001", "ou-ab12-test00001")

_STEPS = (
    (Cause.DEFERRED, timedelta(0)), (Cause.QUEUED, timedelta(hours=30)), (Cause.INTENDED, timedelta(minutes=5)),
    (Cause.STARTED, timedelta(seconds=2)), (Cause.NOTED, timedelta(minutes=7)), (Cause.SUCCEEDED, timedelta(minutes=9)),
    (Cause.RESOLVED, timedelta(minutes=3)),
)  # fmt: skip


def fill(ledger: MemoryLedger, count: int) -> datetime:
    """Write so many remediations, found one after the other over three weeks; the moment of the last line."""
    last = BEGIN
    for number in range(count):
        for change in changes(number, BEGIN + timedelta(days=21) * number / count):
            ledger.append(change)
            last = max(last, change.line.at)
    return last


def changes(number: int, at: datetime) -> Iterator[Change]:
    """One trail: some stop on their way, some break their deadline, some come back."""
    node = Node(ACCOUNTS[number % 3], ("eu-west-1", "us-east-1")[number % 2], f"i-{number:017x}")
    case = Remediation(node, Control.PATCH)
    decision = {"policy": f"policy-{number % 5}", "policy_digest": f"{number % 5}" * 64, "set_digest": "a" * 64,
                "action": "remediate", "severity": number % 4 + 1, "priority": 0,
                "deadline": format_moment(at + timedelta(hours=20 + number % 30))}  # fmt: skip
    facts = {"node": {"tags": {"Team": ("web", "data")[number % 2]}}, "ou": UNITS[number % 2]}
    again = number % 9 == 0
    for episode in range(1 + again):
        for place, (cause, pause) in enumerate(_STEPS[: len(_STEPS) if again else 1 + number % len(_STEPS)]):
            at += pause * (1 + number % 11)
            sets: dict[str, Any] = {}
            if place == 0:
                sets = {"first_seen": format_moment(at), "decision": decision, "due": format_moment(at),
                        **({"episode": episode} if episode else {})}  # fmt: skip
            line = advance(case, cause, because=f"step {place}", now=at, sets=sets,
                           evidence={"facts": facts} if place == 0 else {})  # fmt: skip
            case = apply(case, line)
            yield Change(line, case)
        at += timedelta(days=2)
