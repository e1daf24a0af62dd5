"""A release that takes over in the middle: what an older one left is carried on, and a reader that cannot is found."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from json import loads
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.plans import Plan
from chalicelib.core.remediations import ACTIVE, Remediation, State
from chalicelib.proof import verify
from patchwarden.simulate import upgrade
from patchwarden.simulate.faults import UPGRADED
from patchwarden.simulate.moments import moment
from patchwarden.simulate.run import Simulated

SEEDS = 12
LEFT = Path(__file__).parents[1] / "upgrade" / "ledger-2026-11-24.sql"


def test_no_seed_that_takes_over_from_an_older_release_breaks_a_promise() -> None:
    taken: Counter[State] = Counter()
    for seed in range(SEEDS):
        run = Simulated(seed, 50, "upgrades")
        report = run.play()
        assert report.wrong == (), f"patchwarden simulate --replay {seed} --faults upgrades"
        assert report.faults[UPGRADED] == 1
        assert verify(run.ledger, moment(run.scheduler.now)).faults == ()
        taken += run.ledger.states  # type: ignore[attr-defined]
    assert taken.keys() >= {*ACTIVE, State.QUEUED, State.WAITING, State.TICKETED, State.EXEMPT, State.RESOLVED}


def test_what_is_taken_over_has_the_shape_of_the_ledger_that_the_older_release_wrote() -> None:
    store = sqlite3.connect(":memory:")
    store.executescript(LEFT.read_text(encoding="utf-8"))
    (head, line), *_ = store.execute(
        "SELECT head, line FROM remediations JOIN transitions ON remediation = id AND transitions.number = 1 "
        "WHERE state = 'queued'"
    )
    run = Simulated(2, 50, "none")
    run.world.live()
    run.scheduler.at(60.0, run._dispatch_tick)
    run.scheduler.run_until(700.0)
    case = next(case for case in run.stored.all_heads() if case.state is State.QUEUED)
    lines = upgrade.trail(run.stored.trail(case.id))
    ours = upgrade.head(case, lines[-1]["hash"])
    assert ours.keys() == loads(head).keys()
    assert lines[0].keys() == loads(line).keys()
    for part in ("decision", "plan"):
        assert ours[part].keys() - {"closes", "deadline"} == loads(head)[part].keys() - {"closes", "deadline"}


def _asks_for_all(read: Callable[[Mapping[str, Any]], Remediation]) -> Callable[..., Remediation]:
    def strict(cls: type[Remediation], value: Mapping[str, Any]) -> Remediation:
        missing = set(cls.__slots__) - value.keys() - {"id"}
        if missing:
            raise ValueError(f"the head has no {sorted(missing)}")
        return read(value)

    return strict


def _read_head_strictly(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Remediation, "from_json", classmethod(_asks_for_all(Remediation.from_json)))


def _take_a_missing_moment_for_a_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("chalicelib.core.audit.replace", lambda told, **_: told)


def _guess_at_plans(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Plan, "knows", classmethod(lambda cls, stored: True))


@pytest.mark.parametrize(
    ("breaks", "seen"),
    [(_read_head_strictly, "died"), (_take_a_missing_moment_for_a_change, "chain"), (_guess_at_plans, "crowded")],
)
def test_a_reader_that_does_not_know_the_older_shape_is_found(
    breaks: Callable[[pytest.MonkeyPatch], None], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    assert any(seen in sentence for seed in range(SEEDS) for sentence in Simulated(seed, 50, "upgrades").play().wrong)
