"""History: the fleet at a moment, what moved since, who said what. CLI, REST and pages all ask here.

Every answer is a dict of JSON types with `schema_version` and the moment it speaks of; a list that goes on has `next`,
a cursor for the same question, or None. Each function takes a `Past`: the ledger's or an export's, with equal figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from chalicelib.core.exemptions import exemptions as in_force
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.points import EVERYTHING, Where, point
from chalicelib.core.policies import PolicySet
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Transition
from chalicelib.ports import Past

SCHEMA_VERSION = 1
"""Counts up when a field changes its meaning or goes; new fields do not count."""

MOST = 200
"""The largest page."""

LOOKED_AT = 20_000
"""How many lines one page of a search reads at most; the page's `next` goes on from there."""

FIRST_DAY = date(2026, 1, 1)
"""No line is older: Patchwarden itself is not. A search from long before reads no days on which nobody wrote."""


def answer(at: datetime, **said: Any) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "at": format_moment(at), **said}


def fleet(
    past: Past, at: datetime, where: Where = EVERYTHING, *, limit: int = 50, after: str | None = None,
    by: Sequence[str] = ("state",),
) -> dict[str, Any]:  # fmt: skip
    """The fleet as it was at `at`.

    `{schema_version, at, filters, total, states: {state: n}, groups: [{<by>..., remediations: n}], remediations:
    [Point.to_json()], next}`; `total`, `states` and `groups` count the whole answer, not the page. `by`: any of
    `state account region control policy severity action ou`. `next` is the last id of the page.
    """
    page = past.points(at, where, after=after, limit=limit + 1)
    counted = past.tally(at, where, ("state", *by))
    states, groups = Counter[str](), Counter[tuple[Any, ...]]()
    for (state, *rest), count in counted.items():
        states[state] += count
        groups[tuple(rest)] += count
    return answer(
        at, filters=where.given(), total=sum(states.values()), states=dict(sorted(states.items())),
        groups=[{**dict(zip(by, group, strict=True)), "remediations": count}
                for group, count in sorted(groups.items(), key=lambda item: tuple(map(str, item[0])))],
        remediations=[one.to_json() for one in page[:limit]],
        next=page[limit - 1].id if len(page) > limit else None,
    )  # fmt: skip


def trend(
    past: Past, since: datetime, until: datetime, where: Where = EVERYTHING, *, steps: int = 14
) -> dict[str, Any]:
    """The fleet's states at `steps + 1` moments, evenly from `since` to `until`.

    `{schema_version, at, since, filters, points: [{at, total, states: {state: n}}]}`.
    """
    moments = [since + (until - since) * place / steps for place in range(steps + 1)]
    tallies = [past.tally(moment, where, ("state",)) for moment in moments]
    return answer(
        until, since=format_moment(since), filters=where.given(),
        points=[{"at": format_moment(moment), "total": sum(tally.values()),
                 "states": {state: count for (state,), count in sorted(tally.items())}}
                for moment, tally in zip(moments, tallies, strict=True)],
    )  # fmt: skip


