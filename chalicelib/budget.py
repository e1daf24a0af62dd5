"""Budget: charge each failure to its accounts, and hold what stands on one that is spent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from chalicelib import guard
from chalicelib.core.budgets import account_of_policy, accounts, charged, spent
from chalicelib.core.errors import Stale, Temporary
from chalicelib.core.guards import Held
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.plans import Batch
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from chalicelib.ports import Kept, Ports

_PREFIX = "budget/"
TRIES = 40
"""How often an account is read again: nodes of many batches may fail in several hands and invocations at once."""


def charge(ports: Ports, case: Remediation) -> None:
    """Charge the failure that is about to be written; the same attempt is charged once, however often it is tried.

    It comes before its line: what dies in between, or loses its place to a note, is tried again and charged no second
    time. So an attempt goes by its own number: that of the line changes with a note.
    """
    key = hashlib.sha256(f"{case.id}#{case.episode}#{case.attempts}".encode()).hexdigest()[:12]
    for account in accounts(case):
        value = _add(ports, account, case, failed=key)
        last = ports.ledger.entry(subject_of(Kind.GUARD, _PREFIX + account)) if _over(ports, value, case) else None
        because = spent(value, case.decision["budget"], ports.clock.now(), guard.released_at(last))
        if because and not guard.tripped(last):
            told = f"{_named(account, case)}: {because}"
            guard.trip(ports, last, subject_of(Kind.GUARD, _PREFIX + account), told, location=str(case.location),
                       value={"policy": case.decision.get("policy")},
                       joins=_tripped_with(ports, case, account))  # fmt: skip


def _tripped_with(ports: Ports, case: Remediation, account: str) -> Entry | None:
    """A policy and its plan that are spent by the same failures share one notice and one ticket."""
    others = (ports.ledger.entry(subject_of(Kind.GUARD, _PREFIX + one)) for one in accounts(case) if one != account)
    return next((line for line in others if guard.tripped(line)), None)


def ended(ports: Ports, batch: Batch, cases: Sequence[Remediation]) -> None:
    """Count the nodes whose patching ended with the batch, for the budgets that are a share of them."""
    counts: dict[str, list[Remediation]] = {}
    for case in cases:
        if str((case.decision.get("budget") or {}).get("max", "")).endswith("%"):
            for account in accounts(case):
                counts.setdefault(account, []).append(case)
    for account, members in counts.items():
        _add(ports, account, members[0], ended=(batch.id[:13], len(members)))


def _add(ports: Ports, account: str, case: Remediation, **what: Any) -> dict[str, Any]:
    within = timedelta(seconds=int(case.decision["budget"]["within"]))
    for _ in range(TRIES):
        kept: Kept | None = ports.ledger.kept(_PREFIX + account)
        value = charged(kept.value if kept else {}, ports.clock.now(), within, **what)
        if kept and value == kept.value:
            return value
        try:
            ports.ledger.keep(_PREFIX + account, value, expected=kept.version if kept else 0)
        except Stale:
            continue
        return value
    raise Temporary(f"the error budget {account} is written to by others all the time: come again")


def _over(ports: Ports, value: Mapping[str, Any], case: Remediation) -> bool:
    return spent(value, case.decision["budget"], ports.clock.now(), None) is not None


def _named(account: str, case: Remediation) -> str:
    if account.startswith("policy/"):
        return str(case.decision.get("policy"))
    return f"{account} (the same runbook, parameters and patches as {case.node})"


def hold(standing: Mapping[str, Entry], cases: Iterable[Remediation]) -> tuple[list[Remediation], list[Held]]:
    """Part the cases into those whose accounts have something left, and those that a spent one holds."""
    spent_ones = {name: line for name, line in standing.items() if name.startswith(_PREFIX) and guard.tripped(line)}
    free, held = list[Remediation](), list[Held]()
    for case in cases:
        names = (_PREFIX + account for account in accounts(case)) if spent_ones else ()
        line = next((spent_ones[name] for name in names if name in spent_ones), None)
        if line:
            held.append(Held(case, "error_budget", guard.why(line), told=True))
        else:
            free.append(case)
    return free, held


def supersede(ports: Ports, standing: Mapping[str, Entry], policies: PolicySet) -> None:
    """A policy that was changed has another budget: the old one holds nothing any more, and its ticket is resolved."""
    for name, line in standing.items():
        if not (name.startswith(f"{_PREFIX}policy/") and guard.tripped(line)):
            continue
        policy = policies.policy(str(line.value.get("policy")))
        if policy is None or _PREFIX + account_of_policy(policy.id, policy.digest) != name:
            try:
                guard.release(ports, line, "the policy was changed or removed")
            except Stale:
                continue
