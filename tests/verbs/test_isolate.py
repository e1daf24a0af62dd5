"""An account that refuses us: set aside with one ticket and one notice, held and not lost, let back by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chalicelib import guard, isolate
from chalicelib.adapters.policy_store import Fixed
from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.journal import Kind, subject_of
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import State
from chalicelib.core.tickets import Errand
from chalicelib.dispatch import Round, dispatch
from chalicelib.lookup import health, status
from chalicelib.ports import Ports
from chalicelib.proof import verify
from chalicelib.sweep import sweep
from tests.sets import NODE, policy_set, scan
from tests.verbs.conftest import Broken, World

OTHER = Node("444455556666", "us-east-1", "i-0fedcba9876543210")
SUBJECT = f"account/{NODE.account}"


class Barring:
    """A port that one account does not let in, for as long as `on`; it counts what was asked there."""

    def __init__(self, whole: Any, *methods: str, account: str = NODE.account) -> None:
        self.whole, self.methods, self.account, self.on, self.asked = whole, methods, account, True, 0

    def __getattr__(self, name: str) -> Any:
        def asked(first: Any, *rest: Any) -> Any:
            place = getattr(first, "location", first)
            if name in self.methods and place.account == self.account:
                self.asked += 1
                if self.on:
                    raise Barred(f"{name}: AccessDenied")
            return getattr(self.whole, name)(first, *rest)

        return asked


def barred(world: World, *methods: str) -> tuple[Ports, Barring]:
    """Five nodes in the account that refuses, one elsewhere, all due; the ports, and what bars them."""
    for number in range(5):
        node = world.node(Node(NODE.account, NODE.region, f"i-{number:017d}"))
        world.say(node)
    world.node(OTHER)
    world.say(OTHER)
    world.pass_minutes(5)
    bar = Barring(world.automations if "start" in methods else world.inventory, *methods)
    port = "automations" if "start" in methods else "inventory"
    return replace(world.ports, **{port: bar}), bar


def rounds(world: World, ports: Ports, minutes: int) -> list[Round]:
    made = []
    for _ in range(minutes):
        made.append(dispatch(ports))
        world.pass_minutes(1)
    return made


def held(world: World) -> list[tuple[State, str | None]]:
    return [(case.state, case.held) for case in world.ledger.all_heads() if case.node.account == NODE.account]


def whats(world: World) -> list[str]:
    return [line.what for line in world.ledger.entries(SUBJECT)]


def test_a_refused_start_sets_the_account_aside_once_and_the_rest_goes_on(world: World) -> None:
    ports, bar = barred(world, "start")
    made = rounds(world, ports, 60)
    assert world.case(OTHER).state is State.RUNNING
    assert held(world) == [(State.QUEUED, "account")] * 5, "held, not ticketed one by one"
    assert [ticket.title for ticket in world.tickets.kept.values()] == [
        f"account {NODE.account} refuses Patchwarden: a person's turn"
    ]
    assert len(world.notices.of("account_degraded")) == 1 and not world.notices.of("degraded")
    assert 4 <= bar.asked <= 6, "2, 4, 8, 16 and 32 minutes apart, not each minute"
    assert NODE.account in made[1].degraded
    told = status(world.ledger, world.clock.now())["degraded"]
    assert [(one["account"], one["holds"], one["ticket"]) for one in told] == [(NODE.account, 5, "oi-000000000001")]
    assert health(world.ports)["degraded"] == [NODE.account]


def test_it_comes_back_by_itself_and_its_ticket_is_closed(world: World) -> None:
    ports, bar = barred(world, "start")
    rounds(world, ports, 20)
    bar.on = False
    rounds(world, ports, 40)
    assert whats(world)[-2:] == ["answers again", "ticket resolved"]
    assert all(ticket.resolved for ticket in world.tickets.kept.values())
    assert {state for state, _ in held(world)} == {State.RUNNING}
    assert status(world.ledger, world.clock.now())["degraded"] == []
    assert verify(world.ledger, world.clock.now()).faults == ()


def test_an_account_that_cannot_be_read_is_asked_by_one_call_at_a_time(world: World) -> None:
    ports, bar = barred(world, "nodes", "patch_states", "compliance")
    rounds(world, ports, 30)
    assert bar.asked <= 6 and held(world) == [(State.QUEUED, "account")] * 5
    bar.on = False
    rounds(world, ports, 40)
    assert {state for state, _ in held(world)} == {State.RUNNING} and "answers again" in whats(world)


class Between:
    """A ticket system; something else happens while a ticket is resolved."""

    def __init__(self, whole: Any, happens: Callable[[], object]) -> None:
        self.whole, self.happens = whole, happens

    def open(self, errand: Errand) -> str:
        return str(self.whole.open(errand))

    def update(self, errand: Errand) -> None:
        self.whole.update(errand)

    def resolve(self, errand: Errand) -> None:
        self.whole.resolve(errand)
        self.happens()


def test_an_account_that_refuses_anew_while_its_ticket_is_closed_has_another_one(world: World) -> None:
    ports, _ = barred(world, "start")
    rounds(world, ports, 3)
    isolate.answers(ports, NODE.account)
    anew = Between(world.tickets, lambda: isolate.refuse(ports, NODE.location, "AccessDenied", starting=True))
    isolate.settle_tickets(replace(ports, tickets=anew), world.policies.settings.locations)
    rounds(world, ports, 5)
    assert NODE.account in isolate.degraded(world.ledger)
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True, False]


def test_the_sweep_lets_back_what_it_found_barred_although_nothing_waits_there(world: World) -> None:
    bar = Barring(world.inventory, "compliance")
    ports = replace(world.ports, inventory=bar)
    sweep(ports)
    assert whats(world) == ["degraded", "ticket opened"]
    assert bar.asked == 1, "the other Region of the account is not asked too"
    bar.on = False
    sweep(ports)
    assert bar.asked == 1, "its time has not come"
    world.pass_minutes(15)
    sweep(ports)
    assert whats(world)[-2:] == ["answers again", "ticket resolved"]


def test_a_ticket_system_that_is_down_gets_the_ticket_later_and_once(world: World) -> None:
    ports, _ = barred(world, "start")
    down = replace(ports, tickets=Broken(world.tickets, "open", Temporary("busy"), times=2))
    rounds(world, down, 6)
    assert len(world.tickets.kept) == 1 and whats(world).count("ticket opened") == 1


def test_the_pauses_double_up_to_an_hour_and_a_second_refusal_at_once_counts_once(world: World) -> None:
    waits = []
    for _ in range(8):
        isolate.refuse(world.ports, NODE.location, "AccessDenied")
        isolate.refuse(world.ports, NODE.location, "AccessDenied")
        known = isolate.degraded(world.ledger)[NODE.account]
        waits.append((known.probe - world.clock.now()) / timedelta(minutes=1))
        world.clock.move(known.probe - world.clock.now())
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    assert len(world.ledger.subjects(Kind.ACCOUNT)) == 1


def test_it_is_not_let_back_by_a_place_that_never_refused(world: World) -> None:
    ports, bar = barred(world, "start")
    elsewhere = world.node(Node(NODE.account, "us-east-1", "i-0aaaaaaaaaaaaaaaa"))
    real, bar.account = bar.account, "nobody"
    dispatch(ports)
    bar.account = real
    isolate.refuse(world.ports, NODE.location, "AccessDenied", starting=True)
    world.say(elsewhere)
    for number in range(5, 8):
        world.say(world.node(Node(NODE.account, NODE.region, f"i-{number:017d}")))
    world.pass_minutes(6)
    dispatch(ports)
    assert world.case(elsewhere).state is State.QUEUED, "the place that refused is tried, and only that"
    assert NODE.account in isolate.degraded(world.ledger)


def test_it_is_let_back_by_a_reading_once_nothing_waits_there_that_could_start(world: World) -> None:
    world.say(world.node())
    world.pass_minutes(5)
    ports = replace(world.ports, automations=Barring(world.automations, "start"))
    dispatch(ports)
    world.pass_minutes(30)
    sweep(ports)
    assert NODE.account in isolate.degraded(world.ledger), "what waits there is the better proof"
    world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
    world.say(compliant=True)
    sweep(ports)
    assert world.case().state is State.RESOLVED and isolate.degraded(world.ledger) == {}
    assert whats(world)[-2:] == ["answers again", "ticket resolved"]


def test_a_person_has_it_asked_at_once_and_does_not_wait_for_an_hour(world: World) -> None:
    ports, bar = barred(world, "start")
    rounds(world, ports, 40)
    bar.on, asked = False, bar.asked
    dispatch(ports)
    assert bar.asked == asked, "its time has not come"
    known = isolate.retry(world.ports, NODE.account, by="ops@example.com", reason="the trust is mended")
    assert known and known.tries >= 4
    newest = world.ledger.entries(SUBJECT)[-1]
    assert (newest.what, newest.actor, newest.because) == (
        "to be asked at once", "ops@example.com", "the trust is mended",
    )  # fmt: skip
    rounds(world, ports, 2)
    assert "answers again" in whats(world) and {state for state, _ in held(world)} == {State.RUNNING}
    assert isolate.retry(world.ports, NODE.account, by="ops@example.com", reason="once more") is None


def test_a_person_clears_one_that_was_given_up_and_its_ticket_is_closed(world: World) -> None:
    ports, _ = barred(world, "start")
    rounds(world, ports, 3)
    assert isolate.clear(world.ports, NODE.account, by="ops@example.com", reason="the account is closed")
    assert status(world.ledger, world.clock.now())["degraded"] == []
    without = {"accounts": [OTHER.account], "regions": ["eu-west-1", "us-east-1"]}
    sweep(replace(ports, policies=Fixed(policy_set(scope=without))))
    assert whats(world)[-2:] == ["cleared", "ticket resolved"]
    assert [ticket.resolved for ticket in world.tickets.kept.values()] == [True]
    assert len(world.notices.of("account_cleared")) == 1
    assert isolate.clear(world.ports, NODE.account, by="ops@example.com", reason="again") is None


def test_one_that_is_cleared_too_early_is_set_aside_anew_with_one_open_ticket(world: World) -> None:
    ports, _ = barred(world, "start")
    rounds(world, ports, 3)
    isolate.clear(world.ports, NODE.account, by="ops@example.com", reason="I thought it was mended")
    rounds(world, ports, 3)
    assert NODE.account in isolate.degraded(world.ledger)
    assert [ticket.resolved for ticket in world.tickets.kept.values()].count(False) == 1


def test_a_ticket_that_many_accounts_refuse_is_opened_in_the_one_that_takes_it(world: World) -> None:
    """Neither the guard's ticket nor that of an account stops at the fifth account that refuses."""
    accounts = [f"{number:012}" for number in range(1, 15)]
    places = [Location(account, "eu-west-1") for account in accounts]
    refusing = Refusing(world, {place.account for place in places[:13]})
    ports = replace(world.ports, tickets=refusing)
    subject = subject_of(Kind.GUARD, "surge/fleet")
    guard.trip(world.ports, None, subject, "too much", location=str(places[0]), value={})
    isolate.refuse(world.ports, places[3], "AccessDenied")
    asked = []
    for _ in range(6):
        before = refusing.asked
        guard.settle(ports, places)
        isolate.settle_tickets(ports, places)
        asked.append(refusing.asked - before)
    assert {str(ticket.location) for ticket in world.tickets.kept.values()} == {str(places[13])}
    assert len(world.tickets.kept) == 2 and max(asked) <= 2 * guard.MOST_PLACES


