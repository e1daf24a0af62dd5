"""Isolate: an account that refuses us is set aside with one ticket, tried again with growing pauses, and let back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib import guard
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.journal import Entry, Kind, entry, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.tickets import Deed, Errand
from chalicelib.ports import Ledger, Ports

HELD = "account"
"""What `held` says of a case whose account is set aside."""

FIRST, LONGEST = timedelta(minutes=2), timedelta(hours=1)
"""The pause before the first try, which doubles, and the longest one."""

_ACTOR = "patchwarden"


@dataclass(frozen=True, slots=True)
class Degraded:
    """An account that refuses us. `tries` counts refusals, `probe` is the next moment it is asked."""

    account: str
    because: str
    since: datetime
    tries: int
    probe: datetime
    place: str
    starting: bool
    ticket: str | None

    @property
    def sentence(self) -> str:
        return f"account {self.account} refuses since {format_moment(self.since)}: {self.because}"

    def to_json(self) -> dict[str, Any]:
        return {"account": self.account, "because": self.because, "since": format_moment(self.since),
                "tries": self.tries, "probe": format_moment(self.probe), "ticket": self.ticket}  # fmt: skip


def degraded(ledger: Ledger) -> dict[str, Degraded]:
    """The accounts that are set aside, by id; strongly consistent."""
    found = (_degraded(newest) for newest in ledger.subjects(Kind.ACCOUNT))
    return {one.account: one for one in found if one}


def _degraded(newest: Entry | None) -> Degraded | None:
    value = newest.value if newest else {}
    if newest is None or not value.get("denied"):
        return None
    since, probe = parse_moment(str(value["since"])), parse_moment(str(value["probe"]))
    return Degraded(newest.name, str(value["denied"]), since, int(value["tries"]), probe, str(value["refused_at"]),
                    bool(value["starting"]), value.get("ticket"))  # fmt: skip


def refuse(ports: Ports, location: Location, because: str, *, starting: bool = False) -> None:
    """Set the account aside, or, if it is, wait twice as long. One notice for as long as it lasts.

    `starting`: what it refused is a start, so that only a start shows that it answers again.
    """
    account = location.account
    newest, now = ports.ledger.entry(subject_of(Kind.ACCOUNT, account)), ports.clock.now()
    known = _degraded(newest)
    if known and known.probe > now:
        return
    tries = known.tries + 1 if known else 1
    value = {
        **(newest.value if newest else {}), "denied": because[:500], "tries": tries,
        "since": format_moment(known.since if known else now), "probe": format_moment(now + _wait(tries)),
        "refused_at": str(location), "starting": starting,
    }  # fmt: skip
    if _entered(ports, newest, account, "still refuses" if known else "degraded", because, value) and not known:
        ports.notices.say("account_degraded", account=account, because=because)


def answers(ports: Ports, account: str) -> None:
    """The account did what it refused before: its cases leave again, and its ticket is owed its end."""
    newest = ports.ledger.entry(subject_of(Kind.ACCOUNT, account))
    known = _degraded(newest)
    if newest is None or known is None:
        return
    because = f"it answers again after {known.tries} refusals since {format_moment(known.since)}"
    if _entered(ports, newest, account, "answers again", because, _left(newest.value)):
        ports.notices.say("account_answers", account=account, because=because)


def retry(ports: Ports, account: str, *, by: str, reason: str) -> Degraded | None:
    """Ask the account again with the next round, whatever its pause; None: it is not set aside. Stale: come again."""
    return _decided(ports, account, "to be asked at once", by, reason, lambda value: {
        **value, "probe": format_moment(ports.clock.now()),
    })  # fmt: skip


def clear(ports: Ports, account: str, *, by: str, reason: str) -> Degraded | None:
    """Set it aside no longer, mended or given up: its ticket is owed its end, and one that refuses anew opens another.

    What was known of it, or None: it is not set aside. Stale: come again.
    """
    known = _decided(ports, account, "cleared", by, reason, _left)
    if known:
        ports.notices.say("account_cleared", account=account, because=reason, by=by)
    return known


def _decided(
    ports: Ports, account: str, what: str, by: str, reason: str, value: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> Degraded | None:
    """Write what a person says of an account that is set aside."""
    newest = ports.ledger.entry(subject_of(Kind.ACCOUNT, account))
    known = _degraded(newest)
    if newest is None or known is None:
        return None
    ports.ledger.enter(entry(newest, newest.subject, what, because=reason, actor=by, now=ports.clock.now(),
                             value=value(newest.value)))  # fmt: skip
    return known


def _left(value: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of an account that is let back: the ticket that is still to be resolved."""
    return {name: value[name] for name in ("ticket", "ticket_at") if value.get("ticket")}


