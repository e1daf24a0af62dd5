"""A sweep: the compliance of 100,000 nodes in 2,000 places is read. How long does one pass take, at the rates of SSM?

The real verb, in virtual time over a ledger in memory, in one Lambda function of one vCPU (`storm.Function`). Each
place answers as fast as its rates allow; one account in fifty is slow and one in a hundred denies everything.
"""

from __future__ import annotations

import math
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from bench.storm import (
    COMPUTES,
    LANES,
    PER_ITEM,
    ROOT,
    SECONDS,
    START,
    SWEEP,
    Fleet,
    Function,
    Metered,
    Moment,
    Time,
    clock,
    fleet,
    policies,
    write_part,
)
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.memory_aws import MemoryAutomations, MemoryTickets
from chalicelib.adapters.notices import Silent
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.errors import Denied
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.fleet import LAST, PASS
from chalicelib.ports import Page, Ports
from chalicelib.sweep import sweep

PERIOD = 900.0
"""Seconds between two sweeps."""
PER_SECOND = {"compliance": 5.0, "nodes": 10.0, "patch_states": 10.0}
"""Calls per second that a place answers before it makes the caller wait. AWS publishes no rate for these reads; its
documented ones for reads of automations are 3 a second, so these are cautious guesses."""
SLOW, DENIED = 50, 100
"""One account in so many answers thirty times as slowly; one in so many denies everything."""
MISSED = 0.01
"""Share of the nodes about which an event was lost."""
SILENT = 0.02
"""Share of the nodes whose agent does not check in."""

PAGE = """## A sweep of the same fleets

One pass of the real verb over 100,000 nodes, in the same virtual time and over the same calls. One account in {slow}
answers thirty times as slowly, one in {denied} denies everything, events about {missed:.0%} of the nodes were lost and
{silent:.0%} do not check in. A place answers {rates} calls a second; AWS publishes no
rates for these reads, so these are guesses on the careful side. The period is {period}.

{table}
*Late* places were read in part and go on in the next pass; *longest* is the busiest place's time. A kill in the middle
costs the reading of {places} places once more.
"""


class Gate:
    """How fast one place answers one kind of call."""

    def __init__(self) -> None:
        self.free: dict[tuple[str, str], Moment] = {}

    def wait(self, now: Moment, location: Location, kind: str) -> float:
        name = str(location), kind
        mine = max(now, self.free.get(name, 0.0))
        self.free[name] = mine + 1 / PER_SECOND[kind]
        return mine - now


@dataclass
class Nodes:
    """The inventory of the fleet: `function` waits for each answer."""

    clock: Time
    function: Function
    here: dict[Location, list[Node]]
    gate: Gate = field(default_factory=Gate)
    calls: Counter[str] = field(default_factory=Counter)

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """Two items for each node: patches and associations."""
        self._answer(location, "compliance", 50)
        start, nodes = int(after or 0), self.here[location]
        at = START - timedelta(hours=1)
        found = [
            Finding(node, control, control is not Control.PATCH or not _missed(node), at, Source.SWEEP)
            for node in nodes[start : start + 25] for control in (Control.PATCH, Control.ASSOCIATION)
        ]  # fmt: skip
        return Page(tuple(found), str(start + 25) if start + 25 < len(nodes) else None)

    def roll(self, location: Location) -> Iterator[NodeState]:
        self._answer(location, "nodes", min(1000, len(self.here[location])))
        for number, node in enumerate(self.here[location]):
            if number % 50 == 0:
                self._answer(location, "nodes", 50)
            silent = _part(node) < SILENT
            seen = START - timedelta(hours=3) if silent else self.clock.now()
            yield NodeState(node.id, "ec2", "running", "ConnectionLost" if silent else "Online", last_seen=seen,
                            launched=START - timedelta(days=90))  # fmt: skip

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        for _ in range(2 * math.ceil(len(ids) / 50)):
            self._answer(location, "nodes", 50)
        return {id: NodeState(id, "ec2", "running", "Online", "Linux", tags={}) for id in ids}

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        for _ in range(math.ceil(len(ids) / 50)):
            self._answer(location, "patch_states", 50)
        at = START - timedelta(hours=1)
        return {id: PatchState(id, "pb-0123456789abcdef0", "Scan", at, missing=1) for id in ids}

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        # the port has it; a call would mean that the sweep under measurement does what its figures do not count
        raise AssertionError("a sweep without an emergency asks for no patch by name")

    def associations(self, node: Node) -> AssociationState | None:
        return None

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        # as above: only dispatch counts the nodes of a group
        raise AssertionError("a sweep counts no group")

    def patches(self, node: Node, state: PatchState) -> PatchState:
        self._answer(node.location, "patch_states", 1)
        return state

    def _answer(self, location: Location, kind: str, items: int) -> None:
        self.calls[kind] += 1
        number = int(location.account) - 100000000000
        waits = SECONDS["describe"] * (30 if number % SLOW == 7 else 1) + self.gate.wait(
            self.clock.seconds, location, kind
        )
        self.function.spend(waits, COMPUTES["describe"] + PER_ITEM * items)
        if number % DENIED == 3:
            raise Denied(f"{location}: AccessDenied")


