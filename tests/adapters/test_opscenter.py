"""Tickets: one contract over the memory twin and over OpsCenter, then what only that can do."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.memory_aws import MemoryTickets
from chalicelib.adapters.opscenter import OpsCenter
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.findings import Control
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import Remediation
from chalicelib.core.tickets import Deed, Errand, errand
from chalicelib.ports import Tickets
from patchwarden.simulator.fleet import START
from tests.adapters.simulated import World


def owed(world: World, deed: Deed = Deed.OPEN, *, node: str = "i-0123456789abcdef0", number: int = 1,
         because: str = "attempts are used up", **changes: Any) -> Errand:  # fmt: skip
    case = Remediation(Node(world.member.account, world.member.region, node), Control.PATCH)
    return replace(errand(case, deed, number=number, because=because, now=START), **changes)


@dataclass
class Seen:
    """A ticket as a person sees it."""

    open: bool
    text: str
    texts: set[str]


@dataclass
class Desk:
    tickets: Tickets
    world: World
    look: Callable[[Location, str], Seen]


def over_aws(world: World) -> Desk:
    def look(location: Location, id: str) -> Seen:
        item = world.sim.aws.opsitems.find(location, id)
        texts = {value["Value"] for key, value in item.data.items() if not key.startswith("/aws")}
        return Seen(item.open, item.values["Description"], texts)

    return Desk(OpsCenter(world.accounts()), world, look)


def in_memory(world: World) -> Desk:
    twin = MemoryTickets()

    def look(location: Location, id: str) -> Seen:
        ticket = twin.kept[id]
        assert ticket.location == location
        return Seen(not ticket.resolved, ticket.texts[-1], set(ticket.texts[1:]))

    return Desk(twin, world, look)


TWINS: dict[str, Callable[[World], Desk]] = {"memory": in_memory, "aws": over_aws}


@pytest.fixture(params=[*TWINS.values()], ids=[*TWINS])
def desk(request: pytest.FixtureRequest) -> Desk:
    made: Desk = request.param(World())
    return made


class TestContract:
    def test_a_key_has_one_open_ticket(self, desk: Desk) -> None:
        first = owed(desk.world)
        id = desk.tickets.open(first)
        assert desk.tickets.open(first) == id
        assert desk.tickets.open(owed(desk.world, number=7, because="again")) == id
        assert desk.tickets.open(owed(desk.world, node="i-0123456789abcdef1")) != id
        assert desk.look(desk.world.member, id).open

    def test_a_ticket_says_why(self, desk: Desk) -> None:
        id = desk.tickets.open(owed(desk.world))
        assert "attempts are used up" in desk.look(desk.world.member, id).text

    def test_a_shared_key_has_one_ticket_for_all_its_nodes(self, desk: Desk) -> None:
        ids = {
            desk.tickets.open(owed(desk.world, node=f"i-0123456789abcdef{number}", key="patchwarden/storm/1"))
            for number in range(3)
        }
        assert len(ids) == 1

    def test_the_newest_text_stands_first_and_repeating_it_adds_nothing(self, desk: Desk) -> None:
        id = desk.tickets.open(owed(desk.world))
        said = owed(desk.world, Deed.UPDATE, number=2, because="the deadline has passed", ticket=id)
        for _ in range(2):
            desk.tickets.update(said)
        seen = desk.look(desk.world.member, id)
        assert seen.open
        assert seen.text == said.body
        assert seen.texts == {said.body}

    def test_a_resolved_ticket_is_closed_for_good(self, desk: Desk) -> None:
        id = desk.tickets.open(owed(desk.world))
        done = owed(desk.world, Deed.RESOLVE, number=3, because="the scan found all installed", ticket=id)
        for _ in range(2):
            desk.tickets.resolve(done)
        seen = desk.look(desk.world.member, id)
        assert not seen.open
        assert "the scan found all installed" in seen.text

    def test_a_regression_opens_a_new_ticket(self, desk: Desk) -> None:
        id = desk.tickets.open(owed(desk.world))
        desk.tickets.resolve(owed(desk.world, Deed.RESOLVE, number=2, ticket=id))
        assert desk.tickets.open(owed(desk.world, number=3)) != id

    @pytest.mark.parametrize("ticket", [None, "oi-00000000dead"])
    def test_closing_or_updating_what_is_not_there_is_no_error(self, desk: Desk, ticket: str | None) -> None:
        desk.tickets.update(owed(desk.world, Deed.UPDATE, ticket=ticket))
        desk.tickets.resolve(owed(desk.world, Deed.RESOLVE, ticket=ticket))


@pytest.fixture
def world() -> World:
    return World()


class TestOverAws:
    def test_an_opsitem_carries_what_a_person_needs(self, world: World) -> None:
        id = over_aws(world).tickets.open(owed(world, severity=2))
        make: Any = boto3.Session.client
        ssm = make(world.sim.session(world.member.account, world.member.region), "ssm")
        item = ssm.get_ops_item(OpsItemId=id)["OpsItem"]
        assert item["Source"] == "patchwarden"
        assert item["Severity"] == "2"
        assert item["Category"] == "Security"
        assert item["Title"].startswith("i-0123456789abcdef0 in")
        data = {key: json.loads(value["Value"]) for key, value in item["OperationalData"].items()}
        assert data["/aws/dedup"] == {"dedupString": owed(world).key}
        account, region = world.member.account, world.member.region
        assert data["/aws/resources"] == [{"arn": f"arn:aws:ec2:{region}:{account}:instance/i-0123456789abcdef0"}]

    def test_a_hybrid_node_has_its_own_kind_of_arn(self, world: World) -> None:
        id = over_aws(world).tickets.open(owed(world, node="mi-0123456789abcdef0"))
        item = world.sim.aws.opsitems.find(world.member, id)
        account, region = world.member.account, world.member.region
        arn = f"arn:aws:ssm:{region}:{account}:managed-instance/mi-0123456789abcdef0"
        assert json.loads(item.data["/aws/resources"]["Value"]) == [{"arn": arn}]

    @pytest.mark.parametrize(("severity", "said"), [(0, "1"), (1, "1"), (4, "4"), (9, "4")])
    def test_the_severity_is_one_that_opscenter_shows(self, world: World, severity: int, said: str) -> None:
        id = over_aws(world).tickets.open(owed(world, severity=severity))
        assert world.sim.aws.opsitems.find(world.member, id).values["Severity"] == said

    def test_long_texts_are_cut_to_what_opscenter_takes(self, world: World) -> None:
        desk = over_aws(world)
        long = owed(world, title="t" * 3000, body="b" * 3000)
        id = desk.tickets.open(long)
        desk.tickets.update(replace(long, ticket=id, id="x" * 300))
        assert len(world.sim.aws.opsitems.find(world.member, id).values["Title"]) == 1024
        assert len(desk.look(world.member, id).text) == 2048

    def test_a_ticket_whose_answer_was_lost_is_not_doubled(self, world: World) -> None:
        desk = over_aws(world)
        world.fail("CreateOpsItem", ReadTimeoutError(endpoint_url="https://ssm"), phase="after")
        with pytest.raises(Temporary):
            desk.tickets.open(owed(world))
        assert desk.tickets.open(owed(world)) == desk.tickets.open(owed(world))
        assert len(world.sim.aws.opsitems.matching(world.member, [])) == 1

    def test_a_full_opscenter_is_the_operators_turn(self, world: World) -> None:
        world.refuse("CreateOpsItem", "OpsItemLimitExceededException")
        with pytest.raises(Denied, match="OpsItemLimitExceeded"):
            over_aws(world).tickets.open(owed(world))

    def test_a_denied_update_is_not_taken_for_done(self, world: World) -> None:
        desk = over_aws(world)
        id = desk.tickets.open(owed(world))
        world.sim.aws.deny(world.member.account)
        with pytest.raises(Denied, match="update_ops_item"):
            desk.tickets.resolve(owed(world, Deed.RESOLVE, ticket=id))
