"""Names: ids that look random and are the same for the same seed."""

from __future__ import annotations

import random
import uuid
from collections import Counter

_NAMESPACE = uuid.UUID("1d1f9f5e-9a30-5f0c-8f4b-3f1c1c1d7e52")


class Names:
    """Gives out ids by kind: the nth of a kind is always the same."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._given: Counter[str] = Counter()

    def uuid(self, kind: str) -> str:
        """36 characters."""
        self._given[kind] += 1
        return str(uuid.uuid5(_NAMESPACE, f"{self._seed}/{kind}/{self._given[kind]}"))

    def hex(self, kind: str, digits: int) -> str:
        """The first hex digits of such an id."""
        return self.uuid(kind).replace("-", "")[:digits]

    def draw(self, *what: object) -> random.Random:
        """Chance that hangs on what it decides about, and not on the order in which it is asked."""
        return random.Random("/".join(map(str, (self._seed, *what))))
