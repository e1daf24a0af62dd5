"""The read-only REST API: a blueprint of routes, each one look-up, each behind IAM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalice.app import BadRequestError, Blueprint, IAMAuthorizer, NotFoundError

from chalicelib import lookup, wiring
from chalicelib.core.nodes import parse_node
from chalicelib.core.remediations import State

routes = Blueprint(__name__)
_IAM = IAMAuthorizer()


@routes.route("/remediations", authorizer=_IAM)
def remediations() -> dict[str, Any]:
    """`?state=&limit=&after=`: one page by id."""
    query: Mapping[str, str] = routes.current_request.query_params or {}
    return lookup.remediations(
        wiring.ports().ledger,
        state=_state(query.get("state")),
        limit=_limit(query.get("limit")),
        after=query.get("after"),
    )


@routes.route("/remediations/{identity}", authorizer=_IAM)
def remediation(identity: str) -> dict[str, Any]:
    """One remediation with its trail."""
    found = lookup.remediation(wiring.ports().ledger, identity)
    if found is None:
        raise NotFoundError("no such remediation: ids look like 111122223333.eu-west-1.i-0123456789abcdef0.patch")
    return found


@routes.route("/nodes/{account}/{region}/{node}", authorizer=_IAM)
def node(account: str, region: str, node: str) -> dict[str, Any]:
    """The trail of one node."""
    wanted = parse_node(f"{account}/{region}/{node}")
    if wanted is None:
        raise BadRequestError("a node is /nodes/{12 digits}/{Region}/{i-… or mi-…}")
    lines = lookup.trail(wiring.ports().ledger, wanted)
    if not lines:
        raise NotFoundError(f"nothing is recorded about {wanted}")
    return {"node": str(wanted), "intact": lookup.intact(lines), "trail": [line.to_json() for line in lines]}


@routes.route("/health", authorizer=_IAM)
def health() -> dict[str, Any]:
    """Whether the ledger answers, whether starts are paused, and which policy set decides.

    `policies` None: no set loads, and nothing starts. `policy_trouble`: why the published set does not decide, or None.
    """
    return lookup.health(wiring.ports())


def _state(text: str | None) -> State | None:
    if text is None or text in list(State):
        return State(text) if text else None
    raise BadRequestError(f"state is one of {', '.join(State)}")


def _limit(text: str | None) -> int:
    if text is None:
        return 50
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= lookup.MOST:
        raise BadRequestError(f"limit is a whole number from 1 to {lookup.MOST}")
    return int(text)
