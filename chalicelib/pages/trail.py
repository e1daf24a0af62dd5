"""Trail: what auditors ask: who did what, how it was at a moment, what differs, and whether it is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from chalicelib import proof
from chalicelib.core.printing import counted
from chalicelib.pages.charts import bars, group_of
from chalicelib.pages.look import Look
from chalicelib.pages.views import Badge, Banner, Card, Chart, Link, Table, View, brief, case_link, node_link, when

Told = Mapping[str, Any]

ALSO = (Link("Search", "audit"), Link("The fleet at a moment", "audit/fleet"),
        Link("What differs", "audit/diff"), Link("Verify", "audit/verify"))  # fmt: skip


def search(look: Look) -> View:
    """Lines of the trail by what they say, oldest first."""
    found = look.say("search")
    table = Table(f"Lines from {brief(found['since'])} to {brief(found['at'])}, oldest first",
                  ("at", "node", "line", "what", "state", "actor", "because", "hash"),
                  [(when(line["at"]), case_link(line["remediation"]), line["number"], line["cause"].replace("_", " "),
                    line["after"].replace("_", " "), line["actor"], line["because"], line["hash"][:12])
                   for line in found["lines"]], "No line fits.", next=found["next"])  # fmt: skip
    return View("Audit", "Who did what, when, and why?", found, table, (), (table,), (), ALSO)


def fleet(look: Look) -> View:
    """The fleet as it was at a moment."""
    found = look.say("fleet")
    states = Table("", ("state", "remediations"), list(found["states"].items()), "Nothing was recorded by then.")
    drawn = bars([(state, count, group_of(state)) for state, count in found["states"].items()],
                 title=f"States at {brief(found['at'])}")  # fmt: skip
    table = Table("Remediations then", ("node", "account", "region", "state", "since", "policy", "deadline", "because"),
                  [(node_link(one), one["account"], one["region"], Badge(one["state"].replace("_", " ")),
                    when(one["since"]), one["policy"], when(one["deadline"], "none"), one["because"])
                   for one in found["remediations"]], "Nothing fits.", next=found["next"])  # fmt: skip
    cards = (Card("remediations", str(found["total"]), f"at {brief(found['at'])}"),
             *(Card(state.replace("_", " "), str(count)) for state, count in found["states"].items()))  # fmt: skip
    return View("The fleet at a moment", "How was it then?", found, table, cards,
                (Chart("States then", drawn, states), table), (), ALSO)  # fmt: skip


def diff(look: Look) -> View:
    """What differs between two moments."""
    found = look.say("diff")
    moves = Table("Moves", ("then", "later", "remediations"),
                  [(move["before"] or "not there", move["after"] or "not there", move["remediations"])
                   for move in found["moves"]], "Nothing moved.")  # fmt: skip
    table = Table("Which", ("node", "then", "later"),
                  [(case_link(one["id"]), one["before"] or "not there", one["after"] or "not there")
                   for one in found["remediations"]], "Nothing moved.", next=found["next"])  # fmt: skip
    cards = (Card("changed", str(found["changed"]), f"from {brief(found['since'])} to {brief(found['at'])}"),)
    return View("What differs", "What is different between two moments?", found, table, cards, (moves, table), (), ALSO)


def verify(look: Look) -> View:
    """Whether the trails that got a line since then are whole, in order, unchanged and as signed."""
    found = proof.verify(look.ports.ledger, look.now, since=look.since, vault=look.vault, signer=look.signer)
    faults = Table("Faults", ("fault",), [(fault,) for fault in found.faults], "No line is wrong.")
    sure = not found.faults and found.signed_until is not None
    verdict = "damaged" if found.faults else "whole and signed" if sure else "whole"
    cards = (
        Card("verdict", verdict, f"trails that got a line since {brief(look.query['since'])}"
             if "T" in str(look.query["since"]) else f"trails that got a line in the last {look.query['since']}",
             "bad" if found.faults else "good" if sure else "plain"),
        Card("trails", str(found.remediations), counted(found.lines, "line")),
        Card("checkpoints", str(found.checkpoints), f"signed up to {brief(found.signed_until)}" if found.signed_until
             else "no signature was checked"),
    )  # fmt: skip
    notes = tuple(Banner(f"Not checked: {note}.") for note in found.notes)
    return View("Verify", "How do I know that nobody changed the answer?", asdict(found), faults, cards, (faults,),
                notes, ALSO)  # fmt: skip
