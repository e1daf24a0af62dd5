"""Decisions: the one answer for a finding, as a column of early returns, the most decisive first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.approvals import Approval, asks, standing
from chalicelib.core.chances import closes, deadline_of, next_chance
from chalicelib.core.decided import UNRULED, Decision, noted, resolved, ticketed, unruled
from chalicelib.core.errors import PolicyError
from chalicelib.core.evaluation import Verdict, judge
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.overrides import list_for, system_of
from chalicelib.core.plans import Plan
from chalicelib.core.policies import Policy, PolicySet
from chalicelib.core.proofs import clean, compliant, gone, nothing_newer, only_reboot, scan_of, scanned_by
from chalicelib.core.remediations import TRANSITIONS, Cause, Remediation, State
from chalicelib.core.surges import missing_set
from chalicelib.core.waves import wave_of

_FRESH = (Source.AGAIN, Source.REQUEST)
"""Our own questions: they carry no news of their own and are never too old."""


def decide(
    finding: Finding, case: Remediation, facts: Mapping[str, Any], policies: PolicySet | PolicyError, now: datetime
) -> Decision:
    """The decision, with the finding's own news (`observed_at`, a new episode) among the fields it sets.

    Without a policy set, but with the reason why there is none, what a policy should decide is a person's turn.
    """
    answer = _answer(finding, case, facts, policies, now)
    news = _first_seen(finding, case) if finding.source in _FRESH else _news(finding, case)
    if answer.cause not in (Cause.NOTED, Cause.RESOLVED, Cause.GONE) and case.state in _CLOSED:
        news |= _episode(finding, case)
    return _settled(Decision(answer.cause, answer.because, {**news, **answer.sets}), case)


_CLOSED = (State.RESOLVED, State.GONE)


def _answer(
    finding: Finding, case: Remediation, facts: Mapping[str, Any], policies: PolicySet | PolicyError, now: datetime
) -> Decision:
    if case.state is State.VERIFYING and finding.compliant and scanned_by(case, facts):
        return resolved(f"the scan of {facts['patch']['operation_end']} found every approved patch installed", facts)
    if case.observed_at and finding.observed_at < case.observed_at and not _counts_now(finding, case, now):
        known = format_moment(case.observed_at)
        return noted(f"older than what is known: observed {format_moment(finding.observed_at)}, known up to {known}")
    if case.active:
        return noted(f"{_claim(finding)} while its execution is {case.state}: the outcome of that decides")
    if finding.compliant:
        return compliant(finding, case, facts)
    if gone(facts):
        return Decision(Cause.GONE, f"the node is {facts['node']['state']}", {"due": None})
    if finding.control is Control.PATCH and clean(facts) and nothing_newer(case, facts):
        return resolved(f"the {scan_of(facts)} is newer than the finding and counts nothing missing", facts)
    if case.state is State.REBOOT_PENDING and only_reboot(facts):
        return noted("still waits for its reboot: every approved patch is installed")
    if isinstance(policies, PolicyError):
        owned = case.state is State.TICKETED and finding.source is not Source.REQUEST
        return _owned(case) if owned else ticketed(f"no policy set loads: {policies}", UNRULED)
    return _by_policy(finding, case, facts, policies, now)


LAG = timedelta(minutes=10)
"""How old what Systems Manager describes may be."""


def _counts_now(finding: Finding, case: Remediation, now: datetime) -> bool:
    """Whether a finding counts although a newer one is known: our own questions do, and what the sweep reads as
    compliant when the newer one has had the time to show."""
    if finding.source in _FRESH:
        return True
    settled = case.observed_at is None or case.observed_at < now - LAG
    return finding.source is Source.SWEEP and finding.compliant and settled


def _by_policy(
    finding: Finding, case: Remediation, facts: Mapping[str, Any], policies: PolicySet, now: datetime
) -> Decision:
    verdict = judge(policies, facts, now)
    winner = verdict.winner
    asked = finding.source is Source.REQUEST
    made = _made(winner, verdict, policies, facts)
    exposed = None if verdict.against is None or asked else verdict.against
    if winner and winner.then.action == "exempt" and not verdict.unknown and not exposed:
        return _exempted(winner, made)
    owned = case.state is State.TICKETED and not asked and finding.source is not Source.EMERGENCY
    if owned and not unruled(case) and not _answered(case, winner, now):
        return _owned(case)
    if verdict.unknown:
        doubt = verdict.unknown[0]
        return ticketed(f"policy {doubt.policy} could not be evaluated: {doubt.why} at {doubt.path}",
                       {**made, "policy": doubt.policy})  # fmt: skip
    if winner and exposed:
        urgent, exemption = (exposed, winner) if winner.then.action == "exempt" else (winner, exposed)
        return ticketed(_exposed(urgent, exemption), _made(urgent, verdict, policies, facts))
    if winner is None:
        return Decision(Cause.OBSERVED, "no policy speaks for it: only observed", {"decision": made, "due": None})
    if case.attempts >= winner.then.attempts and case.state not in _CLOSED and not asked:
        return ticketed(
            f"{winner.id}: {case.attempts} of {winner.then.attempts} attempts failed: {case.last_outcome}", made
        )
    return _by_action(winner, finding, case, facts, policies, made, now)


def _by_action(
    winner: Policy,
    finding: Finding,
    case: Remediation,
    facts: Mapping[str, Any],
    policies: PolicySet,
    made: dict[str, Any],
    now: datetime,
) -> Decision:
    """What the one policy that decides wants, where nothing stands in its way."""
    if winner.then.action == "observe":
        return Decision(Cause.OBSERVED, f"{winner.id}: {winner.title}: only observed", {"decision": made, "due": None})
    if winner.then.action == "ticket":
        return ticketed(f"{winner.id}: {winner.title}", made)
    if finding.control is Control.REPORTING:
        return ticketed(f"{winner.id}: no runbook reaches a node that does not report", made)
    image = _image(winner, policies, facts)
    if image:
        return ticketed(image.because, {**made, **image.sets})
    if winner.then.approval:
        given = [] if case.state in _CLOSED else standing(case.decision, winner.digest)
        if len(given) < winner.then.approval.minimum:
            return _asking(winner, winner.then.approval, case, given, made, now)
        made = {**made, "approvals": given}
    if finding.control is Control.ASSOCIATION and winner.then.document is None:
        return ticketed(f"{winner.id}: names no document that repairs an association", made)
    wrong = _unserved(winner, finding, facts)
    if wrong:
        return ticketed(f"{winner.id}: {wrong}", made)
    limits = winner.then.limits.per_group
    if limits and facts.get("node", {}).get("tags") is None:
        return ticketed(
            f"{winner.id}: at most {limits[0].max} of a {limits[0].called} at once, but the node's tags are unknown",
            made,
        )
    return _when(winner, case, facts, policies, made, now)


def _answered(case: Remediation, winner: Policy | None, now: datetime) -> bool:
    """Whether a case that asks for an approval has it, or asks no longer: then it is decided again."""
    if not asks(case.decision):
        return False
    if winner is None or winner.digest != case.decision.get("policy_digest") or winner.then.approval is None:
        return True
    enough = len(standing(case.decision, winner.digest)) >= winner.then.approval.minimum
    return enough or parse_moment(str(case.decision["ask_until"])) <= now


def _asking(
    policy: Policy, approval: Approval, case: Remediation, given: list[dict[str, str]], made: Mapping[str, Any],
    now: datetime,
) -> Decision:  # fmt: skip
    """A person's yes is asked for until a moment that does not move while the same policy asks."""
    asked = asks(case.decision) and case.decision.get("policy_digest") == policy.digest and case.state not in _CLOSED
    until = str(case.decision["ask_until"]) if asked else format_moment(now + approval.within)
    if parse_moment(until) > now:
        counted = f", has {len(given)} of {approval.minimum}" if given or approval.minimum > 1 else ""
        asking = ticketed(f"{policy.id}: {policy.title}: waits for an approval until {until}{counted}",
                         {**made, "ask_until": until, "approvals": given}, action="approve")  # fmt: skip
        return Decision(asking.cause, asking.because, {**asking.sets, "due": until})
    late = f"{policy.id}: {len(given)} of {approval.minimum} approvals came until {until}"
    if approval.on_timeout == "observe":
        return Decision(Cause.OBSERVED, f"{late}: only observed",
                        {"decision": {**made, "action": "observe"}, "due": None})  # fmt: skip
    return ticketed(late, made)


