"""A morning of a small organisation on a bad line: the real verbs, the real adapters and boto3, one seed.

For 90 minutes calls fail on their way out or on their way back, as the seed says; then the line is good again, and the
service has until the end of the day to come to rest.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from chalicelib import wiring
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.policy_store import Fixed
from chalicelib.core.audit import fault
from chalicelib.core.errors import Temporary
from chalicelib.core.events import EVENT_PATTERNS
from chalicelib.core.nodes import Location
from chalicelib.core.plans import Batch, BatchState
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation, State
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import receive
from chalicelib.ports import Automations, Ports
from chalicelib.sweep import sweep
from patchwarden.simulator.automations import Execution
from patchwarden.simulator.bus import Weather
from patchwarden.simulator.events import Event
from patchwarden.simulator.fan_out import FanOut
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS, START
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.refusals import Refusal
from patchwarden.simulator.simulation import Simulation, simulate
from patchwarden.simulator.story import matches
from patchwarden.simulator.wire import Phase
from tests.sets import policy, policy_set, tag

WEATHER = Weather(doubled=0.1, late=0.05, disordered=0.1, dropped=0.1, noise=0.1)
BAD_UNTIL = START + timedelta(minutes=90)
LAST = START + timedelta(hours=14)
MINUTE, SWEEP = timedelta(minutes=1), timedelta(minutes=15)
RETRIES = (timedelta(minutes=1), timedelta(minutes=2))
"""How Lambda comes again after a failed asynchronous invocation."""

SHARES = (0.05, 0.15, 0.3, 0.5)
"""How many of the calls fail; the SDK tries each one three times."""

MEMORIES = (timedelta(seconds=60), timedelta(minutes=10), None)
"""How long Systems Manager may remember a ClientToken: AWS does not say."""

_VERBS: dict[str, Callable[[Ports, object], Any]] = {
    "on_config_rule": receive,
    "on_ssm_compliance": receive,
    "on_node_state": receive,
    "on_execution": follow,
}
_URL = "https://the.line.example.com"


def _server_error() -> Exception:
    return Refusal("InternalServerError", "An internal error occurred", 500)


BEFORE: tuple[Callable[[], Exception], ...] = (
    lambda: Refusal("ThrottlingException", "Rate exceeded"),
    lambda: ConnectionClosedError(endpoint_url=_URL),
    lambda: EndpointConnectionError(endpoint_url=_URL, error="connection reset by peer"),
    _server_error,
)
AFTER: tuple[Callable[[], Exception], ...] = (
    lambda: ReadTimeoutError(endpoint_url=_URL),
    lambda: ConnectionClosedError(endpoint_url=_URL),
    _server_error,
)


@cache
def policies() -> PolicySet:
    """Everything is patched at once, one of a cluster at a time; what runs the ERP is a person's turn."""
    one_at_a_time = {"tag": "Cluster", "max": 1}
    return policy_set(
        policy("all-now", attempts=2, cooldown=600, stopped="start", per_group=one_at_a_time),
        policy("erp-by-hand", tag("App", "legacy-erp"), action="ticket"),
        scope={"accounts": list(ACCOUNTS[:2]), "regions": list(REGIONS[:1])},
        linger=300,
    )


