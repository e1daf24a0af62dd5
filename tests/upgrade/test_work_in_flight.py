"""A release takes over what the one before it left in the middle: its ledger, as that release wrote it, goes on.

`ledger-2026-11-24.sql` is what the release of that day had stored: two nodes in one execution, one whose start was
never answered, one queued, one waiting, two tickets, one exempt. A release that changes what is stored adds a file;
none is ever edited.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.core.nodes import Node
from chalicelib.core.plans import BatchState
from chalicelib.core.remediations import State
from chalicelib.ports import Invocation
from chalicelib.proof import verify
from chalicelib.sweep import sweep
from tests.sets import HERE, policy, policy_set, tag
from tests.verbs.conftest import World

KINDS = {1: "now", 2: "later", 3: "person", 4: "ask", 5: "legacy", 6: "now", 7: "grouped", 8: "now"}
STATES = {1: State.RUNNING, 2: State.WAITING, 3: State.TICKETED, 4: State.TICKETED, 5: State.EXEMPT, 6: State.STARTING,
          7: State.RUNNING, 8: State.QUEUED}  # fmt: skip
TOKENS = {
    "eb7fae86-3028-59fe-a617-491aae23d0e2": "6178dcc9-0347-5721-9279-f93dee52f6ec",
    "88dc6d86-ddd8-5310-bdcd-bb6789d592c8": "28302457-a571-51e1-b4be-ccd30e295273",
}
"""The ClientToken of each batch, as the old release would have sent it."""

EXEMPT = {
    "action": "exempt",
    "until": "2026-12-01T00:00:00.000Z",
    "expires": "2026-12-01T00:00:00.000Z",
    "reason": "a vendor's freeze",
    "approved": {"by": "ciso@example.com", "on": "2026-11-20", "ticket": "RISK-1"},
}


def node(number: int) -> Node:
    return Node(HERE.account, HERE.region, f"i-{number:017x}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The old ledger under the new release, twelve minutes after the first event."""
    file = tmp_path / "ledger.sqlite"
    with sqlite3.connect(file) as connection:
        connection.executescript((Path(__file__).parent / "ledger-2026-11-24.sql").read_text())
    made = World()
    kept = SqliteLedger(file)
    made.ledger = kept  # type: ignore[assignment]
    made.policies = policy_set(
        policy("now", tag("Kind", "now")),
        policy("later", tag("Kind", "later"), window="saturday"),
        policy("person", tag("Kind", "person"), action="ticket"),
        policy("ask", tag("Kind", "ask"), action="approve"),
        policy("legacy", tag("Kind", "legacy"), **EXEMPT),
        policy("grouped", tag("Kind", "grouped"), per_group={"tag": "Cluster", "max": 1}),
    )
    for number, kind in KINDS.items():
        made.node(node(number), tags={"Kind": kind, **({"Cluster": "c1"} if kind == "grouped" else {})})
    made.pass_minutes(12)
    yield made
    kept.close()


def test_every_line_of_the_old_release_is_read_and_verified(world: World) -> None:
    assert {number: world.case(node(number)).state for number in KINDS} == STATES
    found = verify(world.ledger, world.clock.now())
    assert found.faults == () and found.remediations == len(KINDS)


def test_the_token_of_an_intent_is_what_it_was(world: World) -> None:
    assert {batch.id: batch.token for batch in world.ledger.open_batches()} == TOKENS


def test_all_of_it_comes_to_an_end_and_nothing_runs_twice(world: World) -> None:
    running, intended = world.ledger.open_batches()
    assert world.ledger.lease(f"node/{node(1)}") == world.case(node(1)).id
    world.automations.start(running)
    ids = [member.node for member in running.members]
    said = [Invocation(id, "Success") for id in ids]
    world.automations.end(HERE, str(running.execution), "Success", at=world.clock.now(), steps={"InstallPatches": said})
    for number in (1, 7):
        world.scanned(node(number))
    world.pass_minutes(50)
    for _ in range(3):
        sweep(world.ports)
        world.round()
        world.pass_minutes(6)
    assert {world.case(node(number)).state for number in (1, 7)} == {State.RESOLVED}
    stored = world.ledger.batch(intended.id)
    assert stored is not None and stored.state is BatchState.WITHDRAWN
    started = [member.node for batch in world.automations.started for member in batch.members]
    assert sorted(started) == sorted({*started}), "a node was started twice"
    assert {node(6).id, node(8).id} <= {*started}
    assert {world.case(node(number)).state for number in (2, 3, 4, 5)} == {
        State.WAITING, State.TICKETED, State.EXEMPT,
    }  # fmt: skip
    assert world.ledger.lease(f"node/{node(1)}") is None
    assert verify(world.ledger, world.clock.now()).faults == ()
