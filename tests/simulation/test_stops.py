"""Seeds under policies with a surge guard, waves and error budgets, and what the checker makes of it without each."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib import budget, surge, wave
from chalicelib.core.journal import Kind
from patchwarden.simulate.run import Simulated

SEEDS = 12


def test_no_seed_with_guards_breaks_a_promise() -> None:
    tripped: set[str] = set()
    for seed in range(SEEDS):
        run = Simulated(seed, 50, "guards")
        assert run.play().wrong == (), f"patchwarden simulate --replay {seed} --faults guards"
        for kind in (Kind.GUARD, Kind.ROLLOUT):
            lines = [line for newest in run.ledger.subjects(kind) for line in run.ledger.entries(newest.subject)]
            tripped |= {"/".join(line.subject.split("/")[:3]) for line in lines if line.what == "tripped"}
            tripped |= {"the same patches" for line in lines if "the very same patches" in line.because}
            tripped |= {"a wave opened" for line in lines if line.what.startswith("opened")}
            tripped |= {"proved" for line in lines if line.because.startswith("verified by a fresh scan")}
    assert {"guard/surge/fleet", "guard/surge/policy", "guard/budget/policy"} <= tripped
    assert any(subject.startswith("rollout/plain/") for subject in tripped)
    assert {"the same patches", "a wave opened", "proved"} <= tripped


@pytest.mark.parametrize(("verb", "broken"), [(wave, "waves"), (budget, "overspent")])
def test_without_waves_or_budgets_the_checker_sees_it(
    verb: object, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "hold", lambda *given: (list(given[2] if verb is wave else given[1]), []))
    seen: set[str] = set()
    for seed in range(20):
        seen |= {sentence.split(":", 1)[0] for sentence in Simulated(seed, 50, "guards").play().wrong}
        if broken in seen:
            return
    raise AssertionError(f"{broken} was not seen: {sorted(seen)}")


def test_a_guard_of_a_policy_that_trips_and_holds_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = surge.hold

    def hold(ports: Any, ceilings: Any, standing: Any, *given: Any) -> Any:
        places = {name: line for name, line in standing.items() if not name.startswith("surge/policy/")}
        return whole(ports, ceilings, places, *given)

    monkeypatch.setattr(surge, "hold", hold)
    seen = [sentence for seed in range(SEEDS) for sentence in Simulated(seed, 50, "guards").play().wrong]
    assert any(sentence.startswith("surged:") and "guard/surge/policy/plain" in sentence for sentence in seen)
