"""Set shapes: what may stand in `_set.yaml`, which the organisation says once for all policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from patchwarden.policy.fields import DocumentName, Duration, Many, Moment, OverrideList, Percent, Shape, Share, Text
from patchwarden.policy.shapes import Limits, Output


class Window(Shape):
    """When acting is allowed: AWS's six cron fields in a zone, for how long, moved by some days."""

    cron: Annotated[
        str, Field(description="Minute, hour, day of month, month, day of week, year", examples=["0 2 ? * SAT *"])
    ]
    zone: Annotated[str, Field(description="An IANA time zone", examples=["Europe/Dublin"])]
    duration: Annotated[str, Field(description="How long it stays open", examples=["4h"])]
    schedule_offset: Annotated[int, Field(description="Days after the day that cron names, 0 to 6")] = 0


class Freeze(Shape):
    """A time in which nothing starts."""

    name: Annotated[Text, Field(description="What people call it")]
    from_: Annotated[Moment, Field(description="Its first moment")] = Field(alias="from")
    until: Annotated[Moment, Field(description="The first moment after it")]
    reason: Annotated[Text, Field(description="Why nothing may start")]


class Scope(Shape):
    """The accounts and Regions in which Patchwarden acts."""

    accounts: Annotated[
        list[str], Field(min_length=1, description="Account ids, in quotes", examples=[["111122223333"]])
    ]
    regions: Annotated[list[str], Field(min_length=1, description="Names of Regions", examples=[["eu-west-1"]])]


class Defaults(Shape):
    """What a policy gets where it says nothing."""

    attempts: Annotated[int, Field(ge=1, le=20, description="After so many failures it is a ticket")] = 3
    cooldown: Annotated[Duration, Field(description="After a failed attempt; it doubles")] = timedelta(minutes=30)
    limits: Annotated[Limits, Field(description="How much at once")] = Field(default_factory=Limits)


class Ceilings(Shape):
    """What no policy may exceed."""

    attempts: Annotated[int, Field(ge=1, le=20, description="The most attempts")] = 5
    concurrency: Annotated[Share, Field(description="The most nodes at once")] = "50%"
    max_errors: Annotated[Share, Field(description="The most failed nodes")] = "50%"
    max_per_hour: Annotated[
        Many, Field(description="The most nodes in an hour; a policy that names no limit gets this one")
    ] = 1000
    deadline: Annotated[Duration, Field(description="The longest deadline")] = timedelta(days=90)
    exemption: Annotated[Duration, Field(description="From the day of approval on")] = timedelta(days=365)


class Surge(Shape):
    """How much may turn non-compliant within a day before all of it is held but a canary."""

    location: Annotated[Percent, Field(description="Of the nodes of one account and Region")] = "30%"
    account: Annotated[Percent, Field(description="Of the nodes of one account")] = "30%"
    fleet: Annotated[Percent, Field(description="Of all nodes")] = "20%"
    at_least: Annotated[int, Field(ge=2, le=10_000, description="Fewer nodes than this are never a surge")] = 20
    canary: Annotated[int, Field(ge=1, le=50, description="Nodes that may start while the others are held")] = 1
    norm: Annotated[
        int | None, Field(ge=2, le=1000, description="Nor so many times the daily mean of the last seven days")
    ] = 10
    same: Annotated[Percent | None, Field(description="Nor may more of the nodes miss the very same patches")] = None


class MinimumTests(Shape):
    """How well a policy must be tested."""

    at_least: Annotated[int, Field(ge=0, description="Tests in each policy")] = 2
    both_outcomes: Annotated[
        bool, Field(description="Whether they must show the policy deciding and leaving alone")
    ] = True


class Immutable(Shape):
    """The tag that says of a node: renew it from an image, do not patch it in place."""

    tag: Annotated[Text, Field(description="The key of a tag", examples=["PatchStrategy"])] = "PatchStrategy"
    value: Annotated[Text, Field(description="Its value", examples=["immutable"])] = "immutable"


class SetFile(Shape):
    """`_set.yaml`: what the organisation says once for all policies."""

    scope: Annotated[Scope, Field(description="Where Patchwarden acts")]
    units: Annotated[
        dict[str, list[str]], Field(description="Which accounts each organisational unit holds; lines record it")
    ] = Field(default_factory=dict)
    linger: Annotated[Duration, Field(description="How long a batch waits for company")] = timedelta(minutes=5)
    verify_within: Annotated[Duration, Field(description="How long the scan after an execution may take to arrive")] = (
        timedelta(hours=2)
    )
    stale_after: Annotated[
        Duration | None, Field(description="How old the last scan of a node may be; `null`: as old as it likes")
    ] = timedelta(days=7)
    executions_per_location: Annotated[
        int, Field(ge=1, le=100, description="Executions at once in one account and Region")
    ] = 10
    windows: Annotated[dict[str, Window], Field(description="When acting is allowed, by name")] = Field(
        default_factory=dict
    )
    freezes: Annotated[list[Freeze], Field(description="Times in which nothing starts")] = Field(default_factory=list)
    documents: Annotated[list[DocumentName], Field(description="Runbooks other than ours that a policy may name")] = (
        Field(default_factory=list)
    )
    immutable: (
        Annotated[Immutable, Field(description="Nodes whose Auto Scaling group gets a ticket for a new image")] | None
    ) = None
    override_lists: Annotated[
        list[OverrideList], Field(description="Lists of patches that a schedule may install instead of the baseline's")
    ] = Field(default_factory=list)
    hooks: Annotated[
        list[DocumentName], Field(description="Documents that a policy or schedule may name as a hook")
    ] = Field(default_factory=list)
    output: Annotated[Output | None, Field(description="Where run commands write what they print; absent: nowhere")] = (
        None
    )
    baselines: Annotated[
        Literal["enforce", "warn", "off"],
        Field(description="What is done with a node whose last scan used another patch baseline than ours"),
    ] = "off"
    defaults: Annotated[Defaults, Field(description="What a policy gets where it says nothing")] = Field(
        default_factory=Defaults
    )
    ceilings: Annotated[Ceilings, Field(description="What no policy may exceed")] = Field(default_factory=Ceilings)
    surge: Annotated[Surge, Field(description="What is too much at once to be believed")] = Field(default_factory=Surge)
    tests: Annotated[MinimumTests, Field(description="How well a policy must be tested")] = Field(
        default_factory=MinimumTests
    )
