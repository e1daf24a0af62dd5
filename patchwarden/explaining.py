"""Explaining: what was, is or would be decided about a finding, and what each policy said to it. It only reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chalicelib import lookup, wiring
from chalicelib.core.conditions import Truth
from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.evaluation import Evaluation, Standing, Verdict, evaluate, judge
from chalicelib.core.events import ExecutionUpdate, Ignored, NodeUpdate, parse
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node
from chalicelib.core.pauses import Pause
from chalicelib.core.policies import Policy, PolicySet
from chalicelib.core.remediations import Remediation, State
from chalicelib.intake import consider
from chalicelib.pause import in_force
from chalicelib.ports import Ports
from patchwarden.policy.past import PastDecision, newest

Told = dict[str, Any]
"""An explanation in JSON types."""


@dataclass(frozen=True, slots=True)
class Question:
    """All that a decision is made from."""

    finding: Finding
    case: Remediation
    facts: Mapping[str, Any]
    policies: PolicySet
    now: datetime


def explain(asked: Question) -> Told:
    """`finding`, `ignored_because` (None), `decision` with its `policies` in rank order, `now` and `set`."""
    made = decide(asked.finding, asked.case, asked.facts, asked.policies, asked.now)
    return {**_asked(asked), "ignored_because": None, "decision": _decision(asked, made)}


def explain_event(
    ports: Ports, event: object, *, policies: PolicySet | None = None, now: datetime | None = None
) -> Told:
    """What intake would make of the event; `finding` None: it is none, `ignored_because` says why nothing is done."""
    ports = replace(
        ports,
        policies=wiring.fixed(policies) if policies else ports.policies,
        clock=_Then(now) if now else ports.clock,
    )
    said = parse(event)
    if not isinstance(said, Finding):
        reason = said.reason if isinstance(said, Ignored) else _OTHERS[type(said)]
        return {"finding": None, "ignored_because": reason, "decision": None}
    active = ports.policies.active()
    if said.node.location not in active.settings.locations:
        reason = f"{said.node.location} is not in the scope of _set.yaml"
        source = said.source.value
        return {"finding": _finding(said), "source": source, "ignored_because": reason, "decision": None}
    case = ports.ledger.head(said.remediation) or Remediation(said.node, said.control)
    found = consider(ports, said, case)
    return explain(Question(said, case, found.facts, active, ports.clock.now()))


def explain_node(ports: Ports, node: Node, *, policies: PolicySet | None = None, now: datetime | None = None) -> Told:
    """Each remediation of the node: where it stands, what would be decided on the newest facts, and its steps."""
    heads = (ports.ledger.head(remediation_id(node, control)) for control in Control)
    chosen, moment = policies or ports.policies.active(), now or ports.clock.now()
    pauses = in_force(ports.ledger, moment)
    told = [{**_case(ports, case, chosen, moment), "paused": _paused(pauses, case)} for case in heads if case]
    return {"node": str(node), "remediations": told}


def _paused(pauses: tuple[Pause, ...], case: Remediation) -> Told | None:
    """The pause that keeps the case from starting."""
    return next((pause.to_json() for pause in pauses if pause.holds(case)), None)


def explain_past(past: PastDecision, policies: PolicySet, now: datetime | None = None) -> Told:
    """What these policies say to what a past decision was made from, beside what was `recorded` then."""
    told = explain(Question(past.finding, past.case, past.facts, policies, now or past.line.at))
    made = past.line.sets.get("decision", {})
    recorded = {"id": past.id, "at": format_moment(past.line.at), "cause": past.line.cause.value,
                "because": past.line.because, "policy": made.get("policy"), "action": made.get("action"),
                "due": past.line.sets.get("due"), "set": made.get("set_digest")}  # fmt: skip
    same = all(recorded[name] == told["decision"][name] for name in ("cause", "policy", "action"))
    return {**told, "recorded": {**recorded, "same": same}}


_OTHERS: dict[type, str] = {
    ExecutionUpdate: "it says how an execution stands, nothing about compliance: the outcome is read from AWS",
    NodeUpdate: "it says how an instance stands, nothing about compliance: an open remediation is noted or closed",
}


class _Then:
    """A clock that stands still."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits for an explanation")


