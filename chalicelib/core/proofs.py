"""Proofs: whether what was scanned proves that a case is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.core.decided import Decision, noted, resolved
from chalicelib.core.findings import Control, Finding
from chalicelib.core.moments import format_moment
from chalicelib.core.plans import snapshot_id
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause, Remediation, State


def compliant(finding: Finding, case: Remediation, facts: Mapping[str, Any]) -> Decision:
    """What follows from a finding that says compliant: resolved if something proves it, else only noted."""
    if case.state is State.RESOLVED:
        return noted("compliant, as it already was")
    if finding.control is Control.ASSOCIATION:
        return _repaired(finding, facts)
    if finding.control is Control.REPORTING:
        return resolved("it reports again", facts)
    if finding.control is Control.EMERGENCY:
        return _proved(finding, case)
    if "patch" not in facts:
        return noted(f"{finding.source} says compliant, but no scan on record proves it")
    if against(facts) == 0 and not clean(facts):
        return noted(f"{finding.source} says compliant, but no scan after the {scan_of(facts)} proves it")
    if not clean(facts):
        return noted(
            f"{finding.source} says compliant, but the {scan_of(facts)} counts {counted(against(facts), 'patch')} "
            "against it"
        )
    if not _since_the_attempt(case, facts):
        return noted(f"{finding.source} says compliant, but the {scan_of(facts)} is older than the last execution")
    return resolved(f"the {scan_of(facts)} counts nothing missing", facts)


def _repaired(finding: Finding, facts: Mapping[str, Any]) -> Decision:
    """Nobody's word counts for the associations but what Systems Manager answered when it was asked."""
    told = facts.get("associations")
    if told is None:
        return noted(f"{finding.source} says compliant, but Systems Manager does not say so of its associations")
    if told["noncompliant"]:
        return noted(f"{finding.source} says compliant, but {told['noncompliant']} of its associations are not")
    return resolved(f"its associations are compliant again, the last one ran at {told['ran_at']}", facts)


def _proved(finding: Finding, case: Remediation) -> Decision:
    """Named patches were looked for on the node itself: what its baseline counts plays no part in it."""
    scanned = str(finding.detail.get("scan", ""))
    if case.attempted_at and scanned < format_moment(case.attempted_at):
        return noted(f"the scan of {scanned} is older than the last execution")
    at = format_moment(finding.observed_at)
    sets = {"observed_at": at, "due": None, "cools_until": None, "held": None}
    return Decision(Cause.RESOLVED, str(finding.detail["because"]), sets)


def gone(facts: Mapping[str, Any]) -> bool:
    """Whether EC2 says that the node ends, or has ended."""
    return facts.get("node", {}).get("state") in ("terminated", "shutting-down")


def scan_of(facts: Mapping[str, Any]) -> str:
    """The last operation and when it ended, in words."""
    return f"{facts['patch']['operation'].lower()} of {facts['patch']['operation_end']}"


def against(facts: Mapping[str, Any]) -> int:
    """How many patches it counts against the node."""
    counts = facts["patch"]["counts"]
    return sum(int(counts[name]) for name in ("missing", "failed", "rejected", "pending_reboot"))


def clean(facts: Mapping[str, Any]) -> bool:
    """Whether it was a scan that counts nothing against the node."""
    return "patch" in facts and facts["patch"]["operation"] == "Scan" and against(facts) == 0


def nothing_newer(case: Remediation, facts: Mapping[str, Any]) -> bool:
    """Whether nothing is newer than the scan: no finding, and no execution."""
    return facts["patch"]["operation_end"] >= facts["time"] and _since_the_attempt(case, facts)


def _since_the_attempt(case: Remediation, facts: Mapping[str, Any]) -> bool:
    ended = case.attempted_at
    return ended is None or facts["patch"]["operation_end"] >= format_moment(ended) or scanned_by(case, facts)


def only_reboot(facts: Mapping[str, Any]) -> bool:
    """Whether all that is against the node waits for its reboot."""
    counts = facts.get("patch", {}).get("counts")
    return bool(counts) and counts["pending_reboot"] > 0 and counts["pending_reboot"] == against(facts)


def scanned_by(case: Remediation, facts: Mapping[str, Any]) -> bool:
    """Whether the scan in the facts is the one of the case's own execution, and found nothing."""
    return bool(case.batch) and clean(facts) and facts["patch"]["snapshot"] == snapshot_id(str(case.batch))
