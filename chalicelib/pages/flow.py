"""Flow: how far what was found came and what was left where, and how fast it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.pages import charts
from chalicelib.pages.look import Look
from chalicelib.pages.views import Card, Chart, Link, Table, View, brief, case_link, lasted, to, told, when

Told = Mapping[str, Any]


def funnel(look: Look) -> View:
    """From detected to verified, and what dropped off on the way."""
    found = look.say("funnel")
    stages = list(found["stages"].items())
    first = stages[0][1]
    rows = [
        (name, count, _share(count, first), before - count if place else 0)
        for place, ((name, count), before) in enumerate(zip(stages, [first, *(n for _, n in stages)], strict=False))
    ]
    table = Table("", ("stage", "episodes", "of all", "left before"), rows)
    left = _left(found)
    drawn = charts.funnel(stages, title=f"From detected to verified since {brief(found['since'])}")
    span = f"from {brief(found['since'])} to {brief(found['at'])}"
    note = f"Episodes detected {span}; each stage holds all that came further."
    proved = found["stages"]["verified"]
    cards = (
        Card("detected", str(first), f"since {brief(found['since'])}"),
        Card("verified", str(proved), f"{_share(proved, first)} of the detected: proved by a scan", "plain"),
        Card("came no further yet", str(first - proved), "see below", "warn" if first > proved else "plain"),
    )
    return View(
        "Funnel",
        "Of what was found, how much was proved fixed, and where is the rest?",
        found,
        left,
        cards,
        (Chart("Detected to verified", drawn, table, note), left),
    )


def _left(found: Told) -> Table:
    return Table(
        "What came no further, and why",
        ("after", "now", "episodes", "policy", "for example, because"),
        [
            (
                one["after"],
                Link(one["state"].replace("_", " "), _where(one)),
                one["episodes"],
                one["policy"] or "none spoke",
                one["because"],
            )
            for one in found["left"]
        ],
        "Everything that was detected was verified.",
    )


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


def _where(one: Told) -> str:
    if one["state"] in ("resolved", "gone", "starting", "running", "verifying"):
        return to("audit/fleet", state=one["state"], policy=one["policy"])
    return to("waiting", state=one["state"], policy=one["policy"])


def speed(look: Look) -> View:
    """How long it takes, where deadlines were broken, which break next, and how old the rest is."""
    durations, sla, ages = look.say("durations"), look.say("sla"), look.say("ages")
    whole = durations["spans"]["detected_to_verified"]
    steps = [(name.replace("_", " "), *_spread(row)) for name, row in durations["spans"].items()]
    policies = Table("", ("policy", *_OF[1:]), [(row["policy"] or "none", *_spread(row))
                     for row in durations["by_policy"]], "Nothing was verified.")  # fmt: skip
    severities = Table(
        "By severity",
        ("severity", *_OF[1:]),
        [(row["severity"] or "none", *_spread(row)) for row in durations["by_severity"]],
        "Nothing was verified.",
    )
    hours = charts.bars(
        [
            (str(row["policy"] or "none"), round((row["median"] or 0) / 3600, 2), "bar")
            for row in durations["by_policy"]
        ],
        title="Median hours to verified, by policy",
        unit=" h",
    )
    blocks = (
        _late(sla),
        _ahead(sla),
        _ages(ages),
        severities,
        Chart("Median time to remediate by policy", hours, policies, "From detected to verified, in hours."),
        Table("By step", _OF, steps),
    )
    return View(
        "Speed",
        "How fast is it fixed, and where do we break our word?",
        {"durations": durations, "sla": sla, "ages": ages},
        severities,
        _cards(durations, whole, sla),
        blocks,
        cut=_cut(sla),
    )


def _cut(sla: Told) -> list[str]:
    shown, ahead = len(sla["breaches"]), len(sla["next_to_breach"])
    late = [f"sla.breaches holds {shown} of {sla['breached']}, the longest late: limit=200 shows more, "
            "`patchwarden audit sla --limit 10000` all"] if shown < sla["breached"] else []  # fmt: skip
    more = sla["to_breach"] > ahead
    soon = [f"sla.next_to_breach holds {ahead} of {sla['to_breach']}, the first to come"] if more else []
    return [*late, *soon]


_OF = ("of", "episodes", "median", "p90", "longest")


def _spread(row: Told) -> tuple[Any, ...]:
    return row["count"], lasted(row["median"]), lasted(row["p90"]), lasted(row["longest"])


def _cards(durations: Told, whole: Told, sla: Told) -> tuple[Card, ...]:
    broken = sla["breached"]
    return (
        Card(
            "MTTR, median", told(whole["median"]), f"{durations['verified']} verified since {brief(durations['since'])}"
        ),
        Card("MTTR, p90", told(whole["p90"]), "nine of ten were faster, or as fast"),
        Card("deadlines met", str(sla["met"]), "verified in time", "good" if sla["met"] and not broken else "plain"),
        Card("deadlines broken", str(broken), f"{sla['open_breaches']} still open", "bad" if broken else "plain"),
        Card(
            "without a deadline",
            str(sla["without_deadline"]),
            "open, and its policy names none",
            "warn" if sla["without_deadline"] else "plain",
        ),
    )


def _late(sla: Told) -> Table:
    rows = [
        (
            case_link(one["remediation"]),
            one["policy"],
            when(one["deadline"]),
            lasted(one["late_by"]),
            "verified" if one["verified"] else "still open",
        )
        for one in sla["breaches"]
    ]
    return Table(
        "Broken deadlines, the longest late first",
        ("node", "policy", "deadline", "late by", "is"),
        rows,
        "No deadline was broken in this span.",
        _more(len(rows), sla["breached"]),
    )


def _ahead(sla: Told) -> Table:
    rows = [
        (
            case_link(one["remediation"]),
            one["policy"],
            one["state"].replace("_", " "),
            when(one["deadline"]),
            lasted(one["remaining"]),
        )
        for one in sla["next_to_breach"]
    ]
    return Table("Breaks next", ("node", "policy", "state", "deadline", "left"), rows, "Nothing open has a deadline.",
                 _more(len(rows), sla["to_breach"]))  # fmt: skip


def _more(shown: int, all_of: int) -> str:
    return f"{shown} of {all_of} are shown: add limit=200 to the address for more." if shown < all_of else ""


_STANDING = (("late", "open"), ("in time", "resolved"), ("exempt", "exempt"), ("without deadline", "waiting"))


def _ages(ages: Told) -> Chart:
    rows = ages["ages"]
    labels = [
        f"{row['from_days']}-{row['to_days']} d" if row["to_days"] else f"over {row['from_days']} d" for row in rows
    ]
    series = [(name, kind, [row[name.replace(" ", "_")] for row in rows]) for name, kind in _STANDING]
    table = Table(
        "",
        ("age", "open", *(name for name, _ in _STANDING)),
        [
            (label, row["open"], *(values[place] for _, _, values in series))
            for place, (label, row) in enumerate(zip(labels, rows, strict=True))
        ],
    )
    return Chart(
        "How old what is open is, against its deadline",
        charts.stacked(labels, series, title="Open episodes by age and deadline"),
        table,
        f"{ages['open']} are open. Late is what its own deadline has passed.",
    )
