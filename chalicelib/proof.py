"""Proof: whether the ledger is whole, in order, unchanged, and what its checkpoints signed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from chalicelib.core.audit import fault
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.journal import Kind
from chalicelib.core.journal import fault as fault_of_entries
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.publications import fault as fault_of_publications
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.evidence import LATEST, set_back, signed_up_to
from chalicelib.history import FIRST_DAY
from chalicelib.ports import Ledger, Signer, Vault
from chalicelib.signed import Signed, signed


@dataclass(frozen=True, slots=True)
class Verified:
    """What `audit verify` found. `faults` name the line; `notes` say what could not be checked.

    `signed_until`: every line up to this moment is held by a checkpoint; after it by the chain alone. None: no
    checkpoint was checked.
    """

    remediations: int
    lines: int
    faults: tuple[str, ...]
    checkpoints: int = 0
    signed_until: str | None = None
    notes: tuple[str, ...] = ()


def verify(
    ledger: Ledger, now: datetime, *, since: datetime | None = None, node: Node | None = None,
    vault: Vault | None = None, signer: Signer | None = None,
) -> Verified:  # fmt: skip
    """Check chain, order and completeness of each trail against its head, of the journal and of the policy sets.

    `since`: only the trails that got a line from then on; `node`: only that node's. With a vault, what its checkpoints
    signed must still be there. Without one, a trail that was rewritten or removed as a whole leaves no trace.
    """
    said = signed(vault, signer, signed_up_to(ledger)) if vault and signer else Signed({}, {})
    faults = list(said.faults)
    if vault and signer and (wrong := set_back(ledger, max(said.checkpoints, default=0))):
        faults.append(wrong)
    chosen = _chosen(ledger, now, since, node)
    lines, known = 0 if node else _service(ledger, said, faults), dict[str, Kept]()
    for case in chosen if chosen is not None else _listed(ledger, faults):
        if case.id not in known:
            known[case.id], wrong = _proved(ledger, said, case, now)
            faults += [wrong] if wrong else []
    if chosen is None:
        gone = {subject for subject in said.by_subject if subject.count(".") >= 3} - {*known}
        faults += _indexed(ledger, known, now, gone)
    else:
        gone = {remediation_id(node, control) for control in Control} - {*known} if node else set()
        faults += _beheaded(ledger, sorted(gone))
    faults += [wrong for subject in sorted(gone) if (wrong := said.against(subject, _hashes(ledger.trail(subject))))
               and not any(one.startswith(f"{subject}:") for one in faults)]  # fmt: skip
    lines += sum(one.lines for one in known.values())
    return Verified(len(known), lines, tuple(faults), len(said.checkpoints), said.until, _notes(said, vault, now))


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of a trail: its lines, how many are old enough to be in the index of days, and its days."""

    lines: int
    settled: int
    first: date
    last: date


def _proved(ledger: Ledger, said: Signed, case: Remediation, now: datetime) -> tuple[Kept, str | None]:
    """One trail, and the first thing that is wrong with it."""
    told = ledger.trail(case.id)
    found = fault(case, told)
    if found:
        # the index that named the case may be a moment behind its trail
        told = ledger.trail(case.id)
        found = fault(ledger.head(case.id) or case, told)
    moments = [line.at for line in told]
    found = found or said.wrong(case.id, _hashes(told), moments)
    settled = sum(at <= now - LATEST for at in moments)
    return Kept(len(told), settled, min(moments, default=now).date(), max(moments, default=now).date()), found


def _hashes(lines: Iterable[Transition]) -> list[str]:
    return [line.hash for line in lines]


def _listed(ledger: Ledger, faults: list[str]) -> Iterator[Remediation]:
    """Every head as the lists by state name it. A case that moves meanwhile may come twice, or not at all."""
    for state in State:
        for case in ledger.work([state]):
            if case.state is not state:
                faults.append(f"{case.id}: the index of states has it as {state}, but it is {case.state}")
            yield case


