"""Release: take back the exceptions that Config made for nodes which have become compliant since."""

from __future__ import annotations

from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Location
from chalicelib.core.remediations import State
from chalicelib.ports import Ports, RemediationException

ASKED_BY_CONFIG = "request by AWS Config"
"""How the lines begin, as their actor, that a remediation action of Config's asked for."""


def release(ports: Ports, location: Location) -> int:
    """How many exceptions of a location were cleared; safe to repeat.

    Config makes one after a failed attempt, and starts nothing for the node while it stands. Cleared is what has no
    end, where the trail says that Config asked for the node: a person's exception from Config should carry an end.
    """
    if ports.exceptions is None:
        return 0
    over = [one for one in ports.exceptions.exceptions(location) if one.automatic and _resolved(ports, one)]
    if over:
        ports.exceptions.clear(location, over)
        ports.notices.say("released", location=str(location), nodes=[one.node.id for one in over])
    return len(over)


def _resolved(ports: Ports, exception: RemediationException) -> bool:
    case = ports.ledger.head(remediation_id(exception.node, Control.PATCH))
    if case is None or case.state is not State.RESOLVED:
        return False
    return any(line.actor.startswith(ASKED_BY_CONFIG) for line in ports.ledger.trail(case.id))
