"""Schedule files: what may stand in `schedules/*.yaml`, whether it can be run, and what the service gets of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator

from chalicelib.core.errors import PolicyError
from chalicelib.core.nodes import ACCOUNT, REGION
from chalicelib.core.occurrences import places_needed, undealt
from chalicelib.core.schedules import Pace as Dealt
from chalicelib.core.schedules import Where as Places
from chalicelib.core.windows import Window, opening
from patchwarden.policy import fields, set_shapes, shapes
from patchwarden.policy.check import UNIT, check_hooks, size
from patchwarden.policy.fitting import fit
from patchwarden.policy.problems import near, near_or_all
from patchwarden.policy.source import Location, Source, read


def _errors(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    """Unlike a number of nodes at once, a number of failures may be 0."""
    return "0" if (type(value) is int and value == 0) or value == "0" else str(handler(value))


_ERRORS_SCHEMA = {"type": ["string", "integer"], "pattern": "^(0|[1-9][0-9]{0,2}|[1-9][0-9]?%|100%)$"}
Errors = Annotated[
    fields.Share, WrapValidator(_errors), WithJsonSchema({**_ERRORS_SCHEMA, "minimum": 0, "examples": ["10%"]})
]
Texts = Annotated[list[fields.Text], Field(min_length=1, max_length=5000)]


class Pace(fields.Shape):
    """How many at once, and how many failures end it: numbers or shares."""

    concurrency: Annotated[fields.Share | None, Field(description="At once, as a number or a share")] = None
    max_errors: Annotated[
        Errors | None, Field(description="Failures after which no further one is started; 0: the first one ends it")
    ] = None


class ScheduleLimits(fields.Shape):
    """A pace over the locations, and one over the nodes in each of them."""

    locations: Annotated[Pace, Field(description="Accounts and Regions")] = Field(default_factory=Pace)
    nodes: Annotated[Pace, Field(description="Nodes within one account and Region")] = Field(default_factory=Pace)


class Where(fields.Shape):
    """Accounts, units, or both; without either all accounts of the scope in `_set.yaml`."""

    accounts: Annotated[Texts | None, Field(description="Account ids, in quotes", examples=[["111122223333"]])] = None
    units: Annotated[Texts | None, Field(description="Organisational units", examples=[["ou-ab12-prod00001"]])] = None
    exclude: Annotated[Texts | None, Field(description="Accounts and units to leave out")] = None
    regions: Annotated[Texts | None, Field(description="Regions; absent: those of the scope")] = None


class Target(fields.Shape):
    """Which nodes of a location: exactly one of `all`, `tag` with `values`, and `resource_group`."""

    all: Annotated[fields.Yes | None, Field(description="Every managed node")] = None
    tag: Annotated[fields.Text | None, Field(description="The key of a tag", examples=["PatchGroup"])] = None
    values: Annotated[list[fields.Text] | None, Field(min_length=1, max_length=50, description="Values of the tag")] = (
        None
    )
    resource_group: Annotated[
        fields.Text | None, Field(description="A resource group, under this name in each location")
    ] = None


class ScheduleFile(fields.Shape):
    """One schedule: patching by the calendar, whatever the findings say."""

    id: Annotated[fields.Id, Field(description="Its name for ever: runs refer to it")]
    title: Annotated[fields.Text, Field(description="One line for people")]
    owner: Annotated[fields.Text, Field(description="Who answers for it: a mail address or a team")]
    enabled: Annotated[bool, Field(description="false: it stays listed and does not run")] = True
    operation: Annotated[Literal["Scan", "Install"], Field(description="Only look, or install what is missing")]
    cron: Annotated[
        str, Field(description="Minute, hour, day of month, month, day of week, year", examples=["0 2 ? * TUE#2 *"])
    ]
    zone: Annotated[str, Field(description="An IANA time zone", examples=["Europe/Dublin"])]
    schedule_offset: Annotated[
        int, Field(ge=0, le=6, description="Days after the day that cron names; TUE#2 and 4: that week's Saturday")
    ] = 0
    catch_up: Annotated[
        fields.Duration, Field(description="How long after its time a run that was missed or held is still started")
    ] = timedelta(hours=1)
    where: Annotated[Where, Field(description="In which accounts and Regions")] = Field(default_factory=Where)
    target: Annotated[Target, Field(description="Which nodes")]
    platform: Annotated[Literal["linux", "windows", "all"], Field(description="Which kind of nodes")] = "all"
    limits: Annotated[ScheduleLimits, Field(description="How much at once")] = Field(default_factory=ScheduleLimits)
    reboot: Annotated[
        Literal["if-needed", "never"] | None, Field(description="Whether a node may reboot; if-needed where absent")
    ] = None
    override_list: Annotated[
        fields.Text | None,
        Field(description="Patches to install instead of the baseline's, from override_lists in _set.yaml"),
    ] = None
    hooks: Annotated[shapes.Hooks | None, Field(description="Documents that run around the installation")] = None


Schedules = dict[str, tuple[Source, ScheduleFile]]


def read_schedules(
    directory: Path, rules: set_shapes.SetFile | None, now: datetime | None
) -> tuple[Schedules, list[Source]]:
    """The schedules by id, and every source with its problems; `rules` None: `_set.yaml` could not be used."""
    found: Schedules = {}
    sources = [read(path) for path in sorted(directory.glob("*.y*ml"))]
    for source in sources:
        schedule = fit(source, ScheduleFile) if source.data is not None else None
        if schedule is None:
            continue
        check_schedule(source, schedule, rules, now)
        if schedule.id in found:
            first = found[schedule.id][0].name
            source.add("PW208", ("id",), f"the id {schedule.id!r} is already that of {first}", "give it another")
        else:
            found[schedule.id] = source, schedule
    return found, sources


def check_schedule(
    source: Source, schedule: ScheduleFile, rules: set_shapes.SetFile | None, now: datetime | None
) -> None:
    """Every problem of a schedule of the right shape."""
    _check_calendar(source, schedule, now)
    _check_target(source, schedule.target)
    _check_places(source, schedule.where)
    _check_exclusions(source, schedule.where, rules)
    _check_effect(source, schedule)
    if rules is not None:
        _check_scope(source, schedule.where, rules.scope)
        _check_split(source, schedule, rules)
        _check_override(source, schedule, rules.override_lists)
        check_hooks(source, (), schedule.hooks, rules.hooks)
        if schedule.operation == "Install":
            _check_ceilings(source, schedule.limits.nodes, rules.ceilings)


def _check_calendar(source: Source, schedule: ScheduleFile, now: datetime | None) -> None:
    try:
        window = _window(schedule)
    except PolicyError as error:
        what, _, hint = str(error.__cause__).replace("duration", "catch_up").rpartition(": ")
        field = next((name for name in _CALENDAR if name in what.split()), "cron")
        source.add("PW501", (field,), what, hint)
        return
    if now is not None and opening(window, now) is None:
        what = f"schedule {schedule.id!r} does not run within 400 days"
        source.add("PW502", ("cron",), what, "look at its day, month and year fields")


_CALENDAR = ("zone", "catch_up")
"""Fields that a refusal names; every other one is about `cron`."""


def _window(schedule: ScheduleFile) -> Window:
    return Window(schedule.id, schedule.cron, schedule.zone, schedule.catch_up, schedule.schedule_offset)


def _check_target(source: Source, target: Target) -> None:
    named = [name for name in ("all", "tag", "resource_group") if getattr(target, name) is not None]
    if len(named) != 1:
        what = f"a target is one of them, not {' and '.join(named)}" if named else "the target names no nodes"
        source.add("PW801", ("target",), what, "write one of all: true, tag: with values:, or resource_group:")
    if target.tag is not None and target.values is None:
        source.add_at_key("PW411", ("target", "tag"), "tag needs its values", "add values: [prod]")
    if target.values is not None and target.tag is None:
        source.add_at_key("PW411", ("target", "values"), "values need the tag that has them", "add tag: Environment")


_FORMS = (
    ("accounts", (ACCOUNT,), "an account id has 12 digits, in quotes"),
    ("units", (UNIT,), "a unit is written like ou-ab12-prod00001, the root like r-ab12"),
    ("exclude", (ACCOUNT, UNIT), "write an account id of 12 digits, in quotes, or a unit"),
    ("regions", (REGION,), "a Region is written like eu-west-1"),
)


def _check_places(source: Source, where: Where) -> None:
    for name, patterns, remedy in _FORMS:
        for number, value in enumerate(getattr(where, name) or ()):
            if not any(pattern.match(value) for pattern in patterns):
                source.add("PW504", ("where", name, number), f"{value!r} cannot be one of {name}", remedy)


def _check_scope(source: Source, where: Where, scope: set_shapes.Scope) -> None:
    for name, allowed in (("accounts", scope.accounts), ("regions", scope.regions)):
        for number, value in enumerate(getattr(where, name) or ()):
            if value not in allowed:
                what = f"{value} is not in the scope of _set.yaml"
                source.add("PW802", ("where", name, number), what, near(value, allowed) or f"add it to scope: {name}")


def _check_split(source: Source, schedule: ScheduleFile, rules: set_shapes.SetFile) -> None:
    """A start names 50 accounts and units in each of its places, and its pace is dealt out over them."""
    compiled = compiled_schedule(source, schedule, rules)
    why = undealt(Dealt(**compiled["locations"]), places_needed(Places.from_json(compiled["where"])))
    if why:
        what, _, hint = why.partition(": ")
        source.add("PW805", ("limits", "locations"), what, hint)


def _check_exclusions(source: Source, where: Where, rules: set_shapes.SetFile | None) -> None:
    """What is in a unit is known only to the organisation; a list of accounts can be looked through."""
    if where.units is not None or not where.exclude or (where.accounts is None and rules is None):
        return
    named = where.accounts or (rules.scope.accounts if rules else [])
    for number, value in enumerate(where.exclude):
        if ACCOUNT.match(value) and value not in named:
            what = f"{value} is none of the accounts anyway"
            source.add("PW803", ("where", "exclude", number), what, near_or_all(value, named))
    if set(named) <= set(where.exclude):
        source.add_at_key("PW803", ("where", "exclude"), "no account is left", "exclude fewer")


def _check_effect(source: Source, schedule: ScheduleFile) -> None:
    for name in ("reboot", "override_list", "hooks"):
        if schedule.operation == "Scan" and getattr(schedule, name) is not None:
            source.add_at_key("PW406", (name,), f"{name} has no effect with operation: Scan", "remove it")
    if schedule.hooks is not None and schedule.override_list is not None:
        hint = "remove one of the two: AWS-RunPatchBaselineWithHooks takes no override list"
        source.add_at_key("PW415", ("hooks",), "hooks do not run with an override list", hint)


def _check_override(source: Source, schedule: ScheduleFile, allowed: list[str]) -> None:
    if schedule.override_list is not None and schedule.override_list not in allowed:
        hint = near(schedule.override_list, allowed) or "add it to override_lists in _set.yaml, which security reviews"
        what = f"override list {schedule.override_list!r} is not allowed"
        source.add("PW804", ("override_list",), what, hint)


def _check_ceilings(source: Source, pace: Pace, ceilings: set_shapes.Ceilings) -> None:
    for name, value, most in _bounded(pace, ceilings):
        if value is not None and size(value) > size(most):
            where: Location = ("limits", "nodes", name)
            what = f"{name} {value} is above the organisation's ceiling {most}"
            source.add("PW408", where, what, f"write {most} or less, or raise it in _set.yaml")


def _bounded(pace: Pace, ceilings: set_shapes.Ceilings) -> Iterator[tuple[str, str | None, str]]:
    yield "concurrency", pace.concurrency, ceilings.concurrency
    yield "max_errors", pace.max_errors, ceilings.max_errors


def compiled_schedule(source: Source, schedule: ScheduleFile, rules: set_shapes.SetFile) -> dict[str, Any]:
    """Complete: what the file leaves out is what `_set.yaml` says, or a tenth."""
    where, installs = schedule.where, schedule.operation == "Install"
    return {
        **schedule.model_dump(include={"id", "title", "owner", "enabled", "operation", "platform", "override_list"}),
        "calendar": {
            **schedule.model_dump(include={"cron", "zone", "schedule_offset"}),
            "catch_up": int(schedule.catch_up.total_seconds()),
        },
        "where": {
            "accounts": where.accounts or ([] if where.units else rules.scope.accounts),
            "units": where.units or [],
            "exclude": where.exclude or [],
            "regions": where.regions or rules.scope.regions,
        },
        "target": _target(schedule.target),
        "locations": _pace(schedule.limits.locations, {}),
        "nodes": _pace(schedule.limits.nodes, _usual(rules)),
        "reboot": (schedule.reboot or "if-needed") if installs else None,
        "hooks": schedule.hooks.model_dump(exclude_none=True) if schedule.hooks else {},
        "origin": f"{source.name}:{source.at_key(('id',)).line}",
    }


def _target(target: Target) -> dict[str, Any]:
    kind = "all" if target.all else "tag" if target.tag is not None else "resource_group"
    return {"kind": kind, "name": target.tag or target.resource_group, "values": target.values or []}


def _pace(given: Pace, usual: dict[str, Any]) -> dict[str, Any]:
    return {"concurrency": "10%", "max_errors": "10%", **usual, **given.model_dump(exclude_none=True)}


def _usual(rules: set_shapes.SetFile) -> dict[str, Any]:
    """As a policy gets it: never above the ceiling, where nobody says how much."""
    least = {name: min("10%", getattr(rules.ceilings, name), key=size) for name in ("concurrency", "max_errors")}
    return {**least, **rules.defaults.limits.model_dump(include=set(least), exclude_none=True)}
