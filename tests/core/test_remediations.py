"""The law of states: what may follow what, and that a remediation is what its lines make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.audit import fault
from chalicelib.core.errors import IllegalTransition
from chalicelib.core.findings import Control
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import (
    ACTIVE,
    TRANSITIONS,
    Cause,
    Remediation,
    State,
    Transition,
    advance,
    apply,
    replay,
)

NODE = Node("111122223333", "eu-west-1", "i-0123456789abcdef0")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
NEW = Remediation(NODE, Control.PATCH)


def trail(causes: Sequence[Cause]) -> tuple[Remediation, list[Transition]]:
    case, lines = NEW, list[Transition]()
    for number, cause in enumerate(causes):
        line = advance(case, cause, because=f"step {number}", now=NOW + timedelta(seconds=number))
        case, lines = apply(case, line), [*lines, line]
    return case, lines


@st.composite
def lawful(draw: st.DrawFn) -> list[Cause]:
    state, causes = State.OPEN, []
    for _ in range(draw(st.integers(1, 12))):
        cause = draw(st.sampled_from(sorted(TRANSITIONS[state])))
        causes.append(cause)
        state = TRANSITIONS[state][cause]
    return causes


@pytest.mark.parametrize(("state", "cause"), list(product(State, Cause)))
def test_every_pair_is_in_the_table_or_refused(state: State, cause: Cause) -> None:
    case = replace(NEW, state=state)
    if cause in TRANSITIONS[state]:
        assert apply(case, advance(case, cause, because="x", now=NOW)).state is TRANSITIONS[state][cause]
        return
    with pytest.raises(IllegalTransition, match=f"is {state}: it cannot be {cause}"):
        advance(case, cause, because="x", now=NOW)


def test_every_state_has_a_row_and_can_end() -> None:
    assert set(TRANSITIONS) == set(State)
    for state, row in TRANSITIONS.items():
        assert row[Cause.RESOLVED] is State.RESOLVED and row[Cause.GONE] is State.GONE, state


def test_a_note_never_moves() -> None:
    assert all(row[Cause.NOTED] is state for state, row in TRANSITIONS.items())


def test_only_a_queued_case_can_be_intended_and_only_a_verifying_one_waits_for_a_reboot() -> None:
    assert [state for state, row in TRANSITIONS.items() if Cause.INTENDED in row] == [State.QUEUED]
    assert [state for state, row in TRANSITIONS.items() if Cause.REBOOT_NEEDED in row] == [State.VERIFYING]


def test_nothing_decides_over_the_head_of_an_execution() -> None:
    decided = {Cause.OBSERVED, Cause.DEFERRED, Cause.QUEUED, Cause.EXEMPTED}
    assert all(not decided & set(TRANSITIONS[state]) for state in ACTIVE)


@given(lawful())
def test_replaying_the_lines_gives_the_case(causes: list[Cause]) -> None:
    case, lines = trail(causes)
    again = [Transition.from_json(line.to_json()) for line in lines]
    assert replay(NODE, Control.PATCH, again) == case
    assert Remediation.from_json(case.to_json()) == case
    assert fault(case, again) is None


@given(lawful(), st.data())
def test_any_single_damage_to_a_trail_is_found(causes: list[Cause], data: st.DataObject) -> None:
    case, lines = trail(causes)
    at = data.draw(st.integers(0, len(lines) - 1))
    damage = data.draw(st.sampled_from(["edit", "drop", "double", "swap"]))
    if damage == "edit":
        edits: list[dict[str, Any]] = [
            {"because": "y"},
            {"actor": "z"},
            {"evidence": {"a": 1}},
            {"at": NOW - timedelta(1)},
        ]
        lines[at] = replace(lines[at], **data.draw(st.sampled_from(edits)))
    elif damage == "drop":
        del lines[at]
    elif damage == "double":
        lines.insert(at, lines[at])
    elif at + 1 < len(lines):
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    else:
        del lines[at]
    assert fault(case, lines) is not None


def test_a_rehashed_edit_is_found_at_the_next_line() -> None:
    case, lines = trail([Cause.QUEUED, Cause.INTENDED, Cause.STARTED])
    forged = replace(lines[0], because="nothing to see", hash="")
    from chalicelib.core.chain import link

    lines[0] = replace(forged, hash=link(forged.previous, forged.to_json()))
    assert fault(case, lines) == f"{case.id}: line 2 does not follow from the line before it"


def test_the_sets_of_a_line_are_the_only_way_to_change_a_field() -> None:
    line = advance(NEW, Cause.QUEUED, because="go", now=NOW, sets={"due": "2026-11-23T12:00:00.000Z", "leases": ["a"]})
    case = apply(NEW, line)
    assert (case.due, case.leases, case.because, case.since) == (NOW, ("a",), "go", NOW)


def test_a_note_keeps_the_sentence_and_the_moment_of_the_state() -> None:
    case, _ = trail([Cause.TICKETED, Cause.NOTED])
    assert (case.because, case.since, case.number) == ("step 0", NOW, 2)


def test_a_field_of_a_newer_release_is_left_aside() -> None:
    case = Remediation(NODE, Control.PATCH)
    assert Remediation.from_json({**case.to_json(), "colour": "blue"}) == case
