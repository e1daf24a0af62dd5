"""Reporting: whether what is known of a node is recent enough to be believed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location, Node

QUIET = timedelta(hours=1)
"""How long an agent may be silent, or a new instance without one, before it counts."""


def silent(node: NodeState, scan: PatchState | None, now: datetime, stale_after: timedelta) -> str | None:
    """Why the node's data are stale, in words; None: they are recent, or the node does not run."""
    if node.state != "running":
        return None
    if node.ping is None:
        return None if _within(node.launched, now, QUIET) else "Systems Manager does not manage it: no agent registered"
    if node.ping != "Online" and not _within(node.last_seen, now, QUIET):
        since = format_moment(node.last_seen) if node.last_seen else "an unknown moment"
        return f"its agent has not checked in since {since}: {node.ping}"
    if scan is None:
        return None if _within(node.launched, now, stale_after) else "it was never scanned"
    if not _within(scan.ended_at, now, stale_after):
        return f"its last {scan.operation.lower()} is of {format_moment(scan.ended_at)}"
    return None


def _within(moment: datetime | None, now: datetime, span: timedelta) -> bool:
    return moment is not None and now - moment <= span


def reports(
    location: Location, nodes: Iterable[NodeState], scans: Mapping[str, PatchState], now: datetime,
    stale_after: timedelta,
) -> Iterator[Finding]:  # fmt: skip
    """One finding of the control `reporting` for each node that runs; what is stale is dated by the last sign of it."""
    for node in nodes:
        if node.state != "running":
            continue
        scan = scans.get(node.id)
        why = silent(node, scan, now, stale_after)
        if why is None and node.ping != "Online":
            continue  # it is not heard, only not for so long yet: that is no sign that it reports again
        signs = [each for each in (node.last_seen, scan.ended_at if scan else None, node.launched) if each]
        detail = {
            "stale": why,
            "ping": node.ping,
            "last_seen": format_moment(node.last_seen) if node.last_seen else None,
            "scanned_at": format_moment(scan.ended_at) if scan else None,
        }
        at = min(max(signs), now) if why and signs else now
        yield Finding(Node(location.account, location.region, node.id), Control.REPORTING, why is None, at,
                      Source.SWEEP, detail=detail)  # fmt: skip
