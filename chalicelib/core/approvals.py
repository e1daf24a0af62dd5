"""Approvals: whose yes a policy asks for, and which of those that were said still count."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from chalicelib.core.compiled import exactly, seconds

SSO = "AWSReservedSSO_"
"""How the roles begin that IAM Identity Center makes for its permission sets.

https://docs.aws.amazon.com/singlesignon/latest/userguide/referencingpermissionsets.html
"""

CENTER = "user of IAM Identity Center "
"""How it is said whom such a session counts as."""

_ASSUMED = re.compile(r"arn:[\w-]+:sts::\d{12}:assumed-role\Z")
_OPEN = "\0"
"""A name that nobody has."""

_FEDERATED = re.compile(r"arn:[\w-]+:sts::\d{12}:federated-user\Z")

ON_TIMEOUT = frozenset({"ticket", "observe"})


@dataclass(frozen=True, slots=True)
class Approval:
    """At least `minimum` different people, each of whom one of the globs in `by` fits, within a time.

    Without `by`, whoever may call approve. `on_timeout` is what the case becomes when too few have said yes by then.
    """

    by: tuple[str, ...] = ()
    minimum: int = 1
    within: timedelta = timedelta(days=7)
    on_timeout: str = "ticket"

    @classmethod
    def from_json(cls, value: object) -> Approval:
        known = exactly(value, "approval", {"by": list, "minimum": int, "within": int, "on_timeout": ON_TIMEOUT})
        return cls(tuple(known["by"]), known["minimum"], seconds(known["within"]) or timedelta(), known["on_timeout"])

    def may(self, who: str) -> bool:
        """Whether this person's yes counts. A name that its bearer chose fits no glob but one that fits any name."""
        return not self.by or any(fnmatchcase(proved(who), glob) for glob in self.by)


def person(who: str) -> str:
    """Whom an identity counts as, so that one person is not two.

    Whoever assumes a role names the session as they like, so all sessions of a role are one person. In a role of
    IAM Identity Center the session is the user's name there, and IAM Identity Center writes it: that is one person
    under each permission set and in each account. What a federated user is called, too, is for the caller to say: all
    of an account are one.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html#ck_rolesessionname
    """
    kind, _, name = who.partition("/")
    if _ASSUMED.match(kind):
        role, _, session = name.partition("/")
        return f"{CENTER}{session}" if role.startswith(SSO) else f"{kind}/{role}"
    return kind if _FEDERATED.match(kind) else who


def proved(who: str) -> str:
    """The identity with what its bearer chose left open."""
    whole = person(who)
    return who if whole == who or whole.startswith(CENTER) else f"{whole}/{_OPEN}"


def standing(decision: Mapping[str, Any], policy_digest: str) -> list[dict[str, str]]:
    """The approvals in a case's decision that were said to this very policy; one that was changed since asks anew.

    Of one person's the first counts. Each is `{"by", "at", "because", "policy_digest"}`.
    """
    known: dict[str, dict[str, str]] = {}
    for one in decision.get("approvals", ()):
        if one["policy_digest"] == policy_digest:
            known.setdefault(person(one["by"]), one)
    return list(known.values())


def asks(decision: Mapping[str, Any]) -> bool:
    """Whether the decision waits for somebody's yes."""
    return decision.get("action") == "approve" and "ask_until" in decision
