"""Replay: past decisions put to another policy set, and what that would have changed. Nothing is asked of AWS."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.core.chain import canonical
from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.guards import HOUR
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Node
from chalicelib.core.plans import MOST_NODES
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation, Transition
from patchwarden.policy.testing import action_of

SAMPLES = 5
"""How many decisions are named for each change."""

_DECIDED = frozenset({Cause.OBSERVED, Cause.DEFERRED, Cause.QUEUED, Cause.TICKETED, Cause.EXEMPTED})
_ENDED = frozenset({Cause.RESOLVED, Cause.GONE})
_STARTS = frozenset({Cause.DEFERRED, Cause.QUEUED})


@dataclass(frozen=True, slots=True)
class Asked:
    """One past decision with all that it was made from; `decided` is what came of it then."""

    id: str
    at: datetime
    finding: Finding
    case: Remediation
    facts: Mapping[str, Any] = field(hash=False)
    decided: Decision | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """From `at` on the remediation needs no start any more."""

    remediation: str
    at: datetime


def asked(lines: Iterable[Transition]) -> Iterator[Asked | Ended]:
    """The decisions among the lines, which come in order per trail; notes repeat an earlier one and are left out."""
    cools: dict[str, datetime | None] = {}
    for line in lines:
        if "cools_until" in line.sets:
            cooled = line.sets["cools_until"]
            cools[line.remediation] = parse_moment(cooled) if cooled else None
        if line.cause in _ENDED:
            yield Ended(line.remediation, line.at)
        elif line.cause in _DECIDED and line.evidence.get("facts") and "control" in line.evidence.get("finding", {}):
            yield _asked(line, cools.get(line.remediation))


def _asked(line: Transition, cools_until: datetime | None) -> Asked:
    facts, said = line.evidence["facts"], line.evidence["finding"]
    account, region, rest = line.remediation.split(".", 2)
    node, history = Node(account, region, rest.rpartition(".")[0]), facts["history"]
    finding = Finding(node, Control(said["control"]), said["compliant"], parse_moment(said["observed_at"]),
                      Source(said["source"]), said["rule"], facts["detail"])  # fmt: skip
    case = Remediation(node, finding.control, line.before, number=line.number - 1, attempts=history["attempts"],
                       first_seen=parse_moment(history["first_seen"]), last_outcome=history["last_outcome"],
                       cools_until=cools_until)  # fmt: skip
    decided = Decision(line.cause, line.because, line.sets)
    return Asked(f"{line.remediation}#{line.number}", line.at, finding, case, facts, decided)


class Answer(NamedTuple):
    """What one set makes of a finding. `start` is when the node would leave, None: not at all."""

    action: str
    policy: str | None
    window: str | None
    start: datetime | None
    plan: str | None
    unknown: bool

    @property
    def text(self) -> str:
        window = f" in {self.window}" if self.window and self.start else ""
        return f"{self.action} by {self.policy}{window}" if self.policy else f"{self.action} by no policy"


def answer_of(decision: Decision, at: datetime) -> Answer:
    """The decision as two sets are compared by it; what leaves at once leaves at `at`."""
    made: Mapping[str, Any] = decision.sets.get("decision", {})
    starts = decision.cause in _STARTS
    start = None if not starts else at if decision.cause is Cause.QUEUED else parse_moment(decision.sets["due"])
    plan = canonical(decision.sets["plan"]) if starts else None
    return Answer(action_of(decision), made.get("policy"), made.get("window"), start, plan, bool(made.get("unknown")))


@dataclass(frozen=True, slots=True)
class Version:
    """One side of a comparison: a policy set, or None for what was decided at the time."""

    title: str
    policies: PolicySet | None
    linger: timedelta

    def answer(self, each: Asked) -> Answer:
        if self.policies is None:
            assert each.decided is not None, f"{each.id} was never decided"
            return answer_of(each.decided, each.at)
        return answer_of(decide(each.finding, each.case, each.facts, self.policies, each.at), each.at)


def as_decided(linger: timedelta) -> Version:
    return Version("as decided", None, linger)


def under(title: str, policies: PolicySet) -> Version:
    return Version(title, policies, policies.settings.linger)


class _Start(NamedTuple):
    at: datetime
    place: tuple[str, str, str]
    """Account, Region and plan: what shares an execution."""
    attempt: tuple[str, int]


class Starts:
    """The starts of one version: a later decision replaces what has not left yet, a repeated one starts nothing."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Start] = {}
        self._left: dict[str, tuple[str, int]] = {}
        self._all: list[_Start] = []

    def asked(self, each: Asked, answer: Answer) -> None:
        name, history = each.case.id, each.facts["history"]
        self.ended(name, each.at)
        attempt = (history["first_seen"], history["attempts"])
        if answer.start is not None and self._left.get(name) != attempt:
            place = (each.case.node.account, each.case.node.region, str(answer.plan))
            self._waiting[name] = _Start(answer.start, place, attempt)

    def ended(self, remediation: str, at: datetime) -> None:
        """What should have left by then has; the rest does not any more."""
        waiting = self._waiting.pop(remediation, None)
        if waiting and waiting.at <= at:
            self._leaves(remediation, waiting)

    def _leaves(self, remediation: str, start: _Start) -> None:
        self._left[remediation] = start.attempt
        self._all.append(start)

    def figures(self, linger: timedelta) -> dict[str, int]:
        """Nodes and executions started, and the most executions within an hour; guards and quotas are not modelled."""
        for name, waiting in list(self._waiting.items()):
            self._leaves(name, waiting)
        self._waiting.clear()
        leaves = sorted(_executions(self._all, linger))
        return {"nodes": len(self._all), "executions": len(leaves), "peak_per_hour": _peak(leaves)}


