"""Report: the evidence pack of one control at one moment, as data; the command line prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from chalicelib.core.moments import format_moment
from chalicelib.core.points import Point, Where
from chalicelib.core.policies import PolicySet
from chalicelib.history import exemptions, fleet, published_at
from chalicelib.ports import Past
from chalicelib.proof import Verified

_PAGE = 1000


def report(
    past: Past, at: datetime, now: datetime, where: Where, policies: PolicySet | None, verified: Verified,
    active: PolicySet | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Everything an auditor asks about a control at `at`.

    `{schema_version, at, made_at, filters, total, states, remediations: [Point], policies: [{id, title, owner, band,
    mode, action, digest, expires}], published: Publication or None, exemptions: [as history.exemptions], gaps: [{kind,
    what, count}], verification: Verified}`. `policies` is the set in force then; None: its document is not at hand,
    which is a gap. `active`: the set in force now, see history.exemptions.
    """
    counted = fleet(past, at, where, limit=1)
    points = list(every(past, at, where))
    published = published_at(past, at)
    return {
        "schema_version": counted["schema_version"], "at": format_moment(at), "made_at": format_moment(now),
        "filters": where.given(), "total": counted["total"], "states": counted["states"],
        "remediations": [one.to_json() for one in points],
        "policies": [_policy(one) for one in policies.policies] if policies else [],
        "set_digest": policies.digest if policies else None,
        "published": published.to_json() if published else None,
        "exemptions": exemptions(past, at, policies, limit=1, active=active)["exemptions"],
        "gaps": _gaps(points, policies, verified),
        "verification": asdict(verified),
    }  # fmt: skip


def every(past: Past, at: datetime, where: Where) -> Iterator[Point]:
    """All remediations that passed the filter at that moment, by id, read page by page."""
    after: str | None = None
    while page := past.points(at, where, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def _policy(one: Any) -> dict[str, Any]:
    return {"id": one.id, "title": one.title, "owner": one.owner, "band": one.band.value, "mode": one.mode.value,
            "action": one.then.action.value, "digest": one.digest,
            "expires": format_moment(one.ends) if one.ends else None}  # fmt: skip


def _gaps(points: list[Point], policies: PolicySet | None, verified: Verified) -> list[dict[str, Any]]:
    """What the pack cannot vouch for, in sentences."""
    found = list[tuple[str, str, int]]()
    if policies is None:
        found.append(("policies", "the policy set that was in force then is not at hand: export it with its bucket", 1))
    else:
        heard = {(one.account, one.region) for one in points}
        silent = [place for place in policies.settings.locations if (place.account, place.region) not in heard]
        found += [("silent", f"{place} is in scope, and nothing had been recorded about a node there", 1)
                  for place in sorted(silent)]  # fmt: skip
    unruled = sum(one.policy is None and one.state not in ("resolved", "gone") for one in points)
    found.append(("unruled", "not compliant, and no policy spoke for it", unruled))
    found.append(("tags", "its tags were not recorded up to then", sum(one.tags is None for one in points)))
    found.append(("ou", "its organisational unit is not recorded in the trail", sum(one.ou is None for one in points)))
    found.append(("faults", "lines of the trail are not what was written", len(verified.faults)))
    found += [("unchecked", note, 1) for note in verified.notes]
    return [{"kind": kind, "what": what, "count": count} for kind, what, count in found if count]
