"""Executions: what Systems Manager itself knows of each, whatever we were told."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.nodes import Node
from chalicelib.core.plans import Batch
from chalicelib.ports import Invocation


@dataclass(slots=True)
class Run:
    """An execution in the truth of Systems Manager."""

    batch: Batch
    id: str
    nodes: tuple[Node, ...]
    began: float
    ended: float | None = None
    failed: bool = False
    installs: dict[str, Invocation] = field(default_factory=dict)
