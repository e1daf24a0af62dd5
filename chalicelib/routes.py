"""Routes: one table of all that the REST API answers, from which it is served, checked and described."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.findings import Control
from chalicelib.core.moments import parse_moment
from chalicelib.core.remediations import WAITS, Cause, State

LIMIT, MOST = 50, 200
"""How many rows a page has, and may have."""

LONGEST = 500


class Wrong(Exception):
    """What was asked cannot be read; the message says which part, and what it takes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value of a query, a path or a body; `schema` is JSON Schema's."""

    name: str
    schema: Mapping[str, Any]
    says: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `act`: it changes something, so it needs the act role and an Idempotency-Key."""

    method: str
    path: str
    name: str
    says: str
    parameters: tuple[Parameter, ...] = ()
    body: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = (400,)

    @property
    def act(self) -> bool:
        return self.method == "POST"

    @property
    def in_path(self) -> tuple[Parameter, ...]:
        return tuple(_PATH[name] for name in re.findall(r"{(\w+)}", self.path))


def _text(says: str, **schema: Any) -> tuple[dict[str, Any], str]:
    return {"type": "string", "minLength": 1, "maxLength": LONGEST, **schema}, says


_MOMENT = r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,6})?)?Z)?$"
_SPAN = r"^[1-9]\d{0,4}[smhdw]$"
_AT = Parameter("at", {"type": "string", "pattern": _MOMENT},
                "The moment asked about: a UTC day's start, or 2026-06-30T12:00:00Z; now without.")  # fmt: skip
_SINCE = Parameter("since", {"type": "string", "pattern": f"{_MOMENT}|{_SPAN}"},
                   "From when on: a moment, or a span before the end such as 24h; 24h if left out.")  # fmt: skip
_LIMIT_ = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT},
                    f"Rows of a page, at most {MOST}.")  # fmt: skip
_ID = r"\d{12}\.[a-z0-9-]+\.m?i-\w+\.[a-z]+"
_NEXT = "The `next` of the page before."
_AFTER = Parameter("after", _text("")[0], _NEXT)
_AFTER_ID = Parameter("after", _text("", pattern=f"^{_ID}$")[0], _NEXT)
_AFTER_TURN = Parameter("after", _text("", pattern=rf"^[0-9TZ:.~-]+#\d+#{_ID}$")[0], _NEXT)

_PATH = {
    "identity": Parameter("identity", {"type": "string", "pattern": f"^{_ID}$"},
                          "A remediation, such as 111122223333.eu-west-1.i-0123456789abcdef0.patch.", True),
    "account": Parameter("account", {"type": "string", "pattern": r"^\d{12}$"}, "12 digits.", True),
    "region": Parameter("region", {"type": "string", "pattern": r"^[a-z]{2,4}(-[a-z]+)+-\d$"}, "A Region.", True),
    "node": Parameter("node", {"type": "string", "pattern": r"^(i-(\w{8}|\w{17})|mi-\w{17})$"}, "A node id.", True),
    "digest": Parameter("digest", {"type": "string", "pattern": r"^[0-9a-f]{8,64}$"},
                        "The start of a policy's or of a set's digest, 8 digits at least.", True),
}  # fmt: skip

_FILTERS = tuple(Parameter(name, schema, says) for name, (schema, says) in {
    "account": _text("12 digits.", pattern=r"^\d{12}$"),
    "region": _text("A Region."),
    "control": _text("The control.", enum=[control.value for control in Control]),
    "node": _text("A node id."),
    "ou": _text("An organisational unit, as the line recorded it."),
    "tag": _text("`Key=value`, or `Key` for any value, as the trail recorded it."),
    "state": _text("A state.", enum=[state.value for state in State]),
    "policy": _text("The id of the policy that decided."),
    "digest": _text("The start of a policy's or of a set's digest."),
    "action": _text("What the policy wanted.", enum=["exempt", "ticket", "observe", "approve", "remediate"]),
    "ticket": _text("A ticket."),
    "execution": _text("An automation execution."),
    "held": _text("The guard that holds it."),
    "severity": ({"type": "integer", "minimum": 1, "maximum": 4}, "The deciding policy's severity, 1 is the worst."),
}.items())  # fmt: skip
_STATE = Parameter("state", _text("", enum=[state.value for state in State])[0], "Only this state.")
_WAITS = Parameter("state", _text("", enum=[state.value for state in WAITS])[0], "Only this state.")
_ACCOUNT, _POLICY = (next(one for one in _FILTERS if one.name == name) for name in ("account", "policy"))
_REASON = Parameter("reason", {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": r"\S"}, "Why.", True)

ROUTES = (
    Route("GET", "/health", "health", "Whether the ledger answers, whether starts are paused, which policies decide."),
    Route("GET", "/status", "status", "What is happening now."),
    Route("GET", "/remediations", "remediations", "The remediations as they are, the next to move first.",
          (_STATE, _LIMIT_, _AFTER_TURN)),
    Route("GET", "/remediations/{identity}", "remediation", "One remediation with its trail.", errors=(400, 404)),
    Route("GET", "/nodes/{account}/{region}/{node}", "node", "The trail of one node.", errors=(400, 404)),
    Route("GET", "/whynot", "whynot", "All that is not being remediated, with reason and next moment.",
          (_WAITS, _ACCOUNT, _POLICY, _LIMIT_, _AFTER_TURN)),
    Route("GET", "/executions", "executions", "What runs, how full each place is, and of what kind failures are.",
          (_ACCOUNT, _POLICY)),
    Route("GET", "/approvals", "approvals", "What waits for somebody's yes, the one that ends first at the head.",
          (_ACCOUNT, _POLICY, _LIMIT_, _AFTER_TURN)),
    Route("GET", "/fleet", "fleet", "The fleet as it was at a moment.", (_AT, *_FILTERS, _LIMIT_, _AFTER_ID),
          errors=(400, 422)),
    Route("GET", "/fleet/diff", "diff", "What differs between two moments.",
          (_AT, _SINCE, *_FILTERS, _LIMIT_, _AFTER_ID), errors=(400, 422)),
    Route("GET", "/search", "search", "Lines of the trail by what they say.",
          (_AT, _SINCE, *_FILTERS, Parameter("actor", *_text("A part of who did it.")),
           Parameter("cause", *_text("What happened.", enum=[cause.value for cause in Cause])),
           Parameter("text", *_text("A part of the sentence.")), _LIMIT_, _AFTER)),
    Route("GET", "/exemptions", "exemptions", "The exemptions in force at a moment, and what they covered.",
          (_AT, _LIMIT_, _AFTER_ID), errors=(400, 422)),
    Route("GET", "/decisions/{digest}", "decisions", "The decisions under a policy or a set.",
          (_AT, _SINCE, _LIMIT_, _AFTER)),
    Route("GET", "/trend", "trend", "The fleet's states at 15 moments of a span, for a curve.",
          (_AT, _SINCE, *_FILTERS), errors=(400, 422)),
    Route("GET", "/funnel", "funnel", "How far what was detected in a span came, and what was left where.",
          (_AT, _SINCE, *_FILTERS), errors=(400, 422)),
    Route("GET", "/ages", "ages", "How old what is not compliant is, against its deadline.",
          (_AT, *_FILTERS), errors=(400, 422)),
    Route("GET", "/policies", "policies", "The policies in words, what they decide now, and what shadows would."),
    Route("GET", "/durations", "durations", "How long episodes took: MTTR by severity and policy.",
          (_AT, _SINCE, *_FILTERS), errors=(400, 422)),
    Route("GET", "/sla", "sla", "Deadlines that were broken, and those that break next.",
          (_AT, _SINCE, *_FILTERS, _LIMIT_), errors=(400, 422)),
    Route("GET", "/verify/{account}/{region}/{node}", "verify", "Whether one node's trails are whole and as signed.",
          errors=(400, 404)),
    Route("GET", "/openapi.json", "openapi", "This description."),
    Route("POST", "/pause", "pause", "Start nothing new, anywhere.", body=(
        _REASON, Parameter("until", {"type": ["string", "null"], "pattern": f"{_MOMENT}|{_SPAN}"},
                           "A moment, or a span from now; until somebody resumes if left out.")),
          errors=(400, 403, 409, 422)),
    Route("POST", "/resume", "resume", "Let starts go on.", body=(_REASON,), errors=(400, 403, 409, 422)),
    Route("POST", "/remediations/{identity}/evaluate", "evaluate", "Decide once more on the facts of now.",
          body=(_REASON,), errors=(400, 403, 404, 409, 422)),
    Route("POST", "/remediations/{identity}/acknowledge", "acknowledge", "Note that a person has seen it.",
          body=(_REASON,), errors=(400, 403, 404, 409, 422)),
    Route("POST", "/remediations/{identity}/approve", "approve", "Say yes, if the policy asks and lets the caller.",
          body=(_REASON,), errors=(400, 403, 404, 409, 422)),
    Route("POST", "/remediations/{identity}/reject", "reject", "Say no: it stays a person's turn.",
          body=(_REASON,), errors=(400, 403, 404, 409, 422)),
    Route("POST", "/remediations/{identity}/hold", "hold", "Take over what waits: it becomes a person's turn.",
          body=(_REASON,), errors=(400, 403, 404, 409, 422)),
)  # fmt: skip


def read(parameters: tuple[Parameter, ...], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values as their schemas want them; Wrong says in one sentence which is wrong and what it takes."""
    known = {one.name: one for one in parameters}
    for name in given:
        if name not in known:
            raise Wrong(f"{name!r:.80} is no {where} of this route: it takes {', '.join(known) or 'none'}")
    missing = [one.name for one in parameters if one.required and one.name not in given]
    if missing:
        raise Wrong(f"the {where} {missing[0]} is missing: {known[missing[0]].says}")
    return {name: _value(known[name], value, where) for name, value in given.items()}


