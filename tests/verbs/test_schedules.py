"""A schedule starts each of its occurrences once, says why one does not start, and tells what came of the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import isolate, pause, schedules
from chalicelib.adapters.memory_fleets import MemoryFleets
from chalicelib.core.audit import fault
from chalicelib.core.chain import canonical
from chalicelib.core.errors import Barred, Denied, Stale, Temporary
from chalicelib.core.findings import remediation_id
from chalicelib.core.journal import Kind, entry, subject_of
from chalicelib.core.journal import fault as journal_fault
from chalicelib.core.nodes import Location, Node
from chalicelib.core.occurrences import PATCH_FLEET, NodeRun, Run
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import State
from chalicelib.core.schedules import Operation
from chalicelib.ports import Ports
from tests.sets import HERE, NODE, scan, scheduled
from tests.verbs.conftest import Broken, World, execution_event

THERE = Location("444455556666", "us-east-1")
DUE = datetime.fromisoformat("2026-11-24T02:00:00Z")
INSTALL = {"operation": "Install", "reboot": "if-needed"}
FREEZE = {"name": "year-end", "since": "2026-11-24T00:00:00Z", "until": "2026-11-24T03:00:00Z", "reason": "closed"}


@dataclass
class Calendar:
    """A world with schedules and a twin of the hub. It is looked at once at noon, so all calendars are known."""

    world: World
    fleets: Any = field(default_factory=lambda: MemoryFleets(HERE))
    policies: PolicySet = field(default_factory=lambda: scheduled({}))

    def having(self, *given: dict[str, Any], **settings: Any) -> Calendar:
        self.policies = self.world.policies = scheduled(*given, **settings)
        self.round()
        return self

    @property
    def ports(self) -> Ports:
        return replace(self.world.ports, fleets=self.fleets)

    def round(self, at: datetime | None = None) -> schedules.Turn:
        if at:
            self.world.clock.move(at - self.world.clock.now())
        return schedules.run_due(self.ports)

    def lines(self, name: str = "tested") -> list[str]:
        """What the journal says happened; its chain must be whole."""
        found = self.world.ledger.entries(subject_of(Kind.SCHEDULE, name))
        assert journal_fault(self.world.ledger.entry(subject_of(Kind.SCHEDULE, name)), found) is None
        return [line.what for line in found]

    def said(self, name: str = "tested") -> str:
        last = self.world.ledger.entry(subject_of(Kind.SCHEDULE, name))
        assert last is not None
        return last.because

    def run(self, name: str = "tested") -> Run:
        found = schedules.book_of(self.ports, name)[1].run
        assert found is not None
        return found

    def end(self, status: str = "Success", **did: Any) -> None:
        node = NodeRun(NODE.id, "ok", "e-1")
        self.fleets.end(str(self.run().execution), status, did.get("did", {HERE: [node]}))


@pytest.fixture
def calendar(world: World) -> Calendar:
    return Calendar(world)


def test_an_occurrence_is_started_once_however_often_it_is_looked_at(calendar: Calendar) -> None:
    calendar.having({})
    assert calendar.round(DUE - timedelta(seconds=1)).started == 0
    assert [calendar.round(DUE + timedelta(minutes=5 * n)).started for n in range(4)] == [1, 0, 0, 0]
    assert len(calendar.fleets.started) == 1
    assert calendar.lines() == ["seen", "intended", "started"]
    assert calendar.run().starts == DUE


def test_a_missed_one_is_caught_up_within_its_time_and_said_after_it(calendar: Calendar) -> None:
    calendar.having({})
    assert calendar.round(DUE + timedelta(minutes=119)).started == 1
    calendar.end()
    calendar.round(DUE + timedelta(hours=48, minutes=5))
    assert calendar.lines() == ["seen", "intended", "started", "ended", "missed", "intended", "started"]
    assert calendar.run().starts == DUE + timedelta(days=2)


def test_a_calendar_that_is_new_or_edited_starts_nothing_that_was_due_before(calendar: Calendar) -> None:
    calendar.having({})
    calendar.world.clock.move(DUE + timedelta(hours=1) - calendar.world.clock.now())
    calendar.having({"calendar": {"cron": "30 2 ? * * *"}})
    assert calendar.fleets.started == []
    assert calendar.lines() == ["seen", "seen"]


def test_a_disabled_schedule_does_nothing_and_what_runs_of_a_removed_one_is_followed(calendar: Calendar) -> None:
    calendar.having({"enabled": False})
    assert calendar.round(DUE).started == 0
    calendar.having({})
    calendar.round(DUE + timedelta(days=1))
    calendar.end()
    calendar.having()
    assert calendar.lines()[-1] == "ended"


def test_the_next_occurrence_is_refused_while_the_last_one_runs(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    assert calendar.round(DUE + timedelta(days=1)).refused == 1
    assert calendar.round(DUE + timedelta(days=1, minutes=5)).refused == 0
    assert calendar.lines()[-1] == "refused"
    assert "is still under way" in calendar.said()
    assert calendar.run().open
    assert len(calendar.fleets.started) == 1


@pytest.mark.parametrize("by", ["pause", "freeze"])
def test_a_pause_and_a_freeze_hold_an_installation_until_they_end_and_no_scan(calendar: Calendar, by: str) -> None:
    settings = {"freezes": [FREEZE]} if by == "freeze" else {}
    calendar.having(INSTALL, {"id": "scan"}, **settings)
    if by == "pause":
        until = DUE + timedelta(hours=1)
        pause.begin(calendar.world.ports, "all", by="me", reason="an incident", until=until)
    turn = calendar.round(DUE)
    assert (turn.held, turn.started) == (1, 1)
    calendar.round(DUE + timedelta(minutes=5))
    assert calendar.lines() == ["seen", "held"]
    assert calendar.round(DUE + timedelta(hours=1)).started == 1
    assert calendar.lines() == ["seen", "held", "intended", "started"]


def test_a_paused_account_and_region_are_left_out_of_an_installation_and_of_no_scan(calendar: Calendar) -> None:
    where = {"accounts": ["111122223333", "444455556666"], "units": [], "exclude": [],
             "regions": ["eu-west-1", "us-east-1"]}  # fmt: skip
    calendar.having({**INSTALL, "where": where}, {"id": "scan", "where": where})
    for scope in ("account/111122223333", "region/us-east-1"):
        pause.begin(calendar.world.ports, scope, by="me", reason="an incident")
    calendar.round(DUE)
    asked = {run.schedule: [(place.accounts, place.regions) for place in run.order.places]
             for run in calendar.fleets.started}  # fmt: skip
    assert asked.pop("scan") == [(("111122223333", "444455556666"), ("eu-west-1", "us-east-1"))]
    assert list(asked.values()) == [[(("444455556666",), ("eu-west-1",))]]


def test_an_installation_whose_places_are_all_paused_is_held(calendar: Calendar) -> None:
    calendar.having(INSTALL)
    for region in ("eu-west-1", "us-east-1"):
        pause.begin(calendar.world.ports, f"region/{region}", by="me", reason="an incident")
    assert calendar.round(DUE).held == 1
    assert "all of its places are paused" in calendar.said()


@pytest.mark.parametrize("read", [1, 2, 3])
@pytest.mark.parametrize("by", ["pause", "throttle"])
def test_a_pause_that_comes_or_goes_between_two_reads_is_never_lost(calendar: Calendar, by: str, read: int) -> None:
    """One place is paused and the other is about to be; or the switch cannot be read once."""
    two = ["111122223333", "444455556666"]
    calendar.having({**INSTALL, "where": {"accounts": two}})
    ledger: Any = calendar.world.ledger
    pause.begin(calendar.world.ports, f"account/{two[0]}", by="me", reason="an incident")
    real, reads = ledger.subjects, []

    def subjects(kind: Kind) -> Any:
        reads.append(kind)
        if reads.count(Kind.PAUSE) == read and kind is Kind.PAUSE:
            if by == "throttle":
                raise Temporary("throttled")
            pause.begin(calendar.world.ports, f"account/{two[1]}", by="me", reason="stop")
        return real(kind)

    ledger.subjects = subjects
    calendar.round(DUE)
    ledger.subjects = real
    paused = {one.scope.removeprefix("account/") for one in pause.in_force(ledger, calendar.world.clock.now())}
    for run in calendar.fleets.started:
        assert not paused & {name for place in run.order.places for name in place.accounts}
    assert reads.count(Kind.PAUSE) == 1


def test_a_person_starts_nothing_where_the_pauses_cannot_be_read(calendar: Calendar) -> None:
    calendar.having(INSTALL)
    blind = replace(calendar.ports, ledger=Broken(calendar.world.ledger, "subjects", Temporary("throttled")))
    with pytest.raises(Denied, match="the pause switch cannot be read"):
        schedules.asked_for(blind, calendar.policies, calendar.policies.schedules[0], Operation.INSTALL, "me")
    assert calendar.fleets.started == []


def test_what_was_held_too_long_is_missed_and_said(calendar: Calendar) -> None:
    calendar.having(INSTALL)
    pause.begin(calendar.world.ports, "all", by="me", reason="an incident")
    calendar.round(DUE)
    calendar.round(DUE + timedelta(hours=2))
    assert calendar.lines() == ["seen", "held", "missed"]
    assert "it was held until then" in calendar.said()


OTHERS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"platform": "windows"}, True),
    ({"where": {"accounts": ["444455556666"]}}, False),
    ({"where": {"regions": ["us-east-1"]}}, False),
    ({"where": {"accounts": [], "units": ["ou-ab12-prod00001"]}}, True),
    ({"target": {"kind": "tag", "name": "App", "values": ["web"]}}, True),
    ({"operation": "Scan", "reboot": None}, False),
]


@pytest.mark.parametrize(("given", "waits"), OTHERS)
def test_an_installation_waits_for_another_schedules_on_nodes_that_may_be_the_same(
    calendar: Calendar, given: dict[str, Any], waits: bool
) -> None:
    calendar.having({**INSTALL, **given, "id": "first"}, {**INSTALL, "id": "second"})
    turn = calendar.round(DUE)
    assert (turn.started, turn.held) == ((1, 1) if waits else (2, 0))


@pytest.mark.parametrize(("where", "waits"), [({}, True), ({"regions": ["us-east-1"]}, False)])
def test_an_installation_waits_for_the_run_of_a_schedule_that_was_renamed(
    calendar: Calendar, where: dict[str, Any], waits: bool
) -> None:
    calendar.having({**INSTALL, "where": {"regions": ["eu-west-1"]}})
    calendar.round(DUE)
    calendar.having({**INSTALL, "id": "renamed", "where": where, "calendar": {"cron": "0 3 ? * * *"}})
    turn = calendar.round(DUE + timedelta(hours=1))
    assert (turn.started, turn.held) == ((0, 1) if waits else (1, 0))
    assert ("schedule tested has been installing" in calendar.said("renamed")) is waits


def test_values_of_one_tag_are_different_nodes(calendar: Calendar) -> None:
    tagged = [{"kind": "tag", "name": "Ring", "values": [value]} for value in ("a", "b")]
    calendar.having({**INSTALL, "id": "first", "target": tagged[0]}, {**INSTALL, "id": "second", "target": tagged[1]})
    assert calendar.round(DUE).started == 2


def test_a_lost_answer_is_adopted_by_the_tag(calendar: Calendar) -> None:
    calendar.having({})
    whole = calendar.fleets
    calendar.fleets = Broken(whole, "start", Temporary("lost"), after=True)
    calendar.round(DUE)
    assert calendar.lines()[-1] == "intended"
    assert calendar.round(DUE + timedelta(minutes=5)).resumed == 1
    assert len(whole.started) == 1
    assert calendar.run().execution == whole.find(calendar.run())


def test_an_intent_that_nothing_carries_is_withdrawn_after_25_minutes_and_due_again(calendar: Calendar) -> None:
    calendar.having({})
    whole = calendar.fleets
    calendar.fleets = Broken(whole, "start", Temporary("lost"))
    calendar.round(DUE)
    first = calendar.run()
    assert calendar.round(DUE + timedelta(minutes=24)).resumed == 0
    turn = calendar.round(DUE + timedelta(minutes=26))
    assert (turn.resumed, turn.started) == (1, 1)
    assert calendar.lines() == ["seen", "intended", "withdrawn", "intended", "started"]
    assert calendar.run().token != first.token
    assert len(whole.started) == 1


def test_a_crash_after_the_start_is_found_and_not_doubled(calendar: Calendar) -> None:
    calendar.having({})
    ledger: Any = calendar.world.ledger
    real = ledger.enter

    class Killed(Exception):
        pass

    def enter(line: Any) -> None:
        if line.what == "started":
            raise Killed
        real(line)

    ledger.enter = enter
    with pytest.raises(Killed):
        calendar.round(DUE)
    ledger.enter = real
    calendar.round(DUE + timedelta(minutes=5))
    assert calendar.lines() == ["seen", "intended", "started"]
    assert len(calendar.fleets.started) == 1


def test_two_rounds_at_once_start_it_once(calendar: Calendar) -> None:
    calendar.having({})
    ledger: Any = calendar.world.ledger
    real = ledger.enter

    def enter(line: Any) -> None:
        ledger.enter = real
        calendar.round()
        real(line)

    calendar.world.clock.move(DUE - calendar.world.clock.now())
    ledger.enter = enter
    calendar.round()
    assert calendar.lines() == ["seen", "intended", "started"]
    assert len(calendar.fleets.started) == 1


def test_a_refused_start_is_said_and_not_repeated(calendar: Calendar) -> None:
    calendar.having({})
    calendar.fleets = Broken(calendar.fleets, "start", Denied("no such document"))
    calendar.round(DUE)
    assert calendar.round(DUE + timedelta(minutes=5)).started == 0
    assert calendar.lines() == ["seen", "intended", "refused"]
    assert "no such document" in calendar.said()


def test_an_ended_run_counts_its_nodes_per_location_and_is_told_once(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 0
    nodes = [NodeRun("i-0a", "ok", "e"), NodeRun("i-0b", "failed", "e", "no space"), NodeRun("i-0c", "skipped", "e")]
    did = {HERE: nodes, THERE: "the execution role cannot be assumed"}
    calendar.end("Failed", did=did)
    assert calendar.round(DUE + timedelta(minutes=10)).ended == 1
    counts = calendar.run().counts
    whole = {name: counts[name] for name in ("ok", "failed", "skipped", "locations", "unread")}
    assert whole == {"ok": 1, "failed": 1, "skipped": 1, "locations": 2, "unread": 1}
    places = schedules.places_of(calendar.ports, calendar.run())
    assert places[str(HERE)]["failures"] == ["i-0b: no space"]
    assert "cannot be assumed" in places[str(THERE)]["trouble"]
    assert counts["failures"] == [f"{HERE}/i-0b: no space"]
    assert "1 of 2 locations not reached" in calendar.said()
    calendar.round(DUE + timedelta(minutes=15))
    assert len(calendar.world.notices.of("schedule_ended")) == 1


MOST = 400 * 1024
"""What an item of the ledger's table may hold."""


