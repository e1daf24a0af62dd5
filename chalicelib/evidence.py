"""Evidence: copy the trail out of the ledger, day by day, and sign each hour what it looks like."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.checkpoints import Checkpoint, link, listed, name_of, opened, sealed
from chalicelib.core.days import TRAIL, end_of, lines_of, manifest_of
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.journal import Kind
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.remediations import Remediation, Transition
from chalicelib.ports import Ledger, Ports, Shelf, Signer, Vault

SETTLED = timedelta(minutes=15)
"""How long after its end a day may still get lines: a line is stamped before it is written."""

AGAIN = 2
"""How many of the days that are done are counted once more in each run."""

LATEST = timedelta(minutes=2)
"""How old a line is before a checkpoint speaks of it: the day index follows the writes by seconds."""

LOOKBACK = timedelta(minutes=15)
"""How far a clock may be behind: so far before the last checkpoint's end a line is looked for that it did not see."""

LONGEST = timedelta(hours=6)
"""How much of the trail one checkpoint reads at most; after a longer pause each run signs one such step."""


def export(
    ports: Ports, vault: Vault, shelf: Shelf | None = None, *, since: date | None = None, open_days: bool = False,
    until: datetime | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Write what is not in the vault yet, one day after another; yields `{day, of, lines, accounts, written, final}`.

    Done again it writes the same bytes. `open_days`: today too, whose manifest says that it is not final. It stops
    after the day during which `until` passes; the next run goes on. Temporary: the day index is behind, come again.
    """
    now = ports.clock.now()
    last = _last_day(ports.ledger, now) if open_days else (now - SETTLED).date() - timedelta(days=1)
    there = done(vault)
    began = bool(there)
    first = since or (max(there) - timedelta(days=AGAIN - 1) if there else _first_day(ports.ledger, now))
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        manifest, written = _day(ports.ledger, vault, day, final=end_of(day) + SETTLED <= now, empty=began)
        began = began or bool(manifest["lines"])
        yield {"day": day.isoformat(), "of": (last - first).days + 1, "lines": manifest["lines"],
               "accounts": len(manifest["accounts"]), "written": written, "final": manifest["final"]}  # fmt: skip
        if until and ports.clock.now() >= until:
            break
    _service(ports.ledger, vault, shelf)


def done(vault: Vault) -> list[date]:
    """Days whose manifest is final, up to the first that is not."""
    days = list[date]()
    for name in vault.names(TRAIL):
        if name.endswith("/manifest.json"):
            day = date.fromisoformat(name.split("/")[1].removeprefix("day="))
            if not json.loads(vault.get(name) or b"{}").get("final"):
                break
            days.append(day)
    return days


def last_line(vault: Vault) -> str | None:
    """The moment of the newest line that was exported, as text; None: there is none."""
    for name in reversed(vault.names(TRAIL)):
        if name.endswith("/manifest.json"):
            manifest = json.loads(vault.get(name) or b"{}")
            if manifest.get("lines"):
                day = date.fromisoformat(manifest["day"])
                files = (vault.get(lines_of(day, account)) or b"" for account in manifest["accounts"])
                return max(str(json.loads(line)["at"]) for file in files for line in gzip.decompress(file).splitlines())
    return None


def _last_day(ledger: Ledger, now: datetime) -> date:
    """Today, or later where the ledger is of a simulation whose clock is ahead."""
    return max([now, *(case.since for case in ledger.all_heads() if case.since)]).date()


def _first_day(ledger: Ledger, now: datetime) -> date:
    return min((_born(ledger, case) for case in ledger.all_heads()), default=now).date()


def _born(ledger: Ledger, case: Remediation) -> datetime:
    """Not later than its first day. A regression set the first finding anew, so then the trail is asked."""
    if case.episode or case.first_seen is None:
        return min((line.at for line in ledger.trail(case.id)), default=datetime.max.replace(tzinfo=UTC))
    return case.first_seen - timedelta(days=1)


def _day(ledger: Ledger, vault: Vault, day: date, *, final: bool, empty: bool) -> tuple[dict[str, Any], int]:
    """The day's manifest and how many files were written. The manifest comes last: what it names is there."""
    files, counts = packed(ledger.day(day), lambda trail, number: _on_another_day(ledger, trail, number, day))
    again = sum(1 for _ in ledger.day(day))
    lines = sum(counts.values())
    if again != lines and final:
        raise Temporary(f"the day index of {day} gave {lines} lines and then {again}: export it again later")
    known = {account: {"lines": counts[account], "sha256": hashlib.sha256(body).hexdigest()}
             for account, body in files.items()}  # fmt: skip
    manifest = {"version": 1, "day": day.isoformat(), "lines": lines, "accounts": known, "final": final}
    text = (canonical(manifest) + "\n").encode()
    if vault.get(manifest_of(day)) == text or not (lines or empty):
        return manifest, 0
    for account, body in files.items():
        vault.put(lines_of(day, account), body)
    vault.put(manifest_of(day), text)
    return manifest, len(files) + 1


def packed(
    lines: Iterable[Transition], elsewhere: Callable[[str, int], bool] = lambda trail, number: False
) -> tuple[dict[str, bytes], dict[str, int]]:
    """JSON lines by account, compressed, always to the same bytes; and how many. Temporary: a line is missing.

    A trail's lines may come out of their order: clocks differ. `elsewhere` says of the number of a line that is not
    among them whether it stands on another day.
    """
    buffers, counts, seen = dict[str, BytesIO](), dict[str, int](), defaultdict[str, set[int]](set)
    writers = dict[str, gzip.GzipFile]()
    for line in lines:
        account = line.remediation.split(".", 1)[0]
        if account not in writers:
            buffers[account], counts[account] = BytesIO(), 0
            writers[account] = gzip.GzipFile("", "wb", fileobj=buffers[account], mtime=0)
        seen[line.remediation].add(line.number)
        writers[account].write((canonical(line.to_json()) + "\n").encode())
        counts[account] += 1
    for trail, numbers in seen.items():
        for number in range(min(numbers), max(numbers)):
            if number not in numbers and not elsewhere(trail, number):
                raise Temporary(f"{trail}: the day index left out a line before line {number + 1}: come again")
    for writer in writers.values():
        writer.close()
    return {account: buffer.getvalue() for account, buffer in sorted(buffers.items())}, counts


def _on_another_day(ledger: Ledger, trail: str, number: int, day: date) -> bool:
    """Whether that line was stamped on another day than its neighbours, by a clock that was behind at midnight."""
    return any(line.number == number and line.at.date() != day for line in ledger.trail(trail))


def _service(ledger: Ledger, vault: Vault, shelf: Shelf | None) -> None:
    """What was done to the service itself, whole each time: it is small."""
    published = ledger.publications()
    entries = [line for kind in Kind for one in ledger.subjects(kind) for line in ledger.entries(one.subject)]
    for name, values in (("publications", [line.to_json() for line in published]),
                         ("journal", [line.to_json() for line in entries])):  # fmt: skip
        text = "".join(canonical(value) + "\n" for value in values).encode()
        vault.put(f"service/{name}.jsonl.gz", gzip.compress(text, mtime=0))
    for digest in {line.digest for line in published}:
        name = f"policies/{digest}.json"
        if shelf and vault.get(name) is None:
            try:
                vault.put(name, shelf.get(digest))
            except PolicyError:
                continue  # the trail names it, and `exemptions` says that its document is not at hand


class NothingNew(Stale):
    """The newest checkpoint speaks for now already, as where a run is asked for twice."""


def checkpoint(ports: Ports, vault: Vault, signer: Signer) -> Checkpoint:
    """Sign the heads of all trails that grew since the last checkpoint; Stale if another run was first.

    NothingNew if the last one is younger than the lines that may be signed.
    """
    ledger = ports.ledger
    before = newest(ledger, vault)
    until = parse_moment(format_moment(ports.clock.now() - LATEST))
    since = before[0].until if before else None
    until = min(until, since + LONGEST) if since else until
    if since and until <= since:
        raise NothingNew(f"checkpoint {before[0].number if before else 0} speaks for now already: nothing to sign")
    heads = _grown(ledger, since, until, ports.clock.now())
    digest, body = listed(heads)
    made = Checkpoint(
        number=before[0].number + 1 if before else 1,
        since=since,
        until=until,
        count=len(heads),
        heads=digest,
        service=_service_heads(ledger),
        previous=link(*before) if before else None,
        key=signer.key,
        algorithm=signer.algorithm,
    )
    vault.put(made.heads_name, body, locked=True)
    signature = signer.sign(made.digest)
    try:
        vault.put(made.name, sealed(made, signature), locked=True)
    except Denied as error:
        if vault.get(made.name) is None:
            raise
        raise Stale(f"checkpoint {made.number} was written by another run") from error
    _remember(ledger, made.number)
    return made


def newest(ledger: Ledger, vault: Vault) -> tuple[Checkpoint, bytes] | None:
    """The newest checkpoint in the vault; the ledger's count is where to look first, no more."""
    kept = ledger.kept(_KEPT)
    number = int(kept.value["number"]) if kept else 0
    found = first(vault, name_of(number)) if number else None
    if found is None:
        there = numbers(vault.originals("checkpoints/"))
        number = there[-1] if there else 0
        found = first(vault, name_of(number)) if number else None
    while (later := first(vault, name_of(number + 1))) is not None:
        number, found = number + 1, later
    return opened(found) if found else None


def first(vault: Vault, name: str) -> bytes | None:
    """The document as it was first put, whatever covers it now."""
    original = vault.originals(name).get(name)
    return vault.get(name, original.version) if original and original.version is not None else None


def numbers(there: Iterable[str]) -> list[int]:
    """The numbers of the checkpoints among these names."""
    names = (name.removeprefix("checkpoints/") for name in there)
    return sorted(int(name[:10]) for name in names if name.endswith(".json") and name[:10].isdigit())


_KEPT = "evidence/checkpoint"


def _remember(ledger: Ledger, number: int) -> None:
    kept = ledger.kept(_KEPT)
    if kept and int(kept.value["number"]) >= number:
        return
    try:
        ledger.keep(_KEPT, {"number": number}, expected=kept.version if kept else 0)
    except Stale:
        return


def signed_up_to(ledger: Ledger) -> int:
    """The number of the last checkpoint that the ledger knows of; 0: none."""
    kept = ledger.kept(_KEPT)
    return int(kept.value["number"]) if kept else 0


def set_back(ledger: Ledger, highest: int) -> str | None:
    """Why the ledger's count cannot be what checkpoints left, of which `highest` is there; None: it can.

    Each raises it once, when it is written: the newest may still be about to, or have stopped before.
    """
    kept = ledger.kept(_KEPT)
    number = int(kept.value["number"]) if kept else 0
    if number < highest - 1 or (kept and kept.version > number):
        return f"the ledger's count of checkpoints was set back to {number}"
    return None


def _grown(ledger: Ledger, since: datetime | None, until: datetime, now: datetime) -> Mapping[str, tuple[int, str]]:
    """The newest line of each trail that was written to in between; at first, of every trail there is.

    A trail with a line shortly before `since` is named again: the line may have come after the last checkpoint did.
    """
    heads = dict[str, tuple[int, str]]()
    if since is None:
        return _all_heads(ledger, until, now)
    first = since - LOOKBACK
    for number in range((until.date() - first.date()).days + 1):
        for line in ledger.day(first.date() + timedelta(days=number), since=first):
            if line.at > until:
                break
            if line.number > heads.get(line.remediation, (0, ""))[0]:
                heads[line.remediation] = (line.number, line.hash)
    return heads


def _all_heads(ledger: Ledger, until: datetime, now: datetime) -> dict[str, tuple[int, str]]:
    """Every trail's newest line up to then; only a trail that got one since is read for it."""
    days = range((now.date() - until.date()).days + 1)
    later = {line.remediation for number in days
             for line in ledger.day(until.date() + timedelta(days=number), since=until) if line.at > until}  # fmt: skip
    heads = {case.id: (case.number, case.hash) for case in ledger.all_heads() if case.id not in later}
    for identity in later:
        lines = [line for line in ledger.trail(identity) if line.at <= until]
        if lines:
            heads[identity] = (lines[-1].number, lines[-1].hash)
    return heads


def _service_heads(ledger: Ledger) -> dict[str, list[Any]]:
    heads = {f"journal {one.subject}": [one.number, one.hash] for kind in Kind for one in ledger.subjects(kind)}
    active = ledger.active_policies()
    return {**heads, **({"policies": [active.number, active.hash]} if active else {})}
