"""Guard: trip one, release it, and bring its one ticket to the ticket system and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.tickets import Deed, Errand
from chalicelib.ports import Ports

KINDS = (Kind.GUARD, Kind.ROLLOUT)
TRIES = 3

MOST_PLACES = 5
"""How many accounts are asked in one round to take a ticket."""


def tripped(line: Entry | None) -> bool:
    """Whether the newest entry of a guard or a rollout says that it holds something."""
    return line is not None and bool(line.value.get("tripped"))


def why(line: Entry) -> str:
    """Why it holds what it holds, whatever was noted since."""
    return str(line.value.get("why") or line.because)


def released_at(line: Entry | None) -> datetime | None:
    """When the guard was released last, or None."""
    told = line.value.get("released") if line else None
    return parse_moment(told) if told else None


def standing(ports: Ports) -> dict[str, Entry]:
    """The newest entry of every guard, by name; one read."""
    return {line.name: line for line in ports.ledger.subjects(Kind.GUARD)}


def trip(
    ports: Ports, last: Entry | None, subject: str, because: str, *, location: str, value: Mapping[str, Any],
    joins: Entry | None = None,
) -> Entry:  # fmt: skip
    """Write that the guard tripped, and say it once; the entry that stands, if somebody else was first.

    One that `joins` another guard, which holds for the same cause, has no notice and no ticket of its own. The line
    comes first: a notice can be lost if we die right after it, the ticket cannot. One that trips again before its
    ticket was resolved keeps it, and the incident that the ticket system knows it by.
    """
    now = ports.clock.now()
    number = last.number + 1 if last else 1
    left = last if last and last.value.get("ticket") else joins
    known = {**value, "tripped": True, "why": because, "since": format_moment(now),
             "ticket": left.value.get("ticket") if left is last and left else None,
             "location": left.value["location"] if left else location,
             "incident": left.value["incident"] if left else f"{subject}/{number}"}  # fmt: skip
    line = entry(last, subject, "tripped", because=because, actor="patchwarden", now=now, value=known)
    try:
        ports.ledger.enter(line)
    except Stale:
        return ports.ledger.entry(subject) or line
    if joins is None:
        ports.notices.say("guard_tripped", guard=line.name, location=location, because=because)
    return line


def write(
    ports: Ports, last: Entry, what: str, because: str, value: Mapping[str, Any], actor: str = "patchwarden"
) -> Entry:
    """The next entry of a guard or rollout; Stale if somebody else was first."""
    line = entry(last, last.subject, what, because=because, actor=actor, now=ports.clock.now(), value=value)
    ports.ledger.enter(line)
    return line


def release(ports: Ports, last: Entry, because: str, *, actor: str = "patchwarden") -> Entry:
    """Let go what the guard holds; its ticket is resolved with it. Stale if somebody else was first."""
    now = format_moment(ports.clock.now())
    value = {"tripped": False, "released": now, "ticket": last.value.get("ticket"),
             "incident": last.value.get("incident"), "location": last.value.get("location")}  # fmt: skip
    line = write(ports, last, "released", because, value, actor)
    ports.notices.say("guard_released", guard=line.name, because=because, by=actor)
    return line


def settle(ports: Ports, locations: Iterable[Location] = ()) -> int:
    """Open the ticket of each guard that tripped, and resolve that of each that was released; how many were done.

    A ticket that its own place refuses is opened in another account of the scope, the `locations`. What the ticket
    system does not take now is tried again in the next round: the journal says what is owed.
    """
    lines = [line for kind in KINDS for line in ports.ledger.subjects(kind)]
    due = owed(lines)
    for line, deed in due:
        mates = [one for one in lines if one.subject != line.subject and _incident(one) == _incident(line)]
        try:
            if deed is Deed.OPEN:
                _open(ports, line, _places(line, mates, locations))
            else:
                _resolve(ports, line, shared=any(tripped(one) for one in mates))
        except (Temporary, Denied) as error:
            ports.notices.say("errand_postponed", remediation=line.subject, deed=deed.value, because=str(error))
    return len(due)


def owed(lines: Sequence[Entry]) -> list[tuple[Entry, Deed]]:
    """What the ticket system is owed, by the newest entries of the guards."""
    opens = [(line, Deed.OPEN) for line in lines if line.value.get("tripped") and not line.value.get("ticket")]
    ends = [(line, Deed.RESOLVE) for line in lines if not line.value.get("tripped") and line.value.get("ticket")]
    return opens + ends


def _incident(line: Entry) -> str:
    return str(line.value.get("incident"))


def _places(line: Entry, mates: Iterable[Entry], locations: Iterable[Location]) -> list[str]:
    """Where its ticket may be opened: where its incident has one already, then its own place, then other accounts."""
    there = [str(one.value["location"]) for one in mates if one.value.get("ticket")]
    known = [*there, str(line.value["location"]), *map(str, locations)]
    by_account: dict[str, str] = {}
    for place in known:
        by_account.setdefault(place.split("/")[0], place)
    return list(by_account.values())


def _open(ports: Ports, line: Entry, places: Sequence[str]) -> None:
    """Open it in the first place that does not refuse; the last refusal is raised if each of them does."""

    def opens(place: str) -> str:
        there = {**line.value, "location": place}
        return ports.tickets.open(errand(replace(line, value=there), Deed.OPEN, ports.clock.now()))

    ticket, place = taken(ports, key_of(line), places, opens)
    _note(ports, line, "ticketed", f"ticket {ticket}: opened", {"ticket": ticket, "location": place})


def taken(ports: Ports, key: str, places: Sequence[str], opens: Callable[[str], str]) -> tuple[str, str]:
    """What one of the places made of it, and which: the first that does not refuse, of `MOST_PLACES` in one round.

    Those that refused are passed over in the rounds after, until each has; so the hundredth account is asked in the
    end. A place that is only busy is not passed over: it may have taken it. The last refusal is raised.
    """
    name = f"untaken/{key}"
    kept = ports.ledger.kept(name)
    refused = set(kept.value["places"]) if kept else set()
    left = [place for place in places if place not in refused]
    if not left:
        left, refused = list(places), set()
    refusal = Denied("there is no account that could be asked to take a ticket")
    for place in left[:MOST_PLACES]:
        try:
            return opens(place), place
        except Denied as error:
            refusal = error
            refused.add(place)
    with suppress(Stale):  # another round asks the same places
        ports.ledger.keep(name, {"places": sorted(refused)}, expected=kept.version if kept else 0)
    raise refusal


def _resolve(ports: Ports, line: Entry, *, shared: bool) -> None:
    if not shared:
        ports.tickets.resolve(errand(line, Deed.RESOLVE, ports.clock.now()))
    _note(ports, line, "settled", f"ticket {line.value['ticket']}: resolved", {"ticket": None})


def _note(ports: Ports, line: Entry, what: str, because: str, told: Mapping[str, Any]) -> None:
    """Write the ticket into the newest entry; a guard that was released meanwhile owes its end from then on."""
    for _ in range(TRIES):
        try:
            write(ports, line, what, because, {**line.value, **told})
        except Stale:
            newer = ports.ledger.entry(line.subject)
            if newer is None or newer.value.get("ticket") == told["ticket"]:
                return
            line = newer
            continue
        ports.notices.say("ticket", remediation=line.subject, ticket=told["ticket"], deed=what)
        return


def key_of(line: Entry) -> str:
    """What the ticket system knows the incident by; no subject stands in it, since a remediation's id would."""
    return f"patchwarden/incident/{_incident(line).replace('/', '.')}"[:512]


