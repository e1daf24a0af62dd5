"""Membership: which nodes are in which schedules, as their accounts, the organisation and resource groups tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import NodeState
from chalicelib.core.nodes import Location
from chalicelib.core.policies import PolicySet
from chalicelib.core.schedules import Operation, Schedule, Where
from chalicelib.ports import Ports

Read = TypeVar("Read")

TAG = "PatchSchedule"
"""The tag by which the owner of a node joins a schedule."""


@dataclass(frozen=True, slots=True)
class Census:
    """Every managed node with its schedules; sentences on what could not be read, and on groups that are not there."""

    nodes: tuple[Mapping[str, Any], ...]
    unread: tuple[str, ...]
    missing: tuple[str, ...]


def members(ports: Ports, policies: PolicySet, places: list[Location]) -> Census:
    """The census of these places. A unit or group that could not be read leaves its schedules in doubt."""
    look = _Look(ports)
    running = [one for one in policies.schedules if one.enabled]
    found: list[Mapping[str, Any]] = []
    for place in places:
        nodes = look.read(str(place), partial(_nodes, ports, place))
        found += [_member(running, policies, look, place, node) for node in (nodes or {}).values() if not node.gone]
    return Census(tuple(found), tuple(look.unread), tuple(look.missing))


def _nodes(ports: Ports, place: Location) -> Mapping[str, NodeState]:
    return ports.inventory.nodes(place, ports.fleets.managed(place))


class _Look:
    """What was read of the organisation and of resource groups, each once; what failed is kept as a sentence."""

    def __init__(self, ports: Ports) -> None:
        self.unread: list[str] = []
        self.missing: list[str] = []
        self._fleets = ports.fleets
        self._units: dict[str, frozenset[str] | None] = {}
        self._groups: dict[tuple[Location, str], frozenset[str] | None] = {}

    def read(self, what: str, ask: Callable[[], Read]) -> Read | None:
        try:
            return ask()
        except (Temporary, Denied) as error:
            self.unread.append(f"{what} could not be read: {error}")
            return None

    def unit(self, unit: str) -> frozenset[str] | None:
        """Its accounts; None: nobody knows."""
        if unit not in self._units:
            self._units[unit] = self.read(unit, lambda: self._fleets.unit(unit))
        return self._units[unit]

    def group(self, place: Location, name: str) -> frozenset[str] | None:
        """Its nodes, none where there is no such group; None: nobody knows."""
        if (place, name) not in self._groups:
            self._groups[place, name] = self.read(f"resource group {name} in {place}", lambda: self._group(place, name))
        return self._groups[place, name]

    def _group(self, place: Location, name: str) -> frozenset[str]:
        found = self._fleets.group(place, name)
        if found is None:
            self.missing.append(f"there is no resource group {name} in {place}: the schedule's part there fails")
        return found or frozenset()


def _member(
    running: Sequence[Schedule], policies: PolicySet, look: _Look, place: Location, node: NodeState
) -> dict[str, Any]:  # fmt: skip
    tags = node.tags or {}
    joined = [(one, word) for one in running if (word := _joins(one, look, place, node, tags))]
    marked = [(one.operation, one.id if word == "yes" else f"{one.id}?") for one, word in joined]
    installs = [name for operation, name in marked if operation is Operation.INSTALL]
    scans = [name for operation, name in marked if operation is Operation.SCAN]
    state = "none" if not installs else "one" if len(installs) == 1 else "several"
    if tags.get(TAG) is not None and tags[TAG] not in {one.id for one in policies.schedules}:
        state = "unknown"
    return {"node": f"{place}/{node.id}", "name": tags.get("Name", ""), "tag": tags.get(TAG, ""), "state": state,
            "installs": " ".join(installs), "scans": " ".join(scans)}  # fmt: skip


def _joins(one: Schedule, look: _Look, place: Location, node: NodeState, tags: Mapping[str, str]) -> str | None:
    """`yes`, `maybe` where nobody could ask the organisation or for the resource group, or None."""
    target = one.target
    if place.region not in one.where.regions:
        return None
    if one.platform != "all" and (node.platform or "").lower() != one.platform:
        return None
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-map-targets.html
    if target.kind == "tag" and (tags.get(str(target.name)) not in target.values or node.kind == "hybrid"):
        return None
    there = _is_there(one.where, look, place.account)
    if there == "no" or target.kind != "resource_group":
        return None if there == "no" else there
    group = look.group(place, str(target.name))
    return "maybe" if group is None else there if node.id in group else None


def _is_there(where: Where, look: _Look, account: str) -> str:
    """`yes`, `no`, or `maybe`: whether the account is in the schedule."""
    left_out = [_among(name, look, account) for name in where.exclude]
    if "yes" in left_out:
        return "no"
    listed = [_among(name, look, account) for name in (*where.accounts, *where.units)]
    found = "yes" if "yes" in listed else "maybe" if "maybe" in listed else "no"
    return "maybe" if found == "yes" and "maybe" in left_out else found


def _among(name: str, look: _Look, account: str) -> str:
    """Whether the account is that one, or lies in that unit."""
    if name.isdigit():
        return "yes" if name == account else "no"
    accounts = look.unit(name)
    return "maybe" if accounts is None else "yes" if account in accounts else "no"
