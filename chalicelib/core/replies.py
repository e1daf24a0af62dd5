"""Replies: what is said of a remediation, in one word, to whoever asked for it and waits."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from chalicelib.core.remediations import State


class Reply(StrEnum):
    """Only `PENDING` is worth waiting for, and only `VERIFIED` says that the node was proved compliant."""

    PENDING = "pending"
    VERIFIED = "verified"
    WAITING = "waiting"
    TICKETED = "ticketed"
    EXEMPT = "exempt"
    OBSERVED = "observed"
    GONE = "gone"
    REFUSED = "refused"


REPLIES: Mapping[State, Reply] = {
    State.OPEN: Reply.OBSERVED,
    State.WAITING: Reply.WAITING,
    State.QUEUED: Reply.PENDING,
    State.STARTING: Reply.PENDING,
    State.RUNNING: Reply.PENDING,
    State.VERIFYING: Reply.PENDING,
    State.REBOOT_PENDING: Reply.WAITING,
    State.TICKETED: Reply.TICKETED,
    State.EXEMPT: Reply.EXEMPT,
    State.RESOLVED: Reply.VERIFIED,
    State.GONE: Reply.GONE,
}
"""A state that is not here does not exist: a test holds the table to the states."""


def reply(state: str | None) -> Reply:
    """What a state means to whoever waits; without one the request was refused."""
    return REPLIES[State(state)] if state else Reply.REFUSED