def errand(line: Entry, deed: Deed, now: datetime) -> Errand:
    """The errand of a guard. Its key is that of the incident, so that guards which trip together share a ticket."""
    lines = [
        f"Guard: {line.name}",
        f"Since: {line.value.get('since') or format_moment(line.at)}",
        f"Look: patchwarden {'rollout show' if line.kind is Kind.ROLLOUT else 'guard list'}",
        f"Let go: patchwarden {'rollout resume' if line.kind is Kind.ROLLOUT else 'guard release'} {line.name} "
        "--reason ...",
        "",
        why(line),
    ]
    return Errand(
        id=f"{line.subject}#{line.number}",
        remediation=line.subject,
        deed=deed,
        location=Location(*str(line.value["location"]).split("/")),
        key=key_of(line),
        title=f"Patchwarden holds starts: {line.name}: {why(line)}"[:200],
        body="\n".join(lines)[:2048],
        severity=2,
        due=now,
        ticket=line.value.get("ticket"),
    )


def find(ports: Ports, kind: Kind, name: str) -> Entry:
    """The newest entry of that name; PolicyError that names those there are."""
    line = ports.ledger.entry(subject_of(kind, name))
    if line is None:
        from difflib import get_close_matches  # costs a cold start that hardly ever needs it

        known = sorted(one.name for one in ports.ledger.subjects(kind))
        near = get_close_matches(name, known, n=3, cutoff=0.6)
        there = f"known are {', '.join(known)}" if known else "none was ever recorded"
        raise PolicyError(f"there is no {kind} {name}: {f'did you mean {near[0]}?' if near else there}")
    return line
