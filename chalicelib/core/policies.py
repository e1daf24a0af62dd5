"""Policies: which findings they speak for and what they want, as the workbench compiled them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.core.approvals import Approval
from chalicelib.core.budgets import ErrorBudget
from chalicelib.core.chain import canonical
from chalicelib.core.compiled import (
    NONE,
    VERSION,
    Shape,
    digest_of,
    digest_of_policy,
    exactly,
    seconds,
    texts_by,
    with_defaults,
)
from chalicelib.core.conditions import MATCH, OPERATORS, Condition
from chalicelib.core.errors import PolicyError
from chalicelib.core.index import Index
from chalicelib.core.moments import parse_moment
from chalicelib.core.overrides import PatchList
from chalicelib.core.paths import Path, parse, walked
from chalicelib.core.plans import HOOKS
from chalicelib.core.readings import Clause, When
from chalicelib.core.rollouts import Rollout
from chalicelib.core.schedules import Schedule
from chalicelib.core.settings import Settings
from chalicelib.core.vocabulary import render
from chalicelib.core.waves import Wave


class Band(StrEnum):
    """Bands, the strongest first."""

    GUARDRAIL = "guardrail"
    EMERGENCY = "emergency"
    STANDARD = "standard"
    DEFAULT = "default"


class Action(StrEnum):
    """Actions, the most careful first."""

    EXEMPT = "exempt"
    TICKET = "ticket"
    OBSERVE = "observe"
    APPROVE = "approve"
    REMEDIATE = "remediate"


class Mode(StrEnum):
    """Only `enforce` decides; `shadow` is judged beside it and recorded; `off` is not judged."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


ON_DEADLINE = frozenset({"ticket", "remediate"})
REBOOT = frozenset({"if-needed", "never"})
STOPPED = frozenset({"wait", "start"})

_BANDS = {band: place for place, band in enumerate(Band)}
_ACTIONS = {action: place for place, action in enumerate(Action)}