def diff(
    past: Past, earlier: datetime, later: datetime, where: Where = EVERYTHING, *, limit: int = 50,
    after: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What is different between two moments.

    `{schema_version, at (the later), since (the earlier), filters, changed, moves: [{before, after, remediations}],
    remediations: [{id, before, after}], next}`; before None: it was not there yet.
    """
    counted, page = Counter[tuple[str | None, str | None]](), list[dict[str, Any]]()
    for identity, was, became in past.moves(earlier, later, where):
        counted[was, became] += 1
        if (after is None or identity > after) and len(page) <= limit:
            page.append({"id": identity, "before": was, "after": became})
    ordered = sorted(counted.items(), key=lambda item: tuple(map(str, item[0])))
    moves = [{"before": was, "after": became, "remediations": count} for (was, became), count in ordered]
    return answer(
        later, since=format_moment(earlier), filters=where.given(), changed=sum(counted.values()), moves=moves,
        remediations=page[:limit], next=page[limit - 1]["id"] if len(page) > limit else None,
    )  # fmt: skip


def search(
    past: Past, since: datetime, until: datetime, *, where: Where = EVERYTHING, actor: str | None = None,
    cause: str | None = None, text: str | None = None, limit: int = 50, after: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Lines of the trail with `since <= at <= until`, oldest first.

    `{schema_version, at (the end), since, filters, lines: [Transition.to_json()], next}`. Place, state, policy, digest,
    action, ticket and execution are held against what the line itself says (its state after; its decision; what it
    set); tags and OU against the facts that it recorded. `actor` and `text` are parts, in any case, of the actor and
    of the sentence. A page reads at most `LOOKED_AT` lines, so one with few lines may have a `next`. ValueError: the
    cursor is none of ours.
    """
    start, begin = _position(after), since
    if start:
        begin = max(since, parse_moment(start[0]))
    filters = {"actor": actor, "cause": cause, "text": text}
    found, looked, last = list[Transition](), 0, None
    for line in _between(past, begin, until):
        if start and _key(line) <= start:
            continue
        if len(found) == limit or looked == LOOKED_AT:
            break
        looked, last = looked + 1, _key(line)
        if _said(line, where, filters):
            found.append(line)
    else:
        last = None
    named = {**where.given(), **{name: value for name, value in filters.items() if value}}
    return answer(until, since=format_moment(since), filters=named, lines=[line.to_json() for line in found],
                 next="/".join(map(str, last)) if last else None)  # fmt: skip


def _between(past: Past, since: datetime, until: datetime) -> Iterator[Transition]:
    first = max(since.date(), FIRST_DAY)
    for number in range((until.date() - first).days + 1):
        yield from (line for line in past.lines(first + timedelta(days=number)) if since <= line.at <= until)


def _key(line: Transition) -> tuple[str, str, int]:
    return format_moment(line.at), line.remediation, line.number


def _position(after: str | None) -> tuple[str, str, int] | None:
    if after is None:
        return None
    at, _, rest = after.partition("/")
    identity, _, number = rest.rpartition("/")
    try:
        if number.isascii() and number.isdigit() and len(number) <= 9:
            return format_moment(parse_moment(at)), identity, int(number)
    except (ValueError, OverflowError):
        pass  # told below like any other
    raise ValueError(f"{after!r:.60} is no cursor: give the `next` of the page before")


def _said(line: Transition, where: Where, filters: Mapping[str, str | None]) -> bool:
    """Whether the line itself passes: a point folded from it alone knows just what it says."""
    actor, cause, text = filters["actor"], filters["cause"], filters["text"]
    if (cause and line.cause != cause) or (actor and actor.lower() not in line.actor.lower()):
        return False
    if text and text.lower() not in line.because.lower():
        return False
    found = point([line])
    return found is not None and where.holds(found)


def exemptions(
    past: Past, at: datetime, policies: PolicySet | None, *, limit: int = 50, after: str | None = None,
    active: PolicySet | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Who might stay non-compliant at that moment, and who did.

    `{schema_version, at, set_digest, known, exemptions: [{policy, title, owner, reason, approved_by, approved_on,
    ticket, until, policy_digest, remediations: n}], remediations: [Point], total, next}`. `policies` is the set that
    was in force then; None: its document is not at hand, so `known` is False and the rows hold only what the trail
    says (policy, digest, until, remediations). A policy of `active` with the very digest of a row is the same document
    and fills it; exemptions that covered no node stay unknown.
    """
    where = Where(state="exempt")
    held = past.tally(at, where, ("policy", "policy_digest", "due"))
    counts, ends = Counter[tuple[Any, Any]](), dict[tuple[Any, Any], Any]()
    for (policy, digest, due), count in held.items():
        counts[policy, digest] += count
        ends[policy, digest] = max(due or "", ends.get((policy, digest)) or "") or None
    rows = [_exemption(one, counts.pop((one.id, one.digest), 0)) for one in in_force(policies, at)] if policies else []
    same = {one.digest: one for one in (active.policies if active else ())}
    rows += [
        _exemption(same[digest], count) if digest in same else
        {"policy": policy, "title": None, "owner": None, "reason": None, "approved_by": None, "approved_on": None,
         "ticket": None, "until": ends[policy, digest], "policy_digest": digest, "remediations": count}
        for (policy, digest), count in sorted(counts.items(), key=str)
    ]  # fmt: skip
    page = past.points(at, where, after=after, limit=limit + 1)
    return answer(
        at, set_digest=policies.digest if policies else None, known=policies is not None, exemptions=rows,
        total=sum(held.values()), remediations=[one.to_json() for one in page[:limit]],
        next=page[limit - 1].id if len(page) > limit else None,
    )  # fmt: skip


def _exemption(one: Any, count: int) -> dict[str, Any]:
    approved = one.then.approved
    return {"policy": one.id, "title": one.title, "owner": one.owner, "reason": one.then.reason,
            "approved_by": approved.by if approved else None, "approved_on": approved.on if approved else None,
            "ticket": approved.ticket if approved else None, "until": format_moment(one.ends) if one.ends else None,
            "policy_digest": one.digest, "remediations": count}  # fmt: skip


def published_at(past: Past, at: datetime) -> Publication | None:
    """The publication that was in force at that moment; None: none was published yet."""
    earlier = [line for line in past.publications() if line.at <= at]
    return earlier[-1] if earlier else None


def decisions(
    past: Past, digest: str, since: datetime, until: datetime, *, limit: int = 50, after: str | None = None
) -> dict[str, Any]:
    """The decisions under a policy or set whose digest begins so.

    `search`'s shape, with each line as `{decision: <remediation>#<number>, remediation, at, cause, after, policy,
    action, because, actor, policy_digest, set_digest}` under `decisions`.
    """
    found = search(past, since, until, where=Where(digest=digest), limit=limit, after=after)
    lines = found.pop("lines")
    return {**found, "decisions": [_decision(line) for line in lines]}


def _decision(line: Mapping[str, Any]) -> dict[str, Any]:
    made = line["sets"].get("decision") or {}
    return {"decision": f"{line['remediation']}#{line['number']}",
            **{name: line[name] for name in ("remediation", "at", "cause", "after", "because", "actor")},
            **{name: made.get(name) for name in ("policy", "action", "policy_digest", "set_digest")}}  # fmt: skip