def _image(policy: Policy, policies: PolicySet, facts: Mapping[str, Any]) -> Decision | None:
    """A ticket for a new image, one for the whole Auto Scaling group, if the node's tag says that it is immutable."""
    flag, node = policies.settings.immutable, facts.get("node", {})
    if flag is None:
        return None
    if node.get("tags") is None:
        return Decision(Cause.TICKETED, f"{policy.id}: whether the node is immutable is unknown, as its tags are")
    if node["tags"].get(flag.tag) != flag.value:
        return None
    if not node.get("group"):
        because = f"{policy.id}: {flag.tag}={flag.value}: replace the node, it is not patched in place"
        return Decision(Cause.TICKETED, because)
    because = f"{policy.id}: {flag.tag}={flag.value}: build a new image for Auto Scaling group {node['group']}"
    group = f"{facts['account']}/{facts['region']}/{node['group']}"
    return Decision(Cause.TICKETED, because, {"image": group})


def _exempted(policy: Policy, made: Mapping[str, Any]) -> Decision:
    until = format_moment(policy.ends) if policy.ends else None
    return Decision(
        Cause.EXEMPTED, f"{policy.id}: exempt until {until}: {policy.then.reason}", {"decision": made, "due": until}
    )


def _exposed(urgent: Policy, exemption: Policy) -> str:
    """An exemption was weighed against known risks: whether it stands against a new one, a person decides."""
    return (
        f"exempt node exposed: {urgent.id} is an emergency ({urgent.title}), "
        f"and {exemption.id} exempts the node: {exemption.then.reason}"
    )


