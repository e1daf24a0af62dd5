"""Setup: how the accounts are set up, beside their nodes: recorders, settings, agents, trust and clocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chalicelib.core.nodes import Location

RECORDER: Mapping[str, Any] = {
    "name": "default",
    "roleARN": "arn:aws:iam::111122223333:role/aws-service-role/config.amazonaws.com/AWSServiceRoleForConfig",
    "recordingGroup": {"allSupported": True, "includeGlobalResourceTypes": False},
    "recordingMode": {"recordingFrequency": "CONTINUOUS"},
}
QUOTAS: Mapping[str, float] = {
    "Concurrently executing automations": 100.0,
    "Automation executions that can be queued": 5000.0,
    "Concurrently executing rate control automations": 25.0,
    "Rate of StartAutomationExecution requests": 1.0,
    "Managed nodes per account and Region": 2400.0,
    "Patch baselines": 50.0,
    "Patch groups per patch baseline": 25.0,
}
"""AWS's numbers, under names like those of Service Quotas, which nobody has read from an account for us.

https://docs.aws.amazon.com/general/latest/gr/ssm.html
"""

SETTINGS: Mapping[str, str] = {"/ssm/automation/enable-adaptive-concurrency": "True"}


@dataclass(slots=True)
class Setup:
    """Every place is set up well until a test says otherwise; a recorder of None is one that was never made.

    `roles` are trust policies by account and name (None: no such role); `quotas` are those that are applied in a place;
    `children` are the units that lie directly in a unit; `suspended` are accounts. `refused` may also name a role in
    place of an account.
    `external_id` is what the member roles ask for (None: they ask for nothing); `refused` are pairs of account and
    action, such as ("111122223333", "ssm:GetDocument"); `newest` are documents whose newest version, the second, is not
    the default; `skew` is how far AWS's clock is ahead of the machine's.
    """

    external_id: str | None = None
    refused: set[tuple[str, str]] = field(default_factory=set)
    recorders: dict[Location, Mapping[str, Any] | None] = field(default_factory=dict)
    stopped: set[Location] = field(default_factory=set)
    without_rule: set[Location] = field(default_factory=set)
    settings: dict[tuple[Location, str], str] = field(default_factory=dict)
    documents: dict[tuple[Location, str], str | None] = field(default_factory=dict)
    newest: dict[tuple[Location, str], str] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    baselines: dict[tuple[Location, str], str] = field(default_factory=dict)
    roles: dict[tuple[str, str], Mapping[str, Any] | None] = field(default_factory=dict)
    quotas: dict[tuple[Location, str], float] = field(default_factory=dict)
    children: dict[str, tuple[str, ...]] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    skew: timedelta = timedelta()

    def trust(self, account: str, role: str, hub: str) -> Mapping[str, Any] | None:
        """The one statement of a role's trust policy; None: there is no such role."""
        if (account, role) in self.roles:
            return self.roles[account, role]
        if role.startswith("AWS-SystemsManager-AutomationExecutionRole"):
            return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{hub}:root"}, "Action": "sts:AssumeRole"}
        asks = {"Condition": {"StringEquals": {"sts:ExternalId": self.external_id}}} if self.external_id else {}
        if role == "patchwarden-member":
            return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{hub}:root"}, "Action": "sts:AssumeRole",
                    **asks}  # fmt: skip
        return {"Effect": "Allow", "Principal": {"Service": "ssm.amazonaws.com"}, "Action": "sts:AssumeRole"}

    def recorder(self, location: Location) -> Mapping[str, Any] | None:
        return self.recorders.get(location, RECORDER)

    def setting(self, location: Location, name: str) -> str | None:
        return self.settings.get((location, name), SETTINGS.get(name))