def _value(wanted: Parameter, value: Any, where: str) -> Any:
    schema, wrong = wanted.schema, Wrong(f"the {where} {wanted.name} is wrong: {wanted.says}")
    if value is None and "null" in schema["type"]:
        return None
    if schema["type"] == "integer":
        if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 9:
            raise wrong
        if not schema["minimum"] <= int(value) <= schema["maximum"]:
            raise wrong
        return int(value)
    if not isinstance(value, str) or not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", LONGEST):
        raise wrong
    if "enum" in schema and value not in schema["enum"]:
        raise Wrong(f"the {where} {wanted.name} is one of {', '.join(schema['enum'])}")
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value, re.ASCII):
        raise wrong
    return value


def moment(text: str | None, now: datetime) -> datetime:
    """The moment that `at` names; Wrong if there is no such day or time."""
    if text is None:
        return now
    try:
        return parse_moment(text if "T" in text else f"{text}T00:00:00Z")
    except (ValueError, OverflowError) as error:
        raise Wrong(f"{text} is no moment: write 2026-06-30 or 2026-06-30T12:00:00Z") from error


def before(text: str | None, end: datetime, *, otherwise: timedelta = timedelta(hours=24)) -> datetime:
    """The moment that `since` names: itself, or a span before the end; Wrong if it is neither or too long ago."""
    try:
        if text is None:
            return end - otherwise
        return end - span(text) if re.match(_SPAN, text) else moment(text, end)
    except OverflowError as error:
        raise Wrong(f"{text} is too long ago") from error


def span(text: str) -> timedelta:
    """`90s 30m 24h 7d 2w` as a span; Wrong otherwise."""
    if not re.search(_SPAN.replace("$", r"\Z"), text, re.ASCII):
        raise Wrong(f"{text} is no span: write 30m, 24h, 7d or 2w")
    return timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