def test_a_run_over_two_hundred_places_with_failures_everywhere_fits_into_the_ledger(calendar: Calendar) -> None:
    accounts = [f"{100000000000 + number}" for number in range(200)]
    share = {"concurrency": "10%", "max_errors": "100%"}
    calendar.having({"where": {"accounts": accounts, "regions": ["eu-west-1"]}, "locations": share})
    calendar.round(DUE)
    bad = [NodeRun(f"i-{number:017x}", "failed", "e", "ошибка: " * 40) for number in range(20)]
    calendar.end("Failed", did={Location(account, "eu-west-1"): bad for account in accounts})
    ledger: Any = calendar.world.ledger
    real, sizes = (ledger.enter, ledger.keep), []

    def enter(line: Any) -> None:
        sizes.append(len(canonical(line.to_json()).encode()))
        real[0](line)

    def keep(name: str, value: Any, *, expected: int) -> None:
        sizes.append(len(canonical(value).encode()))
        real[1](name, value, expected=expected)

    ledger.enter, ledger.keep = enter, keep
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 1
    assert max(sizes) < MOST
    places = schedules.places_of(calendar.ports, calendar.run())
    assert sorted(places) == [f"{account}/eu-west-1" for account in accounts]
    assert all(len(told["failures"]) == 20 for told in places.values())
    assert len(calendar.run().counts["failures"]) == 20


