"""The exceptions of Config's remediation: one contract over the twin and over real boto3 with the simulated Config."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.adapters.config_rules import ConfigExceptions
from chalicelib.adapters.memory_aws import MemoryExceptions
from chalicelib.core.errors import Denied
from chalicelib.core.nodes import Location, Node
from chalicelib.ports import Exceptions, RemediationException
from patchwarden.simulator.events import PATCH_RULE, config_resource_id
from tests.adapters.simulated import World

IDS = ("i-0123456789abcdef0", "i-0fedcba9876543210")


def simulated(world: World, place: Location) -> Exceptions:
    for id in IDS:
        world.sim.aws.remediations.exceptions[place][PATCH_RULE, config_resource_id(id)] = "too many attempts"
    return ConfigExceptions(world.accounts(), [PATCH_RULE])


def in_memory(world: World, place: Location) -> Exceptions:
    node = "AWS::SSM::PatchCompliance"
    return MemoryExceptions([
        RemediationException(Node(place.account, place.region, id), PATCH_RULE, config_resource_id(id), node,
                             "too many attempts")
        for id in IDS
    ])  # fmt: skip


@pytest.mark.parametrize("made", [simulated, in_memory])
def test_exceptions_are_listed_by_node_and_cleared_one_by_one(made: Callable[[World, Location], Exceptions]) -> None:
    world = World()
    place = world.member
    port = made(world, place)
    first, second = sorted(port.exceptions(place), key=lambda one: IDS.index(one.node.id))
    assert first.node == Node(place.account, place.region, IDS[0])
    assert (first.rule, first.message, first.until) == (PATCH_RULE, "too many attempts", None)
    assert first.automatic
    assert port.exceptions(Location(place.account, "us-east-1" if place.region != "us-east-1" else "eu-west-1")) == []
    port.clear(place, [first])
    assert port.exceptions(place) == [second]
    port.clear(place, [first])
    assert port.exceptions(place) == [second]


def test_a_place_without_the_rule_has_no_exceptions_and_a_refusal_is_denied() -> None:
    world = World()
    port = ConfigExceptions(world.accounts(), [PATCH_RULE])
    world.refuse("DescribeRemediationExceptions", "NoSuchConfigRuleException")
    assert port.exceptions(world.member) == []
    world.refuse("DescribeRemediationExceptions", "AccessDeniedException")
    with pytest.raises(Denied, match="AccessDenied"):
        port.exceptions(world.member)
