"""Outcomes: success is not compliance, and no evidence is not success."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.core.facts import Patch, PatchState
from chalicelib.core.outcomes import newer, of_run
from chalicelib.core.remediations import Cause

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
OK = ("Success", "")


def scan(*, snapshot: str = "ours", operation: str = "Scan", **counts: Any) -> PatchState:
    return PatchState("i-1", "pb-1", operation, AT, snapshot, **counts)


def causes(install: tuple[str, str] | None, state: PatchState | None, **given: Any) -> list[Cause]:
    known = {"installs": True, "succeeded": True, "failure": None, "snapshot": "ours", **given}
    return [cause for cause, _ in of_run(install=install, scan=state, **known)]


@pytest.mark.parametrize(
    ("install", "state", "expected"),
    [
        (OK, scan(), [Cause.SUCCEEDED, Cause.RESOLVED]),
        (OK, scan(missing=2), [Cause.SUCCEEDED, Cause.FAILED]),
        (OK, scan(rejected=1), [Cause.SUCCEEDED, Cause.FAILED]),
        (OK, scan(pending_reboot=1), [Cause.SUCCEEDED, Cause.REBOOT_NEEDED]),
        (OK, scan(pending_reboot=1, missing=1), [Cause.SUCCEEDED, Cause.FAILED]),
        (OK, scan(snapshot="another"), [Cause.SUCCEEDED]),
        (OK, scan(operation="Install"), [Cause.SUCCEEDED]),
        (OK, None, [Cause.SUCCEEDED]),
        (("Failed", "exit 1"), scan(missing=1), [Cause.FAILED]),
        (("Failed", "exit 1"), None, [Cause.FAILED]),
        (("Undeliverable", ""), None, [Cause.FAILED]),
        (None, None, [Cause.FAILED]),
        (None, scan(snapshot="another"), [Cause.FAILED]),
        (("TimedOut", ""), scan(), [Cause.SUCCEEDED, Cause.RESOLVED]),
    ],
)
def test_run_command_and_scan_together_decide(
    install: tuple[str, str] | None, state: PatchState | None, expected: list[Cause]
) -> None:
    assert causes(install, state) == expected


def test_a_document_without_an_install_step_is_judged_by_its_execution() -> None:
    assert causes(None, None, installs=False) == [Cause.SUCCEEDED]
    assert causes(None, None, installs=False, succeeded=False) == [Cause.FAILED]


def test_a_failure_names_what_is_still_missing() -> None:
    state = scan(
        missing=1, patches=(Patch("KB5035849", "2026-11 Cumulative", "SecurityUpdates", "Critical", "MISSING"),)
    )
    assert of_run(install=OK, installs=True, succeeded=True, failure=None, scan=state, snapshot="ours")[1][1].endswith(
        "still counts 1 missing, 0 failed, 0 rejected: KB5035849"
    )


def test_only_a_scan_of_ours_or_a_later_one_is_evidence() -> None:
    assert newer(scan(), snapshot="ours", since=AT + timedelta(hours=1)) is not None
    assert newer(scan(snapshot="x"), snapshot="ours", since=AT) is not None
    assert newer(scan(snapshot="x"), snapshot="ours", since=AT + timedelta(seconds=1)) is None
    assert newer(scan(operation="Install"), snapshot="ours", since=AT) is None
    assert newer(None, snapshot="ours", since=AT) is None
