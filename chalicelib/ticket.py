"""Ticket: run one errand to the ticket system and note in the trail that it is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.remediations import Cause, Remediation, State, advance, apply
from chalicelib.core.tickets import Deed, Errand, errand
from chalicelib.ports import Change, Ports

_NOT_TICKETED = (State.RESOLVED, State.GONE, State.EXEMPT)


def run(ports: Ports, owed: Errand, case: Remediation) -> Remediation:
    """The case after the errand; a ticket system that does not answer leaves the errand for the next sweep."""
    try:
        if owed.deed is Deed.OPEN:
            owed = replace(owed, ticket=ports.tickets.open(owed))
        elif owed.deed is Deed.UPDATE:
            ports.tickets.update(owed)
        else:
            ports.tickets.resolve(owed)
    except (Temporary, Denied) as error:
        return _later(ports, owed, case, str(error))
    return _done(ports, owed, case)


def _later(ports: Ports, owed: Errand, case: Remediation, why: str) -> Remediation:
    wait = min(timedelta(minutes=1) * 2 ** min(owed.tries, 6), timedelta(hours=1))
    ports.ledger.postpone(replace(owed, due=ports.clock.now() + wait, tries=owed.tries + 1))
    ports.notices.say("errand_postponed", remediation=owed.remediation, deed=owed.deed.value, because=why)
    return case


def _done(ports: Ports, owed: Errand, case: Remediation) -> Remediation:
    """Note it; a ticket that was opened for a case that has ended meanwhile is resolved in the next breath."""
    for _ in range(3):
        sets = {"ticket": owed.ticket} if owed.deed is Deed.OPEN else {}
        now = ports.clock.now()
        line = advance(case, Cause.NOTED, because=f"ticket {owed.ticket}: {_WORDS[owed.deed]}", now=now, sets=sets,
                       evidence={"ticket": owed.ticket, "deed": owed.deed.value})  # fmt: skip
        head = apply(case, line)
        late = owed.deed is Deed.OPEN and head.state in _NOT_TICKETED
        owes = errand(head, Deed.RESOLVE, number=head.number, because=head.because, now=now) if late else None
        try:
            ports.ledger.append(Change(line, head, owes=owes, done=owed.id))
        except Stale:
            newer = ports.ledger.head(case.id)
            if newer is None or newer.hash == case.hash:
                return case
            case = newer
            continue
        ports.notices.say("ticket", remediation=case.id, ticket=owed.ticket, deed=owed.deed.value)
        return run(ports, owes, head) if owes else head
    return case


_WORDS = {Deed.OPEN: "opened", Deed.UPDATE: "updated", Deed.RESOLVE: "resolved"}
