"""Fleets: executions over many accounts and Regions, started in the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import NodeRun, Run


@dataclass(frozen=True, slots=True)
class Branch:
    """One location of a fleet run. `execution` None: it was not reached, and `failure` says why."""

    location: Location
    execution: str | None
    status: str
    ended: bool | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class FleetRun:
    """An execution over many locations as it stands; `ended` None: its status is one that we do not know."""

    id: str
    status: str
    ended: bool | None
    branches: tuple[Branch, ...]
    failure: str | None = None


class Fleets(Protocol):
    """Executions over accounts and Regions, started in the hub, as AWS fans them out."""

    def home(self) -> Location:
        """The account of this process's own credentials, and its Region."""

    def start(self, run: Run) -> str:
        """Start it under its token and tag; the execution's id. Temporary: it may or may not have started."""

    def find(self, run: Run) -> str | None:
        """The execution that carries the run's tag, or None."""

    def execution(self, hub: Location, execution: str) -> FleetRun | None:
        """The execution with its locations, or None if SSM does not know it."""

    def nodes(self, location: Location, execution: str) -> list[NodeRun]:
        """What one location's part did, node by node, read in that account and Region."""

    def managed(self, location: Location) -> list[str]:
        """The ids of all nodes that Systems Manager manages there."""

    def unit(self, unit: str) -> frozenset[str]:
        """The active accounts of an organisational unit and of all units below it."""

    def group(self, location: Location, name: str) -> frozenset[str] | None:
        """The ids of the nodes in a resource group there; None: there is no group of that name."""
