"""The crew: threads and their twin with one pair of hands share out works alike."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier, get_ident

import pytest

from chalicelib.adapters.hands import Threads
from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.ports import Crew, OneByOne


@pytest.fixture(params=[OneByOne, Threads, lambda: Threads(1)], ids=["one by one", "threads", "one thread"])
def crew(request: pytest.FixtureRequest) -> Crew:
    made: Crew = request.param()
    return made


def test_answers_come_in_order_and_a_busy_place_is_one_of_them(crew: Crew) -> None:
    def work(number: int) -> int:
        if number == 3:
            raise Temporary("busy")
        if number == 5:
            raise Denied("no")
        return number * number

    made = crew.together([lambda each=each: work(each) for each in range(40)])  # type: ignore[misc]
    assert [each for each in made if isinstance(each, int)] == [n * n for n in range(40) if n not in (3, 5)]
    assert isinstance(made[3], Temporary) and isinstance(made[5], Denied)
    assert crew.together([]) == []


def test_works_that_share_out_works_wait_for_nobody_who_waits_for_them(crew: Crew) -> None:
    def sum_of(depth: int) -> int:
        if not depth:
            return 1
        return sum(each for each in crew.together([lambda: sum_of(depth - 1)] * 6) if isinstance(each, int))

    assert sum_of(4) == 6**4


def test_any_other_error_is_raised_when_everything_that_began_has_ended(crew: Crew) -> None:
    ended: list[int] = []

    def stale() -> None:
        raise Stale("too late")

    with pytest.raises(Stale, match="too late"):
        crew.together([lambda: ended.append(1), stale])
    assert ended == [1]


def test_a_count_that_several_share_is_right(crew: Crew) -> None:
    left = [100]

    def take() -> bool:
        before = left[0]
        if not before:
            return False
        left[0] = before - 1
        return True

    works: list[Callable[[], bool]] = [lambda: crew.alone(take)] * 500
    assert sum(each for each in crew.together(works) if each is True) == 100


def test_threads_wait_at_the_same_time() -> None:
    met = Barrier(4, timeout=60)

    def work() -> int:
        met.wait()  # raises if the others do not come
        return get_ident()

    assert len(set(Threads(4).together([work] * 4))) == 4
