"""Shapes: what may stand in policy files, as the models that check them and that their JSON Schema is made from."""

from __future__ import annotations

import builtins
import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import parse_moment
from chalicelib.core.windows import parse_duration

ID = r"[a-z0-9]+(-[a-z0-9]+)*\Z"
NOBODY = "none"
"""What a test writes for `no policy`, so no policy is called so."""

_SHARE = re.compile(r"([1-9]\d{0,2})(%?)\Z", re.ASCII)


def _wrong(code: str, what: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError(code, "{what}", {"what": what, "hint": hint})


def _duration(value: object) -> timedelta:
    try:
        span = parse_duration(value)
    except PolicyError as error:
        raise _wrong("PW206", f"{value!r} is not a duration", "write a whole number and s, m, h or d: 90m") from error
    return span


def _moment(value: object) -> datetime:
    try:
        return parse_moment(str(value))
    except ValueError as error:
        hint = "write day, time and zone: 2027-03-31T00:00:00Z"
        raise _wrong("PW207", f"{value!r} is not a moment with a zone", hint) from error


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise _wrong("PW207", f"{value!r} is not a day", "write year, month and day: 2026-11-02") from error


def _share(value: object) -> str:
    """SSM's text for a number or share of nodes, 1 to 7 characters; at most 100%."""
    text = str(value)
    found = _SHARE.match(text)
    if found is None or (found[2] and int(found[1]) > 100):
        raise _wrong("PW203", f"{text!r} is neither a number of nodes nor a share", "write 5 or 10%")
    return text


def _most(value: object) -> int | str:
    """A number of nodes, or a share of a group as text such as `25%`."""
    found = _SHARE.match(str(value)) if isinstance(value, str) and value.endswith("%") else None
    if found and int(found[1]) <= 100:
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1_000_000:
        return value
    raise _wrong("PW203", f"{value!r} is neither a number of nodes nor a share of the group", "write 1 or 25%")


def _percent(value: object) -> str:
    text = str(value)
    if not text.endswith("%"):
        raise _wrong("PW203", f"{text!r} is not a share", "write 20%")
    return _share(value)


def is_id(text: str) -> bool:
    """Whether a policy may be called so."""
    return re.match(ID, text) is not None and len(text) <= 64 and text != NOBODY


def _id(value: object) -> str:
    if is_id(str(value)):
        return str(value)
    raise _wrong("PW203", f"{value!r} cannot be an id", "write small letters, digits and single hyphens: prod-window")


def _scalar(value: object) -> object:
    if isinstance(value, str | int | float):
        return value
    raise _wrong("PW203", f"a {_kind(value)} cannot stand here", "write one text, number or boolean")


def _true(value: object) -> bool:
    if value is True:
        return True
    raise _wrong("PW203", "only true can stand here", "the opposite of exists is absent, and of absent exists")


def _kind(value: object) -> str:
    return "list" if isinstance(value, list) else "map"


def _texts(value: object) -> list[str]:
    """An Automation parameter: 1 to 50 texts of 1 to 512 characters; one text may stand alone."""
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, list) and 1 <= len(texts) <= 50 and all(map(_parameter, texts)):
        return texts
    raise _wrong("PW203", "a parameter is a text or a list of 1 to 50 texts", "quote numbers; leave out what is empty")


def _version(value: object) -> str:
    if isinstance(value, str) and re.match(r"[1-9][0-9]*\Z", value, re.ASCII):
        return value
    raise _wrong("PW203", f"{value!r} pins no version", "name one, in quotes: version: '3'")


def _document(value: object) -> str:
    if isinstance(value, str) and re.match(r"[a-zA-Z0-9_.:/-]{3,128}\Z", value, re.ASCII):
        return value
    raise _wrong("PW203", f"{value!r} cannot be the name of a document", "write its name, or the ARN of a shared one")


def _override_list(value: object) -> str:
    if isinstance(value, str) and re.match(r"s3://[^/\s]+/\S+\Z", value) and _parameter(value):
        return value
    raise _wrong("PW203", f"{value!r} is no list of patches in a bucket", "write s3://bucket/key, at most 512 long")


def _digest(value: object) -> str:
    if isinstance(value, str) and re.match(r"[0-9a-f]{64}\Z", value):
        return value
    remedy = "a list is named by its sha256 alone, never by a URL: `patchwarden emergency start` writes it"
    raise _wrong("PW203", f"{value!r} is no digest of an override list", remedy)


def _parameter(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(_duration), _text_schema("^[0-9]+[smhd]$", "90m")]
Moment = Annotated[
    datetime, BeforeValidator(_moment), _text_schema("[T ][0-9:.]+(Z|[+-][0-9:]+)$", "2027-03-31T00:00:00Z")
]
Day = Annotated[date, BeforeValidator(_day), _text_schema("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2026-11-02")]
_SHARE_SCHEMA = {"type": ["string", "integer"], "pattern": "^([1-9][0-9]{0,2}|[1-9][0-9]?%|100%)$"}
Share = Annotated[str, BeforeValidator(_share), WithJsonSchema({**_SHARE_SCHEMA, "examples": ["10%"]})]
Percent = Annotated[
    str, BeforeValidator(_percent), WithJsonSchema({"type": "string", "pattern": "^([1-9][0-9]?|100)%$"})
]
Id = Annotated[str, BeforeValidator(_id), _text_schema("^[a-z0-9]+(-[a-z0-9]+)*$", "prod-window")]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Number = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["number", "string"]})]
Yes = Annotated[bool, BeforeValidator(_true), WithJsonSchema({"const": True})]
Texts = Annotated[
    list[str], BeforeValidator(_texts), WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})
]
Version = Annotated[str, BeforeValidator(_version), _text_schema("^[1-9][0-9]*$", "3")]
DocumentName = Annotated[str, BeforeValidator(_document), _text_schema("^[a-zA-Z0-9_.:/-]{3,128}$", "Example-Repair")]
OverrideList = Annotated[
    str, BeforeValidator(_override_list), _text_schema("^s3://[^/]+/.+$", "s3://example-patch-lists/2026-11.yaml")
]
Digest = Annotated[str, BeforeValidator(_digest), _text_schema("^[0-9a-f]{64}$", 64 * "0")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Most = Annotated[
    int | str,
    BeforeValidator(_most),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,2}%$"}]}),
]
Many = Annotated[int, Field(ge=1, le=100_000)]


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


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