def _executions(starts: Iterable[_Start], linger: timedelta) -> Iterator[datetime]:
    """When executions leave: one is full with 50 nodes, or has waited as long as it may for company."""
    together: dict[tuple[str, str, str], list[datetime]] = defaultdict(list)
    for start in starts:
        together[start.place].append(start.at)
    for moments in together.values():
        opened, members = None, 0
        for moment in sorted(moments):
            if opened is None or members == MOST_NODES or moment > opened + linger:
                opened, members = moment, 0
                yield opened
            members += 1


def _peak(moments: list[datetime]) -> int:
    peak = first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - HOUR:
            first += 1
        peak = max(peak, last - first + 1)
    return peak


@dataclass(frozen=True, slots=True)
class Change:
    """Decisions that were one thing and would be another. `text` is how an expected change is written down."""

    before: str
    after: str
    count: int
    samples: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{self.before} -> {self.after}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two versions make of the same decisions; `unseen`: the second asks for facts that were never fetched."""

    before: str
    after: str
    decisions: int
    unseen: int
    changes: tuple[Change, ...]
    starts: dict[str, dict[str, int]] = field(hash=False)
    since: datetime | None = None
    until: datetime | None = None

    @property
    def changed(self) -> int:
        return sum(change.count for change in self.changes)

    def unexpected(self, expected: Iterable[str]) -> list[Change]:
        known = set(expected)
        return [change for change in self.changes if change.text not in known]

    def to_json(self) -> dict[str, Any]:
        return {
            "before": self.before,
            "after": self.after,
            "since": format_moment(self.since) if self.since else None,
            "until": format_moment(self.until) if self.until else None,
            "decisions": self.decisions,
            "changed": self.changed,
            "unseen": self.unseen,
            "changes": [
                {"from": one.before, "to": one.after, "count": one.count, "samples": list(one.samples)}
                for one in self.changes
            ],
            "starts": self.starts,
        }

    def summary(self) -> dict[str, Any]:
        """What the trail keeps of it."""
        told = self.to_json()
        return {**told, "changes": [{**one, "samples": one["samples"][:1]} for one in told["changes"][:20]]}


def compare(decisions: Iterable[Asked | Ended], before: Version, after: Version) -> Comparison:
    """Put every decision to both versions. Those of one remediation come in order."""
    counts: Counter[tuple[str, str]] = Counter()
    samples: dict[tuple[str, str], list[str]] = defaultdict(list)
    starts = Starts(), Starts()
    number = unseen = 0
    since = until = None
    for each in decisions:
        if isinstance(each, Ended):
            for one in starts:
                one.ended(each.remediation, each.at)
            continue
        was, will = before.answer(each), after.answer(each)
        starts[0].asked(each, was)
        starts[1].asked(each, will)
        number, unseen = number + 1, unseen + will.unknown
        since, until = min(since or each.at, each.at), max(until or each.at, each.at)
        change = _change(was, will)
        if change:
            counts[change] += 1
            if len(samples[change]) < SAMPLES:
                samples[change].append(each.id)
    changes = tuple(Change(*pair, count, tuple(samples[pair])) for pair, count in sorted(counts.items(), key=_most))
    figures = [one.figures(side.linger) for one, side in zip(starts, (before, after), strict=True)]
    return Comparison(before.title, after.title, number, unseen, changes,
                      {"before": figures[0], "after": figures[1]}, since, until)  # fmt: skip


def _most(item: tuple[tuple[str, str], int]) -> tuple[int, tuple[str, str]]:
    return -item[1], item[0]


def _change(was: Answer, will: Answer) -> tuple[str, str] | None:
    if was.text != will.text:
        return was.text, will.text
    if was.plan != will.plan:
        return was.text, f"{will.text}, done differently"
    if was.start != will.start:
        return was.text, f"{will.text}, at another moment"
    return None
