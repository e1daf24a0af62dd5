"""An emergency over 10,000 and 100,000 nodes in 2,000 places: how many calls, how long, how much memory?

What a scan says of one package, Systems Manager tells of one node in a call. The real verbs, in virtual time over a
ledger in memory: the survey of `emergency start`, the opening of the cases, a sweep at once, and the sweeps after every
node was scanned anew. In the same run stands the plain way: each pass asks every node, one after the other.
"""

from __future__ import annotations

import json
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click

from bench import sweep as swept
from bench.storm import EMERGENCY, LANES, REGIONS, ROOT, START, Fleet, Function, Metered, Time, clock, fleet, write_part
from chalicelib import emergency, seek
from chalicelib.adapters.lists import MemoryLists
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.memory_aws import MemoryAutomations, MemoryTickets
from chalicelib.adapters.notices import Silent
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.compiled import digest_of
from chalicelib.core.emergencies import Emergency, Scope
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.overrides import Named, PatchList, asked_for, digest_of_list
from chalicelib.core.policies import PolicySet
from chalicelib.ports import Ports
from patchwarden.emergencies.radius import survey

XZ = Named("xz-libs", "5.6.2-1")
OLD = Patch("xz-libs.x86_64", "xz-libs.x86_64:0:5.6.0-1", "", "", "INSTALLED_OTHER")
NEW = replace(OLD, title="xz-libs.x86_64:0:5.6.2-1")
LACKS = 0.3
"""Share of the nodes that lack the patch."""
PER_SECOND = 10.0
"""Calls of DescribeInstancePatches that a place answers in a second: a guess, as for the other reads of a sweep."""
PASSES = 3
"""How often the plain way asks every node: to show whom it meets, to open the cases, and before each start."""

PAGE = """## An emergency over a fleet

One package by name, which {lacks:.0%} of the nodes lack. *DescribeInstancePatches* answers for one node a call and, it
is assumed, {rate:.0f} times a second in a place; all else is as for the sweep above, so one account in {denied} denies
everything and one in {slow} is slow. The command runs on one vCPU as well, with the same threads.

{table}
*Plain* asks every node in each of {passes} passes, node after node and place after place. *Start* is what
`emergency start` does: one look at every node, and a case for each that lacks the patch, without asking again. A sweep
looks for {budget} at most and goes on in the next one where it stopped; *after a scan of all* is the worst case: every
node has been scanned anew since. What the sweeps took leaves out the time between them. Memory is the most that the
process held, with the ledger, which is not there in AWS.
"""


@dataclass
class Nodes(swept.Nodes):
    """The same inventory, whose nodes have the package or an old one; `scanned` is when all were scanned last."""

    scanned: datetime = START - timedelta(hours=5)
    asked: Counter[Node] = field(default_factory=Counter)

    def managed(self, location: Location) -> list[str]:
        here = self.here[location]
        for _ in range(0, max(1, len(here)), 50):
            self._answer(location, "nodes", 50)
        return [node.id for node in here]

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        found = swept.Nodes.nodes(self, location, ids)
        system = {"platform_name": "Amazon Linux", "platform_version": "2023"}
        return {id: replace(state, **system) for id, state in found.items()}  # type: ignore[arg-type]

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        found = swept.Nodes.patch_states(self, location, ids)
        return {id: replace(state, missing=0, ended_at=self.scanned) for id, state in found.items()}

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        self.asked[node] += 1
        self._answer(node.location, "patches", 1)
        return [OLD if swept._part(node) < LACKS else NEW]

    def associations(self, node: Node) -> AssociationState | None:
        return None


@dataclass
class Stage:
    """What one part of it took: seconds, reads of AWS, those of one node by name, calls to the ledger, sweeps."""

    name: str
    seconds: float = 0.0
    reads: int = 0
    named: int = 0
    ledger: int = 0
    rounds: int = 1
    opened: int = 0


