"""Ticket: run one errand to the ticket system and note in the trail that it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import Cause, Remediation, State, advance, apply
from chalicelib.core.tickets import Deed, Errand, errand, key_of, shared
from chalicelib.ports import Change, Clock, Ports, Tickets

Answer = TypeVar("Answer")

TRIES = 3

CONFIRM = timedelta(minutes=4)
"""When a node that joined its group's ticket asks for it once more: whoever closed it in the same moment may not have
seen this node yet, because the index that names the group's nodes runs behind."""

_NOT_TICKETED = (State.RESOLVED, State.GONE, State.EXEMPT)


WITHIN = timedelta(seconds=20)
"""How long one verb takes on more calls of the ticket system; what is left is owed, and the sweep's."""


class Bounded:
    """The ticket system of one verb: a place that did not answer is not asked again, and nobody after `within`."""

    def __init__(self, tickets: Tickets, clock: Clock, within: timedelta) -> None:
        self._tickets, self._clock, self._within = tickets, clock, within
        self._silent: set[Location] = set()
        self._spent = timedelta()
        self._until: datetime | None = None

    @property
    def over(self) -> bool:
        """Whether the time of this verb is spent."""
        return self._clock.now() >= self._until if self._until else self._spent >= self._within

    @contextmanager
    def together(self) -> Iterator[None]:
        """Several hands ask at the same time: what counts is how long it takes all of them."""
        begun = self._clock.now()
        self._until = begun + max(self._within - self._spent, timedelta())
        try:
            yield
        finally:
            self._until = None
            self._spent += self._clock.now() - begun

    def open(self, errand: Errand) -> str:
        return self._asked(self._tickets.open, errand)

    def update(self, errand: Errand) -> None:
        self._asked(self._tickets.update, errand)

    def resolve(self, errand: Errand) -> None:
        self._asked(self._tickets.resolve, errand)

    def _asked(self, call: Callable[[Errand], Answer], errand: Errand) -> Answer:
        if errand.location in self._silent or self.over:
            raise Temporary(f"left for later: the ticket system took {self._spent.total_seconds():g} s before")
        begun = self._clock.now()
        try:
            return call(errand)
        except Temporary:
            self._silent.add(errand.location)
            raise
        finally:
            if self._until is None:
                self._spent += self._clock.now() - begun


class Last:
    """The ticket system of a verb in which a call that hangs costs nothing else: errands come last."""

    def __init__(self, now: Bounded) -> None:
        self.now = now
        self.waiting: list[Errand] = []

    def waits(self, owed: Errand) -> bool:
        """Leave the errand, which its line has written down, for the end of the verb."""
        self.waiting.append(owed)
        return True

    def open(self, errand: Errand) -> str:
        return self.now.open(errand)

    def update(self, errand: Errand) -> None:
        self.now.update(errand)

    def resolve(self, errand: Errand) -> None:
        self.now.resolve(errand)


@contextmanager
def last(ports: Ports, within: timedelta = WITHIN) -> Iterator[Ports]:
    """The ports of a verb whose errands run at its end. What a crash leaves undone is still owed: the sweep's turn."""
    late = Last(Bounded(ports.tickets, ports.clock, within))
    yield replace(ports, tickets=late)
    settle(replace(ports, tickets=late), late.waiting)


def settle(ports: Ports, errands: Sequence[Errand]) -> int:
    """Run these errands now, in the time that the verb has for them; how many were run. What is left is still owed."""
    if not errands:
        return 0
    now = ports.tickets.now if isinstance(ports.tickets, Last) else Bounded(ports.tickets, ports.clock, WITHIN)
    bounded = replace(ports, tickets=now)

    def one(owed: Errand) -> bool:
        if now.over:
            return False
        case = ports.ledger.head(owed.remediation)
        if case is None:
            ports.notices.say("errand_without_remediation", remediation=owed.remediation)
            return True
        run(bounded, owed, case)
        return True

    with now.together():
        made = ports.crew.together([partial(one, owed) for owed in errands])
    ran = sum(each is True for each in made)
    if ran < len(errands):
        ports.notices.say("errands_left", count=len(errands) - ran)
    failed = next((each for each in made if isinstance(each, Temporary | Denied)), None)
    if failed:
        raise failed
    return ran


