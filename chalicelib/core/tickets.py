"""Tickets: the person's turn, and the errands that bring them there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import LONGEST_SENTENCE, Remediation, sentence


class Deed(StrEnum):
    OPEN = "open"
    UPDATE = "update"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Errand:
    """A deed that a written line owes the ticket system; it stays in the ledger until it is done.

    `key` is what the ticket system deduplicates by: 1 to 512 characters.
    """

    id: str
    remediation: str
    deed: Deed
    location: Location
    key: str
    title: str
    body: str
    severity: int
    due: datetime
    tries: int = 0
    ticket: str | None = None

    def to_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in self.__slots__}
        return {**told, "deed": self.deed.value, "location": str(self.location), "due": format_moment(self.due)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Errand:
        return cls(**{**value, "deed": Deed(value["deed"]), "location": Location(*value["location"].split("/")),
                      "due": parse_moment(value["due"])})  # fmt: skip


_IMAGE = "patchwarden/image/"


def key_of(case: Remediation) -> str:
    """What the case's ticket is known by: its own, or one that all nodes of an immutable group share."""
    image = case.decision.get("image")
    return f"{_IMAGE}{image}" if image else f"patchwarden/{case.id}/{case.episode}"


def shared(key: str) -> bool:
    """Whether several remediations have this ticket together."""
    return key.startswith(_IMAGE)


def _title(case: Remediation) -> str:
    image = case.decision.get("image")
    if image:
        account, region, group = str(image).split("/", 2)
        return f"Auto Scaling group {group} in {account}/{region}: a new image is due, a person's turn"
    what = case.emergency or f"{case.control} non-compliant"
    return f"{case.node.id} in {case.location}: {what}, a person's turn"


def errand(case: Remediation, deed: Deed, *, number: int, because: str, now: datetime) -> Errand:
    """The errand that line `number` of the case owes.

    It is due a minute later: who wrote the line runs it at once, the sweep only what stayed behind.
    """
    policy = case.decision.get("policy") or "no policy"
    lines = [
        f"Node: {case.node}",
        f"Control: {case.control}",
        f"Policy: {policy}",
        f"Non-compliant since: {format_moment(case.first_seen) if case.first_seen else 'unknown'}",
        f"Failed attempts: {case.attempts}",
        f"Look it up: patchwarden audit show {case.node}",
        "",
        sentence(because, LONGEST_SENTENCE),
    ]
    return Errand(
        id=f"{case.id}#{number}",
        remediation=case.id,
        deed=deed,
        location=case.location,
        key=key_of(case),
        title=_title(case)[:200],
        body="\n".join(lines)[:2048],
        severity=int(case.decision.get("severity", 3)),
        due=now + timedelta(minutes=1),
        ticket=case.ticket,
    )
