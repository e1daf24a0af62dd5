"""Fixtures: what tests start from, turned into the facts that the service would have gathered."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from chalicelib.core.events import Ignored, parse
from chalicelib.core.facts import NodeState, Patch, PatchState, gather
from chalicelib.core.findings import Control, Finding
from chalicelib.core.findings import Source as FindingSource
from chalicelib.core.moments import parse_moment
from chalicelib.core.nodes import NODE_ID, Node, valid_place
from chalicelib.core.paths import PathError
from chalicelib.core.profile import checked
from chalicelib.core.remediations import Remediation, State
from chalicelib.core.vocabulary import EVERY, FIELDS, place
from patchwarden.policy import fixture_shapes
from patchwarden.policy.fitting import fit
from patchwarden.policy.source import Source, read

ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Fixture:
    """A finding with the remediation before it and the facts about its node."""

    finding: Finding
    case: Remediation
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
    shape = fit(source, fixture_shapes.Fixture) if source.data is not None else None
    if shape is None:
        return None
    finding = _finding(source, shape)
    unread = [steps_of(text) for text in shape.unread]
    for number, steps in enumerate(unread):
        if steps is None:
            source.add("PW606", ("unread", number), f"{shape.unread[number]} is not the path of a fact", _WHOLE)
    if finding is None or None in unread:
        return None
    case = _before(finding, shape)
    facts = gather(finding, case, _node(finding, shape), _patch(finding, shape))
    for steps in unread:
        _put(facts, steps or (), _GONE)
    return Fixture(finding, case, facts)


_WHOLE = "name it whole, without [*] or a filter"


def _finding(source: Source, shape: fixture_shapes.Fixture) -> Finding | None:
    """The finding of the event or the one that stands there, or None with what is wrong with it."""
    if shape.event is None and shape.finding is None:
        source.add("PW202", (), "event is missing", "add the event that Config or SSM sent, or a finding")
        return None
    if shape.event is not None and shape.finding is not None:
        source.add_at_key("PW604", ("finding",), "a fixture has an event or a finding, not both", "remove one of them")
        return None
    if shape.finding is not None:
        return _taken_down(source, shape.finding)
    return _said(source, shape.event)


def _taken_down(source: Source, told: fixture_shapes.FixtureFinding) -> Finding | None:
    for name, good, remedy in (
        ("account", valid_place(told.account, "eu-west-1"), "an account id has 12 digits, in quotes"),
        ("region", valid_place("000000000000", told.region), "a Region is written like eu-west-1"),
        ("node", NODE_ID.match(told.node), "a node is i- or mi- and 17 hex digits"),
    ):
        if not good:
            source.add("PW604", ("finding", name), f"{getattr(told, name)!r} cannot be the {name} of a finding", remedy)
            return None
    node = Node(told.account, told.region, told.node)
    return Finding(
        node, Control(told.control), False, told.observed_at, FindingSource(told.source), told.rule, told.detail
    )


def _said(source: Source, event: object) -> Finding | None:
    finding = parse(event)
    if not isinstance(finding, Finding):
        why = finding.reason if isinstance(finding, Ignored) else "it speaks of no compliance"
        source.add("PW604", ("event",), f"the event is not a finding: {why}", "take one that Config or SSM really sent")
        return None
    if finding.compliant:
        source.add(
            "PW604", ("event",), "the event says compliant: no policy is asked about that", "take a non-compliant one"
        )
        return None
    return finding


def _before(finding: Finding, shape: fixture_shapes.Fixture) -> Remediation:
    past = shape.history
    return Remediation(finding.node, finding.control, state=State(past.state), attempts=past.attempts,
                       first_seen=past.first_seen, last_outcome=past.last_outcome,
                       cools_until=past.cools_until)  # fmt: skip


def _node(finding: Finding, shape: fixture_shapes.Fixture) -> NodeState | None:
    if shape.node is None:
        return None
    return NodeState(id=finding.node.id, kind=finding.node.kind, **shape.node.model_dump())


def _patch(finding: Finding, shape: fixture_shapes.Fixture) -> PatchState | None:
    patch = shape.patch
    if patch is None:
        return None
    missing = [
        Patch(item.id, item.title, item.class_, item.severity, item.state, item.cves) for item in patch.missing or ()
    ]
    return PatchState(
        id=finding.node.id,
        baseline=patch.baseline,
        ours=patch.baseline_ours,
        expected=patch.baseline_expected,
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
    case = replace(
        fixture.case,
        state=_STATES.get(str(history.get("state")), fixture.case.state),
        attempts=int(history.get("attempts", 0)),
        first_seen=_moment(history.get("first_seen")),
        last_outcome=history.get("last_outcome"),
    )
    return Situation(fixture.finding, case, facts)


_GONE = object()
_STATES = {state.value: state for state in State}


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