def _case(ports: Ports, case: Remediation, policies: PolicySet, now: datetime) -> Told:
    steps = [{"number": line.number, "at": format_moment(line.at), "cause": line.cause.value, "after": line.after.value,
              "because": line.because} for line in ports.ledger.trail(case.id)]  # fmt: skip
    why = next((str(step["because"]) for step in reversed(steps) if str(step["because"]).startswith("held by")), None)
    summary = {**lookup.summary(case), "held_because": why if case.held else None}
    past = newest(ports.ledger, case.node, case.control, by_policy=True)
    if past is None:
        return {**summary, "decision": None, "policies": [], "steps": steps}
    detail = past.facts["detail"]
    finding = Finding(case.node, case.control, False, case.observed_at or now, Source.AGAIN, detail=detail)
    asked = Question(finding, case, past.facts, policies, now)
    closed = case.state in (State.RESOLVED, State.GONE)
    told = {**_asked(asked), "decision": None, "policies": _policies(asked)} if closed else explain(asked)
    if closed:
        told["closed_because"] = f"{case.state.value}: nothing to decide; the last decision was line {past.line.number}"
    listed = told.get("policies") or told["decision"]["policies"]
    return {**summary, **told, "policies": listed, "steps": steps}


def _asked(asked: Question) -> Told:
    return {"finding": _finding(asked.finding), "source": asked.finding.source.value,
            "now": format_moment(asked.now), "set": asked.policies.digest}  # fmt: skip


def _finding(said: Finding) -> Told:
    return {
        "account": said.node.account,
        "region": said.node.region,
        "node": said.node.id,
        "control": said.control.value,
        "compliant": said.compliant,
        "observed_at": format_moment(said.observed_at),
    }


def _decision(asked: Question, decision: Decision) -> Told:
    """`starts` is the moment that this decision sets, `next` the one that holds after it."""
    made, due = decision.sets.get("decision", {}), asked.case.due
    starts = decision.sets.get("due")
    kept = format_moment(due) if due and "due" not in decision.sets else None
    return {"cause": decision.cause.value, "because": decision.because, "action": made.get("action"),
            "policy": made.get("policy"), "window": made.get("window"), "starts": starts, "next": starts or kept,
            "wave": made["wave"] + 1 if "wave" in made else None,
            "policies": _policies(asked)}  # fmt: skip


def _policies(asked: Question) -> list[Told]:
    """Each policy's evaluation, with its `result` and `because`: why it won, or why it did not."""
    verdict = judge(asked.policies, asked.facts, asked.now)
    held = evaluate(asked.policies, asked.facts, asked.now)
    matching = sum(one.truth is Truth.TRUE and one.standing is Standing.ENFORCED for one in held)
    return [{**one.to_json(), **_result(one, verdict, matching)} for one in held]


def _result(one: Evaluation, verdict: Verdict, matching: int) -> Told:
    policy, winner = one.policy, verdict.winner
    if one.standing is Standing.OFF:
        return _is("off", "mode: off, so it is not judged")
    if one.standing is Standing.ENDED:
        assert policy.expires is not None, "only a policy that expires can have ended"
        return _is("ended", f"it ended at {format_moment(policy.expires)}")
    if one.truth is Truth.FALSE:
        return _is("no", one.why)
    if one.standing is Standing.SHADOW:
        why = one.reach.why if one.reach else "mode: shadow"
        return _is("shadow", f"{'it matches' if one.truth is Truth.TRUE else one.why}, but never decides here: {why}")
    if one.truth is Truth.UNKNOWN:
        above = any(doubt.policy == policy.id for doubt in verdict.unknown)
        return _is("unknown", f"{one.why}{_DOUBT[above]}")
    assert winner is not None, "an enforced policy that matches has a winner at or above it"
    if policy.id != winner.id:
        return _is("lost", _ahead(winner, policy))
    if verdict.unknown:
        return _is("held", f"it would win, but {verdict.unknown[0].policy} above it could not be evaluated")
    reach = f"; {one.reach.why}" if one.reach else ""
    return _is("won", ("the only one that matches" if matching == 1 else f"the first of {matching} that match") + reach)


_DOUBT = {
    True: "; it may match, so a person decides",
    False: "; it ranks below the winner, so it raises no doubt",
}


def _is(result: str, because: str) -> Told:
    return {"result": result, "because": because}


def _ahead(winner: Policy, other: Policy) -> str:
    """By which part of its rank the winner stands above another policy that matches."""
    mine, yours = winner.rank, other.rank
    if mine[0] != yours[0]:
        return f"{winner.id} is in band {winner.band}, which stands above {other.band}"
    if mine[1] != yours[1]:
        return f"{winner.id} is more careful: {winner.then.action} goes before {other.then.action}"
    if mine[2] != yours[2]:
        return f"{winner.id} has priority {winner.priority} against {other.priority}"
    return f"{winner.id} comes first by its id: all else is equal"
