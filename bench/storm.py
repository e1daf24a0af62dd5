"""A storm: 100,000 nodes in 2,000 places turn non-compliant within ten minutes. How soon and in how many starts?

The verbs are the real ones: each event goes through intake, each minute through dispatch with its guards, its plans and
its pace, each ended execution through follow, over a ledger in memory, in virtual time. A call takes as long as
`SECONDS` says; those are assumptions, and the rates of Systems Manager are its documented ones. Beside it, in the same
run, stand the fewest starts that the linger allows, and one execution per event.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import resource
import sys
import time
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import click
from greenlet import getcurrent, greenlet

from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.memory_aws import MemoryTickets
from chalicelib.adapters.notices import Silent
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.chain import canonical
from chalicelib.core.compiled import digest_of
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import MOST_NODES, Batch, snapshot_id
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import take
from chalicelib.ports import Change, Execution, Invocation, OneByOne, Ports

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
REGIONS = ("eu-west-1", "us-east-1", "eu-central-1", "ap-southeast-2")
LINGER = 300
STORM = 600
INSTALL = 600
"""Seconds: how long a batch waits for company, in how many all events come, how long an execution takes."""
PER_LOCATION = 90
"""Executions at once in one account and Region that the policy set allows: a little below the quota."""
QUOTA = 100
"""Executions at once in one account and Region. https://docs.aws.amazon.com/general/latest/gr/ssm.html"""
RATE = 1.0
"""StartAutomationExecution per second in one account and Region; the same page."""
GATE = 3.0
"""Seconds that a scheduler which starts one execution per event leaves between two starts in a place."""
POLL = 10.0
"""Seconds between two looks of such a scheduler at an execution."""
SKEW = 0.78
"""Exponent of the Zipf distribution; the largest place has some 4,900 of the 100,000 nodes."""

SECONDS = {"write": 0.012, "read": 0.006, "page": 0.025, "describe": 0.08, "start": 0.15}
"""What one call takes, answer included: ledger writes and reads, a page of many items, SSM and EC2 reads, a start."""
COMPUTES = {"write": 0.0014, "read": 0.0014, "page": 0.0014, "describe": 0.004, "start": 0.0014}
"""What one call costs of one vCPU: 1.2 ms through boto3 and our own part of it; a describe has up to 50 nodes."""
PER_ITEM = 0.00006
"""What each item of a page costs to parse: measured, 20 ms for 400 heads."""
LANES = 24
"""As `adapters/hands.py` has it."""
ITEMS = 400
"""Heads or lines in one page of 1 MB."""

EVENT_SECONDS = 0.15
LAMBDA_GB = 0.5
"""What a Lambda that takes one event runs for, in seconds, and the memory of each, in GB."""
HEAD_FACTOR = 4
"""How much larger a head is as an object than as JSON."""

PAGE = """# Benchmarks: a storm and a sweep

<!-- written by bench/storm.py: do not edit -->

All nodes turn non-compliant within ten minutes, spread evenly over them. An execution takes {install} minutes. The
verbs are the real ones, in virtual time over a ledger in memory: intake for each event, a round of dispatch each minute
with its guards, plans and pace, follow for each ended execution. Each place takes one StartAutomationExecution per
second and 100 executions at once; the policy set allows {per_location} at once.

![share of the nodes started over time](storm.svg)

{tables}
*Last start* counts from the first event, in minutes and seconds; *lost* are nodes that no scan had proved compliant at
the end. *One start in {gate:.0f} s* is how a scheduler works that starts one execution per event and leaves
{gate:.0f} seconds between two starts in a place; the calls shown ask every {poll:.0f} s what became of it. The two last
lines are computed, not run: nothing but the rate and the quota of each place holds them up.

## What a dispatcher needs

{rounds}
A round holds every queued head of its share at once; *memory* is their JSON times four.

## What is assumed

- A call takes, with its answer: {seconds}. A *page* is a read of many items; *describe* is any read of SSM and EC2.
- A call also computes: {computes},
  and {per_item:.0f} µs for each item of a page (measured: a page of 400 heads takes 20 ms to parse). The dispatcher is
  one Lambda function with one vCPU (1,769 MB): its threads, {lanes} that share out batches and {lanes} that share out
  the members of those, wait at the same time and compute one after the other. No client retries.
- The first line of each table leaves all of that out: it says what the plans alone achieve. The second is what ships.
- Prices are list prices of {date} in us-east-1 (`bench/prices.json` names the pages). An execution of our runbook is
  billed for six steps and six seconds of scripts. A Lambda that takes an event runs for {event} s with {gb} GB. Ledger
  writes are weighed as DynamoDB bills transactions, indexes included. The two last lines pay steps and polls.
- No event is lost here and no sweep runs; what that does is shown by simulation.
"""

