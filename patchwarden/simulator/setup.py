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
SETTINGS: Mapping[str, str] = {"/ssm/automation/enable-adaptive-concurrency": "True"}


@dataclass(slots=True)
class Setup:
    """Every place is set up well until a test says otherwise; a recorder of None is one that was never made.

    `external_id` is what the member roles ask for (None: they ask for nothing); `refused` are pairs of account and
    action, such as ("111122223333", "ssm:GetDocument"); `skew` is how far AWS's clock is ahead of the machine's.
    """

    external_id: str | None = None
    refused: set[tuple[str, str]] = field(default_factory=set)
    recorders: dict[Location, Mapping[str, Any] | None] = field(default_factory=dict)
    stopped: set[Location] = field(default_factory=set)
    without_rule: set[Location] = field(default_factory=set)
    settings: dict[tuple[Location, str], str] = field(default_factory=dict)
    documents: dict[tuple[Location, str], str | None] = field(default_factory=dict)
    agents: dict[str, str] = field(default_factory=dict)
    baselines: dict[tuple[Location, str], str] = field(default_factory=dict)
    skew: timedelta = timedelta()

    def recorder(self, location: Location) -> Mapping[str, Any] | None:
        return self.recorders.get(location, RECORDER)

    def setting(self, location: Location, name: str) -> str | None:
        return self.settings.get((location, name), SETTINGS.get(name))
