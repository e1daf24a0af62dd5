"""Settings: what the organisation says once for all policies, in `_set.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.core.compiled import NONE, Shape, exactly, seconds, texts_by
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import parse_moment
from chalicelib.core.nodes import Location, valid_place
from chalicelib.core.surges import Ceilings
from chalicelib.core.windows import Window


@dataclass(frozen=True, slots=True)
class Freeze:
    """A time in which nothing starts, from `since` up to `until`, whatever a window says."""

    name: str
    since: datetime
    until: datetime
    reason: str

    @classmethod
    def from_json(cls, value: object) -> Freeze:
        known = exactly(value, "a freeze", {"name": str, "since": str, "until": str, "reason": str})
        return cls(**{**known, "since": parse_moment(known["since"]), "until": parse_moment(known["until"])})


@dataclass(frozen=True, slots=True)
class Immutable:
    """The tag that says of a node that its Auto Scaling group is renewed from an image, never patched in place."""

    tag: str
    value: str

    @classmethod
    def from_json(cls, value: object) -> Immutable:
        return cls(**exactly(value, "immutable", {"tag": str, "value": str}))


@dataclass(frozen=True, slots=True)
class Settings:
    """`linger` is how long a batch waits for company, `verify_within` how long for its scan.

    `stale_after` is how old a node's last scan may be before the sweep says that it does not report; None: it is never
    said. `locations` is where Patchwarden acts and sweeps; `documents` are the runbooks that policies may name.
    `baselines` is what is done with a node that another patch baseline than ours was used on: enforce, warn or off.
    `units` is the organisational unit of each account, as far as the set says it: lines record it.
    `output` is where run commands write: bucket, prefix and log_group, each only if it is wanted.
    `surge` None: none is looked for; `_set.yaml` cannot say so, only a set that is written by hand.
    """

    linger: timedelta
    verify_within: timedelta
    executions_per_location: int
    locations: tuple[Location, ...]
    freezes: tuple[Freeze, ...]
    documents: frozenset[str]
    windows: Mapping[str, Window] = field(hash=False)
    baselines: str = "off"
    immutable: Immutable | None = None
    output: Mapping[str, str] = field(default_factory=dict, hash=False)
    surge: Ceilings | None = None
    stale_after: timedelta | None = None
    units: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: object) -> Settings:
        known = exactly(_completed(value), "the settings", _SETTINGS)
        scope = exactly(known["scope"], "the scope", {"accounts": list, "regions": list})
        return cls(
            linger=timedelta(seconds=known["linger"]),
            verify_within=timedelta(seconds=known["verify_within"]),
            executions_per_location=known["executions_per_location"],
            locations=tuple(_location(account, region) for account in scope["accounts"] for region in scope["regions"]),
            freezes=tuple(map(Freeze.from_json, known["freezes"])),
            documents=frozenset(known["documents"]),
            windows={name: Window.from_json(name, window) for name, window in known["windows"].items()},
            output=texts_by(known["output"], OUTPUT, "the output"),
            baselines=known["baselines"],
            immutable=Immutable.from_json(known["immutable"]) if known["immutable"] else None,
            surge=Ceilings.from_json(known["surge"]) if known["surge"] else None,
            stale_after=seconds(known["stale_after"]),
            units=texts_by(known["units"], frozenset(known["units"]), "the units"),
        )


_SETTINGS: Shape = {
    "linger": int,
    "verify_within": int,
    "executions_per_location": int,
    "scope": dict,
    "freezes": list,
    "documents": list,
    "windows": dict,
    "output": dict,
    "baselines": frozenset({"enforce", "warn", "off"}),
    "immutable": (dict, NONE),
    "surge": (dict, NONE),
    "stale_after": (int, NONE),
    "units": dict,
}
_LATER: dict[str, object] = {
    "baselines": "off",
    "immutable": None,
    "output": {},
    "surge": None,
    "stale_after": None,
    "units": {},
}
"""What a set that was compiled before there was such a setting means by leaving it out."""


def _completed(value: object) -> object:
    return {**_LATER, **value} if isinstance(value, dict) else value


OUTPUT = frozenset({"bucket", "prefix", "log_group"})


def _location(account: object, region: object) -> Location:
    if not valid_place(account, region):
        raise PolicyError(f"the policy set is malformed: {account!r:.40} in {region!r:.40} is no account and Region")
    return Location(str(account), str(region))
