"""Policies: the set that decides, and where compiled sets lie."""

from __future__ import annotations

from typing import Protocol

from chalicelib.core.policies import PolicySet


class PolicyStore(Protocol):
    def active(self) -> PolicySet:
        """The set that decides; PolicyError if there is none that loads."""

    def trouble(self) -> str | None:
        """Why the set that was published last does not decide, as of the last look; None: it does."""


class Shelf(Protocol):
    """Where compiled sets lie, each under its digest."""

    def put(self, digest: str, text: bytes) -> None:
        """Lay the document there; the same one may lie there already."""

    def get(self, digest: str) -> bytes:
        """The document as it lies there, not yet checked; PolicyError if there is none."""
