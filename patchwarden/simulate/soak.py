"""Many seeds: run them, on several processors if wished, and add up what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from patchwarden.simulate.run import Simulated, uncollected
from patchwarden.simulate.telling import Report

KINDS = (
    "doubled",
    "lost",
    "unseen",
    "stuck",
    "unproved",
    "leaked",
    "blind",
    "intruded",
    "crowded",
    "unsaid",
    "tickets",
    "owed",
    "chain",
    "surged",
    "waves",
    "overspent",
    "shown",
)
"""By which word a broken promise begins; what begins otherwise is a verb that died."""


@dataclass(slots=True)
class Sum:
    """What the runs so far add up to; `failures` are the seeds that broke a promise, each with its sentences."""

    seeds: int = 0
    calls: int = 0
    executions: int = 0
    lines: int = 0
    hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    failures: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.calls += report.calls
        self.executions += report.executions
        self.lines += report.lines
        self.hours += report.hours
        self.faults.update(report.faults)
        self.states.update(report.states)
        if report.wrong:
            self.failures[report.seed] = report.wrong
            self.broken.update(_kind(sentence) for sentence in report.wrong)

    def to_json(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds,
            "calls": self.calls,
            "faults": dict(sorted(self.faults.items())),
            "executions": self.executions,
            "lines": self.lines,
            "virtual_hours": round(self.hours),
            "states": dict(sorted(self.states.items())),
            "broken": {kind: self.broken[kind] for kind in (*KINDS, "died")},
            "failures": {str(seed): list(wrong) for seed, wrong in sorted(self.failures.items())},
        }


def reports(seeds: Iterable[int], nodes: int, profile: str, workers: int = 1) -> Iterator[Report]:
    """The report of each seed, in order."""
    one = partial(_one, nodes=nodes, profile=profile)
    if workers == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(one, seeds, chunksize=8)


def _one(seed: int, *, nodes: int, profile: str) -> Report:
    with uncollected():
        return Simulated(seed, nodes, profile).play()


def _kind(sentence: str) -> str:
    word = sentence.split(":", 1)[0]
    return word if word in KINDS else "died"