def _when(
    policy: Policy,
    case: Remediation,
    facts: Mapping[str, Any],
    policies: PolicySet,
    made: dict[str, Any],
    now: datetime,
) -> Decision:
    earliest = max(now, case.cools_until) if case.cools_until and case.state not in _CLOSED else now
    span, waits = next_chance(policy, policies, earliest)
    plan = _plan(policy, policies, facts).to_json()
    if span is None:
        return ticketed(f"{policy.id}: {waits}", made)
    deadline = deadline_of(policy, facts)
    if deadline and span.start > now and span.start > deadline:
        chance = format_moment(span.start)
        late = f"{policy.id}: its deadline {format_moment(deadline)} comes before the next chance {chance}"
        if policy.then.on_deadline == "ticket":
            return ticketed(late, made)
        span, _ = next_chance(policy, policies, earliest, in_window=False)
        if span is None:
            return ticketed(late, made)
        waits = f"{late}, so it does not wait" if span.start <= now else f"{late}, but a freeze or a cool-down holds it"
        made = {**made, "window": None, "urgent": True}
    made = {
        **made,
        "closes": closes(span, policy, policies),
        "deadline": format_moment(deadline) if deadline else None,
    }
    sets = {"decision": made, "plan": plan, "due": format_moment(span.start), "held": None}
    if span.start > now:
        return Decision(Cause.DEFERRED, f"{policy.id}: {waits or 'the cool-down after the failed attempt'}, "
                        f"next chance {format_moment(span.start)}", sets)  # fmt: skip
    return Decision(Cause.QUEUED, f"{policy.id}: {policy.title}: remediate {waits or 'now'}", sets)


def _unserved(policy: Policy, finding: Finding, facts: Mapping[str, Any]) -> str | None:
    """Why the policy's patches cannot be installed on this node, or are not what its finding is about."""
    named, emergency = policy.then.patches, finding.control is Control.EMERGENCY
    if not named and not emergency:
        return None
    if not named or not emergency:
        return "only an emergency's own finding is remediated with named patches, and only with these"
    node = facts.get("node", {})
    if list_for(named, node) is None:
        return f"names no patches for {system_of(node) or node.get('platform') or 'an unknown operating system'}"
    return None


def _plan(policy: Policy, policies: PolicySet, facts: Mapping[str, Any]) -> Plan:
    then = policy.then
    patches = list_for(then.patches, facts.get("node", {}))
    return Plan(
        document=then.document.name if then.document else None,
        version=then.document.version if then.document else None,
        reboot=then.reboot,
        concurrency=then.limits.concurrency,
        max_errors=then.limits.max_errors,
        stopped=then.stopped,
        snapshot=then.snapshot,
        parameters=dict(then.document.parameters) if then.document else {},
        hooks=dict(then.hooks),
        output={} if then.document else dict(policies.settings.output),
        patches=patches.to_json() if patches else {},
    )


