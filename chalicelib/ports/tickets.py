"""Tickets: the ticket system."""

from __future__ import annotations

from typing import Protocol

from chalicelib.core.tickets import Errand


class Tickets(Protocol):
    """The ticket system."""

    def open(self, errand: Errand) -> str:
        """The id of the one ticket for the errand's key; an open one is found, not doubled."""

    def update(self, errand: Errand) -> None:
        """Add the errand's text to its ticket."""

    def resolve(self, errand: Errand) -> None:
        """Close the errand's ticket; closing a closed one is no error."""
