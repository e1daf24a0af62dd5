"""Facts: what was known about a node at the moment of a decision, as policies and auditors see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.findings import Finding
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Remediation, State


@dataclass(frozen=True, slots=True)
class NodeState:
    """One node as its account describes it now.

    `state` is EC2's (`running`, `stopped`, `terminated`, …) or `running` for a hybrid node; `ping` is SSM's
    (`Online`, `ConnectionLost`, `Inactive`) or None for a node that Systems Manager does not manage; `tags`
    None: they could not be read, which is not the same as a node without tags. `last_seen` is the agent's last ping,
    `launched` EC2's LaunchTime or a hybrid node's registration; both are told by the roll of a place only.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html
    """

    id: str
    kind: str
    state: str
    ping: str | None = None
    platform: str | None = None
    platform_name: str | None = None
    platform_version: str | None = None
    agent_version: str | None = None
    tags: Mapping[str, str] | None = field(default=None, hash=False)
    group: str | None = None
    zone: str | None = None
    last_seen: datetime | None = None
    launched: datetime | None = None

    @property
    def gone(self) -> bool:
        return self.state in {"terminated", "shutting-down"}

    @property
    def stopped(self) -> bool:
        return self.state == "stopped"

    @property
    def between(self) -> bool:
        """On its way from one state to another: neither to be started nor to be patched."""
        return self.state in {"stopping", "pending"}

    @property
    def online(self) -> bool:
        return self.state == "running" and self.ping == "Online"


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch that the last operation saw; `state` is SSM's, such as `MISSING`. `cves` has commas between them, as
    Systems Manager tells them of patches that are missing or failed, and may be empty there too.
    """

    id: str
    title: str
    classification: str
    severity: str
    state: str
    cves: str = ""


@dataclass(frozen=True, slots=True)
class AssociationState:
    """What Systems Manager says of a node's associations: how many are non-compliant, and when the last one ran."""

    noncompliant: int
    ran_at: datetime

    def to_json(self) -> dict[str, Any]:
        return {"noncompliant": self.noncompliant, "ran_at": format_moment(self.ran_at)}


@dataclass(frozen=True, slots=True)
class PatchState:
    """The result of the last patch operation on a node; `group` is its patch group.

    `ours`: whether `baseline` is what our own baselines say, `expected`; None: nobody looked, or nobody can say.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstancePatchState.html
    """

    id: str
    baseline: str
    operation: str
    ended_at: datetime
    snapshot: str | None = None
    missing: int = 0
    failed: int = 0
    rejected: int = 0
    pending_reboot: int = 0
    critical: int = 0
    security: int = 0
    other: int = 0
    patches: tuple[Patch, ...] | None = None
    group: str | None = None
    ours: bool | None = None
    expected: str | None = None

    @property
    def noncompliant(self) -> int:
        """How many patches keep the node from being compliant; a patch that waits for a reboot is one of them."""
        return self.missing + self.failed + self.rejected + self.pending_reboot


def gather(
    finding: Finding, case: Remediation, node: NodeState | None = None, patch: PatchState | None = None,
    ou: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The facts document that policies' paths walk. A block nobody could fetch is left out, never empty.

    `ou`: the organisational unit of the account. It stands beside the node: that block may not have been fetched.
    A case that was closed begins anew with the finding: what its last episode took counts against no deadline.
    """
    closed = case.state in (State.RESOLVED, State.GONE)
    first_seen = None if closed else case.first_seen
    facts: dict[str, Any] = {
        "account": finding.node.account,
        "region": finding.node.region,
        "time": format_moment(finding.observed_at),
        "detail": dict(finding.detail),
        "finding": {
            "node": finding.node.id,
            "control": finding.control.value,
            "source": finding.source.value,
            "rule": finding.rule,
        },
        "history": {
            "attempts": 0 if closed else case.attempts,
            "first_seen": format_moment(first_seen or finding.observed_at),
            "last_outcome": case.last_outcome,
            "state": case.state.value,
        },
    }
    if ou is not None:
        facts["ou"] = ou
    if node is not None:
        facts["node"] = _node_block(finding, node)
    if patch is not None:
        facts["patch"] = patch_block(patch)
    return facts


def _node_block(finding: Finding, node: NodeState) -> dict[str, Any]:
    block = {
        "id": finding.node.id,
        "kind": node.kind,
        "state": node.state,
        "ping": node.ping,
        "platform": node.platform,
        "platform_name": node.platform_name,
        "platform_version": node.platform_version,
        "agent_version": node.agent_version,
        "group": node.group,
        "zone": node.zone,
    }
    return block if node.tags is None else {**block, "tags": dict(node.tags)}


MOST_PATCHES = 500
"""How many single patches a line of the trail keeps: it must fit into one item of the ledger, 400 KB."""


MOST_CVES, CVES_CUT = 100_000, 200
"""How many letters of CVEs a line keeps whole, and how many of each patch if there are more."""


def kept(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """A patch block as a line of the trail keeps it, whoever writes the line."""
    missing = block.get("missing") or ()
    if sum(len(one.get("cves") or "") for one in missing) > MOST_CVES:
        missing = [{**one, "cves": (one.get("cves") or "")[:CVES_CUT]} for one in missing]
        block = {**block, "missing": missing, "cves_cut_at": CVES_CUT}
    if len(missing) <= MOST_PATCHES:
        return block
    return {**block, "missing": missing[:MOST_PATCHES], "cut_at": MOST_PATCHES}


def patch_block(patch: PatchState) -> dict[str, Any]:
    """The patch block of the facts, which is also how a scan, `kept`, stands in the trail as evidence."""
    block: dict[str, Any] = {
        "baseline": patch.baseline,
        "operation": patch.operation,
        "snapshot": patch.snapshot,
        "operation_end": format_moment(patch.ended_at),
        "pending_reboot": patch.pending_reboot > 0,
        "counts": {
            "missing": patch.missing,
            "failed": patch.failed,
            "rejected": patch.rejected,
            "pending_reboot": patch.pending_reboot,
            "critical": patch.critical,
            "security": patch.security,
            "other": patch.other,
        },
    }
    if patch.ours is not None:
        block["baseline_ours"] = patch.ours
    if patch.expected is not None:
        block["baseline_expected"] = patch.expected
    if patch.patches is not None:
        block["missing"] = [
            {"id": item.id, "title": item.title, "class": item.classification, "severity": item.severity,
             "state": item.state, "cves": item.cves}
            for item in patch.patches
        ]  # fmt: skip
    return block
