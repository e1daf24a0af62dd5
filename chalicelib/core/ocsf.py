"""OCSF: a remediation at a moment as a Compliance Finding (class 2003), for security lakes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.core.moments import parse_moment

VERSION = "1.3.0"
"""https://schema.ocsf.io/1.3.0/classes/compliance_finding"""

_ACTIVITY = {"resolved": 3, "gone": 3}
_STATUS = {"resolved": (4, "Resolved"), "gone": (4, "Resolved"), "exempt": (3, "Suppressed"), "open": (1, "New")}
_SEVERITY = {1: (5, "Critical"), 2: (4, "High"), 3: (3, "Medium"), 4: (2, "Low")}


def finding(point: Mapping[str, Any], at: str) -> dict[str, Any]:
    """`point` is Point.to_json(); `at` the moment it is of. A node that is gone is neither compliant nor not."""
    state = point["state"]
    activity = _ACTIVITY.get(state, 2)
    status, word = _STATUS.get(state, (2, "In Progress"))
    severity, name = _SEVERITY.get(point["severity"], (0, "Unknown"))
    passed = {"resolved": (1, "Pass"), "gone": (0, "Unknown")}.get(state, (3, "Fail"))
    return {
        "class_uid": 2003, "class_name": "Compliance Finding", "category_uid": 2, "category_name": "Findings",
        "activity_id": activity, "type_uid": 200300 + activity, "time": _ms(at), "severity_id": severity,
        "severity": name, "status_id": status, "status": word, "message": point["because"],
        "metadata": {"version": VERSION, "product": {"name": "Patchwarden", "vendor_name": "Patchwarden"}},
        "finding_info": {"uid": f"{point['id']}/{point['episode']}", "title": f"{point['control']} compliance",
                         **({"created_time": _ms(point["first_seen"])} if point["first_seen"] else {})},
        "compliance": {"control": point["control"], "standards": ["AWS Systems Manager"], "status_id": passed[0],
                       "status": passed[1]},
        "cloud": {"provider": "AWS", "region": point["region"], "account": {"uid": point["account"]}},
        "resources": [{"uid": point["node"], "type": "AWS::SSM::ManagedInstanceInventory", "region": point["region"],
                       "labels": [f"{key}={value}" for key, value in sorted((point["tags"] or {}).items())]}],
        "unmapped": {"state": state, "policy": point["policy"], "policy_digest": point["policy_digest"],
                     "line": point["number"], "hash": point["hash"]},
    }  # fmt: skip


def _ms(moment: str) -> int:
    return round(parse_moment(moment).timestamp() * 1000)
