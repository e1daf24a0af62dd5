"""Machines: each node and its truth, and how those of a seed are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from random import Random

from chalicelib.core.facts import NodeState, PatchState
from chalicelib.core.nodes import Node
from patchwarden.simulate.moments import moment
from patchwarden.simulate.rules import GROUP, IMMUTABLE, LOCATIONS

SCALING = "aws:autoscaling:groupName"

KINDS = ("plain",) * 6 + ("hot", "legacy", "guarded", "sleeping")
TEMPERS = ("well",) * 6 + ("fails", "fails once", "lies", "reboots", "unscanned")
"""What an install does to a machine. `lies`: it reports success and installs nothing."""


@dataclass(slots=True)
class Machine:
    """One node and its truth. `cleaned`: when a scan last found nothing; `touched`: when an install last ended.

    `broken`: its association is non-compliant, as it was seen at `seen`; None: it has none. `fix`: how it stands to the
    patch that an emergency may name, and `told` what its scans have said of that. `stubborn`: nothing mends its
    association. `theirs`: from when to when somebody else's command patches it, and the command.
    """

    node: Node
    temper: str
    tags: dict[str, str]
    zone: str
    missing: int = 0
    pending: int = 0
    state: str = "running"
    ping: str | None = "Online"
    cleaned: float = -1.0
    touched: float = -2.0
    broken: bool | None = None
    seen: float = 0.0
    stubborn: bool = False
    theirs: list[tuple[float, float, str]] = field(default_factory=list)
    ended: float | None = None
    fix: str = "MISSING"
    told: list[tuple[float, str]] = field(default_factory=list)
    scans: list[tuple[float, PatchState]] = field(default_factory=list)
    states: list[tuple[float, NodeState]] = field(default_factory=list)

    @property
    def reachable(self) -> bool:
        return self.state == "running" and self.ping == "Online"

    @property
    def scan(self) -> PatchState | None:
        return self.scans[-1][1] if self.scans else None

    @property
    def heard(self) -> datetime | None:
        """When the agent was heard last; None: it is heard now."""
        return None if self.ping == "Online" else moment(max(self.states[-1][0], 0.0))

    def group(self, by: str, tag: str | None) -> str | None:
        """Which group it is in."""
        return self.zone if by == "availability-zone" else self.tags.get(tag or SCALING)

    def describe(self, now: float) -> None:
        """Remember how the machine looks from now on."""
        known = NodeState(self.node.id, "ec2", self.state, self.ping, "Linux", tags=self.tags,
                          group=self.tags.get(SCALING), zone=self.zone)  # fmt: skip
        self.states.append((now, known))


def machines(random: Random, count: int) -> Iterator[Machine]:
    """So many machines, spread evenly over the places."""
    for number in range(count):
        place = LOCATIONS[number % len(LOCATIONS)]
        tags = {"Kind": random.choice(KINDS)}
        if random.random() < 0.15:
            tags[GROUP] = f"c{number % 3}"
        if random.random() < 0.2:
            tags[SCALING] = random.choice(("asg-0", "asg-1"))
            if tags[SCALING] == "asg-1":
                tags[IMMUTABLE["tag"]] = IMMUTABLE["value"]
        zone = place.region + random.choice("ab")
        yield Machine(Node(place.account, place.region, f"i-{number:017x}"), random.choice(TEMPERS), tags, zone)
