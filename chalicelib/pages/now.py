"""Now: what is happening, what waits and until when, and what runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib import lookup
from chalicelib.core.remediations import State
from chalicelib.pages.charts import bars
from chalicelib.pages.views import Banner, Card, Chart, Filter, Link, Table, View
from chalicelib.ports import Ports


def node_link(case: Mapping[str, Any]) -> Link:
    """A node's id that leads to its page."""
    return Link(str(case["node"]), f"node/{case['account']}/{case['region']}/{case['node']}")


def overview(ports: Ports, query: Mapping[str, str]) -> View:
    """Whether the fleet is on its way, and what needs a person."""
    now = lookup.status(ports.ledger, ports.clock.now())
    health = lookup.health(ports)
    states: Mapping[str, int] = now["states"]
    rows = [(Link(state, f"waiting?state={state}"), count) for state, count in states.items()]
    table = Table("Remediations by state", ("state", "remediations"), rows, "nothing was ever found non-compliant")
    chart = Chart("Remediations by state", bars([(state, count, _CLASSES.get(state, "bar"))
                                                 for state, count in states.items()], title="Remediations by state"),
                  table)  # fmt: skip
    turn = Table("A person's turn", ("node", "ticket", "because"),
                 [(node_link(case), case["ticket"], case["because"]) for case in now["ticketed"]],
                 "Nothing is a person's turn.")  # fmt: skip
    return View("Overview", "Is the fleet on its way, and what needs me?", {"status": now, "health": health}, table,
                _cards(states, now), (chart, turn), tuple(_banners(now, health)))  # fmt: skip


_CLASSES = {
    "resolved": "resolved", "gone": "exempt", "exempt": "exempt", "ticketed": "ticketed", "open": "open",
    "waiting": "waiting", "reboot_pending": "waiting", "queued": "work", "starting": "work", "running": "work",
    "verifying": "work",
}  # fmt: skip
_WORKING = ("queued", "starting", "running", "verifying")


def _cards(states: Mapping[str, int], now: Mapping[str, Any]) -> tuple[Card, ...]:
    working = sum(states.get(state, 0) for state in _WORKING)
    waiting = sum(states.get(state, 0) for state in ("waiting", "reboot_pending"))
    turn = states.get("ticketed", 0)
    return (
        Card("resolved", str(states.get("resolved", 0)), "proved by a fresh scan", "good"),
        Card("in work", str(working), f"{len(now['executions'])} executions in flight", to="executions"),
        Card("waiting", str(waiting), "for a window, a limit or a reboot", to="waiting"),
        Card("a person's turn", str(turn), "each with its ticket", "warn" if turn else "plain",
             "waiting?state=ticketed"),
        Card("only observed", str(states.get("open", 0)), "no policy acts on it", "warn" if states.get("open") else
             "plain", "waiting?state=open"),
        Card("exempt", str(states.get("exempt", 0)), "until a day that somebody approved", to="exemptions"),
    )  # fmt: skip


def _banners(now: Mapping[str, Any], health: Mapping[str, Any]) -> list[Banner]:
    found = []
    if now["paused"]:
        until = f"until {now['paused']['until']}" if now["paused"]["until"] else "until somebody resumes"
        found.append(Banner(f"Nothing starts, {until}: {now['paused']['by']}: {now['paused']['reason']}", "bad"))
    if health["policy_trouble"]:
        found.append(Banner(f"Policies: {health['policy_trouble']}", "bad"))
    if now["held"]:
        held = ", ".join(f"{count} by {guard}" for guard, count in now["held"].items())
        found.append(Banner(f"Guards hold remediations: {held}"))
    if now["errands"]:
        found.append(Banner(f"{now['errands']} messages to the ticket system did not get through yet"))
    return found


_WAITING = (State.WAITING, State.QUEUED, State.TICKETED, State.REBOOT_PENDING, State.OPEN, State.EXEMPT)


def waiting(ports: Ports, query: Mapping[str, str]) -> View:
    """Everything that does not move by itself now, with its reason and its next moment."""
    wanted = query.get("state", "")
    states = [state for state in _WAITING if wanted in ("", state.value)]
    found = [lookup.summary(case) for case in ports.ledger.work(states)]
    shown = [case for case in found if query.get("account", "") in ("", case["account"])
             and query.get("policy", "") in ("", str(case["policy"]))]  # fmt: skip
    table = Table("", ("node", "account", "state", "next moment", "policy", "ticket", "because"),
                  [(node_link(case), case["account"], case["state"], case["due"] or "when somebody acts",
                    case["policy"], case["ticket"], case["because"]) for case in shown],
                  "Nothing waits.")  # fmt: skip
    asked = lookup.approvals(ports)
    ask = Table("Waits for somebody's yes", ("node", "policy", "until", "has", "who may"),
                [(node_link(one), one["policy"], one["until"], f"{len(one['given'])} of {one['minimum']}",
                  ", ".join(one["by"]) or "anybody who may approve") for one in asked],
                "Nothing waits for an approval.")  # fmt: skip
    filters = (Filter("state", "State", wanted, [state.value for state in _WAITING]),
               Filter("account", "Account", query.get("account", "")),
               Filter("policy", "Policy", query.get("policy", "")))  # fmt: skip
    return View("Waiting", "What waits, why, and until when?", {"waiting": shown, "approvals": asked}, table,
                (), (ask, table), (), filters)  # fmt: skip


def executions(ports: Ports, query: Mapping[str, str]) -> View:
    """What runs now and how far it is, how full each place is, and of what kind the failures are."""
    found = lookup.executions(ports)
    flying = Table("In flight", ("execution", "place", "policies", "nodes", "running", "verifying", "proved", "since"),
                   [(one["execution"], one["location"], ", ".join(one["policies"]), one["nodes"], one["running"],
                     one["verifying"], one["proved"], one["since"]) for one in found["executions"]],
                   "No execution is in flight.")  # fmt: skip
    places = Table("Places, the fullest first", ("place", "executions", "limit", "queued"),
                   [(one["location"], one["executions"], one["limit"], one["queued"]) for one in found["places"]],
                   "No place has work.")  # fmt: skip
    failures = Table("Failed attempts still at work", ("kind", "remediations", "for example", "because"),
                     [(one["kind"], one["remediations"], one["example"], one["because"]) for one in found["failures"]],
                     "No failed attempt is at work.")  # fmt: skip
    limit = found["places"][0]["limit"] if found["places"] else None
    running = [(one["location"], one["executions"], "work") for one in found["places"][:12]]
    full = bars(running, title="Executions in flight by place", line=limit)
    kinds = bars([(one["kind"], one["remediations"], "open") for one in found["failures"]], title="Failures by kind")
    blocks = (flying, Chart("How full each place is", full, places, "The dashed line is the limit."),
              Chart("Failures by kind", kinds, failures))  # fmt: skip
    return View("Executions", "What runs now, and what fails?", found, flying, (), blocks)
