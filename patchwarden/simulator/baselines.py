"""Patch baselines of simulated accounts: made, changed, registered for patch groups and made the default.

https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreatePatchBaseline.html
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib.core.nodes import Location
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import NotServed, Refusal

MOST = 50
"""Baselines of an account in one Region. https://docs.aws.amazon.com/general/latest/gr/ssm.html"""

_CONTENT: dict[str, Any] = {
    "GlobalFilters": {"PatchFilters": []},
    "ApprovalRules": {"PatchRules": []},
    "ApprovedPatches": [],
    "ApprovedPatchesComplianceLevel": "UNSPECIFIED",
    "ApprovedPatchesEnableNonSecurity": False,
    "RejectedPatches": [],
    "RejectedPatchesAction": "ALLOW_AS_DEPENDENCY",
    "Sources": [],
}
_RULE = {"ComplianceLevel": "UNSPECIFIED", "EnableNonSecurity": False}
_DEBIAN = ("UBUNTU", "DEBIAN", "RASPBIAN")


@dataclass(slots=True)
class Kept:
    """One baseline of the account's own."""

    id: str
    os: str
    content: dict[str, Any]
    tags: dict[str, str]
    created: datetime
    modified: datetime


@dataclass(slots=True)
class Shelf:
    """The baselines of one account and Region."""

    own: dict[str, Kept] = field(default_factory=dict)
    groups: dict[tuple[str, str], str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)


Shelves = defaultdict[Location, Shelf]


def shelves() -> Shelves:
    """Empty shelves: no account has a baseline of its own."""
    return defaultdict(Shelf)


def create(shelf: Shelf, id: str, request: dict[str, Any], now: datetime) -> str:
    """The new baseline's id, or that of the one that was made under the same token."""
    token = request.get("ClientToken")
    if token and token in shelf.tokens:
        return shelf.tokens[token]
    if len(shelf.own) >= MOST:
        raise Refusal("ResourceLimitExceededException", f"There are {MOST} patch baselines already")
    os = request.get("OperatingSystem", "WINDOWS")
    tags = {tag["Key"]: tag["Value"] for tag in request.get("Tags", [])}
    shelf.own[id] = Kept(id, os, _content(request, os), tags, now, now)
    if token:
        shelf.tokens[token] = id
    return id


def update(shelf: Shelf, request: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Replaced whole if the request says so, else only what it names."""
    kept = find(shelf, request["BaselineId"])
    base = {} if request.get("Replace") else kept.content
    kept.content, kept.modified = _content({**base, **request}, kept.os), now
    return told(kept)


def find(shelf: Shelf, id: str) -> Kept:
    if id not in shelf.own:
        raise Refusal("DoesNotExistException", f"Patch baseline {id} doesn't exist")
    return shelf.own[id]


def told(kept: Kept) -> dict[str, Any]:
    return {"BaselineId": kept.id, "OperatingSystem": kept.os, **kept.content,
            "CreatedDate": kept.created, "ModifiedDate": kept.modified}  # fmt: skip


def identity(shelf: Shelf, kept: Kept) -> dict[str, Any]:
    said = {"BaselineDescription": kept.content["Description"]} if kept.content.get("Description") else {}
    return {"BaselineId": kept.id, "BaselineName": kept.content["Name"], "OperatingSystem": kept.os,
            "DefaultBaseline": shelf.defaults.get(kept.os) == kept.id, **said}  # fmt: skip


def describe(shelf: Shelf, request: dict[str, Any]) -> dict[str, Any]:
    """The account's own only: AWS's predefined ones are not simulated, so nobody is told that there are none."""
    wanted = {one["Key"]: one["Values"] for one in request.get("Filters", [])}
    if wanted.pop("OWNER", None) != ["Self"] or set(wanted) - {"NAME_PREFIX", "OPERATING_SYSTEM"}:
        raise NotServed(f"DescribePatchBaselines with the filters {request.get('Filters')}")
    found = [
        identity(shelf, kept)
        for kept in shelf.own.values()
        if any(kept.content["Name"].startswith(name) for name in wanted.get("NAME_PREFIX", [""]))
        and kept.os in wanted.get("OPERATING_SYSTEM", [kept.os])
    ]
    shown, token = page("DescribePatchBaselines", found, request, most=100)
    return {"BaselineIdentities": list(shown), **token}


def register(shelf: Shelf, id: str, group: str) -> None:
    """A group has one baseline for an operating system: a second one is refused, the same one is no news."""
    kept = find(shelf, id)
    holder = shelf.groups.setdefault((kept.os, group), id)
    if holder != id:
        what = f"Patch Group baseline already has a baseline registered for OperatingSystem {kept.os}: {holder}"
        raise Refusal("AlreadyExistsException", what)


def deregister(shelf: Shelf, id: str, group: str) -> None:
    kept = find(shelf, id)
    if shelf.groups.get((kept.os, group)) != id:
        raise Refusal("DoesNotExistException", f"Patch Group {group} is not registered with {id}")
    del shelf.groups[kept.os, group]


def groups(shelf: Shelf, request: dict[str, Any]) -> dict[str, Any]:
    mappings = [
        {"PatchGroup": group, "BaselineIdentity": identity(shelf, shelf.own[id])}
        for (_, group), id in sorted(shelf.groups.items())
    ]
    shown, token = page("DescribePatchGroups", mappings, request, most=100)
    return {"Mappings": list(shown), **token}


def delete(shelf: Shelf, id: str) -> None:
    kept = find(shelf, id)
    if id in shelf.groups.values() or shelf.defaults.get(kept.os) == id:
        raise Refusal("ResourceInUseException", f"Patch baseline {id} is in use")
    del shelf.own[id]


def _content(request: dict[str, Any], os: str) -> dict[str, Any]:
    """What was not said is answered as AWS does; what only the service checks is checked here."""
    rules = [{**_RULE, **rule} for rule in request.get("ApprovalRules", {}).get("PatchRules", [])]
    for rule in rules:
        if ("ApproveAfterDays" in rule) == ("ApproveUntilDate" in rule):
            raise Refusal("ValidationException", "Exactly one of ApproveAfterDays and ApproveUntilDate is required")
        if "ApproveUntilDate" in rule and os in _DEBIAN:
            raise Refusal("ValidationException", f"ApproveUntilDate is not supported for {os}")
    if request.get("Sources") and os in ("WINDOWS", "MACOS"):
        raise Refusal("ValidationException", f"Sources are not supported for {os}")
    known = {name: request.get(name, empty) for name, empty in _CONTENT.items()}
    named: dict[str, Any] = {name: request[name] for name in ("Name", "Description") if name in request}
    return {**named, **known, "ApprovalRules": {"PatchRules": rules}}
