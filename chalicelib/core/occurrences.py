"""Occurrences: one run of a schedule, what its start asks of Systems Manager, and what the journal keeps of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from math import ceil, inf
from typing import Any

from chalicelib.core.errors import Denied, PolicyError
from chalicelib.core.moments import format_moment, parse_moment
from chalicelib.core.nodes import Location
from chalicelib.core.plans import REBOOT_OPTIONS, extras
from chalicelib.core.schedules import Operation, Pace, Schedule, Where
from chalicelib.core.settings import Settings

PATCH_FLEET = "Patchwarden-PatchFleet"
MOST_ACCOUNTS = 50
MOST_PLACES = 100
"""A place names at most 50 accounts or units, and an execution at most 100 places.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_TargetLocation.html
"""

_NAMESPACE = uuid.UUID("c0a4b6d2-1f3e-5b7a-8d9c-2e4f6a8b0c1d")
"""Frozen for ever: a token that changed with an upgrade would start a run in flight a second time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Accounts and units in Regions, at a pace over their account-Regions that is never SSM's default."""

    accounts: tuple[str, ...]
    regions: tuple[str, ...]
    concurrency: str
    max_errors: str
    units: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Place:
        lists = ("accounts", "regions", "units", "exclude")
        return cls(**{**_known(cls, value), **{name: tuple(value.get(name, ())) for name in lists}})


@dataclass(frozen=True, slots=True)
class Order:
    """What one start asks for. Without places it is for the account and Region of the caller alone.

    `target` is SSM's key with its values. It is frozen in the journal before the start.
    """

    parameters: Mapping[str, list[str]] = field(hash=False)
    target: tuple[str, tuple[str, ...]]
    concurrency: str
    max_errors: str
    places: tuple[Place, ...]

    @property
    def size(self) -> float:
        """In how many accounts and Regions it is carried out; infinite with units, which nobody has counted."""
        return sum(inf if place.units else len(place.accounts) * len(place.regions) for place in self.places) or 1

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Order:
        key, values = value["target"]
        places = tuple(map(Place.from_json, value["places"]))
        return cls(value["parameters"], (key, tuple(values)), value["concurrency"], value["max_errors"], places)


