"""Resolving: from the CVEs that were asked for to the patches that nodes lack and that fix them, list by list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.nodes import Location, Node
from chalicelib.core.overrides import LINUX, WINDOWS, Named, PatchList, digest_of_list, fixes, system_of
from chalicelib.crew import MOST, all_of, parts
from chalicelib.ports import Ports
from chalicelib.seek import AT_ONCE
from patchwarden.emergencies.asking import Wanted

Answer = TypeVar("Answer")

NOT_STORED = "-"
"""The version id of a list that is not in the bucket yet."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What each CVE came to: the patches that scans say fix it, by platform and operating system."""

    named: Mapping[tuple[str, str | None], tuple[Named, ...]] = field(hash=False)
    unknown: tuple[str, ...] = ()
    unread: Mapping[str, str] = field(default_factory=dict, hash=False)


def resolve(ports: Ports, places: Sequence[Location], asked: Wanted) -> Resolved:
    """Ask the scans of all nodes in scope which missing patches fix the CVEs. Only what is missing names its CVEs."""
    found: dict[tuple[str, str | None], set[Named]] = {}
    met = set[str]()
    told, unread = at_all(ports, places if asked.cves else (), partial(_fixing, ports, asked))
    for system, named, hits in set[_Fix]().union(*told):
        met |= hits
        found.setdefault(system, set()).add(named)
    own = dict[tuple[str, str | None], set[Named]]()
    for name, one in asked.own:
        own.setdefault((LINUX, name), set()).add(one)
    base = {WINDOWS: asked.kbs, LINUX: asked.packages}
    lists = {key: _joined(base[key[0]], own.get(key, set()), found.get(key, set())) for key in {*found, *own}}
    lists |= {(platform, None): some for platform, some in base.items() if some}
    return Resolved(lists, tuple(one for one in asked.cves if one not in met), unread)


def _joined(base: Sequence[Named], own: set[Named], found: set[Named]) -> tuple[Named, ...]:
    """What one system gets: a version of its own stands before the one for all."""
    mine = {one.id for one in own}
    return tuple(sorted({*own, *found, *(one for one in base if one.id not in mine)}, key=str))


def at_all(
    ports: Ports, places: Sequence[Location], ask: Callable[[Location], Answer]
) -> tuple[list[Answer], dict[str, str]]:
    """What every place answered, many at the same time, and why some did not."""
    told = ports.crew.together([partial(ask, place) for place in places])
    answers = [each for each in told if not isinstance(each, Temporary | Denied)]
    return answers, {str(place): str(each) for place, each in zip(places, told, strict=True)
                     if isinstance(each, Temporary | Denied)}  # fmt: skip


_Fix = tuple[tuple[str, str | None], Named, frozenset[str]]
"""A system, a patch for it, and the CVEs that it fixes."""


def _fixing(ports: Ports, asked: Wanted, place: Location) -> set[_Fix]:
    """What the nodes of a place lack that fixes the CVEs; nodes that their baseline finds compliant lack nothing."""
    found = set[_Fix]()
    for some in parts(sorted(ports.fleets.managed(place)), MOST):
        scans = ports.inventory.patch_states(place, some)
        lacking = [id for id, scan in scans.items() if scan.noncompliant]
        nodes = ports.inventory.nodes(place, lacking) if lacking else {}
        meant = [state for state in nodes.values() if not state.gone and asked.scope.covers(place, state)]
        meant = [state for state in meant if state.platform in (WINDOWS, LINUX)]
        for few in parts(meant, AT_ONCE):
            found |= set[_Fix]().union(*all_of(ports, few, partial(_fixes, ports, asked, place, scans)))
    return found


def _fixes(
    ports: Ports, asked: Wanted, place: Location, scans: Mapping[str, PatchState], state: NodeState
) -> set[_Fix]:
    scan = ports.inventory.patches(Node(place.account, place.region, state.id), scans[state.id])
    hits = [(patch, {one.strip() for one in patch.cves.split(",")} & set(asked.cves)) for patch in scan.patches or ()]
    return {((str(state.platform), system(state)), fixes(patch), frozenset(hit)) for patch, hit in hits if hit}


def system(state: NodeState) -> str:
    """The operating system as a list names it."""
    return system_of({"platform_name": state.platform_name, "platform_version": state.platform_version})


def lists_of(resolved: Resolved) -> tuple[PatchList, ...]:
    """The lists, not stored yet, in a fixed order; ValueError if one is too long."""
    return tuple(
        PatchList(platform, system, digest_of_list(named), NOT_STORED, named)
        for (platform, system), named in sorted(resolved.named.items(), key=lambda one: (one[0][0], one[0][1] or ""))
    )
