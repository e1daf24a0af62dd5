"""Shapes: what may stand in a policy file, as the models that check it and that its JSON Schema is made from."""

from __future__ import annotations

import builtins
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from patchwarden.policy.fields import (
    Day,
    Digest,
    DocumentName,
    Duration,
    Id,
    Many,
    Moment,
    Most,
    Number,
    Percent,
    Scalar,
    Shape,
    Share,
    Text,
    Texts,
    Version,
    Yes,
    _wrong,
)


class Count(Shape):
    """How many: bounds that all must hold."""

    equals: Annotated[int, Field(ge=0)] | None = None
    gt: Annotated[int, Field(ge=0)] | None = None
    gte: Annotated[int, Field(ge=0)] | None = None
    lt: Annotated[int, Field(ge=0)] | None = None
    lte: Annotated[int, Field(ge=0)] | None = None


class Condition(Shape):
    """A path into the facts, one operator, and what a missing value means."""

    path: Annotated[str, Field(min_length=1, description="JSONPath to a fact, such as $.node.tags.Environment")]
    equals: Annotated[Scalar, Field(description="The value is this one")] = None
    not_equals: Annotated[
        Scalar, Field(description="The value is another one; say if_missing for a fact that may be missing")
    ] = None
    in_: Annotated[list[Scalar], Field(min_length=1, description="The value is one of these")] | None = Field(
        default=None, alias="in"
    )
    not_in: (
        Annotated[
            list[Scalar],
            Field(
                min_length=1, description="The value is none of these; say if_missing for a fact that may be missing"
            ),
        ]
        | None
    ) = None
    gt: Annotated[Number, Field(description="Greater, or later")] = None
    gte: Annotated[Number, Field(description="Greater or equal, or not earlier")] = None
    lt: Annotated[Number, Field(description="Less, or earlier")] = None
    lte: Annotated[Number, Field(description="Less or equal, or not later")] = None
    starts_with: Annotated[Text, Field(description="The text starts with this")] | None = None
    ends_with: Annotated[Text, Field(description="The text ends with this")] | None = None
    glob: Annotated[Text, Field(description="* any text, ? one character, [abc] one of these")] | None = None
    exists: Annotated[Yes | None, Field(description="The fact is there")] = None
    absent: Annotated[Yes | None, Field(description="The fact is missing")] = None
    count: Annotated[Count, Field(description="How many values the path finds")] | None = None
    match: Annotated[Literal["any", "all"], Field(description="Of several values: whether one or all must hold")] = (
        "any"
    )
    if_missing: Annotated[bool, Field(description="What the condition is where the fact is missing")] = False


class When(Shape):
    """Groups of conditions, AND-ed: all of `all`, one of `any`, none of `none`."""

    all: Annotated[list[Condition], Field(min_length=1, description="Each of these must hold")] | None = None
    any: Annotated[list[Condition], Field(min_length=1, description="At least one of these must hold")] | None = None
    none: Annotated[list[Condition], Field(min_length=1, description="None of these may hold")] | None = None


class GroupLimit(Shape):
    """At most so many nodes of one group at once: those that share a value of a tag, a group or a zone."""

    tag: Annotated[Text, Field(description="The key of a tag", examples=["Cluster"])] | None = None
    by: (
        Annotated[
            Literal["auto-scaling-group", "availability-zone"], Field(description="Instead of a tag: what EC2 says")
        ]
        | None
    ) = None
    max: Annotated[Most, Field(description="How many nodes at once, or which share of the running ones")]

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.tag is None) is (self.by is None):
            hint = "write tag: Cluster, or by: auto-scaling-group, or by: availability-zone"
            raise _wrong("PW411", "needs either tag or by, to say which nodes are one group", hint)
        return self


class ErrorBudget(Shape):
    """After so many failures nothing of the policy starts any more, until a person or a change lets it go on."""

    max_failures: Annotated[
        Share, Field(description="Failed nodes, as a number or as a share of the nodes whose patching ended")
    ]
    within: Annotated[Duration, Field(description="The span in which failures count")] = timedelta(hours=24)


class Limits(Shape):
    """How much at once. `concurrency` and `max_errors` are a number of nodes or a share of a batch."""

    concurrency: Annotated[Share | None, Field(description="Nodes at once, as a number or a share of the batch")] = None
    max_errors: (
        Annotated[
            Share,
            Field(
                description="Failed nodes after which an execution starts no more, as a number or a share of the batch"
            ),
        ]
        | None
    ) = None
    max_per_hour: Annotated[Many, Field(description="Nodes in an hour")] | None = None
    per_group: (
        Annotated[GroupLimit, Field(description="At most so many nodes of a cluster, group or zone at once")] | None
    ) = None
    error_budget: Annotated[ErrorBudget, Field(description="How much may fail before the policy stops")] | None = None
    surge: Annotated[
        Percent | None,
        Field(description="The share of a location, account or the fleet that the policy may newly find in a day"),
    ] = None


