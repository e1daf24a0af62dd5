"""SSM on nodes: instance information, tags, patch states, patches and compliance summaries, as Systems Manager answers.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request
from patchwarden.simulator.compliance import SEVERITIES, severity
from patchwarden.simulator.machines import FAILED, INSTALLED, INSTALLED_OTHER, MISSING, PENDING, Entry, Machine, Report
from patchwarden.simulator.paging import page
from patchwarden.simulator.patches import Patch, compliance_severity
from patchwarden.simulator.refusals import NotServed, Refusal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGENT = "3.3.1957.0"
_PING_EVERY = timedelta(minutes=5)


def describe_instance_information(aws: Aws, caller: Caller, request: Request) -> Reply:
    told = [_information(aws, machine) for machine in aws.shown(caller.location)]
    wanted = [(one["Key"], one["Values"]) for one in request.get("Filters", [])]
    wanted += [(one["key"], one["valueSet"]) for one in request.get("InstanceInformationFilterList", [])]
    for key, values in wanted:
        find = _information_filter(aws, caller, key)
        told = [one for one in told if find(one) in values]
    shown, token = page("DescribeInstanceInformation", told, request, most=10)
    return {"InstanceInformationList": list(shown), **token}


def list_tags_for_resource(aws: Aws, caller: Caller, request: Request) -> Reply:
    """EC2 nodes have their tags in EC2: only hybrid ones are Systems Manager's own."""
    kind, name = request["ResourceType"], request["ResourceId"]
    if kind not in _TAGGED:
        raise NotServed(f"ListTagsForResource of a {kind}")
    tags = _TAGGED[kind](aws, caller, name)
    if tags is None:
        raise Refusal(
            "InvalidResourceId", f"The resource ID {name} is not valid. Verify that you entered the correct ID"
        )
    return {"TagList": tags}


