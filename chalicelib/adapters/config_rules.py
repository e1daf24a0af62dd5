"""Config rules: the exceptions that Config made for the nodes of a location, and how they are taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC

from chalicelib.adapters.accounts import Accounts, Refusal
from chalicelib.core.nodes import Location, Node, node_id
from chalicelib.ports import RemediationException

_MOST = 100
_ABSENT = frozenset({"NoSuchConfigRule", "NoSuchRemediationConfiguration", "NoSuchRemediationException"})


class ConfigExceptions:
    """The port `Exceptions` over AWS Config, for the rules that are named; a place without the rule has none."""

    def __init__(self, accounts: Accounts, rules: Sequence[str]) -> None:
        self._accounts = accounts
        self._rules = tuple(rules)

    def exceptions(self, location: Location) -> list[RemediationException]:
        """https://docs.aws.amazon.com/config/latest/APIReference/API_DescribeRemediationExceptions.html"""
        return [one for rule in self._rules for one in self._of(location, rule)]

    def _of(self, location: Location, rule: str) -> Iterator[RemediationException]:
        try:
            for page in self._accounts.pages(
                location, "config", "describe_remediation_exceptions", ConfigRuleName=rule, Limit=_MOST
            ):
                for told in page["RemediationExceptions"]:
                    if found := node_id(told["ResourceId"]):
                        until = told.get("ExpirationTime")
                        yield RemediationException(
                            node=Node(location.account, location.region, found), rule=rule,
                            resource=told["ResourceId"], kind=told["ResourceType"], message=told.get("Message", ""),
                            until=until.astimezone(UTC) if until else None,
                        )  # fmt: skip
        except Refusal as refusal:
            if refusal.code not in _ABSENT:
                raise

    def clear(self, location: Location, exceptions: Sequence[RemediationException]) -> None:
        """One that is gone already needs no clearing.

        https://docs.aws.amazon.com/config/latest/APIReference/API_DeleteRemediationExceptions.html
        """
        for rule in sorted({one.rule for one in exceptions}):
            keys = [{"ResourceType": one.kind, "ResourceId": one.resource} for one in exceptions if one.rule == rule]
            for start in range(0, len(keys), _MOST):
                try:
                    self._accounts.call(
                        location, "config", "delete_remediation_exceptions",
                        ConfigRuleName=rule, ResourceKeys=keys[start : start + _MOST],
                    )  # fmt: skip
                except Refusal as refusal:
                    if refusal.code not in _ABSENT:
                        raise
