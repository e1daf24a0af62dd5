"""Then: what a policy wants for the findings that it speaks for, and within which limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from chalicelib.core.approvals import Approval
from chalicelib.core.budgets import ErrorBudget
from chalicelib.core.compiled import NONE, Shape, exactly, moment_of, seconds, texts_by, with_defaults
from chalicelib.core.errors import PolicyError
from chalicelib.core.overrides import PatchList
from chalicelib.core.plans import HOOKS
from chalicelib.core.waves import Wave


class Action(StrEnum):
    """Actions, the most careful first."""

    EXEMPT = "exempt"
    TICKET = "ticket"
    OBSERVE = "observe"
    APPROVE = "approve"
    REMEDIATE = "remediate"


ON_DEADLINE = frozenset({"ticket", "remediate"})
REBOOT = frozenset({"if-needed", "never"})
STOPPED = frozenset({"wait", "start"})
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
                "until": moment_of(known["until"]),
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