def settle_tickets(ports: Ports, locations: Iterable[Location]) -> None:
    """Open the one ticket of each account that is set aside, and close it when the account answers again.

    It is opened in an account of the scope that answers and takes it: the one that refuses us takes no ticket either.
    """
    lines = ports.ledger.subjects(Kind.ACCOUNT)
    aside = {line.name for line in lines if _degraded(line)}
    places: dict[str, str] = {}
    for location in locations:
        if location.account not in aside:
            places.setdefault(location.account, str(location))
    for line in lines:
        known, ticket = _degraded(line), line.value.get("ticket")
        try:
            if known and not ticket and places:
                _ticketed(ports, line, known, list(places.values()))
            elif ticket and not known:
                place = Location(*str(line.value["ticket_at"]).split("/"))
                ports.tickets.resolve(_closing(line, place, ports.clock.now()))
                _resolved(ports, line, str(ticket))
        except (Temporary, Denied) as error:
            ports.notices.say("errand_postponed", remediation=line.subject, deed="account", because=str(error))


def _resolved(ports: Ports, line: Entry, ticket: str) -> None:
    """Note it; an account that refused anew meanwhile has taken the ticket for its own, and is owed another one."""
    newest: Entry | None = line
    for _ in range(guard.TRIES):
        if newest is None or newest.value.get("ticket") != ticket:
            return
        left = {name: each for name, each in newest.value.items() if name not in ("ticket", "ticket_at")}
        if _entered(ports, newest, line.name, "ticket resolved", f"ticket {ticket}", left):
            return
        newest = ports.ledger.entry(line.subject)


def _ticketed(ports: Ports, line: Entry, known: Degraded, places: Sequence[str]) -> None:
    def opens(place: str) -> str:
        return ports.tickets.open(_errand(known, Deed.OPEN, Location(*place.split("/")), None, ports.clock.now()))

    opened, place = guard.taken(ports, _key(known), places, opens)
    value = {**line.value, "ticket": opened, "ticket_at": place}
    _entered(ports, line, line.name, "ticket opened", f"ticket {opened}", value)


def _key(known: Degraded) -> str:
    return f"patchwarden/access/{known.account}/{format_moment(known.since)}"


def _wait(tries: int) -> timedelta:
    return min(FIRST * (1 << min(tries - 1, 10)), LONGEST)


def _entered(
    ports: Ports, newest: Entry | None, account: str, what: str, because: str, value: Mapping[str, Any]
) -> bool:
    """Whether the line was written; somebody who was first has said the same, or the next round says it."""
    line = entry(newest, subject_of(Kind.ACCOUNT, account), what, because=because, actor=_ACTOR,
                 now=ports.clock.now(), value=value)  # fmt: skip
    try:
        ports.ledger.enter(line)
    except Stale:
        return False
    return True


def _errand(known: Degraded, deed: Deed, place: Location, ticket: str | None, now: datetime) -> Errand:
    body = "\n".join([
        f"Account: {known.account}",
        f"Since: {format_moment(known.since)}",
        f"Refusal: {known.because}",
        "",
        "Its remediations are held, not lost; every other account goes on. Check the role patchwarden-member there:",
        "its trust, its external id and its permissions. It is tried again by itself, at the latest every hour.",
        "Look it up: patchwarden accounts list",
        f"When it is mended: patchwarden accounts retry {known.account} --reason ...",
    ])  # fmt: skip
    return Errand(
        id=f"account/{known.account}/{deed}", remediation=subject_of(Kind.ACCOUNT, known.account), deed=deed,
        location=place, key=_key(known),
        title=f"account {known.account} refuses Patchwarden: a person's turn", body=body[:2048], severity=2, due=now,
        ticket=ticket,
    )  # fmt: skip


def _closing(line: Entry, place: Location, now: datetime) -> Errand:
    ended = Degraded(line.name, line.because, line.at, 0, now, str(place), False, str(line.value["ticket"]))
    return _errand(ended, Deed.RESOLVE, place, ended.ticket, now)
