"""Rules: the policies in words and what they match now, and who is exempt until when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from chalicelib.core.english import in_words
from chalicelib.core.errors import PolicyError
from chalicelib.core.exemptions import exemptions as counting
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import State
from chalicelib.pages.now import node_link
from chalicelib.pages.views import Banner, Table, View
from chalicelib.ports import Ports

_OPEN = tuple(state for state in State if state not in (State.RESOLVED, State.GONE))


def policies(ports: Ports, query: Mapping[str, str]) -> View:
    """What each policy says, in rank order, and how many open remediations it decides now."""
    columns = ("policy", "band", "mode", "in words", "decides now", "owner", "digest")
    try:
        active = ports.policies.active()
    except PolicyError as error:
        none = Table("", columns, (), "No policy set loads: nothing starts.")
        return View("Policies", _QUESTION, {"policies": [], "trouble": str(error)}, none, (), (none,),
                    (Banner(str(error), "bad"),))  # fmt: skip
    decides = Counter(str(case.decision.get("policy")) for case in ports.ledger.work(_OPEN))
    told = [
        {"policy": policy.id, "band": policy.band.value, "mode": policy.mode.value, "title": policy.title,
         "words": in_words(policy), "decides": decides[policy.id], "owner": policy.owner, "digest": policy.digest}
        for policy in active.policies
    ]  # fmt: skip
    rows = [(one["policy"], one["band"], one["mode"], f"{one['title']}. {one['words']}", one["decides"], one["owner"],
             str(one["digest"])[:12]) for one in told]  # fmt: skip
    table = Table(f"Set {active.digest[:12]}", columns, rows, note="The first that matches within the strongest band "
                  "decides; the more careful action goes first.")  # fmt: skip
    return View("Policies", _QUESTION, {"set": active.digest, "policies": told}, table, (), (table,))


_QUESTION = "What do the policies say, and what do they decide now?"


def exemptions(ports: Ports, query: Mapping[str, str]) -> View:
    """Who may stay as it is, until when, who approved it, and which nodes that is now."""
    now, columns = ports.clock.now(), ("policy", "ends", "days", "nodes", "approved by", "ticket", "reason")
    exempt = list(ports.ledger.work([State.EXEMPT]))
    nodes = Counter(str(case.decision.get("policy")) for case in exempt)
    try:
        found = counting(ports.policies.active(), now)
    except PolicyError:
        found = []
    told = [
        {"policy": one.id, "ends": format_moment(one.ends) if one.ends else None,
         "days": (one.ends - now).days if one.ends else None, "nodes": nodes[one.id],
         "approved_by": one.then.approved.by if one.then.approved else None,
         "ticket": one.then.approved.ticket if one.then.approved else None, "reason": one.then.reason}
        for one in found
    ]  # fmt: skip
    table = Table("In force", columns, [tuple(one.values()) for one in told], "No exemption is in force.")
    held = Table("Exempt nodes", ("node", "account", "policy", "until"),
                 [(node_link({"node": case.node.id, "account": case.node.account, "region": case.node.region}),
                   case.node.account, case.decision.get("policy"), format_moment(case.due) if case.due else None)
                  for case in exempt], "No node is exempt.")  # fmt: skip
    return View("Exemptions", "Who may stay as it is, until when, and who said so?", {"exemptions": told}, table, (),
                (table, held))  # fmt: skip
