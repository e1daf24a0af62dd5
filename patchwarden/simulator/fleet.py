"""The fleet: a seeded organisation of machines in accounts and Regions, with the odd ones that every fleet has."""

from __future__ import annotations

import random
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chalicelib.core.nodes import Location, Node
from patchwarden.simulator.machines import Machine, Pace
from patchwarden.simulator.patches import PLATFORMS, Platform, chosen, released

ACCOUNTS = ("111122223333", "444455556666", "777788889999")
REGIONS = ("eu-west-1", "us-east-1")
START = datetime(2026, 11, 23, 12, tzinfo=UTC)

BLOCK = 60
"""The cast repeats with every so many nodes, so that a large fleet has its share of odd ones."""

# Places in a block. All but `new` are within the first 30, so that half a fleet still has its cast.
CAST = {
    "cluster": (0, 6, 12, 18),
    "stopped": (1, 9, 28),
    "asleep": (9,),
    "dead-agent": (2,),
    "hybrid": (3, 10, 17, 24),
    "doomed": (4,),
    "failing": (5,),
    "reboot-later": (7,),
    "legacy": (8, 14),
    "untagged": (11,),
    "new": (5, 13, 19, 22, 26, 31, 37, 43, 49, 55),
}
"""`asleep` has been stopped since before the story and is non-compliant already: no event will ever say so."""

_DAY = timedelta(days=1)
_OWNERS = {"payments": "payments@example.com", "web": "web@example.com", "batch": "data@example.com"}
_ENVIRONMENTS = ("dev",) * 7 + ("prod",) * 8 + ("staging",) * 5
_PLATFORMS = ("amazon-linux",) * 8 + ("rhel",) * 4 + ("ubuntu",) * 4 + ("windows",) * 4

# What the part asks of the machine that plays it; the rest is drawn.
_PARTS: dict[str, dict[str, str]] = {
    "cluster": {"Environment": "prod", "App": "payments", "platform": "rhel"},
    "stopped": {"Environment": "dev", "App": "batch"},
    "dead-agent": {"Environment": "dev", "App": "web", "platform": "ubuntu"},
    "hybrid": {"App": "batch"},
    "doomed": {"Environment": "prod", "App": "web", "platform": "amazon-linux"},
    "failing": {"Environment": "dev", "App": "web", "platform": "rhel"},
    "reboot-later": {"Environment": "dev", "App": "payments", "platform": "windows"},
    "legacy": {"Environment": "prod", "App": "legacy-erp", "platform": "windows"},
}
_UNFIXABLE = "openssh-server.x86_64"


@dataclass(slots=True)
class Fleet:
    """All machines, and who plays which part. The order of everything is the order of building."""

    seed: int
    locations: tuple[Location, ...]
    machines: dict[Node, Machine] = field(default_factory=dict)
    cast: dict[str, list[Machine]] = field(default_factory=lambda: defaultdict(list))
    _places: dict[Location, dict[str, Machine]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, machine: Machine) -> None:
        """Take a machine in."""
        self.machines[machine.node] = machine
        self._places[machine.node.location][machine.node.id] = machine
        for part in machine.parts:
            self.cast[part].append(machine)

    def find(self, location: Location, node: str) -> Machine | None:
        """The machine of that id in that account and Region, or None."""
        return self._places[location].get(node)

    def at(self, location: Location) -> list[Machine]:
        """The machines of one account and Region."""
        return list(self._places[location].values())


def build_fleet(
    seed: int = 1, nodes: int = 60, accounts: Sequence[str] = ACCOUNTS, regions: Sequence[str] = REGIONS,
    start: datetime = START,
) -> Fleet:  # fmt: skip
    """A fleet that was last patched and scanned the day before `start`. The same arguments give the same fleet."""
    locations = tuple(Location(account, region) for account in accounts for region in regions)
    fleet = Fleet(seed, locations)
    for index in range(nodes):
        parts = [part for part, places in CAST.items() if index % BLOCK in places]
        fleet.add(_machine(f"{seed}/{index}", locations[index % len(locations)], parts, index, start))
    return fleet


