"""Failures: which kind of trouble a failed attempt was, from the sentence that its outcome left."""

from __future__ import annotations

_KINDS = (
    ("unreachable before the start", "unreachable"),
    ("the execution never reached the node", "not reached"),
    ("the install ended TimedOut", "timed out"),
    ("the install ended Delivery Timed Out", "timed out"),
    ("the install ended Execution Timed Out", "timed out"),
    ("the install ended", "install failed"),
    ("the install reported success, but", "still missing patches"),
    ("no scan newer than the execution", "no scan came"),
    ("the execution failed", "execution failed"),
    ("nobody said within", "not proven"),
    ("the start was refused", "start refused"),
)


def kind_of_failure(outcome: str) -> str:
    """One of a few words that many failures share, so that they can be counted; `other` for a sentence unknown here."""
    return next((kind for begins, kind in _KINDS if outcome.startswith(begins)), "other")
