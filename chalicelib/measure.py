"""Measure: hold the baseline of a node's last scan against ours, as `baseline apply` wrote them down for its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from chalicelib.core.baselines import Known, Verdict, judge
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.nodes import Location
from chalicelib.ports import Ports


def known(ports: Ports, location: Location) -> Known | None:
    """Our baselines in one account and Region; None: none were ever applied there. Temporary or Denied pass through."""
    entry = ports.ledger.entry(subject_of(Kind.BASELINE, str(location)))
    return Known.of(entry.value) if entry else None


def verdict(ours: Known | None, node: NodeState | None, scan: PatchState | None) -> Verdict:
    """Whether the node's last scan used a baseline of ours."""
    platform = (node.platform_name, node.platform_version) if node else None
    return judge(ours, baseline=scan.baseline if scan else None, group=scan.group if scan else None, platform=platform)


def measured(ports: Ports, location: Location, node: NodeState | None, scan: PatchState) -> PatchState:
    """The same state with what our baselines say of it, for a policy that asks."""
    found = verdict(known(ports, location), node, scan)
    return replace(scan, ours=found.ours, expected=found.expected)


def verdicts(
    ports: Ports, location: Location, nodes: Mapping[str, NodeState], scans: Mapping[str, PatchState]
) -> dict[str, Verdict]:
    """One for each of the nodes; the journal is read once."""
    ours = known(ports, location)
    return {id: verdict(ours, node, scans.get(id)) for id, node in nodes.items()}
