"""Bundle: all that a verb may reach, in one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.errors import Denied
from chalicelib.ports.automations import Automations
from chalicelib.ports.clock import Clock
from chalicelib.ports.crew import Crew, OneByOne
from chalicelib.ports.exceptions import Exceptions
from chalicelib.ports.fleets import Fleets
from chalicelib.ports.inventory import Inventory
from chalicelib.ports.ledger import Ledger
from chalicelib.ports.lists import Lists
from chalicelib.ports.notices import Notices, Tracing
from chalicelib.ports.policies import PolicyStore
from chalicelib.ports.tickets import Tickets


class Unwired:
    """In the place of a port that a bundle does without: whoever asks it is refused."""

    def __getattr__(self, name: str) -> Any:
        raise Denied(f"nothing is wired here that answers `{name}`: use the deployed service")


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a verb may reach. Without `exceptions` no Config rule hands its nodes to us."""

    ledger: Ledger
    inventory: Inventory
    automations: Automations
    tickets: Tickets
    policies: PolicyStore
    notices: Notices
    tracing: Tracing
    clock: Clock
    fleets: Fleets = field(default_factory=Unwired)
    exceptions: Exceptions | None = None
    crew: Crew = field(default_factory=OneByOne)
    lists: Lists = field(default_factory=Unwired)
