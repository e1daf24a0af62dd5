"""Waves: in which order the nodes of a policy start, each wave only after the one before it was verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.compiled import NONE, exactly, seconds
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.surges import as_of, verified

MOST_OPEN = 2000
"""How many nodes of a wave are in work at once while another wave waits for it: the ledger remembers each."""


SOON = ("busy", "max_per_hour")
"""What `held` says of a case that waits, and comes back by itself soon: its wave is not over without it."""


@dataclass(frozen=True, slots=True)
class Wave:
    """`percent` of the nodes counted from the first, or so many `nodes`, or those with a tag's value.

    `soak` is how long the wave after it waits once it is verified; more failures than `max_errors` stop the rollout.
    """

    tag: tuple[str, str] | None
    nodes: int | None
    percent: int | None
    soak: timedelta
    max_errors: int

    @classmethod
    def from_json(cls, value: object) -> Wave:
        known = exactly(value, "a wave", {"tag": (str, NONE), "nodes": (int, NONE), "percent": (int, NONE),
                                          "soak": int, "max_errors": int})  # fmt: skip
        if sum(known[name] is not None for name in ("tag", "nodes", "percent")) != 1:
            raise PolicyError(f"the policy set is malformed: {value!r:.60} is no wave")
        name, _, wanted = (known["tag"] or "").partition("=")
        return cls(**{**known, "tag": (name, wanted) if name else None, "soak": seconds(known["soak"]) or timedelta()})

    def __str__(self) -> str:
        if self.tag:
            return "=".join(self.tag)
        return counted(self.nodes, "node") if self.nodes else f"{self.percent} %"


def wave_of(policy: str, waves: tuple[Wave, ...], node: str, tags: Mapping[str, str]) -> int:
    """The wave of a node, from 0: by its tag, or by its number; who is chosen for a count is not known before."""
    tag = next((at for at, wave in enumerate(waves) if wave.tag and tags.get(wave.tag[0]) == wave.tag[1]), None)
    if tag is not None:
        return tag
    place = number(policy, node)
    shares = (at for at, wave in enumerate(waves) if wave.percent is not None and place < wave.percent * 100)
    return next(shares, len(waves) - 1)


def number(policy: str, node: str) -> int:
    """The stable place of a node in the rollouts of a policy, 0 to 9,999, spread evenly and for each policy anew."""
    return int(hashlib.sha256(f"{policy}/waves/{node}".encode()).hexdigest()[:15], 16) % 10_000


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the rollout of one policy at one digest stands; `wave` is the one of its `waves` that is open, from 0.

    `picked`: which wave a node was chosen for where a wave counts nodes. `begun`: when the open wave was opened.
    `done`: when it was verified. `free`: what was first seen up to then belongs to the rollout before this one.
    `forgiven`: failures that a person has let pass. `stopped`: why it goes no further, or None.
    """

    policy: str
    digest: str
    number: int
    begun: datetime
    waves: int
    wave: int = 0
    picked: Mapping[str, int] = field(default_factory=dict, hash=False)
    done: datetime | None = None
    free: datetime | None = None
    forgiven: int = 0
    stopped: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "policy": self.policy, "digest": self.digest, "number": self.number, "waves": self.waves,
            "wave": self.wave,
            "begun": format_moment(self.begun), "picked": dict(self.picked), "done": _text(self.done),
            "free": _text(self.free), "forgiven": self.forgiven, "stopped": self.stopped,
            "tripped": self.stopped is not None,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Progress:
        known = {name: value[name] for name in cls.__slots__}
        moments = {name: parse_moment(known[name]) if known[name] else None for name in ("done", "free")}
        return cls(**{**known, **moments, "begun": parse_moment(known["begun"])})

    def last(self, waves: tuple[Wave, ...]) -> bool:
        return self.wave >= len(waves) - 1

    def mine(self, case: Remediation) -> bool:
        """Whether the case belongs to this rollout, and not to one that has opened its last wave before."""
        return self.free is None or case.first_seen is None or case.first_seen > self.free

    def of(self, case: Remediation, waves: tuple[Wave, ...]) -> int:
        """The wave that the case is in."""
        if case.id in self.picked:
            return self.picked[case.id]
        return int(case.decision.get("wave", len(waves) - 1))

    def pick(
        self,
        cases: Iterable[Remediation],
        waves: tuple[Wave, ...],
        passed: int = 0,
        stuck: frozenset[str] = frozenset(),
    ) -> Progress:
        """With the nodes chosen that the open wave counts, and one for each that was `passed` over.

        Where nobody has the wave's tag, one node stands in: there is always a canary. Who is `stuck` is not chosen,
        and who was chosen and is stuck now is replaced as soon as there is another one.
        """
        wave, joined = waves[self.wave], list(cases)
        chosen = [id for id, at in self.picked.items() if at == self.wave]
        waits = [id for id in chosen if id in stuck]
        inside = any(case.id not in self.picked and self.of(case, waves) == self.wave for case in joined)
        wanted = wave.nodes - len(chosen) + passed if wave.nodes else 0
        if wave.tag and not inside:
            wanted = 1 - len(chosen) + passed
        if wanted + len(waits) <= 0:
            return self
        rest = [case for case in joined if self.of(case, waves) > self.wave and case.id not in stuck]
        rest.sort(key=lambda case: (number(self.policy, str(case.node)), case.id))
        fresh = rest[: wanted + len(waits)]
        left = waits[: max(len(fresh) - max(wanted, 0), 0)]
        kept = {id: at for id, at in self.picked.items() if id not in left}
        return replace(self, picked={**kept, **{case.id: self.wave for case in fresh}}) if fresh else self

    def opens(self, now: datetime) -> Progress:
        return replace(self, wave=self.wave + 1, begun=now, done=None, forgiven=0)


