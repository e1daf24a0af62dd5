"""Remediations: the case of one node and control over time, and the only law by which it moves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.errors import IllegalTransition
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.moments import format_moment, parse_moment, stored
from chalicelib.core.nodes import Location, Node


class State(StrEnum):
    OPEN = "open"
    WAITING = "waiting"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    VERIFYING = "verifying"
    REBOOT_PENDING = "reboot_pending"
    TICKETED = "ticketed"
    EXEMPT = "exempt"
    RESOLVED = "resolved"
    GONE = "gone"


class Cause(StrEnum):
    """What happened, in the past tense. Only `NOTED` leaves the state as it was."""

    NOTED = "noted"
    OBSERVED = "observed"
    DEFERRED = "deferred"
    QUEUED = "queued"
    TICKETED = "ticketed"
    EXEMPTED = "exempted"
    INTENDED = "intended"
    WITHDRAWN = "withdrawn"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REBOOT_NEEDED = "reboot_needed"
    RESOLVED = "resolved"
    GONE = "gone"


ACTIVE = frozenset({State.STARTING, State.RUNNING, State.VERIFYING})
"""States in which the node's lease is held."""

WAITS = (State.WAITING, State.QUEUED, State.REBOOT_PENDING, State.TICKETED, State.EXEMPT, State.OPEN)
"""States in which nothing is being done about the node now."""

_ENDED = {Cause.RESOLVED: State.RESOLVED, Cause.GONE: State.GONE}
_DECIDED = {
    Cause.OBSERVED: State.OPEN,
    Cause.DEFERRED: State.WAITING,
    Cause.QUEUED: State.QUEUED,
    Cause.TICKETED: State.TICKETED,
    Cause.EXEMPTED: State.EXEMPT,
    **_ENDED,
}

TRANSITIONS: dict[State, dict[Cause, State]] = {
    State.OPEN: {Cause.NOTED: State.OPEN, **_DECIDED},
    State.WAITING: {Cause.NOTED: State.WAITING, **_DECIDED},
    State.QUEUED: {
        Cause.NOTED: State.QUEUED,
        **_DECIDED,
        Cause.INTENDED: State.STARTING,
        Cause.FAILED: State.WAITING,
    },
    State.STARTING: {
        Cause.NOTED: State.STARTING,
        Cause.STARTED: State.RUNNING,
        Cause.WITHDRAWN: State.QUEUED,
        Cause.TICKETED: State.TICKETED,
        **_ENDED,
    },
    State.RUNNING: {
        Cause.NOTED: State.RUNNING,
        Cause.SUCCEEDED: State.VERIFYING,
        Cause.WITHDRAWN: State.QUEUED,
        Cause.FAILED: State.WAITING,
        **_ENDED,
    },
    State.VERIFYING: {
        Cause.NOTED: State.VERIFYING,
        Cause.FAILED: State.WAITING,
        Cause.REBOOT_NEEDED: State.REBOOT_PENDING,
        **_ENDED,
    },
    State.REBOOT_PENDING: {Cause.NOTED: State.REBOOT_PENDING, **_DECIDED},
    State.TICKETED: {Cause.NOTED: State.TICKETED, **_DECIDED},
    State.EXEMPT: {Cause.NOTED: State.EXEMPT, **_DECIDED},
    State.RESOLVED: {Cause.NOTED: State.RESOLVED, **_DECIDED},
    State.GONE: {Cause.NOTED: State.GONE, **_DECIDED},
}

LONGEST_SENTENCE = 1000
LONGEST_ACTOR = 128

_MOMENTS = frozenset({"at", "since", "first_seen", "observed_at", "attempted_at", "due", "cools_until"})


