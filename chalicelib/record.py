"""Record: write one line to the trail, with the errand and the leases that belong to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from chalicelib import ticket
from chalicelib.core.errors import Stale
from chalicelib.core.remediations import ACTIVE, TRANSITIONS, Cause, Remediation, advance, apply
from chalicelib.core.tickets import Deed, Errand, errand, key_of
from chalicelib.ports import Change, Ports


def record(
    ports: Ports,
    case: Remediation,
    cause: Cause,
    because: str,
    *,
    sets: Mapping[str, Any] | None = None,
    evidence: Mapping[str, Any] | None = None,
    actor: str = "patchwarden",
    take: tuple[str, ...] = (),
) -> Remediation:
    """The case after the line; Stale if somebody else wrote first, and then nothing is written.

    A case that leaves its active states gives its leases back. What the line owes the ticket system is tried at
    once and stays in the ledger until it is done.
    """
    now = ports.clock.now()
    changes = {**(sets or {}), **({"leases": list(take)} if take else {})}
    if cause is Cause.EXEMPTED and case.ticket:
        changes["ticket"] = None
    given = case.leases if case.active and TRANSITIONS[case.state].get(cause) not in ACTIVE else ()
    if given:
        changes["leases"] = []
    line = advance(case, cause, because=because, now=now, actor=actor, sets=changes, evidence=evidence)
    head = apply(case, line)
    owes = _owed(case, head, cause, because, now)
    ports.ledger.append(Change(line, head, take=take, give=given, owes=owes))
    _say(ports, case, head, cause, because)
    return ticket.run(ports, owes, head) if owes else head


def quietly(ports: Ports, case: Remediation, cause: Cause, because: str, sets: Mapping[str, Any]) -> None:
    """Record, unless somebody else was first: then the line that stands is as good."""
    try:
        record(ports, case, cause, because, sets=sets)
    except Stale:
        return


def _say(ports: Ports, case: Remediation, head: Remediation, cause: Cause, because: str) -> None:
    """The log line of a transition."""
    ports.notices.say(
        "transition", remediation=head.id, account=head.node.account, region=head.node.region, node=head.node.id,
        number=head.number, before=case.state.value, cause=cause.value, after=head.state.value, because=because,
        policy=head.decision.get("policy"), action=head.decision.get("action"), execution=head.execution,
    )  # fmt: skip


def _owed(before: Remediation, head: Remediation, cause: Cause, because: str, now: datetime) -> Errand | None:
    """An exempt case forgets the ticket that is resolved with it: if a person's turn comes again, another is opened."""
    if cause is Cause.TICKETED:
        deed = Deed.UPDATE if head.ticket else Deed.OPEN
        return errand(head, deed, number=head.number, because=because, now=now)
    if cause in (Cause.RESOLVED, Cause.GONE, Cause.EXEMPTED) and before.ticket:
        owes = errand(head, Deed.RESOLVE, number=head.number, because=because, now=now)
        return replace(owes, ticket=before.ticket, key=key_of(before))
    return None
