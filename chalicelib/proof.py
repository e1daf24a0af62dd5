"""Proof: whether the ledger, or an export of it, is whole, in order, unchanged, and what its checkpoints signed."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from chalicelib.core.audit import fault
from chalicelib.core.chain import GENESIS, link
from chalicelib.core.checkpoints import Checkpoint, Claim, claims, follows, name_of, opened
from chalicelib.core.days import lines_of, manifest_of
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.journal import Entry, Kind
from chalicelib.core.journal import fault as fault_of_entries
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.printing import counted
from chalicelib.core.publications import Publication
from chalicelib.core.publications import fault as fault_of_publications
from chalicelib.core.remediations import Remediation, Transition
from chalicelib.evidence import numbers, set_back, signed_up_to
from chalicelib.ports import Ledger, Original, Signer, Vault


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


@dataclass(frozen=True, slots=True)
class Signed:
    """What the checkpoints say: claims by subject, in order; and what is wrong with the checkpoints themselves."""

    by_subject: Mapping[str, Sequence[Claim]] = field(hash=False)
    checkpoints: Mapping[int, Checkpoint] = field(hash=False)
    faults: tuple[str, ...] = ()

    @property
    def until(self) -> str | None:
        return format_moment(max(one.until for one in self.checkpoints.values())) if self.checkpoints else None

    def against(self, subject: str, hashes: Sequence[str]) -> str | None:
        """What the first broken claim says of a trail whose lines have these hashes; None: all hold."""
        confirmed = 0
        for claim in self.by_subject.get(subject, ()):
            signed = f"checkpoint {claim.checkpoint} of {format_moment(self.checkpoints[claim.checkpoint].until)}"
            if claim.number > len(hashes):
                return f"{subject}: line {len(hashes) + 1} is gone: {signed} signed {counted(claim.number, 'line')}"
            if hashes[claim.number - 1] != claim.hash:
                first = f"between {confirmed + 1} and {claim.number}" if claim.number > confirmed + 1 else claim.number
                return f"{subject}: line {first} was rewritten: it is not what {signed} signed"
            confirmed = max(confirmed, claim.number)
        return None


def signed(vault: Vault, signer: Signer, expected: int = 0) -> Signed:
    """Read and check every checkpoint: order, each one's own signature, the signature of the one before, its list.

    `expected`: the number of the last that the ledger knows of.
    """
    known, faults = dict[int, Checkpoint](), list[str]()
    by_subject = defaultdict[str, list[Claim]](list)
    before: tuple[Checkpoint, bytes] | None = None
    there = vault.originals("checkpoints/")
    faults += _covered(there)
    for number in range(1, max([expected, *numbers(there)], default=0) + 1):
        try:
            found, signature = opened(_there(vault, name_of(number), there))
            _check(found, signature, number, before, signer)
            told = claims(found, _there(vault, found.heads_name, there))
        except ValueError as error:
            faults.append(f"checkpoint {number}: {error}")
            before = _best(vault, number, there)
            continue
        known[number], before = found, (found, signature)
        for claim in told:
            by_subject[claim.subject].append(claim)
    return Signed(by_subject, known, tuple(faults))


def _covered(there: Mapping[str, Original]) -> Iterator[str]:
    """What was put under a checkpoint's name after it: the first is the one that counts, and this is told."""
    for name, original in there.items():
        number = int(name.removeprefix("checkpoints/")[:10]) if numbers([f"{name[:22]}.json"]) else 0
        if original.hidden:
            yield f"checkpoint {number}: {name} was hidden by a delete marker"
        if original.puts > 1:
            yield f"checkpoint {number}: {name} was put {original.puts} times"


def _there(vault: Vault, name: str, there: Mapping[str, Original]) -> bytes:
    original = there.get(name)
    body = vault.get(name, original.version) if original and original.version is not None else None
    if body is None:
        raise ValueError(f"{name} is missing")
    return body


def _best(vault: Vault, number: int, there: Mapping[str, Original]) -> tuple[Checkpoint, bytes] | None:
    """A checkpoint that is wrong, as what the next one follows from: so that one fault is told once."""
    try:
        return opened(_there(vault, name_of(number), there))
    except ValueError:
        return None