@dataclass(frozen=True, slots=True)
class Transition:
    """One numbered, hash-chained line of the trail. `sets` are the fields of the remediation it changes."""

    remediation: str
    number: int
    at: datetime
    before: State
    cause: Cause
    after: State
    because: str
    actor: str
    sets: Mapping[str, Any]
    evidence: Mapping[str, Any]
    previous: str
    hash: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "remediation": self.remediation,
            "number": self.number,
            "at": format_moment(self.at),
            "before": self.before.value,
            "cause": self.cause.value,
            "after": self.after.value,
            "because": self.because,
            "actor": self.actor,
            "sets": dict(self.sets),
            "evidence": dict(self.evidence),
            "previous": self.previous,
            "hash": self.hash,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Transition:
        return cls(
            **{
                **line,
                "at": parse_moment(line["at"]),
                "before": State(line["before"]),
                "cause": Cause(line["cause"]),
                "after": State(line["after"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Remediation:
    """What the transitions so far add up to. Moments are UTC.

    `observed_at` is the newest claim, `attempted_at` the end of the last execution that may have touched the node: no
    scan from before it proves anything. `unreached` counts those that never came to it. `due` is the next moment it
    may run or be asked; `cools_until` the end of the pause after a failed attempt; `held` the guard or condition that
    keeps it from starting; `emergency` the one that opened it. `at` is the moment of the newest line; a head of a
    release that did not keep it has none until its next line.
    """

    node: Node
    control: Control
    state: State = State.OPEN
    number: int = 0
    hash: str = GENESIS
    episode: int = 0
    since: datetime | None = None
    first_seen: datetime | None = None
    observed_at: datetime | None = None
    attempted_at: datetime | None = None
    due: datetime | None = None
    cools_until: datetime | None = None
    attempts: int = 0
    unreached: int = 0
    because: str = ""
    decision: Mapping[str, Any] = field(default_factory=dict, hash=False)
    plan: Mapping[str, Any] = field(default_factory=dict, hash=False)
    leases: tuple[str, ...] = ()
    batch: str | None = None
    execution: str | None = None
    ticket: str | None = None
    held: str | None = None
    last_outcome: str | None = None
    emergency: str | None = None
    at: datetime | None = None
    id: str = field(init=False, repr=False, compare=False)
    """Follows from node and control. A round of dispatch asks for it in every loop, so it is made once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", remediation_id(self.node, self.control))

    @property
    def location(self) -> Location:
        return self.node.location

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def turn(self) -> str:
        """Sorts as text: by due moment, then the higher priority, then id; without a due moment, last of all."""
        due = format_moment(self.due) if self.due else "~"
        return f"{due}#{10**9 - int(self.decision.get('priority', 0)):010}#{self.id}"

    def to_json(self) -> dict[str, Any]:
        """JSON types only; `from_json` gives the equal value back."""
        value = _fields(self)
        for name in _MOMENTS:
            value[name] = format_moment(value[name]) if value[name] else None
        return {**value, "node": str(self.node), "control": self.control.value, "state": self.state.value,
                "decision": dict(self.decision), "plan": dict(self.plan), "leases": list(self.leases)}  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Remediation:
        """The remediation; a field that only a newer release knows is left aside, so that two of them can overlap."""
        node, control, state = Node(*value["node"].split("/")), Control(value["control"]), State(value["state"])
        rest = {name: _typed(name, value[name]) for name in value if name in _READ}
        return cls(node=node, control=control, state=state, **rest)


_STORED = tuple(name for name in Remediation.__slots__ if name != "id")
_stored = attrgetter(*_STORED)
_READ = frozenset(_STORED) - {"node", "control", "state"}


def _typed(name: str, value: Any) -> Any:
    if name in _MOMENTS and value is not None:
        return parse_moment(value)
    return tuple(value) if name == "leases" else value


def advance(
    case: Remediation,
    cause: Cause,
    *,
    because: str,
    now: datetime,
    actor: str = "patchwarden",
    sets: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Transition:
    """The next line of the case's trail. `sets` holds JSON types; IllegalTransition if the table has no row.

    It is never stamped before the line it follows: two writers' clocks differ, and a trail is read by its moments.
    """
    after = TRANSITIONS[case.state].get(cause)
    if after is None:
        raise IllegalTransition(f"{case.id} is {case.state}: it cannot be {cause}")
    line = Transition(
        remediation=case.id,
        number=case.number + 1,
        at=stored(max(now, case.at or now)),
        before=case.state,
        cause=cause,
        after=after,
        because=sentence(because, LONGEST_SENTENCE),
        actor=sentence(actor, LONGEST_ACTOR),
        sets=dict(sets or {}),
        evidence=dict(evidence or {}),
        previous=case.hash,
    )
    return replace(line, hash=link(case.hash, line.to_json()))


def sentence(text: str, most: int) -> str:
    """One line of printable text: what AWS and nodes told us ends up in tickets, logs and terminals."""
    line = " ".join(text.split())
    return (line if line.isprintable() else "".join(filter(str.isprintable, line)))[:most]


def apply(case: Remediation, line: Transition) -> Remediation:
    """The case after the line; IllegalTransition if the line does not follow from it."""
    fields = _fields(case)
    _follow(fields, line, case.id)
    return Remediation(**fields)


def _fields(case: Remediation) -> dict[str, Any]:
    return dict(zip(_STORED, _stored(case), strict=True))


def _follow(fields: dict[str, Any], line: Transition, identity: str) -> None:
    """Write the line into the fields of the case before it."""
    before: State = fields["state"]
    if line.number != fields["number"] + 1 or line.previous != fields["hash"] or line.before is not before:
        raise IllegalTransition(f"line {line.number} does not follow line {fields['number']} of {identity}")
    if TRANSITIONS[before].get(line.cause) is not line.after:
        raise IllegalTransition(f"line {line.number} of {identity}: {before} cannot be {line.cause} into {line.after}")
    for name, value in line.sets.items():
        fields[name] = _typed(name, value)
    if line.after is not before or fields["since"] is None:
        fields["since"] = line.at
    if line.cause is not Cause.NOTED:
        fields["because"] = line.because
    fields["state"], fields["number"], fields["hash"], fields["at"] = line.after, line.number, line.hash, line.at


def replay(node: Node, control: Control, lines: Iterable[Transition]) -> Remediation:
    """The remediation that these lines, in order, add up to."""
    case = Remediation(node, control)
    fields = _fields(case)
    for line in lines:
        _follow(fields, line, case.id)
    return Remediation(**fields)
