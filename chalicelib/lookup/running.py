"""Running: the executions in flight, how full each place is, and what fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from chalicelib import guard
from chalicelib.core.budgets import account_of_policy, used
from chalicelib.core.errors import PolicyError
from chalicelib.core.failures import kind_of_failure
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.moments import format_moment
from chalicelib.core.plans import Batch
from chalicelib.core.remediations import State
from chalicelib.lookup.cases import DONE, fits
from chalicelib.ports import Ledger, Ports

_TRIED = (State.QUEUED, State.WAITING, State.TICKETED)


def executions(ports: Ports, *, account: str | None = None, policy: str | None = None) -> dict[str, Any]:
    """What runs now, how full each place is, and of what kind the failures are that are still being worked on.

    With `account` or `policy` only what is of that account, or serves that policy. An execution may serve others too, a
    place is as full as all its executions make it, and the budget of a policy is one for all accounts.

    `{"at", "executions": [{"execution", "location", "document", "policies", "nodes", "proved", "verifying", "running",
    "other", "since", "seconds"}], "places": [{"location", "executions", "limit", "queued"}], "budgets": [{"policy",
    "failures", "ended", "limit", "max", "within", "spent"}], "failures": [{"kind", "remediations", "example"}]}`. The
    first `limit` is None while no policy set loads; `within` is seconds.
    """
    now, ledger = ports.clock.now(), ports.ledger
    every = ledger.open_batches()
    batches = [batch for batch in every if account in (None, batch.location.account)
               and (policy is None or any(member.policy == policy for member in batch.members))]  # fmt: skip
    queued = Counter(str(case.location) for case in ledger.work([State.QUEUED]) if fits(case, account, policy))
    running, named = Counter(str(batch.location) for batch in every), {str(batch.location) for batch in batches}
    try:
        limit: int | None = ports.policies.active().settings.executions_per_location
    except PolicyError:
        limit = None
    failed = [case for case in ledger.work(_TRIED)
              if case.attempts and case.last_outcome and fits(case, account, policy)]  # fmt: skip
    kinds = Counter(kind_of_failure(str(case.last_outcome)) for case in failed)
    examples = {kind_of_failure(str(case.last_outcome)): case for case in reversed(failed)}
    return {
        "at": format_moment(now),
        "executions": [_flying(ledger, batch, now) for batch in batches],
        "places": [
            {"location": place, "executions": running[place], "limit": limit, "queued": queued[place]}
            for place in sorted(named | queued.keys(), key=lambda name: (-running[name], -queued[name], name))
        ],
        "budgets": [one for one in _budgets(ports, now) if policy in (None, one["policy"])],
        "failures": [
            {"kind": kind, "remediations": count, "example": examples[kind].node.id,
             "because": examples[kind].last_outcome}
            for kind, count in kinds.most_common()
        ],
    }  # fmt: skip


def _budgets(ports: Ports, now: datetime) -> Iterator[dict[str, Any]]:
    """How much of its error budget each policy that has one has used; nothing while no policy set loads."""
    try:
        policies = ports.policies.active().policies
    except PolicyError:
        return
    for policy in policies:
        budget = policy.then.limits.error_budget
        if budget:
            name = f"budget/{account_of_policy(policy.id, policy.digest)}"
            kept, last = ports.ledger.kept(name), ports.ledger.entry(subject_of(Kind.GUARD, name))
            wanted = {"max": budget.max_failures, "within": int(budget.within.total_seconds())}
            failures, ended, limit = used(kept.value if kept else {}, wanted, now, guard.released_at(last))
            yield {"policy": policy.id, "failures": failures, "ended": ended, "limit": limit, **wanted,
                   "spent": guard.tripped(last)}  # fmt: skip


def _flying(ledger: Ledger, batch: Batch, now: datetime) -> dict[str, Any]:
    """One execution in flight, with how far its members are."""
    heads = ledger.heads([member.remediation for member in batch.members]).values()
    states = Counter(case.state for case in heads if case.batch == batch.id)
    proved = sum(states[state] for state in DONE)
    busy = states[State.STARTING] + states[State.RUNNING]
    began = batch.started_at or batch.created_at
    return {
        "execution": batch.execution,
        "state": batch.state.value,
        "location": str(batch.location),
        "document": batch.document,
        "policies": sorted({member.policy for member in batch.members}),
        "nodes": len(batch.members),
        "proved": proved,
        "verifying": states[State.VERIFYING],
        "running": busy,
        "other": len(batch.members) - proved - states[State.VERIFYING] - busy,
        "since": format_moment(began),
        "seconds": round((now - began).total_seconds()),
    }
