"""Audit: whether a trail is whole, in order and untouched, and adds up to its head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.errors import IllegalTransition
from chalicelib.core.remediations import Remediation, Transition, replay


def fault(head: Remediation, lines: Sequence[Transition]) -> str | None:
    """The first thing wrong with the trail of `head`, naming the line; None if there is nothing."""
    previous = GENESIS
    for number, line in enumerate(lines, 1):
        if line.number != number:
            return f"{head.id}: line {number} is missing; line {line.number} stands in its place"
        if line.remediation != head.id or line.previous != previous:
            return f"{head.id}: line {number} does not follow from the line before it"
        if link(previous, line.to_json()) != line.hash:
            return f"{head.id}: line {number} was changed after it was written"
        previous = line.hash
    if len(lines) != head.number:
        return f"{head.id}: the trail ends at line {len(lines)}, but its head has seen line {head.number}"
    try:
        told = replay(head.node, head.control, lines)
    except IllegalTransition as error:
        return f"{head.id}: {error}"
    if head.at is None:
        told = replace(told, at=None)  # a release that did not keep the moment of the last line wrote this head
    if told != head:
        return f"{head.id}: the head is not what its {len(lines)} lines add up to"
    return None
