"""Glance: one look at many nodes of a place, for verbs that then ask node by node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding
from chalicelib.core.nodes import Location, Node
from chalicelib.ports import Inventory, Page, Ports


class Glance:
    """The port `Inventory`: what was seen at one glance; what was not looked at is asked."""

    def __init__(
        self, whole: Inventory, nodes: dict[Node, NodeState | None], scans: dict[Node, PatchState | None]
    ) -> None:
        self._whole, self._nodes, self._scans = whole, nodes, scans

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        asked = {id: Node(location.account, location.region, id) for id in ids}
        if any(node not in self._nodes for node in asked.values()):
            return self._whole.nodes(location, ids)
        return {id: state for id, node in asked.items() if (state := self._nodes[node])}

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        asked = {id: Node(location.account, location.region, id) for id in ids}
        if any(node not in self._scans for node in asked.values()):
            return self._whole.patch_states(location, ids)
        return {id: state for id, node in asked.items() if (state := self._scans[node])}

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        return self._whole.members(location, by=by, tag=tag, value=value)

    def patches(self, node: Node, state: PatchState) -> PatchState:
        return self._whole.patches(node, state)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        return self._whole.named(node, ids)

    def associations(self, node: Node) -> AssociationState | None:
        return self._whole.associations(node)

    def compliance(self, location: Location, after: str | None = None) -> Page:
        return self._whole.compliance(location, after)

    def roll(self, location: Location) -> Iterator[NodeState]:
        return self._whole.roll(location)


def glance(ports: Ports, location: Location, nodes: Iterable[tuple[Node, Control]], blocks: frozenset[str]) -> Ports:
    """The same ports, over what these nodes look like now; only what some policy looks at is read, 50 nodes a call.

    For a finding that is compliant, and for what waits for a reboot, a scan is asked for anyway: then it is asked.
    """
    inventory, pairs = ports.inventory, list(nodes)
    every = list(dict.fromkeys(node for node, _ in pairs))
    patched = list(dict.fromkeys(node for node, control in pairs if control is Control.PATCH))
    if len(every) < 2:
        return ports
    ids = [node.id for node in every]
    seen = scans = None
    try:
        seen = inventory.nodes(location, ids) if "node" in blocks else None
        scans = (
            inventory.patch_states(location, [node.id for node in patched]) if "patch" in blocks and patched else None
        )
    except Barred:
        raise  # each would be refused alike
    except (Temporary, Denied):
        pass  # one of them may be why: each is asked by itself
    known = {node: seen.get(node.id) for node in every} if seen is not None else {}
    scanned = {node: scans.get(node.id) for node in patched} if scans is not None else {}
    return replace(ports, inventory=Glance(inventory, known, scanned))


def whole(inventory: Inventory, location: Location) -> Iterator[Finding]:
    """What every page of the place's compliance says."""
    page = inventory.compliance(location)
    yield from page.findings
    while page.next:
        page = inventory.compliance(location, page.next)
        yield from page.findings
