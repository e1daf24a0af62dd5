"""The policy sets that a simulated run lives under, and the one that may take their place in its middle."""

from __future__ import annotations

from functools import cache
from typing import Any

from chalicelib.core.compiled import VERSION, digest_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.overrides import Named, PatchList, digest_of_list
from chalicelib.core.policies import PolicySet

LOCATIONS = tuple(
    Location(account, region) for account in ("111122223333", "444455556666") for region in ("eu-west-1", "us-east-1")
)
GROUP, GROUP_MOST = "Cluster", 2
SCALING_SHARE, ZONE_SHARE = 40, 50
"""Percent of an Auto Scaling group, and of a zone, that may be in work at once."""

REPAIR = "Example-RepairAssociation"

IMMUTABLE = {"tag": "PatchStrategy", "value": "immutable"}

_THEN: dict[str, Any] = {
    "action": "remediate", "severity": 3, "window": None, "deadline": None, "on_deadline": "ticket",
    "reboot": "if-needed", "attempts": 2, "cooldown": 900, "stopped": "wait", "snapshot": False, "document": None,
    "until": None, "reason": None, "approved": None, "approval": None, "waves": [], "patches": [],
}  # fmt: skip
_LIMITS = {
    "concurrency": "10%", "max_errors": "10%", "max_per_hour": None, "error_budget": None, "per_group": [
        {"tag": GROUP, "max": GROUP_MOST}, {"by": "auto-scaling-group", "max": f"{SCALING_SHARE}%"},
        {"by": "availability-zone", "max": f"{ZONE_SHARE}%"},
    ],
}  # fmt: skip
UNTIL = format_moment(parse_moment("2026-11-23T13:15:00Z"))
"""When the exemptions end."""

_EXEMPT = {
    "action": "exempt", "until": UNTIL, "expires": UNTIL, "reason": "a vendor's freeze",
    "approved": {"by": "ciso@example.com", "on": "2026-11-20", "ticket": "SEC-1"},
}  # fmt: skip


ALARM, ALARMED = "emergency-cve-2026-990001", {"Kind": "plain"}
"""The emergency, and the tags of the nodes that it is for."""

UNTIL_ALARM = parse_moment("2026-12-24T00:00:00Z")
FIX = Named("xz-libs.x86_64", "5.6.2")
LIST = PatchList("Linux", None, digest_of_list([FIX]), "version-1", (FIX,))
STALE_AFTER = 48 * 3600


def _more(alarm: bool, silent: bool) -> list[dict[str, Any]]:
    """The policy of an emergency, and one that gives silent nodes to a person."""
    control = ["finding", "control"]
    alarmed = [
        _equals(control, "emergency"),
        _equals(["finding", "rule"], ALARM),
        *map(_tag, ALARMED, ALARMED.values()),
    ]
    emergency = _policy(ALARM, alarmed, band="emergency", expires=format_moment(UNTIL_ALARM), patches=[LIST.to_json()])
    reporting = _policy("silent", [_equals(control, "reporting")], band="guardrail", action="ticket")
    return [one for one, wanted in ((emergency, alarm), (reporting, silent)) if wanted]


@cache
def first(*, alarm: bool = False, silent: bool = False) -> PolicySet:
    """The set of the beginning."""
    return _set(
        *_more(alarm, silent),
        _policy("guarded", [_tag("Kind", "guarded")], band="guardrail", action="ticket"),
        _policy("hot", [_tag("Kind", "hot")], band="emergency", expires="2027-01-01T00:00:00Z"),
        _policy("legacy", [_tag("Kind", "legacy")], **_EXEMPT),
        _policy("sleeping", [_tag("Kind", "sleeping")], stopped="start"),
        _policy("plain", [_equals(["finding", "control"], "patch")], priority=-1),
        _policy("repair", [_equals(["finding", "control"], "association")], priority=-1,
                document={"name": REPAIR, "version": "1", "parameters": {}}),
        stale_after=STALE_AFTER if silent else None,
    )  # fmt: skip


SURGE: dict[str, Any] = {"location": 60, "account": 50, "fleet": 40, "at_least": 8, "canary": 1, "norm": None}
_NO_CEILING = {**SURGE, "location": 100, "account": 100, "fleet": 100}
STRICT, SAME = 20, 30
"""Percent of a place that one policy may newly find there, and that may miss the very same patches."""