def describe_instance_patch_states(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Nodes that were never scanned are left out, and so are unknown ones."""
    asked = set(request["InstanceIds"])
    found = [machine for machine in aws.reported(caller.location) if machine.node.id in asked]
    shown, token = page("DescribeInstancePatchStates", found, request, most=50)
    return {"InstancePatchStates": [_patch_state(machine) for machine in shown], **token}


def describe_instance_patches(aws: Aws, caller: Caller, request: Request) -> Reply:
    machine = aws.fleet.find(caller.location, request["InstanceId"])
    if machine is None:
        raise Refusal("InvalidInstanceId", f"Instance {request['InstanceId']} is not valid for {caller.account}")
    told = [_patch(entry) for entry in machine.report.entries] if machine.report else []
    for wanted in request.get("Filters", []):
        if wanted["Key"] not in ("State", "Classification", "KBId", "Severity"):
            raise Refusal("InvalidFilter", f"The filter name {wanted['Key']} is not valid")
        values = {_bare(value) for value in wanted["Values"]}
        told = [one for one in told if _bare(one[wanted["Key"]]) in values]
    shown, token = page("DescribeInstancePatches", told, request, most=50)
    return {"Patches": list(shown), **token}


def list_resource_compliance_summaries(aws: Aws, caller: Caller, request: Request) -> Reply:
    """One item per node and compliance type."""
    told = [item for machine in aws.reported(caller.location) for item in _summaries(machine)]
    for wanted in request.get("Filters", []):
        if wanted["Key"] not in _SUMMARY_FILTERS or wanted.get("Type", "EQUAL") not in ("EQUAL", "NOT_EQUAL"):
            raise NotServed(f"ListResourceComplianceSummaries with the filter {wanted}")
        equal = wanted.get("Type", "EQUAL") == "EQUAL"
        told = [one for one in told if (one[wanted["Key"]] in wanted["Values"]) is equal]
    shown, token = page("ListResourceComplianceSummaries", told, request, most=50)
    return {"ResourceComplianceSummaryItems": list(shown), **token}


def list_compliance_items(aws: Aws, caller: Caller, request: Request) -> Reply:
    """The associations of one node; ours has one, the daily scan, which always ran as it should."""
    wanted = [(one["Key"], one["Values"], one.get("Type", "EQUAL")) for one in request.get("Filters", [])]
    if wanted != [("ComplianceType", ["Association"], "EQUAL")] or request.get("ResourceTypes") != ["ManagedInstance"]:
        raise NotServed("ListComplianceItems of anything but the associations of a managed node")
    machines = [aws.fleet.find(caller.location, id) for id in request.get("ResourceIds", [])]
    items = [_association(machine) for machine in machines if machine and machine.report]
    shown, token = page("ListComplianceItems", items, request, most=50)
    return {"ComplianceItems": list(shown), **token}


OPERATIONS: dict[str, Operation] = {
    "DescribeInstanceInformation": describe_instance_information,
    "ListTagsForResource": list_tags_for_resource,
    "DescribeInstancePatchStates": describe_instance_patch_states,
    "DescribeInstancePatches": describe_instance_patches,
    "ListComplianceItems": list_compliance_items,
    "ListResourceComplianceSummaries": list_resource_compliance_summaries,
}

_SUMMARY_FILTERS = ("ComplianceType", "ResourceType", "ResourceId", "Status", "OverallSeverity")


def _information(aws: Aws, machine: Machine) -> Reply:
    now = aws.clock.now()
    told = {
        "InstanceId": machine.node.id,
        "PingStatus": "Online" if machine.online else "ConnectionLost",
        "LastPingDateTime": _last_ping(machine, now),
        "AgentVersion": aws.setup.agents.get(machine.node.id, _AGENT),
        "IsLatestVersion": True,
        "PlatformType": machine.platform.type,
        "PlatformName": machine.platform.name,
        "PlatformVersion": machine.platform.version,
        "ResourceType": "ManagedInstance" if machine.hybrid else "EC2Instance",
        "IPAddress": machine.address,
        "ComputerName": f"{machine.name}.example.com",
        "AssociationStatus": "Success",
        "SourceId": machine.node.id,
        "SourceType": "AWS::SSM::ManagedInstance" if machine.hybrid else "AWS::EC2::Instance",
    }
    if machine.hybrid:
        told |= {"Name": machine.name, "IamRole": "hybrid-nodes", "RegistrationDate": machine.launched_at}
    return told


def _last_ping(machine: Machine, now: datetime) -> datetime:
    if machine.online or machine.since is None:
        return now - (now - machine.launched_at) % _PING_EVERY
    return machine.since


def _information_filter(aws: Aws, caller: Caller, key: str) -> Callable[[Reply], Any]:
    plain = {
        "InstanceIds": "InstanceId",
        "PingStatus": "PingStatus",
        "PlatformTypes": "PlatformType",
        "ResourceType": "ResourceType",
        "AgentVersion": "AgentVersion",
        "AssociationStatus": "AssociationStatus",
        "IamRole": "IamRole",
    }
    if key in plain:
        return lambda told: told.get(plain[key])
    if key.startswith("tag:"):
        machines = {machine.node.id: machine for machine in aws.fleet.at(caller.location)}
        return lambda told: machines[told["InstanceId"]].tags.get(key.removeprefix("tag:"))
    raise Refusal("InvalidFilterKey", f"The filter key {key} is not valid")


def _node_tags(aws: Aws, caller: Caller, name: str) -> list[Reply] | None:
    machine = aws.fleet.find(caller.location, name)
    return tag_list(machine.tags) if machine and machine.hybrid else None


def _automation_tags(aws: Aws, caller: Caller, name: str) -> list[Reply] | None:
    found = [one for one in aws.automations.known(caller.location) if one.id == name]
    return [dict(tag) for tag in found[0].tags] if found else None


def _opsitem_tags(aws: Aws, caller: Caller, name: str) -> list[Reply] | None:
    return [dict(tag) for tag in aws.opsitems.find(caller.location, name).tags]


def _baseline_tags(aws: Aws, caller: Caller, name: str) -> list[Reply] | None:
    kept = aws.baselines[caller.location].own.get(name)
    return tag_list(kept.tags) if kept else None


_TAGGED = {
    "PatchBaseline": _baseline_tags,
    "ManagedInstance": _node_tags,
    "Automation": _automation_tags,
    "OpsItem": _opsitem_tags,
}


def tag_list(tags: Mapping[str, str]) -> list[Reply]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _patch_state(machine: Machine) -> Reply:
    report = machine.report
    assert report is not None, f"{machine.node} was never scanned"
    counts = Counter(_counted_as(entry.patch) for entry in report.noncompliant)
    told = {
        "InstanceId": machine.node.id,
        "PatchGroup": report.group,
        "BaselineId": report.baseline,
        "SnapshotId": report.snapshot,
        "InstallOverrideList": report.override,
        "InstalledCount": report.count(INSTALLED),
        "InstalledOtherCount": report.count(INSTALLED_OTHER),
        "InstalledPendingRebootCount": report.count(PENDING),
        "InstalledRejectedCount": 0,
        "MissingCount": report.count(MISSING),
        "FailedCount": report.count(FAILED),
        "UnreportedNotApplicableCount": -1,
        "NotApplicableCount": 0,
        "OperationStartTime": report.started_at,
        "OperationEndTime": report.ended_at,
        "Operation": report.operation,
        "LastNoRebootInstallOperationTime": report.last_no_reboot,
        "RebootOption": report.reboot_option,
        "CriticalNonCompliantCount": counts["critical"],
        "SecurityNonCompliantCount": counts["security"],
        "OtherNonCompliantCount": counts["other"],
    }
    return {key: value for key, value in told.items() if value is not None}


def _counted_as(patch: Patch) -> str:
    """Each patch is counted once: a critical security patch is critical."""
    if compliance_severity(patch) == "CRITICAL":
        return "critical"
    return "security" if "Security" in patch.classification else "other"


def _patch(entry: Entry) -> Reply:
    told = {
        "Title": entry.patch.title,
        "KBId": entry.patch.id,
        "Classification": "" if entry.state == INSTALLED_OTHER else entry.patch.classification,
        "Severity": "" if entry.state == INSTALLED_OTHER else entry.patch.severity,
        "State": entry.state,
        "InstalledTime": entry.installed_at or _EPOCH,
    }
    if entry.patch.cves and entry.state in (MISSING, FAILED):
        told["CVEIds"] = ",".join(entry.patch.cves)
    return told


def _bare(text: str) -> str:
    """Filters say InstalledPendingReboot where the model has INSTALLED_PENDING_REBOOT."""
    return text.replace("_", "").casefold()


def _summaries(machine: Machine) -> list[Reply]:
    report = machine.report
    assert report is not None, f"{machine.node} was never scanned"
    compliant = len(report.entries) - len(report.noncompliant)
    patch = {
        **_summary(machine, "Patch", report.ended_at, report.compliant, severity(report)),
        "CompliantSummary": {"CompliantCount": compliant, "SeveritySummary": _by_severity({"UNSPECIFIED": compliant})},
        "NonCompliantSummary": {
            "NonCompliantCount": len(report.noncompliant),
            "SeveritySummary": _by_severity(Counter(compliance_severity(one.patch) for one in report.noncompliant)),
        },
    }
    patch["ExecutionSummary"] |= {"ExecutionType": "Command", **_execution(report)}
    association = {
        **_summary(machine, "Association", report.ended_at, True, "UNSPECIFIED"),
        "CompliantSummary": {"CompliantCount": 1, "SeveritySummary": _by_severity({"UNSPECIFIED": 1})},
        "NonCompliantSummary": {"NonCompliantCount": 0, "SeveritySummary": _by_severity({})},
    }
    return [association, patch]


def _association(machine: Machine) -> Reply:
    assert machine.report is not None, f"{machine.node} was never scanned"
    return {
        "ComplianceType": "Association", "ResourceType": "ManagedInstance", "ResourceId": machine.node.id,
        "Id": "b5a2f3c4-0d1e-4f6a-8b7c-9d0e1f2a3b4c", "Title": "", "Status": "COMPLIANT", "Severity": "UNSPECIFIED",
        "ExecutionSummary": {"ExecutionTime": machine.report.ended_at},
        "Details": {"DocumentName": "AWS-RunPatchBaseline"},
    }  # fmt: skip


def _execution(report: Report) -> Reply:
    return {"ExecutionId": report.snapshot} if report.snapshot else {}


def _summary(machine: Machine, kind: str, at: datetime, compliant: bool, worst: str) -> Reply:
    return {
        "ComplianceType": kind,
        "ResourceType": "ManagedInstance",
        "ResourceId": machine.node.id,
        "Status": "COMPLIANT" if compliant else "NON_COMPLIANT",
        "OverallSeverity": worst,
        "ExecutionSummary": {"ExecutionTime": at},
    }


def _by_severity(counts: Mapping[str, int]) -> Reply:
    return {f"{name.title()}Count": counts.get(name, 0) for name in SEVERITIES}