def _check(
    found: Checkpoint, signature: bytes, number: int, before: tuple[Checkpoint, bytes] | None, signer: Signer
) -> None:
    if found.number != number:
        raise ValueError(f"it says that it is number {found.number}")
    if not signer.verify(found.key, found.algorithm, found.digest, signature):
        raise ValueError(f"its signature is not that of {signer.key}: it was changed, or signed by {found.key:.120}")
    wrong = follows(before, found)
    if wrong and (before is not None or number == 1):
        raise ValueError(wrong)


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
    lines = 0 if node else _service(ledger, said, faults)
    first, last, known = now, now, set[str]()
    for case in chosen if chosen is not None else ledger.all_heads():
        told = ledger.trail(case.id)
        found = fault(case, told)
        if found:
            # the index that named the case may be a moment behind its trail
            told = ledger.trail(case.id)
            found = fault(ledger.head(case.id) or case, told)
        lines += len(told)
        found = found or said.against(case.id, [line.hash for line in told])
        faults += [found] if found else []
        known.add(case.id)
        first, last = min([first, *(line.at for line in told)]), max([last, *(line.at for line in told)])
    if chosen is None:
        faults += _headless(ledger, known, first, last)
        gone = [subject for subject in said.by_subject if subject.count(".") >= 3]
    else:
        gone = [remediation_id(node, control) for control in Control] if node else []
        faults += _beheaded(ledger, gone)
    faults += [wrong for subject in gone if subject not in known
               and (wrong := said.against(subject, [line.hash for line in ledger.trail(subject)]))
               and not any(one.startswith(f"{subject}:") for one in faults)]  # fmt: skip
    return Verified(len(known), lines, tuple(faults), len(said.checkpoints), said.until, _notes(said, vault, now))


def _beheaded(ledger: Ledger, subjects: Iterable[str]) -> list[str]:
    return [f"{subject}: its lines are there, but its head is gone" for subject in subjects
            if ledger.head(subject) is None and ledger.trail(subject)]  # fmt: skip


def signed_nodes(said: Signed, text: str) -> list[Node]:
    """The nodes that checkpoints name, by `account/region/id` or by id: also those that the ledger has lost."""
    named = {Node(*subject.split(".")[:3]) for subject in said.by_subject if subject.count(".") == 3}
    return sorted((node for node in named if text in (str(node), node.id)), key=str)


def _notes(said: Signed, vault: Vault | None, now: datetime) -> tuple[str, ...]:
    if vault is None:
        return ("no evidence bucket or folder is named: signatures were not checked",)
    if not said.checkpoints:
        return ("there is no checkpoint yet: signatures were not checked",)
    newest = max(one.until for one in said.checkpoints.values())
    if now - newest > timedelta(hours=2):
        return (f"the newest checkpoint speaks up to {format_moment(newest)}: what came later is not signed",)
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
    found = found or said.against("policies", [line.hash for line in published])
    faults += [found] if found else []
    lines, known = len(published), set[str]()
    for newest in (entry for kind in Kind for entry in ledger.subjects(kind)):
        entries = ledger.entries(newest.subject)
        found = fault_of_entries(newest, entries)
        if found:
            # somebody may have written between the two reads
            entries = ledger.entries(newest.subject)
            found = fault_of_entries(ledger.entry(newest.subject), entries)
        found = found or said.against(f"journal {newest.subject}", [line.hash for line in entries])
        faults += [found] if found else []
        lines += len(entries)
        known.add(f"journal {newest.subject}")
    gone = (name for name in said.by_subject if name.startswith("journal ") and name not in known)
    faults += [wrong for name in gone if (wrong := said.against(name, ()))]
    return lines


def _headless(ledger: Ledger, known: set[str], first: datetime, last: datetime) -> list[str]:
    """Remediations that left lines in these days, and have no head."""
    lost = set[str]()
    for number in range((last.date() - first.date()).days + 1):
        lost |= {line.remediation for line in ledger.day(first.date() + timedelta(days=number))} - known
    return [f"{remediation}: its lines are there, but its head is gone" for remediation in sorted(lost)
            if ledger.head(remediation) is None]  # fmt: skip


# --- an export ------------------------------------------------------------------------------------------------------


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