@dataclass
class Morning:
    """One run; `troubles` are promises that were broken on the way, `tally` what happened to the calls.

    `sweeps` and `looks` False switch off the sweep and the look-up of an execution by its tag, to see what that does.
    `memory` is how long Systems Manager remembers a ClientToken; the seed says, unless it is given.
    """

    seed: int
    nodes: int = 20
    troubles: list[str] = field(default_factory=list)
    tally: Counter[str] = field(default_factory=Counter)
    period: timedelta = SWEEP
    sweeps: bool = True
    looks: bool = True
    memory: timedelta | None = None

    def __post_init__(self) -> None:
        self._luck = random.Random(f"wire/{self.seed}")
        self._share = self._luck.choice(SHARES)
        drawn = self._luck.choice(MEMORIES)
        limits = Limits(token_memory=drawn if self.memory is None else self.memory)
        self.sim: Simulation = simulate(
            self._arrived,
            seed=self.seed,
            nodes=self.nodes,
            accounts=ACCOUNTS[:2],
            regions=REGIONS[:1],
            weather=WEATHER,
            limits=limits,
            fault=self._fault,
        )
        hub = wiring.Settings(sqlite=":memory:", hub_account=self.sim.aws.accounts[0])
        real = wiring.build(hub, session=self.sim.session, clock=self.sim.clock, quiet=True)
        self.ledger = MemoryLedger()
        automations = real.automations if self.looks else cast(Automations, _Blind(real.automations))
        self.ports = replace(real, ledger=self.ledger, policies=Fixed(policies()), automations=automations)

    def run(self) -> list[str]:
        """What went wrong, in sentences; empty if nothing did."""
        clock, life = self.sim.clock, self.sim.life
        clock.at(START + MINUTE, lambda: life.turn_noncompliant(within=timedelta(minutes=20)))
        clock.at(START + timedelta(minutes=35), lambda: life.terminate("doomed"))
        clock.at(BAD_UNTIL + timedelta(minutes=15), lambda: life.reboot("reboot-later"))
        clock.at(BAD_UNTIL + timedelta(minutes=30), lambda: life.daily_scan(within=timedelta(minutes=15)))
        moment, swept = START, START
        while moment < LAST and not (moment > BAD_UNTIL + timedelta(minutes=75) and self._at_rest()):
            moment = self._next(moment, swept + self.period)
            clock.run_until(moment)
            self._invoke(lambda: dispatch(self.ports))
            if moment >= swept + self.period:
                swept = moment
                if self.sweeps:
                    self._invoke(lambda: sweep(self.ports))
        return [*self.troubles, *self._ends()]

    def _next(self, moment: datetime, sweep: datetime) -> datetime:
        """A minute later, or the next moment at which there is anything to do."""
        if next(self.ledger.work([State.QUEUED]), None):
            return moment + MINUTE
        waiting = next(self.ledger.work([State.WAITING]), None)
        coming = [sweep, self.sim.clock.next_moment() or sweep, (waiting.due if waiting else None) or sweep]
        return max(moment + MINUTE, min(coming))

    def _at_rest(self) -> bool:
        restless = (*_RESTLESS, State.WAITING)
        return not next(self.ledger.work(restless), None) and not self.ledger.errands(LAST + timedelta(days=1))

    def _arrived(self, event: Event) -> None:
        for handler, pattern in EVENT_PATTERNS.items():
            if matches(pattern, event):
                verb = _VERBS[handler]
                self._invoke(lambda verb=verb: verb(self.ports, event), RETRIES)  # type: ignore[misc]

    def _invoke(self, verb: Callable[[], object], retries: tuple[timedelta, ...] = ()) -> None:
        """One Lambda invocation; what comes again does so on Lambda's own terms."""
        self.tally["invocations"] += 1
        try:
            verb()
        except Temporary:
            self.tally["given back"] += 1
            if retries:
                self.sim.clock.at(self.sim.clock.now() + retries[0], lambda: self._invoke(verb, retries[1:]))

    def _fault(self, service: str, operation: str, phase: Phase) -> None:
        self.tally["calls"] += phase == "before"
        if phase == "after" and operation == "StartAutomationExecution":
            self.troubles += self._shared_nodes()
        if self.sim.clock.now() < BAD_UNTIL and self._luck.random() < self._share / 2:
            self.tally[f"faults {phase}"] += 1
            raise self._luck.choice(BEFORE if phase == "before" else AFTER)()

    def _shared_nodes(self) -> Iterator[str]:
        """Nodes that two running executions work on, as AWS itself knows it."""
        for location in self.sim.fleet.locations:
            runs = [one for one in self.sim.aws.automations.known(location) if not one.over]
            busy = Counter(node for one in runs for node in _nodes(one))
            yield from (f"{node} is in {count} executions at once" for node, count in busy.items() if count > 1)

    def _ends(self) -> Iterator[str]:
        cases = list(self.ledger.all_heads())
        yield from filter(None, (fault(case, self.ledger.trail(case.id)) for case in cases))
        yield from (f"{case.id} is stuck: {case.state}" for case in cases if case.state in _RESTLESS)
        yield from (f"{case.id} kept {case.leases}" for case in cases if case.leases)
        yield from (f"{case.id} gives no reason" for case in cases if not case.because)
        yield from (f"errand {errand.id} is still owed" for errand in self.ledger.errands(LAST + timedelta(days=1)))
        yield from self._unknown_machines({case.node for case in cases})
        yield from (f"{case.id} is resolved and its machine is not" for case in cases if not self._as_told(case))
        yield from self._wrong_tickets(cases)
        for location in self.sim.fleet.locations:
            yield from self._orphans(location)

    def _unknown_machines(self, known: set[Any]) -> Iterator[str]:
        """Machines that are not compliant and of which the service has not heard."""
        for machine in self.sim.fleet.machines.values():
            missing = machine.report is not None and not machine.report.compliant
            if missing and machine.state != "terminated" and machine.node not in known:
                yield f"nobody knows of {machine.node}"

    def _as_told(self, case: Remediation) -> bool:
        report = self.sim.fleet.machines[case.node].report
        return case.state is not State.RESOLVED or (report is not None and report.compliant)

    def _wrong_tickets(self, cases: list[Remediation]) -> Iterator[str]:
        items = {item.id: item for location in self.sim.fleet.locations
                 for item in self.sim.aws.opsitems.matching(location, [])}  # fmt: skip
        wanted = {case.ticket: case.id for case in cases if case.state is State.TICKETED}
        yield from (f"{wanted[ticket]} has no open ticket" for ticket in wanted
                    if ticket not in items or not items[ticket].open)  # fmt: skip
        yield from (f"ticket {item.id} is open for nobody" for item in items.values()
                    if item.open and item.id not in wanted)  # fmt: skip
        if len(wanted) != sum(case.state is State.TICKETED for case in cases):
            yield "two cases have one ticket"

    def _orphans(self, location: Location) -> Iterator[str]:
        serving = Counter[str]()
        for one in self.sim.aws.automations.known(location):
            named = one.record.parameters["BatchId"][0]
            batch = self.ledger.batch(named)
            serving[named] += 1
            self.tally["executions"] += 1
            if batch is None or batch.state is not BatchState.FINISHED or batch.execution != one.id:
                yield f"execution {one.id} has the batch {batch and (batch.id, batch.state, batch.execution)}"
        yield from (f"batch {name} was started {count} times" for name, count in serving.items() if count > 1)


@dataclass(frozen=True)
class _Blind:
    """Systems Manager, but no execution is ever found by its tag."""

    seeing: Automations

    def __getattr__(self, name: str) -> Any:
        return getattr(self.seeing, name)

    def find(self, batch: Batch) -> None:
        return None


_RESTLESS = (State.QUEUED, State.STARTING, State.RUNNING, State.VERIFYING)


def _nodes(execution: Execution | FanOut) -> list[str]:
    given: Mapping[str, list[str]] = execution.record.parameters
    return given.get("NodeIds") or given["NodeId"]
