"""The inventory as the trail remembers it: for explaining on a laptop, with no account to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.core.errors import Denied
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.moments import parse_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.ports import Ledger, Page


class RecordedInventory:
    """Answers from the newest facts that the trail of a node holds; a node it never read is left out."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        found = {identity: self._block(location, identity, "node") for identity in ids}
        return {identity: NodeState(**block) for identity, block in found.items() if block}

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        raise Denied("the trail does not know how many nodes a group has")

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        found = {identity: self._block(location, identity, "patch") for identity in ids}
        return {identity: _state(identity, block) for identity, block in found.items() if block}

    def patches(self, node: Node, state: PatchState) -> PatchState:
        return state

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        state = self.patch_states(node.location, [node.id]).get(node.id)
        return [patch for patch in (state.patches or () if state else ()) if patch.id in ids]

    def associations(self, node: Node) -> AssociationState | None:
        return None

    def compliance(self, location: Location, after: str | None = None) -> Page:
        return Page(())

    def roll(self, location: Location) -> Iterator[NodeState]:
        return iter(())

    def _block(self, location: Location, identity: str, name: str) -> Mapping[str, Any] | None:
        trail = self._ledger.trail(remediation_id(Node(location.account, location.region, identity), Control.PATCH))
        for line in reversed(trail):
            scan = line.evidence.get("scan") if name == "patch" else None
            block = scan or line.evidence.get("facts", {}).get(name)
            if block:
                return dict(block)
        return None


class Nothing:
    """Automations and tickets of a bundle that only looks: whoever asks it to act is refused."""

    def __getattr__(self, name: str) -> Any:
        raise Denied(f"this ledger is only looked at: {name} is not possible here")


def _state(identity: str, block: Mapping[str, Any]) -> PatchState:
    listed = block.get("missing")
    patches = None if listed is None else tuple(
        Patch(item["id"], item["title"], item["class"], item["severity"], item["state"], item.get("cves", ""))
        for item in listed
    )  # fmt: skip
    return PatchState(id=identity, baseline=block["baseline"], operation=block["operation"],
                      ended_at=parse_moment(block["operation_end"]), snapshot=block.get("snapshot"),
                      patches=patches, **block["counts"])  # fmt: skip
