"""The same messages in every order end the same: one execution, one proof."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

from chalicelib.core.plans import snapshot_id
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import receive
from chalicelib.sweep import sweep
from tests.sets import HERE, NODE, NOW, policy, policy_set, scan
from tests.verbs.conftest import World, execution_event, ssm_event


class Orders:
    """A world in which six things happen, in whatever order."""

    def __init__(self) -> None:
        self.world = World(policies=policy_set(policy(band="emergency", expires="2027-01-01T00:00:00Z"), linger=0))
        self.world.node(patch=scan(NOW))
        self.messages: list[Callable[[], object]] = [
            lambda: self.say(compliant=False, minutes=0),
            lambda: self.say(compliant=False, minutes=0),
            lambda: self.say(compliant=True, minutes=-30),
            lambda: dispatch(self.world.ports),
            self.ends,
            lambda: self.say(compliant=True, minutes=25),
        ]

    def say(self, *, compliant: bool, minutes: float) -> None:
        receive(self.world.ports, ssm_event(NODE, compliant, NOW + timedelta(minutes=minutes)))

    def ends(self) -> None:
        """The execution, if there is one, ends well, and its event comes."""
        for batch in self.world.automations.started:
            execution = str(self.world.automations.find(batch))
            at = NOW + timedelta(minutes=25)
            clean = scan(at, missing=0, patches=(), snapshot=snapshot_id(batch.id))
            self.world.inventory.scan(NODE, clean)
            self.world.automations.end(HERE, execution, "Success", at=at)
            follow(self.world.ports, execution_event(NODE, execution, "Success"))

    def settle(self) -> None:
        for _ in range(4):
            self.world.pass_minutes(16)
            sweep(self.world.ports)
            dispatch(self.world.ports)
            self.ends()


def test_every_order_of_six_messages_starts_one_execution_and_ends_with_its_proof() -> None:
    for order in permutations(range(6)):
        orders = Orders()
        for number in order:
            orders.world.pass_minutes(0.1)
            orders.messages[number]()
        orders.settle()
        assert len(orders.world.automations.started) == 1, order
        assert orders.world.case().state is State.RESOLVED, order
        assert orders.world.causes()[-1] != "failed", order
