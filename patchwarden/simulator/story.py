"""The story: the real service, through its Chalice handlers, in a week of a simulated organisation."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from chalice.test import Client

from chalicelib import wiring
from chalicelib.core.errors import Temporary
from chalicelib.core.events import EVENT_PATTERNS
from chalicelib.core.nodes import Node
from chalicelib.core.plans import BatchState
from chalicelib.core.remediations import Cause, Remediation, State, Transition
from chalicelib.ports import Ledger, Ports
from patchwarden.simulator.bus import Weather
from patchwarden.simulator.events import Event
from patchwarden.simulator.fleet import START
from patchwarden.simulator.simulation import Simulation, simulate

END = START + timedelta(days=4, hours=18, minutes=30)
"""The Saturday after, when the window has closed."""

WEATHER = Weather(doubled=0.15, late=0.05, disordered=0.15, dropped=0.05, noise=0.3)

ROOT = Path(__file__).parents[2]

MINUTE = timedelta(minutes=1)
SWEEP, QUIET_SWEEP = timedelta(minutes=15), timedelta(hours=1)
"""How often the fleet is read, and how often in a stretch in which no event came and nothing is under way."""

_UNDER_WAY = (State.QUEUED, State.STARTING, State.RUNNING, State.VERIFYING, State.REBOOT_PENDING)

_RETRIES = (timedelta(minutes=1), timedelta(minutes=2))
"""How Lambda comes again after a failed asynchronous invocation."""


class Story:
    """One run from the first scan to the end of the window; `now` tells how far it has come.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
    """

    def __init__(
        self, *, seed: int, nodes: int, ledger: Callable[[], Ledger] | None = None, settings: wiring.Settings,
        weather: Weather = WEATHER, end: datetime = END,
    ) -> None:  # fmt: skip
        self._end = end
        self.counts: Counter[str] = Counter()
        self.receipts: Counter[str] = Counter()
        self.sim: Simulation = simulate(self._arrived, seed=seed, nodes=nodes, weather=weather)
        hub = replace(settings, hub_account=self.sim.aws.accounts[0])
        self.ports: Ports = wiring.build(hub, session=self.sim.session, clock=self.sim.clock, quiet=True, durable=False)
        if ledger:
            self.ports = replace(self.ports, ledger=ledger())
        self._service = Client(_app(), project_dir=str(ROOT))
        self._plot()

    def run(self) -> Iterator[datetime]:
        """Let the week pass; yields the moment after each step of the service."""
        wiring.use(self.ports)
        try:
            sweep = START + SWEEP
            moment, heard = START, 0
            while moment < self._end:
                moment = self._next_tick(moment, sweep)
                self.sim.clock.run_until(moment)
                self._invoke("on_dispatch", _tick(moment))
                if moment >= sweep:
                    self._invoke("on_sweep", _tick(moment))
                    busy = self.counts["events"] > heard or next(self.ports.ledger.work(_UNDER_WAY), None)
                    sweep, heard = moment + (SWEEP if busy else QUIET_SWEEP), self.counts["events"]
                yield self.sim.clock.now()
        finally:
            wiring.use(None)

    def figures(self) -> dict[str, Any]:
        """What came of it: counts of events, of remediations that passed a stage, and of executions."""
        cases = list(self.ports.ledger.all_heads())
        trails = [self.ports.ledger.trail(case.id) for case in cases]
        passed = Counter(cause for lines in trails for cause in {line.cause for line in lines})
        batches = [batch for batch in self.ports.ledger.batches_since(START) if batch.state is not BatchState.WITHDRAWN]
        return {
            "events_in": self.counts["events"],
            "foreign": self.sim.bus.tally["foreign"],
            "duplicates": self.receipts["duplicate"],
            "dropped": self.sim.bus.tally["dropped"],
            "decisions": sum(_decides(line) for lines in trails for line in lines),
            "remediations": len(cases),
            "waiting": passed[Cause.DEFERRED],
            "executions": sum(batch.execution is not None for batch in batches),
            "nodes_started": sum(line.cause is Cause.STARTED for lines in trails for line in lines),
            "succeeded": passed[Cause.SUCCEEDED],
            "verified": sum(_verified(lines) for lines in trails),
            "ticketed": passed[Cause.TICKETED],
            "exempt": passed[Cause.EXEMPTED],
            "gone": passed[Cause.GONE],
            "open_now": sum(case.state not in (State.RESOLVED, State.GONE) for case in cases),
        }

    def _plot(self) -> None:
        """What happens in the week, whoever watches."""
        clock, life = self.sim.clock, self.sim.life
        clock.at(START + timedelta(minutes=5), lambda: life.turn_noncompliant(within=timedelta(minutes=10)))
        clock.at(START + timedelta(hours=20), lambda: life.reboot("reboot-later"))
        clock.at(START + timedelta(hours=8), lambda: life.terminate("doomed"))
        for day in range(1, 5):
            clock.at(START + timedelta(days=day, hours=-6), life.daily_scan)

    def _next_tick(self, moment: datetime, sweep: datetime) -> datetime:
        """A minute later; a quiet stretch, in which a round of dispatch can do nothing, is passed over."""
        ledger = self.ports.ledger
        if next(ledger.work([State.QUEUED]), None):
            return moment + MINUTE
        first = next(ledger.work([State.WAITING, State.EXEMPT]), None)
        coming = [sweep, self.sim.clock.next_moment() or sweep, (first.due if first else None) or sweep]
        return max(moment + MINUTE, min(coming))

    def _arrived(self, event: Event) -> None:
        for handler, pattern in EVENT_PATTERNS.items():
            if matches(pattern, event):
                self.counts["events"] += 1
                self._invoke(handler, event)

    def _invoke(self, handler: str, event: Mapping[str, Any], tries: int = 0) -> None:
        try:
            answer = self._service.lambda_.invoke(handler, event)
        except Temporary:
            if tries == len(_RETRIES):
                self.counts["given_up"] += 1
                return
            self.sim.clock.at(self.sim.clock.now() + _RETRIES[tries], lambda: self._invoke(handler, event, tries + 1))
            return
        self.receipts[answer.payload.get("status", handler)] += 1


def _app() -> Any:
    """The service's app.py, which stands beside the packages and not in them: found from wherever one is."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return importlib.import_module("app").app


def telling(ledger: Ledger) -> Node | None:
    """The node to show: of those that were proved, one that most happened to, told in the fewest lines."""
    proved = [case for case in ledger.all_heads() if case.state is State.RESOLVED and case.execution]
    told = {case.id: {line.cause for line in ledger.trail(case.id)} for case in proved}
    best: Remediation | None = max(proved, key=lambda case: (len(told[case.id]), -case.number, case.id), default=None)
    return best.node if best else None


def _decides(line: Transition) -> bool:
    return "finding" in line.evidence and line.cause is not Cause.NOTED


def _verified(lines: list[Transition]) -> bool:
    return any(line.cause is Cause.RESOLVED and line.before is State.VERIFYING for line in lines)


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """EventBridge's rule for patterns of literal values: each named field holds one of the listed values."""
    return all(
        matches(wanted, event.get(name) or {}) if isinstance(wanted, dict) else event.get(name) in wanted
        for name, wanted in pattern.items()
    )


def _tick(moment: datetime) -> dict[str, Any]:
    """What EventBridge sends for a schedule."""
    return {
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000000",
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": "111122223333",
        "time": moment.isoformat(),
        "region": "eu-west-1",
        "resources": [],
        "detail": {},
    }
