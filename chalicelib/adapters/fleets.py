"""Fleets: executions over many accounts and Regions, started in the hub and followed where their parts run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from chalicelib.adapters.accounts import Accounts, Refusal, partition
from chalicelib.core.events import ENDED
from chalicelib.core.nodes import Location, valid_place
from chalicelib.core.occurrences import PATCH_FLEET, NodeRun, Place, Run
from chalicelib.ports import Branch, FleetRun

EXECUTION_ROLE = "AWS-SystemsManager-AutomationExecutionRole"
ADMINISTRATION_ROLE = "AWS-SystemsManager-AutomationAdministrationRole"
"""What AWS calls the roles of the members and of the hub.

https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-multiple-accounts-regions.html
"""

TAG = "patchwarden:occurrence"
"""The tag that an execution carries from its start, with the run's id."""

TARGET_PARAMETER = "InstanceId"

_SKEW = timedelta(minutes=30)
"""How far the clock that dated a run may run before Systems Manager's."""

_REMEDIES = {
    "AutomationDefinitionNotFound": "deploy the runbook Patchwarden-PatchFleet in the hub and in every member",
    "InvalidAutomationExecutionParameters": "the runbook there is not of this release: deploy it",
    "IdempotentParameterMismatch": "ALARM: the run's token has started something else; stop that execution",
}
_OK = frozenset({"Success", "CompletedWithSuccess"})


