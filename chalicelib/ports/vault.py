"""Vault: where evidence is kept, and who signs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Original:
    """A document as it was first put. `version`: what `get` knows it by, None if all that is left is a marker.

    `puts`: how often its name was put; `hidden`: a delete marker lies among its versions.
    """

    version: str | None
    puts: int = 1
    hidden: bool = False


class Vault(Protocol):
    """Where evidence is kept: documents under names with slashes."""

    def put(self, name: str, body: bytes, *, locked: bool = False) -> None:
        """Keep it. `locked`: under Object Lock, and Denied if another document has the name already."""

    def get(self, name: str, version: str | None = None) -> bytes | None:
        """The document, or None; with `version` the one that `originals` names."""

    def names(self, prefix: str) -> list[str]:
        """The names that begin so, sorted."""

    def originals(self, prefix: str) -> dict[str, Original]:
        """What was first put under the names that begin so, sorted by name, also where it was covered later."""


class Signer(Protocol):
    """Who signs checkpoints; the key never leaves it."""

    @property
    def key(self) -> str:
        """What verifiers call the key."""

    @property
    def algorithm(self) -> str:
        """As KMS spells it."""

    def sign(self, digest: bytes) -> bytes:
        """The signature of a SHA-256 digest."""

    def verify(self, key: str, algorithm: str, digest: bytes, signature: bytes) -> bool:
        """Whether that key made the signature; False too for a key or algorithm that is not trusted here."""
