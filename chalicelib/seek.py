"""Seek: look in the nodes' own scans for those that lack what an emergency names, and for those that have it by now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from chalicelib import emergency
from chalicelib.core.emergencies import Emergency
from chalicelib.core.errors import Barred, Denied, PolicyError, Stale, Temporary
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.marks import Mark
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.overrides import PatchList, Said, Standing, said
from chalicelib.core.remediations import Remediation, State
from chalicelib.crew import MOST, Group, all_of, by_place, each, left_alone, parts
from chalicelib.emergency import LAG
from chalicelib.glance import Glance
from chalicelib.intake import in_force, take
from chalicelib.ports import Kept, Ports

BUDGET = timedelta(minutes=3)
"""How long one sweep looks for nodes, and then for those that have it; the next one goes on where this one stopped."""

AT_ONCE = 10
"""How many nodes of one place are asked at the same time: only one node's patches can be asked for in a call."""

NEXT = "emergency/next"
"""Where the ledger keeps at which place the next sweep begins to look."""

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


@dataclass(frozen=True, slots=True)
class Part:
    """Some nodes of a place that were looked at together, `upto` the last id of them; `left`: who refused an answer."""

    seen: tuple[Seen, ...]
    upto: str
    left: tuple[str, ...] = ()


Known = Mapping[Node, Seen]
"""What was seen a moment ago: a node whose scan is the same is not asked once more."""


def look(ports: Ports, location: Location, one: Emergency, mark: Mark | None = None,
         known: Known | None = None) -> Iterator[Part]:  # fmt: skip
    """Every managed node of the place that is in scope, 50 at a time; what the mark covers is passed over.

    A node that alone refuses to answer is left; Temporary or Barred if the place does not answer.
    """
    mark = mark or Mark()
    if not one.scope.at(location):
        return
    ids = sorted(ports.fleets.managed(location))
    for some in parts([id for id in ids if id > (mark.after or "")], MOST):
        scans = ports.inventory.patch_states(location, some)
        wanted = [id for id in some if mark.wants(id, scans.get(id), LAG)]
        nodes = ports.inventory.nodes(location, wanted) if wanted else {}
        met = [(id, nodes[id]) for id in wanted if id in nodes and _meant(one, location, nodes[id])]
        asking = partial(_seen, ports, location, one, scans, known or {})
        told = [seen for few in parts(met, AT_ONCE) for seen in all_of(ports, few, asking)]
        left = tuple(each for each in told if isinstance(each, str))
        yield Part(tuple(each for each in told if isinstance(each, Seen)), some[-1], left)


def _meant(one: Emergency, location: Location, state: NodeState) -> bool:
    return not state.gone and one.scope.covers(location, state)


def _seen(
    ports: Ports, location: Location, one: Emergency, scans: Mapping[str, PatchState], known: Known,
    at: tuple[str, NodeState],
) -> Seen | str:  # fmt: skip
    """What the node's scan says of the patches; the id alone of a node that refuses to say it."""
    id, state = at
    node, scan, patches = Node(location.account, location.region, id), scans.get(id), one.list_for(state)
    if patches is None or scan is None:
        return Seen(node, state, scan, patches, said(patches.named, ()) if patches else None)
    before = known.get(node)
    if before and before.scan == scan and before.patches and before.patches.named == patches.named:
        return Seen(node, state, scan, patches, before.said)
    try:
        return Seen(node, state, scan, patches, emergency.stands(ports, node, patches))
    except Barred:
        raise  # each node of the place would refuse alike
    except Denied as error:
        ports.notices.say("degraded", place=str(node), because=str(error), refused=True)
        return id


@dataclass(frozen=True, slots=True)
class Found:
    """How many cases were opened or asked again in a place, and whether all of it was looked through."""

    opened: int = 0
    whole: bool = True


def find(ports: Ports, location: Location, one: Emergency, until: datetime | None = None,
         known: Known | None = None, freed: datetime | None = None) -> Found:  # fmt: skip
    """Open a case for every node of the place that lacks the patches, from where the last look ended, until `until`.

    What was scanned before the last whole look was read then, and is passed over, unless another emergency ended
    since (`freed`): then the nodes that it had are looked at again. Without its policy in the set in force nothing is
    opened: a service learns of the journal before it learns of the set.
    """
    policies = in_force(ports)
    if not one.scope.at(location) or isinstance(policies, PolicyError):
        return Found()
    if not any(policy.id == one.id for policy in policies.enforced.policies):
        return Found()
    name = f"emergency/{one.id}/{location}"
    kept = ports.ledger.kept(name)
    began = max(one.since, freed or one.since)
    mark, opened = Mark.of(kept.value if kept else None, began), 0
    mark = mark if mark.at else replace(mark, at=ports.clock.now())
    try:
        for part in look(ports, location, one, mark, known):
            count, taken = _opened(ports, one, part)
            opened += count
            mark = mark.past(part.upto, (*part.left, *taken))
            if until and ports.clock.now() >= until:
                _keep(ports, name, mark.to_json(began), kept)
                return Found(opened, whole=False)
    except (Temporary, Denied):
        _keep(ports, name, mark.to_json(began), kept)
        raise
    _keep(ports, name, mark.ended().to_json(began), kept)
    return Found(opened)


