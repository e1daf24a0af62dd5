"""The inventory: what can be known of the machines, as they looked some seconds ago."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TypeVar

from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.ports import Page
from patchwarden.simulate.machines import Machine
from patchwarden.simulate.moments import START, moment
from patchwarden.simulate.rules import FIX
from patchwarden.simulate.world import World

_Known = TypeVar("_Known")

_LAUNCHED = START - timedelta(days=1)
_PATCH = Patch("KB5035849", "2026-11 Cumulative Update", "SecurityUpdates", "Critical", "Missing")


class WorldInventory:
    """The port `Inventory`: the machines as they looked some seconds ago."""

    def __init__(self, world: World) -> None:
        self._world = world

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        seen = self._seen(location, ids, lambda machine: machine.states, 0.0)
        lost = {id: NodeState(id, "ec2", "terminated") for id in ids if id not in seen and id.startswith("i-")}
        return seen | lost

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        here = self._world.places[location]
        return sum(each.state == "running" and each.group(by, tag) == value for each in here)

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        return self._seen(location, ids, lambda machine: machine.scans, self._world.weather.scan_lag)

    def patches(self, node: Node, state: PatchState) -> PatchState:
        return replace(state, patches=(_PATCH,) * state.missing)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        said = self._seen(node.location, [node.id], lambda machine: machine.told, self._world.weather.scan_lag)
        title = f"{FIX.id}:0:{FIX.version}-1"
        found = [Patch(FIX.id, title, "Security", "Critical", state) for state in said.values()]
        return [one for one in found if one.id in ids]

    def associations(self, node: Node) -> AssociationState | None:
        machine = self._world.machines[node]
        return None if machine.broken is None else AssociationState(int(machine.broken), moment(machine.seen))

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """Pages of `PER_PAGE` machines, in the order of their ids."""
        here, start = self._world.places[location], int(after or 0)
        found = []
        for machine in here[start : start + self._world.per_page]:
            node, scan = machine.node, machine.scan
            if machine.state == "terminated":
                continue
            if scan:
                found.append(_swept(node, Control.PATCH, scan.noncompliant == 0, scan.ended_at))
            if machine.broken is not None:
                found.append(_swept(node, Control.ASSOCIATION, not machine.broken, moment(machine.seen)))
        return Page(
            tuple(found), str(start + self._world.per_page) if start + self._world.per_page < len(here) else None
        )

    def roll(self, location: Location) -> Iterator[NodeState]:
        """An agent was heard last when its machine was described last, if it is silent since."""
        there = [each for each in self._world.places[location] if each.state == "running"]
        return iter([replace(each.states[-1][1], launched=_LAUNCHED, last_seen=each.heard) for each in there])

    def _seen(
        self, location: Location, ids: Sequence[str], told: Callable[[Machine], list[tuple[float, _Known]]], lag: float
    ) -> dict[str, _Known]:
        then = self._world.now - max(lag, self._world.lag)
        found = {}
        for id in ids:
            machine = self._world.machines.get(Node(location.account, location.region, id))
            history = told(machine) if machine else []
            place = bisect_right(history, then, key=lambda entry: entry[0])
            if place:
                found[id] = history[place - 1][1]
        return found


@lru_cache(maxsize=4096)
def _swept(node: Node, control: Control, compliant: bool, at: datetime) -> Finding:
    """What a page of compliance says of one machine: the same for as long as nobody scans it."""
    return Finding(node, control, compliant, at, Source.SWEEP)
