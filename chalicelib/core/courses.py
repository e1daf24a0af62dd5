"""Courses: how long one episode of a remediation took from finding to proof, and what many took together."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.remediations import Cause, Transition

DECIDES = frozenset({Cause.OBSERVED, Cause.DEFERRED, Cause.QUEUED, Cause.TICKETED, Cause.EXEMPTED})


STAGES = ("detected", "decided", "started", "succeeded", "verified")
"""How far an episode comes, in this order; each stage holds all that came further."""


@dataclass(frozen=True, slots=True)
class Course:
    """One episode; moments are text, None: not yet, or not known. `state` is the last of the episode.

    `detected` is the first finding's own moment, `decided` the first decision's, `started` the first execution's,
    `verified` the proof's. Policy, severity and deadline are those of the episode's last decision that named them.
    `succeeded` is the first install's success, `because` the sentence of the last line that was more than a note.
    """

    remediation: str
    episode: int
    state: str
    detected: str
    decided: str | None
    started: str | None
    verified: str | None
    policy: str | None
    severity: int | None
    deadline: str | None
    succeeded: str | None = None
    because: str = ""

    @property
    def furthest(self) -> str:
        """The last of STAGES that it reached; who was proved without a start of ours stands where we left it."""
        if self.decided is None:
            return "detected"
        if self.started is None:
            return "decided"
        if self.verified:
            return "verified"
        return "succeeded" if self.succeeded else "started"

    @property
    def seconds(self) -> float | None:
        """From detected to verified; None: not verified."""
        return span(self.detected, self.verified)

    def breach(self, now: str) -> str | None:
        """When it broke its deadline, which is the deadline itself; None: it did not, or has none, up to `now`."""
        if self.deadline is None or self.deadline >= now or (self.state == "gone" and not self.verified):
            return None
        return self.deadline if self.verified is None or self.verified > self.deadline else None

    def to_json(self) -> dict[str, Any]:
        account, region, node, control = self.remediation.split(".", 3)
        return {
            "remediation": self.remediation, "account": account, "region": region, "node": node, "control": control,
            "episode": self.episode, "state": self.state, "policy": self.policy, "severity": self.severity,
            "detected": self.detected, "decided": self.decided, "started": self.started, "verified": self.verified,
            "deadline": self.deadline, "seconds": self.seconds, "succeeded": self.succeeded, "because": self.because,
        }  # fmt: skip


def span(begin: str | None, end: str | None) -> float | None:
    """Seconds between two moments; None if one is not known."""
    return (parse_moment(end) - parse_moment(begin)).total_seconds() if begin and end else None


def courses(lines: Iterable[Transition]) -> list[Course]:
    """The episodes of one trail, in order."""
    found: dict[int, dict[str, Any]] = {}
    episode = 0
    for line in lines:
        episode = int(line.sets.get("episode", episode))
        step(found.setdefault(episode, begin(line, episode)), line)
    return [Course(**value) for value in found.values()]


def begin(line: Transition, episode: int) -> dict[str, Any]:
    """The fields of an episode whose first line this is, before it is added by `step`."""
    return {"remediation": line.remediation, "episode": episode, "detected": format_moment(line.at), "decided": None,
            "started": None, "verified": None, "policy": None, "severity": None, "deadline": None,
            "succeeded": None, "because": ""}  # fmt: skip


def step(value: dict[str, Any], line: Transition) -> None:
    """Add a line to the fields of its episode."""
    at = format_moment(line.at)
    value["state"] = line.after.value
    value["detected"] = line.sets.get("first_seen") or value["detected"]
    value["decided"] = value["decided"] or (at if line.cause in DECIDES else None)
    value["started"] = value["started"] or (at if line.cause is Cause.STARTED else None)
    value["verified"] = value["verified"] or (at if line.cause is Cause.RESOLVED else None)
    value["succeeded"] = value["succeeded"] or (at if line.cause is Cause.SUCCEEDED else None)
    value["because"] = value["because"] if line.cause is Cause.NOTED else line.because
    made = line.sets.get("decision") or {}
    for name in ("policy", "severity", "deadline"):
        value[name] = made.get(name) or value[name]


def spread(seconds: Sequence[float]) -> dict[str, Any]:
    """`count`, and `median`, `p90`, `longest` in seconds (None: none): a quantile is the nearest rank's own value."""
    ordered = sorted(seconds)

    def rank(share: float) -> float | None:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None

    return {"count": len(ordered), "median": rank(0.5), "p90": rank(0.9), "longest": rank(1)}


_STEPS = ("detected", "decided", "started", "verified")
SPANS = (*pairwise(_STEPS), ("detected", "verified"))


def paced(found: Iterable[Course], since: str, until: str) -> dict[str, Any]:
    """How long those took that were verified with `since <= verified <= until`, and how far those came that were
    detected so: `{verified, spans, by_severity, by_policy, furthest: {stage: n}}`, as `speed.durations` tells them."""
    begun, proved = Counter[str](), list[Course]()
    for one in found:
        if since <= one.detected <= until:
            begun[one.furthest] += 1
        if one.verified and since <= one.verified <= until:
            proved.append(one)
    taken = [one.seconds or 0.0 for one in proved]
    return {
        "verified": len(proved),
        "spans": {f"{begin}_to_{end}": spread([between for one in proved if (
                      between := span(getattr(one, begin), getattr(one, end))) is not None]) for begin, end in SPANS},
        "by_severity": grouped("severity", _together([one.severity for one in proved], taken)),
        "by_policy": grouped("policy", _together([one.policy for one in proved], taken)),
        "furthest": dict(begun),
    }  # fmt: skip


def _together(keys: Iterable[Any], taken: Iterable[float]) -> dict[Any, dict[str, Any]]:
    groups = defaultdict[Any, list[float]](list)
    for key, seconds in zip(keys, taken, strict=True):
        groups[key].append(seconds)
    return {key: spread(seconds) for key, seconds in groups.items()}


def grouped(name: str, groups: Mapping[Any, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows `{<name>, count, median, p90, longest}` in the order of their names, what has none last."""
    return [{name: key, **groups[key]} for key in sorted(groups, key=lambda key: (key is None, str(key)))]