def run(size: int, accounts: int, shape: str) -> dict[str, Any]:
    """All stages on one fleet, in order."""
    storm = fleet(shape, size, accounts)
    world = World(storm)
    stages = [world.take("start: whom it meets", world.survey), world.take("start: cases", world.open),
              world.take("a sweep at once", world.sweeps)]  # fmt: skip
    world.a_day_later()
    stages.append(world.take("sweeps after a scan of all", world.sweeps))
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    twice = [node for node, times in world.nodes.asked.items() if times > 2]
    assert not twice, f"{len(twice)} nodes were asked more than once about one scan"
    plain = World(storm, lanes=1)
    return {"shape": shape, "size": size, "stages": [*stages, plain.take("plain", plain.plainly)],
            "megabytes": megabytes, "cpu": time.process_time()}  # fmt: skip


class World:
    """The ports over virtual time, and the parts of an emergency."""

    def __init__(self, storm: Fleet, lanes: int = LANES) -> None:
        self.clock, number, here = Time(), 0, dict[Location, list[Node]]()
        for location, moments in storm.arrivals.items():
            here[location] = [Node(location.account, location.region, f"i-{number + each:017x}")
                              for each in range(len(moments))]  # fmt: skip
            number += len(moments)
        self.places, self.calls, self.ledger = list(here), Counter[str](), MemoryLedger()
        function = Function(self.clock, lanes)
        self.nodes = Nodes(self.clock, function, here)
        part = PatchList("Linux", None, digest_of_list([XZ]), "v1", (XZ,))
        self.one = Emergency("emergency-xz", (), (part,), Scope(), START, START + timedelta(days=3), "night", "now")
        self.policies = policies(self.places, self.one)
        self.ports = Ports(
            ledger=Metered(self.ledger, self.calls, function), inventory=self.nodes, automations=MemoryAutomations(),
            tickets=MemoryTickets(), policies=Fixed(self.policies), notices=Silent(), tracing=Untraced(),
            clock=self.clock, crew=function, fleets=cast(Any, self.nodes), lists=MemoryLists(),
        )  # fmt: skip
        emergency.begin(replace(self.ports, ledger=self.ledger), self.one)
        self.known: dict[Node, seek.Seen] = {}

    def take(self, name: str, do: Callable[[], tuple[int, int]]) -> Stage:
        """Run it in virtual time. `do`: how many rounds, and how many cases were opened."""
        before, named, began = self._counted(), self.nodes.asked.total(), self.clock.seconds
        done: list[tuple[int, int]] = []
        self.clock.at(began, lambda: self.clock.spawn(lambda: done.append(do())))
        self.clock.run(began + 10_000_000, lambda: bool(done))
        rounds, opened = done[0]
        reads, ledger = (after - then for after, then in zip(self._counted(), before, strict=True))
        return Stage(name, self.clock.seconds - began, reads, self.nodes.asked.total() - named, ledger, rounds, opened)

    def _counted(self) -> tuple[int, int]:
        return self.nodes.calls.total(), self.calls.total() - self.calls["items"]

    def survey(self) -> tuple[int, int]:
        found = survey(self.ports, self.places, self.one, self.policies, self.policies, self.clock.now())
        self.known = {row.seen.node: row.seen for row in found.rows}
        return 1, 0

    def open(self) -> tuple[int, int]:
        works = [lambda at=at: seek.find(self.ports, at, self.one, None, self.known) for at in self.places]
        found = self.ports.crew.together(works)
        return 1, sum(each.opened for each in found if isinstance(each, seek.Found))

    def sweeps(self) -> tuple[int, int]:
        """Until one sweep has come to the end of all places."""
        rounds = opened = 0
        while True:
            rounds += 1
            opened += seek.hunt(self.ports, self.places, [self.one], [], (), self.clock.now() + seek.BUDGET)
            kept = self.ledger.kept(seek.NEXT)
            if kept is None or not kept.value["place"]:
                return rounds, opened

    def a_day_later(self) -> None:
        """Every node was scanned anew an hour ago."""
        self.clock.seconds += 86400
        self.nodes.scanned = self.clock.now() - timedelta(hours=1)

    def plainly(self) -> tuple[int, int]:
        """Every pass: who is there, how they are, when they were scanned, and then each node by name."""
        for place in [place for _ in range(PASSES) for place in self.places]:
            try:
                ids = self.nodes.managed(place)
                self.nodes.nodes(place, ids)
                self.nodes.patch_states(place, ids)
                for id in ids:
                    self.nodes.named(Node(place.account, place.region, id), asked_for([XZ]))
            except (Temporary, Denied):
                continue
        return PASSES, 0


