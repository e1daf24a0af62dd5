"""OpenAPI: the document that describes the REST API, drawn from the table of routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.core.points import Point
from chalicelib.routes import ROUTES, Parameter, Route

_WAYS = {"string": {"type": "string"}, "integer": {"type": "integer"}, "number": {"type": "number"},
         "boolean": {"type": "boolean"}, "object": {"type": "object"}, "array": {"type": "array"}}  # fmt: skip

_PLACE = {"account": "string", "region": "string", "node": "string", "control": "string"}
_LINE = {"remediation": "string", "number": "integer", "at": "string", "before": "string", "cause": "string",
         "after": "string", "because": "string", "actor": "string", "sets": "object", "evidence": "object",
         "previous": "string", "hash": "string"}  # fmt: skip
_COURSE = {"remediation": "string", **_PLACE, "episode": "integer", "state": "string", "policy": "string?",
           "severity": "integer?", "detected": "string", "decided": "string?", "started": "string?",
           "verified": "string?", "deadline": "string?", "seconds": "number?", "succeeded": "string?",
           "because": "string"}  # fmt: skip
_SPREAD = {"count": "integer", "median": "number?", "p90": "number?", "longest": "number?"}
_SUMMARY = {"id": "string", **_PLACE, "state": "string", "since": "string?", "first_seen": "string?", "due": "string?",
            "attempts": "integer", "policy": "string?", "ticket": "string?", "execution": "string?", "held": "string?",
            "because": "string"}  # fmt: skip
_INTEGERS = {"number", "attempts", "episode"}
_NULLABLE = {"since", "first_seen", "due", "ticket", "execution", "held", "policy", "policy_digest", "set_digest",
             "action", "deadline", "tags_at", "ou"}  # fmt: skip
_POINT = {name: "integer" if name in _INTEGERS else "integer?" if name == "severity" else "object?" if name == "tags"
          else "string?" if name in _NULLABLE else "string" for name in Point.__dataclass_fields__}  # fmt: skip

OBJECTS: dict[str, dict[str, str]] = {
    "Line": _LINE, "Point": _POINT, "Course": _COURSE, "Late": {**_COURSE, "late_by": "number"},
    "Ahead": {**_COURSE, "remaining": "number"}, "Spread": _SPREAD, "Summary": _SUMMARY,
    "Move": {"before": "string?", "after": "string?", "remediations": "integer"},
    "Counted": {"at": "string", "total": "integer", "states": "object"},
    "Left": {"after": "string", "state": "string", "policy": "string?", "episodes": "integer", "because": "string"},
    "Age": {"from_days": "integer", "to_days": "integer?", "open": "integer", "late": "integer", "in_time": "integer",
            "exempt": "integer", "without_deadline": "integer"},
    "Rule": {"policy": "string", "band": "string", "mode": "string", "title": "string", "words": "string",
             "owner": "string", "digest": "string", "decides": "integer", "would": "integer"},
    "Shadow": {"policy": "string", "action": "string", "real_policy": "string?", "real_action": "string?",
               "remediations": "integer"},
    "Place": {"location": "string", "executions": "integer", "limit": "integer?", "queued": "integer"},
    "Budget": {"policy": "string", "failures": "integer", "ended": "integer", "limit": "integer", "max": "string",
               "within": "integer", "spent": "boolean"},
    "Failure": {"kind": "string", "remediations": "integer", "example": "string", "because": "string"},
    "Moved": {"id": "string", "before": "string?", "after": "string?"},
    "Wait": {"id": "string", **_PLACE, "state": "string", "since": "string?", "reason": "string", "next": "string?",
             "who": "string", "policy": "string?", "ticket": "string?"},
    "Exemption": {"policy": "string?", "title": "string?", "owner": "string?", "reason": "string?",
                  "approved_by": "string?", "approved_on": "string?", "ticket": "string?", "until": "string?",
                  "policy_digest": "string?", "remediations": "integer"},
    "Decision": {"decision": "string", "remediation": "string", "at": "string", "cause": "string", "after": "string",
                 "because": "string", "actor": "string", "policy": "string?", "action": "string?",
                 "policy_digest": "string?", "set_digest": "string?"},
}  # fmt: skip
"""What lists hold. `?`: or null. Each field is always there."""

_HEAD = {"at": "string", "filters": "object"}
_ONE = {**_SUMMARY, "decision": "object", "plan": "object", "trail": "array:Line"}
_PAUSED = {"paused": "object?"}
_RECEIPT = {"status": "string", "because": "string", "remediation": "string?", "state": "string?", "due": "string?"}

ANSWERS: dict[str, dict[str, str]] = {
    "health": {"ledger": "string", "paused": "string?", "policies": "string?", "policy_trouble": "string?"},
    "status": {"at": "string", "states": "object", "executions": "array", "waiting": "array", "queued": "array",
               "ticketed": "array", "totals": "object", "held": "object", "errands": "integer", "fresh": "object",
               "sweep": "object?"},
    "remediations": {"remediations": "array:Summary", "next": "string?"},
    "remediation": _ONE,
    "node": {"node": "string", "intact": "boolean", "trail": "array:Line"},
    "whynot": {"at": "string", "remediations": "array:Wait", "next": "string?"},
    "executions": {"at": "string", "executions": "array", "places": "array:Place",
                   "budgets": "array:Budget", "failures": "array:Failure"},
    "approvals": {"approvals": "array:Summary", "next": "string?"},
    "fleet": {**_HEAD, "total": "integer", "states": "object", "groups": "array", "remediations": "array:Point",
              "next": "string?"},
    "diff": {**_HEAD, "since": "string", "changed": "integer", "moves": "array:Move", "remediations": "array:Moved",
             "next": "string?"},
    "search": {**_HEAD, "since": "string", "lines": "array:Line", "next": "string?"},
    "exemptions": {"at": "string", "set_digest": "string?", "known": "boolean", "exemptions": "array:Exemption",
                   "remediations": "array:Point", "total": "integer", "next": "string?"},
    "decisions": {**_HEAD, "since": "string", "decisions": "array:Decision", "next": "string?"},
    "trend": {**_HEAD, "since": "string", "points": "array:Counted"},
    "funnel": {**_HEAD, "since": "string", "stages": "object", "left": "array:Left"},
    "ages": {**_HEAD, "open": "integer", "ages": "array:Age"},
    "policies": {"set": "string?", "trouble": "string?", "policies": "array:Rule", "shadows": "array:Shadow"},
    "durations": {**_HEAD, "since": "string", "verified": "integer", "spans": "object", "by_severity": "array:Spread",
                  "by_policy": "array:Spread", "funnel": "object"},
    "sla": {**_HEAD, "since": "string", "met": "integer", "breached": "integer", "open_breaches": "integer",
            "breaches": "array:Late", "next_to_breach": "array:Ahead", "to_breach": "integer",
            "without_deadline": "integer"},
    "verify": {"node": "string", "remediations": "integer", "lines": "integer", "faults": "array",
               "checkpoints": "integer", "signed_until": "string?", "notes": "array"},
    "openapi": {"openapi": "string", "paths": "object"},
    "pause": _PAUSED, "resume": {**_PAUSED, "was": "object?"}, "evaluate": _ONE, "acknowledge": _ONE,
    "approve": _RECEIPT, "reject": _RECEIPT, "hold": _RECEIPT,
}  # fmt: skip

ERRORS = {400: "What was asked cannot be read.", 403: "The caller is not known, or may not do this.",
          404: "It is not there.", 409: "Somebody else was first, or the same request is under way.",
          422: "The key was used for another request, or the fleet is too large for this route.",
          500: "Something went wrong here that nobody foresaw.",
          502: "AWS refused something this service needs.", 503: "Come again."}  # fmt: skip


def document() -> dict[str, Any]:
    """The whole description, OpenAPI 3.1. https://spec.openapis.org/oas/v3.1.0"""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Patchwarden", "version": "1",
            "description": "Read what was decided about each node and why; pause, approve, hold, decide again.",
        },
        "paths": paths,
        "components": {
            "schemas": {**{name: _object(fields) for name, fields in OBJECTS.items()}, "Problem": _PROBLEM},
            "securitySchemes": {"sigv4": {"type": "apiKey", "in": "header", "name": "Authorization",
                                          "description": "AWS Signature Version 4, service execute-api."}},
        },
        "security": [{"sigv4": []}],
    }  # fmt: skip


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {**{name: {"type": "string"} for name in ("type", "title", "detail")}, "status": {"type": "integer"}},
}


