"""The bus: an event on its way to the service may be lost, late, or come twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from chalicelib.follow import follow
from chalicelib.intake import receive
from chalicelib.ports import Ports
from patchwarden.simulate.faults import Weather
from patchwarden.simulate.scheduler import Scheduler
from patchwarden.simulate.visit import Verb


class Bus:
    """EventBridge under the weather. `invoke` begins a visit of the verb that the event is for, by its name."""

    def __init__(
        self, scheduler: Scheduler, weather: Weather, invoke: Callable[[str, Verb], None],
        tell: Callable[[str, str], None],
    ) -> None:  # fmt: skip
        self._scheduler, self._weather, self._invoke, self._tell = scheduler, weather, invoke, tell

    def carry(self, kind: str, event: dict[str, Any]) -> None:
        """An event on its way: it may be lost, late, or come twice."""
        weather, draw = self._weather, self._weather.random.random
        lost = weather.status_dropped if kind == "status" else weather.dropped
        if not weather.calm and draw() < lost:
            self._tell("bus", f"loses the {kind} event {event['detail']}")
            return
        verb: Verb = partial(_take, event=event) if kind != "status" else partial(_followed, event=event)
        name = "follow" if kind == "status" else "intake"
        self._deliver(name, verb, 0.5 if weather.chosen is not None else 1 + 10 * draw())
        if not weather.calm and draw() < weather.profile.doubled:
            self._deliver(name, verb, weather.profile.redriven * draw())

    def _deliver(self, name: str, verb: Verb, delay: float) -> None:
        if not self._weather.calm and self._weather.random.random() < self._weather.profile.late:
            delay += 1200 * self._weather.random.random()
        self._scheduler.at(self._scheduler.now + delay, lambda: self._invoke(name, verb))


def _take(ports: Ports, event: dict[str, Any]) -> object:
    return receive(ports, event)


def _followed(ports: Ports, event: dict[str, Any]) -> object:
    return follow(ports, event)
