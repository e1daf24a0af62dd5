"""Inventory: the nodes as their own accounts describe them, and the baselines that they are measured by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.baselines import Baseline, Seen
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Finding
from chalicelib.core.nodes import Location, Node


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a place's findings; `next` is where to go on, None: these were the last."""

    findings: tuple[Finding, ...]
    next: str | None = None


class Inventory(Protocol):
    """The nodes as their own accounts describe them now."""

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        """What EC2 and SSM say. An EC2 id that EC2 does not know is terminated; an unknown hybrid one is left out."""

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        """How many running EC2 nodes of the location share this tag's value, Auto Scaling group or zone."""

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        """The last operation per node, without the single patches; unscanned nodes are left out."""

    def patches(self, node: Node, state: PatchState) -> PatchState:
        """The same state with the patches that are not installed."""

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        """Those of the patches that the node's last operation speaks of, in whatever state."""

    def associations(self, node: Node) -> AssociationState | None:
        """How the node's associations stand now; None: SSM knows none, or not of each whether and when it ran."""

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """What SSM counts for the nodes of a location, as findings of the sweep; `after` is an earlier page's `next`.

        A place to go on from that AWS does not know any more is Denied.
        """

    def roll(self, location: Location) -> Iterator[NodeState]:
        """Every node that SSM manages there and every running instance that it does not, without tags."""


class Baselines(Protocol):
    """The patch baselines of an account in one Region; only what a person runs asks for them."""

    def seen(self, location: Location) -> Seen:
        """The account's own baselines, and what every patch group is registered with."""

    def create(self, location: Location, baseline: Baseline, token: str) -> str:
        """The id of the new baseline; the same token again gives the same one."""

    def update(self, location: Location, id: str, baseline: Baseline) -> None:
        """Replace its content and the digest that it is tagged with."""

    def register(self, location: Location, id: str, group: str) -> None:
        """Nodes of the patch group get this baseline; Denied if another one holds the group."""

    def deregister(self, location: Location, id: str, group: str) -> None:
        """Nodes of the patch group no longer get this baseline."""

    def make_default(self, location: Location, id: str) -> None:
        """Nodes in no registered patch group get this baseline."""
