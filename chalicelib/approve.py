"""Approve: a person says yes or no to a remediation whose policy asks for that."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.core.approvals import asks, person, proved, standing
from chalicelib.core.envelopes import cleaned
from chalicelib.core.errors import PolicyError, Stale, Temporary
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.policies import Policy
from chalicelib.core.remediations import LONGEST_ACTOR, Cause, Remediation, State, Transition, sentence
from chalicelib.intake import TRIES, Receipt, again, in_force
from chalicelib.ports import Ports
from chalicelib.record import record


def approve(ports: Ports, remediation: str, *, by: str, because: str) -> Receipt:
    """Say yes. With the last one that the policy asks for, the case is decided again, at once.

    Status `decided` (that was enough), `noted` (others must say yes too), `duplicate` (this person has said so before),
    or `refused`, and then nothing was written.
    """
    return _said(ports, remediation, by, because, yes=True)


def reject(ports: Ports, remediation: str, *, by: str, because: str) -> Receipt:
    """Say no: it stays a person's turn and starts nothing, until somebody requests it anew. Status as of `approve`."""
    return _said(ports, remediation, by, because, yes=False)


def _said(ports: Ports, remediation: str, by: str, because: str, *, yes: bool) -> Receipt:
    who = cleaned(by)
    if not who or not cleaned(because):
        return Receipt("refused", "an approval needs a name and a reason: both stand in the trail", remediation)
    with ports.tracing.verb("approve"):
        for _ in range(TRIES):
            case = ports.ledger.head(remediation)
            policy = _asking(ports, case)
            if case is None or isinstance(policy, str):
                return Receipt("refused", str(policy), remediation, case.state.value if case else None)
            wrong = _wrong(ports, case, policy, who)
            if wrong:
                return Receipt("refused", wrong, case.id, case.state.value)
            try:
                return _yes(ports, case, policy, who, because) if yes else _no(ports, case, policy, who, because)
            except Stale:
                continue
    raise Temporary(f"{remediation} is written to by others all the time: come again")


def _asking(ports: Ports, case: Remediation | None) -> Policy | str:
    """The policy that asks, or why nothing is asked."""
    if case is None:
        return "no such remediation"
    if case.state is not State.TICKETED or not asks(case.decision):
        return f"nothing asks for an approval: it is {case.state}: {case.because}"
    policies = in_force(ports)
    if isinstance(policies, PolicyError):
        return f"no policy set loads, so nobody can say whose yes counts: {policies}"
    policy = policies.policy(str(case.decision.get("policy")))
    wanted = policy.then.approval if policy else None
    if policy is None or wanted is None or policy.digest != case.decision.get("policy_digest"):
        again(ports, case)
        return "the policy has changed since it asked: the case was decided anew, look at it again"
    until = str(case.decision["ask_until"])
    if parse_moment(until) <= ports.clock.now() and len(standing(case.decision, policy.digest)) < wanted.minimum:
        again(ports, case)
        return f"it asked until {until}, and that has passed: request it anew"
    return policy


def _wrong(ports: Ports, case: Remediation, policy: Policy, who: str) -> str | None:
    """Why this person's word does not count, or None."""
    assert policy.then.approval is not None, "a policy that does not ask was refused before"
    if not policy.then.approval.may(who):
        chosen = "" if proved(who) == who else "; what a session is called counts for nothing"
        return f"{who} is not among the approvers of {policy.id}: {', '.join(policy.then.approval.by)}{chosen}"
    if any(_same(who, line) for line in _episode(ports.ledger.trail(case.id))):
        return f"{who} asked for it: somebody else must approve it"
    return None


def _episode(trail: Iterable[Transition]) -> list[Transition]:
    """The lines of this episode. Its first line begins it, whatever the clocks of the senders say."""
    lines: list[Transition] = []
    for line in trail:
        lines = [line] if "episode" in line.sets else [*lines, line]
    return lines


def _same(who: str, line: Transition) -> bool:
    """Whether the line is a request by this person; its actor is cut, so a line of ours keeps the name beside it."""
    asked = line.evidence.get("requested_by")
    if asked is None:
        return line.actor == sentence(f"request by {who}", LONGEST_ACTOR)
    return person(str(asked)) == person(who)


def _yes(ports: Ports, case: Remediation, policy: Policy, who: str, because: str) -> Receipt:
    assert policy.then.approval is not None, "a policy that does not ask was refused before"
    given, minimum = standing(case.decision, policy.digest), policy.then.approval.minimum
    if person(who) in (person(one["by"]) for one in given):
        if len(given) >= minimum:
            return _enough(ports, case, f"{len(given)} of {minimum}")
        return Receipt("duplicate", f"{person(who)} has approved it already", case.id, case.state.value)
    now = format_moment(ports.clock.now())
    one = {"by": who, "at": now, "because": because, "policy_digest": policy.digest}
    given = [*given, one]
    counted, last = f"{len(given)} of {minimum}", len(given) >= minimum
    head = record(ports, case, Cause.NOTED, f"approved by {who} ({counted}): {because}", actor=who,
                  sets={"decision": {**case.decision, "approvals": given}, **({"due": now} if last else {})},
                  evidence={"approval": one})  # fmt: skip
    if not last:
        return Receipt("noted", f"approved, {counted}: others must say yes too", head.id, head.state.value)
    return _enough(ports, head, counted)


def _enough(ports: Ports, case: Remediation, counted: str) -> Receipt:
    """Decide again; if that breaks off, the next round does, as the case is due, or whoever says yes once more."""
    head = again(ports, case)
    due = format_moment(head.due) if head.due else None
    return Receipt("decided", f"approved, {counted}: {head.because}", head.id, head.state.value, due)


def _no(ports: Ports, case: Remediation, policy: Policy, who: str, because: str) -> Receipt:
    said = {"by": who, "at": format_moment(ports.clock.now()), "because": because, "policy_digest": policy.digest}
    kept = {name: value for name, value in case.decision.items() if name not in ("ask_until", "approvals")}
    head = record(ports, case, Cause.TICKETED, f"{policy.id}: rejected by {who}: {because}", actor=who,
                  sets={"decision": {**kept, "action": "ticket", "rejected": said}, "due": None},
                  evidence={"rejection": said})  # fmt: skip
    return Receipt("decided", head.because, head.id, head.state.value)
