"""Whether what is known of a node is recent enough to be believed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.core.reporting import QUIET, reports, silent
from tests.sets import HERE, NOW, machine, scan

WEEK = timedelta(days=7)
OLD, MINUTE = NOW - timedelta(days=30), NOW - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("state", "scanned", "why"),
    [
        ({"last_seen": MINUTE}, MINUTE, None),
        ({"last_seen": MINUTE}, NOW - WEEK, None),
        ({"last_seen": MINUTE}, NOW - WEEK - timedelta(seconds=1), "its last scan is of"),
        ({"last_seen": MINUTE, "launched": OLD}, None, "it was never scanned"),
        ({"last_seen": MINUTE}, None, "it was never scanned"),
        ({"last_seen": MINUTE, "launched": MINUTE}, None, None),
        ({"ping": "ConnectionLost", "last_seen": NOW - QUIET}, MINUTE, None),
        ({"ping": "ConnectionLost", "last_seen": NOW - QUIET - timedelta(seconds=1)}, MINUTE, "has not checked in"),
        ({"ping": "Inactive"}, MINUTE, "an unknown moment"),
        ({"ping": None, "launched": OLD}, None, "does not manage it"),
        ({"ping": None, "launched": MINUTE}, None, None),
        ({"ping": None}, None, "does not manage it"),
        ({"state": "stopped", "ping": "ConnectionLost", "last_seen": OLD}, None, None),
    ],
)
def test_a_node_reports_if_its_agent_and_its_scans_are_recent(
    state: dict[str, Any], scanned: Any, why: str | None
) -> None:
    found = silent(machine(**state), scan(scanned) if scanned else None, NOW, WEEK)
    assert found is None if why is None else why in str(found)


def test_every_running_node_is_one_finding_and_a_stale_one_has_the_date_of_its_last_sign() -> None:
    nodes = [machine(ping="ConnectionLost", last_seen=OLD), machine(state="stopped")]
    [found] = reports(HERE, nodes, {}, NOW, WEEK)
    assert (found.compliant, found.observed_at, found.detail["ping"]) == (False, OLD, "ConnectionLost")
    [well] = reports(HERE, [machine(last_seen=MINUTE)], {machine().id: scan(MINUTE)}, NOW, WEEK)
    assert (well.compliant, well.observed_at) == (True, NOW)
