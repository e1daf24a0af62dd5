"""Seek: look in the nodes' own scans for those that lack what an emergency names, and for those that have it by now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib import emergency
from chalicelib.core.emergencies import Emergency
from chalicelib.core.errors import PolicyError, Stale
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.overrides import PatchList, Said, Standing, said
from chalicelib.core.remediations import Remediation, State
from chalicelib.intake import in_force, take
from chalicelib.ports import Ports

LAG = timedelta(minutes=10)
"""How late what Systems Manager describes may be: what was scanned so shortly before the last look is read again."""

UNDECIDED = (State.OPEN, State.WAITING, State.QUEUED, State.TICKETED, State.EXEMPT, State.REBOOT_PENDING)
_CLOSED = (State.RESOLVED, State.GONE)


@dataclass(frozen=True, slots=True)
class Seen:
    """One node in the scope of an emergency; `patches` None: none are named for its operating system."""

    node: Node
    state: NodeState
    scan: PatchState | None
    patches: PatchList | None
    said: Said | None


def look(ports: Ports, location: Location, one: Emergency, since: datetime | None = None) -> Iterator[Seen]:
    """Every managed node of the place that is in scope; with `since`, only those scanned after it, or never."""
    if not one.scope.at(location):
        return
    ids = ports.fleets.managed(location)
    nodes, scans = ports.inventory.nodes(location, ids), ports.inventory.patch_states(location, ids)
    for id, state in sorted(nodes.items()):
        scan = scans.get(id)
        if state.gone or not one.scope.covers(location, state) or (since and scan and scan.ended_at < since):
            continue
        node, patches = Node(location.account, location.region, id), one.list_for(state)
        stands = emergency.stands(ports, node, patches) if patches and scan else None
        yield Seen(node, state, scan, patches, stands or (said(patches.named, ()) if patches else None))


def find(ports: Ports, location: Location, one: Emergency) -> int:
    """Open a case for every node of the place that lacks the patches; how many were opened or asked again.

    What was scanned before the last look was read then, and is passed over. Without its policy in the set in force
    nothing is opened: a service learns of the journal before it learns of the set.
    """
    policies = in_force(ports)
    if isinstance(policies, PolicyError) or not any(policy.id == one.id for policy in policies.enforced.policies):
        return 0
    name, now = f"emergency/{one.id}/{location}", ports.clock.now()
    kept = ports.ledger.kept(name)
    same = kept and kept.value.get("began") == format_moment(one.since)
    since = parse_moment(kept.value["until"]) - LAG if kept and same else None
    count = 0
    for seen in look(ports, location, one, since):
        if seen.said and one.wants(seen.said):
            count += _open(ports, one, seen)
    try:
        value = {"until": format_moment(now), "began": format_moment(one.since)}
        ports.ledger.keep(name, value, expected=kept.version if kept else 0)
    except Stale:
        return count
    return count


def _open(ports: Ports, one: Emergency, seen: Seen) -> int:
    case = ports.ledger.head(remediation_id(seen.node, Control.EMERGENCY))
    if case is not None and not _anew(ports, one, seen, case):
        return 0
    finding = Finding(seen.node, Control.EMERGENCY, False, ports.clock.now(), Source.EMERGENCY, rule=one.id)
    return take(ports, finding, actor=f"emergency by {one.by}").status == "decided"


def _anew(ports: Ports, one: Emergency, seen: Seen, case: Remediation) -> bool:
    """Whether a node that has a case already is found once more: for another emergency, one begun anew, or again."""
    if case.active:
        return False
    if case.emergency != one.id:
        other = emergency.named(ports.ledger, case.emergency)
        return case.state in _CLOSED or other is None or not other.in_force(ports.clock.now())
    if case.state is State.OPEN or (case.since is not None and case.since < one.since):
        return True
    if case.state not in _CLOSED:
        return False
    newer = seen.scan is not None and (case.observed_at is None or seen.scan.ended_at > case.observed_at)
    return newer and seen.said is not None and seen.said.standing is not Standing.UNSAID


def settle(ports: Ports, location: Location, cases: list[Remediation]) -> int:
    """Close the cases whose node has the patches by now, whoever brought them."""
    scans = ports.inventory.patch_states(location, [case.node.id for case in cases])
    nodes = ports.inventory.nodes(location, [case.node.id for case in cases])
    known, count = emergency.known(ports.ledger), 0
    for case in cases:
        one, scan, node = known.get(str(case.emergency)), scans.get(case.node.id), nodes.get(case.node.id)
        patches = one.list_for(node) if one and node else None
        if patches is None or scan is None or (case.since and scan.ended_at <= case.since):
            continue
        told = emergency.stands(ports, case.node, patches)
        if told.standing is Standing.HAS:
            at = format_moment(scan.ended_at)
            detail = {"scan": at, "because": f"by the {scan.operation.lower()} of {at} the node {told}"}
            count += _has(ports, case, scan.ended_at, detail)
    return count


def _has(ports: Ports, case: Remediation, at: datetime, detail: dict[str, str]) -> int:
    finding = Finding(case.node, Control.EMERGENCY, True, at, Source.EMERGENCY, rule=case.emergency, detail=detail)
    return take(ports, finding).status == "decided"
