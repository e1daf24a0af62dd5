"""Emergency: begin, end and halt one in the journal, and what it says of a node, a case and a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.emergencies import HALTED, STARTED, STOPPED, Emergency, of_named, subject
from chalicelib.core.errors import Stale
from chalicelib.core.facts import PatchState
from chalicelib.core.findings import Control
from chalicelib.core.journal import Kind, entry
from chalicelib.core.nodes import Node
from chalicelib.core.overrides import PatchList, Said, Standing, asked_for, said
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.ports import Ledger, Ports

HELD = "list"
"""What `held` says of a case whose override list is not, or cannot be seen to be, the recorded one."""

TRIES = 3

LAG = timedelta(minutes=10)
"""How late what Systems Manager describes may be: what was scanned so shortly before a look is read again."""


def known(ledger: Ledger) -> dict[str, Emergency]:
    """Every emergency there ever was, by id; strongly consistent."""
    return {line.name: Emergency.of(line) for line in ledger.subjects(Kind.EMERGENCY)}


def named(ledger: Ledger, id: str | None) -> Emergency | None:
    """The emergency as its newest entry tells it, or None."""
    line = ledger.entry(subject(id)) if id else None
    return Emergency.of(line) if line else None


def last_end(ports: Ports) -> datetime | None:
    """When an emergency was stopped, halted or expired last; None: all are in force, or there is none."""
    now = ports.clock.now()
    told = [(line.at, Emergency.of(line)) for line in ports.ledger.subjects(Kind.EMERGENCY)]
    ends = [one.expires if one.state == STARTED else at for at, one in told if not one.in_force(now)]
    return max(ends, default=None)


def begin(ports: Ports, one: Emergency) -> None:
    """Write that it started; Stale if somebody else wrote of it first."""
    last = ports.ledger.entry(subject(one.id))
    line = entry(last, subject(one.id), STARTED, because=one.because, actor=one.by, now=one.since, value=one.to_json())
    ports.ledger.enter(line)
    ports.notices.say("emergency", emergency=one.id, what=STARTED, because=one.because, by=one.by)


def end(ports: Ports, id: str, what: str, *, by: str, because: str) -> Emergency | None:
    """Write that it is `stopped` or `halted`, from when on nothing of it starts; None if it was not running."""
    for _ in range(TRIES):
        last = ports.ledger.entry(subject(id))
        one = Emergency.of(last) if last else None
        if last is None or one is None or one.state == STOPPED or (one.state == HALTED and what == HALTED):
            return None
        ended = replace(one, state=what, said=f"{by}: {because}")
        line = entry(last, last.subject, what, because=because, actor=by, now=ports.clock.now(),
                     value=ended.to_json())  # fmt: skip
        try:
            ports.ledger.enter(line)
        except Stale:
            continue
        ports.notices.say("emergency", emergency=id, what=what, because=because, by=by)
        return ended
    raise Stale(f"{id} is written to by others all the time")


def stands(ports: Ports, node: Node, patches: PatchList) -> Said:
    """What the node's last scan says of the patches; a node that was never scanned says nothing."""
    return said(patches.named, ports.inventory.named(node, asked_for(patches.named)))


def proof(ports: Ports, case: Remediation, scan: PatchState | None) -> tuple[tuple[Cause, str] | None, bool]:
    """What a scan after the execution proves of the patches, and whether it says that the node has them.

    None for a case of another control, or without a scan.
    """
    if case.control is not Control.EMERGENCY or scan is None:
        return None, True
    patches = PatchList.from_json(case.plan["patches"])
    found = ports.inventory.named(case.node, asked_for(patches.named))
    return of_named(case.plan["patches"], found, scan), said(patches.named, found).standing is Standing.HAS


def has_already(ports: Ports, case: Remediation, scan: PatchState | None) -> str | None:
    """That the node has the patches already, read just before its start, as a sentence.

    A scan that was read when the node was found is not read again.
    """
    if case.control is not Control.EMERGENCY or scan is None or not case.plan.get("patches"):
        return None
    if case.attempted_at and scan.ended_at < case.attempted_at:
        return None
    if case.observed_at and scan.ended_at < case.observed_at - LAG:
        return None
    told = stands(ports, case.node, PatchList.from_json(case.plan["patches"]))
    return f"the node {told}" if told.standing is Standing.HAS else None


def tampered(ports: Ports, plan: Mapping[str, Any]) -> str | None:
    """Why the list that a plan would install is not the recorded one; None if it is, or the plan has none.

    Temporary or Denied if the bucket does not say; then nothing may start either.
    """
    if not plan.get("patches"):
        return None
    wanted = PatchList.from_json(plan["patches"])
    lies, place = ports.lists.look(wanted.list), ports.lists.address(wanted.list)
    if lies is None:
        return f"the override list {place} is gone"
    if lies.digest != wanted.list:
        return f"the override list {place} was changed: its sha256 is {lies.digest[:12]}…, not {wanted.list[:12]}…"
    if lies.version_id != wanted.version_id:
        return f"the override list {place} was written over: version {lies.version_id}, recorded {wanted.version_id}"
    return None


def address(ports: Ports, plan: Mapping[str, Any]) -> str | None:
    """Where the nodes read the plan's list; it follows from the digest, so that no policy can name another place."""
    return ports.lists.address(str(plan["patches"]["list"])) if plan.get("patches") else None


def over(ports: Ports, case: Remediation) -> str | None:
    """Why nothing of the case's emergency starts any more; None while it is in force, and for any other case."""
    if case.control is not Control.EMERGENCY:
        return None
    one, now = named(ports.ledger, case.emergency), ports.clock.now()
    if one is None:
        return f"the journal knows no emergency {case.emergency}"
    return None if one.in_force(now) else one.why_not(now)
