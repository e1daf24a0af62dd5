"""Nodes: which managed node, in which account and Region."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_InstanceInformation.html
NODE_ID = re.compile(r"(i-(\w{8}|\w{17})|mi-\w{17})\Z", re.ASCII)
ACCOUNT = re.compile(r"\d{12}\Z", re.ASCII)
REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """One account in one Region: the unit of quotas, leases and batches."""

    account: str
    region: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A managed node: `account` of 12 digits, `region`, `id` as `i-…` (EC2) or `mi-…` (hybrid)."""

    account: str
    region: str
    id: str

    def __str__(self) -> str:
        return f"{self.account}/{self.region}/{self.id}"

    @property
    def location(self) -> Location:
        return _place(self.account, self.region)

    @property
    def kind(self) -> str:
        """`ec2` or `hybrid`."""
        return "hybrid" if self.id.startswith("mi-") else "ec2"


@cache
def _place(account: str, region: str) -> Location:
    """The one value of a place: it is asked for in every loop over nodes, and there are few places."""
    return Location(account, region)


def node_id(text: object) -> str | None:
    """The node id in a bare id, a prefixed Config resource id or an ARN; None where there is none.

    Config names a node `AWS::SSM::ManagedInstanceInventory/i-…`; one EC2 sample has a leading blank.
    """
    if not isinstance(text, str):
        return None
    last = text.strip().rsplit("/", 1)[-1]
    return last if NODE_ID.match(last) else None


def parse_node(text: str) -> Node | None:
    """A node from `account/region/id`; None if one of the three is not well formed."""
    parts = text.strip().split("/")
    if len(parts) != 3 or not valid_place(parts[0], parts[1]) or not NODE_ID.match(parts[2]):
        return None
    return Node(*parts)


def spelled(text: str) -> str:
    """`account/region/id` for an ARN, `account.region.id` and a remediation's id; any other text as it is.

    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
    """
    said = text.strip()
    parts = said.split(":", 5)
    if parts[0] == "arn" and len(parts) == 6:
        return f"{parts[4]}/{parts[3]}/{parts[5].rsplit('/', 1)[-1]}"
    parts = said.split(".")
    return "/".join(parts[:3]) if len(parts) in (3, 4) and valid_place(parts[0], parts[1]) else said


def valid_place(account: object, region: object) -> bool:
    """Whether these are an account id of 12 digits and a Region name."""
    return (
        isinstance(account, str)
        and isinstance(region, str)
        and bool(ACCOUNT.match(account))
        and bool(REGION.match(region))
    )
