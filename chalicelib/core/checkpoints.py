"""Checkpoints: what the trails looked like at a moment, signed, so that a later rewriting of the ledger is found."""

from __future__ import annotations

import gzip
import hashlib
import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.moments import format_moment, parse_moment

VERSION = 1


@dataclass(frozen=True, slots=True)
class Claim:
    """That a trail had a line of this number and hash when the checkpoint `checkpoint` was signed."""

    subject: str
    number: int
    hash: str
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`heads` is the SHA-256 of the list of the newest lines of all trails that were written to in `since < at <=
    until` or shortly before, `count` how many these are; `service` names the newest line of each journal subject and
    of `policies`.
    """

    number: int
    since: datetime | None
    until: datetime
    count: int
    heads: str
    service: Mapping[str, Any] = field(hash=False)
    previous: Mapping[str, Any] | None = field(hash=False)
    key: str = ""
    algorithm: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "version": VERSION, "number": self.number, "since": format_moment(self.since) if self.since else None,
            "until": format_moment(self.until), "count": self.count, "heads": self.heads,
            "service": {name: list(value) for name, value in self.service.items()},
            "previous": dict(self.previous) if self.previous else None, "key": self.key, "algorithm": self.algorithm,
        }  # fmt: skip

    @property
    def digest(self) -> bytes:
        """What is signed: the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical(self.to_json()).encode()).digest()

    @property
    def name(self) -> str:
        return name_of(self.number)

    @property
    def heads_name(self) -> str:
        return f"checkpoints/{self.number:010}-{self.heads[:16]}.heads.jsonl.gz"


def name_of(number: int) -> str:
    return f"checkpoints/{number:010}.json"


def sealed(checkpoint: Checkpoint, signature: bytes) -> bytes:
    """The document as it is kept."""
    kept = {"checkpoint": checkpoint.to_json(), "signature": b64encode(signature).decode()}
    return (canonical(kept) + "\n").encode()


def opened(body: bytes) -> tuple[Checkpoint, bytes]:
    """The checkpoint and its signature; ValueError if the document is none."""
    try:
        kept = json.loads(body)
        said = kept["checkpoint"]
        since = parse_moment(said["since"]) if said["since"] else None
        found = Checkpoint(
            number=said["number"], since=since, until=parse_moment(said["until"]), count=said["count"],
            heads=said["heads"], service=said["service"], previous=said["previous"], key=said["key"],
            algorithm=said["algorithm"],
        )  # fmt: skip
        if found.to_json() != said:
            raise ValueError("it holds more than a checkpoint does")
        return found, b64decode(kept["signature"], validate=True)
    except (KeyError, TypeError, AttributeError, NotBase64) as error:
        raise ValueError(f"it is no checkpoint: {error}") from error


def listed(heads: Mapping[str, tuple[int, str]]) -> tuple[str, bytes]:
    """The list of heads as it is kept, and its SHA-256 before compression."""
    text = "".join(canonical([name, *heads[name]]) + "\n" for name in sorted(heads)).encode()
    return hashlib.sha256(text).hexdigest(), gzip.compress(text, mtime=0)


def claims(checkpoint: Checkpoint, kept: bytes) -> Iterable[Claim]:
    """What the checkpoint says of each trail; ValueError if the list is not the one it signs."""
    try:
        text = gzip.decompress(kept)
    except (OSError, EOFError) as error:
        raise ValueError(f"its list of heads cannot be read: {error}") from error
    if hashlib.sha256(text).hexdigest() != checkpoint.heads:
        raise ValueError("its list of heads is not the one that it signs")
    rows = [json.loads(line) for line in text.splitlines()]
    rows += [[name, *value] for name, value in sorted(checkpoint.service.items())]
    return [Claim(name, number, hash_, checkpoint.number) for name, number, hash_ in rows]


def follows(before: tuple[Checkpoint, bytes] | None, after: Checkpoint) -> str | None:
    """Why `after` does not follow from the sealed one before it; None: it does."""
    if before is None:
        return None if after.previous is None and after.since is None else "it names one before it, which is not there"
    known, signature = before
    if after.previous != link(known, signature):
        return f"it does not carry the signature of checkpoint {known.number}"
    return None if after.since == known.until else f"it does not begin where checkpoint {known.number} ends"


def link(checkpoint: Checkpoint, signature: bytes) -> dict[str, Any]:
    """How the next checkpoint names this one."""
    return {
        "number": checkpoint.number,
        "digest": checkpoint.digest.hex(),
        "signature": b64encode(signature).decode(),
    }
