"""The standing of each day: made again where lines changed, exact where clocks differed, no wider than it must be."""

from __future__ import annotations

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from chalicelib import wiring
from chalicelib.adapters.memory import MemoryClock, MemoryLedger
from chalicelib.core.chain import link
from chalicelib.core.days import index_of
from chalicelib.core.findings import Control
from chalicelib.core.points import EVERYTHING
from chalicelib.core.remediations import Cause, Remediation, advance, apply
from chalicelib.evidence import done, export
from chalicelib.past import FromLedger
from chalicelib.ports import Change, Vault
from chalicelib.recheck import verify_bucket
from chalicelib.standing import FromStanding, grow
from tests.many import fill
from tests.sets import NODE
from tests.verbs.conftest import World

MIDNIGHT = datetime(2026, 11, 10, tzinfo=UTC)


def exported(world: World, vault: Vault) -> list[date]:
    list(export(world.ports, vault))
    return done(vault)


def stamped(ledger: MemoryLedger, *steps: tuple[Cause, timedelta]) -> None:
    """A trail whose lines carry these moments around midnight, whatever their order, as older releases wrote them."""
    case = Remediation(NODE, Control.PATCH)
    for cause, when in steps:
        line = replace(advance(case, cause, because="why", now=MIDNIGHT), at=MIDNIGHT + when, hash="")
        line = replace(line, hash=link(line.previous, line.to_json()))
        case = apply(case, line)
        ledger.append(Change(line, case))


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("unit", [SECOND, timedelta(milliseconds=1)], ids=["seconds", "milliseconds"])
@pytest.mark.parametrize("steps", [(-5, 3, -1, 5), (-3600, 9, 4, 12), (2, 3600, 4, 3601)])
def test_clocks_that_differ_change_no_figure(steps: tuple[int, ...], unit: timedelta, tmp_path: Path) -> None:
    world, vault = World(clock=MemoryClock(MIDNIGHT + timedelta(days=3))), wiring.folder(tmp_path)
    causes = (Cause.DEFERRED, Cause.QUEUED, Cause.INTENDED, Cause.STARTED)
    stamped(world.ledger, *((cause, one * unit) for cause, one in zip(causes, steps, strict=True)))
    grow(world.ledger, vault, exported(world, vault))
    for half in range(-12, 30):
        at = MIDNIGHT + half * unit / 2
        one, two = FromLedger(world.ledger), FromStanding(world.ledger, vault)
        assert one.tally(at, EVERYTHING, ("state",)) == two.tally(at, EVERYTHING, ("state",)), at
        assert one.points(at, EVERYTHING, after=None, limit=9) == two.points(at, EVERYTHING, after=None, limit=9)
        assert [*one.courses(at, EVERYTHING)] == [*two.courses(at, EVERYTHING)]


def test_a_day_that_was_written_anew_is_added_up_anew_with_all_after_it(tmp_path: Path) -> None:
    world, vault = World(), wiring.folder(tmp_path)
    world.clock.move(fill(world.ledger, 60) - world.clock.now() + timedelta(days=2))
    days = exported(world, vault)
    assert grow(world.ledger, vault, days) == len(days)
    assert grow(world.ledger, vault, days) == 0
    before = [vault.get(index_of(day)) for day in days]
    late = MIDNIGHT + timedelta(hours=1)
    stamped(world.ledger, (Cause.TICKETED, late - MIDNIGHT))
    list(export(world.ports, vault, since=late.date()))
    place = days.index(late.date())
    assert grow(world.ledger, vault, days) == len(days) - place
    same = [vault.get(index_of(day)) == was for day, was in zip(days, before, strict=True)]
    assert same == [True] * place + [False] * (len(days) - place)
    end = world.clock.now()
    for at in (late, end):
        tallies = [past.tally(at, EVERYTHING, ("state", "account"))
                   for past in (FromLedger(world.ledger), FromStanding(world.ledger, vault))]  # fmt: skip
        assert tallies[0] == tallies[1] and ("ticketed", NODE.account) in tallies[1]


def test_a_run_that_is_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    world, vault = World(), wiring.folder(tmp_path)
    world.clock.move(fill(world.ledger, 12) - world.clock.now() + timedelta(days=2))
    days = exported(world, vault)
    assert [grow(world.ledger, vault, days, enough=lambda: True) for _ in days] == [1] * len(days)
    assert grow(world.ledger, vault, days) == 0
    at = world.clock.now()
    assert FromStanding(world.ledger, vault).tally(at, EVERYTHING, ("state",)) == \
        FromLedger(world.ledger).tally(at, EVERYTHING, ("state",))  # fmt: skip


@pytest.mark.parametrize("what", ["remediations", "episodes", "index"])
def test_what_stands_and_is_not_what_the_lines_add_up_to_is_found(tmp_path: Path, what: str) -> None:
    """Whoever may write to the bucket could change what the API answers for a large fleet, and no line."""
    world, vault = World(), wiring.folder(tmp_path)
    world.clock.move(fill(world.ledger, 60) - world.clock.now() + timedelta(days=2))
    days = exported(world, vault)
    grow(world.ledger, vault, days)
    assert verify_bucket(vault, None, world.ledger).faults == ()
    name = next(name for name in reversed(vault.names("standing/")) if what in name)
    body = vault.get(name) or b""
    text = body if what == "index" else gzip.decompress(body)
    changed = text.replace(b"resolved", b"exempt", 1) if b"resolved" in text else text.replace(b"2026", b"2025", 1)
    vault.put(name, changed if what == "index" else gzip.compress(changed, mtime=0))
    (found,) = verify_bucket(vault, None, world.ledger).faults
    assert found.startswith(f"{name}: it is not what the lines add up to")