def policies(places: Sequence[Location], one: Emergency) -> PolicySet:
    """The packed settings over these places, with nothing but the policy of the emergency."""
    packed = json.loads((ROOT / "chalicelib" / "policies.json").read_text(encoding="utf-8"))
    like = next(each for each in packed["policies"] if each["id"] == "dev-now")
    condition = {"path": "$.finding.rule", "steps": ["finding", "rule"], "operator": "equals", "operand": one.id,
                 "match": "any", "if_missing": False, "line": None}  # fmt: skip
    then = {**like["then"], "limits": {**like["then"]["limits"], "max_per_hour": None, "per_group": None},
            "stopped": "wait", "patches": [part.to_json() for part in one.lists]}  # fmt: skip
    policy = {**like, "id": one.id, "band": "emergency", "expires": format_moment(one.expires), "rollout": None,
              "then": then, "when": {"all": [condition], "any": [], "none": []}}  # fmt: skip
    scope = {"accounts": sorted({place.account for place in places}), "regions": list(REGIONS)}
    document = {**{name: value for name, value in packed.items() if name != "digest"}, "schedules": [],
                "policies": [policy], "settings": {**packed["settings"], "scope": scope, "surge": None}}  # fmt: skip
    return PolicySet.load({**document, "digest": digest_of(document)})


def table(found: Sequence[dict[str, Any]]) -> str:
    told = ["| fleet | nodes | stage | took | reads of AWS | of them by name | calls to the ledger | sweeps | cases "
            "| time, of plain | reads, of plain |",
            "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for each in found:
        *stages, plain = each["stages"]
        for stage in (plain, *stages):
            rounds = stage.rounds if "sweep" in stage.name else ""
            told.append(
                f"| {each['shape']} | {each['size']:,} | {stage.name} | {clock(stage.seconds)} | {stage.reads:,} "
                f"| {stage.named:,} | {stage.ledger:,} | {rounds} | {f'{stage.opened:,}' if stage.opened else ''} "
                f"| {stage.seconds / plain.seconds:.3f} | {stage.reads / plain.reads:.2f} |".replace("|  |", "| |")
            )
    memory = ", ".join(f"{each['shape']} {each['size']:,}: {each['megabytes']:.0f} MB" for each in found)
    return "\n".join(told) + f"\n\nMemory: {memory}.\n"


@click.command()
@click.option("--nodes", "sizes", multiple=True, type=int, default=(10_000, 100_000), show_default=True)
@click.option("--accounts", default=500, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=False)
def main(sizes: Sequence[int], accounts: int, out: Path) -> None:
    """Run it on even and skewed fleets of these sizes; write its part of benchmarks.md."""
    swept.PER_SECOND["patches"] = PER_SECOND
    jobs = [(size, accounts, shape) for size in sizes for shape in ("even", "skewed")]
    found = []
    with ProcessPoolExecutor(1, max_tasks_per_child=1, initializer=_rates) as pool:
        for each in pool.map(run, *zip(*jobs, strict=True)):
            found.append(each)
            click.echo(f"{each['shape']} {each['size']:,}: {each['cpu']:.0f} s of CPU", err=True)
    text = PAGE.format(lacks=LACKS, rate=PER_SECOND, denied=swept.DENIED, slow=swept.SLOW, passes=PASSES,
                       budget=clock(seek.BUDGET.total_seconds()), table=table(found))  # fmt: skip
    write_part(out / "benchmarks.md", EMERGENCY, text)
    click.echo(table(found))


def _rates() -> None:
    """Each process has the rates of its own."""
    swept.PER_SECOND["patches"] = PER_SECOND


if __name__ == "__main__":
    main()
