"""Exceptions: what Config keeps its automatic remediation from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chalicelib.core.nodes import Location, Node


@dataclass(frozen=True, slots=True)
class RemediationException:
    """Config's exception for a node under a rule: its automatic remediation starts nothing while it stands.

    `resource` and `kind` are Config's id and type of what the rule speaks about; `until` None: for ever.
    """

    node: Node
    rule: str
    resource: str
    kind: str
    message: str = ""
    until: datetime | None = None

    @property
    def automatic(self) -> bool:
        """Whether Config may have made it itself: it never gives one an end."""
        return self.until is None


class Exceptions(Protocol):
    """The exceptions from Config's automatic remediation."""

    def exceptions(self, location: Location) -> list[RemediationException]:
        """Those of one location, under the rules that are ours."""

    def clear(self, location: Location, exceptions: Sequence[RemediationException]) -> None:
        """Take them back; one that is gone already is no error."""