def _made(policy: Policy | None, verdict: Verdict, policies: PolicySet, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the trail and the dispatcher keep of the decision: JSON types only."""
    made: dict[str, Any] = {
        "set_digest": policies.digest,
        "shadows": [{"policy": item.id, "action": item.then.action} for item in verdict.shadows],
        "unknown": [{"policy": item.policy, "path": item.path, "why": item.why} for item in verdict.unknown],
    }
    if policy is None:
        return {**made, "policy": None, "action": "observe"}
    here, node = (facts["account"], facts["region"]), facts.get("node", {})
    groups = [group for limit in policy.then.limits.per_group if (group := limit.group(*here, node))]
    made |= _guarded(policy, facts)
    if policies.settings.surge and policies.settings.surge.same:
        made["missing"] = missing_set(str(patch["id"]) for patch in facts.get("patch", {}).get("missing") or ())
    return {
        **made,
        "policy": policy.id,
        "policy_digest": policy.digest,
        "action": policy.then.action,
        "window": policy.then.window,
        "urgent": policy.band == "emergency",
        "priority": policy.priority,
        "severity": policy.then.severity,
        "attempts": policy.then.attempts,
        "cooldown": policy.then.cooldown.total_seconds(),
        "per_hour": policy.then.limits.max_per_hour,
        "groups": groups,
    }


def _guarded(policy: Policy, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What the guards ask of a decision later; nothing for a policy without a budget and waves."""
    told: dict[str, Any] = {}
    budget = policy.then.limits.error_budget
    if budget:
        document = policy.then.document
        run = {"document": document.name if document else None, "version": document.version if document else None,
               "parameters": dict(document.parameters) if document else {}}  # fmt: skip
        patches = (str(patch["id"]) for patch in facts.get("patch", {}).get("missing") or ())
        told["budget"] = budget.made(policy.id, policy.digest, run, patches)
    if policy.then.waves:
        node = "/".join(str(part) for part in (facts["account"], facts["region"], facts["finding"]["node"]))
        told["wave"] = wave_of(policy.id, policy.then.waves, node, facts.get("node", {}).get("tags") or {})
    return told


def _news(finding: Finding, case: Remediation) -> dict[str, Any]:
    """A compliant finding that proves nothing hides nothing: a Config rule dates old news with its own time."""
    first: dict[str, Any] = _first_seen(finding, case)
    if finding.control is Control.EMERGENCY and not case.active:
        first |= {"emergency": finding.rule}
    if finding.compliant:
        return first
    newest = max(finding.observed_at, case.observed_at) if case.observed_at else finding.observed_at
    return {"observed_at": format_moment(newest), **first}


def _first_seen(finding: Finding, case: Remediation) -> dict[str, Any]:
    """The clock of a case begins with whatever was said of it first, a person's request too."""
    return {"first_seen": format_moment(finding.observed_at)} if case.first_seen is None else {}


def _episode(finding: Finding, case: Remediation) -> dict[str, Any]:
    """A regression is a new episode: its clock, attempts and ticket begin anew."""
    return {"episode": case.episode + 1, "first_seen": format_moment(finding.observed_at), "attempts": 0,
            "cools_until": None, "ticket": None, "batch": None, "execution": None}  # fmt: skip


def _settled(decision: Decision, case: Remediation) -> Decision:
    """The same decision, as a note where it changes nothing but the news."""
    if (
        decision.cause is Cause.NOTED
        or not case.number
        or TRANSITIONS[case.state].get(decision.cause) is not case.state
    ):
        return decision
    made = decision.sets.get("decision", {})
    same = all(made.get(name) == case.decision.get(name) for name in ("policy", "set_digest", "action"))
    due = decision.sets.get("due")
    same = (
        same and decision.sets.get("plan", case.plan) == case.plan and made.get("closes") == case.decision.get("closes")
    )
    if not same or (case.state is State.WAITING and due != (format_moment(case.due) if case.due else None)):
        return decision
    kept = {name: value for name, value in decision.sets.items() if name not in ("decision", "plan", "due", "held")}
    if made.get("shadows", []) != case.decision.get("shadows", []):
        kept["decision"] = {**case.decision, "shadows": made["shadows"]}
    return Decision(Cause.NOTED, f"still {case.state}: {decision.because}", kept)


def _owned(case: Remediation) -> Decision:
    return noted(f"a person owns it{f' ({case.ticket})' if case.ticket else ''}: {case.because}")


def _claim(finding: Finding) -> str:
    return f"{finding.source} says {'compliant' if finding.compliant else 'non-compliant'}"