def test_a_location_that_is_busy_is_asked_again_and_one_that_refuses_is_said(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    calendar.end()
    whole = calendar.fleets
    calendar.fleets = Broken(whole, "nodes", Temporary("busy"))
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 0
    calendar.fleets = Broken(whole, "nodes", Denied("no"))
    assert calendar.round(DUE + timedelta(minutes=10)).ended == 1
    assert calendar.run().counts["unread"] == 1


def test_a_location_that_is_busy_has_six_hours_from_the_end_of_the_run_however_long_that_took(
    calendar: Calendar,
) -> None:
    calendar.having({})
    calendar.round(DUE)
    ended = DUE + timedelta(hours=7)
    calendar.world.clock.move(ended - calendar.world.clock.now())
    calendar.end()
    calendar.fleets = Broken(calendar.fleets, "nodes", Temporary("busy"), times=3)
    assert calendar.round().ended == 0
    assert calendar.round(ended + timedelta(hours=5, minutes=59)).ended == 0
    assert calendar.round(ended + timedelta(hours=6)).ended == 1
    assert calendar.run().counts["unread"] == 1


def test_a_run_in_an_unknown_status_and_one_that_ssm_forgot_come_to_an_end(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    key = (HERE, str(calendar.run().execution))
    calendar.fleets._executions[key] = replace(calendar.fleets._executions[key], status="Dreaming", ended=None)
    assert calendar.round(DUE + timedelta(hours=5)).ended == 0
    del calendar.fleets._executions[key]
    assert calendar.round(DUE + timedelta(hours=5, minutes=5)).ended == 1
    assert "nobody can say what it did" in calendar.said()


def test_a_node_with_a_remediation_has_the_outcome_in_its_trail_and_is_resolved_by_the_runs_scan(
    calendar: Calendar,
) -> None:
    calendar.having(INSTALL)
    world = calendar.world
    world.policies = replace(scheduled(INSTALL), policies=())
    world.say()
    calendar.world.policies = calendar.policies
    before = world.case().state
    assert before is not State.RESOLVED
    calendar.round(DUE)
    snapshot = calendar.run().snapshot
    world.inventory.scan(NODE, scan(world.clock.now(), snapshot=snapshot, missing=0, patches=()))
    other = Node(HERE.account, HERE.region, "i-0aaaaaaaaaaaaaaaa")
    calendar.end(did={HERE: [NodeRun(NODE.id, "ok", "e-1"), NodeRun(other.id, "ok", "e-2")], THERE: []})
    real = calendar.fleets.nodes

    def busy(location: Location, execution: str) -> list[NodeRun]:
        if location == THERE:
            raise Temporary("busy")
        found: list[NodeRun] = real(location, execution)
        return found

    calendar.fleets.nodes = busy
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 0
    calendar.fleets.nodes = real
    assert calendar.round(DUE + timedelta(minutes=10)).ended == 1
    lines = world.ledger.trail(world.case().id)
    assert fault(world.case(), lines) is None
    told = [line for line in lines if "schedule tested" in line.because]
    assert len(told) == 1
    assert "Install ok on this node, execution e-1" in told[0].because
    assert world.case().state is State.RESOLVED
    assert world.ledger.head(remediation_id(other, "patch")) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("outcome", "lines"), [("failed", 1), ("ok", 0), ("skipped", 0)])
def test_of_a_scan_only_what_failed_stands_in_the_trail(calendar: Calendar, outcome: str, lines: int) -> None:
    calendar.having({})
    calendar.world.say()
    calendar.round(DUE)
    calendar.end("Failed", did={HERE: [NodeRun(NODE.id, outcome, "e-1", "no answer from the repository")]})
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 1
    told = [line.because for line in calendar.world.ledger.trail(calendar.world.case().id) if "tested" in line.because]
    assert len(told) == lines
    assert all("Scan failed on this node" in one and "no answer from the repository" in one for one in told)


def test_a_person_may_start_it_now_and_not_while_it_runs(calendar: Calendar) -> None:
    calendar.having({})
    ports, asked = calendar.ports, calendar.policies.schedules[0]
    run = schedules.asked_for(ports, calendar.policies, asked, Operation.SCAN, "me")
    started = schedules.run_now(ports, run, because="me asked for it")
    assert started is not None
    assert started.execution
    again = schedules.asked_for(ports, calendar.policies, asked, Operation.SCAN, "me")
    with pytest.raises(Stale, match="under way"):
        schedules.run_now(ports, again, because="again")
    calendar.end()
    assert calendar.round(DUE).started == 1


def test_what_a_person_asked_for_and_never_started_makes_nothing_due_again(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    calendar.end()
    calendar.round(DUE + timedelta(minutes=5))
    whole = calendar.fleets
    calendar.fleets = Broken(whole, "start", Temporary("lost"))
    ports, asked = calendar.ports, calendar.policies.schedules[0]
    run = schedules.asked_for(ports, calendar.policies, asked, Operation.SCAN, "patchwarden")
    schedules.run_now(ports, run, because="asked for")
    turn = calendar.round(DUE + timedelta(minutes=45))
    assert (turn.resumed, turn.started) == (1, 0)
    assert len(whole.started) == 1


def test_more_than_fifty_accounts_share_the_pace(calendar: Calendar) -> None:
    accounts = [f"{number:012d}" for number in range(111, 231)]
    calendar.having({"where": {"accounts": accounts, "regions": ["eu-west-1"]}, "locations":
                     {"concurrency": "7", "max_errors": "10%"}})  # fmt: skip
    calendar.round(DUE)
    places = calendar.run().order.places
    assert [len(place.accounts) for place in places] == [50, 50, 20]
    assert [place.concurrency for place in places] == ["3", "2", "2"]
    assert {place.max_errors for place in places} == {"10%"}


@pytest.mark.parametrize(("pace", "shares"), [
    ({"concurrency": "3", "max_errors": "2"}, [("1", "0"), ("1", "0"), ("1", "0")]),
    ({"concurrency": "3", "max_errors": "6"}, [("1", "2"), ("1", "1"), ("1", "1")]),
])  # fmt: skip
def test_the_places_of_one_start_together_never_exceed_its_pace(
    calendar: Calendar, pace: dict[str, str], shares: list[tuple[str, str]]
) -> None:
    accounts = [f"{number:012d}" for number in range(111, 231)]
    calendar.having({"where": {"accounts": accounts, "regions": ["eu-west-1"]}, "locations": pace})
    calendar.round(DUE)
    places = calendar.run().order.places
    assert [(place.concurrency, place.max_errors) for place in places] == shares
    assert sum(int(place.concurrency) for place in places) <= int(pace["concurrency"])
    # every place begins nothing more once it has one failure more than it may
    assert sum(int(place.max_errors) + 1 for place in places) == int(pace["max_errors"]) + 1


@pytest.mark.parametrize(("pace", "why"), [
    ({"concurrency": "2", "max_errors": "10%"}, "a concurrency of 2 cannot be dealt out over 3 places"),
    ({"concurrency": "10%", "max_errors": "0"}, "a max_errors of 0 cannot be dealt out over 3 places"),
])  # fmt: skip
def test_a_pace_that_the_places_would_exceed_starts_nothing_and_says_why(
    calendar: Calendar, pace: dict[str, str], why: str
) -> None:
    accounts = [f"{number:012d}" for number in range(111, 231)]
    calendar.having({"where": {"accounts": accounts, "regions": ["eu-west-1"]}, "locations": pace})
    calendar.round(DUE)
    calendar.round(DUE)
    assert calendar.fleets.started == []
    assert calendar.lines().count("refused") == 1
    assert why in calendar.said()


def rewritten(calendar: Calendar, name: str, **run: Any) -> None:
    """The newest entry of a schedule as another release would write it; a field that is None is not in it."""
    last = calendar.world.ledger.entry(subject_of(Kind.SCHEDULE, name))
    assert last is not None
    told = {key: value for key, value in {**last.value["run"], **run}.items() if value is not None}
    value = {**last.value, "run": told}
    now = calendar.world.clock.now()
    calendar.world.ledger.enter(entry(last, last.subject, "noted", because="x", actor="later", now=now, value=value))


def test_an_entry_with_a_field_more_and_one_less_is_read_all_the_same(calendar: Calendar) -> None:
    calendar.having({})
    calendar.round(DUE)
    order = calendar.run().to_json()["order"]
    order["places"] = [{**place, "new": 1} for place in order["places"]]
    rewritten(calendar, "tested", new_field=1, order=order, asked=None, before=None, status=None)
    calendar.end()
    assert calendar.round(DUE + timedelta(minutes=5)).ended == 1


@pytest.mark.parametrize(("given", "held"), [({"operation": "Scan"}, False), (INSTALL, True)])
def test_an_entry_that_cannot_be_read_stops_its_own_schedule_and_no_scan(
    calendar: Calendar, given: dict[str, Any], held: bool
) -> None:
    """Nobody knows whether what it tells of is an installation under way, so that another installation waits."""
    other = {**given, "id": "other", "calendar": {"cron": "0 3 ? * * *"}}
    calendar.having({**INSTALL, "id": "broken"}, other)
    calendar.round(DUE)
    rewritten(calendar, "broken", hub=7)
    turn = calendar.round(DUE + timedelta(hours=1))
    assert (turn.started, turn.held, turn.refused) == ((0, 1, 1) if held else (1, 0, 1))
    told = calendar.world.notices.of("schedule_failed")
    assert {one["schedule"] for one in told} == {"broken"}
    assert "cannot be read" in told[0]["because"]
    rewritten(calendar, "broken", state="ended")
    assert calendar.round(DUE + timedelta(hours=1, minutes=5)).started == int(held)


def test_a_hub_out_of_scope_that_refused_once_is_let_back_by_the_next_round(calendar: Calendar) -> None:
    calendar.fleets = MemoryFleets(Location("999999999999", "eu-west-1"))
    calendar.having({})
    calendar.round(DUE)
    whole = calendar.fleets
    calendar.fleets = Broken(whole, "execution", Barred("AccessDenied"), times=2)
    calendar.round(DUE + timedelta(minutes=5))
    assert "999999999999" in isolate.degraded(calendar.world.ledger)
    calendar.round(DUE + timedelta(minutes=10))
    assert "999999999999" in isolate.degraded(calendar.world.ledger)
    calendar.round(DUE + timedelta(minutes=15))
    assert isolate.degraded(calendar.world.ledger) == {}


@pytest.mark.parametrize(("where", "said"), [
    ({"accounts": [f"{number:012d}" for number in range(1, 11)]}, "decided"),
    ({"accounts": [f"{number:012d}" for number in range(1, 12)]}, "noted"),
    ({"accounts": [], "units": ["ou-ab12-prod00001"]}, "noted"),
])  # fmt: skip
def test_an_event_counts_a_run_of_up_to_twenty_places_and_leaves_more_to_the_round(
    calendar: Calendar, where: dict[str, Any], said: str
) -> None:
    calendar.having({"where": {"regions": ["eu-west-1", "us-east-1"], **where}})
    calendar.round(DUE)
    calendar.end()
    event = execution_event(NODE, str(calendar.run().execution), "Success")
    event["detail"]["Definition"] = PATCH_FLEET
    assert schedules.follow(calendar.ports, event).status == said
    assert calendar.run().open == (said == "noted")
    assert calendar.round(DUE + timedelta(minutes=5)).ended == int(said == "noted")
