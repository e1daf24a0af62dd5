"""The inventory: what EC2 and Systems Manager say of nodes, read in the nodes' own account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from chalicelib.adapters.accounts import Accounts
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node, node_id
from chalicelib.ports import Page

_MOST_NODES = 50
_CONTROLS = {"Patch": Control.PATCH, "Association": Control.ASSOCIATION}
_COMPLIANT = {"COMPLIANT": True, "NON_COMPLIANT": False}
_GROUP_TAG = "aws:autoscaling:groupName"

_NOT_INSTALLED = {
    "Missing": "MISSING",
    "Failed": "FAILED",
    "InstalledPendingReboot": "INSTALLED_PENDING_REBOOT",
    "InstalledRejected": "INSTALLED_REJECTED",
}
"""The states that keep a node from being compliant: as filters and many answers spell them, and as the model does.

https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-compliance-states.html
"""
_STATES = {word.upper(): state for word, state in _NOT_INSTALLED.items()}
_ANY_STATE = {
    state.replace("_", ""): state
    for state in (*_NOT_INSTALLED.values(), "INSTALLED", "INSTALLED_OTHER", "NOT_APPLICABLE",
                  "AVAILABLE_SECURITY_UPDATE")
}  # fmt: skip
_MOST_VALUES = 20
"""What one filter of DescribeInstancePatches takes.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PatchOrchestratorFilter.html
"""


class AwsInventory:
    """The port `Inventory` over EC2 and Systems Manager."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        found: dict[str, NodeState] = {}
        for some in _in_parts(ids):
            managed, instances = self._managed(location, some), self._instances(location, some)
            for each in some:
                state = self._state(location, each, managed.get(each), instances.get(each))
                found |= {each: state} if state else {}
        return found

    def _managed(self, location: Location, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html"""
        filters = [{"Key": "InstanceIds", "Values": ids}]
        pages = self._accounts.pages(location, "ssm", "describe_instance_information", Filters=filters, MaxResults=50)
        return {info["InstanceId"]: info for page in pages for info in page["InstanceInformationList"]}

    def _instances(self, location: Location, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """What EC2 knows; asked by filter, because one unknown id among `InstanceIds` would refuse them all.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
        """
        ours = [each for each in ids if each.startswith("i-")]
        if not ours:
            return {}
        filters = [{"Name": "instance-id", "Values": ours}]
        pages = self._accounts.pages(location, "ec2", "describe_instances", Filters=filters)
        return {
            instance["InstanceId"]: instance
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html"""
        name = "availability-zone" if by == "availability-zone" else f"tag:{tag or _GROUP_TAG}"
        filters = [
            {"Name": name, "Values": [_literally(value)]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        pages = self._accounts.pages(location, "ec2", "describe_instances", Filters=filters, MaxResults=1000)
        return sum(len(reservation["Instances"]) for page in pages for reservation in page["Reservations"])

    def _state(
        self, location: Location, id: str, managed: Mapping[str, Any] | None, instance: Mapping[str, Any] | None
    ) -> NodeState | None:
        if managed is None and id.startswith("mi-"):
            return None
        if id.startswith("mi-"):
            state = NodeState(id, "hybrid", "running", tags=self._hybrid_tags(location, id))
        elif instance is None:
            # EC2 is asked by id and knows no such instance any more: it forgets a terminated one within the hour.
            state = NodeState(id, "ec2", "terminated")
        else:
            state = _of_instance(id, instance)
        return _with_agent(state, managed) if managed else state

    def _hybrid_tags(self, location: Location, id: str) -> dict[str, str] | None:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListTagsForResource.html"""
        asked = {"ResourceType": "ManagedInstance", "ResourceId": id}
        try:
            return _tags(self._accounts.call(location, "ssm", "list_tags_for_resource", **asked)["TagList"])
        except Denied:
            return None

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstancePatchStates.html"""
        return {
            state["InstanceId"]: _patch_state(state)
            for some in _in_parts(ids)
            for page in self._accounts.pages(location, "ssm", "describe_instance_patch_states", InstanceIds=some)
            for state in page["InstancePatchStates"]
        }

    def patches(self, node: Node, state: PatchState) -> PatchState:
        """The single patches, or None for them where the list does not bear out the counts: an empty list is a claim.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstancePatches.html
        """
        asked = {"InstanceId": node.id, "Filters": [{"Key": "State", "Values": [*_NOT_INSTALLED]}], "MaxResults": 100}
        pages = self._accounts.pages(node.location, "ssm", "describe_instance_patches", **asked)
        patches = tuple(patch for page in pages for found in page["Patches"] if (patch := _patch(found)))
        return replace(state, patches=patches if len(patches) >= state.noncompliant else None)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        """Asked by id, so that a node with a thousand packages answers in one page.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstancePatches.html
        """
        found: list[Patch] = []
        for start in range(0, len(ids), _MOST_VALUES):
            filters = [{"Key": "KBId", "Values": list(ids[start : start + _MOST_VALUES])}]
            asked = {"InstanceId": node.id, "Filters": filters, "MaxResults": 100}
            pages = self._accounts.pages(node.location, "ssm", "describe_instance_patches", **asked)
            found += [_told(patch, _spelled(patch["State"])) for page in pages for patch in page["Patches"]]
        return found

    def associations(self, node: Node) -> AssociationState | None:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListComplianceItems.html"""
        asked = {
            "ResourceIds": [node.id], "ResourceTypes": ["ManagedInstance"], "MaxResults": 50,
            "Filters": [{"Key": "ComplianceType", "Values": ["Association"], "Type": "EQUAL"}],
        }  # fmt: skip
        pages = self._accounts.pages(node.location, "ssm", "list_compliance_items", **asked)
        items = [item for page in pages for item in page["ComplianceItems"]]
        ran = [item.get("ExecutionSummary", {}).get("ExecutionTime") for item in items]
        words = [item.get("Status") for item in items]
        if not items or None in ran or not {*words} <= {"COMPLIANT", "NON_COMPLIANT"}:
            return None
        return AssociationState(words.count("NON_COMPLIANT"), max(map(_utc, ran)))

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_ListResourceComplianceSummaries.html"""
        asked = {"MaxResults": 50, **({"NextToken": after} if after else {})}
        page = self._accounts.call(location, "ssm", "list_resource_compliance_summaries", **asked)
        if after and page.get("NextToken") == after:
            raise Temporary(f"{location} ssm:list_resource_compliance_summaries: the same page came twice")
        found = (_finding(location, item) for item in page["ResourceComplianceSummaryItems"])
        return Page(tuple(finding for finding in found if finding), page.get("NextToken") or None)

    def roll(self, location: Location) -> Iterator[NodeState]:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeInstanceInformation.html"""
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        instances = {
            instance["InstanceId"]: instance
            for page in self._accounts.pages(location, "ec2", "describe_instances", Filters=running, MaxResults=1000)
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }
        for page in self._accounts.pages(location, "ssm", "describe_instance_information", MaxResults=50):
            for managed in page["InstanceInformationList"]:
                id = managed["InstanceId"]
                known = instances.pop(id, None)
                if id.startswith("i-") and known is None:
                    continue  # it does not run
                state = _of_instance(id, known) if known else NodeState(id, "hybrid", "running")
                yield _with_signs(_with_agent(state, managed), known or {}, managed)
        for id, instance in instances.items():
            yield _with_signs(_of_instance(id, instance), instance, {})


def _literally(value: str) -> str:
    """The value as a filter takes it: EC2 reads * and ? as wildcards.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    return value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


def _in_parts(ids: Sequence[str]) -> Iterator[list[str]]:
    each = list(dict.fromkeys(ids))
    for start in range(0, len(each), _MOST_NODES):
        yield each[start : start + _MOST_NODES]


def _tags(listed: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in listed}


def _of_instance(id: str, instance: Mapping[str, Any]) -> NodeState:
    tags = _tags(instance.get("Tags", []))
    zone = instance.get("Placement", {}).get("AvailabilityZone")
    return NodeState(id, "ec2", instance["State"]["Name"], tags=tags, group=tags.get(_GROUP_TAG), zone=zone)


def _with_agent(state: NodeState, managed: Mapping[str, Any]) -> NodeState:
    return replace(
        state,
        ping=managed.get("PingStatus"),
        platform=managed.get("PlatformType"),
        platform_name=managed.get("PlatformName"),
        platform_version=managed.get("PlatformVersion"),
        agent_version=managed.get("AgentVersion"),
    )


def _with_signs(state: NodeState, instance: Mapping[str, Any], managed: Mapping[str, Any]) -> NodeState:
    pinged, began = managed.get("LastPingDateTime"), instance.get("LaunchTime", managed.get("RegistrationDate"))
    return replace(state, last_seen=_utc(pinged) if pinged else None, launched=_utc(began) if began else None)


def _patch_state(state: Mapping[str, Any]) -> PatchState:
    return PatchState(
        id=state["InstanceId"],
        baseline=state["BaselineId"],
        operation=state["Operation"],
        ended_at=_utc(state["OperationEndTime"]),
        snapshot=state.get("SnapshotId"),
        missing=state.get("MissingCount", 0),
        failed=state.get("FailedCount", 0),
        rejected=state.get("InstalledRejectedCount", 0),
        pending_reboot=state.get("InstalledPendingRebootCount", 0),
        critical=state.get("CriticalNonCompliantCount", 0),
        security=state.get("SecurityNonCompliantCount", 0),
        other=state.get("OtherNonCompliantCount", 0),
        group=state.get("PatchGroup") or None,
    )


def _patch(found: Mapping[str, Any]) -> Patch | None:
    state = _STATES.get(found["State"].upper().replace("_", ""))
    return _told(found, state) if state else None


def _told(found: Mapping[str, Any], state: str) -> Patch:
    return Patch(
        found["KBId"],
        found["Title"],
        found["Classification"],
        found["Severity"],
        state,
        found.get("CVEIds") or "",
    )


def _spelled(state: str) -> str:
    """As the model spells it: `InstalledOther` and `INSTALLED_OTHER` are one state.

    https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PatchComplianceData.html
    """
    return _ANY_STATE.get(state.upper().replace("_", ""), state)


def _finding(location: Location, item: Mapping[str, Any]) -> Finding | None:
    """The finding in one compliance summary; None for other types, other resources, and where no moment is told."""
    id, control = node_id(item.get("ResourceId")), _CONTROLS.get(item.get("ComplianceType", ""))
    compliant, at = _COMPLIANT.get(item.get("Status", "")), item.get("ExecutionSummary", {}).get("ExecutionTime")
    if id is None or control is None or compliant is None or at is None:
        return None
    node = Node(location.account, location.region, id)
    detail = {"severity": item.get("OverallSeverity", "UNSPECIFIED").lower()}
    return Finding(node, control, compliant, _utc(at), Source.SWEEP, detail=detail)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
