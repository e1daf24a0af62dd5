"""Chances: when a policy lets its remediations start, by its window, the freezes and its deadline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.policies import Policy, PolicySet
from chalicelib.core.settings import Freeze
from chalicelib.core.windows import Opening, opening


def deadline_of(policy: Policy, facts: Mapping[str, Any]) -> datetime | None:
    """By when the policy wants it done, counted from the first finding; None: it sets no deadline."""
    if policy.then.deadline is None:
        return None
    return parse_moment(facts["history"]["first_seen"]) + policy.then.deadline


def _freezes(policy: Policy, policies: PolicySet) -> list[Freeze]:
    """Those that hold the policy: all but the ones that it names."""
    return [freeze for freeze in policies.settings.freezes if freeze.name not in policy.then.through]


def closes(span: Opening, policy: Policy, policies: PolicySet) -> str | None:
    """Until when what is queued now may start: the window's end or the next freeze, whichever comes first."""
    ends = [freeze.since for freeze in _freezes(policy, policies) if freeze.since > span.start]
    ends += [span.end] if span.end > span.start else []
    return format_moment(min(ends)) if ends else None


def next_chance(
    policy: Policy, policies: PolicySet, earliest: datetime, *, in_window: bool = True
) -> tuple[Opening | None, str]:
    """The first span from `earliest` on in which window and freezes allow it, and what it waits for or runs in."""
    moment, waits = earliest, ""
    window = policies.settings.windows[policy.then.window] if policy.then.window and in_window else None
    for _ in range(100):
        span = Opening(moment, moment)
        if window:
            found = opening(window, moment)
            if found is None:
                return None, f"window {window.name} does not open within 400 days"
            span = Opening(max(found.start, moment), found.end)
            waits = waits or (
                f"in window {window.name}" if span.start <= earliest else f"waits for window {window.name}"
            )
        freeze = next((item for item in _freezes(policy, policies) if item.since <= span.start < item.until), None)
        if freeze is None:
            return span, waits
        moment, waits = freeze.until, f"freeze {freeze.name} ({freeze.reason})"
    return None, "windows and freezes leave no moment"
