"""One start a second in each place, whoever else starts there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from chalicelib.adapters.hands import Threads
from chalicelib.core.errors import Temporary
from chalicelib.core.moments import format_moment
from chalicelib.dispatch import LONGEST_QUEUE, PACE, Pace, claim
from tests.sets import HERE, NOW
from tests.verbs.conftest import Broken, World


def apart(moments: Iterable[object]) -> bool:
    found = sorted(moment for moment in moments if isinstance(moment, datetime))
    return all(later - one >= PACE for one, later in pairwise(found))


def test_two_rounds_at_once_start_in_one_place_a_second_apart(world: World) -> None:
    one, other = Pace(NOW), Pace(NOW + timedelta(seconds=1))
    moments = [claim(world.ports, HERE, pace) for pace in (one, other, one, one, other)]
    assert apart(moments) and moments[0] == NOW


def test_many_hands_of_one_round_take_a_second_each(world: World) -> None:
    pace, crew = Pace(NOW), Threads(8)
    ports = replace(world.ports, crew=crew)
    moments = list(crew.together([lambda: claim(ports, HERE, pace)] * 30))
    assert len(moments) == 30 and apart(moments)


def test_a_second_that_a_wrong_clock_wrote_holds_up_nobody(world: World) -> None:
    ahead = NOW + LONGEST_QUEUE + timedelta(minutes=8)
    world.ledger.keep(f"pace/{HERE}", {"free": format_moment(ahead), "round": "another"}, expected=0)
    assert claim(world.ports, HERE, Pace(NOW)) == NOW + PACE


def test_a_busy_ledger_holds_up_no_start_whose_intent_stands(world: World) -> None:
    busy = Broken(world.ledger, "keep", Temporary("busy"))
    assert claim(replace(world.ports, ledger=busy), HERE, Pace(NOW)) == NOW
