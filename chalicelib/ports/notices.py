"""Notices: what operators are told, and what is traced."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Notices(Protocol):
    def say(self, what: str, /, **fields: Any) -> None:
        """One structured line for operators; `what` is a stable name such as `transition` or `rejected`."""


class Tracing(Protocol):
    def verb(self, name: str) -> AbstractContextManager[Callable[..., None]]:
        """A subsegment around one verb; calling what it yields adds annotations."""
