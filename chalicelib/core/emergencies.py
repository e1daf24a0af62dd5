"""Emergencies: named patches that a scope of nodes must have, whatever baselines and windows say, until a moment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.facts import NodeState, Patch, PatchState
from chalicelib.core.journal import Entry, Kind, subject_of
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import ACCOUNT, REGION, Location
from chalicelib.core.overrides import PatchList, Said, Standing, list_for, said
from chalicelib.core.remediations import Cause

STARTED, STOPPED, HALTED = "started", "stopped", "halted"
"""What an emergency's entries in the journal say. `HALTED`: its list is not the recorded one any more."""

_TAG = re.compile(r"tag:(.{1,128})\Z", re.DOTALL)
_KEYS = ("account", "region", "platform")
_VALUES = {
    "account": (ACCOUNT, "an account id has 12 digits"), "region": (REGION, "a Region is written like eu-west-1"),
    "platform": (re.compile(r"(Windows|Linux)\Z"), "a platform is windows or linux"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scope:
    """Which nodes: values of one key are alternatives, different keys must all hold; without a key it is all nodes."""

    wanted: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Scope:
        """From `all`, `account=…`, `region=…`, `platform=linux` and `tag:KEY=VALUE`; ValueError otherwise."""
        wanted: dict[str, tuple[str, ...]] = {}
        listed = [text.strip() for text in texts]
        for text in listed:
            if text == "all" and len(listed) == 1:
                return cls()
            key, found, value = text.partition("=")
            value = value.title() if key == "platform" else value
            if not found or not value or not (key in _KEYS or _TAG.match(key)):
                raise ValueError(
                    f"{text!r:.80} is no scope: write all alone, or account=111122223333, region=eu-west-1, "
                    "platform=linux, tag:Environment=prod"
                )
            pattern, remedy = _VALUES.get(key, (None, ""))
            if pattern and not pattern.match(value):
                raise ValueError(f"{text!r:.80} is no scope: {remedy}")
            wanted[key] = tuple(dict.fromkeys((*wanted.get(key, ()), value)))
        if not wanted:
            raise ValueError("say where: --scope all, or for example --scope tag:Environment=prod")
        return cls(wanted)

    def __str__(self) -> str:
        return " ".join(f"{key}={'|'.join(values)}" for key, values in self.wanted.items()) or "all"

    def at(self, location: Location) -> bool:
        """Whether a node of this place may be meant at all."""
        there = {"account": location.account, "region": location.region}
        return all(value in self.wanted.get(key, (value,)) for key, value in there.items())

    def covers(self, location: Location, node: NodeState) -> bool:
        """Whether the node is meant. Where its tags could not be read, it is: the decision says that they are not."""
        tags = node.tags
        for key, values in self.wanted.items():
            tag = _TAG.match(key)
            if tag and tags is not None and tags.get(tag[1]) not in values:
                return False
            if key == "platform" and node.platform not in values:
                return False
        return self.at(location)

    def conditions(self) -> list[dict[str, Any]]:
        """As the conditions of a policy: the steps of a path, and the values that it may have."""
        places: dict[str, list[str]] = {"account": ["account"], "region": ["region"], "platform": ["node", "platform"]}
        return [
            {"steps": places.get(key) or ["node", "tags", key.removeprefix("tag:")], "in": list(values)}
            for key, values in self.wanted.items()
        ]


@dataclass(frozen=True, slots=True)
class Emergency:
    """One emergency as the journal tells it; `id` is also that of its policy.

    `only_lacking`: nodes whose scan says nothing of the patches are left alone. `halted`: why nothing starts.
    """

    id: str
    cves: tuple[str, ...]
    lists: tuple[PatchList, ...]
    scope: Scope
    since: datetime
    expires: datetime
    by: str
    because: str
    only_lacking: bool = False
    state: str = STARTED
    said: str = ""

    def in_force(self, now: datetime) -> bool:
        """Whether its nodes are looked for, and started."""
        return self.state == STARTED and now < self.expires

    def how(self, now: datetime) -> str:
        """Its state in a word: running, expired, stopped or halted."""
        if self.state == STARTED:
            return "running" if now < self.expires else "expired"
        return self.state

    def why_not(self, now: datetime) -> str:
        """Why nothing starts any more, as a sentence."""
        if self.state == STARTED:
            return f"{self.id} expired at {format_moment(self.expires)}"
        return f"{self.id} is {self.state}: {self.said}"

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "cves": list(self.cves), "lists": [one.to_json() for one in self.lists],
            "scope": {key: list(values) for key, values in self.scope.wanted.items()},
            "since": format_moment(self.since), "expires": format_moment(self.expires), "by": self.by,
            "because": self.because, "only_lacking": self.only_lacking, "state": self.state, "said": self.said,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Emergency:
        return cls(
            **{
                **value,
                "cves": tuple(value["cves"]),
                "lists": tuple(map(PatchList.from_json, value["lists"])),
                "scope": Scope({key: tuple(values) for key, values in value["scope"].items()}),
                "since": parse_moment(value["since"]),
                "expires": parse_moment(value["expires"]),
            }
        )

    @classmethod
    def of(cls, line: Entry) -> Emergency:
        return cls.from_json(line.value)

    def list_for(self, node: NodeState) -> PatchList | None:
        return list_for(self.lists, facts_of(node))

    def wants(self, stands: Said) -> bool:
        """Whether a node that stands so is one to act on."""
        return stands.standing in (Standing.LACKS, Standing.PENDING) or (
            stands.standing is Standing.UNSAID and not self.only_lacking
        )


def facts_of(node: NodeState) -> dict[str, Any]:
    """What chooses the list of a node."""
    return {"platform": node.platform, "platform_name": node.platform_name, "platform_version": node.platform_version}


def subject(id: str) -> str:
    return subject_of(Kind.EMERGENCY, id)


def id_of(cves: Sequence[str], names: Sequence[str]) -> str:
    """What the emergency and its policy are called: by its first CVE, or else its first patch."""
    text = re.sub(r"[^a-z0-9]+", "-", (cves or names)[0].lower()).strip("-")
    return f"emergency-{text}"[:64].rstrip("-")


def of_named(lists: Mapping[str, Any], found: Sequence[Patch], scan: PatchState) -> tuple[Cause, str]:
    """What a scan newer than the execution proves of the named patches, whatever the baseline counts."""
    stands = said(PatchList.from_json(lists).named, found)
    at = format_moment(scan.ended_at)
    if stands.standing is Standing.LACKS:
        other = f" ({', '.join(sorted({f'{one.title} is {one.state}' for one in found})[:5])})" if found else ""
        return Cause.FAILED, f"the install reported success, but by the scan of {at} the node {stands}{other}"
    if stands.standing is Standing.PENDING:
        return Cause.REBOOT_NEEDED, f"by the scan of {at} the node {stands}"
    if stands.standing is Standing.UNSAID:
        return Cause.RESOLVED, f"not applicable: after the install the scan of {at} {stands}"
    return Cause.RESOLVED, f"by the scan of {at} the node {stands}"
