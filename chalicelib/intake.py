"""Intake: turn what is said about a node into one decision and one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from chalicelib import emergency
from chalicelib.core.approvals import asks
from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.envelopes import cleaned
from chalicelib.core.errors import Denied, PolicyError, Stale, Temporary
from chalicelib.core.events import Ignored, NodeUpdate, parse
from chalicelib.core.facts import NodeState, PatchState, gather, kept
from chalicelib.core.findings import Control, Finding, Source, remediation_id
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Node, node_id, valid_place
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation, State
from chalicelib.core.replies import reply
from chalicelib.measure import measured
from chalicelib.ports import Ports
from chalicelib.record import quietly, record

TRIES = 3

NOBODY = "somebody"
"""Who the trail says asked, where a request names nobody."""

NOTHING: Mapping[str, Any] = {}

SKEW = timedelta(hours=1)
"""How far the clock of a sender may run before ours."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one thing said. `status`: decided, noted, duplicate, ignored, or known for a mere question."""

    status: str
    because: str
    remediation: str | None = None
    state: str | None = None
    due: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {"status": self.status, "because": self.because, "remediation": self.remediation,
                "state": self.state, "due": self.due, "outcome": reply(self.state).value}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Considered:
    """A finding held against the policies, with nothing written yet."""

    finding: Finding
    case: Remediation
    facts: Mapping[str, Any]
    decision: Decision


def receive(ports: Ports, event: object) -> Receipt:
    """Take one EventBridge event; Temporary if it must come again. Never raises for what the event holds."""
    with ports.tracing.verb("intake") as annotate:
        said = parse(event)
        if isinstance(said, Finding):
            wrong = _foreign(ports, said.node) or _from_the_future(ports, said)
            return _ignored(ports, wrong, "forged") if wrong else take(ports, said, annotate=annotate)
        if isinstance(said, NodeUpdate):
            return _node_changed(ports, said)
        if isinstance(said, Ignored):
            return _ignored(ports, said.reason, said.kind)
        return _ignored(ports, f"the status of execution {said.execution}", "foreign")


def request(ports: Ports, payload: object) -> Receipt:
    """An operator's or a Config remediation action's request for one node.

    Payload: `ResourceId` (bare or as Config prefixes it), `AccountId`, `Region`, optionally `Control` and
    `RequestedBy`. A ticketed remediation is decided again, unless the request is `Automatic`: then it is a finding of
    Config's like any other. Who requests does not approve: a policy that asks for an approval asks somebody else, and
    a request that names nobody asks nothing anew that a person or the time has answered.
    A payload `{"Wait": remediation}` asks only how that remediation stands, and writes nothing.
    """
    if isinstance(payload, dict) and "Wait" in payload:
        return _stands(ports, payload["Wait"])
    with ports.tracing.verb("request") as annotate:
        asked = _asked(payload)
        if isinstance(asked, str):
            return _ignored(ports, asked, "malformed")
        node, control, named, source = asked
        foreign = _foreign(ports, node)
        if foreign:
            return _ignored(ports, foreign, "out-of-scope")
        there = ports.inventory.nodes(node.location, [node.id]).get(node.id)
        if there is None or there.gone:
            return _ignored(
                ports, f"no node {node.id} in {node.location}: check id, account and Region", "unknown-node"
            )
        if control is Control.EMERGENCY and ports.ledger.head(remediation_id(node, control)) is None:
            return _ignored(
                ports, f"no emergency has found {node.id}: `patchwarden emergency status`", "no-remediation"
            )
        finding = Finding(node, control, False, ports.clock.now(), source)
        by = f"request by {named or NOBODY}"
        return take(ports, finding, actor=by, asked_by=named, annotate=annotate)


def _stands(ports: Ports, remediation: object) -> Receipt:
    """How a remediation stands now; read-only, so that it may be asked as often as somebody likes."""
    case = ports.ledger.head(remediation) if isinstance(remediation, str) and 0 < len(remediation) <= 200 else None
    if case is None:
        return Receipt("ignored", f"no remediation {remediation!r:.80} is recorded: give the id that the request got")
    due = format_moment(case.due) if case.due else None
    return Receipt("known", case.because, case.id, case.state.value, due)


def again(ports: Ports, case: Remediation) -> Remediation:
    """Decide once more what waits: a window opened, a cool-down or an exemption ended, the policies changed."""
    at = case.observed_at or ports.clock.now()
    finding = Finding(case.node, case.control, False, at, Source.AGAIN, rule=case.emergency)
    if case.control is Control.EMERGENCY and (kept := _emergency(ports, case)):
        return kept
    for _ in range(TRIES):
        found = consider(ports, finding, case)
        try:
            return _write(ports, found, "patchwarden")
        except Stale:
            newer = ports.ledger.head(case.id)
            if newer is None or newer.state is not case.state:
                return newer or case
            case = newer
    return case


