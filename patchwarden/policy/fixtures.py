"""Fixtures: what tests start from, turned into the facts that the service would have gathered."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from chalicelib.core.events import Ignored, parse
from chalicelib.core.facts import NodeState, Patch, PatchState, gather
from chalicelib.core.findings import Finding
from chalicelib.core.moments import parse_moment
from chalicelib.core.paths import PathError
from chalicelib.core.profile import checked
from chalicelib.core.remediations import Remediation
from chalicelib.core.vocabulary import EVERY, FIELDS, place
from patchwarden.policy import shapes
from patchwarden.policy.fitting import fit
from patchwarden.policy.source import Source, read

ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Fixture:
    """A finding with the facts about its node."""

    finding: Finding
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Situation:
    """A fixture as a test changed it: all that a decision is made from."""

    finding: Finding
    case: Remediation
    facts: dict[str, Any]


def read_fixtures(directory: Path) -> tuple[dict[str, Fixture | None], list[Source]]:
    """The fixtures by name, None for one that cannot be used, and the sources with their problems."""
    found: dict[str, Fixture | None] = {}
    sources = []
    for path in sorted(path for path in directory.glob("*") if path.suffix in ENDINGS):
        source = read(path)
        found[path.stem] = _fixture(source)
        sources.append(source)
    return found, sources


def _fixture(source: Source) -> Fixture | None:
    shape = fit(source, shapes.Fixture) if source.data is not None else None
    if shape is None:
        return None
    finding = parse(shape.event)
    if not isinstance(finding, Finding):
        why = finding.reason if isinstance(finding, Ignored) else "it speaks of no compliance"
        source.add("PW604", ("event",), f"the event is not a finding: {why}", "take one that Config or SSM really sent")
        return None
    if finding.compliant:
        source.add(
            "PW604", ("event",), "the event says compliant: no policy is asked about that", "take a non-compliant one"
        )
        return None
    return Fixture(finding, gather(finding, _before(finding, shape), _node(finding, shape), _patch(finding, shape)))


def _before(finding: Finding, shape: shapes.Fixture) -> Remediation:
    past = shape.history
    return Remediation(finding.node, finding.control, attempts=past.attempts, first_seen=past.first_seen,
                       last_outcome=past.last_outcome)  # fmt: skip


def _node(finding: Finding, shape: shapes.Fixture) -> NodeState | None:
    if shape.node is None:
        return None
    return NodeState(id=finding.node.id, kind=finding.node.kind, **shape.node.model_dump())


def _patch(finding: Finding, shape: shapes.Fixture) -> PatchState | None:
    patch = shape.patch
    if patch is None:
        return None
    missing = [Patch(item.id, item.title, item.class_, item.severity, item.state) for item in patch.missing or ()]
    return PatchState(
        id=finding.node.id,
        baseline=patch.baseline,
        operation=patch.operation,
        ended_at=patch.operation_end,
        snapshot=patch.snapshot,
        patches=None if patch.missing is None else tuple(missing),
        **patch.counts.model_dump(),
    )


@lru_cache(maxsize=4096)
def steps_of(text: str) -> tuple[str | int, ...] | None:
    """The steps of a path to a fact or to a block of facts; None if there is no such fact."""
    try:
        steps = checked(text).steps
    except PathError:
        return None
    where = place(steps)
    known = any(steps and key[: len(where)] == where for key in FIELDS)
    return steps if known and EVERY not in steps else None


def situation(fixture: Fixture, put: Mapping[str, Any], drop: list[str]) -> Situation:
    """The fixture with some facts set and some dropped; what the history then says is what happened before.

    LookupError if an item is to be set that no list has.
    """
    facts = copy.deepcopy(fixture.facts)
    for text, value in put.items():
        _put(facts, steps_of(text) or (), value)
    for text in drop:
        _put(facts, steps_of(text) or (), _GONE)
    history = facts.get("history", {})
    case = Remediation(
        fixture.finding.node,
        fixture.finding.control,
        attempts=int(history.get("attempts", 0)),
        first_seen=_moment(history.get("first_seen")),
        last_outcome=history.get("last_outcome"),
    )
    return Situation(fixture.finding, case, facts)


_GONE = object()


def _put(facts: dict[str, Any], steps: tuple[str | int, ...], value: object) -> None:
    """Set one fact, with the blocks around it, or drop it if it is there; LookupError for an item that no list has."""
    *around, last = steps
    inside: Any = facts
    for step in around:
        if isinstance(inside, dict) and step not in inside:
            if value is _GONE:
                return
            inside[step] = {}
        inside = inside[step]
    if value is not _GONE:
        inside[last] = value
    elif isinstance(inside, dict):
        inside.pop(last, None)
    else:
        del inside[last]


def _moment(value: object) -> datetime | None:
    try:
        return parse_moment(str(value))
    except ValueError:
        return None
