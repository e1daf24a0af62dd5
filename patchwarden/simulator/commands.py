"""Commands: what SendCommand asked for, node by node, and how ListCommands and ListCommandInvocations tell of it.

https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaseline.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.refusals import NotServed, Refusal

DOCUMENT = "AWS-RunPatchBaseline"
WITH_HOOKS = "AWS-RunPatchBaselineWithHooks"
NOOP = "AWS-Noop"
HOOKS = {"pre": "PreInstallHookDocName", "post": "PostInstallHookDocName", "exit": "OnExitHookDocName"}
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-aws-runpatchbaselinewithhooks.html"""

DELIVERY_TIMEOUT = 3600
EXECUTION_TIMEOUT = 7200

DELIVERY_TIMED_OUT = "Delivery Timed Out"
EXECUTION_TIMED_OUT = "Execution Timed Out"
"""Spelled as the API reference does.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CommandInvocation.html
"""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_PARAMETERS = {
    "Operation": re.compile(r"Scan|Install"),
    "SnapshotId": re.compile(rf"|{_UUID.pattern}"),
    "RebootOption": re.compile(r"RebootIfNeeded|NoReboot"),
    "InstallOverrideList": re.compile(r"|https://.+|s3://([^/]+)/(.*?([^/]+))"),
    "BaselineOverride": re.compile(r""),
}
_HOOKED = {
    **{name: _PARAMETERS[name] for name in ("Operation", "SnapshotId", "RebootOption")},
    **dict.fromkeys(HOOKS.values(), re.compile(r"[a-zA-Z0-9_.:/-]{3,128}")),
}
_OVER = frozenset({"Success", "Failed", "TimedOut", "Cancelled"})


@dataclass(slots=True, eq=False)
class Invocation:
    """The command on one node. `details` is the finer status; `sent` that it has its place among those at once."""

    node: str
    plugin: str
    status: str = "Pending"
    details: str = "Pending"
    sent: bool = False
    code: int = -1
    output: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def over(self) -> bool:
        return self.status in _OVER