class Document(Shape):
    """Another runbook than Patchwarden-PatchNodes; it must be allowed in _set.yaml and its version be pinned."""

    name: Annotated[DocumentName, Field(description="A name, or the ARN of a shared document")]
    version: Annotated[Version, Field(description="The pinned version, in quotes")]
    parameters: Annotated[dict[str, Texts], Field(description="What the runbook takes besides the nodes")] = Field(
        default_factory=dict
    )


class Approved(Shape):
    """Who approved an exemption, on which day, in which ticket."""

    by: Annotated[Text, Field(description="Who said yes", examples=["ciso@example.com"])]
    on: Annotated[Day, Field(description="The day")]
    ticket: Annotated[Text, Field(description="Where it is written down", examples=["RISK-2041"])]


class Approval(Shape):
    """Whose yes is asked for. Who requested the remediation cannot approve it."""

    by: Annotated[
        list[Text],
        Field(description="Globs of who may approve; absent: whoever may call approve",
              examples=[["arn:aws:sts::*:assumed-role/PatchApprovers/*", "*@example.com"]]),
    ] = Field(default_factory=list)  # fmt: skip
    minimum: Annotated[int, Field(ge=1, le=5, description="How many different people")] = 1
    within: Annotated[Duration, Field(description="How long it is asked")] = timedelta(days=7)
    on_timeout: Annotated[
        Literal["ticket", "observe"], Field(description="What it becomes when too few have said yes by then")
    ] = "ticket"


class NamedPatch(Shape):
    """One patch of an override list: a KB, or a package from a version on."""

    id: Annotated[Text, Field(description="KB5035849, openssl-libs or openssl-libs.x86_64")]
    version: Annotated[Text, Field(description="The first version that is fixed; none for a KB")] | None = None


class PatchList(Shape):
    """An override list in our own bucket, as `patchwarden emergency start` wrote it: under its digest."""

    platform: Annotated[Literal["Windows", "Linux"], Field(description="The nodes that it is for")]
    system: Annotated[Text, Field(description="Only this system, such as Amazon Linux 2023")] | None = None
    list: Annotated[Digest, Field(description="The sha256 of the list")]
    version_id: Annotated[Text, Field(description="The version of the object in the bucket")]
    named: Annotated[
        builtins.list[NamedPatch], Field(min_length=1, max_length=100, description="The patches that it names")
    ]


class Hooks(Shape):
    """Documents that run on the node around an installation; each must be allowed in _set.yaml."""

    pre_install: Annotated[DocumentName, Field(description="Before; if it fails, nothing is installed")] | None = None
    post_install: Annotated[DocumentName, Field(description="After the installation and its reboot")] | None = None
    on_exit: Annotated[DocumentName, Field(description="At the end, after a failure too")] | None = None


