"""Outcomes: what one node's run command and the scan after it say together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from chalicelib.core.facts import PatchState
from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.plans import snapshot_id
from chalicelib.core.printing import counted
from chalicelib.core.remediations import Cause, Remediation

Verdicts = tuple[tuple[Cause, str], ...]
"""The causes that follow one after the other, each with its sentence."""


def of_run(
    *, install: tuple[str, str] | None, installs: bool, succeeded: bool, failure: str | None, scan: PatchState | None,
    snapshot: str, stopped: bool = False, named: tuple[Cause, str] | None = None, has: bool = True,
) -> Verdicts:  # fmt: skip
    """What an ended execution means for one node.

    `install` is status and detail of its run command, None if it never reached the node; `installs` whether the
    document has such a step at all; `scan` the last patch state, whatever it is from; `stopped` that an operator
    stopped the execution: what it never reached has not failed; `named` is what the scan proves of the patches that an
    emergency names, since the baseline's count says nothing of them, and `has` that it says the node has them.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
    """
    proof = scan if scan and scan.snapshot == snapshot and scan.operation == "Scan" else None
    proved = (named or of_scan(proof)) if proof else None
    if proved and proved[0] is Cause.RESOLVED and has:
        return (_SUCCEEDED, proved)
    if installs and install is None and stopped:
        return ((Cause.WITHDRAWN, "the execution was stopped before it reached the node"),)
    if installs and install is None:
        return ((Cause.FAILED, f"the execution never reached the node{f': {failure}' if failure else ''}"),)
    if install is not None and install[0] == "Terminated":
        return (
            (Cause.WITHDRAWN, "the failures of others used up the error limit before the command reached the node"),
        )
    if install is not None and install[0] != "Success":
        return ((Cause.FAILED, f"the install ended {install[0]}{f': {install[1]}' if install[1] else ''}"),)
    if not installs and not succeeded:
        return ((Cause.FAILED, f"the execution failed{f': {failure}' if failure else ''}"),)
    return (_SUCCEEDED, proved) if proved else (_SUCCEEDED,)


_UNDELIVERED = frozenset({"Undeliverable", "Delivery Timed Out"})


def reached(install: str | None) -> bool:
    """Whether the run command of that status may have touched the node; where nobody can say, it may.

    https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
    """
    return install not in _UNDELIVERED


def of_scan(scan: PatchState) -> tuple[Cause, str]:
    """What a scan newer than the execution proves."""
    at = format_moment(scan.ended_at)
    if scan.noncompliant == 0:
        return Cause.RESOLVED, f"the scan of {at} found every approved patch installed"
    if scan.noncompliant == scan.pending_reboot:
        return (
            Cause.REBOOT_NEEDED,
            f"the scan of {at} found {counted(scan.pending_reboot, 'patch')} waiting for a reboot",
        )
    return Cause.FAILED, (
        f"the install reported success, but the scan of {at} still counts {scan.missing} missing, "
        f"{scan.failed} failed, {scan.rejected} rejected{_named(scan)}"
    )


def newer(scan: PatchState | None, *, snapshot: str, since: datetime) -> PatchState | None:
    """The state if it is a scan of this batch, or one that ended after the execution did."""
    if scan is None or scan.operation != "Scan":
        return None
    return scan if scan.snapshot == snapshot or scan.ended_at >= since else None


def proves(scan: PatchState, case: Remediation) -> bool:
    """Whether the scan shows that the case is compliant: nothing is missing, and no execution touched it since.

    The scan of the case's own batch ends a little before its execution does, and counts all the same.
    """
    if case.control is not Control.PATCH or scan.operation != "Scan" or scan.noncompliant:
        return False
    own = bool(case.batch) and scan.snapshot == snapshot_id(str(case.batch))
    return own or case.attempted_at is None or scan.ended_at >= case.attempted_at


_SUCCEEDED = (Cause.SUCCEEDED, "the install ended with success on this node; a scan must prove it")


def _named(scan: PatchState) -> str:
    names: Iterable[str] = (patch.id for patch in (scan.patches or ())[:5])
    text = ", ".join(names)
    return f": {text}" if text else ""
