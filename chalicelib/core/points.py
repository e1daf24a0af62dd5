"""Points: what one remediation was at one moment, folded from the lines of its trail up to then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Cause, Transition

KEPT = ("first_seen", "due", "attempts", "episode", "ticket", "execution", "held")
"""Fields of the remediation that a line's `sets` carry under the same name."""

MADE = ("policy", "policy_digest", "set_digest", "action", "severity")
"""What a line that decides says of its decision; what such a line leaves out is not known of the decision."""


@dataclass(frozen=True, slots=True)
class Point:
    """One remediation at one moment; moments are text as `format_moment` writes them.

    `tags` are those of the newest line up to then that recorded them, `tags_at` when that was; both None: no line
    did. `ou` is that of the newest line that recorded one; `deadline` the newest that a decision of this episode set.
    """

    id: str
    account: str
    region: str
    node: str
    control: str
    number: int = 0
    hash: str = ""
    state: str = "open"
    since: str | None = None
    first_seen: str | None = None
    due: str | None = None
    attempts: int = 0
    episode: int = 0
    ticket: str | None = None
    execution: str | None = None
    held: str | None = None
    because: str = ""
    policy: str | None = None
    policy_digest: str | None = None
    set_digest: str | None = None
    action: str | None = None
    severity: int | None = None
    deadline: str | None = None
    tags: Mapping[str, str] | None = field(default=None, hash=False)
    tags_at: str | None = None
    ou: str | None = None

    def to_json(self) -> dict[str, Any]:
        value = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**value, "tags": dict(self.tags) if self.tags is not None else None}


def blank(identity: str) -> dict[str, Any]:
    """The parts of the id of a remediation, by their names in a point."""
    account, region, node, control = identity.split(".", 3)
    return {"id": identity, "account": account, "region": region, "node": node, "control": control}


def point(lines: Iterable[Transition]) -> Point | None:
    """The fold of a trail's lines, first to last; None if there are none. A damaged trail is folded as it stands."""
    value: dict[str, Any] = {}
    for line in lines:
        value = value or blank(line.remediation)
        fold(value, line)
    return Point(**value) if value else None


def fold(value: dict[str, Any], line: Transition) -> None:
    """Add a line to the fields of a point, which begin as `blank`."""
    at = format_moment(line.at)
    if line.after is not line.before or line.number == 1:
        value["since"] = at
    if line.cause is not Cause.NOTED:
        value["because"] = line.because
    value |= {"number": line.number, "hash": line.hash, "state": line.after.value}
    value |= {name: line.sets[name] for name in KEPT if name in line.sets}
    if "episode" in line.sets:
        value["deadline"] = None
    made = line.sets.get("decision")
    if made is not None:
        value |= {name: made.get(name) for name in MADE}
        value["deadline"] = made.get("deadline") or value.get("deadline")
    seen = _node(line).get("tags")
    if seen is not None:
        value |= {"tags": dict(seen), "tags_at": at}
    value["ou"] = (line.evidence.get("facts") or {}).get("ou") or value.get("ou")


def _node(line: Transition) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (line.evidence.get("facts") or {}).get("node") or {}
    return found


@dataclass(frozen=True, slots=True)
class Where:
    """A filter over points and their lines; None: whatever it is. `tag` is `Key=value`, or `Key` for any value."""

    account: str | None = None
    region: str | None = None
    control: str | None = None
    node: str | None = None
    ou: str | None = None
    tag: str | None = None
    state: str | None = None
    policy: str | None = None
    digest: str | None = None
    action: str | None = None
    ticket: str | None = None
    execution: str | None = None
    held: str | None = None
    severity: int | None = None

    def given(self) -> dict[str, Any]:
        """The filters that are set."""
        named = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    def holds(self, point: Point) -> bool:
        """Whether the point passes every filter; `digest` is the start of a policy's or of a set's digest."""
        for name, value in self.given().items():
            if name == "tag":
                if not _tagged(point.tags, value):
                    return False
            elif name == "digest":
                if not any((one or "").startswith(value) for one in (point.policy_digest, point.set_digest)):
                    return False
            elif getattr(point, name) != value:
                return False
        return True


def _tagged(tags: Mapping[str, str] | None, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return tags is not None and key in tags and (not equals or tags[key] == value)


EVERYTHING = Where()
