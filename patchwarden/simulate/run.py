"""One run: from a seed to a history, and to what the checker says of it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from chalicelib import emergency, guard, wiring
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from patchwarden.simulate import alarms, meddling, policies, readings, releases
from patchwarden.simulate.alarms import BEGAN, SILENT, SILENT_AGENTS, WorldFleets, WorldLists
from patchwarden.simulate.automations import WorldAutomations
from patchwarden.simulate.bus import Bus
from patchwarden.simulate.calls import Calls, Outside
from patchwarden.simulate.faults import HOUR, PROFILES, UPGRADED, Fault, Killed, Profile, Weather
from patchwarden.simulate.history import Past, Watch
from patchwarden.simulate.inventory import WorldInventory
from patchwarden.simulate.meddling import LEFT
from patchwarden.simulate.moments import moment
from patchwarden.simulate.policies import WorldPolicies
from patchwarden.simulate.readings import READ
from patchwarden.simulate.scheduler import Scheduler
from patchwarden.simulate.telling import Report, Telling
from patchwarden.simulate.tickets import WorldTickets
from patchwarden.simulate.upgrade import Taken
from patchwarden.simulate.visit import DEFECTS, Verb, Visit, VisitClock, VisitCrew
from patchwarden.simulate.world import World

MINUTE, IDLE, SWEEP = 60.0, 300.0, 900.0
READINGS = 3
CALM = 14 * HOUR
"""How long everything works before the end is judged; it ends earlier when nothing is left to do."""

_TIMEOUTS = {"dispatch": 90.0, "sweep": 840.0}
_RETRIES = (60.0, 120.0)
"""https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html"""


class Simulated:
    """The service and its small world under one seed. `faults`: at these calls, by number, instead of by chance."""

    def __init__(
        self, seed: int, nodes: int, profile: Profile | str = "mixed", *, faults: Mapping[int, Fault] | None = None,
        watched: bool = False,
    ) -> None:  # fmt: skip
        self.seed = seed
        chosen = PROFILES[profile] if isinstance(profile, str) else profile
        self.random = Random(seed)
        self.scheduler = Scheduler()
        self.telling = Telling(self.scheduler, watched)
        self._tell = self.telling.tell
        self.weather = Weather(chosen, self.random, faults)
        bus = Bus(self.scheduler, self.weather, self._invoke, self._tell)
        self.world = World(self.scheduler, self.weather, nodes, bus.carry)
        bundle = wiring.local(None)
        self.stored = self.ledger = bundle.ledger
        self.inventory: Any = WorldInventory(self.world)
        self.automations: Any = WorldAutomations(self.world)
        self.tickets: Any = WorldTickets()
        self.fleets, self.lists = WorldFleets(self.world), WorldLists()
        self.sweeps = True
        # drawn apart, so that a seed without guards is what it was before there were any
        guards = policies.guards(Random(f"{seed}/guards"), chosen.guarded)
        self.guarded = guards is not None
        apart = Random(f"{seed}/upgrade")
        self.upgraded = not self.guarded and apart.random() < chosen.upgrades
        self._upgrade_at = apart.uniform(300, self.weather.chaos)
        plain = not self.guarded and not self.upgraded
        self.alarmed, self.silent = (plain and apart.random() < share for share in (chosen.alarms, chosen.silences))
        self._alarm_at = apart.uniform(300, self.weather.chaos)
        self.policies = WorldPolicies(guards, silent=self.silent, older=self.upgraded)
        self._bundle = bundle
        self.past = Past(self.scheduler)
        self.watch = Watch(self.world, self.stored, self.past, guards=guards, silent=self.silent)
        self.calls = Calls(self.world, self.past, self.watch, self.telling)
        self.met = self.calls.met
        self._looked = 0, -IDLE
        self._visits = 0
        self._going: list[Visit] = []

    def play(self) -> Report:
        """The whole run: the time in which things go wrong, the calm after it, and the judgement."""
        with uncollected():
            report = self._played()
            self.scheduler.close()
            return report

    def _played(self) -> Report:
        grace = 3 * SWEEP if self.weather.chosen is None else SWEEP
        self.world.live()
        self.scheduler.at(MINUTE, self._dispatch_tick)
        self.scheduler.at(SWEEP, self._sweep_tick)
        if self.upgraded:
            self.scheduler.at(self._upgrade_at, self._upgrade)
        if self.alarmed:
            self.scheduler.at(self._alarm_at, self._emergency)
        if self.silent:
            alarms.fall_silent(self.world, self.seed, self.watch.heard)
            self.met[SILENT] += SILENT_AGENTS
        apart = Random(f"{self.seed}/readings")
        if apart.random() < self.weather.profile.readings:
            for _ in range(READINGS):
                self.scheduler.at(apart.uniform(60, self.weather.chaos), self._read)
        meddling.meddle(self.world, self.seed, self._met)
        if self.random.random() < self.weather.profile.switches:
            self.scheduler.at(self.random.uniform(600, self.weather.chaos), self._switch)
        self.scheduler.run_until(self.weather.chaos)
        self.weather.calm, self.weather.scan_lag = True, 0.0
        # what a guard holds is let go by a person, half an hour later, and again where it fails again
        bad = max(self.weather.chaos, self.weather.outage)
        end = bad + CALM * (3 if self.guarded else 1)
        while self.scheduler.now < end and not (self._settled() and self.scheduler.now >= bad + grace):
            self.scheduler.run_until(self.scheduler.now + SWEEP)
        self.watch.judge(self.tickets)
        return self._report()

    def _met(self, what: str) -> None:
        self.met[what] += 1

    def _report(self) -> Report:
        cases = list(self.stored.all_heads())
        if self.watch.left:
            self.met[LEFT] += self.watch.left
        return Report(
            seed=self.seed,
            wrong=tuple(self.watch.wrong),
            calls=self.calls.made,
            faults=dict(self.met),
            executions=len(self.world.runs),
            states=Counter(case.state.value for case in cases),
            lines=sum(case.number for case in cases),
            hours=round(self.scheduler.now / HOUR, 1),
            history=tuple(self.telling.history),
        )

    def _settled(self) -> bool:
        """Whether nothing is left that will move by itself."""
        moving = [State.QUEUED, State.STARTING, State.RUNNING, State.VERIFYING, State.WAITING]
        return (
            all(case.held == "stopped" for case in self.stored.work(moving))
            and not self.stored.open_batches()
            and not self.stored.errands(moment(self.scheduler.now + 100 * HOUR))
            and not (self.guarded and guard.owed(releases.stops(self.stored)))
        )

    def _switch(self) -> None:
        self.policies.switch()
        if self.watch.stops:
            self.watch.stops.switched(self.policies.stands)
        self._tell("organisation", "publishes another policy set")

    def _read(self) -> None:
        """Somebody reads the reports: through calls that may fail, and at a standstill, where all must be so."""
        self.met[READ] += 1
        self._invoke("reader", readings.ask)
        readings.judge(self.ledger, self.watch, self.calls.swept)

    def _emergency(self) -> None:
        """A person starts an emergency; its policy is in force up to a minute later, as the journal is read first."""
        ports = replace(self._ports(Visit("operator", 0.0, float("inf"))), ledger=self.stored)
        emergency.begin(ports, alarms.emergency(self.scheduler.now))
        self.world.alarmed = True
        self.met[BEGAN] += 1
        self._tell("operator", "begins an emergency")
        self.scheduler.at(self._alarm_at + 60 * (self._alarm_at % 1), self._alarmed)

    def _alarmed(self) -> None:
        self.policies.alarm()
        self._tell("organisation", "publishes the emergency's policy")

    def _upgrade(self) -> None:
        """The older release is taken away in the middle of whatever it did, and what it stored is taken over."""
        for visit in self._going:
            visit.ends = -1.0
        self.ledger = Taken(self.ledger)
        self.past.forget()
        self.met[UPGRADED] += 1
        self._tell("organisation", "deploys this release over an older one")

    def _operator(self) -> None:
        ports = replace(self._ports(Visit("operator", 0.0, float("inf"))), ledger=self.ledger)
        for subject in releases.release(ports, releases.stops(self.stored), self._tell):
            self.watch.after("ledger.enter", (self.stored.entry(subject),))

    def _dispatch_tick(self) -> None:
        """A round each minute. One that finds all as the last one did would do nothing: it is run every five."""
        now = self.scheduler.now
        self.scheduler.at(now + (IDLE if self.weather.calm else MINUTE), self._dispatch_tick)
        if self.calls.written == self._looked[0] and now - self._looked[1] < IDLE:
            return
        self._looked = self.calls.written, now
        due = self.stored.work([State.WAITING, State.EXEMPT], before=moment(self.scheduler.now + MINUTE))
        if next(self.stored.work([State.QUEUED]), None) or next(due, None):
            self._scheduled("dispatch", dispatch)

    def _sweep_tick(self) -> None:
        self.scheduler.at(self.scheduler.now + SWEEP, self._sweep_tick)
        if self.guarded and self.weather.calm:
            self._operator()
        if self.sweeps:
            self._scheduled("sweep", sweep)

    def _scheduled(self, name: str, verb: Verb) -> None:
        """A schedule's event may come twice, and then two invocations overlap."""
        self._invoke(name, verb)
        if not self.weather.calm and self.random.random() < self.weather.profile.overlapping:
            # within a breath, where they race for the same nodes, or while an index still shows what was before
            again = self.scheduler.now + self.random.choice((3, 30)) * self.random.random() ** 2
            self.scheduler.at(again, lambda: self._invoke(name, verb))

    def _invoke(self, name: str, verb: Verb, tries: int = 0) -> None:
        self._visits += 1
        ends = self.scheduler.now + _TIMEOUTS.get(name, 60.0)
        visit = Visit(f"{name}-{self._visits}", self.weather.skew(), ends)
        self.scheduler.spawn(partial(self._visit, visit, name, verb, tries))

    def _visit(self, visit: Visit, name: str, verb: Verb, tries: int) -> None:
        """One invocation from its first call to its end; Lambda comes again twice after a failure."""
        self._tell(visit.name, f"begins, its clock is off by {visit.skew:.0f} s" if visit.skew else "begins")
        self._going.append(visit)
        try:
            verb(self._ports(visit))
        except Killed:
            self._tell(visit.name, "was killed")
        except (Temporary, Denied) as error:
            self._tell(visit.name, f"fails: {error}")
        except DEFECTS as error:
            self.watch.say(f"{visit.name} died of {type(error).__name__}: {error}")
        else:
            return
        finally:
            self._going.remove(visit)
        if tries < len(_RETRIES):
            again = self.scheduler.now + _RETRIES[tries]
            self.scheduler.at(again, lambda: self._invoke(name, verb, tries + 1))

    def _ports(self, visit: Visit) -> Ports:
        call = partial(self.calls.make, visit, self.ledger)
        return Ports(
            ledger=Outside(call, "ledger", self.ledger),
            inventory=Outside(call, "inventory", self.inventory),
            automations=Outside(call, "automations", self.automations),
            tickets=Outside(call, "tickets", self.tickets),
            policies=self.policies,
            notices=self._bundle.notices,
            tracing=self._bundle.tracing,
            clock=VisitClock(self.scheduler, visit),
            crew=VisitCrew(self.scheduler, visit),
            fleets=Outside(call, "fleets", self.fleets),
            lists=Outside(call, "lists", self.lists),
        )


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for cycles in the middle of a run, nor while its world is there: it takes a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def replay(seed: int, nodes: int, profile: str = "mixed") -> Report:
    """The run of a seed with its history."""
    return Simulated(seed, nodes, profile, watched=True).play()
