"""Rollouts: for which nodes a policy is enforced already, while it is a shadow for all others."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from chalicelib.core.compiled import NONE, exactly
from chalicelib.core.conditions import Truth
from chalicelib.core.errors import PolicyError
from chalicelib.core.nodes import ACCOUNT
from chalicelib.core.paths import Unreadable, walked
from chalicelib.core.readings import Readings

NODE = walked(("finding", "node"))
_ACCOUNT = walked(("account",))


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether a rollout reaches a node, and the sentence why."""

    truth: Truth
    why: str


@dataclass(frozen=True, slots=True)
class Rollout:
    """The nodes of `accounts` (None: of all) whose number is below `percent`, 0 to 100.

    A node's number for a policy never changes: a larger percent only ever adds nodes.
    """

    percent: int
    accounts: tuple[str, ...] | None

    @classmethod
    def from_json(cls, value: object) -> Rollout:
        known = exactly(value, "a rollout", {"percent": int, "accounts": (list, NONE)})
        percent, accounts = known["percent"], known["accounts"]
        if not 0 <= percent <= 100 or not all(isinstance(one, str) and ACCOUNT.match(one) for one in accounts or ()):
            raise PolicyError(f"the policy set is malformed: {value!r:.60} is no rollout")
        return cls(percent, None if accounts is None else tuple(accounts))

    def reach(self, policy: str, readings: Readings) -> Reach:
        """Whether the node of these readings is reached; unknown if the facts do not say which node it is."""
        account, node = readings.find(_ACCOUNT), readings.find(NODE)
        for found in (account, node):
            if isinstance(found, Unreadable):
                return Reach(Truth.UNKNOWN, found.why)
        if self.accounts is not None and account not in self.accounts:
            return Reach(Truth.FALSE, f"account {account} is not among the {len(self.accounts)} of the rollout")
        mine = number(policy, node)
        within = mine < self.percent
        why = f"the node has number {mine}, the rollout {'' if within else 'only '}reaches those below {self.percent}"
        return Reach(Truth.TRUE if within else Truth.FALSE, why)


def number(policy: str, node: str) -> int:
    """The stable number of a node for one policy, 0 to 99, spread evenly and differently for each policy."""
    return int(hashlib.sha256(f"{policy}/{node}".encode()).hexdigest(), 16) % 100