class AwsFleets:
    """The port `Fleets` over Systems Manager. `role` acts in each location, `administration` in the hub.

    What is asked of the hub goes through `hub`, which has this process's own credentials; the rest through `accounts`.
    """

    def __init__(
        self, accounts: Accounts, hub: Accounts, role: str = EXECUTION_ROLE, administration: str = ADMINISTRATION_ROLE
    ) -> None:
        self._accounts = accounts
        self._hub = hub
        self._role = role
        self._administration = administration

    def home(self) -> Location:
        return self._hub.home()

    def start(self, run: Run) -> str:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_StartAutomationExecution.html"""
        try:
            answer = self._hub.call(run.hub, "ssm", "start_automation_execution", **self._asked(run))
        except Refusal as refusal:
            remedy = _REMEDIES.get(refusal.code)
            raise Refusal(f"{refusal}; {remedy}", refusal.code, refusal.answer) if remedy else refusal from refusal
        return str(answer["AutomationExecutionId"])

    def _asked(self, run: Run) -> dict[str, Any]:
        """Every pace is said: SSM's own are one location at a time, and none that may fail."""
        order, hub = run.order, run.hub
        acting = self._administration if order.places else self._role
        role = f"arn:{partition(hub.region)}:iam::{hub.account}:role/{acting}"
        key, values = order.target
        asked = {
            "DocumentName": PATCH_FLEET,
            "Parameters": {**order.parameters, "AutomationAssumeRole": [role]},
            "ClientToken": run.token,
            "Tags": [{"Key": TAG, "Value": run.id}],
            "TargetParameterName": TARGET_PARAMETER,
            "Targets": [{"Key": key, "Values": list(values)}],
            "MaxConcurrency": order.concurrency,
            "MaxErrors": order.max_errors,
        }
        if order.places:
            asked["TargetLocations"] = [self._place(place) for place in order.places]
        return asked

    def _place(self, place: Place) -> dict[str, Any]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_TargetLocation.html"""
        asked: dict[str, Any] = {
            "Accounts": [*place.accounts, *place.units],
            "Regions": list(place.regions),
            "ExecutionRoleName": self._role,
            "TargetLocationMaxConcurrency": place.concurrency,
            "TargetLocationMaxErrors": place.max_errors,
        }
        if place.units:
            asked["IncludeChildOrganizationUnits"] = True
        if place.exclude:
            asked["ExcludeAccounts"] = list(place.exclude)
        return asked

    def find(self, run: Run) -> str | None:
        """Systems Manager filters by the tag's key only, so each candidate is asked for its run.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeAutomationExecutions.html
        """
        asked = {"Filters": [{"Key": "TagKey", "Values": [TAG]}], "MaxResults": 50}
        for page in self._hub.pages(run.hub, "ssm", "describe_automation_executions", **asked):
            for told in page["AutomationExecutionMetadataList"]:
                started = told.get("ExecutionStartTime")
                if started is not None and started < run.intended_at - _SKEW:
                    continue
                found = self._told(run.hub, told["AutomationExecutionId"])
                if found and found.get("Parameters", {}).get("OccurrenceId") == [run.id]:
                    return str(found["AutomationExecutionId"])
        return None

    def execution(self, hub: Location, execution: str) -> FleetRun | None:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetAutomationExecution.html"""
        told = self._told(hub, execution)
        if told is None:
            return None
        status = told["AutomationExecutionStatus"]
        ended = ENDED.get(status)
        alone = Branch(hub, execution, status, ended, told.get("FailureMessage"))
        branches = tuple(map(_branch, self._steps(hub, told))) if told.get("TargetLocations") else (alone,)
        return FleetRun(execution, status, ended, branches, told.get("FailureMessage"))

    def _told(self, location: Location, execution: str) -> dict[str, Any] | None:
        try:
            asked = {"AutomationExecutionId": execution}
            answer = self._hub.call(location, "ssm", "get_automation_execution", **asked)
        except Refusal as refusal:
            if refusal.code == "AutomationExecutionNotFound":
                return None
            raise
        told: dict[str, Any] = answer["AutomationExecution"]
        return told

    def _steps(self, hub: Location, told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        if not told.get("StepExecutionsTruncated"):
            yield from told["StepExecutions"]
            return
        asked = {"AutomationExecutionId": told["AutomationExecutionId"], "MaxResults": 50}
        for page in self._hub.pages(hub, "ssm", "describe_automation_step_executions", **asked):
            yield from page["StepExecutions"]

    def nodes(self, location: Location, execution: str) -> list[NodeRun]:
        """Each node has a child execution of its own, in the account and Region of its location."""
        asked = {"Filters": [{"Key": "ParentExecutionId", "Values": [execution]}], "MaxResults": 50}
        return [
            _node(told)
            for page in self._accounts.pages(location, "ssm", "describe_automation_executions", **asked)
            for told in page["AutomationExecutionMetadataList"]
        ]

    def managed(self, location: Location) -> list[str]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html"""
        pages = self._accounts.pages(location, "ssm", "describe_instance_information", MaxResults=50)
        return [info["InstanceId"] for page in pages for info in page["InstanceInformationList"]]

    def unit(self, unit: str) -> frozenset[str]:
        """Organizations lists what lies directly in a unit, so the units below it are asked one by one.

        Only its management account and delegated administrators may ask.
        https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccountsForParent.html
        """
        home, asked = self._hub.home(), {"ParentId": unit}
        accounts = {
            told["Id"]
            for page in self._hub.pages(home, "organizations", "list_accounts_for_parent", **asked)
            for told in page["Accounts"]
            if (told.get("State") or told.get("Status")) == "ACTIVE"
        }
        below = [
            told["Id"]
            for page in self._hub.pages(home, "organizations", "list_organizational_units_for_parent", **asked)
            for told in page["OrganizationalUnits"]
        ]
        return frozenset(accounts).union(*map(self.unit, below))

    def group(self, location: Location, name: str) -> frozenset[str] | None:
        """https://docs.aws.amazon.com/ARG/latest/APIReference/API_ListGroupResources.html"""
        try:
            pages = list(self._accounts.pages(location, "resource-groups", "list_group_resources", Group=name))
        except Refusal as refusal:
            if refusal.code == "NotFound":
                return None
            raise
        arns = [told["Identifier"]["ResourceArn"] for page in pages for told in page.get("Resources", ())]
        return frozenset(arn.rpartition("/")[2] for arn in arns)


def _branch(step: Mapping[str, Any]) -> Branch:
    """A step of the hub's execution: its target location, and the execution that it started there."""
    where = step.get("TargetLocation", {})
    account, region = next(iter(where.get("Accounts", [])), ""), next(iter(where.get("Regions", [])), "")
    place = Location(account, region) if valid_place(account, region) else Location("unknown", str(step["StepName"]))
    outputs = step.get("Outputs", {})
    ids = outputs.get("ExecutionId") or outputs.get("AutomationExecutionId") or [None]
    status = step["StepStatus"]
    return Branch(place, ids[0], status, ENDED.get(status), step.get("FailureMessage"))


def _node(told: Mapping[str, Any]) -> NodeRun:
    """What is still under way, or ended in a way that we do not know, has not gone well."""
    outputs, status = told.get("Outputs", {}), told["AutomationExecutionStatus"]
    verdict, why = (next(iter(outputs.get(f"DecideNode.{name}", [])), "") for name in ("Verdict", "Why"))
    node, execution = str(told.get("Target", "")), str(told["AutomationExecutionId"])
    if status in _OK and verdict == "Skip":
        return NodeRun(node, "skipped", execution, why)
    if status in _OK:
        return NodeRun(node, "ok", execution)
    why = _said(outputs) or told.get("FailureMessage") or f"its execution is {status}"
    return NodeRun(node, "failed", execution, why)


def _said(outputs: Mapping[str, list[str]]) -> str:
    """What the node said last when its installation failed, such as the words of a hook; empty if it said nothing.

    The output of a step that did not succeed is a sentence of Systems Manager's own.
    """
    text = next(iter(outputs.get("TellFailure.Text", [])), "")
    return "" if text.startswith("No output available yet") else text
