"""Budgets: how often a policy, or one plan with the same patches, may fail before nothing of it starts any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.chain import digest
from chalicelib.core.compiled import exactly, seconds
from chalicelib.core.errors import PolicyError
from chalicelib.core.remediations import Remediation

MOST = 1000
"""How many failures an account remembers; so many spend every budget."""

MOST_ENDED = 2000
"""How many ended batches an account remembers, the newest."""


@dataclass(frozen=True, slots=True)
class ErrorBudget:
    """`max_failures` is a number, or a share of the nodes whose patching ended, such as `5%`; both `within` a span."""

    max_failures: str
    within: timedelta

    @classmethod
    def from_json(cls, value: object) -> ErrorBudget:
        known = exactly(value, "error_budget", {"max_failures": str, "within": int})
        within = seconds(known["within"])
        if not known["max_failures"].removesuffix("%").isdecimal() or not within:
            raise PolicyError(f"the policy set is malformed: {value!r:.60} is no error budget")
        return cls(known["max_failures"], within)

    def made(self, policy: str, policy_digest: str, then: Mapping[str, Any], patches: Iterable[str]) -> dict[str, Any]:
        """What a decision keeps of it: the budget, and the accounts that its failures are charged to."""
        accounts = [account_of_policy(policy, policy_digest)]
        names = sorted(patches)
        if names or then["document"]:
            accounts.append(f"plan/{digest([dict(then), names])[:12]}")
        return {"max": self.max_failures, "within": int(self.within.total_seconds()), "accounts": accounts}


def account_of_policy(policy: str, policy_digest: str) -> str:
    return f"policy/{policy}/{policy_digest[:12]}"


def accounts(case: Remediation) -> tuple[str, ...]:
    """The accounts that a failure of the case is charged to."""
    return tuple((case.decision.get("budget") or {}).get("accounts", ()))


def charged(value: Mapping[str, Any], now: datetime, within: timedelta, *, failed: str | None = None,
            ended: tuple[str, int] | None = None) -> dict[str, Any]:  # fmt: skip
    """The account with a failure (under its attempt's name) or a batch's nodes added; the same one counts once."""
    minute, oldest = _minute(now), _minute(now - within)
    failures = {key: at for key, at in value.get("failed", {}).items() if at >= oldest}
    batches = {key: at for key, at in value.get("ended", {}).items() if at[0] >= oldest}
    if failed:
        failures.setdefault(failed, minute)
    if ended:
        batches.setdefault(ended[0], [minute, ended[1]])
    return {"failed": _newest(failures, MOST), "ended": _newest(batches, MOST_ENDED)}


def _newest(items: dict[str, Any], most: int) -> dict[str, Any]:
    if len(items) <= most:
        return items
    return dict(sorted(items.items(), key=lambda item: (str(item[1]), item[0]))[-most:])


def spent(value: Mapping[str, Any], budget: Mapping[str, Any], now: datetime, released: datetime | None) -> str | None:
    """That the budget is spent, as a sentence; what failed before it was `released` counts no more."""
    failures, ended, limit = used(value, budget, now, released)
    if failures < min(limit, MOST):
        return None
    share = str(budget["max"]).endswith("%")
    of, among = (f" of {ended}", ended) if share else ("", failures)
    hours = int(budget["within"]) / 3600
    return (
        f"{failures}{of} node{'' if among == 1 else 's'} failed within {hours:g} h, its error budget is {budget['max']}"
    )


def used(
    value: Mapping[str, Any], budget: Mapping[str, Any], now: datetime, released: datetime | None
) -> tuple[int, int, int]:
    """How many failed and how many ended within the budget's span, and how many failures it allows of them."""
    oldest = _minute(now - timedelta(seconds=int(budget["within"])))
    after = _minute(released) if released else -1
    failures = sum(at >= oldest and at > after for at in value.get("failed", {}).values())
    ended = sum(count for at, count in value.get("ended", {}).values() if at >= oldest and at > after)
    # a failure is charged before its batch counts as ended
    ended = max(ended, failures)
    return failures, ended, _limit(str(budget["max"]), ended)


def _limit(most: str, ended: int) -> int:
    if not most.endswith("%"):
        return max(int(most), 1)
    return max(-(-int(most[:-1]) * ended // 100), 1)


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)
