"""Envelopes: the outside of an EventBridge event, opened without trusting any of it."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from chalicelib.core.moments import parse_moment
from chalicelib.core.nodes import Location, Node, node_id, valid_place

LARGEST = 256 * 1024
"""Characters of an event's keys and values; EventBridge carries 256 KB, and ours are about 2 KB."""

LONGEST_NAME = 256
"""A Config rule's name has up to 128 characters, a shared document's ARN a few more than that."""

Kind = tuple[str, str]
"""An event's source and detail-type."""

_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:([a-z0-9-]*):([0-9]*):(?:managed-instance/(.*))?", re.DOTALL)
_Meaning = TypeVar("_Meaning")


class Refused(Exception):
    """An event that is left alone: `kind` is a word to count by, `reason` a sentence. `events.parse` catches it."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event of a known kind from a well-formed place; what is in `detail` is as it came."""

    kind: Kind
    location: Location
    time: object
    resources: object
    detail: Mapping[Any, Any]

    @property
    def at(self) -> datetime:
        return moment(self.time, "time")

    def node(self, value: object, field: str) -> Node:
        found = node_id(value)
        if found is None:
            raise Refused("no_node", f"{field} {shown(value)} holds no node id")
        return Node(self.location.account, self.location.region, found)

    def check_arns(self, node: str | None = None) -> None:
        """The ARNs that come with the event must lie where it says it comes from, and mean the same node."""
        for resource in self.resources if isinstance(self.resources, list) else ():
            arn = _ARN.match(resource) if isinstance(resource, str) else None
            if arn is not None:
                self._check_arn(arn, node)

    def check_place(self, account: object, region: object) -> None:
        """What the event speaks of must lie where it comes from: else somebody made it up."""
        if (account, region) != (self.location.account, self.location.region):
            said = f"account {shown(account)} and region {shown(region)}"
            raise Refused("forged", f"forged place: the event comes from {self.location} and speaks of {said}")

    def _check_arn(self, arn: re.Match[str], node: str | None) -> None:
        region, account, named = arn.groups()
        self.check_place(account or self.location.account, region or self.location.region)
        if node is not None and named not in (None, node):
            raise Refused("malformed", f"the event names two nodes, {node} and {shown(named)}")


def open_envelope(event: object, *, known: Container[Kind]) -> Envelope:
    """The envelope of an event of a known kind; Refused says why it is not one. Cheap for what is too large."""
    if not isinstance(event, dict):
        raise Refused("malformed", f"the event is no JSON object but of type {type(event).__name__}")
    source, detail_type = event.get("source"), event.get("detail-type")
    if not (isinstance(source, str) and isinstance(detail_type, str)):
        raise Refused("malformed", "the event has no source or no detail-type")
    if (source, detail_type) not in known:
        raise Refused("foreign", f"{shown(detail_type)} from {shown(source)} is no event that we read")
    if _exceeds(event, LARGEST):
        raise Refused("too_large", f"the event is larger than {LARGEST // 1024} KB")
    if not is_version(event.get("version", "0"), 0):
        raise Refused("unknown_version", f"version {shown(event['version'])} of the envelope is not known, only 0")
    account, region, detail = event.get("account"), event.get("region"), event.get("detail")
    if not (isinstance(account, str) and isinstance(region, str) and valid_place(account, region)):
        raise Refused("malformed", f"account {shown(account)} and region {shown(region)} are no place in AWS")
    if not isinstance(detail, dict):
        raise Refused("malformed", "the event has no detail")
    location = Location(account, region)
    return Envelope((source, detail_type), location, event.get("time"), event.get("resources"), detail)


def one_of(table: Mapping[str, _Meaning], value: object, field: str, *, kind: str = "foreign") -> _Meaning:
    if not (isinstance(value, str) and value in table):
        raise Refused(kind, f"{field} {shown(value)} is none of {', '.join(table)}")
    return table[value]


def moment(value: object, field: str) -> datetime:
    try:
        read = parse_moment(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):
        read = None
    if read is None or not 1970 <= read.year < 2200:
        raise Refused("malformed", f"{field} {shown(value)} is no time with a zone")
    return read


def printable(value: object, field: str) -> str:
    if not (isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable()):
        raise Refused("malformed", f"{field} {shown(value)} is no name of 1 to {LONGEST_NAME} printable characters")
    return value


def printables(block: Mapping[Any, Any], *fields: str) -> dict[str, str]:
    """These names as far as they are there; one that cannot be used is refused, not left out."""
    return {field: printable(block[field], field) for field in fields if block.get(field) is not None}


def cleaned(text: object) -> str:
    """A remark in people's words: on one line, without control characters, and cut where a name may end."""
    words = " ".join(text.split()) if isinstance(text, str) else ""
    return "".join(filter(str.isprintable, words))[:LONGEST_NAME]


def is_version(value: object, major: int) -> bool:
    """AWS writes versions as text or as numbers, the whole ones sometimes with a fraction."""
    if isinstance(value, str):
        return value.partition(".")[0] == str(major)
    return isinstance(value, int | float) and not isinstance(value, bool) and major <= value < major + 1


def shown(value: object) -> str:
    """A value for a reason: one line, short, no control characters."""
    if value is None:
        return "(none)"
    return repr(value[:60]) if isinstance(value, str) else f"of type {type(value).__name__}"


def _exceeds(value: object, limit: int) -> bool:
    """Whether the JSON text would be longer than about `limit`; stops counting there, at any depth."""
    size, rest = 0, [value]
    while rest and size <= limit:
        item = rest.pop()
        size += 3
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            size += len(item)
            rest.extend(item)
            rest.extend(item.values())
        elif isinstance(item, list):
            size += len(item)
            rest.extend(item)
    return size > limit
