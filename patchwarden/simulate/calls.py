"""Calls: each call from the service to the outside gives way, and then happens what the weather has for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from chalicelib.ports import SWEPT, Ledger
from patchwarden.simulate.faults import RAISED_AFTER, RAISED_BEFORE, Fault, Killed
from patchwarden.simulate.history import WRITES, Past, Watch
from patchwarden.simulate.telling import Telling, short
from patchwarden.simulate.visit import Visit
from patchwarden.simulate.world import World

_NOTED = WRITES | {"ledger.keep"}
"""The calls that are looked at even if nothing goes wrong with them."""


class Outside:
    """A port in which each call gives way, and may meet a fault."""

    def __init__(self, call: Callable[..., Any], port: str, real: object) -> None:
        self._call, self._port, self._real = call, port, real

    def __getattr__(self, method: str) -> Any:
        bound = partial(self._call, f"{self._port}.{method}", getattr(self._real, method))
        self.__dict__[method] = bound
        return bound


class Calls:
    """The calls of a run: how many were `made` and `written`, which faults they `met`, when a sweep last ended.

    `named`: each of them, in a run whose faults are chosen by their number.
    """

    def __init__(self, world: World, past: Past, watch: Watch, telling: Telling) -> None:
        self._world, self._scheduler, self._weather = world, world.scheduler, world.weather
        self._past, self._watch, self._telling = past, watch, telling
        self.made = self.written = 0
        self.swept: float | None = None
        self.met: Counter[str] = Counter()
        self.named: list[str] = []

    def make(self, visit: Visit, ledger: Ledger, call: str, real: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """One outside call of a visit to that ledger: give way, then let happen what the weather has for it."""
        self.made += 1
        weather, scheduler = self._weather, self._scheduler
        fault = weather.fault(self.made, call)
        if weather.chosen is not None:
            self.named.append(call)
        scheduler.pause(weather.latency())
        if scheduler.now > visit.ends:
            self._telling.tell(visit.name, f"{call}: its time is over")
            raise Killed
        if call.startswith("tickets.") and scheduler.now < weather.outage:
            fault = Fault.THROTTLED
        if fault:
            self.met[fault.value] += 1
        if self._telling.watched:
            self._telling.tell(visit.name, f"{call} {short(given)}", fault.value if fault else "")
        if fault is None and call not in _NOTED:
            return real(*given, **named)
        if fault and fault in RAISED_BEFORE:
            raise RAISED_BEFORE[fault](f"{call}: {fault}")
        answer = self._effect(fault, ledger, call, real, given, named)
        if fault and fault in RAISED_AFTER:
            raise RAISED_AFTER[fault](f"{call}: {fault}")
        return answer

    def _effect(
        self, fault: Fault | None, ledger: Ledger, call: str, real: Callable[..., Any], given: tuple[Any, ...],
        named: dict[str, Any],
    ) -> Any:  # fmt: skip
        if fault is Fault.STALE:
            return self._stale(ledger, call, real, given, named)
        if call in WRITES:
            self._past.before(ledger, call, given)
        answer = real(*given, **named)
        if call == "ledger.keep" and given[0] == SWEPT:
            self.swept = self._scheduler.now
        if call in WRITES:
            self.written += 1
            self._watch.after(call, given)
        return real(*given, **named) if fault is Fault.REPEATED else answer

    def _stale(
        self, ledger: Ledger, call: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        lag = self._weather.lag()
        if call.startswith("ledger."):
            return self._past.answer(ledger, call, lag, given, named)
        self._world.lag = lag
        try:
            return real(*given, **named)
        finally:
            self._world.lag = 0.0
