"""Speed: how long episodes took, and which broke their deadline or will. Spans are seconds."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

from chalicelib.core.courses import STAGES, Course, span
from chalicelib.core.moments import format_moment
from chalicelib.core.points import EVERYTHING, Where
from chalicelib.history import answer
from chalicelib.ports import Past

ENDED = ("resolved", "gone")


def durations(past: Past, since: datetime, until: datetime, where: Where = EVERYTHING) -> dict[str, Any]:
    """How long the episodes took that were verified with `since <= verified <= until`; seconds throughout.

    `{schema_version, at, since, filters, verified, spans: {detected_to_decided, decided_to_started,
    started_to_verified, detected_to_verified: {count, median, p90, longest}}, by_severity: [{severity, count, median,
    p90, longest}], by_policy: [{policy, ...}], funnel: {detected, decided, started, succeeded, verified}}`. MTTR is the
    `detected_to_verified` (its median, its p90); severity is the deciding policy's, 1 (worst) to 4, None: none.
    The funnel is that of `funnel`.
    """
    found = past.pace(since, until, where)
    furthest = found.pop("furthest")
    return answer(until, since=format_moment(since), filters=where.given(), **found,
                  funnel=_reached(Counter(furthest)))  # fmt: skip


def funnel(past: Past, since: datetime, until: datetime, where: Where = EVERYTHING) -> dict[str, Any]:
    """How far the episodes came, by the end, that were *detected* with `since <= detected <= until`.

    `{schema_version, at, since, filters, stages: {detected, decided, started, succeeded, verified}, left: [{after,
    state, policy, episodes, because}]}`. A stage counts all that came so far or further; `left` groups those that came
    no further than `after` yet, the most first, with the newest sentence of one of them. Who was found compliant
    without a start of ours is left after `decided`, in state `resolved`.
    """
    first, last = format_moment(since), format_moment(until)
    begun, groups = Counter[str](), defaultdict[tuple[str, str, str | None], list[Course]](list)
    for one in past.courses(until, where, since=since):
        if not first <= one.detected <= last:
            continue
        begun[one.furthest] += 1
        if one.furthest != STAGES[-1]:
            groups[one.furthest, one.state, one.policy].append(one)
    ordered = sorted(groups.items(), key=lambda row: (STAGES.index(row[0][0]), -len(row[1]), *map(str, row[0])))
    return answer(
        until, since=first, filters=where.given(), stages=_reached(begun),
        left=[{"after": after, "state": state, "policy": policy, "episodes": len(found),
               "because": found[0].because} for (after, state, policy), found in ordered],
    )  # fmt: skip


def _reached(furthest: Counter[str]) -> dict[str, int]:
    return {stage: sum(furthest[later] for later in STAGES[place:]) for place, stage in enumerate(STAGES)}


DAYS = (1, 3, 7, 14, 30)
"""Where an age begins to be another one."""


def ages(past: Past, at: datetime, where: Where = EVERYTHING) -> dict[str, Any]:
    """How old what is not compliant at that moment is, against its deadline.

    `{schema_version, at, filters, open, ages: [{from_days, to_days (None: older), open, late, in_time, exempt,
    without_deadline}]}`; `open` is the sum of the four. An exempt one is no other, whatever its deadline was.
    """
    now, rows = format_moment(at), [Counter[str]() for _ in range(len(DAYS) + 1)]
    for one in past.courses(at, where, since=at):
        if one.state not in ENDED:
            days = (span(one.detected, now) or 0.0) / 86_400
            rows[sum(days >= limit for limit in DAYS)][_standing(one, now)] += 1
    told = [{"from_days": begin, "to_days": end, "open": row.total(),
             **{name: row[name] for name in ("late", "in_time", "exempt", "without_deadline")}}
            for begin, end, row in zip((0, *DAYS), (*DAYS, None), rows, strict=True)]  # fmt: skip
    return answer(at, filters=where.given(), open=sum(row.total() for row in rows), ages=told)


def _standing(one: Course, now: str) -> str:
    if one.state == "exempt":
        return "exempt"
    if one.deadline is None:
        return "without_deadline"
    return "late" if one.breach(now) else "in_time"


def sla(past: Past, since: datetime, at: datetime, where: Where = EVERYTHING, *, limit: int = 50) -> dict[str, Any]:
    """Deadlines that were broken with `since <= deadline < at`, and those that break next.

    `{schema_version, at, since, filters, met, breached, open_breaches, breaches: [Course + late_by], next_to_breach:
    [Course + remaining], to_breach, without_deadline}`; seconds. `met`: episodes verified in time in that span;
    `open_breaches` of `breached` are not verified yet; `to_breach` counts what may still break its deadline; lists hold
    at most `limit`, the longest late and the first to come; `without_deadline` counts open episodes whose policy names
    none. The clock starts at the first finding; an exemption does not reset it, and a deadline is known only once a
    policy that names one decided to remediate.
    """
    first, now = format_moment(since), format_moment(at)
    met, late, ahead, without = 0, list[dict[str, Any]](), list[dict[str, Any]](), 0
    for one in past.courses(at, where, since=since):
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
        next_to_breach=ahead[:limit], to_breach=len(ahead), without_deadline=without,
    )  # fmt: skip
