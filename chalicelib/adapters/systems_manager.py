"""Systems Manager: starts, finds, reads and stops automation executions in the nodes' own account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.adapters.accounts import Accounts, Refusal, partition
from chalicelib.core.nodes import Location
from chalicelib.core.plans import PATCH_NODES, PATCH_STOPPED_NODE, Batch
from chalicelib.ports import Execution, Invocation

ROLE = "patchwarden-automation"
"""What the role of the runbooks is called in every account."""

TAG = "patchwarden:batch"
"""The tag that an execution carries from its start, with the batch's id."""

ENDED = {
    "Success": True, "Failed": True, "TimedOut": True, "Cancelled": True, "Rejected": True, "Exited": True,
    "CompletedWithSuccess": True, "CompletedWithFailure": True, "ChangeCalendarOverrideRejected": True,
    "Pending": False, "InProgress": False, "Waiting": False, "Cancelling": False, "PendingApproval": False,
    "Approved": False, "Scheduled": False, "RunbookInProgress": False, "PendingChangeCalendarOverride": False,
    "ChangeCalendarOverrideApproved": False,
}  # fmt: skip
"""Whether an execution in this status is over; a status that is not here is neither.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AutomationExecution.html
"""

_REMEDIES = {
    "AutomationDefinitionNotFound": "deploy the runbook there",
    "AutomationDefinitionVersionNotFound": "publish that version of the runbook there, or change the policy",
    "InvalidAutomationExecutionParameters": "the runbook there is not the one this batch was made for: deploy it",
    "IdempotentParameterMismatch": (
        "ALARM: the batch's token has started something else; stop that execution before this batch goes on"
    ),
}
_SKEW = timedelta(minutes=30)
"""How far the clock that dated a batch may run before Systems Manager's."""

_MOST_SAID = 200

_PATCHES = ("AWS-RunPatchBaseline", "AWS-ApplyPatchBaseline", "AWS-InstallWindowsUpdates",
            "AWS-InstallMissingWindowsUpdates")  # fmt: skip
"""How the command documents begin that hold a node's package manager, to scan or to install.

https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-ssm-documents.html
"""

_UNHURT = frozenset({"Success", "Pending", "InProgress"})


def assuming(document: str, location: Location, role: str = ROLE) -> dict[str, list[str]]:
    """The parameter that our own runbooks ask for; another document gets what its policy gives it."""
    if document not in (PATCH_NODES, PATCH_STOPPED_NODE):
        return {}
    return {"AutomationAssumeRole": [f"arn:{partition(location.region)}:iam::{location.account}:role/{role}"]}


