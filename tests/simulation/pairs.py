"""Every pair of faults on the main paths: `python -m tests.simulation.pairs --workers 2` tries them all."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from random import Random

from patchwarden.simulate.faults import Fault, possible
from patchwarden.simulate.history import WRITES
from tests.simulation.paths import calls, wrong

MAIN = ("happy", "retry", "ticket", "ticket then fixed")
"""The paths whose pairs `make soak` tries."""

Met = tuple[int, Fault]
"""A fault, and the number of the call that meets it."""


def singles(path: str) -> list[Met]:
    """Every fault at every call of the path up to its last write: what comes after that only looks."""
    return _met(calls(path), behind=0)


def seconds(path: str, first: Met) -> list[Met]:
    """Every fault at every later call of the run that has met the first one: at those that repair it, too."""
    return _met(calls(path, dict([first])), behind=first[0])


def _met(named: Sequence[str], *, behind: int) -> list[Met]:
    last = max(number for number, call in enumerate(named, 1) if call in WRITES)
    return [(number, fault) for number in range(behind + 1, last + 1) for fault in possible(named[number - 1])]


def broken(path: str, pairs: Sequence[tuple[Met, Met]]) -> dict[tuple[Met, Met], tuple[str, ...]]:
    """The pairs under which a promise breaks, each with its sentences."""
    tried = {pair: wrong(path, dict(pair)) for pair in pairs}
    return {pair: sentences for pair, sentences in tried.items() if sentences}


def sampled(path: str, firsts: int, each: int) -> list[tuple[Met, Met]]:
    """So many first faults, drawn from a seed, each with so many second ones."""
    random = Random(path)
    return [
        (first, second)
        for first in random.sample(singles(path), firsts)
        for second in random.choices(seconds(path, first), k=each)
    ]


def _all(path: str, first: Met) -> tuple[int, dict[tuple[Met, Met], tuple[str, ...]]]:
    pairs = [(first, second) for second in seconds(path, first)]
    return len(pairs), broken(path, pairs)


def every(path: str, workers: int) -> Iterator[tuple[int, dict[tuple[Met, Met], tuple[str, ...]]]]:
    """For each first fault how many pairs were tried, and those that broke a promise."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(_all, path), singles(path))


def main(given: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.pairs", description=__doc__)
    parser.add_argument(
        "paths", nargs="*", default=MAIN, help=f"which paths; all of {', '.join(MAIN)} if none is given"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes to run in (1)")
    asked = parser.parse_args(given)
    wrongs = 0
    for path in asked.paths:
        if path not in MAIN:
            parser.error(f"there is no path {path!r}: known are {', '.join(MAIN)}")
    for path in asked.paths:
        tried = 0
        for count, found in every(path, asked.workers):
            tried += count
            wrongs += len(found)
            for pair, sentences in found.items():
                sys.stdout.write(f"{path}: {pair}: {'; '.join(sentences)}\n")
        sys.stdout.write(f"{path}: {tried:,} pairs of faults, {wrongs} of all so far broke a promise\n")
    return 3 if wrongs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
