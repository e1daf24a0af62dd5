"""The command `policy exemptions`: who may stay non-compliant, until when, and which nodes that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from chalicelib.core.exemptions import exemptions
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import Policy
from chalicelib.core.remediations import State
from chalicelib.ports import Ledger
from patchwarden import output
from patchwarden.policy.commands import policy
from patchwarden.scope import Scope, form_option, now_option
from patchwarden.when import WHEN, When


@policy.command("exemptions")
@click.option("--expiring", type=WHEN, help="Only those that end by then: a span from now, such as 30d, or a moment.")
@click.option("--unused", is_flag=True, help="Only those under which no node is exempt now.")
@now_option
@form_option
@click.pass_obj
def policy_exemptions(scope: Scope, expiring: When | None, unused: bool, now: datetime, form: str) -> None:
    """The exemptions in force, the first to end first, and how many nodes each one exempts now."""
    ports = scope.ports()
    nodes = _exempt(ports.ledger)
    end = expiring.ahead(now) if expiring else None
    found = [
        each
        for each in exemptions(ports.policies.active(), now)
        if (end is None or (each.ends is not None and each.ends <= end)) and not (unused and nodes[each.id])
    ]
    output.rows([_told(each, nodes, now) for each in found], _COLUMNS, form=form)


_COLUMNS = ("policy", "ends", "days", "nodes", "owner", "approved_by", "ticket", "reason")


def _exempt(ledger: Ledger) -> Counter[str]:
    """How many nodes each policy exempts now."""
    return Counter(str(case.decision.get("policy")) for case in ledger.work([State.EXEMPT]))


def _told(policy: Policy, nodes: Mapping[str, int], now: datetime) -> dict[str, Any]:
    approved = policy.then.approved
    return {
        "policy": policy.id,
        "title": policy.title,
        "band": policy.band.value,
        "ends": format_moment(policy.ends) if policy.ends else None,
        "days": (policy.ends - now).days if policy.ends else None,
        "nodes": nodes[policy.id],
        "owner": policy.owner,
        "approved_by": approved.by if approved else None,
        "approved_on": approved.on if approved else None,
        "ticket": approved.ticket if approved else None,
        "reason": policy.then.reason,
        "origin": policy.origin,
    }