def _operation(route: Route) -> dict[str, Any]:
    given = [_parameter(one, "path") for one in route.in_path] + [_parameter(one, "query") for one in route.parameters]
    answers = {"200": {"description": "The answer.", "headers": _headers(route), "content": {
        "application/json": {"schema": _object({"schema_version": "integer", **ANSWERS[route.name]})}}}}  # fmt: skip
    if not route.act:
        answers["304"] = {"description": "The answer is the one whose ETag was given."}
    for status in (*route.errors, 500, 502, 503):
        answers[str(status)] = {"description": ERRORS[status], "content": {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}  # fmt: skip
    found: dict[str, Any] = {"operationId": route.name, "summary": route.says, "responses": answers}
    if route.act:
        given.append({"name": "Idempotency-Key", "in": "header", "required": True,
                      "description": "The same key and request give the answer of the first call, and are done once.",
                      "schema": {"type": "string", "pattern": r"^[A-Za-z0-9_-]{1,128}$"}})  # fmt: skip
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _body(route)}}}
    return {**found, "parameters": given}


def _headers(route: Route) -> dict[str, Any]:
    name, says = ("Idempotency-Replayed", "`true`: the answer of an earlier call.") if route.act else (
        "ETag", "Changes when the answer does; the moment `at` of now alone does not change it.")  # fmt: skip
    return {name: {"description": says, "schema": {"type": "string"}}}


def _parameter(one: Parameter, where: str) -> dict[str, Any]:
    return {"name": one.name, "in": where, "required": one.required, "description": one.says,
            "schema": dict(one.schema)}  # fmt: skip


def _body(route: Route) -> dict[str, Any]:
    required = [one.name for one in route.body if one.required]
    return {"type": "object", "additionalProperties": False, "required": required, "properties": {
                one.name: {**one.schema, "description": one.says} for one in route.body}}  # fmt: skip


def _object(fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": sorted(fields),
        "properties": {name: _kind(way) for name, way in fields.items()},
    }


def _kind(way: str) -> dict[str, Any]:
    if ":" in way:
        return {"type": "array", "items": {"$ref": f"#/components/schemas/{way.partition(':')[2]}"}}
    if way.endswith("?"):
        return {"type": [way[:-1], "null"]}
    return dict(_WAYS[way])
