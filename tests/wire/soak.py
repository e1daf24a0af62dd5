"""Mornings by the thousand, on all cores; a seed that fails is named with the command that replays it."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import click

from tests.wire.morning import Morning

Told = tuple[int, list[str], Counter[str]]
"""A seed, what went wrong, and what happened to its calls."""


def morning(seed: int, nodes: int) -> Told:
    """One seed, whole. What escapes the verbs, which no Lambda would survive either, ends them all."""
    run = Morning(seed, nodes)
    try:
        return seed, run.run(), run.tally
    except BaseException as error:
        error.add_note(f"again: python -m tests.wire.soak --seeds {seed} --nodes {nodes}")
        raise


def _told(seeds: Iterable[int], nodes: int) -> Iterator[Told]:
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(morning, nodes=nodes), seeds, chunksize=4)


@click.command()
@click.option("--seeds", default="1..1000", show_default=True, help="The first and the last one.")
@click.option("--nodes", default=20, show_default=True)
def main(seeds: str, nodes: int) -> None:
    """Run the mornings and say what went wrong; the exit code is 1 if anything did."""
    first, _, last = seeds.partition("..")
    wanted = range(int(first), int(last or first) + 1)
    tally: Counter[str] = Counter()
    failed = 0
    with click.progressbar(_told(wanted, nodes), length=len(wanted), label="mornings", file=sys.stderr) as bar:
        for seed, troubles, counted in bar:
            tally += counted
            failed += bool(troubles)
            for trouble in troubles:
                click.echo(f"seed {seed}: {trouble}\n  again: python -m tests.wire.soak --seeds {seed} --nodes {nodes}")
    click.echo(f"{len(wanted)} mornings of {nodes} nodes, {failed} with troubles: "
               + ", ".join(f"{count:,} {name}" for name, count in sorted(tally.items())))  # fmt: skip
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
