"""Failures: the queues of what failed, and the functions that it was for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a cold start asks nothing of what these name
    from chalicelib.core.letters import Letter


class Failures(Protocol):
    """The queues of what failed: of the rules, and of the functions."""

    def letters(self, most: int) -> list[Letter]:
        """Letters that lie there, at most so many, the oldest first; nobody else sees them until they are put back."""

    def put_back(self, letter: Letter) -> None:
        """Let others see it again."""

    def discard(self, letter: Letter) -> None:
        """Delete it for good."""


class Functions(Protocol):
    def invoke(self, function: str, payload: Mapping[str, Any]) -> None:
        """Run the function with this payload to its end; Temporary if it failed, Denied if it may not be run."""
