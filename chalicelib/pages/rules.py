"""Rules: the policies in words and what they match now, and who is exempt until when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib import lookup
from chalicelib.core.moments import parse_moment
from chalicelib.pages.look import Look
from chalicelib.pages.views import Badge, Banner, Card, Link, Table, View, Words, brief, node_link, to, when

Told = Mapping[str, Any]
_QUESTION = "What do the policies say, and what do they decide now?"
_NAMES = ("policy", "band", "mode", "title", "words", "decides", "would", "owner", "digest")
_COLUMNS = ("policy", "band", "mode", "title", "in words", "decides now", "would decide", "owner", "digest")


def policies(look: Look) -> View:
    """What each policy says, in rank order, what it decides now, and what shadows would do against what is done."""
    found, wanted = look.say("policies"), look.query.get("policy")
    shown = [one for one in found["policies"] if wanted in (None, one["policy"])]
    last = lookup.decided(look.ports.ledger, look.now, policy=wanted)
    main = Table("", _COLUMNS, [tuple(one[name] for name in _NAMES) for one in shown])
    words = Words(
        f"Set {found['set'][:12]}, the strongest first" if found["set"] else "No policy set loads",
        [_words(one) for one in shown],
        "No policy of that name is in force.",
        "Of those that match, the strongest band decides; within it the more careful action.",
    )
    shadows = [one for one in found["shadows"] if wanted in (None, one["policy"], one["real_policy"])]
    against = Table("Shadow against real, of what is open now", ("shadow", "would", "while", "does", "remediations"),
                    [(one["policy"], one["action"], one["real_policy"] or "no policy", one["real_action"],
                      one["remediations"]) for one in shadows], "No shadow matches anything open.")  # fmt: skip
    decided = Table("Last decisions", ("moved", "node", "state", "policy", "because"),
                    [(when(one["since"]), node_link(one), Badge(one["state"].replace("_", " ")), one["policy"],
                      one["because"]) for one in last], f"Nothing moved in the last {lookup.LATELY} days.")  # fmt: skip
    trouble = (Banner(f"Policies: {found['trouble']}", "bad"),) if found["trouble"] else ()
    data = {**found, "policies": shown, "shadows": shadows, "last": last}
    return View("Policies", _QUESTION, data, main, (), (words, against, decided), trouble)


def _words(one: Told) -> tuple[str, tuple[Badge, ...], tuple[str, ...], str]:
    counts = (
        f"Decides {one['decides']} open remediations now."
        if one["mode"] == "enforce"
        else f"Would decide {one['would']} open remediations now."
    )
    badges = (Badge(one["band"]), Badge(one["mode"], "plain" if one["mode"] == "enforce" else "warn"))
    said = (one["title"], one["words"], f"{counts} Owner {one['owner']}, digest {one['digest'][:12]}.")
    return one["policy"], badges, said, to("policies", policy=one["policy"])


SOON = 30
"""Days before its end in which an exemption is marked."""


_UNKNOWN = Banner(
    "The policy set of that moment is not at hand: of exemptions that were changed since reasons and approvers are not "
    "known here, nor those that covered no node."
)


def exemptions(look: Look) -> View:
    """Who may stay as it is, until when, who approved it, and which nodes that is."""
    found = look.say("exemptions")
    columns = ("policy", "until", "approved by", "on", "ticket", "nodes", "reason")
    rows = found["exemptions"]
    table = Table("In force", columns, [_row(one) for one in rows], "No exemption is in force.")
    held = Table(
        "Exempt nodes",
        ("node", "account", "policy", "until", "ou", "because"),
        [
            (
                node_link(one),
                one["account"],
                Link(str(one["policy"]), to("policies", policy=one["policy"])),
                when(one["due"], "no end known"),
                one["ou"],
                one["because"],
            )
            for one in found["remediations"]
        ],
        "No node is exempt.",
        next=found["next"],
    )
    soon = sum(_days(one, found["at"]) <= SOON for one in rows)
    cards = (
        Card("exemptions", str(len(rows)), f"in force at {brief(found['at'])}"),
        Card("exempt nodes", str(found["total"]), "they stay as they are"),
        Card("end within 30 days", str(soon), "then their nodes are decided again", "warn" if soon else "plain"),
    )
    unknown = () if found["known"] else (_UNKNOWN,)
    return View(
        "Exemptions", "Who may stay as it is, until when, and who said so?", found, table, cards, (table, held), unknown
    )


def _row(one: Told) -> tuple[Any, ...]:
    return (
        Link(str(one["policy"]), to("policies", policy=one["policy"])),
        when(one["until"], "no end"),
        one["approved_by"],
        one["approved_on"],
        one["ticket"],
        one["remediations"],
        one["reason"],
    )


def _days(one: Told, at: str) -> float:
    return (parse_moment(one["until"]) - parse_moment(at)).days if one["until"] else float("inf")
