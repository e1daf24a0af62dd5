"""Looking for the nodes of an emergency: each scan is asked about once, and a look that was cut off goes on there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib import emergency, seek
from chalicelib.adapters.memory_aws import MemoryInventory
from chalicelib.core.emergencies import Emergency, Scope
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, Patch
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Location, Node
from chalicelib.sweep import sweep
from patchwarden.emergencies.radius import survey
from tests.emergencies.test_edges import ID, NEW, OLD, Zone, listed, urgent
from tests.sets import HERE, NOW, policy, policy_set, scan

THERE = Location("444455556666", HERE.region)
TOLL = timedelta(seconds=2)


@dataclass
class Slow(MemoryInventory):
    """Counts who is asked by name; each such answer takes two seconds, and some refuse it or are busy."""

    zone: Any = None
    asked: Counter[Node] = field(default_factory=Counter)
    refuses: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        MemoryInventory.__init__(self)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        self.zone.clock.move(TOLL)
        self.asked[node] += 1
        if node.id in self.refuses:
            raise Denied(f"{node.id}: InvalidInstanceId")
        if node.id in self.busy:
            raise Temporary(f"{node.id}: Rate exceeded")
        return MemoryInventory.named(self, node, ids)

    def associations(self, node: Node) -> AssociationState | None:
        return None


class Counted(Zone):
    """The zone over such an inventory."""

    inventory: Slow

    def __init__(self) -> None:
        Zone.__init__(self)
        self.inventory = Slow(zone=self)


@pytest.fixture
def zone() -> Counted:
    return Counted()


def fleet(zone: Counted, count: int, at: Location = HERE, *patches: Patch) -> list[Node]:
    nodes = [Node(at.account, at.region, f"i-{number:017x}") for number in range(count)]
    for node in nodes:
        zone.managed(*(patches or (OLD,)), node=node)
    return nodes


def began(zone: Counted) -> Emergency:
    """The emergency with its policy in force, and nobody looked for yet."""
    one = Emergency(ID, (), (listed(),), Scope(), zone.clock.now(), NOW + timedelta(days=3), "night", "now")
    emergency.begin(zone.ports, one)
    zone.policies = policy_set(urgent(ID), policy(), scope={"accounts": [HERE.account, THERE.account],
                                                            "regions": [HERE.region]})  # fmt: skip
    return one


def cases(zone: Counted, nodes: Sequence[Node]) -> int:
    return len(zone.ledger.heads([remediation_id(node, Control.EMERGENCY) for node in nodes]))


def test_what_the_command_has_just_read_is_not_asked_again(zone: Counted) -> None:
    nodes = fleet(zone, 120)
    one = began(zone)
    shown = survey(zone.ports, [HERE], one, zone.policies, zone.policies, zone.clock.now())
    assert len(shown.met) == 120 and set(zone.inventory.asked.values()) == {1}
    known = {row.seen.node: row.seen for row in shown.rows}
    zone.inventory.scan(nodes[7], replace(scan(zone.clock.now(), missing=0, patches=(NEW,)), id=nodes[7].id))
    assert seek.find(zone.ports, HERE, one, None, known).opened == 119
    assert zone.inventory.asked.total() == 121 and zone.inventory.asked[nodes[7]] == 2, "only who was scanned since"
    for _ in range(3):
        zone.pass_minutes(60)
        sweep(zone.ports)
    assert zone.inventory.asked.total() == 122, "the newest scan once more, since what is described may be late"


def test_a_look_that_runs_out_of_time_goes_on_where_it_stopped(zone: Counted) -> None:
    nodes, others = fleet(zone, 120), fleet(zone, 60, THERE)
    began(zone)
    rounds = []
    for _ in range(4):
        sweep(zone.ports)
        rounds.append(cases(zone, [*nodes, *others]))
        zone.pass_minutes(10)
    assert rounds == [100, 180, 180, 180], "three minutes, and the part of fifty that was begun"
    assert set(zone.inventory.asked.values()) == {1}


def test_a_sweep_begins_with_the_places_that_the_last_one_did_not_reach(zone: Counted) -> None:
    """Two places of 45 nodes fill a sweep; they are scanned anew all the time, and still all four have their turn."""
    accounts = [f"{number}" * 12 for number in range(1, 5)]
    places = [Location(account, HERE.region) for account in accounts]
    nodes = [node for place in places for node in fleet(zone, 45, place)]
    began(zone)
    zone.policies = policy_set(urgent(ID), scope={"accounts": accounts, "regions": [HERE.region]})
    for _ in range(2):
        sweep(zone.ports)
        zone.pass_minutes(10)
        for node in nodes:
            zone.inventory.scan(node, replace(scan(zone.clock.now(), missing=0, patches=(OLD,)), id=node.id))
    assert cases(zone, nodes) == 4 * 45


def test_a_node_that_refuses_an_answer_holds_up_nobody_and_is_asked_again(zone: Counted) -> None:
    nodes = fleet(zone, 60)
    one = began(zone)
    zone.inventory.refuses = {nodes[3].id}
    assert seek.find(zone.ports, HERE, one).opened == 59
    zone.inventory.refuses = set()
    zone.pass_minutes(60)
    assert seek.find(zone.ports, HERE, one).opened == 1
    assert zone.inventory.asked.total() == 61


def test_a_busy_place_keeps_what_was_read_of_it(zone: Counted) -> None:
    nodes = fleet(zone, 60)
    one = began(zone)
    zone.inventory.busy = {nodes[55].id}
    with pytest.raises(Temporary):
        seek.find(zone.ports, HERE, one)
    assert cases(zone, nodes) == 50
    zone.inventory.busy = set()
    before = zone.inventory.asked.total()
    assert seek.find(zone.ports, HERE, one).opened == 10
    assert zone.inventory.asked.total() - before == 10


def test_a_ticketed_node_is_not_asked_by_every_sweep(zone: Counted) -> None:
    (node,) = fleet(zone, 1)
    zone.begin()
    zone.policies = policy_set(urgent(ID, action="ticket"))
    sweep(zone.ports)
    zone.pass_minutes(60)
    zone.inventory.scan(node, replace(scan(zone.clock.now(), missing=0, patches=(OLD,)), id=node.id))
    zone.pass_minutes(30)
    sweep(zone.ports)
    asked = zone.inventory.asked.total()
    for _ in range(3):
        zone.pass_minutes(15)
        sweep(zone.ports)
    assert zone.inventory.asked.total() == asked


def test_the_start_does_not_read_a_scan_again_that_the_case_was_opened_by(zone: Counted) -> None:
    fleet(zone, 3)
    zone.begin()
    assert zone.inventory.asked.total() == 3
    zone.round()
    assert len(zone.automations.started) == 1 and zone.inventory.asked.total() == 3
