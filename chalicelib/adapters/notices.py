"""Notices: one structured line per decision and per action, safe to read whatever was put into it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TextIO

from chalicelib.core.moments import format_moment
from chalicelib.ports import Clock

LONGEST_VALUE = 1_000
LONGEST_LINE = 32_000
MOST_ITEMS = 50
DEEPEST = 4
"""Sane lengths: CloudWatch Logs takes 256 KB an event, people read far less."""

REDACTED = "[redacted]"

LEVELS = dict.fromkeys(
    (
        "rejected",
        "degraded",
        "account_degraded",
        "start_unanswered",
        "unknown_status",
        "errand_postponed",
        "not_announced",
        "errand_without_remediation",
        "policies_refused",
        "no_policies",
        "guard_tripped",
        "exemption_ends",
    ),
    "WARN",
)
"""Notices that somebody should look at; every other one is INFO."""

METRICS = {
    "rejected": ("Rejected", "kind"),
    "transition": ("Transitions", "cause"),
    "policies_refused": ("PoliciesRefused", "decides"),
    "no_policies": ("NoPolicies", "decides"),
}
"""What is counted: the notice, its metric, and the field that splits the count."""

_DIMENSION = re.compile(r"[a-z0-9_-]{1,40}\Z")

_NAMES = r"passw(?:or)?d|secret|token|authorization|credential|cookie|api[_-]?key|access[_-]?key|private[_-]?key"
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
_IS = r"""[\\"']{0,4}\s{0,3}[=:]\s{0,3}[\\"']{0,4}"""
_VALUE = r"""[^\s\\"'&,;}]+"""
_SECRETS = (
    re.compile(r"()-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    re.compile(r"()(?:AKIA|ASIA)[A-Z0-9]{16}"),
    # how the session tokens of STS have begun so far
    re.compile(r"()(?:FwoGZXIvYXdz|FQoGZXIvYXdz|IQoJb3JpZ2lu|AQoDYXdz)[A-Za-z0-9/+=%]{16,}"),
    re.compile(r"(://[^/\s:@]{0,64}:)[^/\s@]{1,256}(?=@)"),
    re.compile(rf"(authorization{_IS}\w{{1,20}}\s{{1,3}}|\bbearer\s{{1,3}}){_VALUE}", re.IGNORECASE),
    re.compile(rf"((?:{_NAMES}|signature)[\w-]{{0,32}}{_IS}){_VALUE}", re.IGNORECASE),
)
"""What is taken out of a text; the first group stays."""


class JsonNotices:
    """One line of JSON per notice, on standard output unless told otherwise; some carry a count for CloudWatch.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream

    def say(self, what: str, /, **fields: Any) -> None:
        now = self._clock.now()
        head = {"time": format_moment(now), "level": LEVELS.get(what, "INFO"), "what": _text(what)}
        stream = self._stream or sys.stdout
        stream.write(_line(head, _plain(fields), _count(what, fields, now)))
        stream.flush()


class Collected:
    """The twin: keeps what was said, as it was said."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def say(self, what: str, /, **fields: Any) -> None:
        self.said.append((what, fields))

    def of(self, what: str) -> list[dict[str, Any]]:
        """The fields of every notice of this name, in order."""
        return [fields for said, fields in self.said if said == what]


class Silent:
    """For a person at a terminal, to whom the command speaks itself."""

    def say(self, what: str, /, **fields: Any) -> None:
        pass


def _line(head: Mapping[str, Any], fields: Mapping[str, Any], count: Mapping[str, Any]) -> str:
    text = json.dumps({**head, "fields": fields, **count}, allow_nan=False)
    if len(text) > LONGEST_LINE:
        short = {name: json.dumps(value)[:100] for name, value in fields.items()}
        text = json.dumps({**head, "fields": short, "shortened": True, **count})
    return text + "\n"


def _count(what: str, fields: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A count of one; what splits it comes from a short list, so that nobody's text becomes a metric."""
    if what not in METRICS:
        return {}
    name, split = METRICS[what]
    part = str(fields.get(split))
    metric = {"Namespace": "Patchwarden", "Dimensions": [[split]], "Metrics": [{"Name": name, "Unit": "Count"}]}
    return {
        "_aws": {"Timestamp": int(now.timestamp() * 1000), "CloudWatchMetrics": [metric]},
        split: part if _DIMENSION.match(part) else "other",
        name: 1,
    }


def _plain(value: Any, depth: int = 0) -> Any:
    """The value in JSON types, its texts made safe, maps in order of their keys."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) < 2**63 else "(no number that JSON can hold)"
    if isinstance(value, datetime) and value.tzinfo:
        return format_moment(value)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _inner(value, depth + 1) if depth < DEEPEST else "(deeper)"
    return _text(f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value))


def _inner(value: Mapping[Any, Any] | Iterable[Any], depth: int) -> Any:
    if isinstance(value, Mapping):
        names = sorted(map(str, value))[:MOST_ITEMS]
        named = {str(name): inner for name, inner in value.items()}
        return {_text(name): REDACTED if _SECRET_NAME.search(name) else _plain(named[name], depth) for name in names}
    items = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
    more = [f"({len(items) - MOST_ITEMS} more)"] if len(items) > MOST_ITEMS else []
    return [_plain(item, depth) for item in items[:MOST_ITEMS]] + more


def _text(text: str) -> str:
    """The text on one line, without secrets and control characters, and not longer than it is read."""
    for secret in _SECRETS:
        text = secret.sub(rf"\1{REDACTED}", text)
    if not text.isprintable():
        text = "".join(map(_printable, text))
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