@dataclass(frozen=True, slots=True)
class Count:
    """How the nodes of the open wave fare: `open` are in work, each with the end of its execution before."""

    rollout: int
    wave: int
    open: Mapping[str, str] = field(default_factory=dict, hash=False)
    verified: int = 0
    failed: int = 0
    passed: int = 0

    def to_json(self) -> dict[str, Any]:
        return {name: dict(self.open) if name == "open" else getattr(self, name) for name in self.__slots__}

    @classmethod
    def of(cls, value: Mapping[str, Any] | None, progress: Progress) -> Count:
        """The stored count, if it is of the wave that is open; else one of nothing."""
        found = cls(**value) if value else None
        if found and (found.rollout, found.wave) == (progress.number, progress.wave):
            return found
        return cls(progress.number, progress.wave)

    def after(self, heads: Mapping[str, Remediation]) -> Count:
        """The count after what became of these members; one that is still in work stays open."""
        still, told = dict(self.open), {"verified": 0, "failed": 0, "passed": 0}
        for id, before in self.open.items():
            case = heads.get(id)
            if case is not None and (case.active or case.state is State.QUEUED or _soon(case, before)):
                continue
            told[_fared(case, before)] += 1
            del still[id]
        return replace(
            self,
            open=still,
            verified=self.verified + told["verified"],
            failed=self.failed + told["failed"],
            passed=self.passed + told["passed"],
        )


def _soon(case: Remediation, before: str) -> bool:
    return case.state is State.WAITING and case.held in SOON and as_of(case) == before


def _fared(case: Remediation | None, before: str) -> str:
    """Verified by a scan after its execution, failed, or neither: gone, exempt, or waiting for a reboot or a window."""
    if case is None or as_of(case) == before:
        return "passed"
    if case.state is State.RESOLVED:
        return "verified" if verified(case, before) else "passed"
    return "failed" if case.state in (State.WAITING, State.TICKETED) else "passed"


def _text(moment: datetime | None) -> str | None:
    return format_moment(moment) if moment else None
