"""Shapes: what may stand in policy files, as the models that check them and that their JSON Schema is made from."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
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


def _id(value: object) -> str:
    text = str(value)
    if re.match(ID, text) and len(text) <= 64 and text != NOBODY:
        return text
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


def _parameter(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 512


def _text_schema(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "examples": [example]})


Duration = Annotated[timedelta, BeforeValidator(_duration), _text_schema("^[0-9]+[smhd]$", "90m")]
Moment = Annotated[datetime, BeforeValidator(_moment), _text_schema("^.+T.+$", "2027-03-31T00:00:00Z")]
Day = Annotated[date, BeforeValidator(_day), _text_schema("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "2026-11-02")]
Share = Annotated[str, BeforeValidator(_share), WithJsonSchema({"type": ["string", "integer"], "examples": ["10%"]})]
Id = Annotated[str, BeforeValidator(_id), _text_schema("^[a-z0-9]+(-[a-z0-9]+)*$", "prod-window")]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Number = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["number", "string"]})]
Yes = Annotated[bool, BeforeValidator(_true), WithJsonSchema({"const": True})]
Texts = Annotated[
    list[str], BeforeValidator(_texts), WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}})
]
Version = Annotated[str, BeforeValidator(_version), _text_schema("^[1-9][0-9]*$", "3")]
DocumentName = Annotated[str, BeforeValidator(_document), _text_schema("^[a-zA-Z0-9_.:/-]{3,128}$", "Example-Repair")]
Text = Annotated[str, Field(min_length=1, max_length=500)]
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
    equals: Scalar = None
    not_equals: Scalar = None
    in_: Annotated[list[Scalar], Field(min_length=1)] | None = Field(default=None, alias="in")
    not_in: Annotated[list[Scalar], Field(min_length=1)] | None = None
    gt: Number = None
    gte: Number = None
    lt: Number = None
    lte: Number = None
    starts_with: Text | None = None
    ends_with: Text | None = None
    glob: Annotated[Text, Field(description="* any text, ? one character, [abc] one of these")] | None = None
    exists: Yes | None = None
    absent: Yes | None = None
    count: Count | None = None
    match: Literal["any", "all"] = "any"
    if_missing: bool = False


class When(Shape):
    """Groups of conditions, AND-ed: all of `all`, one of `any`, none of `none`."""

    all: Annotated[list[Condition], Field(min_length=1)] | None = None
    any: Annotated[list[Condition], Field(min_length=1)] | None = None
    none: Annotated[list[Condition], Field(min_length=1)] | None = None


class GroupLimit(Shape):
    """At most so many nodes that share a value of the tag at once."""

    tag: Text
    max: Many


class Limits(Shape):
    """How much at once. `concurrency` and `max_errors` are a number of nodes or a share of a batch."""

    concurrency: Share | None = None
    max_errors: Share | None = None
    max_per_hour: Many | None = None
    per_group: GroupLimit | None = None


class Document(Shape):
    """Another runbook than Patchwarden-PatchNodes; it must be allowed in _set.yaml and its version be pinned."""

    name: DocumentName
    version: Version
    parameters: dict[str, Texts] = Field(default_factory=dict)


class Approved(Shape):
    """Who approved an exemption, on which day, in which ticket."""

    by: Text
    on: Day
    ticket: Text


class Then(Shape):
    """What the policy wants."""

    action: Literal["exempt", "ticket", "observe", "approve", "remediate"]
    severity: Annotated[int, Field(ge=1, le=4, description="Of its tickets, 1 is the worst")] = 3
    window: Annotated[str, Field(description="A window of _set.yaml; absent: now")] | None = None
    deadline: Annotated[Duration, Field(description="From the first finding on")] | None = None
    on_deadline: Literal["ticket", "remediate"] = "ticket"
    reboot: Literal["if-needed", "never"] = "if-needed"
    attempts: Annotated[int, Field(ge=1, le=20)] | None = None
    cooldown: Annotated[Duration, Field(description="After a failed attempt; it doubles")] | None = None
    stopped: Annotated[Literal["wait", "start"], Field(description="What to do with a stopped EC2 node")] = "wait"
    snapshot: Annotated[bool, Field(description="Snapshot the root volume before")] = False
    limits: Limits = Field(default_factory=Limits)
    document: Document | None = None
    until: Annotated[Moment, Field(description="End of an exemption")] | None = None
    reason: Text | None = None
    approved: Approved | None = None


class Expect(Shape):
    """What a test expects; what is left out is not looked at. `none` stands for no policy or window."""

    action: Literal["exempt", "ticket", "observe", "approve", "remediate"]
    policy: str | None = None
    window: str | None = None
    starts: Moment | None = None
    because_contains: Text | None = None
    shadow: str | None = None


class Test(Shape):
    """A fixture, changed a little, and what must be decided about it."""

    __test__ = False

    name: Text
    event: Annotated[str, Field(description="A fixture: the name of a file under fixtures, without its ending")]
    now: Annotated[Moment, Field(description="When it is decided; absent: the time of the finding")] | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)
    expect: Expect


class PolicyFile(Shape):
    """One policy: which findings it speaks for, what it wants, and its own tests."""

    id: Id
    title: Text
    owner: Annotated[Text, Field(description="Who answers for it: a mail address or a team")]
    band: Literal["guardrail", "emergency", "standard", "default"] = "standard"
    mode: Literal["enforce", "shadow", "off"] = "enforce"
    priority: Annotated[int, Field(ge=-1000, le=1000, description="Decides within a band between equal actions")] = 0
    expires: Moment | None = None
    when: When
    then: Then
    tests: list[Test] = Field(default_factory=list)


class FixtureNode(Shape):
    """A node as the facts describe it; `tags: {}` is a node without tags."""

    state: Literal["pending", "running", "shutting-down", "terminated", "stopping", "stopped"] = "running"
    ping: Literal["Online", "ConnectionLost", "Inactive"] | None = "Online"
    platform: Literal["Windows", "Linux", "MacOS"] | None = None
    platform_name: str | None = None
    platform_version: str | None = None
    agent_version: str | None = None
    group: str | None = None
    zone: str | None = None
    tags: dict[str, str]


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


class FixturePatch(Shape):
    """The last patch operation; without `missing` the single patches were not fetched."""

    baseline: Text = "pb-0123456789abcdef0"
    operation: Literal["Scan", "Install"] = "Scan"
    operation_end: Moment
    snapshot: str | None = None
    counts: FixtureCounts
    missing: list[FixtureMissing] | None = None


class FixtureHistory(Shape):
    """What happened before; absent: this is the first finding."""

    attempts: Annotated[int, Field(ge=0)] = 0
    first_seen: Moment | None = None
    last_outcome: str | None = None


class Fixture(Shape):
    """What a test starts from: a real-shaped event, and what the node's account says."""

    event: dict[str, Any]
    node: FixtureNode | None = None
    patch: FixturePatch | None = None
    history: FixtureHistory = Field(default_factory=FixtureHistory)


