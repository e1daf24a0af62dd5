"""Patch baselines of an account: Systems Manager's Patch Manager, read and written in the account itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.accounts import Accounts
from chalicelib.core.baselines import ID_TAG, Baseline, Found, Seen
from chalicelib.core.nodes import Location

_OWN = [{"Key": "OWNER", "Values": ["Self"]}]


class PatchBaselines:
    """The port `Baselines` over Patch Manager.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-patch-baselines.html
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def seen(self, location: Location) -> Seen:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribePatchBaselines.html"""
        pages = self._accounts.pages(location, "ssm", "describe_patch_baselines", Filters=_OWN, MaxResults=100)
        found = [self._found(location, one) for page in pages for one in page["BaselineIdentities"]]
        groups = self._accounts.pages(location, "ssm", "describe_patch_groups", MaxResults=100)
        registered = {
            (one["BaselineIdentity"]["OperatingSystem"], one["PatchGroup"]): one["BaselineIdentity"]["BaselineId"]
            for page in groups
            for one in page["Mappings"]
        }
        return Seen(tuple(found), registered)

    def _found(self, location: Location, identity: Mapping[str, Any]) -> Found:
        """Only what carries our tag is read whole."""
        id = identity["BaselineId"]
        asked = {"ResourceType": "PatchBaseline", "ResourceId": id}
        tags = self._accounts.call(location, "ssm", "list_tags_for_resource", **asked)["TagList"]
        ours = next((tag["Value"] for tag in tags if tag["Key"] == ID_TAG), None)
        content = self._accounts.call(location, "ssm", "get_patch_baseline", BaselineId=id) if ours else {}
        return Found(id, identity["OperatingSystem"], content, identity.get("DefaultBaseline", False), ours)

    def create(self, location: Location, baseline: Baseline, token: str) -> str:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreatePatchBaseline.html"""
        tags = [{"Key": key, "Value": value} for key, value in baseline.tags.items()]
        answer = self._accounts.call(
            location, "ssm", "create_patch_baseline",
            OperatingSystem=baseline.os, ClientToken=token, Tags=tags, **baseline.content,
        )  # fmt: skip
        return str(answer["BaselineId"])

    def update(self, location: Location, id: str, baseline: Baseline) -> None:
        """Replace the whole content, and then the digest in its tag.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_UpdatePatchBaseline.html
        """
        self._accounts.call(location, "ssm", "update_patch_baseline", BaselineId=id, Replace=True, **baseline.content)
        tags = [{"Key": key, "Value": value} for key, value in baseline.tags.items()]
        asked = {"ResourceType": "PatchBaseline", "ResourceId": id, "Tags": tags}
        self._accounts.call(location, "ssm", "add_tags_to_resource", **asked)

    def register(self, location: Location, id: str, group: str) -> None:
        asked = {"BaselineId": id, "PatchGroup": group}
        self._accounts.call(location, "ssm", "register_patch_baseline_for_patch_group", **asked)

    def deregister(self, location: Location, id: str, group: str) -> None:
        asked = {"BaselineId": id, "PatchGroup": group}
        self._accounts.call(location, "ssm", "deregister_patch_baseline_for_patch_group", **asked)

    def make_default(self, location: Location, id: str) -> None:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_RegisterDefaultPatchBaseline.html"""
        self._accounts.call(location, "ssm", "register_default_patch_baseline", BaselineId=id)
