"""Exemptions: which policies let nodes stay non-compliant, until when, and when somebody is reminded of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.core.moments import format_moment
from chalicelib.core.policies import Mode, Policy, PolicySet
from chalicelib.core.then import Action

AHEAD = (7, 30)
"""How many days before its end an exemption is spoken of, the last time first."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """That an exemption ends within so many days. `name` is the same whenever the same one is due."""

    policy: Policy
    ends: datetime
    days: int

    @property
    def name(self) -> str:
        """Another end is another exemption, of which somebody is reminded anew."""
        return f"reminder/{self.policy.id}/{format_moment(self.ends)}/{self.days}"

    @property
    def because(self) -> str:
        return f"{self.policy.id} exempts until {format_moment(self.ends)}: in {self.days} days or less"


def exemptions(policies: PolicySet, now: datetime) -> list[Policy]:
    """The exemptions that count now, the first to end first; one without an end last."""
    counting = [one for one in policies.policies if one.then.action is Action.EXEMPT and one.mode is Mode.ENFORCE]
    return sorted((one for one in counting if not one.ended(now)), key=lambda one: (one.ends is None, one.ends, one.id))


def reminders(policies: PolicySet, now: datetime) -> Iterator[Reminder]:
    """What somebody should be told now: for each exemption that ends soon, the last of its reminders that is due."""
    for policy in exemptions(policies, now):
        days = next((days for days in AHEAD if policy.ends and policy.ends - now <= timedelta(days=days)), None)
        if policy.ends and days:
            yield Reminder(policy, policy.ends, days)
