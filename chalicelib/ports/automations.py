"""Automations: executions in the node's own account, and what their commands did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch


@dataclass(frozen=True, slots=True)
class Execution:
    """An automation execution. `ended` None: the status is one we do not know, so it counts as neither."""

    id: str
    status: str
    ended: bool | None
    batch: str | None = None
    ended_at: datetime | None = None
    commands: Mapping[str, str] = field(default_factory=dict, hash=False)
    failure: str | None = None
    document: str | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a run command did on one node; `status` is SSM's StatusDetails."""

    node: str
    status: str
    detail: str = ""

    @property
    def succeeded(self) -> bool:
        return self.status == "Success"


class Automations(Protocol):
    """Systems Manager automation in the node's own account."""

    def start(self, batch: Batch) -> str:
        """Start the execution under the batch's token and tag; its id. Temporary: it may or may not have started."""

    def find(self, batch: Batch) -> str | None:
        """The execution that carries the batch's tag, or None."""

    def execution(self, location: Location, execution: str) -> Execution | None:
        """The execution as it stands, or None if SSM does not know it."""

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        """What one run command did, per node."""

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        """Those of the nodes that a patch command works on, or waits for, whoever sent it, by node with its id."""

    def stop(self, location: Location, execution: str) -> None:
        """Cancel a running execution; what it has sent to nodes runs on."""

    def cancel(self, location: Location, command: str) -> None:
        """Cancel a run command where it has not begun; a node in the middle of it may go on to the end."""