Moment = float
"""Seconds since the storm began."""


# --- the fleet --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """Who turns non-compliant when: the arrivals of each place, in order."""

    name: str
    arrivals: dict[Location, list[Moment]]

    @property
    def nodes(self) -> int:
        return sum(map(len, self.arrivals.values()))


def fleet(name: str, nodes: int, accounts: int) -> Fleet:
    """`even` or `skewed`; the moments are drawn evenly from the ten minutes."""
    places = [Location(f"{100000000000 + each}", region) for each in range(accounts) for region in REGIONS]
    weights = [1.0 if name == "even" else (rank + 1) ** -SKEW for rank in range(len(places))]
    draw = random.Random(f"storm/{name}")
    draw.shuffle(places)
    exact = [weight * nodes / sum(weights) for weight in weights]
    counts = [int(each) for each in exact]
    for index in sorted(range(len(places)), key=lambda each: counts[each] - exact[each])[: nodes - sum(counts)]:
        counts[index] += 1
    return Fleet(name, {place: sorted(draw.uniform(0, STORM) for _ in range(count))
                        for place, count in zip(places, counts, strict=True)})  # fmt: skip


def fewest(storm: Fleet) -> int:
    """The fewest starts if nobody may wait longer than the linger: each batch leaves as late and as full as it can."""
    starts = 0
    for moments in storm.arrivals.values():
        first = 0
        while first < len(moments):
            starts += 1
            last = first
            while last < len(moments) and last - first < MOST_NODES and moments[last] <= moments[first] + LINGER:
                last += 1
            first = last
    return starts


def soonest(storm: Fleet) -> Moment:
    """When the last start can be at the earliest, whoever makes it: the rate of each place, and its last event."""
    return max(max(moments[-1], moments[0] + (math.ceil(len(moments) / MOST_NODES) - 1) / RATE)
               for moments in storm.arrivals.values() if moments)  # fmt: skip


