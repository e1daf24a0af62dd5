"""The bus: EventBridge as it is. Events arrive a little later, some twice, some late or out of order, some never."""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core.nodes import Location
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import Event, foreign

LATENCY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of the events, 0 to 1, that meet each fate; `noise` is how many events of others come with one of ours.

    `disordered` events are held until later ones have passed them (20 s to 3 minutes), `late` ones for 5 minutes to
    2 hours.
    """

    doubled: float = 0.0
    late: float = 0.0
    disordered: float = 0.0
    dropped: float = 0.0
    noise: float = 0.0


CALM = Weather()


class Bus:
    """Takes what AWS emits and hands it to the sink at the moment it arrives. Each event's fate hangs on its id alone.

    `tally` counts emitted, dropped, doubled, late, disordered, foreign and delivered.
    """

    def __init__(
        self, clock: VirtualClock, sink: Callable[[Event], object], weather: Weather = CALM, seed: int = 1
    ) -> None:
        self.tally: Counter[str] = Counter()
        self._clock = clock
        self._sink = sink
        self._weather = weather
        self._seed = seed

    def emit(self, event: Event, at: datetime) -> None:
        """An event that AWS sends at `at`."""
        self.tally["emitted"] += 1
        draw = random.Random(f"{self._seed}/{event['id']}")
        for _ in range(_whole(self._weather.noise, draw)):
            self._disturb(event, at, draw)
        if draw.random() < self._weather.dropped:
            self.tally["dropped"] += 1
            return
        arrival = at + LATENCY + self._delay(draw)
        self._deliver(event, arrival)
        if draw.random() < self._weather.doubled:
            self.tally["doubled"] += 1
            self._deliver(event, arrival + timedelta(seconds=draw.uniform(0, 300)))

    def _delay(self, draw: random.Random) -> timedelta:
        if draw.random() < self._weather.late:
            self.tally["late"] += 1
            return timedelta(seconds=draw.uniform(300, 7200))
        if draw.random() < self._weather.disordered:
            self.tally["disordered"] += 1
            return timedelta(seconds=draw.uniform(20, 180))
        return timedelta()

    def _disturb(self, event: Event, at: datetime, draw: random.Random) -> None:
        self.tally["foreign"] += 1
        name = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        place = Location(event["account"], event["region"])
        self._deliver(foreign(name, place, at, draw.randrange(1000)), at + LATENCY)

    def _deliver(self, event: Event, arrival: datetime) -> None:
        self._clock.at(arrival, lambda: self._hand_over(event))

    def _hand_over(self, event: Event) -> None:
        self.tally["delivered"] += 1
        self._sink(event)


def _whole(share: float, draw: random.Random) -> int:
    """2.3 is two, and three times in ten a third."""
    return int(share) + (draw.random() < share % 1)
