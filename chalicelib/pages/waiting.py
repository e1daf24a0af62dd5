"""Waiting: everything that does not move by itself now, with its reason, its next moment, and what a person may do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.core.approvals import asks
from chalicelib.core.remediations import Remediation, State
from chalicelib.lookup import who_may
from chalicelib.pages.look import Look
from chalicelib.pages.views import Ask, Badge, Figure, Table, View, node_link, when
from chalicelib.routes import MOST

HELD_FROM = (State.WAITING.value, State.QUEUED.value, State.OPEN.value, State.REBOOT_PENDING.value)
YES = (("approve", "Approve"), ("reject", "Reject"))


def waiting(look: Look) -> View:
    """Why each waits, until when, and whose turn it is."""
    found, asking = look.say("whynot"), look.say("approvals", limit=MOST, after=None)
    rows, asked = found["remediations"], asking["approvals"]
    open_asks = {one["id"] for one in asked}
    main = Table("", ("node", "account", "state", "next moment", "whose turn", "policy", "ticket", "reason"),
                 [(one["node"], one["account"], one["state"], _next(one), one["who"], one["policy"], one["ticket"],
                   one["reason"]) for one in rows], next=found["next"])  # fmt: skip
    table = Table(
        "Everything that waits, the next to move first",
        ("node", "state", "next moment", "policy", "ticket", "reason"),
        [(node_link(one), _badge(one["state"]), _next(one), one["policy"], one["ticket"], one["reason"])
         for one in rows],
        "Nothing waits that fits.",
        asks=[None if one["id"] in open_asks else hold(one["id"], one["state"]) for one in rows], next=found["next"],
    )  # fmt: skip
    cut = (f"approvals holds the first {len(asked)}: `patchwarden approvals` has all",) if asking["next"] else ()
    fitting = asked if look.query.get("state") in (None, "", State.TICKETED.value) else []
    listed = () if look.query.get("after") else (_asked(fitting, *cut),)
    return View("Waiting", "What waits, why, and until when?", {**found, "approvals": asked}, main, (),
                (*listed, table), cut=cut)  # fmt: skip


def _asked(asked: list[dict[str, Any]], note: str = "") -> Table:
    return Table(
        "Waits for somebody's yes", ("node", "policy", "what it would do", "until", "has", "who may"),
        [(node_link(one), one["policy"], one["title"] or "its policy is gone, or does not load", when(one["until"]),
          f"{len(one['given'])} of {one['minimum'] or '?'}", who_may(one))
         for one in asked],
        "Nothing waits for an approval.", note, asks=[yes_or_no(one["id"], one["node"]) for one in asked],
    )  # fmt: skip


def _next(one: Mapping[str, Any]) -> Figure:
    by_itself = "when nothing holds it" if one["reason"].startswith("held by ") else "with the next round"
    return when(one["next"], "when somebody acts" if one["who"] == "person" else by_itself)


def _badge(state: str) -> Badge:
    return Badge(state.replace("_", " "), "warn" if state in ("ticketed", "open") else "plain")


def yes_or_no(identity: str, node: str) -> Ask:
    """The form that answers a policy that asks."""
    return Ask("Answer", node, identity, YES)


def hold(identity: str, state: str) -> Ask | None:
    """The form that takes over what waits; None where nothing can be taken over."""
    if state not in HELD_FROM:
        return None
    return Ask("Take over", identity.split(".")[2], identity, (("hold", "Hold"),),
               "It becomes your turn, with a ticket; nothing starts until somebody requests it.")  # fmt: skip


def form_for(case: Remediation) -> Ask | None:
    """What a person may do with this one."""
    if case.state is State.TICKETED and asks(case.decision):
        return yes_or_no(case.id, case.node.id)
    return hold(case.id, case.state.value)
