"""Fleets in memory: a scripted twin of executions over many locations."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.core.errors import Denied
from chalicelib.core.nodes import Location
from chalicelib.core.occurrences import NodeRun, Run
from chalicelib.ports import Branch, FleetRun

_NAMESPACE = uuid.UUID("5b5a9f0e-6a55-5c59-9d3c-3f7f2f1c2a11")


class MemoryFleets:
    """The port `Fleets`; an execution stays in progress until `end` is called."""

    def __init__(self, home: Location) -> None:
        self.started: list[Run] = []
        self.there: dict[Location, list[str]] = {}
        self.units: dict[str, frozenset[str]] = {}
        self.groups: dict[tuple[Location, str], frozenset[str]] = {}
        self._home = home
        self._asked: dict[str, tuple[str, Any]] = {}
        self._executions: dict[tuple[Location, str], FleetRun] = {}
        self._runs: dict[str, str] = {}
        self._nodes: dict[tuple[Location, str], list[NodeRun]] = {}

    def home(self) -> Location:
        return self._home

    def start(self, run: Run) -> str:
        id, before = self._asked.get(run.token, (str(uuid.uuid5(_NAMESPACE, run.token)), run.order))
        if before != run.order or dict(before.parameters) != dict(run.order.parameters):
            raise Denied(f"the token of run {run.id} was used with other parameters")
        if (run.hub, id) not in self._executions:
            self._asked[run.token] = id, run.order
            self._executions[run.hub, id] = FleetRun(id, "InProgress", ended=False, branches=())
            self._runs[run.id] = id
            self.started.append(run)
        return id

    def find(self, run: Run) -> str | None:
        return self._runs.get(run.id)

    def execution(self, hub: Location, execution: str) -> FleetRun | None:
        return self._executions.get((hub, execution))

    def nodes(self, location: Location, execution: str) -> list[NodeRun]:
        return list(self._nodes.get((location, execution), []))

    def managed(self, location: Location) -> list[str]:
        return list(self.there.get(location, []))

    def unit(self, unit: str) -> frozenset[str]:
        if unit not in self.units:
            raise Denied(f"there is no unit {unit}")
        return self.units[unit]

    def group(self, location: Location, name: str) -> frozenset[str] | None:
        return self.groups.get((location, name))

    def end(self, execution: str, status: str, did: Mapping[Location, Sequence[NodeRun] | str]) -> None:
        """The execution ends so; `did` is what each location's part did to its nodes, or why it was not reached."""
        branches = []
        for location, found in did.items():
            if isinstance(found, str):
                branches.append(Branch(location, None, "Failed", ended=True, failure=found))
                continue
            part = str(uuid.uuid5(_NAMESPACE, f"{execution}/{location}"))
            failed = any(node.outcome == "failed" for node in found)
            self._nodes[location, part] = list(found)
            branches.append(Branch(location, part, "Failed" if failed else "Success", ended=True))
        known = self._executions[self._home, execution]
        self._executions[self._home, execution] = replace(known, status=status, ended=True, branches=tuple(branches))
