"""Tables: what resource data sync writes, as Glue declares it and DuckDB reads it, and the queries over it.

https://docs.aws.amazon.com/systems-manager/latest/userguide/inventory-schema.html
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_QUERIES = Path(__file__).with_name("queries")

FOLDER = "resourcetype=ManagedInstanceInventory"
"""The last folder of a key, which is `AWS:<Type>/accountid=<id>/region=<region>/<this>/<node>.json`."""

# `ResourceType` of InstanceInformation is left out: as a column it would be the name of a folder once more, which
# Athena refuses as a duplicate column.
TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "complianceitem": ("AWS:ComplianceItem", (
        "resourceId", "captureTime", "schemaVersion", "ComplianceType", "ExecutionId", "ExecutionType",
        "ExecutionTime", "Id", "Title", "Status", "Severity", "Classification", "PatchBaselineId", "PatchSeverity",
        "PatchState", "PatchGroup", "InstalledTime", "CVEIds")),
    "instanceinformation": ("AWS:InstanceInformation", (
        "resourceId", "captureTime", "schemaVersion", "AgentType", "AgentVersion", "ComputerName", "InstanceId",
        "InstanceStatus", "IpAddress", "PlatformName", "PlatformType", "PlatformVersion")),
    "application": ("AWS:Application", (
        "resourceId", "captureTime", "schemaVersion", "Name", "ApplicationType", "Publisher", "Version", "Release",
        "Epoch", "InstalledTime", "Architecture", "URL", "Summary", "PackageId")),
    "tag": ("AWS:Tag", ("resourceId", "captureTime", "schemaVersion", "Key", "Value")),
    "patchsummary": ("AWS:PatchSummary", (
        "resourceId", "captureTime", "schemaVersion", "BaselineId", "PatchGroup", "SnapshotId", "OperationType",
        "OperationStartTime", "OperationEndTime", "InstalledCount", "InstalledOtherCount",
        "InstalledPendingRebootCount", "InstalledRejectedCount", "MissingCount", "FailedCount")),
}  # fmt: skip
"""Folder and fields by table. Every field is a text; in SQL its name is in small letters."""

QUERIES = ("noncompliant", "missing", "worst", "cves", "silent", "agents", "applications")

PARAMETERS = {name: ("since", "tags", *(["text"] if name == "applications" else [])) for name in QUERIES}
"""What stands for each `?` of a query, in order. `since`: a moment such as 2026-11-01T00:00:00Z, or empty for all time;
`tags`: `key=value`, one on each line, that a node must all have, or empty for every node."""


@cache
def sql(name: str) -> str:
    """The one text of a query, for Athena (Trino) and DuckDB alike."""
    nodes = (_QUERIES / "_nodes.sql").read_text(encoding="utf-8").rstrip()
    return (_QUERIES / f"{name}.sql").read_text(encoding="utf-8").replace("{nodes}", nodes)


def title(name: str) -> str:
    """What the query finds, in a sentence."""
    return sql(name).partition("\n")[0].removeprefix("-- ")