def patch_tuesday(moment: datetime) -> tuple[int, int]:
    """Year and month of the release that is out at `moment`: it comes on the second Tuesday."""
    first = moment.replace(day=1)
    second_tuesday = 8 + (1 - first.weekday()) % 7
    month = moment if moment.day >= second_tuesday else first - _DAY
    return month.year, month.month


def months_before(year: int, month: int, count: int) -> Iterator[tuple[int, int]]:
    """The `count` months that precede, the oldest first."""
    for back in range(count, 0, -1):
        serial = year * 12 + month - 1 - back
        yield serial // 12, serial % 12 + 1


def _machine(key: str, location: Location, parts: Sequence[str], index: int, start: datetime) -> Machine:
    draw = random.Random(key)
    wanted = {name: value for part in parts for name, value in _PARTS.get(part, {}).items()}
    platform = PLATFORMS[wanted.get("platform") or draw.choice(_PLATFORMS)]
    tags = _tags(wanted, parts, index, draw)
    hybrid = "hybrid" in parts
    machine = Machine(
        node=Node(location.account, location.region, ("mi-0" if hybrid else "i-0") + f"{draw.getrandbits(64):016x}"),
        name=tags["Name"],
        platform=platform,
        tags={"Name": tags["Name"]} if "untagged" in parts else tags,
        zone=None if hybrid else location.region + draw.choice("abc"),
        address=f"10.{index // 62500 % 250}.{index // 250 % 250}.{index % 250 + 4}",
        launched_at=start - timedelta(days=draw.randint(20, 700), seconds=draw.randint(0, 86400)),
        baseline=_baseline(location, platform),
        group=tags["PatchGroup"],
        pace=_pace(platform, draw),
        parts=frozenset(parts),
        reboots="reboot-later" not in parts,
        unfixable=frozenset({_UNFIXABLE}) if "failing" in parts else frozenset(),
    )
    _give_a_past(machine, parts, start, draw)
    return machine


def _tags(wanted: dict[str, str], parts: Sequence[str], index: int, draw: random.Random) -> dict[str, str]:
    environment = wanted.get("Environment") or draw.choice(_ENVIRONMENTS)
    app = wanted.get("App") or draw.choice(tuple(_OWNERS))
    tags = {
        "Name": f"{app}-{environment}-{index + 1:03}",
        "Environment": environment,
        "App": app,
        "Owner": _OWNERS.get(app, "erp@example.com"),
        "PatchGroup": f"{environment}-default",
    }
    if app == "web" and "hybrid" not in parts:
        tags["aws:autoscaling:groupName"] = f"web-{environment}"
    if "cluster" in parts:
        tags["Cluster"] = "db-a" if index < BLOCK else f"db-a{index // BLOCK}"
    return tags


def _pace(platform: Platform, draw: random.Random) -> Pace:
    """A Windows machine takes longer over everything."""
    factor = 2 if platform.windows else 1
    return Pace(
        scan=factor * draw.randint(25, 60),
        install=factor * draw.randint(120, 480),
        reboot=factor * draw.randint(60, 180),
        boot=factor * draw.randint(30, 70),
    )


def _baseline(location: Location, platform: Platform) -> str:
    name = uuid.uuid5(uuid.NAMESPACE_DNS, f"{location}/{platform.key}.baseline.example.com")
    return f"pb-0{name.hex[:16]}"


def _give_a_past(machine: Machine, parts: Sequence[str], start: datetime, draw: random.Random) -> None:
    """Last months' patches are installed; yesterday's scan says so, unless the machine is new or asleep."""
    year, month = patch_tuesday(start)
    for past in months_before(year, month, 2):
        for patch in released(machine.platform, *past):
            if patch.id not in machine.unfixable:
                machine.installed[patch.id] = (patch, start - timedelta(days=draw.randint(14, 40)))
    if "new" in parts:
        machine.launched_at = start - timedelta(hours=draw.randint(2, 9))
        return
    scanned_at = start - timedelta(hours=draw.randint(18, 22), seconds=draw.randint(0, 3599))
    if "asleep" in parts:
        scanned_at -= timedelta(days=draw.randint(3, 6))
        machine.release(chosen(machine.platform, year, month, draw=draw))
        machine.state, machine.since = "stopped", scanned_at + timedelta(hours=1)
    machine.scan(scanned_at, scanned_at + timedelta(seconds=machine.pace.scan))