def _part(node: Node) -> float:
    """Where the node stands between 0 and 1, always the same."""
    return (int(node.id[2:], 16) * 2654435761 % 2**32) / 2**32


def _missed(node: Node) -> bool:
    return _part(node) > 1 - MISSED


def run(storm: Fleet) -> dict[str, Any]:
    """One sweep of the whole fleet; what it did, and what it took."""
    began, time_, here, number = time.process_time(), Time(), {}, 0
    for location, moments in storm.arrivals.items():
        here[location] = [
            Node(location.account, location.region, f"i-{number + each:017x}") for each in range(len(moments))
        ]
        number += len(moments)
    function, calls, ledger = Function(time_, LANES), Counter[str](), MemoryLedger()
    nodes = Nodes(time_, function, here)
    settings = {"stale_after": 7 * 86400}
    ports = Ports(
        ledger=Metered(ledger, calls, function),
        inventory=nodes, automations=MemoryAutomations(), tickets=MemoryTickets(),
        policies=Fixed(policies(list(storm.arrivals), **settings)), notices=Silent(), tracing=Untraced(), clock=time_,
        crew=function,
    )  # fmt: skip
    done: list[Any] = []
    time_.at(0.0, lambda: time_.spawn(lambda: done.append((sweep(ports), time_.seconds))))
    time_.run(3600.0, lambda: bool(done))
    swept, took = done[0]
    kept = ledger.kept(LAST) or ledger.kept(PASS)
    return {"swept": swept, "took": took, "calls": calls + nodes.calls, "pass": kept.value if kept else {},
            "computed": function.computed, "cpu": time.process_time() - began,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}  # fmt: skip


def table(found: dict[str, dict[str, Any]]) -> str:
    told = ["| fleet | the pass took | places read | late | denied | findings | missed | do not report | outside calls "
            "| vCPU |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, each in found.items():
        swept, calls = each["swept"], sum(number for kind, number in each["calls"].items() if kind != "items")
        read = each["pass"]["findings"]
        told.append(
            f"| {name} | {clock(each['took'])} | {swept.places:,} | {len(swept.late)} | {len(swept.degraded)} "
            f"| {read:,} | {swept.missed:,} | {swept.stale:,} | {calls:,} | {each['computed']:.0f} s |"
        )
    return "\n".join(told) + "\n"


@click.command()
@click.option("--nodes", default=100_000, show_default=True)
@click.option("--accounts", default=500, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=False)
def main(nodes: int, accounts: int, out: Path) -> None:
    """Sweep both fleets once; write its part of benchmarks.md."""
    from chalicelib.fleet import PLACES

    found = {name: run(fleet(name, nodes, accounts)) for name in ("even", "skewed")}
    rates = ", ".join(f"{each:.0f} {kind}" for kind, each in PER_SECOND.items())
    text = PAGE.format(slow=SLOW, denied=DENIED, missed=MISSED, silent=SILENT, rates=rates, period=clock(PERIOD),
                       table=table(found), places=PLACES)  # fmt: skip
    write_part(out / "benchmarks.md", SWEEP, text)
    click.echo(table(found))


if __name__ == "__main__":
    main()
