"""Deciding: what the policies do now, and what waits for somebody's yes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from chalicelib.core.approvals import asks, standing
from chalicelib.core.english import in_words
from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import Policy
from chalicelib.core.remediations import Remediation, State
from chalicelib.lookup.cases import DONE, summary
from chalicelib.ports import Ports


def policies(ports: Ports) -> dict[str, Any]:
    """What the policies say and do now, in rank order; a PolicyError is told, not raised.

    `{set, trouble, policies: [{policy, band, mode, title, words, owner, digest, decides, would}], shadows: [{policy,
    action, real_policy, real_action, remediations}]}`. `decides` counts the open remediations that it decides, `would`
    those that it would decide if it were no shadow; `shadows` holds what it would do against what is done.
    """
    try:
        active = ports.policies.active()
    except PolicyError as error:
        return {"set": None, "trouble": str(error), "policies": [], "shadows": []}
    cases = list(ports.ledger.work([state for state in State if state not in DONE]))
    decides = Counter(str(case.decision.get("policy")) for case in cases)
    pairs = Counter(
        (str(one["policy"]), str(one["action"]), case.decision.get("policy"), case.decision.get("action"))
        for case in cases for one in case.decision.get("shadows", ())
    )  # fmt: skip
    would = Counter(str(one["policy"]) for case in cases for one in case.decision.get("shadows", ()))
    names = ("policy", "action", "real_policy", "real_action")
    return {
        "set": active.digest, "trouble": ports.policies.trouble(),
        "policies": [
            {"policy": one.id, "band": one.band.value, "mode": one.mode.value, "title": one.title,
             "words": in_words(one), "owner": one.owner, "digest": one.digest, "decides": decides[one.id],
             "would": would[one.id]} for one in active.policies
        ],
        "shadows": [{**dict(zip(names, pair, strict=True)), "remediations": count}
                    for pair, count in sorted(pairs.items(), key=lambda row: (-row[1], *map(str, row[0])))],
    }  # fmt: skip


def approvals(ports: Ports) -> list[dict[str, Any]]:
    """What waits for somebody's yes, the one that ends first at the head.

    A summary of each, with `until`, `title`, `minimum`, `by` (globs of who may; [] is anybody) and `given`
    (`{"by", "at", "because"}`).
    """
    cases = [case for case in ports.ledger.work([State.TICKETED]) if asks(case.decision)]
    try:
        policies = ports.policies.active()
    except PolicyError:
        return []
    return [_approval(case, policies.policy(str(case.decision["policy"]))) for case in cases]


def _approval(case: Remediation, policy: Policy | None) -> dict[str, Any]:
    wanted = policy.then.approval if policy else None
    given = standing(case.decision, policy.digest if policy else "")
    return {
        **summary(case),
        "title": policy.title if policy else None,
        "until": case.decision["ask_until"],
        "minimum": wanted.minimum if wanted else None,
        "by": list(wanted.by) if wanted else [],
        "given": [{name: one[name] for name in ("by", "at", "because")} for one in given],
    }