def _emergency(ports: Ports, case: Remediation) -> Remediation | None:
    """The case of an emergency that is over, or of one that the set in force does not know yet; None: decide it.

    Its journal is newer than the set that this process may still have: a case is not decided without its policy.
    """
    over = emergency.over(ports, case)
    if over is None:
        policies = in_force(ports)
        told = isinstance(policies, PolicyError) or any(one.id == case.emergency for one in policies.policies)
        return None if told else case
    if case.state in (State.WAITING, State.QUEUED):
        sets = {"decision": {**case.decision, "action": "observe"}, "due": None, "held": None}
        quietly(ports, case, Cause.OBSERVED, f"only observed from now on: {over}", sets)
        return ports.ledger.head(case.id) or case
    return case


def take(
    ports: Ports, finding: Finding, *, actor: str = "patchwarden", asked_by: str | None = None, annotate: Any = None
) -> Receipt:
    """Decide one finding and write its line; an exact redelivery writes none.

    A compliant one is decided first: the scan that proves it may have come in between. `asked_by`: whose request it
    is, as the caller says, in full; empty: nobody's.
    """
    for _ in range(TRIES):
        case = ports.ledger.head(finding.remediation) or Remediation(finding.node, finding.control)
        if finding.control is Control.EMERGENCY and finding.rule is None:
            finding = replace(finding, rule=case.emergency)
        if not finding.compliant and _redelivered(ports, case, finding):
            return _duplicate(case)
        found = consider(ports, finding, case)
        if not asked_by and finding.source is Source.REQUEST and asks(found.decision.sets.get("decision", {})):
            found = consider(ports, replace(finding, source=Source.AGAIN), case)
        if finding.compliant and found.decision.cause is Cause.NOTED and _in_trail(ports, case.id, finding.key):
            return _duplicate(case)
        try:
            head = _write(ports, found, actor, {"requested_by": asked_by} if asked_by else {})
        except Stale:
            continue
        if annotate:
            annotate(account=head.node.account, region=head.node.region, node=head.node.id, remediation=head.id,
                     policy=head.decision.get("policy") or "", action=found.decision.cause.value)  # fmt: skip
        status = "noted" if found.decision.cause is Cause.NOTED else "decided"
        due = format_moment(head.due) if head.due else None
        return Receipt(status, found.decision.because, head.id, head.state.value, due)
    raise Temporary(f"{finding.remediation} is written to by others all the time: come again")


def _duplicate(case: Remediation) -> Receipt:
    return Receipt("duplicate", "the same finding is in the trail already", case.id, case.state.value)


def consider(ports: Ports, finding: Finding, case: Remediation) -> Considered:
    """What would be decided now; reads only."""
    policies = in_force(ports)
    blocks = frozenset[str]() if isinstance(policies, PolicyError) else policies.blocks
    node, patch = _fetch(ports, finding, case, blocks)
    ou = None if isinstance(policies, PolicyError) else policies.settings.units.get(finding.node.account)
    facts = gather(finding, case, node, patch, ou)
    if finding.control is Control.ASSOCIATION and finding.compliant and not case.active:
        facts = {**facts, **_associations(ports, finding.node)}
    return Considered(finding, case, facts, decide(finding, case, facts, policies, ports.clock.now()))


def _associations(ports: Ports, node: Node) -> dict[str, Any]:
    """What Systems Manager itself says of them, since an event may be forged, late or of another association."""
    try:
        state = ports.inventory.associations(node)
    except Denied as error:
        ports.notices.say("associations_unread", node=str(node), because=str(error))
        return {}
    return {"associations": state.to_json()} if state else {}


def in_force(ports: Ports) -> PolicySet | PolicyError:
    """The set that decides, or why there is none: then nothing starts, and what is found is a person's turn."""
    try:
        return ports.policies.active()
    except PolicyError as error:
        ports.notices.say("no_policies", because=str(error), decides="nothing")
        return error


def _write(ports: Ports, found: Considered, actor: str, said: Mapping[str, Any] = NOTHING) -> Remediation:
    evidence = {"finding": _told(found.finding), "facts": _kept(found.facts), **said}
    decision = found.decision
    return record(
        ports, found.case, decision.cause, decision.because, sets=decision.sets, evidence=evidence, actor=actor
    )


