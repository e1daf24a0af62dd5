"""Policies: which findings they speak for and what they want, as the workbench compiled them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from chalicelib.core.chain import canonical
from chalicelib.core.compiled import NONE, VERSION, Shape, digest_of, digest_of_policy, exactly, moment_of
from chalicelib.core.conditions import MATCH, OPERATORS, Condition
from chalicelib.core.errors import PolicyError
from chalicelib.core.index import Index
from chalicelib.core.paths import Path, parse, walked
from chalicelib.core.readings import Clause, When
from chalicelib.core.rollouts import Rollout
from chalicelib.core.schedules import Schedule
from chalicelib.core.settings import Settings
from chalicelib.core.then import Action, Then
from chalicelib.core.vocabulary import render


class Band(StrEnum):
    """Bands, the strongest first."""

    GUARDRAIL = "guardrail"
    EMERGENCY = "emergency"
    STANDARD = "standard"
    DEFAULT = "default"


class Mode(StrEnum):
    """Only `enforce` decides; `shadow` is judged beside it and recorded; `off` is not judged."""

    ENFORCE = "enforce"
    SHADOW = "shadow"
    OFF = "off"


_BANDS = {band: place for place, band in enumerate(Band)}
_ACTIONS = {action: place for place, action in enumerate(Action)}


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
                "expires": moment_of(known["expires"]),
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
    or name a wave. An error budget stops a patch that fails, so it asks which patches there are."""
    touched = (clause.condition.path.base.block for policy in policies for clause in policy.when.clauses())
    found = {block for block in touched if block is not None}
    grouped = settings.immutable is not None or any(
        policy.then.limits.per_group or policy.then.patches or any(wave.tag for wave in policy.then.waves)
        for policy in policies
    )
    budgets = any(policy.then.limits.error_budget for policy in policies)
    if budgets or (settings.surge and settings.surge.same):
        found.add("patch.missing")
    return frozenset(found | ({"patch"} if "patch.missing" in found else set()) | ({"node"} if grouped else set()))
