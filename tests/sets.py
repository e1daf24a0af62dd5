"""Compiled policy sets and nodes for tests, written out in full by a few short words."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chalicelib.adapters.sqlite import SqliteLedger
from chalicelib.core.compiled import VERSION, digest_of
from chalicelib.core.facts import NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.core.policies import PolicySet

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)  # a Monday
HERE = Location("111122223333", "eu-west-1")
NODE = Node(HERE.account, HERE.region, "i-0123456789abcdef0")
SATURDAY = {"cron": "cron(0 2 ? * SAT *)", "zone": "UTC", "duration": "4h", "schedule_offset": 0}

_THEN = {
    "action": "remediate", "severity": 3, "window": None, "deadline": None, "on_deadline": "ticket",
    "reboot": "if-needed", "attempts": 2, "cooldown": 1800, "stopped": "wait", "snapshot": False, "document": None,
    "until": None, "reason": None, "approved": None, "approval": None, "waves": [],
    "patches": [], "through": [],
}  # fmt: skip
_LIMITS = {"concurrency": "10%", "max_errors": "10%", "max_per_hour": None, "per_group": None, "error_budget": None}


def tag(name: str, value: str) -> dict[str, Any]:
    """The condition that a tag has a value."""
    return {"path": f"$.node.tags.{name}", "steps": ["node", "tags", name], "operator": "equals", "operand": value,
            "match": "any", "if_missing": False, "line": None}  # fmt: skip


def policy(id: str = "all-now", *when: dict[str, Any], **given: Any) -> dict[str, Any]:
    """A compiled policy that speaks for everything unless `when` says otherwise; `given`: fields, or parts of then."""
    then = {name: given.pop(name) for name in list(given) if name in _THEN}
    if then.get("action") == "approve":
        then = {"approval": {"by": [], "minimum": 1, "within": 7 * 86400, "on_timeout": "ticket"}, **then}
    limits = {name: given.pop(name) for name in list(given) if name in {*_LIMITS, "surge"}}
    return {
        "id": id, "title": f"the policy {id}", "owner": "secops@example.com", "band": "standard", "mode": "enforce",
        "priority": 0, "expires": None, "rollout": None, "origin": f"{id}.yaml:1", **given,
        "when": {"all": list(when), "any": [], "none": []},
        "then": {**_THEN, **then, "limits": {**_LIMITS, **limits}},
    }  # fmt: skip


def policy_set(*policies: dict[str, Any], **settings: Any) -> PolicySet:
    """A loaded set; windows: `saturday` is open on Saturdays from 02:00 to 06:00 UTC."""
    return PolicySet.load(policy_document(*policies, **settings))


def policy_document(*policies: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """The same set as the compiled document that it is loaded from."""
    document: dict[str, Any] = {
        "version": VERSION,
        "settings": {
            "linger": 300, "verify_within": 3600, "executions_per_location": 20, "freezes": [], "documents": [],
            "surge": None,
            "scope": {"accounts": ["111122223333", "444455556666"], "regions": ["eu-west-1", "us-east-1"]},
            "windows": {"saturday": SATURDAY}, **settings,
        },
        "policies": list(policies) or [policy()], "schedules": [],
    }  # fmt: skip
    return {**document, "digest": digest_of(document)}


def finding(compliant: bool = False, at: datetime = NOW, source: Source = Source.SSM, node: Node = NODE) -> Finding:
    return Finding(node, Control.PATCH, compliant, at, source)


def machine(**given: Any) -> NodeState:
    """A running Linux node that answers."""
    known = {"id": NODE.id, "kind": "ec2", "state": "running", "ping": "Online", "platform": "Linux",
             "tags": {"Environment": "dev"}, **given}  # fmt: skip
    return NodeState(**known)


def scan(at: datetime = NOW, **given: Any) -> PatchState:
    """The state after a scan that found one patch missing, unless `given` says otherwise."""
    known = {"id": NODE.id, "baseline": "pb-0123456789abcdef0", "operation": "Scan", "ended_at": at, "missing": 1,
             "patches": (Patch("KB5035849", "2026-11 Cumulative Update", "SecurityUpdates", "Critical", "MISSING"),),
             **given}  # fmt: skip
    return PatchState(**known)


def schedule(**given: Any) -> dict[str, Any]:
    """A compiled schedule `tested`: every node of one account and Region is scanned at 02:00 UTC, for two hours."""
    calendar = {"cron": "0 2 ? * * *", "zone": "UTC", "schedule_offset": 0, "catch_up": 7200}
    where = {"accounts": ["111122223333"], "units": [], "exclude": [], "regions": ["eu-west-1"]}
    return {
        "id": "tested", "title": "A schedule", "owner": "secops@example.com", "enabled": True, "operation": "Scan",
        "target": {"kind": "all", "name": None, "values": []}, "platform": "all",
        "locations": {"concurrency": "3", "max_errors": "0"}, "nodes": {"concurrency": "10%", "max_errors": "5%"},
        "reboot": None, "override_list": None, "origin": "tested.yaml:1", **given,
        "calendar": {**calendar, **given.get("calendar", {})}, "where": {**where, **given.get("where", {})},
    }  # fmt: skip


def scheduled(*schedules: dict[str, Any], **settings: Any) -> PolicySet:
    """A loaded set with these schedules, each given as what makes it another one than `tested`."""
    document = policy_document(**settings)
    scope = document["settings"]["scope"] if "scope" in settings else None
    everywhere = {"where": {"accounts": scope["accounts"], "regions": scope["regions"]}} if scope else {}
    document["schedules"] = [schedule(**{**everywhere, **given}) for given in schedules]
    return PolicySet.load({**document, "digest": digest_of(document)})


def ledger_file(path: Path) -> Path:
    """A ledger in which nothing is written yet: an empty file is none."""
    made = SqliteLedger(path)
    made.mark("made")
    made.close()
    return path