def _kept(facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """The facts as the trail keeps them."""
    return {**facts, "patch": kept(facts["patch"])} if "patch" in facts else facts


def _told(finding: Finding) -> dict[str, Any]:
    return {
        "key": finding.key,
        "source": finding.source.value,
        "control": finding.control.value,
        "compliant": finding.compliant,
        "observed_at": format_moment(finding.observed_at),
        "rule": finding.rule,
    }


def _fetch(
    ports: Ports, finding: Finding, case: Remediation, blocks: frozenset[str]
) -> tuple[NodeState | None, PatchState | None]:
    """Only the blocks that some policy looks at, or that this finding needs as its proof."""
    if case.active and not (case.state is State.VERIFYING and finding.compliant):
        return None, None
    here = finding.node
    node = patch = None
    if ("node" in blocks or "patch.ours" in blocks) and not finding.compliant:
        node = ports.inventory.nodes(here.location, [here.id]).get(here.id)
    proof = (finding.compliant and case.state is not State.RESOLVED) or case.state is State.REBOOT_PENDING
    counted = finding.control is not Control.ASSOCIATION
    if counted and (proof or "patch" in blocks or "patch.ours" in blocks):
        patch = ports.inventory.patch_states(here.location, [here.id]).get(here.id)
    if patch and "patch.missing" in blocks and not finding.compliant:
        patch = ports.inventory.patches(here, patch) if patch.noncompliant else replace(patch, patches=())
    if patch and "patch.ours" in blocks and not finding.compliant:
        patch = measured(ports, here.location, node, patch)
    return node, patch


def _redelivered(ports: Ports, case: Remediation, finding: Finding) -> bool:
    """Only a finding that moves nothing on can be one, so the trail is read only then.

    A sweep reads the same again and again. But what is newer than all that closed the case still stands, also if it
    stood in the trail before: an older scan, or a clock that was behind, closed the case over it.
    """
    if not case.number or case.observed_at is None:
        return False
    closed = case.state in (State.RESOLVED, State.GONE)
    news = finding.observed_at > case.observed_at and (closed or finding.source is not Source.SWEEP)
    return not news and _in_trail(ports, case.id, finding.key)


def _in_trail(ports: Ports, remediation: str, key: str) -> bool:
    return any(line.evidence.get("finding", {}).get("key") == key for line in ports.ledger.trail(remediation))


def _node_changed(ports: Ports, update: NodeUpdate) -> Receipt:
    """EC2 says that a node stopped or is gone; it is asked whether that is so."""
    found = (ports.ledger.head(remediation_id(update.node, control)) for control in Control)
    cases = [case for case in found if case and case.state not in (State.RESOLVED, State.GONE)]
    if not cases:
        return _ignored(ports, f"{update.node} is {update.state} and has no open remediation", "no-remediation")
    now = ports.inventory.nodes(update.node.location, [update.node.id]).get(update.node.id)
    receipt = Receipt("ignored", "nothing to do")
    for case in cases:
        receipt = _node_said(ports, case, update, now)
    return receipt


def _node_said(ports: Ports, case: Remediation, update: NodeUpdate, now: NodeState | None) -> Receipt:
    """The line about it, read again after somebody else's."""
    for _ in range(TRIES):
        try:
            return _node_line(ports, case, update, now)
        except Stale:
            case = ports.ledger.head(case.id) or case
    raise Temporary(f"{case.id} is written to by others all the time: come again")


def _node_line(ports: Ports, case: Remediation, update: NodeUpdate, now: NodeState | None) -> Receipt:
    key = f"ec2/{update.state}/{format_moment(update.at)}"
    if _in_trail(ports, case.id, key):
        return Receipt("duplicate", "the same event is in the trail already", case.id, case.state.value)
    gone = now is not None and now.gone
    cause = Cause.GONE if gone else Cause.NOTED
    because = f"EC2 says the node is {update.state}" + (
        "" if now is None or now.state == update.state else f"; it is {now.state}"
    )
    evidence = {"finding": {"key": key, "source": "ec2", "state": update.state}}
    head = record(ports, case, cause, because, sets={"due": None} if gone else {}, evidence=evidence)
    return Receipt("decided" if gone else "noted", because, head.id, head.state.value)


def _foreign(ports: Ports, node: Node) -> str | None:
    policies = in_force(ports)
    if isinstance(policies, PolicyError) or node.location in policies.settings.locations:
        return None
    return f"{node.location} is not in the scope of _set.yaml: add account and Region there if it is ours"


def _from_the_future(ports: Ports, finding: Finding) -> str | None:
    """A finding that outruns the clock would be newer than every true one after it."""
    if finding.observed_at <= ports.clock.now() + SKEW:
        return None
    return f"observed at {format_moment(finding.observed_at)}, which is in the future: check the sender's clock"


def _ignored(ports: Ports, reason: str, kind: str) -> Receipt:
    ports.notices.say("rejected", reason=reason, kind=kind)
    return Receipt("ignored", reason)


def _asked(payload: object) -> tuple[Node, Control, str, Source] | str:
    if not isinstance(payload, dict):
        return "the request is not a JSON object with ResourceId, AccountId and Region"
    account, region, found = payload.get("AccountId"), payload.get("Region"), node_id(payload.get("ResourceId"))
    if found is None:
        given = f"{payload.get('ResourceId')!r:.80}"
        return f"ResourceId {given} holds no node id: give i-… or mi-…, with or without Config's prefix"
    if not valid_place(account, region):
        return "AccountId must be 12 digits and Region a Region name such as eu-west-1"
    control = payload.get("Control", Control.PATCH.value)
    if control not in list(Control):
        return f"Control {control!r:.40} is not one of {', '.join(Control)}"
    automatic = payload.get("Automatic", False)
    if not isinstance(automatic, bool):
        return f"Automatic must be true or false, not {automatic!r:.40}"
    source, by = Source.CONFIG if automatic else Source.REQUEST, cleaned(payload.get("RequestedBy"))
    return Node(str(account), str(region), found), Control(control), "" if by == NOBODY else by, source
