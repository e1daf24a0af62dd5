"""Recheck: whether an export is whole, in order, unchanged, and what its checkpoints signed. It needs no ledger."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.days import STANDING, end_of, index_of, lines_of, manifest_of
from chalicelib.core.journal import Entry
from chalicelib.core.journal import fault as fault_of_entries
from chalicelib.core.moments import format_moment
from chalicelib.core.printing import counted
from chalicelib.core.publications import Publication
from chalicelib.core.publications import fault as fault_of_publications
from chalicelib.core.remediations import Transition
from chalicelib.evidence import done, numbers
from chalicelib.ports import Ledger, Original, Signer, Vault
from chalicelib.proof import Verified
from chalicelib.signed import Signed, signed
from chalicelib.standing import grow

BEHIND = timedelta(days=2)
"""How far the last exported day may be behind the newest checkpoint: a day is exported within a day of its end."""

Days = list[tuple[date, Mapping[str, Any]]]
Line = TypeVar("Line")


def verify_export(vault: Vault, signer: Signer | None = None, *, ledger: Ledger | None = None) -> Verified:
    """Check an export by itself: every day there, every file as its manifest says, every chain, every checkpoint.

    With a ledger, each final day must hold as many lines as the day index does.
    """
    said = signed(vault, signer) if signer and numbers(vault.names("checkpoints/")) else Signed({}, {})
    faults = list(said.faults)
    days = _days(vault, faults)
    hashes, early, lines = defaultdict[str, list[str]](list), defaultdict[str, dict[int, Transition]](dict), 0
    old = Counter[str]()
    for day, manifest in days:
        told = list(_lines(vault, day, manifest, faults))
        lines += len(told)
        for line in told:
            # clocks differ: a line may stand before, or on the day before, the one it follows
            waiting, before = early[line.remediation], hashes[line.remediation]
            waiting[line.number] = line
            if said.settled and line.at <= said.settled:
                old[line.remediation] = max(old[line.remediation], line.number)
            while (due := waiting.pop(len(before) + 1, None)) is not None:
                _chained(due, before, faults)
        if ledger and manifest.get("final"):
            count = sum(1 for _ in ledger.day(day))
            if count != len(told):
                faults.append(
                    f"{manifest_of(day)}: it holds {counted(len(told), 'line')}, the ledger's day index {count}"
                )
    for remediation, waiting in early.items():
        for number in sorted(waiting):
            _chained(waiting[number], hashes[remediation], faults)
    service, moments = _exported_service(vault, faults)
    end = end_of(days[-1][0]) if days else None
    faults += _cut_off(end, said, ledger)
    reaching = {number for number, one in said.checkpoints.items() if end and one.until <= end}
    for subject in sorted({*said.by_subject, *hashes, *service}):
        ours = subject.count(".") < 3
        held = service.get(subject, []) if ours else hashes.get(subject, [])
        named = [claim for claim in said.by_subject.get(subject, ()) if claim.checkpoint in reaching]
        wrong = Signed({subject: named}, said.checkpoints).against(subject, held)
        wrong = wrong or said.beyond(subject, said.old(moments[subject]) if ours else old[subject])
        if wrong and not any(one.startswith(f"{subject}:") for one in faults):
            faults.append(wrong)
    return Verified(len(hashes), lines + sum(map(len, service.values())), tuple(faults), len(said.checkpoints),
                    said.until, tuple(_notes(end, said)))  # fmt: skip


def verify_bucket(vault: Vault, signer: Signer | None, ledger: Ledger) -> Verified:
    """Check the service's own export, against the ledger too, and that what each day left standing is what its lines
    add up to: the API answers from that for a large fleet. It reads every day once more."""
    found = verify_export(vault, signer, ledger=ledger)
    anew = _Anew(vault)
    grow(ledger, anew, [day for day in done(vault) if vault.get(index_of(day)) is not None])
    faults = [f"{name}: it is not what the lines add up to: remove it, and the next export makes it anew"
              for name in anew.other]  # fmt: skip
    return replace(found, faults=(*found.faults, *faults))


class _Anew:
    """A vault in which all that stands is made anew, and held against what is there."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._made: dict[str, bytes | None] = {}
        self.other: list[str] = []

    def get(self, name: str, version: str | None = None) -> bytes | None:
        """What was made anew; kept here only where it is not the same as what is there."""
        if not name.startswith(STANDING):
            return self._vault.get(name, version)
        if name not in self._made:
            return None
        return self._made[name] or self._vault.get(name)

    def put(self, name: str, body: bytes, *, locked: bool = False) -> None:
        same = self._vault.get(name) == body
        self._made[name] = None if same else body
        self.other += [] if same else [name]

    def names(self, prefix: str) -> list[str]:
        return self._vault.names(prefix)

    def originals(self, prefix: str) -> dict[str, Original]:
        return self._vault.originals(prefix)


def _notes(end: datetime | None, said: Signed) -> Iterator[str]:
    if not said.checkpoints:
        yield "signatures were not checked: the export holds no checkpoint, or no key is named"
    elif end and said.end and said.end > end:
        yield f"the export ends with {end.date() - timedelta(days=1)}: what was signed later is not in it"