def _indexed(ledger: Ledger, known: Mapping[str, Kept], now: datetime, gone: Collection[str]) -> Iterator[str]:
    """What the index of days has too many or too few of, and trails that no list of remediations names.

    Exports, searches and checkpoints read that index; lines of the last moments it may not have yet.
    """
    settled, held, lost = now - LATEST, Counter[str](), {*gone}
    for day in _days(known, now):
        for line in ledger.day(day):
            if line.at.date() != day:
                yield f"{line.remediation}: line {line.number} of {format_moment(line.at)} stands under {day} in the " \
                      "index of days"  # fmt: skip
            elif line.remediation not in known:
                lost.add(line.remediation)
            elif line.at <= settled:
                held[line.remediation] += 1
    for identity, one in known.items():
        if held[identity] < one.settled:
            yield f"{identity}: {_left_out(ledger, identity, settled)} is not in the index of days"
    yield from (wrong for identity in sorted(lost) if (wrong := _unlisted(ledger, identity)))


def _days(known: Mapping[str, Kept], now: datetime) -> list[date]:
    """The days that may hold lines; a line that is stamped in another age adds its own day, and no other."""
    first = max(min((one.first for one in known.values()), default=now.date()), FIRST_DAY)
    between = {first + timedelta(days=number) for number in range((now.date() - first).days + 1)}
    return sorted(between | {day for one in known.values() for day in (one.first, one.last)})


def _left_out(ledger: Ledger, identity: str, settled: datetime) -> str:
    """The first line of the trail that the index of days leaves out."""
    lines = [line for line in ledger.trail(identity) if line.at <= settled]
    there = {line.number for day in {line.at.date() for line in lines} for line in ledger.day(day)
             if line.remediation == identity}  # fmt: skip
    return next((f"line {line.number}" for line in lines if line.number not in there), "a line")


def _unlisted(ledger: Ledger, identity: str) -> str | None:
    """Why a trail is in no list of remediations; None: it is in one by now, or nothing is left of it."""
    for _ in range(2):
        case = ledger.head(identity)
        if case is None:
            return f"{identity}: its lines are there, but its head is gone" if ledger.trail(identity) else None
        if any(one.id == identity for one in ledger.page([case.state], after=case.turn[:-1], limit=3)):
            return fault(case, ledger.trail(identity))
    return f"{identity}: its head is there, but the index of states does not name it"


def _beheaded(ledger: Ledger, subjects: Iterable[str]) -> list[str]:
    return [f"{subject}: its lines are there, but its head is gone" for subject in subjects
            if ledger.head(subject) is None and ledger.trail(subject)]  # fmt: skip


def _notes(said: Signed, vault: Vault | None, now: datetime) -> tuple[str, ...]:
    if vault is None:
        return ("no evidence bucket or folder is named: signatures were not checked",)
    if not said.checkpoints:
        return ("there is no checkpoint yet: signatures were not checked",)
    if said.end and now - said.end > timedelta(hours=2):
        return (f"the newest checkpoint speaks up to {said.until}: what came later is not signed",)
    return ()


def _chosen(ledger: Ledger, now: datetime, since: datetime | None, node: Node | None) -> list[Remediation] | None:
    """The cases that are asked about; None: all."""
    if node:
        return [case for control in Control if (case := ledger.head(remediation_id(node, control)))]
    if since is None:
        return None
    touched = {line.remediation for number in range((now.date() - since.date()).days + 2)
               for line in ledger.day(since.date() + timedelta(days=number), since=since)}  # fmt: skip
    return [case for identity in sorted(touched) if (case := ledger.head(identity))]


def _service(ledger: Ledger, said: Signed, faults: list[str]) -> int:
    """Check the trail of policy sets and the journal; how many lines they have."""
    published = ledger.publications()
    found = fault_of_publications(ledger.active_policies(), published)
    found = found or said.wrong("policies", [line.hash for line in published], [line.at for line in published])
    faults += [found] if found else []
    lines, known = len(published), set[str]()
    for newest in (entry for kind in Kind for entry in ledger.subjects(kind)):
        entries = ledger.entries(newest.subject)
        found = fault_of_entries(newest, entries)
        if found:
            # somebody may have written between the two reads
            entries = ledger.entries(newest.subject)
            found = fault_of_entries(ledger.entry(newest.subject), entries)
        found = found or said.wrong(f"journal {newest.subject}", [line.hash for line in entries],
                                    [line.at for line in entries])  # fmt: skip
        faults += [found] if found else []
        lines += len(entries)
        known.add(f"journal {newest.subject}")
    gone = (name for name in said.by_subject if name.startswith("journal ") and name not in known)
    faults += [wrong for name in gone if (wrong := said.against(name, ()))]
    return lines
