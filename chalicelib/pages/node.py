"""Node: one node's whole story as a timeline, with what each step was decided on."""

from __future__ import annotations

import json
from collections.abc import Iterator

from chalicelib import lookup
from chalicelib.core.approvals import asks
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import parse_node
from chalicelib.core.remediations import Remediation, Transition
from chalicelib.pages.views import Ask, Banner, Card, Step, Table, Timeline, View
from chalicelib.ports import Ports


def node(ports: Ports, path: str) -> View | None:
    """The page of `account/region/id`; None if nothing is recorded about it."""
    wanted = parse_node(path)
    lines = lookup.trail(ports.ledger, wanted) if wanted else []
    if wanted is None or not lines:
        return None
    cases = [case for control in Control if (case := ports.ledger.head(remediation_id(wanted, control)))]
    intact = lookup.intact(lines)
    table = Table("", ("number", "at", "before", "cause", "after", "actor", "because", "hash"),
                  [(line.number, format_moment(line.at), line.before.value, line.cause.value, line.after.value,
                    line.actor, line.because, line.hash) for line in lines])  # fmt: skip
    data = {"node": str(wanted), "intact": intact, "remediations": [lookup.summary(case) for case in cases],
            "trail": [line.to_json() for line in lines]}  # fmt: skip
    return View(
        str(wanted),
        "Why is this node where it is, and who decided?",
        data,
        table,
        tuple(_cards(cases, intact, len(lines))),
        (*_asked(cases), Timeline("Timeline, newest first", [_step(line) for line in reversed(lines)])),
        () if intact else (Banner("A line of this trail was changed after it was written: run audit verify", "bad"),),
    )


def _cards(cases: list[Remediation], intact: bool, lines: int) -> Iterator[Card]:
    for case in cases:
        mood = "good" if case.state == "resolved" else "warn" if case.state == "ticketed" else "plain"
        due = f"next moment {format_moment(case.due)}" if case.due else f"since {format_moment(case.since)}" \
            if case.since else ""  # fmt: skip
        yield Card(case.control.value, case.state.value, due, mood)
        yield Card("policy", str(case.decision.get("policy") or "none"), f"{case.attempts} failed attempts")
    yield Card("trail", "whole" if intact else "damaged", f"{lines} lines, each bound to the one before",
               "good" if intact else "bad")  # fmt: skip


def _asked(cases: list[Remediation]) -> Iterator[Ask]:
    for case in cases:
        if asks(case.decision):
            yield Ask("It asks for a yes", "say", (("approve", "Approve"), ("reject", "Reject")),
                      {"remediation": case.id}, case.because)  # fmt: skip


def _step(line: Transition) -> Step:
    return Step(
        at=format_moment(line.at),
        what=line.cause.value if line.before is line.after else f"{line.cause.value}: {line.before} to {line.after}",
        text=line.because,
        actor=line.actor,
        state=line.after.value,
        details=tuple(_details(line)),
        hash=line.hash,
    )


def _details(line: Transition) -> Iterator[tuple[str, str]]:
    made = line.sets.get("decision") or {}
    for name in ("policy", "policy_digest", "set_digest", "action", "window", "deadline"):
        if made.get(name):
            yield name.replace("_", " "), str(made[name])
    for name, value in line.evidence.items():
        yield name, json.dumps(value, sort_keys=True, ensure_ascii=False)[:2000]