class Output(Shape):
    """Where run commands write what they print: a bucket, a log group, or both."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, description="A bucket for the output")] | None = None
    prefix: (
        Annotated[
            str,
            Field(
                pattern=r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$",
                max_length=300,
                description="Keys begin so, then with accountid=, region= and date=; patching where absent",
            ),
        ]
        | None
    ) = None
    log_group: (
        Annotated[
            str,
            Field(pattern=r"^[.\-_/#A-Za-z0-9]+$", max_length=512, description="A CloudWatch log group for the output"),
        ]
        | None
    ) = None


class Then(Shape):
    """What the policy wants."""

    action: Annotated[
        Literal["exempt", "ticket", "observe", "approve", "remediate"],
        Field(description="The more careful action wins within a band"),
    ]
    severity: Annotated[int, Field(ge=1, le=4, description="Of its tickets, 1 is the worst")] = 3
    window: Annotated[str, Field(description="A window of _set.yaml; absent: now")] | None = None
    deadline: Annotated[Duration | None, Field(description="From the first finding on")] = None
    on_deadline: Annotated[
        Literal["ticket", "remediate"], Field(description="What happens when the deadline comes before the next window")
    ] = "ticket"
    reboot: Annotated[
        Literal["if-needed", "never"], Field(description="Whether a node may reboot after the installation")
    ] = "if-needed"
    attempts: Annotated[int, Field(ge=1, le=20, description="After so many failures it is a ticket")] | None = None
    cooldown: Annotated[Duration | None, Field(description="After a failed attempt; it doubles")] = None
    stopped: Annotated[Literal["wait", "start"], Field(description="What to do with a stopped EC2 node")] = "wait"
    snapshot: Annotated[bool, Field(description="Snapshot the root volume before")] = False
    limits: Annotated[Limits, Field(description="How much at once")] = Field(default_factory=Limits)
    document: Annotated[Document, Field(description="Another runbook than ours")] | None = None
    hooks: Annotated[Hooks, Field(description="Documents that run around the installation")] | None = None
    patches: (
        Annotated[
            list[PatchList],
            Field(min_length=1, description="What an emergency installs instead of what the baseline approves"),
        ]
        | None
    ) = None
    through: (
        Annotated[list[Text], Field(min_length=1, description="Freezes that do not hold the emergency's patches")]
        | None
    ) = None
    until: Annotated[Moment | None, Field(description="End of an exemption")] = None
    reason: Annotated[Text, Field(description="Why a node may stay as it is")] | None = None
    approved: Annotated[Approved, Field(description="Who approved the exemption")] | None = None
    approval: Annotated[Approval, Field(description="Whose yes is asked for")] | None = None


class Expect(Shape):
    """What a test expects; what is left out is not looked at. `none` stands for no policy or window."""

    action: Annotated[
        Literal["exempt", "ticket", "observe", "approve", "remediate"],
        Field(description="What is done with the finding"),
    ]
    policy: Annotated[str, Field(description="The policy that decides; none: no policy")] | None = None
    window: Annotated[str, Field(description="The window it waits for; none: no window")] | None = None
    starts: Annotated[Moment | None, Field(description="When it may start")] = None
    because_contains: Annotated[Text, Field(description="A part of the sentence that the decision carries")] | None = (
        None
    )
    also_matched: (
        Annotated[
            list[str], Field(description="Policies that match too, although another one decides; [] asks for none")
        ]
        | None
    ) = None
    wave: (
        Annotated[
            int,
            Field(ge=1, le=10, description="The wave that the node is in by its tag or its share, the first being 1"),
        ]
        | None
    ) = None
    shadow: Annotated[str, Field(description="A shadow policy that would match; none: no shadow policy")] | None = None


class Test(Shape):
    """A fixture, changed a little, and what must be decided about it."""

    __test__ = False

    name: Annotated[Text, Field(description="What must hold, in words")]
    event: Annotated[str, Field(description="A fixture: the name of a file under fixtures, without its ending")]
    now: Annotated[Moment | None, Field(description="When it is decided; absent: the time of the finding")] = None
    set: Annotated[
        dict[str, Any],
        Field(description="Facts to change first, by path", examples=[{"$.node.tags.Environment": "dev"}]),
    ] = Field(default_factory=dict)
    unset: Annotated[list[str], Field(description="Facts to take away first, by path", examples=[["$.node.tags"]])] = (
        Field(default_factory=list)
    )
    expect: Annotated[Expect, Field(description="What must be decided")]


class Wave(Shape):
    """Which nodes start together: give one of tag, nodes and percent."""

    tag: (
        Annotated[str, Field(min_length=3, description="Nodes with this tag", examples=["PatchRing=canary"])] | None
    ) = None
    nodes: Annotated[int, Field(ge=1, le=50, description="So many nodes, always the same ones")] | None = None
    percent: (
        Annotated[int, Field(ge=1, le=100, description="This share of the nodes, those of earlier waves included")]
        | None
    ) = None
    soak: Annotated[Duration, Field(description="How long the next wave waits once this one is verified")] = timedelta()
    max_errors: Annotated[int, Field(ge=0, le=1000, description="More failed nodes stop the rollout")] = 0


class Rollout(Shape):
    """For which nodes the policy is enforced already: of these accounts, this share. For all others it is a shadow.

    `waves` are the order in which the nodes start that it is enforced for.
    """

    percent: Annotated[
        int, Field(ge=0, le=100, description="Share of the nodes, always the same ones; more only adds some")
    ] = 100
    accounts: Annotated[
        list[str] | None, Field(min_length=1, description="Only nodes of these accounts, 12 digits in quotes")
    ] = None
    waves: Annotated[
        list[Wave] | None,
        Field(min_length=2, max_length=10, description="Each starts when the one before is verified and has soaked"),
    ] = None


class PolicyFile(Shape):
    """One policy: which findings it speaks for, what it wants, and its own tests."""

    id: Annotated[Id, Field(description="Its name for ever: decisions and tests refer to it")]
    title: Annotated[Text, Field(description="One line for people: it stands in tickets and in the trail")]
    owner: Annotated[Text, Field(description="Who answers for it: a mail address or a team")]
    band: Annotated[
        Literal["guardrail", "emergency", "standard", "default"],
        Field(description="Guardrails hold, emergencies beat windows, defaults speak last"),
    ] = "standard"
    mode: Annotated[
        Literal["enforce", "shadow", "off"],
        Field(description="shadow is judged and recorded beside the decision and never acts; off is not judged"),
    ] = "enforce"
    priority: Annotated[int, Field(ge=-1000, le=1000, description="Decides within a band between equal actions")] = 0
    expires: Annotated[
        Moment | None, Field(description="From then on it no longer counts; an emergency must have one")
    ] = None
    rollout: Annotated[Rollout | None, Field(description="Enforce for some nodes first; absent: for all")] = None
    when: Annotated[When, Field(description="Which findings it speaks for")]
    then: Annotated[Then, Field(description="What it wants")]
    tests: Annotated[list[Test], Field(description="What must be decided about fixtures")] = Field(default_factory=list)
