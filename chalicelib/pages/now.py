"""Now: whether the fleet is on its way, what runs, and what stands in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chalicelib.answers import TooLarge
from chalicelib.core.printing import counted
from chalicelib.pages.charts import GROUPS, bars, stacked
from chalicelib.pages.look import Look
from chalicelib.pages.views import (
    Badge,
    Banner,
    Block,
    Card,
    Chart,
    Link,
    Table,
    View,
    brief,
    lasted,
    node_link,
    to,
    when,
)

Told = Mapping[str, Any]


def overview(look: Look) -> View:
    """Whether the fleet is on its way, and what needs a person."""
    now, health = look.say("status"), look.say("health")
    states: Mapping[str, int] = now["states"]
    rows = [(Link(state, _where(state)), count) for state, count in states.items()]
    table = Table("Remediations by state", ("state", "remediations"), rows, "Nothing was ever found non-compliant.")
    turn = Table(
        "A person's turn",
        ("node", "ticket", "because"),
        [(node_link(case), case["ticket"] or "not written yet", case["because"]) for case in now["ticketed"]],
        "Nothing is a person's turn.",
    )
    soon = Table(
        "What moves next",
        ("node", "next moment", "policy", "because"),
        [
            (node_link(case), when(case["due"], "no moment known"), case["policy"], case["because"])
            for case in now["waiting"]
        ],
        "Nothing waits for a moment.",
    )
    trend, drawn = _trend(look)
    return View(
        "Overview",
        "Is the fleet on its way, and what needs me?",
        {"status": now, "health": health, "trend": trend},
        table,
        tuple(_cards(now)),
        (drawn, turn, soon, table),
        tuple(banners(now, health)),
        cut=[f"status.{state} holds {len(now[state])} of {count}: waiting.json?state={state} has all"
             for state, count in now["totals"].items() if len(now[state]) < count],
    )  # fmt: skip


def _where(state: str) -> str:
    """The page that lists a state."""
    if state in ("resolved", "gone", "starting", "running", "verifying"):
        return to("audit/fleet", state=state)
    return to("waiting", state=state)


def _trend(look: Look) -> tuple[Told | None, Block]:
    try:
        found = look.say("trend")
    except TooLarge as error:
        return None, Banner(f"Compliance over time is not drawn here: {error}", "plain")
    points = found["points"]
    days = {point["at"][:10] for point in points}
    labels = [point["at"][5:10] if len(days) == len(points) else point["at"][5:16].replace("T", " ")
              for point in points]  # fmt: skip
    series = [
        (name, kind, [sum(point["states"].get(state, 0) for state in members) for point in points])
        for name, kind, members in GROUPS
    ]
    table = Table(
        "",
        ("moment", *(name for name, _, _ in series), "all"),
        [
            (when(point["at"]), *(values[place] for _, _, values in series), point["total"])
            for place, point in enumerate(points)
        ],
    )
    title = f"Compliance from {brief(found['since'])} to {brief(found['at'])}"
    return found, Chart(
        "Compliance over time",
        stacked(labels, series, title=title, newest=True),
        table,
        "Each column is the whole fleet as the trail knew it at that moment.",
    )


def _cards(now: Told) -> Iterator[Card]:
    states, fresh = now["states"], now["fresh"]
    count = {name: sum(states.get(state, 0) for state in members) for name, _, members in GROUPS}
    sure = "plain" if fresh["stale"] else "good"
    yield Card(
        "compliant",
        str(count["compliant"]),
        "as far as known: no fresh sweep" if fresh["stale"] else "proved by a fresh scan",
        sure,
        to("audit/fleet", state="resolved"),
    )
    yield Card(
        "in work", str(count["in work"]), f"{counted(len(now['executions']), 'execution')} in flight", to="executions"
    )
    yield Card("waiting", str(count["waiting"]), "for a window, a limit or a reboot", to="waiting")
    turn, seen = count["a person's turn"], count["only observed"]
    yield Card(
        "a person's turn",
        str(turn),
        "each with its ticket",
        "warn" if turn else "plain",
        to("waiting", state="ticketed"),
    )
    yield Card(
        "only observed", str(seen), "no policy acts on it", "warn" if seen else "plain", to("waiting", state="open")
    )
    yield Card("exempt", str(count["exempt"]), "until a day that somebody approved", to="exemptions")
    yield Card(
        "last sweep",
        brief(fresh["swept"], "not known"),
        "too long ago: what you see may be old" if fresh["stale"] else "the whole fleet was read then",
        "bad" if fresh["stale"] else "good",
    )
    yield Card("last change", brief(fresh["moved"], "none yet"), "the newest change of a state")


def banners(now: Told, health: Told) -> Iterator[Banner]:
    """What must be seen first, the worst at the head."""
    for paused in now["pauses"]:
        until = f"until {brief(paused['until'])}" if paused["until"] else "until somebody resumes"
        what = "Nothing" if paused["scope"] == "all" else f"Nothing of {paused['scope'].replace('/', ' ')}"
        yield Banner(
            f"PAUSED. {what} starts, {until}: {paused['by']}: {paused['reason']} ({paused['holds']} queued)", "bad"
        )
    if health["policy_trouble"]:
        yield Banner(f"Policies: {health['policy_trouble']}", "bad")
    if now["fresh"]["stale"]:
        swept = (
            f"the last sweep ended {brief(now['fresh']['swept'])}"
            if now["fresh"]["swept"]
            else "no sweep has ended yet"
        )
        yield Banner(
            f"Nobody knows what the fleet is like now: {swept}, and one is due every quarter of an hour.", "bad"
        )
    for one in now["degraded"]:
        yield Banner(
            f"Account {one['account']} refuses us since {brief(one['since'])}: {one['because']} "
            f"({one['holds']} queued). All others go on.",
            "bad",
        )
    for one in now.get("guards") or ():
        since = f" since {brief(one['since'])}" if one.get("since") else ""
        yield Banner(f"The guard {one['guard']} holds{since}: {one['because']}", "bad")
    for one in now.get("rollouts") or ():
        where = f"{one['policy']}, wave {one['wave']} of {one['waves']}, {one['stands']}"
        yield Banner(f"Rollout of {where}: {one['because']}", "bad" if one["stands"] == "stopped" else "plain")
    if now["held"]:
        held = ", ".join(f"{count} by {guard}" for guard, count in now["held"].items())
        yield Banner(f"Guards hold remediations: {held}")
    if now["errands"]:
        yield Banner(f"{now['errands']} messages to the ticket system did not get through yet; each sweep tries again")


def executions(look: Look) -> View:
    """What runs now and how far it is, how full each place is, and of what kind the failures are."""
    found = look.say("executions")
    flying = _flying(found)
    blocks = (flying, _places(found["places"]), _budgets(found["budgets"]), _failures(found["failures"]))
    return View("Executions", "What runs now, and what fails?", found, flying, tuple(_counts(found)), blocks)


def _flying(found: Told) -> Table:
    columns = ("execution", "place", "policies", "nodes", "running", "verifying", "proved", "for")
    rows = [(one["execution"] or "starts now", one["location"], ", ".join(one["policies"]), one["nodes"],
             one["running"], one["verifying"], one["proved"], lasted(one["seconds"]))
            for one in found["executions"]]  # fmt: skip
    return Table("In flight", columns, rows, "No execution is in flight.")


def _places(places: Sequence[Told]) -> Chart:
    rows = [(one["location"], one["executions"], one["limit"] or "not known", _used(one), one["queued"])
            for one in places]  # fmt: skip
    table = Table("", ("place", "executions", "limit", "used", "queued"), rows, "No place has work.")
    running = [(one["location"], one["executions"], "work") for one in places[:20]]
    drawn = bars(running, title="Executions in flight by place", line=places[0]["limit"] if places else None)
    return Chart("Budget used by place", drawn, table, "The dashed line is the most that may run at once.")


def _budgets(budgets: Sequence[Told]) -> Table:
    return Table(
        "Error budget used by policy",
        ("policy", "failed nodes", "of", "used", "within", "allowed", "now"),
        [(one["policy"], one["failures"], one["limit"], f"{100 * one['failures'] / one['limit']:.0f} %",
          lasted(one["within"]), _allowed(one), _spent(one)) for one in budgets],
        "No policy in force has an error budget.",
        "A policy whose budget is spent starts nothing until somebody releases it: patchwarden guard release.",
    )  # fmt: skip


def _allowed(one: Told) -> str:
    return f"{one['max']} of {counted(one['ended'], 'node')}" if one["max"].endswith("%") else one["max"]


def _spent(one: Told) -> Badge:
    if one["spent"]:
        return Badge("spent: nothing starts", "bad")
    return Badge("some left", "warn" if 2 * one["failures"] >= one["limit"] else "plain")


def _failures(failures: Sequence[Told]) -> Chart:
    table = Table("", ("kind", "remediations", "for example", "because"),
                  [(one["kind"], one["remediations"], one["example"], one["because"]) for one in failures],
                  "No failed attempt is at work.")  # fmt: skip
    kinds = bars([(one["kind"], one["remediations"], "open") for one in failures], title="Failures by kind")
    return Chart("Failures by kind", kinds, table)


def _counts(found: Told) -> Iterator[Card]:
    nodes, queued = (sum(one[name] for one in found[part]) for name, part in
                     (("nodes", "executions"), ("queued", "places")))  # fmt: skip
    failed = sum(one["remediations"] for one in found["failures"])
    yield Card("in flight", str(len(found["executions"])), counted(nodes, "node"))
    yield Card(
        "queued",
        str(queued),
        "they start with the next rounds, once nothing holds them",
        to=to("waiting", state="queued"),
    )
    yield Card("failed attempts", str(failed), "still being worked on", "warn" if failed else "plain")


def _used(place: Told) -> str:
    return f"{100 * place['executions'] / place['limit']:.0f} %" if place["limit"] else "not known"
