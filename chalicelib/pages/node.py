"""Node: one node's whole story as a timeline, with what each step was decided on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chalicelib import lookup, proof
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause, Remediation, Transition
from chalicelib.pages.look import Look
from chalicelib.pages.views import Banner, Card, Link, Step, Table, Timeline, View, brief
from chalicelib.pages.waiting import form_for

SHOWN = 100
"""How many lines one page of the timeline shows."""


def node(look: Look) -> View | None:
    """The page of `account/region/id`; None if nothing is recorded about it."""
    wanted = look.node
    lines = lookup.trail(look.ports.ledger, wanted) if wanted else []
    if wanted is None or not lines:
        return None
    cases = [case for control in Control if (case := look.ports.ledger.head(remediation_id(wanted, control)))]
    intact = lookup.intact(lines)
    found = (
        proof.verify(look.ports.ledger, look.now, node=wanted, vault=look.vault, signer=look.signer)
        if look.query.get("verify")
        else None
    )
    data = {
        "node": str(wanted),
        "intact": intact,
        "remediations": [lookup.summary(case) for case in cases],
        "trail": [line.to_json() for line in lines],
        "verified": None if found is None else _told(found),
    }
    begin = int(look.query.get("skip", 0))
    newest = list(reversed(lines))
    more = str(begin + SHOWN) if begin + SHOWN < len(newest) else None
    asked = (form for case in cases if (form := form_for(case)))
    return View(
        str(wanted),
        "Why is this node where it is, and who decided?",
        data,
        Table("", _COLUMNS, [_row(line) for line in lines]),
        tuple(_cards(cases, intact, len(lines), found)),
        (*asked, Timeline("Timeline, newest first", [_step(line) for line in newest[begin : begin + SHOWN]], more)),
        tuple(_banners(intact, found)),
        (Link("Verify against the signed checkpoints", f"node/{wanted}?verify=1"),),
    )


_COLUMNS = ("number", "at", "before", "cause", "after", "actor", "because", "hash")


def _row(line: Transition) -> tuple[Any, ...]:
    told = line.to_json()
    return tuple(told[name] for name in _COLUMNS)


def _told(found: proof.Verified) -> dict[str, Any]:
    return {
        "lines": found.lines,
        "faults": list(found.faults),
        "checkpoints": found.checkpoints,
        "signed_until": found.signed_until,
        "notes": list(found.notes),
    }


def _banners(intact: bool, found: proof.Verified | None) -> Iterator[Banner]:
    if not intact:
        yield Banner("A line of this trail was changed after it was written: run `patchwarden audit verify`.", "bad")
    if found:
        yield from (Banner(fault, "bad") for fault in found.faults)
        yield from (Banner(f"Not checked: {note}.") for note in found.notes)


def _cards(cases: list[Remediation], intact: bool, lines: int, found: proof.Verified | None) -> Iterator[Card]:
    for case in cases:
        mood = "good" if case.state == "resolved" else "warn" if case.state in ("ticketed", "open") else "plain"
        due = (
            f"next moment {brief(format_moment(case.due))}"
            if case.due
            else f"since {brief(format_moment(case.since))}"
            if case.since
            else ""
        )
        yield Card(case.control.value, case.state.value.replace("_", " "), due, mood)
        yield Card(
            "policy",
            str(case.decision.get("policy") or "none"),
            f"{case.attempts} failed attempts, ticket {case.ticket}"
            if case.ticket
            else f"{case.attempts} failed attempts",
        )
    if not intact or (found and found.faults):
        yield Card("trail", "damaged", counted(lines, "line"), "bad")
    elif found and found.signed_until:
        yield Card("trail", "verified", f"{counted(lines, 'line')}, signed up to {brief(found.signed_until)}", "good")
    else:
        yield Card(
            "trail", "unbroken", f"{counted(lines, 'line')}, each bound to the one before; signatures not checked here"
        )


_KINDS = {
    Cause.INTENDED: "execution",
    Cause.STARTED: "execution",
    Cause.SUCCEEDED: "execution",
    Cause.FAILED: "execution",
    Cause.WITHDRAWN: "execution",
    Cause.REBOOT_NEEDED: "scan",
    Cause.RESOLVED: "scan",
    Cause.GONE: "node",
}


def _kind(line: Transition) -> str:
    if line.evidence.get("approval") or line.evidence.get("rejection"):
        return "approval"
    if line.evidence.get("hold") or line.evidence.get("request"):
        return "person"
    if line.cause is Cause.NOTED:
        return "ticket" if "ticket" in line.sets else "finding" if "finding" in line.evidence else "note"
    return _KINDS.get(line.cause, "decision")


def _step(line: Transition) -> Step:
    same = line.before is line.after and line.number > 1
    moved = f"{line.before.value} to {line.after.value}".replace("_", " ")
    cause = line.cause.value.replace("_", " ")
    return Step(
        at=format_moment(line.at),
        what=cause if same else f"{cause}: {moved}",
        text=line.because,
        actor=line.actor,
        state=line.after.value,
        kind=_kind(line),
        details=tuple(_details(line)),
        hash=line.hash,
        under=_under(line),
    )


def _under(line: Transition) -> str:
    made = line.sets.get("decision") or {}
    return f"{made['policy']} {str(made['policy_digest'])[:12]}" if made.get("policy_digest") else ""


def _details(line: Transition) -> Iterator[tuple[str, str]]:
    yield "line", f"{line.remediation} #{line.number}"
    yield from _found(line.evidence)
    made = line.sets.get("decision") or {}
    for name in ("action", "policy", "policy_digest", "set_digest", "window", "closes", "deadline", "ask_until"):
        if made.get(name):
            yield name.replace("_", " "), str(made[name])
    for shadow in made.get("shadows") or ():
        yield "shadow", f"{shadow['policy']} would {shadow['action']}"
    for name in ("execution", "batch", "ticket", "attempts", "due", "cools_until", "last_outcome"):
        if line.sets.get(name):
            yield name.replace("_", " "), str(line.sets[name])
    for name, value in line.evidence.items():
        if name not in ("finding", "facts", "scan"):
            yield name.replace("_", " "), json.dumps(value, sort_keys=True, ensure_ascii=False)[:2000]
    yield "previous hash", line.previous


def _found(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The finding, what the node was like, and its scan, as far as the line recorded them."""
    finding = evidence.get("finding")
    if finding:
        says = "compliant" if finding.get("compliant") else "not compliant"
        rule = f", rule {finding['rule']}" if finding.get("rule") else ""
        yield "finding", f"{finding.get('source')} says {says}, observed {finding.get('observed_at')}{rule}"
    facts = evidence.get("facts") or {}
    seen = facts.get("node") or {}
    if seen:
        parts = [
            str(seen[name]) for name in ("kind", "platform_name", "platform_version", "state", "ping") if seen.get(name)
        ]
        yield "node", ", ".join(parts)
        for name, value in sorted((seen.get("tags") or {}).items()):
            yield f"tag {name}", str(value)
    patch = evidence.get("scan") or facts.get("patch")
    if patch:
        counts = patch.get("counts") or {}
        told = (
            ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)
            or "nothing missing"
        )
        yield (
            "scan",
            f"{patch.get('operation')} of {patch.get('operation_end')}: {told}; baseline {patch.get('baseline')}",
        )
        for one in (patch.get("missing") or ())[:20]:
            yield "missing", f"{one.get('title') or one.get('id')} ({one.get('class')}, {one.get('severity')})"
