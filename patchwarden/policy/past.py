"""Past decisions: one line of a trail, with all that it was decided from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.moments import parse_moment
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Remediation, Transition, replay
from chalicelib.ports import Ledger

_ID = re.compile(r"(\d{12})\.([a-z0-9-]+)\.(m?i-\w+)\.(\w+)#([1-9]\d*)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class PastDecision:
    """The line that holds it, and the remediation as it was before that line."""

    case: Remediation
    line: Transition

    @property
    def id(self) -> str:
        """`<remediation>#<line number>`."""
        return f"{self.line.remediation}#{self.line.number}"

    @property
    def facts(self) -> dict[str, Any]:
        return dict(self.line.evidence["facts"])

    @property
    def finding(self) -> Finding:
        said = self.line.evidence["finding"]
        return Finding(
            node=self.case.node,
            control=Control(said["control"]),
            compliant=said["compliant"],
            observed_at=parse_moment(said["observed_at"]),
            source=Source(said["source"]),
            rule=said["rule"],
            detail=self.facts["detail"],
        )


def is_decision_id(text: str) -> bool:
    return "#" in text


def decision(ledger: Ledger, identity: str) -> PastDecision:
    """The decision of that id; LookupError says what is wrong with it."""
    found = _ID.match(identity.strip())
    if found is None or found[4] not in list(Control):
        raise LookupError(f"{identity} is no decision: write <remediation>#<line number>, as `audit show` numbers them")
    node, control, number = Node(found[1], found[2], found[3]), Control(found[4]), int(found[5])
    lines = ledger.trail(remediation_id(node, control))
    if number > len(lines):
        raise LookupError(f"the trail of {remediation_id(node, control)} has {len(lines)} lines, so no line {number}")
    if not holds_facts(lines[number - 1]):
        decided = ", ".join(f"#{line.number}" for line in lines if holds_facts(line)) or "none"
        raise LookupError(f"line {number} is no decision but {lines[number - 1].cause}; decisions there: {decided}")
    return _past(node, control, lines, number)


def newest(
    ledger: Ledger, node: Node, control: Control | None = None, *, by_policy: bool = False
) -> PastDecision | None:
    """The node's last decision, about that control or any; None if there is none.

    With `by_policy` a line that a policy decided comes first: the facts of others were fetched for less.
    """
    found = []
    for one in Control if control is None else (control,):
        lines = ledger.trail(remediation_id(node, one))
        told = [line for line in lines if holds_facts(line)]
        ruled = [line for line in told if "decision" in line.sets] if by_policy else []
        numbers = [line.number for line in ruled or told]
        found += [_past(node, one, lines, numbers[-1])] if numbers else []
    return max(found, key=lambda past: past.line.at, default=None)


def holds_facts(line: Transition) -> bool:
    return bool(line.evidence.get("facts")) and "compliant" in line.evidence.get("finding", {})


def _past(node: Node, control: Control, lines: Sequence[Transition], number: int) -> PastDecision:
    return PastDecision(replay(node, control, lines[: number - 1]), lines[number - 1])
