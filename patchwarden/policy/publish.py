"""Publishing: put a policy set in force, for everybody to see who did it, when and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.errors import PolicyError
from chalicelib.core.publications import Act, Publication, publication
from chalicelib.ports import Ledger, Shelf
from patchwarden.policy.sets import lying


def publish(
    ledger: Ledger,
    shelf: Shelf,
    document: Mapping[str, Any],
    last: Publication | None,
    *,
    by: str,
    because: str,
    now: datetime,
    revision: str | None = None,
    summary: Mapping[str, Any] | None = None,
) -> Publication:
    """Lay the compiled document on the shelf, read it back, and only then put it in force.

    `last` is the publication that was in force when the difference was shown: Stale if another one is by now.
    """
    digest = str(document["digest"])
    shelf.put(digest, canonical(document).encode())
    lying(shelf, digest)
    line = publication(last, Act.PUBLISHED, digest, by=by, because=because, now=now, revision=revision,
                       summary=summary)  # fmt: skip
    ledger.publish(line)
    return line


def roll_back(ledger: Ledger, shelf: Shelf, digest: str, *, by: str, because: str, now: datetime) -> Publication:
    """Put a set that was published before in force again, if it still loads; PolicyError if it cannot be."""
    lines = ledger.publications()
    last = lines[-1] if lines else None
    if last and last.digest == digest:
        raise PolicyError(f"the set {digest[:12]} is in force already")
    revision = next((line.revision for line in reversed(lines) if line.digest == digest), None)
    lying(shelf, digest)
    line = publication(last, Act.ROLLED_BACK, digest, by=by, because=because, now=now, revision=revision)
    ledger.publish(line)
    return line