class RunState(StrEnum):
    INTENDED = "intended"
    STARTED = "started"
    ENDED = "ended"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Run:
    """One occurrence under way or over. `before` is the occurrence that was dealt with before it, if any.

    `asked`: a person asked for it now, so that it deals with no occurrence of the calendar.
    `counts` holds nodes by outcome once it has ended, some failures, and on how many `pages` its locations are kept.
    """

    id: str
    schedule: str
    operation: Operation
    starts: datetime
    until: datetime
    hub: Location
    order: Order
    state: RunState
    intended_at: datetime
    by: str = "patchwarden"
    asked: bool = False
    before: datetime | None = None
    execution: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status: str | None = None
    counts: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def location(self) -> Location:
        """Where its start is asked for."""
        return self.hub

    @property
    def open(self) -> bool:
        return self.state in (RunState.INTENDED, RunState.STARTED)

    @property
    def token(self) -> str:
        """The ClientToken of the start: the same for every try of this run, a UUID of 36 characters."""
        return str(uuid.uuid5(_NAMESPACE, f"{self.id}/start"))

    @property
    def snapshot(self) -> str:
        """The SnapshotId that the patch states of its nodes carry."""
        return snapshot_of(self.id)

    def to_json(self) -> dict[str, Any]:
        moments = ("starts", "until", "intended_at", "before", "started_at", "ended_at")
        told = {name: getattr(self, name) for name in moments}
        return {
            **{name: getattr(self, name) for name in ("id", "schedule", "by", "asked", "execution", "status")},
            **{name: format_moment(moment) if moment else None for name, moment in told.items()},
            "operation": self.operation.value,
            "state": self.state.value,
            "hub": str(self.hub),
            "order": _lists(asdict(self.order)),
            "counts": dict(self.counts),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Run:
        moments = ("starts", "until", "intended_at", "before", "started_at", "ended_at")
        return cls(**{
            **_known(cls, value),
            **{name: parse_moment(value[name]) if value.get(name) else None for name in moments},
            "operation": Operation(value["operation"]),
            "state": RunState(value["state"]),
            "hub": Location(*value["hub"].split("/")),
            "order": Order.from_json(value["order"]),
        })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Book:
    """What the newest journal entry of a schedule holds: one chain for all its runs, so that two cannot overlap.

    `calendar` is the one that was last seen, `dealt` the newest occurrence that was started, refused or missed,
    `held` the one that waits, and `run` the newest run.
    """

    calendar: Mapping[str, Any] = field(default_factory=dict, hash=False)
    dealt: datetime | None = None
    held: datetime | None = None
    run: Run | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "calendar": dict(self.calendar),
            "dealt": format_moment(self.dealt) if self.dealt else None,
            "held": format_moment(self.held) if self.held else None,
            "run": self.run.to_json() if self.run else None,
        }

    @classmethod
    def read(cls, name: str, value: Mapping[str, Any]) -> Book:
        """The book of the schedule of that name; Denied if its entry has a shape that this release cannot read."""
        try:
            return cls.from_json(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Denied(
                f"the newest journal entry of schedule {name} cannot be read ({error!r}): another release wrote it; "
                "nothing of this schedule starts or is followed until that one is back"
            ) from error

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Book:
        return cls(
            calendar=value.get("calendar", {}),
            dealt=parse_moment(value["dealt"]) if value.get("dealt") else None,
            held=parse_moment(value["held"]) if value.get("held") else None,
            run=Run.from_json(value["run"]) if value.get("run") else None,
        )

    @property
    def busy(self) -> Run | None:
        """The run that is under way, or None."""
        return self.run if self.run and self.run.open else None

    def intending(self, run: Run) -> Book:
        """With the run, which deals with its occurrence unless a person asked for it."""
        dealt = self.dealt if run.asked else run.starts
        return replace(self, run=run, dealt=dealt, held=None)

    def withdrawing(self) -> Book:
        """Without the run that never started: its occurrence is due again for as long as it is caught up."""
        assert self.run is not None, "there is no run to withdraw"
        dealt = self.dealt if self.run.asked else self.run.before
        return replace(self, run=replace(self.run, state=RunState.WITHDRAWN), dealt=dealt)


def calendar_of(schedule: Schedule) -> dict[str, Any]:
    """By what the occurrences of a schedule change: a run that is only due because of an edit is not started."""
    calendar = schedule.calendar
    return {"cron": calendar.cron, "zone": calendar.zone, "schedule_offset": calendar.offset_days,
            "enabled": schedule.enabled}  # fmt: skip


def run_id(schedule: str, starts: datetime, number: int) -> str:
    """From the occurrence and the number of its intent's line: no randomness, and no token is used a second time."""
    return str(uuid.uuid5(_NAMESPACE, f"{schedule}/{format_moment(starts)}/{number}"))


def snapshot_of(run: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{run}/snapshot"))


def order(
    schedule: Schedule, run: str, settings: Settings, *, operation: Operation | None = None, alone: bool = False
) -> Order:
    """The order for one run; `alone`: for the caller's own account and Region. PolicyError if it is too large."""
    does = operation or schedule.operation
    installs = does is Operation.INSTALL
    given = {
        "Operation": [does.value],
        "Platform": [schedule.platform],
        "OccurrenceId": [run],
        "SnapshotId": [snapshot_of(run)],
        "RebootOption": [REBOOT_OPTIONS[(schedule.reboot or "never") if installs else "never"]],
        **extras(schedule.hooks if installs else {}, settings.output),
    }
    if installs and schedule.override_list:
        given["InstallOverrideList"] = [schedule.override_list]
    places = () if alone else tuple(_places(schedule))
    if len(places) > MOST_PLACES:
        raise PolicyError(
            f"schedule {schedule.id} names more accounts than the {MOST_PLACES * MOST_ACCOUNTS} of one start: "
            "name units in their place"
        )
    return Order(given, _target(schedule), schedule.nodes.concurrency, schedule.nodes.max_errors, places)


def _target(schedule: Schedule) -> tuple[str, tuple[str, ...]]:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-map-targets.html"""
    target = schedule.target
    if target.kind == "tag":
        return f"tag:{target.name}", target.values
    return ("ResourceGroup", (str(target.name),)) if target.kind == "resource_group" else ("InstanceIds", ("*",))


def places_needed(where: Where) -> int:
    """How many places of 50 accounts and units, and of 50 Regions, an order for it has."""
    names = sum(name not in where.exclude for name in (*where.accounts, *where.units))
    return ceil(names / MOST_ACCOUNTS) * ceil(len(where.regions) / MOST_ACCOUNTS)


def undealt(pace: Pace, places: int) -> str | None:
    """Why a pace cannot be dealt out over so many places, or None.

    Systems Manager takes each place by itself: it has at least one location under way, and begins no further one after
    its own errors. So all together would exceed a pace of fewer than one each, or of fewer errors than places but one.
    """
    for name, text, least in (("concurrency", pace.concurrency, places), ("max_errors", pace.max_errors, places - 1)):
        if not text.endswith("%") and int(text) < least:
            return (
                f"a {name} of {text} cannot be dealt out over {places} places of {MOST_ACCOUNTS} accounts or units: "
                f"write {least} or more, a share, or units in place of accounts"
            )
    return None


def _places(schedule: Schedule) -> Iterator[Place]:
    """One place for up to 50 accounts and units in all Regions; the pace is shared out if they are more."""
    where = schedule.where
    names = [name for name in (*where.accounts, *where.units) if name not in where.exclude]
    parts = [names[start : start + MOST_ACCOUNTS] for start in range(0, len(names), MOST_ACCOUNTS)]
    regions = [where.regions[start : start + MOST_ACCOUNTS] for start in range(0, len(where.regions), MOST_ACCOUNTS)]
    count = places_needed(where)
    if why := undealt(schedule.locations, count):
        raise PolicyError(f"schedule {schedule.id}: {why}")
    for number, (part, some) in enumerate((part, some) for part in parts for some in regions):
        units = tuple(name for name in part if name in where.units)
        yield Place(
            accounts=tuple(name for name in part if name not in where.units),
            units=units,
            regions=some,
            exclude=where.exclude if units else (),
            concurrency=_share(schedule.locations.concurrency, number, count),
            max_errors=_share(schedule.locations.max_errors, number, count, kept=count - 1),
        )


def _share(text: str, number: int, count: int, *, kept: int = 0) -> str:
    """A number but what is kept back is dealt out over the places, a share holds in each of them.

    Of n errors that may be, n places together allow one more each before they stop: so many less one are kept back.
    """
    if text.endswith("%") or count == 1:
        return text
    whole, rest = divmod(int(text) - kept, count)
    return str(whole + (number < rest))


def may_install(value: Mapping[str, Any]) -> bool:
    """Whether an entry that cannot be read may be of an installation under way; in doubt it may."""
    run = value.get("run")
    if not isinstance(run, Mapping):
        return run is not None
    over = (RunState.ENDED, RunState.WITHDRAWN, RunState.REFUSED)
    return run.get("operation") != Operation.SCAN and run.get("state") not in over


def may_share_nodes(order: Order, schedule: Schedule) -> bool:
    """Whether a run with this order may work on nodes of the schedule; in doubt it may."""
    if {*order.parameters.get("Platform", ["all"]), schedule.platform} == {"linux", "windows"}:
        return False
    if order.places and not any(_may_meet(place, schedule.where) for place in order.places):
        return False
    (key, values), target = order.target, schedule.target
    same_tag = target.kind == "tag" and key == f"tag:{target.name}"
    return not same_tag or bool({*values} & {*target.values})


def may_reach(run: Run, location: Location, platform: str | None, tags: Mapping[str, str] | None) -> bool:
    """Whether the run may work on a node there, of this platform (as SSM says it) and these tags; in doubt it may."""
    wanted = next(iter(run.order.parameters.get("Platform", ())), "all")
    if platform and wanted in ("linux", "windows") and (platform == "Windows") is (wanted == "linux"):
        return False
    if run.order.places and not any(_may_be_in(place, location) for place in run.order.places):
        return False
    if not run.order.places and location != run.hub:
        return False
    key, values = run.order.target
    return not key.startswith("tag:") or tags is None or tags.get(key.removeprefix("tag:")) in values


def _may_be_in(place: Place, location: Location) -> bool:
    """Nobody has asked the organisation which accounts a unit holds."""
    account = location.account in place.accounts or bool(place.units)
    return account and location.account not in place.exclude and location.region in place.regions


def _may_meet(place: Place, where: Where) -> bool:
    """Nobody has asked the organisation which accounts a unit holds."""
    listed = {*where.accounts} - {*where.exclude}
    accounts = place.units or where.units or listed & ({*place.accounts} - {*place.exclude})
    return bool(accounts) and bool({*place.regions} & {*where.regions})


def without(schedule: Schedule, accounts: frozenset[str], regions: frozenset[str]) -> Schedule | None:
    """The same schedule in the places that are left; None if there are none. Accounts are left out of units too."""
    where = schedule.where
    left = replace(
        where,
        accounts=tuple(name for name in where.accounts if name not in accounts),
        regions=tuple(name for name in where.regions if name not in regions),
        exclude=(*where.exclude, *sorted(accounts - {*where.exclude})) if where.units else where.exclude,
    )
    return replace(schedule, where=left) if left.regions and (left.accounts or left.units) else None


@dataclass(frozen=True, slots=True)
class NodeRun:
    """What a run did on one node: `outcome` is ok, failed or skipped."""

    node: str
    outcome: str
    execution: str
    because: str = ""


def tally(found: Sequence[NodeRun]) -> dict[str, int]:
    """How many nodes came to which outcome."""
    return {word: sum(one.outcome == word for one in found) for word in ("ok", "failed", "skipped")}


def total(places: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The sum over locations; `unread` are locations whose nodes could not be read or that were never reached."""
    words = ("ok", "failed", "skipped")
    summed = {word: sum(int(counts.get(word, 0)) for counts in places.values()) for word in words}
    return {**summed, "locations": len(places), "unread": sum("trouble" in counts for counts in places.values())}


def _known(of: type, value: Mapping[str, Any]) -> dict[str, Any]:
    """What this release knows of what a later one wrote."""
    names = {one.name for one in fields(of)}
    return {name: each for name, each in value.items() if name in names}


def _lists(value: Any) -> Any:
    """JSON has no tuples, and a hash is over JSON."""
    if isinstance(value, Mapping):
        return {name: _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value
