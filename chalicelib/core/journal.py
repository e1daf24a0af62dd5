"""The journal: what people and guards did to the service itself, as hash-chained lines beside the trails of nodes.

A *subject* is `kind/name`, such as `pause/account/111122223333`; its newest entry is what holds of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.moments import format_moment, parse_moment, stored
from chalicelib.core.remediations import LONGEST_SENTENCE, sentence


class Kind(StrEnum):
    """What entries are about; the first part of every subject."""

    PAUSE = "pause"
    GUARD = "guard"
    ROLLOUT = "rollout"
    ACCOUNT = "account"
    SCHEDULE = "schedule"
    EMERGENCY = "emergency"
    BASELINE = "baseline"
    APPROVAL = "approval"
    FAILURE = "failure"
    EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `what` happened, in the past tense, to `subject`; `value` is what holds of it from then on.

    `value` holds JSON types; an entry that ends what the one before began has `{}`,
    or nothing but the key of the `request` that wrote it.
    """

    subject: str
    number: int
    at: datetime
    what: str
    because: str
    actor: str
    value: Mapping[str, Any] = field(hash=False)
    previous: str
    hash: str = ""

    @property
    def kind(self) -> Kind:
        return Kind(self.subject.split("/", 1)[0])

    @property
    def name(self) -> str:
        """The subject without its kind."""
        return self.subject.split("/", 1)[1]

    def to_json(self) -> dict[str, Any]:
        known = {name: getattr(self, name) for name in self.__slots__}
        return {**known, "at": format_moment(self.at), "value": dict(self.value)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Entry:
        return cls(**{**value, "at": parse_moment(value["at"])})


def subject_of(kind: Kind, name: str) -> str:
    return f"{kind}/{name}"


def entry(
    last: Entry | None, subject: str, what: str, *, because: str, actor: str, now: datetime,
    value: Mapping[str, Any] | None = None,
) -> Entry:  # fmt: skip
    """The entry that follows `last`, the newest of its subject; None: the subject has none yet."""
    number, previous = (last.number + 1, last.hash) if last else (1, GENESIS)
    line = Entry(
        subject=subject,
        number=number,
        at=stored(now),
        what=what,
        because=sentence(because, LONGEST_SENTENCE),
        actor=sentence(actor, 128),
        value=dict(value or {}),
        previous=previous,
    )
    return replace(line, hash=link(previous, line.to_json()))


def fault(newest: Entry | None, lines: Sequence[Entry]) -> str | None:
    """The first thing wrong with the entries of one subject, naming the line; None if there is nothing."""
    previous = GENESIS
    for number, line in enumerate(lines, 1):
        if line.number != number:
            return f"journal {line.subject}: line {number} is missing; line {line.number} stands in its place"
        if line.previous != previous or line.subject != lines[0].subject:
            return f"journal {line.subject}: line {number} does not follow from the line before it"
        if link(previous, line.to_json()) != line.hash:
            return f"journal {line.subject}: line {number} was changed after it was written"
        previous = line.hash
    if newest != (lines[-1] if lines else None):
        subject = newest.subject if newest else lines[0].subject
        return f"journal {subject}: it ends at line {len(lines)}, but line {newest.number if newest else 0} holds"
    return None
