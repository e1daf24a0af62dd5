"""Sweeping: how far the sweep has come, what its last pass found, and who does not report."""

from __future__ import annotations

from typing import Any

import click

from chalicelib.core.findings import Control
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Remediation, State
from chalicelib.fleet import LAST, PASS
from chalicelib.ports import Ledger
from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import Scope, form_option

MOST_SHOWN = 200

_PASS = ("pass", "began", "ended", "places", "findings", "missed", "drift", "stale", "late", "degraded")
_STALE = ("account", "region", "node", "since", "state", "ticket", "because")


@click.group(cls=Group)
def sweep() -> None:
    """The sweep: what it found that no event had brought."""


@sweep.command("status")
@form_option
@click.pass_obj
def status(scope: Scope, form: str) -> None:
    """How far the pass under way has come, what the last whole one found, and which nodes do not report.

    `missed`: findings that no event brought; `drift`: those that contradict what was recorded; `stale`: nodes that do
    not report; `late`: places that are read on in the next pass; `degraded`: places that did not answer.
    """
    ledger = scope.ports().ledger
    passes = [_told(name, ledger.kept(key)) for name, key in (("last whole", LAST), ("newest", PASS))]
    shown = [each for each in passes if each]
    stale = _stale(ledger)
    output.rows(shown, _PASS, form=form, whole={"passes": shown, "stale": stale})
    if form != "table":
        return
    if not shown:
        output.note("no sweep has read the fleet yet: its compliance is unknown")
    for each in shown:
        for name in ("late", "degraded"):
            if each[name]:
                output.note(f"{each['pass']} pass, {name}: {', '.join(each[name + '_places'][:20])}")
    if stale:
        output.table(stale[:MOST_SHOWN], _STALE, f"Nodes that do not report: {len(stale)}, the first ones first")


def _told(name: str, kept: Any) -> dict[str, Any] | None:
    if kept is None:
        return None
    value = kept.value
    late, degraded = sorted(value["late"]), sorted(value["degraded"])
    return {**value, "pass": name, "ended": value["ended"] or "not yet", "late": len(late), "late_places": late,
            "degraded": len(degraded), "degraded_places": degraded}  # fmt: skip


def _stale(ledger: Ledger) -> list[dict[str, Any]]:
    """Nodes whose agent or whose scans are silent, the longest first."""
    open_ = [state for state in State if state not in (State.RESOLVED, State.GONE)]
    cases = [case for case in ledger.work(open_) if case.control is Control.REPORTING]
    cases.sort(key=lambda case: (format_moment(case.first_seen) if case.first_seen else "", case.id))
    return [_row(ledger, case, known=number < MOST_SHOWN) for number, case in enumerate(cases)]


def _row(ledger: Ledger, case: Remediation, *, known: bool) -> dict[str, Any]:
    why = case.because
    for line in reversed(ledger.trail(case.id) if known else []):
        told = line.evidence.get("facts", {}).get("detail", {}).get("stale")
        if told:
            why = told
            break
    return {"account": case.node.account, "region": case.node.region, "node": case.node.id,
            "since": format_moment(case.first_seen) if case.first_seen else None, "state": case.state.value,
            "ticket": case.ticket, "because": why}  # fmt: skip