@dataclass(slots=True, eq=False)
class Command:
    """One SendCommand and what came of it; `concurrency` and `errors` are SSM's text, such as `10` or `10%`."""

    id: str
    location: Location
    parameters: dict[str, list[str]]
    nodes: tuple[str, ...]
    requested_at: datetime
    comment: str
    delivery_timeout: int
    concurrency: str
    errors: str
    document: str = DOCUMENT
    output: Mapping[str, str] = field(default_factory=dict)
    invocations: dict[str, Invocation] = field(default_factory=dict)
    watchers: list[Callable[[], None]] = field(default_factory=list)
    status: str = "Pending"
    details: str = "Pending"

    @property
    def operation(self) -> str:
        return self.parameters["Operation"][0]

    @property
    def reboot_option(self) -> str:
        return self.parameters.get("RebootOption", ["RebootIfNeeded"])[0]

    @property
    def snapshot(self) -> str | None:
        return self.parameters.get("SnapshotId", [""])[0] or None

    @property
    def override(self) -> str | None:
        return self.parameters.get("InstallOverrideList", [""])[0] or None

    def hook(self, moment: str) -> str:
        """The document that runs `pre`, `post` or at `exit`; AWS-Noop does nothing."""
        return self.parameters.get(HOOKS[moment], [NOOP])[0]

    @property
    def over(self) -> bool:
        return self.status in _OVER

    @property
    def failures(self) -> int:
        """How many nodes count against MaxErrors; one that the command never reached does not."""
        return sum(one.details in ("Failed", EXECUTION_TIMED_OUT) for one in self.invocations.values())

    @property
    def failed_too_often(self) -> bool:
        return self.failures > number_of(self.errors, len(self.nodes), up=False)

    @property
    def at_once(self) -> int:
        """On how many nodes it may run at the same time."""
        return number_of(self.concurrency, len(self.nodes), up=True)

    def conclude(self) -> bool:
        """Set status and details to what the invocations add up to; whether the status has changed."""
        before = self.status
        over = all(invocation.over for invocation in self.invocations.values())
        self.status, self.details = self._overall() if over else ("InProgress", "In Progress")
        return self.status != before

    def _overall(self) -> tuple[str, str]:
        """https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html"""
        details = {invocation.details for invocation in self.invocations.values()}
        if details == {"Success"}:
            return "Success", "Success"
        if details <= {"Success", "Cancelled"}:
            return "Cancelled", "Cancelled"
        if details in ({DELIVERY_TIMED_OUT}, {EXECUTION_TIMED_OUT}):
            return "TimedOut", details.pop()
        return "Failed", "Failed" if self.failed_too_often else "Incomplete"

    def to_api(self) -> dict[str, Any]:
        """As ListCommands gives it."""
        invocations = self.invocations.values()
        return {
            "CommandId": self.id,
            "DocumentName": self.document,
            "DocumentVersion": "$DEFAULT",
            "Comment": self.comment,
            "ExpiresAfter": self.requested_at + timedelta(seconds=self.delivery_timeout + EXECUTION_TIMEOUT),
            "Parameters": self.parameters,
            "InstanceIds": list(self.nodes),
            "Targets": [],
            "RequestedDateTime": self.requested_at,
            "Status": self.status,
            "StatusDetails": self.details,
            "MaxConcurrency": self.concurrency,
            "MaxErrors": self.errors,
            "TargetCount": len(self.nodes),
            "CompletedCount": sum(invocation.over for invocation in invocations),
            "ErrorCount": self.failures,
            "DeliveryTimedOutCount": sum(one.details == DELIVERY_TIMED_OUT for one in invocations),
            "TimeoutSeconds": self.delivery_timeout,
        }

    def invocation_to_api(self, invocation: Invocation, *, details: bool) -> dict[str, Any]:
        """As ListCommandInvocations gives it; with `details` the plug-ins and their output too."""
        return {
            "CommandId": self.id,
            "InstanceId": invocation.node,
            "InstanceName": "",
            "Comment": self.comment,
            "DocumentName": self.document,
            "DocumentVersion": "$DEFAULT",
            "RequestedDateTime": self.requested_at,
            "Status": invocation.status,
            "StatusDetails": invocation.details,
            "CommandPlugins": [_plugin(invocation)] if details else [],
        }


def valid_parameters(given: Mapping[str, list[str]], document: str = DOCUMENT) -> dict[str, list[str]]:
    """The parameters, if the document takes them."""
    known = _HOOKED if document == WITH_HOOKS else _PARAMETERS
    problems = [name for name, values in given.items() if name not in known or not _fits(known, name, values)]
    if "Operation" not in given or problems:
        raise Refusal("InvalidParameters", f"Parameters missing or invalid: {', '.join(problems) or 'Operation'}")
    if given.get("BaselineOverride", [""]) != [""]:
        raise NotServed("BaselineOverride")
    return {name: list(values) for name, values in given.items()}


def _plugin(invocation: Invocation) -> dict[str, Any]:
    plugin = {
        "Name": invocation.plugin,
        "Status": invocation.status,
        "StatusDetails": invocation.details,
        "ResponseCode": invocation.code,
        "ResponseStartDateTime": invocation.started_at,
        "ResponseFinishDateTime": invocation.ended_at,
        "Output": invocation.output,
    }
    return {key: value for key, value in plugin.items() if value is not None}


def number_of(text: str, of: int, *, up: bool) -> int:
    """`10` or `10%`; a share for concurrency is rounded up, a share for errors down."""
    if not text.endswith("%"):
        return int(text)
    share = of * int(text[:-1]) / 100
    return math.ceil(share) if up else math.floor(share)


def _fits(known: Mapping[str, re.Pattern[str]], name: str, values: list[str]) -> bool:
    if name == "BaselineOverride":
        return len(values) == 1
    return len(values) == 1 and known[name].fullmatch(values[0]) is not None