class Refusing:
    """The ticket system, which takes nothing in these accounts."""

    def __init__(self, world: World, accounts: set[str]) -> None:
        self._world, self._accounts, self.asked = world, accounts, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.tickets, name)

    def open(self, errand: Errand) -> str:
        self.asked += 1
        if errand.location.account in self._accounts:
            raise Denied("ssm:CreateOpsItem: AccessDenied")
        return self._world.tickets.open(errand)


def test_a_place_that_was_only_busy_is_asked_first_again_since_it_may_have_taken_it(world: World) -> None:
    places = [Location(f"{number:012}", "eu-west-1") for number in range(1, 4)]
    refusing = Refusing(world, {places[0].account})
    isolate.refuse(world.ports, Location("000000000009", "eu-west-1"), "AccessDenied")
    lost = replace(world.ports, tickets=LostOnce(refusing))
    for _ in range(3):
        isolate.settle_tickets(lost, places)
    assert len(world.tickets.kept) == 1


class LostOnce:
    """A ticket system whose first accepted ticket is not answered."""

    def __init__(self, whole: Any) -> None:
        self._whole, self._lost = whole, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)

    def open(self, errand: Errand) -> str:
        ticket: str = self._whole.open(errand)
        if not self._lost:
            self._lost = True
            raise Temporary("the answer was lost")
        return ticket