def run(ports: Ports, owed: Errand, case: Remediation) -> Remediation:
    """The case after the errand; a ticket system that does not answer leaves the errand for the next sweep."""
    if isinstance(ports.tickets, Last) and ports.tickets.waits(owed):
        return case
    word = _WORDS[owed.deed]
    joins, confirms = _joining(owed)
    try:
        if confirms and case.state is not State.TICKETED:
            word = "not asked for again"
        elif owed.deed is Deed.OPEN:
            owed = replace(owed, ticket=ports.tickets.open(owed))
        elif owed.deed is Deed.UPDATE:
            ports.tickets.update(owed)
        elif shared(owed.key) and _others(ports, owed):
            word = "left open for other nodes of its group"
        else:
            ports.tickets.resolve(owed)
    except (Temporary, Denied) as error:
        return _later(ports, owed, case, str(error))
    return _done(ports, owed, case, word, again=joins)


def _joining(owed: Errand) -> tuple[bool, bool]:
    """Whether the errand joins the ticket of a group now, and whether it only makes sure that it still has it."""
    opens = owed.deed is Deed.OPEN and shared(owed.key)
    return opens and owed.ticket is None, opens and owed.ticket is not None


def _others(ports: Ports, owed: Errand) -> bool:
    """Whether another node still has the ticket: the index names candidates, their heads decide."""
    named = [case.id for case in ports.ledger.work([State.TICKETED]) if key_of(case) == owed.key]
    heads = ports.ledger.heads([each for each in named if each != owed.remediation])
    return any(case.state is State.TICKETED and key_of(case) == owed.key for case in heads.values())


def _later(ports: Ports, owed: Errand, case: Remediation, why: str) -> Remediation:
    wait = min(timedelta(minutes=1) * 2 ** min(owed.tries, 6), timedelta(hours=1))
    try:
        ports.ledger.postpone(replace(owed, due=ports.clock.now() + wait, tries=owed.tries + 1))
    except Stale:
        return case
    ports.notices.say("errand_postponed", remediation=owed.remediation, deed=owed.deed.value, because=why)
    return case


def _done(ports: Ports, owed: Errand, case: Remediation, word: str, *, again: bool = False) -> Remediation:
    """Note it; a ticket that came too late for its case or its episode is resolved in the next breath.

    `again`: the errand stays, and is run once more a while later.
    """
    for _ in range(TRIES):
        past = not shared(owed.key) and not owed.key.endswith(f"/{case.episode}")
        late = owed.deed is Deed.OPEN and (case.state in _NOT_TICKETED or past)
        kept = again and not late
        head, change = _noted(ports, owed, case, word, closes=late)
        try:
            ports.ledger.append(change if kept else replace(change, done=owed.id))
            if kept:
                ports.ledger.postpone(replace(owed, due=ports.clock.now() + CONFIRM))
        except Stale:
            newer = ports.ledger.head(case.id)
            if newer is None:
                return case
            if newer.hash == case.hash:
                return _stray(ports, owed, case)
            case = newer
            continue
        ports.notices.say("ticket", remediation=case.id, ticket=owed.ticket, deed=owed.deed.value)
        return run(ports, change.owes, head) if change.owes else head
    return case


def _stray(ports: Ports, owed: Errand, case: Remediation) -> Remediation:
    """Another run of the errand was first. If it has closed its ticket already, ours is a second one: close it too."""
    for _ in range(TRIES):
        if owed.deed is not Deed.OPEN or case.ticket == owed.ticket:
            return case
        head, change = _noted(ports, owed, case, "opened once more", closes=True)
        try:
            ports.ledger.append(change)
        except Stale:
            case = ports.ledger.head(case.id) or case
            continue
        return run(ports, change.owes, head) if change.owes else head
    return case


def _noted(ports: Ports, owed: Errand, case: Remediation, word: str, *, closes: bool) -> tuple[Remediation, Change]:
    """The line about the ticket; with `closes` the case does not take it for its own, and owes its end."""
    now = ports.clock.now()
    sets = {"ticket": owed.ticket} if owed.deed is Deed.OPEN and not closes else {}
    line = advance(case, Cause.NOTED, because=f"ticket {owed.ticket}: {word}", now=now, sets=sets,
                   evidence={"ticket": owed.ticket, "deed": owed.deed.value})  # fmt: skip
    head = apply(case, line)
    closing = errand(head, Deed.RESOLVE, number=head.number, because=head.because, now=now)
    return head, Change(line, head, owes=replace(closing, ticket=owed.ticket, key=owed.key) if closes else None)


_WORDS = {Deed.OPEN: "opened", Deed.UPDATE: "updated", Deed.RESOLVE: "resolved"}