GROUPED = frozenset({"tag", "auto-scaling-group", "availability-zone"})
_PERCENT = re.compile(r"([1-9]\d?|100)%\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """At most `max` nodes of one group at once: a number, or a share of the group's running nodes such as `25%`.

    A group is what shares a value of `tag`, or, without one, what EC2 says of it: `by`.
    """

    by: str
    tag: str | None
    max: int | str

    @classmethod
    def from_json(cls, value: object) -> GroupLimit:
        whole = {"by": "tag", "tag": None, **value} if isinstance(value, dict) else value
        known = exactly(whole, "per_group", {"by": GROUPED, "tag": (str, NONE), "max": (int, str)})
        most = known["max"]
        if (known["by"] == "tag") is (known["tag"] is None):
            raise PolicyError("the policy set is malformed: per_group names no tag, or names one beside `by`")
        if most < 1 if isinstance(most, int) else not _PERCENT.match(most):
            raise PolicyError(f"the policy set is malformed: {most!r:.40} of per_group is no number and no share")
        return cls(**known)

    @property
    def called(self) -> str:
        """What it is counted by, in a sentence."""
        return self.tag or {"auto-scaling-group": "Auto Scaling group"}.get(self.by, "Availability Zone")

    def value(self, node: Mapping[str, Any]) -> str | None:
        """The group that a node of these facts is in, or None if it is in none."""
        if self.tag:
            return (node.get("tags") or {}).get(self.tag)
        return node.get("group" if self.by == "auto-scaling-group" else "zone")

    def group(self, account: str, region: str, node: Mapping[str, Any]) -> dict[str, Any] | None:
        """The group as a decision keeps it. A number counts a tag in the whole account; all else is of one Region."""
        value = self.value(node)
        if not value:
            return None
        wide = self.tag is not None and isinstance(self.max, int)
        place = account if wide else f"{account}/{region}"
        kept = {"token": f"{place}/{self.tag or self.by}={value}", "max": self.max}
        return kept if isinstance(self.max, int) else {**kept, "by": self.by, "tag": self.tag, "value": value}


@dataclass(frozen=True, slots=True)
class Limits:
    """`concurrency` and `max_errors` are SSM's text, such as `10` or `10%`; `max_per_hour` counts nodes.

    `surge`: the most, in percent of the nodes of a place, that the policy may newly find there within a day.
    """

    concurrency: str
    max_errors: str
    max_per_hour: int | None = None
    per_group: tuple[GroupLimit, ...] = ()
    error_budget: ErrorBudget | None = None
    surge: int | None = None

    @classmethod
    def from_json(cls, value: object) -> Limits:
        known = exactly(with_defaults(value, {"error_budget": None, "surge": None}), "limits",
                        {"concurrency": str, "max_errors": str, "max_per_hour": (int, NONE),
                         "per_group": (dict, list, NONE), "error_budget": (dict, NONE),
                         "surge": (int, NONE)})  # fmt: skip
        if known["surge"] is not None and not 1 <= known["surge"] <= 100:
            raise PolicyError(f"the policy set is malformed: {known['surge']!r:.40} of surge is no share")
        groups, budget = known["per_group"] or [], known["error_budget"]
        listed = tuple(map(GroupLimit.from_json, groups if isinstance(groups, list) else [groups]))
        return cls(**{**known, "per_group": listed, "error_budget": ErrorBudget.from_json(budget) if budget else None})


@dataclass(frozen=True, slots=True)
class Document:
    """Another runbook than ours, at a pinned version. Each parameter is a list of texts, as SSM takes it."""

    name: str
    version: str
    parameters: Mapping[str, list[str]] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, value: object) -> Document:
        return cls(**exactly(value, "document", {"name": str, "version": str, "parameters": dict}))


@dataclass(frozen=True, slots=True)
class Approved:
    """Who approved an exemption, on which day (YYYY-MM-DD), in which ticket."""

    by: str
    on: str
    ticket: str

    @classmethod
    def from_json(cls, value: object) -> Approved:
        return cls(**exactly(value, "approved", {"by": str, "on": str, "ticket": str}))


@dataclass(frozen=True, slots=True)
class Then:
    """What a policy wants. `window` names one of the settings; `severity` is its tickets', 1 (worst) to 4.

    An `approval` belongs to the action approve, and that to it; `approved` to an exemption. `patches` are installed
    instead of the baseline's; `through` names the freezes that do not hold them.
    """

    action: Action
    severity: int
    window: str | None
    deadline: timedelta | None
    on_deadline: str
    reboot: str
    attempts: int
    cooldown: timedelta
    stopped: str
    snapshot: bool
    limits: Limits
    document: Document | None
    until: datetime | None
    reason: str | None
    approved: Approved | None
    approval: Approval | None
    hooks: Mapping[str, str] = field(default_factory=dict, hash=False)
    waves: tuple[Wave, ...] = ()
    patches: tuple[PatchList, ...] = ()
    through: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Then:
        known = exactly(with_defaults(value, _LATER), "then", _THEN)
        return cls(
            **{
                **known,
                "action": Action(known["action"]),
                "deadline": seconds(known["deadline"]),
                "cooldown": seconds(known["cooldown"]),
                "limits": Limits.from_json(known["limits"]),
                "document": Document.from_json(known["document"]) if known["document"] else None,
                "until": _moment(known["until"]),
                "approved": Approved.from_json(known["approved"]) if known["approved"] else None,
                "approval": Approval.from_json(known["approval"]) if known["approval"] else None,
                "hooks": texts_by(known["hooks"], frozenset(HOOKS), "the hooks"),
                "waves": tuple(map(Wave.from_json, known["waves"])),
                "patches": _patches(known),
                "through": tuple(known["through"]),
            }
        )


_THEN: Shape = {
    "action": str,
    "severity": int,
    "window": (str, NONE),
    "deadline": (int, NONE),
    "on_deadline": ON_DEADLINE,
    "reboot": REBOOT,
    "attempts": int,
    "cooldown": int,
    "stopped": STOPPED,
    "snapshot": bool,
    "limits": dict,
    "document": (dict, NONE),
    "until": (str, NONE),
    "reason": (str, NONE),
    "approved": (dict, NONE),
    "approval": (dict, NONE),
    "hooks": dict,
    "waves": list,
    "patches": list,
    "through": list,
}
_LATER: dict[str, Any] = {"hooks": {}, "waves": [], "patches": [], "through": []}
"""What a set that was compiled before there was such a field means by leaving it out."""


def _patches(then: Mapping[str, Any]) -> tuple[PatchList, ...]:
    """The override lists, which go with our own runbook for running nodes and with nothing else."""
    for name, nothing in (("hooks", {}), ("document", None), ("stopped", "wait")):
        if then["patches"] and then[name] != nothing:
            raise PolicyError(f"the policy set is malformed: patches do not go with {name}")
    return tuple(map(PatchList.from_json, then["patches"]))


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. It counts until `expires`; `origin` is `file:line`, `digest` that of its meaning.

    With a `rollout` it is enforced for the nodes that this reaches, and a shadow for all others.
    """

    id: str
    title: str
    owner: str
    band: Band
    mode: Mode
    priority: int
    expires: datetime | None
    rollout: Rollout | None
    when: When
    then: Then
    origin: str
    digest: str

    @property
    def rank(self) -> tuple[int, int, int, str]:
        """Its place among the policies that match together, the lowest wins: never the order of files."""
        return _BANDS[self.band], _ACTIONS[self.then.action], -self.priority, self.id

    @property
    def ends(self) -> datetime | None:
        """The first moment at which it counts no more: its own end or its exemption's, whichever is earlier."""
        expires, until = self.expires, self.then.until
        return min(expires, until) if expires and until else expires or until

    def ended(self, now: datetime) -> bool:
        """The one place that says whether a policy or an exemption still counts."""
        ends = self.ends
        return ends is not None and ends <= now

    @classmethod
    def from_json(cls, value: object, shared: Shared) -> Policy:
        known = exactly(value, "a policy", _POLICY)
        groups = exactly(known["when"], f"when of {known['id']}", {"all": list, "any": list, "none": list})
        clauses = {name: tuple(map(shared.clause, group)) for name, group in groups.items()}
        return cls(
            **{
                **known,
                "band": Band(known["band"]),
                "mode": Mode(known["mode"]),
                "expires": _moment(known["expires"]),
                "rollout": Rollout.from_json(known["rollout"]) if known["rollout"] else None,
                "when": When(**clauses),
                "then": Then.from_json(known["then"]),
                "digest": digest_of_policy(known),
            }
        )


_POLICY: Shape = {
    "id": str,
    "title": str,
    "owner": str,
    "band": str,
    "mode": str,
    "priority": int,
    "expires": (str, NONE),
    "rollout": (dict, NONE),
    "when": dict,
    "then": dict,
    "origin": str,
}


class Shared:
    """The paths and conditions of one set: each is made once, however many policies hold it."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}
        self._conditions: dict[str, Condition] = {}

    def clause(self, value: object) -> Clause:
        known = exactly(value, "a condition", _CLAUSE)
        key = canonical([known[name] for name in _CLAUSE if name != "line"])
        if key not in self._conditions:
            self._conditions[key] = Condition.of(
                self._path(known["path"], known["steps"]),
                known["operator"],
                known["operand"],
                match=known["match"],
                if_missing=known["if_missing"],
            )
        return Clause(self._conditions[key], known["line"])

    def _path(self, text: str, steps: list[str | int] | None) -> Path:
        if steps is not None and render(steps) != text:
            raise PolicyError(f"the policy set is malformed: {text:.60} is not what its steps say")
        if text not in self._paths:
            self._paths[text] = parse(text) if steps is None else walked(steps)
        return self._paths[text]


_CLAUSE: Shape = {
    "path": str,
    "steps": (list, NONE),
    "operator": frozenset(OPERATORS),
    "operand": object,
    "match": MATCH,
    "if_missing": bool,
    "line": (int, NONE),
}


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Policies in rank order, schedules, settings. `blocks` are those of the facts that some path touches."""

    digest: str
    policies: tuple[Policy, ...]
    schedules: tuple[Schedule, ...]
    settings: Settings
    blocks: frozenset[str]
    enforced: Index[Policy] = field(repr=False, compare=False)
    shadow: Index[Policy] = field(repr=False, compare=False)
    _by_id: Mapping[str, Policy] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_id", {policy.id: policy for policy in self.policies})

    @classmethod
    def load(cls, document: object) -> PolicySet:
        """The whole set, or PolicyError in one sentence: a document is never loaded in part."""
        if not isinstance(document, dict) or document.get("version") != VERSION:
            found = document.get("version") if isinstance(document, dict) else document
            raise PolicyError(f"the policy set has format version {found!r:.40}, this service reads {VERSION}")
        try:
            if document.get("digest") != digest_of(document):
                raise PolicyError("the policy set's digest is not that of its content: it was changed or cut off")
            return cls._of(exactly(document, "the set", _SET))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise PolicyError(f"the policy set is malformed: {type(error).__name__} {error!s:.200}") from error

    def policy(self, name: str) -> Policy | None:
        """The policy of that id, whatever its mode."""
        return self._by_id.get(name)

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> PolicySet:
        settings, shared = Settings.from_json(document["settings"]), Shared()
        policies = sorted((Policy.from_json(value, shared) for value in document["policies"]), key=lambda one: one.rank)
        ids = {policy.id for policy in policies}
        if len(ids) < len(policies):
            raise PolicyError("the policy set is malformed: two policies have the same id")
        for policy in policies:
            if policy.then.window is not None and policy.then.window not in settings.windows:
                raise PolicyError(f"the policy set is malformed: {policy.id} names no window of it")
            if (policy.then.action is Action.APPROVE) != (policy.then.approval is not None):
                raise PolicyError(f"the policy set is malformed: {policy.id} asks for an approval, or does not")
        enforced = [policy for policy in policies if policy.mode is Mode.ENFORCE]
        beside = [one for one in policies if one.mode is Mode.SHADOW or (one.mode is Mode.ENFORCE and one.rollout)]
        return cls(
            digest=document["digest"],
            policies=tuple(policies),
            schedules=_schedules(document["schedules"]),
            settings=settings,
            blocks=_blocks(enforced + beside, settings),
            enforced=Index.of(enforced),
            shadow=Index.of(beside),
        )


_SET: Shape = {"version": int, "digest": str, "settings": dict, "policies": list, "schedules": list}


def _schedules(values: list[object]) -> tuple[Schedule, ...]:
    schedules = tuple(map(Schedule.from_json, values))
    if len({schedule.id for schedule in schedules}) < len(schedules):
        raise PolicyError("the policy set is malformed: two schedules have the same id")
    return schedules


def _blocks(policies: list[Policy], settings: Settings) -> frozenset[str]:
    """What must be fetched: the single patches only with their state, and the node where its tags limit, forbid
    or name a wave."""
    touched = (clause.condition.path.base.block for policy in policies for clause in policy.when.clauses())
    found = {block for block in touched if block is not None}
    grouped = settings.immutable is not None or any(
        policy.then.limits.per_group or policy.then.patches or any(wave.tag for wave in policy.then.waves)
        for policy in policies
    )
    if settings.surge and settings.surge.same:
        found.add("patch.missing")
    return frozenset(found | ({"patch"} if "patch.missing" in found else set()) | ({"node"} if grouped else set()))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_moment(text)