class SystemsManager:
    """The port `Automations` over Systems Manager.

    Each execution assumes `role` in its own account: the scripts of a runbook do not run without one.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-document-script.html
    """

    def __init__(self, accounts: Accounts, role: str = ROLE) -> None:
        self._accounts = accounts
        self._role = role

    def start(self, batch: Batch) -> str:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartAutomationExecution.html"""
        asked = {
            "DocumentName": batch.document,
            "Parameters": {**batch.parameters, **assuming(batch.document, batch.location, self._role)},
            "ClientToken": batch.token,
            "Tags": [{"Key": TAG, "Value": batch.id}],
        }
        if batch.version:
            asked["DocumentVersion"] = batch.version
        try:
            answer = self._accounts.call(batch.location, "ssm", "start_automation_execution", **asked)
        except Refusal as refusal:
            raise _with_remedy(refusal) from refusal
        return str(answer["AutomationExecutionId"])

    def find(self, batch: Batch) -> str | None:
        """Systems Manager filters by the tag's key only, so each candidate is asked for its batch.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeAutomationExecutions.html
        """
        for candidate in self._candidates(batch):
            execution = self.execution(batch.location, candidate)
            if execution and execution.batch == batch.id:
                return execution.id
        return None

    def _candidates(self, batch: Batch) -> Iterator[str]:
        filters = [{"Key": "TagKey", "Values": [TAG]}]
        asked = {"Filters": filters, "MaxResults": 50}
        earliest = batch.created_at - _SKEW
        for page in self._accounts.pages(batch.location, "ssm", "describe_automation_executions", **asked):
            for told in page["AutomationExecutionMetadataList"]:
                started = told.get("ExecutionStartTime")
                if told.get("DocumentName") == batch.document and (started is None or started >= earliest):
                    yield told["AutomationExecutionId"]

    def execution(self, location: Location, execution: str) -> Execution | None:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetAutomationExecution.html"""
        try:
            asked = {"AutomationExecutionId": execution}
            told = self._accounts.call(location, "ssm", "get_automation_execution", **asked)["AutomationExecution"]
        except Refusal as refusal:
            if refusal.code == "AutomationExecutionNotFound":
                return None
            raise
        steps = list(self._steps(location, told)) if told.get("StepExecutionsTruncated") else told["StepExecutions"]
        return _execution(told, steps)

    def _steps(self, location: Location, told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        asked = {"AutomationExecutionId": told["AutomationExecutionId"], "MaxResults": 50}
        for page in self._accounts.pages(location, "ssm", "describe_automation_step_executions", **asked):
            yield from page["StepExecutions"]

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListCommandInvocations.html"""
        asked = {"CommandId": command, "Details": True, "MaxResults": 50}
        return {
            told["InstanceId"]: Invocation(told["InstanceId"], told["StatusDetails"], _why(told))
            for page in self._accounts.pages(location, "ssm", "list_command_invocations", **asked)
            for told in page["CommandInvocations"]
        }

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        """What waits is asked for first: one that begins in between is seen twice, not missed.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CommandFilter.html
        """
        return {
            told["InstanceId"]: told["CommandId"]
            for status in ("Pending", "Delayed", "InProgress")
            for page in self._accounts.pages(
                location, "ssm", "list_command_invocations",
                Filters=[{"key": "Status", "value": status}], MaxResults=50,
            )
            for told in page["CommandInvocations"]
            if told["InstanceId"] in ids and told["DocumentName"].startswith(_PATCHES)
        }  # fmt: skip

    def stop(self, location: Location, execution: str) -> None:
        """An execution that has ended, or that is not known any more, needs no stopping.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StopAutomationExecution.html
        """
        asked = {"AutomationExecutionId": execution, "Type": "Cancel"}
        try:
            self._accounts.call(location, "ssm", "stop_automation_execution", **asked)
        except Refusal as refusal:
            if refusal.code not in {"AutomationExecutionNotFound", "InvalidAutomationStatusUpdate"}:
                raise

    def cancel(self, location: Location, command: str) -> None:
        """Systems Manager does not promise that it stops what a node has begun.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CancelCommand.html
        """
        try:
            self._accounts.call(location, "ssm", "cancel_command", CommandId=command)
        except Refusal as refusal:
            if refusal.code not in {"InvalidCommandId", "DuplicateInstanceId"}:
                raise


def _with_remedy(refusal: Refusal) -> Refusal:
    remedy = _REMEDIES.get(refusal.code)
    return type(refusal)(f"{refusal}; {remedy}", refusal.code, refusal.answer) if remedy else refusal


def _execution(told: Mapping[str, Any], steps: list[dict[str, Any]]) -> Execution:
    ended_at: datetime | None = told.get("ExecutionEndTime")
    commands = {step["StepName"]: step.get("Outputs", {}).get("CommandId") for step in steps}
    return Execution(
        id=told["AutomationExecutionId"],
        status=told["AutomationExecutionStatus"],
        ended=ENDED.get(told["AutomationExecutionStatus"]),
        batch=next(iter(told.get("Parameters", {}).get("BatchId", [])), None),
        ended_at=ended_at.astimezone(UTC) if ended_at else None,
        commands={name: ids[0] for name, ids in commands.items() if ids},
        failure=told.get("FailureMessage"),
        document=told.get("DocumentName"),
    )


def _why(told: Mapping[str, Any]) -> str:
    """Which part of the command did not succeed on the node, its exit code and last words; empty while none failed."""
    for plugin in told.get("CommandPlugins", []):
        if plugin.get("Status") not in _UNHURT:
            said = next((line.strip() for line in reversed(plugin.get("Output", "").splitlines()) if line.strip()), "")
            what = f"{plugin.get('Name')} {plugin.get('StatusDetails')}, exit code {plugin.get('ResponseCode')}"
            return f"{what}: {said[:_MOST_SAID]}" if said else what
    return ""