GUARDS = ("fleet", "policy", "patch")
"""By what a surge is told: by all that is new, by what one policy has found, or by what the nodes miss."""

WAVES = [
    {"tag": "Kind=hot", "nodes": None, "percent": None, "soak": 600, "max_errors": 2},
    {"tag": None, "nodes": None, "percent": 30, "soak": 600, "max_errors": 2},
    {"tag": None, "nodes": None, "percent": 100, "soak": 0, "max_errors": 0},
]
BUDGET = {"max_failures": "3", "within": 86400}


@cache
def guarded(by: str = "fleet") -> PolicySet:
    """The set of an organisation that looks for surges, one of `GUARDS`, and has waves and error budgets."""
    share = {"surge": STRICT} if by == "policy" else {}
    return _set(
        _policy("guarded", [_tag("Kind", "guarded")], band="guardrail", action="ticket"),
        _policy("legacy", [_tag("Kind", "legacy")], error_budget=BUDGET),
        _policy("sleeping", [_tag("Kind", "sleeping")], stopped="start",
                error_budget={**BUDGET, "max_failures": "50%"}),
        _policy("plain", [_equals(["finding", "control"], "patch")], priority=-1, waves=WAVES, **share),
        _policy("repair", [_equals(["finding", "control"], "association")], priority=-1,
                document={"name": REPAIR, "version": "1", "parameters": {}}, error_budget=BUDGET),
        surge={"fleet": SURGE, "policy": _NO_CEILING, "patch": {**_NO_CEILING, "same": SAME}}[by],
    )  # fmt: skip


@cache
def second(*, surge: bool = False, alarm: bool = False, silent: bool = False) -> PolicySet:
    """The set that an organisation might publish while the first one is at work."""
    return _set(
        *_more(alarm, silent),
        _policy("guarded", [_tag("Kind", "guarded")]),
        _policy("hot", [_tag("Kind", "hot")], action="ticket"),
        _policy("legacy", [_tag("Kind", "legacy")]),
        _policy("sleeping", [_tag("Kind", "sleeping")], **_EXEMPT),
        _policy("plain", [_equals(["finding", "control"], "patch")], attempts=3, priority=-1),
        _policy("repair", [_equals(["finding", "control"], "association")], action="ticket", priority=-1),
        surge=SURGE if surge else None,
        stale_after=STALE_AFTER if silent else None,
    )


def _equals(steps: list[str], value: str) -> dict[str, Any]:
    return {"path": "$." + ".".join(steps), "steps": steps, "operator": "equals", "operand": value, "match": "any",
            "if_missing": False, "line": None}  # fmt: skip


def _tag(name: str, value: str) -> dict[str, Any]:
    return _equals(["node", "tags", name], value)


def _policy(id: str, when: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    then = {name: given.pop(name) for name in list(given) if name in _THEN}
    limits = {**_LIMITS, "error_budget": given.pop("error_budget", None), "surge": given.pop("surge", None)}
    return {
        "id": id, "title": f"the policy {id}", "owner": "secops@example.com", "band": "standard", "mode": "enforce",
        "priority": 0, "expires": None, "rollout": None, "origin": f"{id}.yaml:1", **given,
        "when": {"all": when, "any": [], "none": []}, "then": {**_THEN, **then, "limits": limits},
    }  # fmt: skip


def _set(*policies: dict[str, Any], surge: dict[str, Any] | None = None, stale_after: int | None = None) -> PolicySet:
    scope = {
        "accounts": sorted({each.account for each in LOCATIONS}),
        "regions": sorted({each.region for each in LOCATIONS}),
    }
    document: dict[str, Any] = {
        "version": VERSION, "policies": list(policies), "schedules": [],
        "settings": {"linger": 300, "verify_within": 1800, "executions_per_location": 20, "freezes": [],
                     "documents": [REPAIR], "immutable": IMMUTABLE, "scope": scope, "windows": {}, "surge": surge,
                     "stale_after": stale_after},
    }  # fmt: skip
    return PolicySet.load({**document, "digest": digest_of(document)})
