"""Lists: where override lists lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lying:
    """An override list as it lies there now: the sha256 of its text, and its version."""

    digest: str
    version_id: str


class Lists(Protocol):
    """Where override lists lie, each under its digest and written once."""

    def put(self, digest: str, text: bytes) -> str:
        """The version id of the list that lies there now; Denied if another text does, or versions are not kept."""

    def look(self, digest: str) -> Lying | None:
        """What lies there now, or None."""

    def address(self, digest: str) -> str:
        """Where a node reads it: an s3 URL, which follows from the digest alone."""