def _keep(ports: Ports, name: str, value: Mapping[str, Any], kept: Kept | None) -> None:
    """Who looked there at the same time has kept as much; what is read twice opens nothing twice."""
    try:
        ports.ledger.keep(name, value, expected=kept.version if kept else 0)
    except (Stale, Temporary):
        return


def _opened(ports: Ports, one: Emergency, part: Part) -> tuple[int, list[str]]:
    """Open cases for those of the part that lack the patches, over what was just read of them.

    How many, and on whom an execution of another emergency works, so that they are to be asked again.
    """
    heads = ports.ledger.heads([remediation_id(seen.node, Control.EMERGENCY) for seen in part.seen])
    lacking = [
        (seen, heads.get(remediation_id(seen.node, Control.EMERGENCY)))
        for seen in part.seen
        if seen.said and one.wants(seen.said)
    ]
    taken = [seen.node.id for seen, case in lacking if case and case.active and case.emergency != one.id]
    wanted = [seen for seen, case in lacking if _anew(ports, one, seen, case)]
    nodes, scans = {seen.node: seen.state for seen in wanted}, {seen.node: seen.scan for seen in wanted}
    glancing = replace(ports, inventory=Glance(ports.inventory, dict(nodes), dict(scans)))
    return sum(all_of(ports, wanted, lambda seen: _open(glancing, one, seen))), taken


def _open(ports: Ports, one: Emergency, seen: Seen) -> bool:
    finding = Finding(seen.node, Control.EMERGENCY, False, ports.clock.now(), Source.EMERGENCY, rule=one.id)
    return take(ports, finding, actor=f"emergency by {one.by}").status == "decided"


def _anew(ports: Ports, one: Emergency, seen: Seen, case: Remediation | None) -> bool:
    """Whether it is found at all: for the first time, for another emergency, for one begun anew, or once more."""
    if case is None:
        return True
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


def hunt(
    ports: Ports, places: Sequence[Location], wanted: Sequence[Emergency], degraded: list[str],
    aside: Collection[str], until: datetime,
) -> int:  # fmt: skip
    """Look through the places for what the emergencies in force want, those first that the last sweep did not reach."""
    kept, freed = ports.ledger.kept(NEXT), emergency.last_end(ports) if wanted else None
    first = str(kept.value["place"]) if kept and wanted else ""
    turned = sorted(places, key=lambda at: (str(at) < first, str(at)))
    found = each(ports, [Group(at, ()) for at in turned] if wanted else [],
                 lambda at: (at.location, [find(ports, at.location, one, until, freed=freed) for one in wanted]),
                 degraded, until, aside)  # fmt: skip
    whole = {at for at, ends in found if all(end.whole for end in ends)}
    late = next((at for at in turned if at not in whole and not left_alone(at, degraded)), None) if wanted else None
    if late or first:
        _keep(ports, NEXT, {"place": str(late or "")}, kept)
    return sum(end.opened for _, ends in found for end in ends)


def settle(
    ports: Ports, cases: Iterable[Remediation], degraded: list[str], aside: Collection[str], until: datetime
) -> int:
    """Close the cases whose node has the patches by now, whoever brought them; each scan is asked about once."""
    known = emergency.known(ports.ledger)
    return sum(each(ports, by_place(cases), lambda at: _settle(ports, at, known, until), degraded, until, aside))


def _settle(ports: Ports, at: Group, known: Mapping[str, Emergency], until: datetime) -> int:
    name, now = f"emergency/settled/{at.location}", ports.clock.now()
    kept = ports.ledger.kept(name)
    since = parse_moment(kept.value["at"]) - LAG if kept else None
    count = 0
    for some in parts(at.cases, MOST):
        if ports.clock.now() >= until:
            return count
        scans = ports.inventory.patch_states(at.location, [case.node.id for case in some])
        newer = [case for case in some if _newer(case, scans.get(case.node.id), since)]
        nodes = ports.inventory.nodes(at.location, [case.node.id for case in newer]) if newer else {}
        asking = partial(_closed, ports, known, nodes, scans)
        there = [case for case in newer if case.node.id in nodes]
        count += sum(sum(all_of(ports, few, asking)) for few in parts(there, AT_ONCE))
    _keep(ports, name, {"at": format_moment(now)}, kept)
    return count


def _newer(case: Remediation, scan: PatchState | None, since: datetime | None) -> bool:
    """Whether the scan may say of the case what no sweep has read yet."""
    if scan is None or (case.since and scan.ended_at <= case.since):
        return False
    return since is None or scan.ended_at >= since


def _closed(
    ports: Ports, known: Mapping[str, Emergency], nodes: Mapping[str, NodeState], scans: Mapping[str, PatchState],
    case: Remediation,
) -> bool:  # fmt: skip
    one, scan = known.get(str(case.emergency)), scans[case.node.id]
    patches = one.list_for(nodes[case.node.id]) if one else None
    told = emergency.stands(ports, case.node, patches) if patches else None
    if told is None or told.standing is not Standing.HAS:
        return False
    at = format_moment(scan.ended_at)
    detail = {"scan": at, "because": f"by the {scan.operation.lower()} of {at} the node {told}"}
    finding = Finding(case.node, Control.EMERGENCY, True, scan.ended_at, Source.EMERGENCY, rule=case.emergency,
                      detail=detail)  # fmt: skip
    return take(ports, finding).status == "decided"
