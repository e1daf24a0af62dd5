"""Fixture shapes: what may stand in a fixture, the facts that a policy's test starts from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from patchwarden.policy.fields import Moment, Shape, Text


class FixtureNode(Shape):
    """A node as the facts describe it; `tags: {}` is a node without tags."""

    state: Annotated[
        Literal["pending", "running", "shutting-down", "terminated", "stopping", "stopped"],
        Field(description="The state that EC2 says"),
    ] = "running"
    ping: (
        Annotated[Literal["Online", "ConnectionLost", "Inactive"], Field(description="The ping status of the agent")]
        | None
    ) = "Online"
    platform: Literal["Windows", "Linux", "MacOS"] | None = None
    platform_name: str | None = None
    platform_version: str | None = None
    agent_version: str | None = None
    group: str | None = None
    zone: str | None = None
    tags: Annotated[dict[str, str], Field(description="All tags")]


class FixtureCounts(Shape):
    """How many patches are not as they should be."""

    missing: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)] = 0
    rejected: Annotated[int, Field(ge=0)] = 0
    pending_reboot: Annotated[int, Field(ge=0)] = 0
    critical: Annotated[int, Field(ge=0)] = 0
    security: Annotated[int, Field(ge=0)] = 0
    other: Annotated[int, Field(ge=0)] = 0


class FixtureMissing(Shape):
    """One patch that is not installed."""

    id: Text
    title: str = ""
    class_: str = Field(alias="class")
    severity: str
    state: str = "MISSING"
    cves: str = ""


class FixturePatch(Shape):
    """The last patch operation; without `missing` the single patches were not fetched."""

    baseline: Text = "pb-0123456789abcdef0"
    baseline_ours: Annotated[bool | None, Field(description="Whether it is the one that ours says")] = None
    baseline_expected: Annotated[str | None, Field(description="The one that ours says")] = None
    operation: Literal["Scan", "Install"] = "Scan"
    operation_end: Annotated[Moment, Field(description="When it ended")]
    snapshot: str | None = None
    counts: Annotated[FixtureCounts, Field(description="How many patches are not as they should be")]
    missing: Annotated[list[FixtureMissing], Field(description="The single patches")] | None = None


class FixtureHistory(Shape):
    """What happened before; absent: this is the first finding."""

    attempts: Annotated[int, Field(ge=0, description="Failed attempts so far")] = 0
    first_seen: Moment | None = None
    last_outcome: str | None = None
    state: Annotated[
        Literal["open", "waiting", "queued", "starting", "running", "verifying", "reboot_pending", "ticketed", "exempt",
                "resolved", "gone"],
        Field(description="Where the remediation stands"),
    ] = "open"  # fmt: skip
    cools_until: Annotated[Moment | None, Field(description="End of the pause after a failed attempt")] = None


class FixtureFinding(Shape):
    """A non-compliant finding as Patchwarden took it down, whoever it came from."""

    account: Annotated[str, Field(description="Account of the node, 12 digits in quotes")]
    region: Annotated[str, Field(description="Region of the node")]
    node: Annotated[str, Field(description="Id of the node, i-… or mi-…")]
    control: Literal["patch", "association", "reporting", "emergency"] = "patch"
    source: Literal["config", "ssm", "sweep", "request", "again", "emergency"] = "sweep"
    rule: Annotated[str, Field(description="Name of the Config rule, or of the emergency")] | None = None
    observed_at: Moment
    detail: Annotated[dict[str, Any], Field(description="What is kept of an event's detail")] = Field(
        default_factory=dict
    )


class Fixture(Shape):
    """What a test starts from: a real-shaped event or a finding, and what the node's account says."""

    event: Annotated[dict[str, Any], Field(description="The event as EventBridge brings it")] | None = None
    finding: (
        Annotated[FixtureFinding, Field(description="Instead of an event, as `policy record` writes it")] | None
    ) = None
    node: Annotated[FixtureNode, Field(description="What EC2 and Systems Manager say about the node")] | None = None
    patch: Annotated[FixturePatch, Field(description="The state of its patches")] | None = None
    history: Annotated[FixtureHistory, Field(description="What happened before")] = Field(
        default_factory=FixtureHistory
    )
    unread: Annotated[list[str], Field(description="Facts that could not be read, such as $.node.tags")] = Field(
        default_factory=list
    )