# --- what came of it --------------------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """One strategy on one fleet. `waits` and `moments` hold one figure for each node that was started."""

    name: str
    fleet: str
    nodes: int
    starts: int = 0
    waits: list[float] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    throttled: int = 0
    doubled: int = 0
    unproved: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    steps: float = 0
    script_seconds: float = 0
    units: Counter[str] = field(default_factory=Counter)
    longest_round: float = 0
    most_queued: int = 0
    head_bytes: int = 0
    capped: Moment | None = None
    cpu: float = 0
    megabytes: float = 0

    @property
    def drained(self) -> Moment:
        return max(self.moments, default=0.0)

    def wait(self, share: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


# --- one execution per event ------------------------------------------------------------------------------------------


def one_per_event(storm: Fleet, name: str, gate: float) -> Outcome:
    """Each event starts its own execution, none sooner than `gate` seconds after the one before in its place."""
    found = Outcome(name, storm.name, storm.nodes, starts=storm.nodes)
    for moments in storm.arrivals.values():
        running: deque[Moment] = deque()
        free = 0.0
        for arrived in moments:
            started = max(arrived, free)
            if len(running) == QUOTA:
                started = max(started, running.popleft())
            running.append(started + INSTALL)
            free = started + gate
            found.waits.append(started - arrived)
            found.moments.append(started)
    found.calls.update({"start": storm.nodes, "describe": int(storm.nodes * INSTALL / POLL)})
    found.steps, found.script_seconds = runbook(storm.nodes)
    return found


def runbook(executions: int) -> tuple[float, float]:
    """Steps and seconds of script that so many executions of our runbook are billed for, without a snapshot."""
    return executions * 6.0, executions * 3 * 2.0


# --- virtual time -----------------------------------------------------------------------------------------------------


class Time:
    """Virtual time. What is spawned may sleep; meanwhile the others go on."""

    def __init__(self) -> None:
        self._due: list[tuple[Moment, int, Callable[[], object]]] = []
        self._asked = 0
        self._hub = getcurrent()
        self.seconds: Moment = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def at(self, moment: Moment, call: Callable[[], object]) -> None:
        self._asked += 1
        heapq.heappush(self._due, (max(moment, self.seconds), self._asked, call))

    def spawn(self, call: Callable[[], object]) -> None:
        greenlet(call, self._hub).switch()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.at(self.seconds + seconds, getcurrent().switch)
            self._hub.switch()

    def wait(self) -> None:
        """Until somebody switches back."""
        self._hub.switch()

    def run(self, until: Moment, done: Callable[[], bool]) -> None:
        while self._due and self._due[0][0] <= until and not done():
            self.seconds, _, call = heapq.heappop(self._due)
            call()


# --- the world that the verbs reach -----------------------------------------------------------------------------------


@dataclass
class Function:
    """One Lambda function of one vCPU: its threads wait for answers at the same time, and compute one after the other.

    `lanes` is how many threads share out the works of one call, and how many more those that a work shares out.
    """

    clock: Time
    lanes: int
    free: Moment = 0.0
    computed: float = 0.0
    _busy: list[int] = field(default_factory=lambda: [0, 0])
    _depth: dict[int, int] = field(default_factory=dict)

    def spend(self, waits: float, computes: float) -> None:
        """The call computes when the vCPU is free, and then waits for its answer."""
        self.free = max(self.free, self.clock.seconds) + computes
        self.computed += computes
        self.clock.sleep(self.free + waits - self.clock.seconds)

    def together(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """The port `Crew` as `adapters/hands.py` has it: the caller works too, and helpers join while some are free."""
        made: list[Any] = [None] * len(works)
        todo = iter(range(len(works)))
        depth = self._depth.get(id(getcurrent()), 0)
        helpers, caller = 0, getcurrent()
        waiting = False

        def work() -> None:
            me = id(getcurrent())
            before, self._depth[me] = self._depth.get(me, 0), depth + 1
            for number in todo:
                try:
                    made[number] = works[number]()
                except (Temporary, Denied) as error:
                    made[number] = error
            self._depth[me] = before

        def help() -> None:
            nonlocal helpers
            work()
            helpers -= 1
            self._busy[depth] -= 1
            if waiting and not helpers:
                self.clock.at(self.clock.seconds, caller.switch)

        wanted = min(self.lanes - self._busy[depth], len(works) - 1) if depth < 2 else 0
        for _ in range(max(wanted, 0)):
            helpers += 1
            self._busy[depth] += 1
            self.clock.at(self.clock.seconds, lambda: self.clock.spawn(help))
        work()
        if helpers:
            waiting = True
            self.clock.wait()
        return made

    def alone(self, work: Callable[[], Any]) -> Any:
        return work()


class Metered:
    """A port whose calls are counted, and take their time if there is a function that makes them."""

    def __init__(self, port: Any, calls: Counter[str], function: Function | None) -> None:
        self._port, self._calls, self._function = port, calls, function

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        count = _CALLS.get(name)
        if count is None:
            return method

        def metered(*given: Any, **named: Any) -> Any:
            if name in _EFFECTS:
                self._spend(count(given, None))
                return method(*given, **named)
            found: Any = method(*given, **named)
            found = list(found) if name == "work" else found
            made = count(given, found)
            items = len(found) if "page" in made else 0
            self._calls["items"] += items
            self._spend(made, items)
            return iter(found) if name == "work" else found

        setattr(self, name, metered)
        return metered

    def _spend(self, made: dict[str, int], items: int = 0) -> None:
        for kind, number in made.items():
            self._calls[kind] += number
        if self._function:
            waits = sum(SECONDS[kind] * number for kind, number in made.items())
            computes = sum(COMPUTES[kind] * number for kind, number in made.items()) + PER_ITEM * items
            self._function.spend(waits, computes)


def _batches(given: Any, found: Any) -> dict[str, int]:
    return {"page": 4 + math.ceil(len(found) / 100)}


_EFFECTS = frozenset({"append", "save_batch", "start", "keep"})
"""Methods that take effect at the end of the time they take; the others answer with what was true at its beginning."""

_CALLS: dict[str, Callable[[Any, Any], dict[str, int]]] = {
    "append": lambda given, found: {"write": 1},
    "save_batch": lambda given, found: {"write": 1},
    "head": lambda given, found: {"read": 1},
    "kept": lambda given, found: {"read": 1},
    "keep": lambda given, found: {"write": 1},
    "heads": lambda given, found: {"page": math.ceil(len(given[0]) / 100)},
    "trail": lambda given, found: {"read": 1},
    "work": lambda given, found: {"page": 4 * len(given[0]) + len(found) // ITEMS},
    "batch": lambda given, found: {"read": 1},
    "batch_of": lambda given, found: {"read": 2},
    "open_batches": _batches,
    "batches_since": _batches,
    "pause": lambda given, found: {"read": 1},
    "nodes": lambda given, found: {"describe": 2},
    "patch_states": lambda given, found: {"describe": math.ceil(len(given[1]) / 50)},
    "start": lambda given, found: {"start": 1},
    "execution": lambda given, found: {"describe": 1},
    "invocations": lambda given, found: {"describe": 1},
}


class Weighed(MemoryLedger):
    """The ledger, which also weighs every 64th change as DynamoDB would bill it.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html
    """

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome
        self._changes = 0

    def append(self, change: Change) -> None:
        super().append(change)
        self._changes += 1
        if self._changes % 64 == 0:
            line, head = (len(canonical(each.to_json())) for each in (change.line, change.head))
            self._outcome.head_bytes = max(self._outcome.head_bytes, head)
            leases = len(change.take) + len(change.give)
            # a transaction writes twice; then the lines' index, and out of and into the heads' index
            units = 3 * math.ceil(line / 1024) + 4 * math.ceil(head / 1024) + 2 * leases
            self._outcome.units["write"] += 64 * units


@dataclass
class Nodes:
    """The inventory: every node runs and answers; `proved` holds the batch that patched it."""

    proved: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        return {id: NodeState(id, "ec2", "running", "Online", "Linux", tags={}) for id in ids}

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        return {id: self._scan(id) for id in ids}

    def _scan(self, id: str) -> PatchState:
        batch, at = self.proved.get(id, (None, START - timedelta(hours=1)))
        snapshot, missing = (snapshot_id(batch), 0) if batch else (None, 1)
        return PatchState(id, "pb-0123456789abcdef0", "Scan", at, snapshot=snapshot, missing=missing, patches=None)

    def patches(self, node: Node, state: PatchState) -> PatchState:
        return replace(state, patches=())

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        return []

    def associations(self, node: Node) -> AssociationState | None:
        return None


class Automations:
    """Systems Manager with its rate and its quota; `ended` is called when an execution is over."""

    def __init__(self, clock: Time, outcome: Outcome, ended: Callable[[Location, str], object]) -> None:
        self._clock, self._outcome, self._ended = clock, outcome, ended
        self._levels: dict[Location, tuple[float, Moment]] = {}
        self._running: Counter[Location] = Counter()
        self._over: dict[str, tuple[Batch, datetime | None]] = {}
        self._busy: set[str] = set()
        self.arrived: dict[str, Moment] = {}
        self.nodes = Nodes()

    def start(self, batch: Batch) -> str:
        if not self._allows(batch.location) or self._running[batch.location] >= QUOTA:
            self._outcome.throttled += 1
            raise Temporary("Rate exceeded")
        if batch.token in self._over:
            return batch.token
        nodes = [member.node for member in batch.members]
        self._outcome.doubled += len(self._busy.intersection(nodes))
        self._busy.update(nodes)
        self._running[batch.location] += 1
        self._over[batch.token] = batch, None
        self._outcome.starts += 1
        for node in nodes:
            self._outcome.waits.append(self._clock.seconds - self.arrived[node])
            self._outcome.moments.append(self._clock.seconds)
        self._clock.at(self._clock.seconds + INSTALL, lambda: self._end(batch))
        return batch.token

    def find(self, batch: Batch) -> str | None:
        return batch.token if batch.token in self._over else None

    def execution(self, location: Location, execution: str) -> Execution:
        batch, at = self._over[execution]
        steps = {"InstallPatches": execution, "ScanNodes": execution} if at else {}
        return Execution(execution, "Success" if at else "InProgress", at is not None, batch.id, at, steps)

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        batch, _ = self._over[command]
        return {member.node: Invocation(member.node, "Success") for member in batch.members}

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        return {}

    def _end(self, batch: Batch) -> None:
        self._over[batch.token] = batch, self._clock.now()
        self._running[batch.location] -= 1
        for member in batch.members:
            self._busy.discard(member.node)
            self.nodes.proved[member.node] = batch.id, self._clock.now()
        self._ended(batch.location, batch.token)

    def _allows(self, location: Location) -> bool:
        """A token bucket that holds one second's worth."""
        level, since = self._levels.get(location, (1.0, 0.0))
        level = min(1.0, level + (self._clock.seconds - since) * RATE)
        allowed = level >= 1.0 - 1e-9
        self._levels[location] = level - allowed, self._clock.seconds
        return allowed


# --- the service in the storm -----------------------------------------------------------------------------------------


class Service:
    """The real verbs. Each dispatcher has its share of the places, as if the ledger's index were parted by place."""

    def __init__(
        self, storm: Fleet, name: str, *, dispatchers: int, slow: bool, cap: Moment, lanes: int = LANES
    ) -> None:
        self._lanes = lanes
        self.outcome = Outcome(name, storm.name, storm.nodes)
        self._storm, self._slow, self._cap = storm, slow, cap
        self._clock = Time()
        self._automations = Automations(self._clock, self.outcome, self._ended)
        self._policies = Fixed(policies(list(storm.arrivals)))
        self._ledgers = [Weighed(self.outcome) for _ in range(dispatchers)]
        self._events = [self._ports(ledger, None) for ledger in self._ledgers]

    def run(self) -> Outcome:
        began = time.process_time()
        for each, (location, moment) in enumerate(self._arrivals()):
            node = Node(location.account, location.region, f"i-{each:017x}")
            self._automations.arrived[node.id] = moment
            self._clock.at(moment, lambda node=node: self._arrived(node))  # type: ignore[misc]
        for number, ledger in enumerate(self._ledgers):
            ports = self._ports(ledger, Function(self._clock, self._lanes) if self._slow else None)
            self._tick(ports, 60.0 * (number + 1) / len(self._ledgers))
        self._clock.run(self._cap, self._calm)
        return self._finished(began)

    def _arrivals(self) -> Iterator[tuple[Location, Moment]]:
        for location, moments in self._storm.arrivals.items():
            yield from ((location, moment) for moment in moments)

    def _ports(self, ledger: Weighed, function: Function | None) -> Ports:
        def metered(port: Any) -> Any:
            return Metered(port, self.outcome.calls, function)

        return Ports(
            ledger=metered(ledger),
            inventory=metered(self._automations.nodes),
            automations=metered(self._automations),
            tickets=MemoryTickets(),
            policies=self._policies,
            notices=Silent(),
            tracing=Untraced(),
            clock=self._clock,
            crew=function or OneByOne(),
        )

    def _share(self, location: Location) -> int:
        return zlib.crc32(str(location).encode()) % len(self._ledgers)

    def _arrived(self, node: Node) -> None:
        finding = Finding(node, Control.PATCH, False, self._clock.now(), Source.SSM)
        take(self._events[self._share(node.location)], finding)
        self.outcome.units["invocations"] += 1

    def _ended(self, location: Location, execution: str) -> None:
        self.outcome.units["invocations"] += 1
        follow(self._events[self._share(location)], status_event(location, execution))

    def _tick(self, ports: Ports, moment: Moment) -> None:
        """A round each minute, none before the last one is over."""

        def round_() -> None:
            begun = self._clock.seconds
            ledger = cast(Any, ports.ledger)._port
            self.outcome.most_queued = max(self.outcome.most_queued, len(ledger._turns[State.QUEUED]))
            dispatch(ports)
            took = self._clock.seconds - begun
            self.outcome.longest_round = max(self.outcome.longest_round, took)
            self.outcome.units["dispatch_ms"] += round(1000 * took)
            self._tick(ports, begun + 60.0 * max(1, math.ceil(took / 60.0)))

        self._clock.at(moment, lambda: self._clock.spawn(round_))

    def _calm(self) -> bool:
        """Everybody has been started and every execution is over; looked at only now and then."""
        done = len(self.outcome.moments) >= self._storm.nodes and self._clock.seconds > STORM
        return done and not any(self._automations._running.values())

    def _finished(self, began: float) -> Outcome:
        found = self.outcome
        heads = [head for ledger in self._ledgers for head in ledger.all_heads()]
        proved = sum(head.state is State.RESOLVED for head in heads)
        found.unproved = self._storm.nodes - proved
        found.capped = self._cap if len(found.moments) < self._storm.nodes else None
        found.units["lines"] = sum(head.number for head in heads)
        found.steps, found.script_seconds = runbook(found.starts)
        found.cpu = time.process_time() - began
        found.megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return found


def policies(places: list[Location], **settings: Any) -> PolicySet:
    """The packed set with but one of its policies, which patches whatever is found, at once."""
    packed = json.loads((ROOT / "chalicelib" / "policies.json").read_text(encoding="utf-8"))
    now = next(each for each in packed["policies"] if each["id"] == "dev-now")
    scope = {"accounts": sorted({place.account for place in places}), "regions": list(REGIONS)}
    then = {**now["then"], "limits": {**now["then"]["limits"], "max_per_hour": None, "per_group": None}}
    changed = {
        "linger": LINGER, "executions_per_location": PER_LOCATION, "scope": scope, "surge": None, **settings
    }  # fmt: skip
    document = {
        **{name: value for name, value in packed.items() if name != "digest"},
        "schedules": [],
        "policies": [{**now, "rollout": None, "then": then, "when": {"all": [], "any": [], "none": []}}],
        "settings": {**packed["settings"], **changed},
    }
    return PolicySet.load({**document, "digest": digest_of(document)})


def status_event(location: Location, execution: str) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": "EC2 Automation Execution Status-change Notification",
        "source": "aws.ssm", "account": location.account, "region": location.region, "time": "2026-11-23T12:30:00Z",
        "resources": [], "detail": {"ExecutionId": execution, "Definition": "Patchwarden-PatchNodes",
                                    "DefinitionVersion": 1.0, "Status": "Success"},
    }  # fmt: skip


# --- what is told of it -----------------------------------------------------------------------------------------------


def cost(found: Outcome, prices: dict[str, Any]) -> float:
    """USD per 1,000 nodes, from list prices; the ledger's writes were weighed, its reads are counted by item."""

    def price(of: str) -> float:
        return float(prices[of]["price"])

    served = found.units["invocations"] or found.nodes + found.calls["describe"]
    seconds = served * EVENT_SECONDS + found.units["dispatch_ms"] / 1000
    reads = found.calls["read"] + found.calls["items"] * found.head_bytes / 4096
    total = (
        found.steps * price("automation_step")
        + found.script_seconds * price("automation_script_second")
        + found.units["write"] * price("dynamodb_write_unit")
        + reads * price("dynamodb_read_unit")
        + served * price("lambda_request")
        + seconds * LAMBDA_GB * price("lambda_gb_second_arm")
    )
    return 1000 * total / found.nodes


def calls_per_node(found: Outcome) -> float:
    return sum(number for kind, number in found.calls.items() if kind != "items") / found.nodes


def table(outcomes: Sequence[Outcome], storm: Fleet, prices: dict[str, Any]) -> str:
    """Markdown; waits in seconds from the event to the start of the node's execution."""
    least, bound = fewest(storm), soonest(storm)
    largest = max(map(len, storm.arrivals.values()))
    told = [
        f"### {storm.name.capitalize()}: {storm.nodes:,} nodes in {len(storm.arrivals):,} places, the largest has "
        f"{largest:,}",
        "",
        f"Fewest starts that a linger of {LINGER} s allows: **{least:,}**. The last start cannot be before "
        f"**{clock(bound)}**; the budget is the linger and 1.2 times that: **{clock(LINGER + 1.2 * bound)}**.",
        "",
        "| strategy | starts | of fewest | wait p50 | p99 | max | last start | started | lost | throttled | doubled "
        "| calls per node | USD per 1,000 |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for found in outcomes:
        waits = " | ".join(f"{found.wait(share):,.0f}" for share in (0.5, 0.99, 1.0))
        last = f"not by {clock(found.capped)}" if found.capped else clock(found.drained)
        lost, paid = ("", "") if found.capped else (f"{found.unproved}", f"{cost(found, prices):.2f}")
        told.append(
            f"| {found.name} | {found.starts:,} | {found.starts / least:.2f} | {waits} | {last} "
            f"| {len(found.moments) / found.nodes:.0%} | {lost} | {found.throttled:,} | {found.doubled:,} "
            f"| {calls_per_node(found):.1f} | {paid} |"
        )
    return "\n".join(told) + "\n"


def rounds(outcomes: Sequence[Outcome]) -> str:
    """What the dispatchers themselves need."""
    told = ["| fleet | strategy | longest round | most queued in a round | memory of them | CPU of the whole run |",
            "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    for found in outcomes:
        if found.units["lines"]:
            held = found.most_queued * found.head_bytes * HEAD_FACTOR / 1e6
            told.append(f"| {found.fleet} | {found.name} | {found.longest_round:.0f} s | {found.most_queued:,} "
                        f"| {held:.0f} MB | {found.cpu:.0f} s |")  # fmt: skip
    return "\n".join(told) + "\n"


def clock(seconds: Moment) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8d6a9f", "#c77d0a")
WIDTH, HEIGHT, LEFT, TOP, HOURS = 420, 240, 52, 56, 1.0


def chart(outcomes: dict[str, list[Outcome]], storms: dict[str, Fleet]) -> str:
    """Share of the nodes started, over the first hour: one panel for each fleet."""
    drawn = []
    for panel, (name, found) in enumerate(outcomes.items()):
        x = LEFT + panel * (WIDTH + 72)
        drawn.append(f'<text x="{x}" y="{TOP - 12}" font-weight="bold">{name} fleet</text>')
        drawn += _axes(x)
        arrived = sorted(moment for moments in storms[name].arrivals.values() for moment in moments)
        drawn.append(_line(x, arrived, storms[name].nodes, "#999", dashed=True))
        drawn += [_line(x, sorted(each.moments), each.nodes, colour)
                  for each, colour in zip(found, COLOURS, strict=False)]  # fmt: skip
    names = ["events", *(each.name for each in next(iter(outcomes.values())))]
    for row, (name, colour) in enumerate(zip(names, ("#999", *COLOURS), strict=False)):
        y = TOP + HEIGHT + 52 + 18 * row
        drawn.append(f'<path d="M{LEFT} {y - 4}h24" stroke="{colour}" stroke-width="2"/>'
                     f'<text x="{LEFT + 32}" y="{y}">{name}</text>')  # fmt: skip
    size = f'width="{LEFT + 2 * WIDTH + 100}" height="{TOP + HEIGHT + 60 + 18 * len(names)}"'
    style = 'font-family="sans-serif" font-size="12" fill="#333"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n<rect width="100%" height="100%" fill="#fff"/>\n'
            f'<text x="{LEFT}" y="20" font-size="14">Nodes whose execution has started, after a storm of ten minutes'
            "</text>\n" + "\n".join(drawn) + "\n</svg>\n")  # fmt: skip


def _axes(x: float) -> Iterator[str]:
    yield f'<rect x="{x}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
    for share in (0, 50, 100):
        y = TOP + HEIGHT * (1 - share / 100)
        yield f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{share} %</text>'
    for minute in range(0, round(60 * HOURS) + 1, 10):
        across = x + WIDTH * minute / (60 * HOURS)
        yield f'<text x="{across}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{minute} min</text>'


def _line(x: float, moments: Sequence[Moment], nodes: int, colour: str, *, dashed: bool = False) -> str:
    steps = 120
    points, at = [], 0
    for step in range(steps + 1):
        limit = step * 3600 * HOURS / steps
        while at < len(moments) and moments[at] <= limit:
            at += 1
        points.append(f"{x + WIDTH * step / steps:.1f},{TOP + HEIGHT * (1 - at / nodes):.1f}")
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'


# --- the run ----------------------------------------------------------------------------------------------------------

PLANS = "Patchwarden, calls that take no time"
DEPLOYED = "Patchwarden as it ships"


@dataclass(frozen=True)
class Job:
    """One strategy on one fleet, to be run in a process of its own."""

    fleet: str
    nodes: int
    accounts: int
    name: str
    dispatchers: int = 0
    slow: bool = True
    cap: Moment = 7200.0
    gate: float = 0.0

    def run(self) -> Outcome:
        storm = fleet(self.fleet, self.nodes, self.accounts)
        if not self.dispatchers:
            return one_per_event(storm, self.name, self.gate)
        return Service(storm, self.name, dispatchers=self.dispatchers, slow=self.slow, cap=self.cap).run()


def jobs(name: str, nodes: int, accounts: int) -> list[Job]:
    return [
        Job(name, nodes, accounts, PLANS, dispatchers=1, slow=False),
        Job(name, nodes, accounts, DEPLOYED, dispatchers=1),
        Job(name, nodes, accounts, "one execution per event", gate=1 / RATE),
        Job(name, nodes, accounts, f"one execution per event, one start in {GATE:.0f} s", gate=GATE),
    ]


SWEEP, EMERGENCY, LOOKUP, DECISION, COLDSTART = WRITTEN = tuple(
    f"\n<!-- written by bench/{name}.py: do not edit -->\n"
    for name in ("sweep", "emergency", "lookup", "decision", "coldstart")
)
"""Where the parts of the page begin that others write behind ours, in this order."""


def write_part(page: Path, mark: str, text: str) -> None:
    """Put one part into the page, in its place among the others."""
    whole = page.read_text(encoding="utf-8") if page.exists() else ""
    order = WRITTEN.index(mark)
    ends = [whole.index(each) for each in WRITTEN[order:] if each in whole]
    follows = [whole.index(each) for each in WRITTEN[order + 1 :] if each in whole]
    before = whole[: min(ends)] if ends else whole
    page.write_text(before + mark + "\n" + text + (whole[min(follows) :] if follows else ""), encoding="utf-8")


def after(page: Path) -> str:
    """What others wrote behind our part of the page."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    begins = [text.index(each) for each in WRITTEN if each in text]
    return text[min(begins) :] if begins else ""


@click.command()
@click.option("--nodes", default=100_000, show_default=True)
@click.option("--accounts", default=500, show_default=True, help=f"Each has {len(REGIONS)} Regions.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=False)
def main(nodes: int, accounts: int, out: Path) -> None:
    """Run every strategy on both fleets; write benchmarks.md and storm.svg. What others wrote there stays."""
    prices = json.loads((ROOT / "bench" / "prices.json").read_text(encoding="utf-8"))
    storms = {name: fleet(name, nodes, accounts) for name in ("even", "skewed")}
    wanted = [job for name in storms for job in jobs(name, nodes, accounts)]
    told: dict[str, list[Outcome]] = defaultdict(list)
    with ProcessPoolExecutor(max_tasks_per_child=1) as pool:
        for found in pool.map(Job.run, wanted):
            told[found.fleet].append(found)
            click.echo(f"{found.fleet:<8}{found.name:<48}{found.starts:>8,} starts, last at {clock(found.drained)}",
                       file=sys.stderr)  # fmt: skip
    tables = [table(told[name], storm, prices) for name, storm in storms.items()]
    every = [found for each in told.values() for found in each]
    page = PAGE.format(tables="\n".join(tables), rounds=rounds(every), date=prices["as_of"], gate=GATE, poll=POLL,
                       install=INSTALL // 60, per_location=PER_LOCATION, event=EVENT_SECONDS, gb=LAMBDA_GB,
                       seconds=", ".join(f"{kind} {1000 * took:.0f} ms" for kind, took in SECONDS.items()),
                       computes=", ".join(f"{kind} {1000 * took:.1f} ms" for kind, took in COMPUTES.items()),
                       per_item=1e6 * PER_ITEM, lanes=LANES)  # fmt: skip
    (out / "storm.svg").write_text(chart(told, storms), encoding="utf-8")
    (out / "benchmarks.md").write_text(page + after(out / "benchmarks.md"), encoding="utf-8")
    click.echo("\n".join(tables))


if __name__ == "__main__":
    main()
