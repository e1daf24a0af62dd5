"""Schedules: patching by the calendar, whatever the findings say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.core.compiled import NONE, Shape, exactly, texts_by, with_defaults
from chalicelib.core.errors import PolicyError
from chalicelib.core.plans import HOOKS
from chalicelib.core.settings import Freeze
from chalicelib.core.windows import Opening, Window, opening, openings


class Operation(StrEnum):
    """What AWS-RunPatchBaseline does on each node."""

    SCAN = "Scan"
    INSTALL = "Install"


PLATFORMS = frozenset({"linux", "windows", "all"})
KINDS = frozenset({"all", "tag", "resource_group"})
REBOOT = frozenset({"if-needed", "never"})


@dataclass(frozen=True, slots=True)
class Where:
    """Accounts and organisational units without those in `exclude`, in each of the Regions."""

    accounts: tuple[str, ...]
    units: tuple[str, ...]
    exclude: tuple[str, ...]
    regions: tuple[str, ...]

    @classmethod
    def from_json(cls, value: object) -> Where:
        known = exactly(value, "where", dict.fromkeys(("accounts", "units", "exclude", "regions"), list))
        return cls(**{name: _texts(items) for name, items in known.items()})


@dataclass(frozen=True, slots=True)
class Target:
    """Which nodes of a location: all, those whose tag `name` has one of `values`, or the resource group `name`.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-map-targets.html
    """

    kind: str
    name: str | None
    values: tuple[str, ...]

    @classmethod
    def from_json(cls, value: object) -> Target:
        known = exactly(value, "the target", {"kind": KINDS, "name": (str, NONE), "values": list})
        if (known["name"] is None) != (known["kind"] == "all") or bool(known["values"]) != (known["kind"] == "tag"):
            raise PolicyError(f"the policy set is malformed: {known['kind']} is no whole target")
        return cls(**{**known, "values": _texts(known["values"])})


@dataclass(frozen=True, slots=True)
class Pace:
    """How many at once, and how many failures end it: SSM's text, such as `5` or `10%`."""

    concurrency: str
    max_errors: str

    @classmethod
    def from_json(cls, value: object) -> Pace:
        return cls(**exactly(value, "a pace", {"concurrency": str, "max_errors": str}))


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. An opening of its `calendar` is a run: due at its start, no longer caught up from its end on.

    `locations` and `nodes` are never SSM's defaults, which are one location at a time and none that may fail.
    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_TargetLocation.html
    """

    id: str
    title: str
    owner: str
    enabled: bool
    operation: Operation
    calendar: Window
    where: Where
    target: Target
    platform: str
    locations: Pace
    nodes: Pace
    reboot: str | None
    override_list: str | None
    origin: str
    hooks: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: object) -> Schedule:
        known = exactly(with_defaults(value, {"hooks": {}}), "a schedule", _SCHEDULE)
        if known["hooks"] and known["override_list"] is not None:
            raise PolicyError(f"the policy set is malformed: {known['id']:.64} has hooks and an override list")
        if (known["operation"] == Operation.INSTALL) != (known["reboot"] is not None):
            raise PolicyError(f"the policy set is malformed: {known['id']:.64} installs and reboots, or does neither")
        return cls(
            **{
                **known,
                "operation": Operation(known["operation"]),
                "calendar": _calendar(known["id"], known["calendar"]),
                "where": Where.from_json(known["where"]),
                "target": Target.from_json(known["target"]),
                "locations": Pace.from_json(known["locations"]),
                "nodes": Pace.from_json(known["nodes"]),
                "hooks": texts_by(known["hooks"], frozenset(HOOKS), "the hooks"),
            }
        )


_SCHEDULE: Shape = {
    "id": str,
    "title": str,
    "owner": str,
    "enabled": bool,
    "operation": frozenset(Operation),
    "calendar": dict,
    "where": dict,
    "target": dict,
    "platform": PLATFORMS,
    "locations": dict,
    "nodes": dict,
    "reboot": (str, NONE),
    "override_list": (str, NONE),
    "origin": str,
    "hooks": dict,
}


def coming(schedule: Schedule, after: datetime, count: int) -> list[Opening]:
    """The next `count` runs that are due later than `after`, whether or not the schedule is enabled."""
    return openings(schedule.calendar, after, count)


def due(schedule: Schedule, now: datetime) -> Opening | None:
    """The run that is due or still caught up at `now`: of several, the latest; None if disabled."""
    found = opening(schedule.calendar, now) if schedule.enabled else None
    return found if found is not None and now in found else None


def held(schedule: Schedule, moment: datetime, freezes: Iterable[Freeze]) -> Freeze | None:
    """The freeze that keeps a run from starting at that moment; a scan changes no node and is never held."""
    if schedule.operation is Operation.SCAN:
        return None
    return next((freeze for freeze in freezes if freeze.since <= moment < freeze.until), None)


def _calendar(id: str, value: object) -> Window:
    known: Mapping[str, Any] = exactly(value, f"the calendar of {id:.64}", _CALENDAR)
    catch_up = timedelta(seconds=known["catch_up"])
    return Window(id, known["cron"], known["zone"], catch_up, known["schedule_offset"])


_CALENDAR: Shape = {"cron": str, "zone": str, "schedule_offset": int, "catch_up": int}


def _texts(items: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(item, str) for item in items):
        raise PolicyError(f"the policy set is malformed: {items!r:.60} is no list of texts")
    return tuple(items)
