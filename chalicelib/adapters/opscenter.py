"""OpsCenter: one OpsItem for each errand's key, in the account and Region of the node."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.adapters.accounts import Accounts, Refusal, partition
from chalicelib.core.tickets import Errand

_SOURCE = "patchwarden"
_GONE = frozenset({"OpsItemNotFound", "OpsItemConflict"})
_ARNS = {"i-": "ec2:{region}:{account}:instance/{id}", "mi": "ssm:{region}:{account}:managed-instance/{id}"}


class OpsCenter:
    """The port `Tickets` over OpsCenter.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/OpsCenter-working-deduplication.html
    """

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def open(self, errand: Errand) -> str:
        """https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_CreateOpsItem.html"""
        asked = {
            "Title": errand.title[:1024],
            "Description": errand.body[:2048],
            "Source": _SOURCE,
            "Severity": str(min(max(errand.severity, 1), 4)),
            "Category": "Security",
            "OperationalData": _data(errand),
        }
        try:
            answer = self._accounts.call(errand.location, "ssm", "create_ops_item", **asked)
        except Refusal as refusal:
            if refusal.code != "OpsItemAlreadyExists":
                raise
            answer = dict(refusal.answer)
        return str(answer["OpsItemId"])

    def update(self, errand: Errand) -> None:
        self._write(errand)

    def resolve(self, errand: Errand) -> None:
        self._write(errand, Status="Resolved")

    def _write(self, errand: Errand, **changes: Any) -> None:
        """The newest text is the description; each one stays under its errand's name, so repeating it adds nothing.

        https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_UpdateOpsItem.html
        """
        if not errand.ticket:
            return
        text = errand.body[:2048]
        said = {errand.id[-128:]: {"Type": "String", "Value": text}}
        asked = {"OpsItemId": errand.ticket, "Description": text, "OperationalData": said, **changes}
        try:
            self._accounts.call(errand.location, "ssm", "update_ops_item", **asked)
        except Refusal as refusal:
            if refusal.code not in _GONE:
                raise


def _data(errand: Errand) -> dict[str, dict[str, str]]:
    """The dedup string and the node. OpsCenter counts the resources as part of what must be the same, so a key that
    several remediations share goes without."""
    data = {"/aws/dedup": {"Type": "SearchableString", "Value": json.dumps({"dedupString": errand.key})}}
    if errand.remediation in errand.key:
        data["/aws/resources"] = {"Type": "SearchableString", "Value": json.dumps([{"arn": _arn(errand.remediation)}])}
    return data


def _arn(remediation: str) -> str:
    account, region, id, _ = remediation.split(".")
    return f"arn:{partition(region)}:{_ARNS[id[:2]].format(account=account, region=region, id=id)}"
