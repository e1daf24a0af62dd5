"""Failures: list what came to nothing, and send it again to the function that it was for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from chalicelib.core.errors import Denied, Stale, Temporary
from chalicelib.core.journal import Kind, entry, subject_of
from chalicelib.core.letters import Failure, read
from chalicelib.ports import Clock, Failures, Functions, Ledger

MOST = 1000
"""Letters that are looked at in one go."""

TRIES = 3


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one failure. `done`: its function took it, and the letter is gone."""

    failure: Failure
    done: bool
    because: str


def lying(failures: Failures, most: int = MOST) -> list[Failure]:
    """What lies in the queues now, the oldest first; it stays there."""
    letters = failures.letters(most)
    for letter in letters:
        failures.put_back(letter)
    return [read(letter) for letter in letters]


def redrive(
    failures: Failures, functions: Functions, ledger: Ledger, clock: Clock, *, only: Collection[str] | None, by: str,
    most: int = MOST,
) -> list[Redriven]:  # fmt: skip
    """Send each failure (or those of these ids only) to its function again; the letter goes when that succeeded.

    Safe at any later time: every handler decides on what is so then. What cannot be sent stays, with its reason.
    """
    done = []
    for letter in failures.letters(most):
        if only is not None and letter.id not in only:
            failures.put_back(letter)
            continue
        found = _again(read(letter), functions, ledger, clock, by)
        (failures.discard if found.done else failures.put_back)(letter)
        done.append(found)
    return done


def _again(failure: Failure, functions: Functions, ledger: Ledger, clock: Clock, by: str) -> Redriven:
    if failure.function is None:
        return Redriven(failure, False, failure.because)
    _say(ledger, clock, failure, "redriven", failure.because, by)
    try:
        functions.invoke(failure.function, failure.payload)
    except (Temporary, Denied) as error:
        _say(ledger, clock, failure, "failed again", str(error), by)
        return Redriven(failure, False, f"failed again: {error}")
    return Redriven(failure, True, f"{failure.function} took it")


def _say(ledger: Ledger, clock: Clock, failure: Failure, what: str, because: str, by: str) -> None:
    """One entry, before the act and after its failure; who loses a race reads again."""
    subject = subject_of(Kind.FAILURE, failure.letter.id)
    value = {"queue": failure.letter.queue, "function": failure.function, "about": failure.about}
    for _ in range(TRIES):
        last = ledger.entry(subject)
        try:
            ledger.enter(entry(last, subject, what, because=because, actor=by, now=clock.now(), value=value))
        except Stale:
            continue
        return
    raise Temporary(f"journal {subject} is written to by others all the time: come again")
