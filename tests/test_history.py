"""The past: the ledger and its export give the same figures, and both are what the trail adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib import wiring
from chalicelib.adapters.memory import MemoryClock
from chalicelib.core.moments import format_moment
from chalicelib.core.points import Where, point
from chalicelib.core.remediations import Transition, replay
from chalicelib.evidence import export
from chalicelib.history import FIRST_DAY, decisions, diff, exemptions, fleet, search
from chalicelib.past import FromLedger
from chalicelib.ports import Past, Ports
from chalicelib.speed import ages, durations, funnel, sla
from chalicelib.standing import FromStanding, grow


@pytest.fixture(scope="module")
def ports(demo_ledger: Path) -> Ports:
    return wiring.local(str(demo_ledger))


@pytest.fixture(scope="module")
def pasts(ports: Ports, tmp_path_factory: pytest.TempPathFactory) -> tuple[Past, Past, Past]:
    """The same past three times: from the ledger, from its export, and from what each exported day left standing."""
    folder, kept = tmp_path_factory.mktemp("export"), wiring.folder(tmp_path_factory.mktemp("vault"))
    list(export(ports, wiring.folder(folder), open_days=True))
    later = replace(ports, clock=MemoryClock(END))
    days = [date.fromisoformat(day["day"]) for day in export(later, kept) if day["lines"]]
    standing = FromStanding(ports.ledger, kept)
    assert len(days) > 3 and grow(ports.ledger, kept, days[:-1]) == len(days) - 1
    return FromLedger(ports.ledger, remember=True), wiring.exported(folder), standing


@pytest.fixture(scope="module")
def moments(ports: Ports) -> list[datetime]:
    """A moment before everything, six within the story, and one after it."""
    times = sorted(line.at for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id))
    within = [times[len(times) * part // 6 - 1] for part in range(1, 6)]
    return [times[0] - timedelta(days=1), times[0], *within, times[-1] + timedelta(days=1)]


END = datetime(2027, 1, 1, tzinfo=UTC)
"""After the story."""


def some(ports: Ports) -> list[Where]:
    """Filters that each leave something out, taken from the fleet itself."""
    heads = list(ports.ledger.all_heads())
    case = next(head for head in heads if head.execution)
    tags = next(one.tags for head in heads if (one := point(ports.ledger.trail(head.id))) and one.tags)
    key, value = next(iter(sorted(tags.items())))
    policy = next(head.decision for head in heads if head.decision.get("policy"))
    return [
        Where(),
        Where(account=case.node.account, region=case.node.region),
        Where(node=case.node.id),
        Where(state="resolved"),
        Where(policy=policy["policy"], action=policy["action"]),
        Where(digest=str(policy["policy_digest"])[:10]),
        Where(severity=policy["severity"]),
        Where(tag=key),
        Where(tag=f"{key}={value}"),
        Where(tag="Nobody's=x'); DROP"),
        Where(execution=case.execution),
        Where(ticket=next(head.ticket for head in heads if head.ticket)),
        Where(ou=ports.policies.active().settings.units["777788889999"]),
    ]


def test_both_sources_say_the_same_of_every_moment(
    ports: Ports, pasts: tuple[Past, Past, Past], moments: list[datetime]
) -> None:
    for where in some(ports):
        for at in moments[:: 1 if where == Where() else 3]:
            by = ("account", "policy", "severity")
            one, two, three = (fleet(past, at, where, limit=200, by=by) for past in pasts)
            assert one == two == three, (where, at)
    everything = fleet(pasts[0], moments[-1])
    assert everything["total"] == len(list(ports.ledger.all_heads()))


def test_every_filter_leaves_something_and_leaves_something_out(ports: Ports, pasts: tuple[Past, Past, Past]) -> None:
    end = END
    total = fleet(pasts[0], end)["total"]
    counts = [fleet(pasts[1], end, where)["total"] for where in some(ports)[1:]]
    assert all(count < total for count in counts), counts
    assert [index for index, count in enumerate(counts) if count == 0] == [8], "only the tag that nobody has"


def test_both_sources_say_the_same_of_what_moved(
    ports: Ports, pasts: tuple[Past, Past, Past], moments: list[datetime]
) -> None:
    for earlier, later in [(moments[0], moments[-1]), (moments[3], moments[5]), (moments[2], moments[2])]:
        for where in (Where(), Where(state="resolved")):
            one, two, three = (diff(past, earlier, later, where, limit=200) for past in pasts)
            assert one == two == three
    assert diff(pasts[0], moments[2], moments[2])["changed"] == 0
    assert diff(pasts[0], moments[0], moments[-1])["changed"] == len(list(ports.ledger.all_heads()))


def test_both_sources_say_the_same_of_speed_and_deadlines(
    ports: Ports, pasts: tuple[Past, Past, Past], moments: list[datetime]
) -> None:
    for since, until in [(moments[0], moments[-1]), (moments[3], moments[6])]:
        for where in (Where(), Where(account=next(ports.ledger.all_heads()).node.account)):
            for ask in (durations, funnel, lambda past, since, until, where: ages(past, until, where), sla):
                one, two, three = (ask(past, since, until, where) for past in pasts)
                assert one == two == three, (ask, since)
    told = durations(pasts[0], moments[0], moments[-1])
    resolved = sum(
        line.cause == "resolved" for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id)
    )
    assert told["verified"] == resolved > 0
    assert told["spans"]["detected_to_verified"]["count"] == resolved
    assert (
        sum(row["count"] for row in told["by_policy"]) == sum(row["count"] for row in told["by_severity"]) == resolved
    )


def test_a_point_is_what_replay_makes_of_the_same_lines(ports: Ports) -> None:
    for case in ports.ledger.all_heads():
        lines = ports.ledger.trail(case.id)
        for end in range(1, len(lines) + 1):
            told, folded = replay(case.node, case.control, lines[:end]), point(lines[:end])
            assert folded is not None
            assert (folded.state, folded.number, folded.hash, folded.because, folded.attempts, folded.episode) == (
                told.state, told.number, told.hash, told.because, told.attempts, told.episode)  # fmt: skip
            assert folded.policy == told.decision.get("policy") and folded.ticket == told.ticket
            assert folded.due == (format_moment(told.due) if told.due else None)
            assert folded.since == format_moment(told.since or lines[0].at)


def all_pages(ask: Any, rows: str) -> list[Any]:
    found, after = [], None
    for _ in range(1000):
        page = ask(after)
        found += page[rows]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("the pages do not end")


def test_pages_give_each_row_once(pasts: tuple[Past, Past, Past], moments: list[datetime]) -> None:
    whole = fleet(pasts[0], moments[-1], limit=200)["remediations"]
    for past in pasts:
        assert all_pages(lambda after: fleet(past, moments[-1], limit=5, after=after), "remediations") == whole  # noqa: B023
    lines = search(pasts[0], moments[0], moments[-1], limit=10_000)["lines"]
    for past in pasts:
        asked = all_pages(lambda after: search(past, moments[0], moments[-1], limit=7, after=after), "lines")  # noqa: B023
        assert asked == lines


def test_a_search_from_long_ago_reads_no_day_on_which_nobody_could_write(ports: Ports) -> None:
    read: list[date] = []

    class Noted(FromLedger):
        def lines(self, day: date) -> Iterator[Transition]:
            read.append(day)
            return super().lines(day)

    past, since = Noted(ports.ledger), datetime(1000, 1, 1, tzinfo=UTC)
    assert search(past, since, END, limit=1)["lines"] == search(past, END - timedelta(days=300), END, limit=1)["lines"]
    assert min(read) == FIRST_DAY and len(read) < 2 * 366


def test_a_search_finds_by_what_a_line_says(
    ports: Ports, pasts: tuple[Past, Past, Past], moments: list[datetime]
) -> None:
    lines = [line for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id)]
    causes = Counter(line.cause.value for line in lines)
    for past in pasts:
        for cause in ("started", "ticketed", "resolved"):
            found = search(past, moments[0], moments[-1], cause=cause, limit=10_000)
            assert len(found["lines"]) == causes[cause] > 0
        asked = search(past, moments[0], moments[-1], actor="REQUEST BY", limit=10_000)["lines"]
        assert {line["actor"] for line in asked} == {line.actor for line in lines if "request by" in line.actor}
        day = search(past, lines[0].at, lines[0].at, limit=10_000)["lines"]
        assert lines[0].to_json() in day and all(line["at"] == format_moment(lines[0].at) for line in day)


def test_a_search_stops_reading_and_says_where(pasts: tuple[Past, Past, Past], moments: list[datetime],
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("chalicelib.history.LOOKED_AT", 10)
    found = search(pasts[0], moments[0], moments[-1], cause="gone")
    assert found["lines"] == [] and found["next"]
    asked = all_pages(lambda after: search(pasts[0], moments[0], moments[-1], cause="gone", after=after), "lines")
    monkeypatch.undo()
    assert asked == search(pasts[0], moments[0], moments[-1], cause="gone")["lines"]


@pytest.mark.parametrize("cursor", ["", "x", "2026-11-23T12:00:00Z", "2026-11-23/x/1", "2026-11-23T12:00:00Z/x/-1"])
def test_a_foreign_cursor_is_refused(pasts: tuple[Past, Past, Past], moments: list[datetime], cursor: str) -> None:
    with pytest.raises(ValueError, match=r"cursor|isoformat|zone"):
        search(pasts[0], moments[0], moments[-1], after=cursor)


def test_exemptions_name_who_approved_them_and_what_they_cover(ports: Ports, pasts: tuple[Past, Past, Past]) -> None:
    end = END
    known = ports.policies.active()
    at = max(line.at for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id))
    for policies in (known, None):
        one, two, three = (exemptions(past, at, policies) for past in pasts)
        assert one == two == three
        assert one["total"] == sum(row["remediations"] for row in one["exemptions"]) > 0
        assert one["known"] is (policies is not None)
    covered = [row for row in exemptions(pasts[0], at, known)["exemptions"] if row["remediations"]]
    assert all(row["approved_by"] and row["reason"] and row["until"] for row in covered)
    assert exemptions(pasts[0], end, None)["set_digest"] is None
    filled = exemptions(pasts[0], at, None, active=known)
    assert filled["known"] is False and {row["policy_digest"] for row in filled["exemptions"]} <= {
        one.digest for one in known.policies
    }
    assert [row for row in filled["exemptions"] if row["remediations"]] == covered, "the same digest is the same policy"


def test_decisions_of_a_digest_are_those_lines(
    ports: Ports, pasts: tuple[Past, Past, Past], moments: list[datetime]
) -> None:
    digest = next(head.decision["policy_digest"] for head in ports.ledger.all_heads() if head.decision.get("policy"))
    lines = [line for case in ports.ledger.all_heads() for line in ports.ledger.trail(case.id)]
    ours = {f"{line.remediation}#{line.number}" for line in lines
            if line.sets.get("decision", {}).get("policy_digest") == digest}  # fmt: skip
    for past in pasts:
        found = decisions(past, digest[:12], moments[0], moments[-1], limit=10_000)["decisions"]
        assert {row["decision"] for row in found} == ours
        assert {row["policy_digest"] for row in found} == {digest}


def test_an_empty_past_is_no_error(tmp_path: Path, moments: list[datetime]) -> None:
    empty = wiring.local(None)
    list(export(empty, wiring.folder(tmp_path), open_days=True))
    (tmp_path / "trail").mkdir(exist_ok=True)
    for past in (FromLedger(empty.ledger), wiring.exported(tmp_path)):
        assert fleet(past, moments[-1])["total"] == 0
        assert durations(past, moments[0], moments[-1])["verified"] == 0
