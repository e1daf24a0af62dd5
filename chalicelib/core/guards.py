"""Guards: what may start now, and why the rest is held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState, Plan
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Remediation

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Held:
    """A remediation that may not start now. `until` is when to ask again, None: when room is made.

    `told`: the guard has a ticket of its own, so that a deadline which passes meanwhile opens no other one.
    """

    case: Remediation
    guard: str
    because: str
    until: datetime | None = None
    told: bool = False

    @property
    def location(self) -> Location:
        return self.case.location


@dataclass(frozen=True, slots=True)
class Admitted:
    """What may start together, and the leases that each member must take first."""

    location: Location
    plan: Plan
    cases: tuple[Remediation, ...]
    leases: dict[str, tuple[str, ...]] = field(hash=False)


@dataclass(slots=True)
class Room:
    """What is left to hand out in one round of dispatch; counted down while it is handed out."""

    running: Counter[Location]
    started: dict[str, list[datetime]]
    taken: set[str]
    per_location: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    grouped: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(
        cls, active: Iterable[Remediation], open_batches: Iterable[Batch], recent: Iterable[Batch], per_location: int,
        sizes: Mapping[str, int] | None = None,
    ) -> Room:  # fmt: skip
        """`sizes`: how many nodes of each group run, by its token, where a limit is a share of them."""
        started: dict[str, list[datetime]] = {}
        for batch in recent:
            if batch.state is not BatchState.WITHDRAWN:
                for member in batch.members:
                    started.setdefault(member.policy, []).append(batch.created_at)
        room = cls(Counter(batch.location for batch in open_batches), started, set(), per_location, sizes or {})
        for case in active:
            room.take(case.leases)
        return room

    def take(self, leases: Iterable[str]) -> None:
        """These are handed out now, or were before."""
        new = [lease for lease in leases if lease not in self.taken]
        self.taken.update(new)
        self.grouped.update(lease.rpartition("/")[0] for lease in new)

    def most(self, group: Mapping[str, Any]) -> int:
        """How many of the group may be in work: of a share whose whole is not known, one."""
        limit = group["max"]
        if isinstance(limit, int):
            return limit
        return max(1, self.sizes.get(group["token"], 0) * int(limit.rstrip("%")) // 100)

    def full(self, case: Remediation) -> Held | None:
        """That the place of the case has no room for one more execution, or None."""
        if self.running[case.location] < self.per_location:
            return None
        because = f"{self.running[case.location]} executions run in {case.location}, the limit is {self.per_location}"
        return Held(case, "concurrency", because)


def admit(
    leaving: Iterable[tuple[Location, Plan, list[Remediation]]], room: Room, now: datetime
) -> tuple[list[Admitted], list[Held]]:
    """Part what wants to leave into what may start now and what is held, each with its sentence."""
    admitted: list[Admitted] = []
    held: list[Held] = []
    for location, plan, cases in leaving:
        if full := [one for case in cases if (one := room.full(case))]:
            held += full
            continue
        leases: dict[str, tuple[str, ...]] = {}
        for case in cases:
            found = _hourly(case, room, now) or _leases(case, room)
            if isinstance(found, Held):
                held.append(found)
                continue
            leases[case.id] = found
            room.take(found)
            room.started.setdefault(str(case.decision.get("policy")), []).append(now)
        if leases:
            room.running[location] += 1
            admitted.append(Admitted(location, plan, tuple(case for case in cases if case.id in leases), leases))
    return admitted, held


def _hourly(case: Remediation, room: Room, now: datetime) -> Held | None:
    limit, policy = case.decision.get("per_hour"), str(case.decision.get("policy"))
    if not limit:
        return None
    recent = sorted(moment for moment in room.started.get(policy, []) if moment > now - HOUR)
    if len(recent) < limit:
        return None
    told = f"{policy} started {counted(len(recent), 'node')} in the last hour, its limit is {limit}"
    return Held(case, "max_per_hour", told,
                until=recent[len(recent) - int(limit)] + HOUR)  # fmt: skip


def _leases(case: Remediation, room: Room) -> tuple[str, ...] | Held:
    node = f"node/{case.node}"
    if node in room.taken:
        return Held(case, "node", "another execution works on this node")
    leases = [node]
    for group in groups_of(case):
        name, most = f"group/{group['token']}", room.most(group)
        free = next((slot for number in range(most) if (slot := f"{name}/{number}") not in room.taken), None)
        # a group that shrank, or that another policy allows more of, may hold slots beyond these
        if free is None or room.grouped[name] >= most:
            known = room.sizes.get(group["token"], "an unknown number")
            share = "" if isinstance(group["max"], int) else f" ({group['max']} of {known})"
            because = f"{room.grouped[name]} of group {group['token']} are in work, its limit is {most}{share}"
            return Held(case, "per_group", because)
        leases.append(free)
    return tuple(leases)


def groups_of(case: Remediation) -> list[Mapping[str, Any]]:
    """The groups whose limits hold for the case; a release before this one knew a single one."""
    groups = case.decision.get("groups")
    return list(groups) if groups is not None else [group for group in [case.decision.get("group")] if group]


def cool_down(attempts: int, first: timedelta) -> timedelta:
    """The pause after the n-th failed attempt: it doubles each time, to a week at most."""
    return min(first * (1 << min(attempts - 1, 14)), timedelta(days=7))
