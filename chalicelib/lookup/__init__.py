"""Look-up: the answers to people's questions; CLI, REST and pages all ask here. It only reads."""

from __future__ import annotations

from chalicelib.lookup.cases import (
    LATELY,
    UNDECIDED,
    decided,
    intact,
    near,
    nodes,
    remediation,
    remediations,
    summary,
    trail,
    waits,
    whynot,
)
from chalicelib.lookup.deciding import approvals, policies, who_may
from chalicelib.lookup.present import LISTED, STALE, health, last_sweep, refusing, status
from chalicelib.lookup.running import executions
from chalicelib.lookup.service import POLICIES, guards, journal, rollouts

__all__ = [
    "LATELY",
    "LISTED",
    "POLICIES",
    "STALE",
    "UNDECIDED",
    "approvals",
    "decided",
    "executions",
    "guards",
    "health",
    "intact",
    "journal",
    "last_sweep",
    "near",
    "nodes",
    "policies",
    "refusing",
    "remediation",
    "remediations",
    "rollouts",
    "status",
    "summary",
    "trail",
    "waits",
    "who_may",
    "whynot",
]
