"""Signed: what the checkpoints say, once they themselves are checked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.core.checkpoints import Checkpoint, Claim, claims, follows, name_of, opened
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.printing import counted
from chalicelib.evidence import LOOKBACK, numbers
from chalicelib.ports import Original, Signer, Vault


@dataclass(frozen=True, slots=True)
class Signed:
    """What the checkpoints say: claims by subject, in order; and what is wrong with the checkpoints themselves."""

    by_subject: Mapping[str, Sequence[Claim]] = field(hash=False)
    checkpoints: Mapping[int, Checkpoint] = field(hash=False)
    faults: tuple[str, ...] = ()

    @property
    def end(self) -> datetime | None:
        """Up to when they speak; None: there is none."""
        return max((one.until for one in self.checkpoints.values()), default=None)

    @property
    def until(self) -> str | None:
        return format_moment(self.end) if self.end else None

    @property
    def settled(self) -> datetime | None:
        """Up to when every line that was written is signed, however late a clock let it be written.

        None: there is no checkpoint, or one is damaged, so that nobody knows what else it named.
        """
        return self.end - LOOKBACK if self.end and not self.faults else None

    def old(self, moments: Sequence[datetime]) -> int:
        """The number of the last line that has to be signed, of a trail whose lines are of these moments."""
        if self.settled is None:
            return 0
        return max((number for number, at in enumerate(moments, 1) if at <= self.settled), default=0)

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

    def beyond(self, subject: str, old: int) -> str | None:
        """What is wrong with a trail whose `old` first lines have to be signed: one that no checkpoint names was
        written later than it says."""
        named = max((claim.number for claim in self.by_subject.get(subject, ())), default=0)
        if old <= named:
            return None
        behind = f"or by a clock more than {LOOKBACK // timedelta(minutes=1)} minutes behind"
        return f"{subject}: line {named + 1} was added later, {behind}: no checkpoint up to {self.until} signed it"

    def wrong(self, subject: str, hashes: Sequence[str], moments: Sequence[datetime]) -> str | None:
        """The first of both that is wrong."""
        return self.against(subject, hashes) or self.beyond(subject, self.old(moments))


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


def signed_nodes(said: Signed, text: str) -> list[Node]:
    """The nodes that checkpoints name, by `account/region/id` or by id: also those that the ledger has lost."""
    named = {Node(*subject.split(".")[:3]) for subject in said.by_subject if subject.count(".") == 3}
    return sorted((node for node in named if text in (str(node), node.id)), key=str)
