"""The trail of policy sets: what was published is chained, and no change of it stays hidden."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from chalicelib.core.publications import Act, Publication, fault, publication
from tests.sets import NOW


def trail() -> list[Publication]:
    lines: list[Publication] = []
    for number, digest in enumerate("abca"):
        last = lines[-1] if lines else None
        lines.append(publication(last, Act.PUBLISHED, digest * 64, by="ops", because=f"reason {number}", now=NOW,
                                 summary={"decisions": number}))  # fmt: skip
    return lines


def test_a_trail_as_it_was_written_has_no_fault() -> None:
    assert fault(None, []) is None
    assert fault(trail()[-1], trail()) is None


def test_a_publication_survives_json() -> None:
    for line in trail():
        assert Publication.from_json(line.to_json()) == line


@pytest.mark.parametrize("field", [name for name in Publication.__slots__ if name != "hash"])
def test_no_field_of_a_line_can_be_changed_unseen(field: str) -> None:
    lines = trail()
    told: dict[str, Any] = copy.deepcopy(lines[1].to_json())
    other: dict[str, Any] = {"number": 7, "at": "2026-11-23T12:00:00.001Z", "act": "rolled_back", "summary": {"x": 1}}
    told[field] = other.get(field, "else")
    found = fault(lines[-1], [lines[0], Publication.from_json(told), *lines[2:]])
    assert found is not None
    assert "line 2" in found


def test_a_dropped_a_moved_and_a_cut_off_line_are_named() -> None:
    lines = trail()
    assert fault(lines[-1], [lines[0], *lines[2:]]) == "policies: line 2 is missing; line 3 stands in its place"
    assert "line 2" in str(fault(lines[-1], [lines[0], lines[2], lines[1], lines[3]]))
    assert fault(lines[-1], lines[:-1]) is not None
    assert fault(None, lines) is not None
    assert fault(lines[-1], []) is not None


def test_a_set_put_in_force_beside_the_trail_is_seen() -> None:
    lines = trail()
    forged = publication(lines[-2], Act.PUBLISHED, "e" * 64, by="ops", because="", now=NOW)
    assert "another line 4" in str(fault(forged, lines))
