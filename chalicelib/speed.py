"""Speed: how long episodes took, and which broke their deadline or will. Spans are seconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from typing import Any

from chalicelib.core.courses import Course, span, spread
from chalicelib.core.moments import format_moment
from chalicelib.core.points import EVERYTHING, Where
from chalicelib.history import answer
from chalicelib.ports import Past

ENDED = ("resolved", "gone")


def durations(past: Past, since: datetime, until: datetime, where: Where = EVERYTHING) -> dict[str, Any]:
    """How long the episodes took that were verified with `since <= verified <= until`; seconds throughout.

    `{schema_version, at, since, filters, verified, spans: {detected_to_decided, decided_to_started,
    started_to_verified, detected_to_verified: {count, median, p90, longest}}, by_severity: [{severity, count, median,
    p90, longest}], by_policy: [{policy, ...}], funnel: {detected, decided, started, verified}}`. MTTR is the
    `detected_to_verified` (its median, its p90); severity is the deciding policy's, 1 (worst) to 4, None: none.
    The funnel counts the episodes *detected* in the time, and how many of these came how far by its end.
    """
    first, last = format_moment(since), format_moment(until)
    begun, proved = Counter[str](), list[Course]()
    for one in past.courses(until, where):
        if first <= one.detected <= last:
            begun += Counter({"detected": 1, **{step: bool(getattr(one, step)) for step in _STEPS[1:]}})
        if one.verified and first <= one.verified <= last:
            proved.append(one)
    return answer(
        until, since=first, filters=where.given(), verified=len(proved),
        spans={f"{begin}_to_{end}": spread(_spans(proved, begin, end)) for begin, end in _SPANS},
        by_severity=_grouped(proved, "severity"), by_policy=_grouped(proved, "policy"),
        funnel={step: begun[step] for step in _STEPS},
    )  # fmt: skip


_STEPS = ("detected", "decided", "started", "verified")
_SPANS = (*pairwise(_STEPS), ("detected", "verified"))


def _spans(found: Iterable[Course], begin: str, end: str) -> list[float]:
    spans = (span(getattr(one, begin), getattr(one, end)) for one in found)
    return [seconds for seconds in spans if seconds is not None]


def _grouped(found: Iterable[Course], name: str) -> list[dict[str, Any]]:
    groups = defaultdict[Any, list[float]](list)
    for one in found:
        groups[getattr(one, name)].append(one.seconds or 0.0)
    return [{name: key, **spread(groups[key])} for key in sorted(groups, key=lambda key: (key is None, str(key)))]


def sla(past: Past, since: datetime, at: datetime, where: Where = EVERYTHING, *, limit: int = 50) -> dict[str, Any]:
    """Deadlines that were broken with `since <= deadline < at`, and those that break next.

    `{schema_version, at, since, filters, met, breached, open_breaches, breaches: [Course + late_by], next_to_breach:
    [Course + remaining], without_deadline}`; seconds. `met`: episodes verified in time in that span; `open_breaches`
    of `breached` are not verified yet; lists hold at most `limit`, the longest late and the first to come;
    `without_deadline` counts open episodes whose policy names none. The clock starts at the first finding; an
    exemption does not reset it, and a deadline is known only once a policy that names one decided to remediate.
    """
    first, now = format_moment(since), format_moment(at)
    met, late, ahead, without = 0, list[dict[str, Any]](), list[dict[str, Any]](), 0
    for one in past.courses(at, where):
        is_open = one.state not in ENDED
        broke = one.breach(now)
        if broke and broke >= first:
            late.append({**one.to_json(), "late_by": span(broke, one.verified or now)})
        elif one.verified and one.deadline and one.verified >= first and one.verified <= one.deadline:
            met += 1
        elif is_open and one.deadline and one.deadline >= now:
            ahead.append({**one.to_json(), "remaining": span(now, one.deadline)})
        without += is_open and one.deadline is None
    late.sort(key=lambda row: (-row["late_by"], row["remediation"], row["episode"]))
    ahead.sort(key=lambda row: (row["remaining"], row["remediation"]))
    return answer(
        at, since=first, filters=where.given(), met=met, breached=len(late),
        open_breaches=sum(row["verified"] is None for row in late), breaches=late[:limit],
        next_to_breach=ahead[:limit], without_deadline=without,
    )  # fmt: skip