def _cut_off(end: datetime | None, said: Signed, ledger: Ledger | None) -> Iterator[str]:
    """Whether the last days are missing, by what checkpoints say, and the ledger if there is one."""
    if end is None:
        return
    known = f"{manifest_of(end.date())}: the day is missing"
    newest = max((case.at or case.since or end for case in ledger.all_heads()), default=end) if ledger else end
    if said.end and said.end >= end + BEHIND:
        yield f"{known}: checkpoints speak up to {said.until}"
    elif newest >= end + BEHIND:
        yield f"{known}: the ledger has lines up to {format_moment(newest)}"


def _days(vault: Vault, faults: list[str]) -> Days:
    """The days with their manifests; what is no manifest, a gap, and a file that no manifest names are faults."""
    days, named = list[tuple[date, Mapping[str, Any]]](), set[str]()
    names = vault.names("trail/")
    for name in names:
        if name.endswith("/manifest.json"):
            try:
                day = date.fromisoformat(name.split("/")[1].removeprefix("day="))
                manifest = _manifest(json.loads(vault.get(name) or b""))
            except ValueError as error:
                faults.append(f"{name}: it cannot be read: {error}")
                continue
            days.append((day, manifest))
            named |= {name, *(lines_of(day, account) for account in manifest["accounts"])}
        elif not name.endswith(".jsonl.gz"):
            named.add(name)  # no look-up reads it
    faults += [f"{name}: no manifest names this file" for name in names
               if name not in named and not name.endswith("/manifest.json")]  # fmt: skip
    there = {day for day, _ in days}
    if days:
        between = (days[-1][0] - days[0][0]).days
        faults += [f"{manifest_of(day)}: the day is missing" for number in range(between)
                   if (day := days[0][0] + timedelta(days=number)) not in there]  # fmt: skip
    return days


def _manifest(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not isinstance(value.get("accounts"), dict):
        raise ValueError("it is no manifest")
    for known in value["accounts"].values():
        if not isinstance(known, dict) or not {"lines", "sha256"} <= {*known}:
            raise ValueError("it does not say what each file holds")
    return value


def _lines(vault: Vault, day: date, manifest: Mapping[str, Any], faults: list[str]) -> Iterator[Transition]:
    """The day's lines, account by account; what cannot be read is a fault."""
    for account, known in manifest.get("accounts", {}).items():
        name = lines_of(day, account)
        body = vault.get(name)
        if body is None:
            faults.append(f"{name}: the file is missing; the manifest counts {counted(known['lines'], 'line')}")
            continue
        if hashlib.sha256(body).hexdigest() != known["sha256"]:
            faults.append(f"{name}: the file is not the one that its manifest names")
        try:
            found = [Transition.from_json(json.loads(line)) for line in gzip.decompress(body).splitlines()]
            if any(type(line.number) is not int for line in found):
                raise ValueError("a line has no number")
        except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
            faults.append(f"{name}: it cannot be read: {error}")
            continue
        if len(found) != known["lines"]:
            faults.append(f"{name}: it holds {counted(len(found), 'line')}; its manifest counts {known['lines']}")
        swapped = next((after for line, after in pairwise(found) if after.at < line.at), None)
        if swapped:
            faults.append(f"{swapped.remediation}: line {swapped.number} stands out of order in {name}")
        yield from found


def _chained(line: Transition, before: list[str], faults: list[str]) -> None:
    """Hold one line against the one before it; the first fault of a trail is told, not what follows from it."""
    wrong = None
    if line.number != len(before) + 1:
        wrong = f"line {len(before) + 1} is missing; line {line.number} stands in its place"
    elif line.previous != (before[-1] if before else GENESIS):
        wrong = f"line {line.number} does not follow from the line before it"
    elif _linked(line) != line.hash:
        wrong = f"line {line.number} was changed after it was written"
    if wrong and not any(one.startswith(f"{line.remediation}:") for one in faults):
        faults.append(f"{line.remediation}: {wrong} (day={line.at.date()})")
    before.append(line.hash)


def _linked(line: Transition) -> str | None:
    try:
        return link(line.previous, line.to_json())
    except ValueError:
        return None  # what no line of ours can say, such as NaN


def _exported_service(vault: Vault, faults: list[str]) -> tuple[dict[str, list[str]], dict[str, list[datetime]]]:
    """The hashes and the moments of the exported publications and journal, by what checkpoints call them."""
    subjects = defaultdict[str, list[Entry]](list)
    published = list(_values(vault, "service/publications.jsonl.gz", Publication.from_json, faults))
    for value in _values(vault, "service/journal.jsonl.gz", Entry.from_json, faults):
        subjects[value.subject].append(value)
    wrong = [fault_of_publications(published[-1] if published else None, published)]
    wrong += [fault_of_entries(entries[-1], entries) for entries in subjects.values()]
    faults += [one for one in wrong if one]
    lines: dict[str, Sequence[Publication | Entry]] = {"policies": published}
    lines |= {f"journal {subject}": entries for subject, entries in subjects.items()}
    return ({subject: [line.hash for line in some] for subject, some in lines.items()},
            {subject: [line.at for line in some] for subject, some in lines.items()})  # fmt: skip


def _values(vault: Vault, name: str, read: Callable[[Any], Line], faults: list[str]) -> list[Line]:
    body = vault.get(name)
    if body is None:
        faults.append(f"{name}: the file is missing")
        return []
    try:
        return [read(json.loads(line)) for line in gzip.decompress(body).splitlines()]
    except (OSError, EOFError, ValueError, TypeError, KeyError) as error:
        faults.append(f"{name}: it cannot be read: {error}")
        return []
