"""Deciding: what the policies do now, and what waits for somebody's yes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from chalicelib.core.approvals import asks, standing
from chalicelib.core.english import in_words
from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import Policy
from chalicelib.core.remediations import Remediation, State
from chalicelib.lookup.cases import DONE, fits, fitting, summary
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


def approvals(
    ports: Ports, *, account: str | None = None, policy: str | None = None, limit: int = 50, after: str | None = None
) -> dict[str, Any]:
    """What waits for somebody's yes, the one that ends first at the head, a page at a time.

    `{schema_version, approvals, next}`: a summary of each, with `until`, `title`, `minimum`, `by` (globs of who may; []
    is anybody) and `given` (`{"by", "at", "because"}`). Title and minimum are None where the policy is gone, or no
    policy set loads: then nobody can say whose yes counts. A page reads at most about `LOOKED_AT`.
    """
    found, turn = fitting(ports.ledger, [State.TICKETED], limit, after,
                          lambda case: asks(case.decision) and fits(case, account, policy))  # fmt: skip
    try:
        policies = ports.policies.active()
    except PolicyError:
        listed = [_approval(case, None, str(case.decision.get("policy_digest"))) for case in found]
    else:
        known = [policies.policy(str(case.decision["policy"])) for case in found]
        listed = [_approval(case, one, one.digest if one else "") for case, one in zip(found, known, strict=True)]
    return {"schema_version": 1, "approvals": listed, "next": turn}


def _approval(case: Remediation, policy: Policy | None, digest: str) -> dict[str, Any]:
    wanted = policy.then.approval if policy else None
    return {
        **summary(case),
        "title": policy.title if policy else None,
        "until": case.decision["ask_until"],
        "minimum": wanted.minimum if wanted else None,
        "by": list(wanted.by) if wanted else [],
        "given": [{name: one[name] for name in ("by", "at", "because")} for one in standing(case.decision, digest)],
    }


def who_may(one: Mapping[str, Any]) -> str:
    """Whose yes counts, in words."""
    return ", ".join(one["by"]) or ("anybody who may approve" if one["minimum"] else "not known")
