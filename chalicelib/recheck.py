"""Recheck: whether an export is whole, in order, unchanged, and what its checkpoints signed. It needs no ledger."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.days import lines_of, manifest_of
from chalicelib.core.journal import Entry
from chalicelib.core.journal import fault as fault_of_entries
from chalicelib.core.printing import counted
from chalicelib.core.publications import Publication
from chalicelib.core.publications import fault as fault_of_publications
from chalicelib.core.remediations import Transition
from chalicelib.evidence import numbers
from chalicelib.ports import Ledger, Signer, Vault
from chalicelib.proof import Verified
from chalicelib.signed import Signed, signed


def verify_export(vault: Vault, signer: Signer | None = None, *, ledger: Ledger | None = None) -> Verified:
    """Check an export by itself: every day there, every file as its manifest says, every chain, every checkpoint.

    With a ledger, each final day must hold as many lines as the day index does.
    """
    said = signed(vault, signer) if signer and numbers(vault.names("checkpoints/")) else Signed({}, {})
    faults = list(said.faults)
    days = _days(vault, faults)
    hashes, early, lines = defaultdict[str, list[str]](list), defaultdict[str, dict[int, Transition]](dict), 0
    for day, manifest in days:
        told = list(_lines(vault, day, manifest, faults))
        lines += len(told)
        for line in told:
            # clocks differ: a line may stand before, or on the day before, the one it follows
            waiting, before = early[line.remediation], hashes[line.remediation]
            waiting[line.number] = line
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
    service = _exported_service(vault, faults)
    end = datetime.combine(days[-1][0] + timedelta(days=1), time(), UTC) if days else None
    for subject in said.by_subject:
        held = service.get(subject) if subject.count(".") < 3 else hashes.get(subject, [])
        reaches = Signed({subject: [claim for claim in said.by_subject[subject]
                                    if end and said.checkpoints[claim.checkpoint].until <= end]},
                         said.checkpoints)  # fmt: skip
        wrong = reaches.against(subject, held or ())
        if wrong and not any(one.startswith(f"{subject}:") for one in faults):
            faults.append(wrong)
    notes = () if said.checkpoints else ("signatures were not checked: the export holds no checkpoint, or no key is "
                                         "named",)  # fmt: skip
    return Verified(len(hashes), lines + sum(map(len, service.values())), tuple(faults), len(said.checkpoints),
                    said.until, notes)  # fmt: skip


def _days(vault: Vault, faults: list[str]) -> list[tuple[date, dict[str, Any]]]:
    names = [name for name in vault.names("trail/") if name.endswith("/manifest.json")]
    days = [(date.fromisoformat(name.split("/")[1].removeprefix("day=")), json.loads(vault.get(name) or b"{}"))
            for name in names]  # fmt: skip
    there = {day for day, _ in days}
    if days:
        between = (days[-1][0] - days[0][0]).days
        faults += [f"{manifest_of(day)}: the day is missing" for number in range(between)
                   if (day := days[0][0] + timedelta(days=number)) not in there]  # fmt: skip
    return days


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
    elif link(line.previous, line.to_json()) != line.hash:
        wrong = f"line {line.number} was changed after it was written"
    if wrong and not any(one.startswith(f"{line.remediation}:") for one in faults):
        faults.append(f"{line.remediation}: {wrong} (day={line.at.date()})")
    before.append(line.hash)


def _exported_service(vault: Vault, faults: list[str]) -> dict[str, list[str]]:
    """The hashes of the exported publications and journal, by the subject that checkpoints call them."""
    found = defaultdict[str, list[str]](list)
    published = [Publication.from_json(value) for value in _values(vault, "service/publications.jsonl.gz", faults)]
    wrong = fault_of_publications(published[-1] if published else None, published)
    faults += [wrong] if wrong else []
    found["policies"] = [line.hash for line in published]
    subjects = defaultdict[str, list[Entry]](list)
    for value in _values(vault, "service/journal.jsonl.gz", faults):
        subjects[value["subject"]].append(Entry.from_json(value))
    for subject, entries in subjects.items():
        wrong = fault_of_entries(entries[-1], entries)
        faults += [wrong] if wrong else []
        found[f"journal {subject}"] = [line.hash for line in entries]
    return found


def _values(vault: Vault, name: str, faults: list[str]) -> Iterable[dict[str, Any]]:
    body = vault.get(name)
    if body is None:
        faults.append(f"{name}: the file is missing")
        return []
    try:
        return [json.loads(line) for line in gzip.decompress(body).splitlines()]
    except (OSError, EOFError, ValueError) as error:
        faults.append(f"{name}: it cannot be read: {error}")
        return []