class Window(Shape):
    """When acting is allowed: AWS's six cron fields in a zone, for how long, moved by some days."""

    cron: str
    zone: str
    duration: str
    schedule_offset: int = 0


class Freeze(Shape):
    """A time in which nothing starts."""

    name: Text
    from_: Moment = Field(alias="from")
    until: Moment
    reason: Text


class Scope(Shape):
    """The accounts and Regions in which Patchwarden acts."""

    accounts: Annotated[list[str], Field(min_length=1)]
    regions: Annotated[list[str], Field(min_length=1)]


class Defaults(Shape):
    """What a policy gets where it says nothing."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 3
    cooldown: Duration = timedelta(minutes=30)
    limits: Limits = Field(default_factory=Limits)


class Ceilings(Shape):
    """What no policy may exceed."""

    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    concurrency: Share = "50%"
    max_errors: Share = "50%"
    max_per_hour: Many = 1000
    deadline: Duration = timedelta(days=90)
    exemption: Annotated[Duration, Field(description="From the day of approval on")] = timedelta(days=365)


class MinimumTests(Shape):
    """How well a policy must be tested."""

    at_least: Annotated[int, Field(ge=0)] = 2
    both_outcomes: bool = True


class SetFile(Shape):
    """`_set.yaml`: what the organisation says once for all policies."""

    scope: Scope
    linger: Duration = timedelta(minutes=5)
    verify_within: Duration = timedelta(hours=2)
    executions_per_location: Annotated[int, Field(ge=1, le=100)] = 10
    windows: dict[str, Window] = Field(default_factory=dict)
    freezes: list[Freeze] = Field(default_factory=list)
    documents: list[DocumentName] = Field(default_factory=list)
    defaults: Defaults = Field(default_factory=Defaults)
    ceilings: Ceilings = Field(default_factory=Ceilings)
    tests: MinimumTests = Field(default_factory=MinimumTests)
