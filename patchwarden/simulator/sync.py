"""Sync: the fleet as resource data sync writes it to a bucket, nodes that are long gone among it.

https://docs.aws.amazon.com/systems-manager/latest/userguide/inventory-resource-data-sync.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from patchwarden.simulator.fleet import Fleet
from patchwarden.simulator.machines import FAILED, INSTALLED, INSTALLED_OTHER, MISSING, NONCOMPLIANT, PENDING, Machine
from patchwarden.simulator.patches import compliance_severity

AGENT = "3.3.1957.0"
_STATES = {MISSING: "Missing", FAILED: "Failed", PENDING: "InstalledPendingReboot", INSTALLED: "Installed",
           INSTALLED_OTHER: "InstalledOther"}  # fmt: skip

Item = dict[str, str]


def write(fleet: Fleet, now: datetime, directory: Path) -> None:
    """Every node's newest objects; those of a terminated one stay for ever, as they do in the bucket."""
    for machine in fleet.machines.values():
        place = f"accountid={machine.node.account}/region={machine.node.region}/resourcetype=ManagedInstanceInventory"
        for kind, items in _objects(machine, now).items():
            if items:
                file = directory / kind / place / f"{machine.node.id}.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("".join(f"{json.dumps(_stamped(machine, now, item))}\n" for item in items))


def _objects(machine: Machine, now: datetime) -> Mapping[str, Sequence[Item]]:
    return {
        "AWS:InstanceInformation": [_information(machine)],
        "AWS:Tag": [{"Key": key, "Value": value} for key, value in machine.tags.items()],
        "AWS:Application": list(_applications(machine)),
        "AWS:ComplianceItem": list(_compliance(machine)),
        "AWS:PatchSummary": list(_summary(machine)),
    }


def _stamped(machine: Machine, now: datetime, item: Item) -> Item:
    return {**item, "resourceId": machine.node.id, "captureTime": _moment(now), "schemaVersion": "1.0"}


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def status(machine: Machine) -> str:
    """https://docs.aws.amazon.com/systems-manager/latest/userguide/inventory-schema.html"""
    if machine.state == "running":
        return "Active" if machine.online else "ConnectionLost"
    return "Terminated" if machine.state in ("terminated", "shutting-down") else "Stopped"


def _information(machine: Machine) -> Item:
    return {
        "AgentType": "amazon-ssm-agent",
        "AgentVersion": AGENT,
        "ComputerName": f"{machine.name}.example.com",
        "InstanceId": machine.node.id,
        "InstanceStatus": status(machine),
        "IpAddress": machine.address,
        "PlatformName": machine.platform.name,
        "PlatformType": machine.platform.type,
        "PlatformVersion": machine.platform.version,
        "ResourceType": "ManagedInstance" if machine.hybrid else "EC2Instance",
    }


def _applications(machine: Machine) -> Iterator[Item]:
    """On Linux one for each package that was ever patched, in the version of its newest patch."""
    if machine.platform.windows:
        yield {"Name": "Microsoft Edge", "Publisher": "Microsoft Corporation", "Version": "131.0.2903.51"}
        return
    versions = {patch.id: patch.title.partition(":")[2] for patch, _ in machine.installed.values()}
    for package, version in versions.items():
        name, _, architecture = package.rpartition(".")
        yield {"Name": name, "Version": version, "Architecture": architecture, "Publisher": machine.platform.name}


def _compliance(machine: Machine) -> Iterator[Item]:
    report = machine.report
    if report is None:
        return
    ran = {"ExecutionId": report.snapshot or "", "ExecutionType": "Command", "ExecutionTime": _moment(report.ended_at)}
    yield {**ran, "ComplianceType": "Association", "Id": "scan", "Title": "daily scan", "Status": "COMPLIANT",
           "Severity": "UNSPECIFIED"}  # fmt: skip
    for entry in report.entries:
        item = {
            **ran,
            "ComplianceType": "Patch",
            "Id": entry.patch.id,
            "Title": entry.patch.title,
            "Status": "NON_COMPLIANT" if entry.state in NONCOMPLIANT else "COMPLIANT",
            "Severity": compliance_severity(entry.patch),
            "Classification": entry.patch.classification,
            "PatchSeverity": entry.patch.severity,
            "PatchState": _STATES[entry.state],
            "PatchBaselineId": report.baseline,
            "PatchGroup": report.group,
        }
        if entry.patch.cves and entry.state in (MISSING, FAILED):
            item["CVEIds"] = ",".join(entry.patch.cves)
        yield item


def _summary(machine: Machine) -> Iterator[Item]:
    report = machine.report
    if report is not None:
        yield {
            "BaselineId": report.baseline,
            "PatchGroup": report.group,
            "OperationType": report.operation,
            "OperationStartTime": _moment(report.started_at),
            "OperationEndTime": _moment(report.ended_at),
            "MissingCount": str(report.count(MISSING)),
            "FailedCount": str(report.count(FAILED)),
            "InstalledCount": str(report.count(INSTALLED)),
        }
