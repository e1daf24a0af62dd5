"""Every single fault at every outside call of every path, and pairs of them: no promise breaks.

All pairs of the happy path's own calls, all of the ticket's way, and a sample of the rest; `make soak` tries them all.
"""

from __future__ import annotations

from itertools import combinations, product

import pytest

from patchwarden.simulate.faults import EVERYWHERE, Fault, possible
from tests.simulation.pairs import broken, main, sampled, seconds, singles
from tests.simulation.paths import PATHS, calls, simulated, wrong


@pytest.mark.parametrize("path", PATHS)
def test_a_path_without_faults_ends_where_it_should(path: str) -> None:
    report = simulated(path, {}).play()
    assert report.wrong == ()
    assert report.states == {PATHS[path][2]: 1}


@pytest.mark.parametrize("path", PATHS)
def test_every_single_fault_at_every_call_keeps_every_promise(path: str) -> None:
    tried = {(number, fault): wrong(path, {number: fault})
             for number, call in enumerate(calls(path), 1) for fault in possible(call)}  # fmt: skip
    assert len(tried) > 4 * len(calls(path))
    assert {key: sentences for key, sentences in tried.items() if sentences} == {}


@pytest.mark.parametrize("first", EVERYWHERE)
def test_every_pair_of_faults_on_the_happy_path_keeps_every_promise(first: Fault) -> None:
    own = range(1, singles("happy")[-1][0] + 1)
    pairs = [((one, first), (other, second)) for (one, other), second in product(combinations(own, 2), EVERYWHERE)]
    assert len(pairs) > 2500
    assert broken("happy", pairs) == {}


@pytest.mark.parametrize("path", ["ticket", "ticket then fixed"])
def test_every_pair_of_faults_on_the_way_to_a_ticket_keeps_every_promise(path: str) -> None:
    pairs = [(first, second) for first in singles(path) for second in seconds(path, first)]
    assert len(pairs) > 500
    assert broken(path, pairs) == {}


@pytest.mark.parametrize(("path", "firsts", "each"), [("happy", 60, 10), ("retry", 60, 10)])
def test_a_sample_of_pairs_with_faults_in_the_repair_keeps_every_promise(path: str, firsts: int, each: int) -> None:
    pairs = sampled(path, firsts, each)
    assert len(pairs) == firsts * each
    assert broken(path, pairs) == {}


def test_the_command_that_tries_all_pairs_says_how_many_and_which_broke(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.simulation.pairs.singles", lambda path: [(1, Fault.LOST)])
    assert main(["ticket"]) == 0
    assert "0 of all so far broke a promise" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["tickets"])
    assert "there is no path 'tickets': known are happy, retry" in capsys.readouterr().err
