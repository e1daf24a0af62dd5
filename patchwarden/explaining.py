"""Explaining: why a node is where it is, and what would be done with an event. It only reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib import lookup
from chalicelib.core.conditions import Truth
from chalicelib.core.evaluation import Evaluation, evaluate
from chalicelib.core.events import Ignored, parse
from chalicelib.core.findings import Control, Finding, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Remediation
from chalicelib.intake import consider
from chalicelib.ports import Ports


def explain_event(ports: Ports, event: object) -> dict[str, Any]:
    """`finding` or None, `ignored_because` or None, `decision` or None: what intake would make of the event now."""
    said = parse(event)
    if not isinstance(said, Finding):
        reason = said.reason if isinstance(said, Ignored) else f"no finding but a {type(said).__name__}"
        return {"finding": None, "ignored_because": reason, "decision": None}
    told = {
        "account": said.node.account,
        "region": said.node.region,
        "node": said.node.id,
        "control": said.control.value,
        "compliant": said.compliant,
        "observed_at": format_moment(said.observed_at),
    }
    if said.node.location not in ports.policies.active().settings.locations:
        return {
            "finding": told,
            "ignored_because": f"{said.node.location} is not in the scope of _set.yaml",
            "decision": None,
        }
    case = ports.ledger.head(said.remediation) or Remediation(said.node, said.control)
    found = consider(ports, said, case)
    made = found.decision.sets.get("decision", {})
    decision = {"cause": found.decision.cause.value, "because": found.decision.because, "action": made.get("action"),
                "policy": made.get("policy"), "window": made.get("window"), "starts": found.decision.sets.get("due"),
                "policies": _policies(ports, found.facts)}  # fmt: skip
    return {"finding": told, "ignored_because": None, "decision": decision}


def explain_node(ports: Ports, node: Node) -> dict[str, Any]:
    """Each remediation of the node: where it stands, what each policy said of the newest facts, and its steps."""
    heads = (ports.ledger.head(remediation_id(node, control)) for control in Control)
    return {"node": str(node), "remediations": [_case(ports, case) for case in heads if case]}


def _case(ports: Ports, case: Remediation) -> dict[str, Any]:
    lines = ports.ledger.trail(case.id)
    facts = next((line.evidence["facts"] for line in reversed(lines) if line.evidence.get("facts")), None)
    steps = [{"number": line.number, "at": format_moment(line.at), "cause": line.cause.value, "after": line.after.value,
              "because": line.because} for line in lines]  # fmt: skip
    return {**lookup.summary(case), "policies": _policies(ports, facts) if facts else [], "steps": steps}


def _policies(ports: Ports, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [_told(each) for each in evaluate(ports.policies.active(), facts, ports.clock.now())]


def _told(each: Evaluation) -> dict[str, Any]:
    """One policy's evaluation in JSON types: `why` names the first condition that decided."""
    policy = each.policy
    held = [
        {
            "group": one.group,
            "path": one.condition.path.text,
            "operator": one.condition.operator,
            "wanted": one.condition.operand,
            "found": one.found,
            "truth": one.truth.name.lower(),
            "why": one.why,
            "line": one.clause.line,
        }
        for one in each.held
    ]
    return {
        "policy": policy.id,
        "band": policy.band.value,
        "action": policy.then.action.value,
        "standing": each.standing.value,
        "outcome": _OUTCOME[each.truth],
        "origin": policy.origin,
        "why": next((_sentence(one) for one in held if _against(one)), _KEPT[each.truth]),
        "conditions": held,
    }


_OUTCOME = {Truth.TRUE: "matches", Truth.FALSE: "no", Truth.UNKNOWN: "unknown"}


_KEPT = {
    Truth.TRUE: "every condition holds",
    Truth.FALSE: "none of its any-conditions holds",
    Truth.UNKNOWN: "its any-conditions cannot be evaluated",
}


def _against(one: Mapping[str, Any]) -> bool:
    """Whether this condition alone keeps the policy from matching."""
    return one["group"] != "any" and str(one["truth"]) != ("false" if one["group"] == "none" else "true")


def _sentence(one: Mapping[str, Any]) -> str:
    found = one["why"] or f"found {one['found']!r}"
    return f"{one['group']}: {one['path']} {one['operator']} {one['wanted']!r}: {found}"
