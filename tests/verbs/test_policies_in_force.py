"""What the service does with the policies it has: none that loads, exemptions that end, emergencies that meet them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws

from chalicelib.adapters.dynamodb import TABLE, DynamoLedger
from chalicelib.adapters.memory import MemoryClock
from chalicelib.adapters.memory_aws import MemoryAutomations, MemoryInventory, MemoryTickets
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Bucket, Fixed, Published
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.chain import canonical
from chalicelib.core.errors import PolicyError
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.publications import Act, publication
from chalicelib.core.remediations import State
from chalicelib.dispatch import dispatch
from chalicelib.follow import follow
from chalicelib.intake import receive, request
from chalicelib.lookup import health
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from tests import aws
from tests.sets import NODE, NOW, policy, policy_document, policy_set, scan, tag
from tests.verbs.conftest import World, execution_event, ssm_event

UNTIL = NOW + timedelta(days=40)


class NoSet:
    """A store in which no set loads."""

    def active(self) -> PolicySet:
        raise PolicyError("the compiled policy set is no JSON")

    def trouble(self) -> str | None:
        return None


def without_policies(world: World) -> Ports:
    ports = world.ports
    return Ports(ports.ledger, ports.inventory, ports.automations, ports.tickets, NoSet(), ports.notices,
                 ports.tracing, ports.clock)  # fmt: skip


def exemption(until: datetime = UNTIL, **given: Any) -> dict[str, Any]:
    return policy("legacy", action="exempt", reason="its vendor is gone", until=format_moment(until), **given)


def emergency(**given: Any) -> dict[str, Any]:
    return policy("zero-day", **{"band": "emergency", "expires": "2027-01-01T00:00:00.000Z", **given})


class TestWithoutAnySet:
    def test_every_finding_becomes_a_ticket(self, world: World) -> None:
        world.node()
        receipt = receive(without_policies(world), ssm_event(NODE, False, NOW))
        assert (receipt.status, receipt.state) == ("decided", "ticketed")
        assert receipt.because == "no policy set loads: the compiled policy set is no JSON"
        assert world.case().ticket is not None
        assert world.causes()[0] == "ticketed"

    def test_a_request_becomes_a_ticket_too(self, world: World) -> None:
        world.node()
        asked = {"ResourceId": NODE.id, "AccountId": NODE.account, "Region": NODE.region}
        assert request(without_policies(world), asked).state == "ticketed"

    def test_a_second_finding_is_only_noted(self, world: World) -> None:
        world.node()
        for minute in (0, 1):
            receive(without_policies(world), ssm_event(NODE, False, NOW + timedelta(minutes=minute)))
        assert world.causes().count("ticketed") == 1

    def test_a_node_that_is_compliant_again_is_resolved_all_the_same(self, world: World) -> None:
        world.node()
        receive(without_policies(world), ssm_event(NODE, False, NOW))
        world.pass_minutes(10)
        world.inventory.scan(NODE, scan(world.clock.now(), missing=0, patches=()))
        receive(without_policies(world), ssm_event(NODE, True, world.clock.now()))
        assert world.case().state is State.RESOLVED

    def test_nothing_starts(self, world: World) -> None:
        world.node()
        world.say()
        assert world.case().state is State.QUEUED
        world.pass_minutes(10)
        done = dispatch(without_policies(world))
        assert (done.executions, done.woken) == (0, 0)
        assert done.paused == "no policy set loads: the compiled policy set is no JSON"
        assert world.case().state is State.QUEUED
        assert world.round().executions == 1

    def test_an_execution_under_way_is_followed_to_its_end(self, world: World) -> None:
        world.node()
        execution = world.start()
        world.scanned()
        world.automations.end(NODE.location, execution, "Success", at=world.clock.now(), steps={})
        follow(without_policies(world), execution_event(NODE, execution, "Success"))
        assert world.case().state is State.RESOLVED

    def test_the_sweep_goes_on_with_what_has_begun(self, world: World) -> None:
        world.node()
        world.start()
        world.pass_minutes(60)
        assert sweep(without_policies(world)).missed == 0
        assert {said["decides"] for said in world.notices.of("no_policies")} == {"nothing"}

    def test_the_tickets_are_decided_anew_once_a_set_loads(self, world: World) -> None:
        world.node()
        receive(without_policies(world), ssm_event(NODE, False, NOW))
        world.pass_minutes(15)
        sweep(world.ports)
        assert world.case().state is State.QUEUED

    def test_health_says_so(self, world: World) -> None:
        told = health(without_policies(world))
        assert told["policies"] is None
        assert told["policy_trouble"] == "no policy set loads: the compiled policy set is no JSON"
        assert health(world.ports) == {"ledger": "ok", "paused": None, "pauses": [], "degraded": [],
                                       "policies": world.policies.digest, "guards": [],
                                       "policy_trouble": None}  # fmt: skip


class TestExemptions:
    def test_the_round_after_its_end_reopens_and_the_clock_of_the_deadline_never_resets(self, world: World) -> None:
        world.policies = policy_set(exemption(), policy("weekly", deadline=30 * 86400, window="saturday"))
        world.node()
        world.say()
        assert world.case().state is State.EXEMPT
        seen = world.case().first_seen
        world.clock.move(UNTIL - NOW - timedelta(minutes=1))
        world.round()
        assert world.case().state is State.EXEMPT
        world.pass_minutes(1)
        world.round()
        assert world.case().state is State.TICKETED
        assert world.case().because.startswith("weekly: its deadline 2026-12-23T12:00:00.000Z comes before")
        assert world.case().first_seen == seen == NOW

    def test_an_exemption_that_is_renewed_is_asked_for_again_and_stays(self, world: World) -> None:
        world.policies = policy_set(exemption(), policy("weekly"))
        world.node()
        world.say()
        world.policies = policy_set(exemption(UNTIL + timedelta(days=30)), policy("weekly"))
        world.clock.move(UNTIL - NOW)
        world.round()
        assert (world.case().state, world.case().due) == (State.EXEMPT, UNTIL + timedelta(days=30))

    def test_its_owner_is_reminded_once_30_and_once_7_days_ahead(self, world: World) -> None:
        world.policies = policy_set(exemption(), policy("weekly"))
        told: dict[int, int] = Counter()
        for day in range(45):
            sweep(world.ports)
            sweep(world.ports)
            told[day] = len(world.notices.of("exemption_ends")) - sum(told.values())
            world.clock.move(timedelta(days=1))
        assert {day for day, count in told.items() if count} == {10, 33}
        assert sum(told.values()) == 2
        first, last = world.notices.of("exemption_ends")
        assert (first["policy"], first["days"], last["days"]) == ("legacy", 30, 7)
        assert first["owner"] == "secops@example.com"
        assert first["because"] == "legacy exempts until 2027-01-02T12:00:00.000Z: in 30 days or less"

    def test_an_exemption_that_is_short_from_the_start_is_spoken_of_once(self, world: World) -> None:
        world.policies = policy_set(exemption(NOW + timedelta(days=5)))
        for _ in range(3):
            sweep(world.ports)
        assert [said["days"] for said in world.notices.of("exemption_ends")] == [7]

    def test_a_renewed_exemption_is_spoken_of_anew(self, world: World) -> None:
        for days in (5, 6):
            world.policies = policy_set(exemption(NOW + timedelta(days=days)))
            sweep(world.ports)
        assert len(world.notices.of("exemption_ends")) == 2

    @pytest.mark.parametrize(
        "given", [{"mode": "shadow"}, {"mode": "off"}, {"until": NOW}, {"expires": format_moment(NOW)}]
    )
    def test_an_exemption_that_does_not_count_is_not_spoken_of(self, world: World, given: dict[str, Any]) -> None:
        world.policies = policy_set(exemption(**given))
        sweep(world.ports)
        assert world.notices.of("exemption_ends") == []


class TestEmergencies:
    @pytest.mark.parametrize("band", ["guardrail", "emergency", "standard", "default"])
    def test_an_exempt_node_that_an_emergency_meets_is_a_ticket(self, world: World, band: str) -> None:
        world.policies = policy_set(exemption(band=band), emergency(severity=1))
        world.node()
        receipt = world.say()
        assert receipt.state == "ticketed"
        assert receipt.because == (
            "exempt node exposed: zero-day is an emergency (the policy zero-day), "
            "and legacy exempts the node: its vendor is gone"
        )
        assert (world.case().decision["policy"], world.case().decision["severity"]) == ("zero-day", 1)
        assert world.case().ticket is not None

    def test_a_node_that_was_exempt_before_the_emergency_is_found_by_the_next_sweep(self, world: World) -> None:
        world.policies = policy_set(exemption())
        world.node()
        world.say()
        assert world.case().state is State.EXEMPT
        world.policies = policy_set(exemption(), emergency())
        sweep(world.ports)
        assert world.case().state is State.TICKETED
        sweep(world.ports)
        world.say(at=NOW + timedelta(minutes=1))
        assert world.causes().count("ticketed") == 1

    def test_a_node_that_is_not_exempt_is_remediated(self, world: World) -> None:
        exempt = policy("legacy", tag("App", "legacy"), action="exempt", reason="x", until=format_moment(UNTIL))
        world.policies = policy_set(exempt, emergency())
        world.node()
        assert world.say().state == "queued"

    def test_a_node_whose_exemption_cannot_be_evaluated_is_a_ticket(self, world: World) -> None:
        exempt = policy("legacy", tag("App", "legacy"), action="exempt", reason="x", until=format_moment(UNTIL))
        world.policies = policy_set(exempt, emergency())
        world.node(tags=None)
        assert world.say().because.startswith("exempt node exposed: ")

    @pytest.mark.parametrize(
        "given",
        [
            {"mode": "shadow"},
            {"until": NOW},
            {"expires": format_moment(NOW)},
            {"rollout": {"percent": 0, "accounts": None}},
        ],
    )
    def test_an_exemption_that_does_not_count_holds_nothing_up(self, world: World, given: dict[str, Any]) -> None:
        world.policies = policy_set(exemption(**given), emergency())
        world.node()
        assert world.say().state == "queued"

    def test_an_emergency_that_has_ended_leaves_the_exemption(self, world: World) -> None:
        world.policies = policy_set(exemption(), emergency(expires=format_moment(NOW)))
        world.node()
        assert world.say().state == "exempt"

    def test_whoever_asks_for_the_exposed_node_has_decided(self, world: World) -> None:
        world.policies = policy_set(exemption(), emergency())
        world.node()
        world.say()
        asked = {"ResourceId": NODE.id, "AccountId": NODE.account, "Region": NODE.region, "RequestedBy": "ciso"}
        assert request(world.ports, asked).state == "queued"


def test_an_event_costs_two_calls_while_the_set_is_known() -> None:
    """The head is read and one transaction written; the policy set is asked for once in 30 seconds."""
    calls: list[str] = []
    with mock_aws():
        table, bucket = aws.client("dynamodb"), aws.client("s3", "us-east-1")
        table.create_table(TableName="ledger", **TABLE)
        bucket.create_bucket(Bucket="policies")
        for client in (table, bucket):
            client.meta.events.register("before-call", lambda model, **_: calls.append(model.name))
        clock, notices, ledger = MemoryClock(NOW), Collected(), DynamoLedger("ledger", lambda: table)
        shelf = Bucket("policies", lambda: bucket)
        document = policy_document(policy("now"))
        shelf.put(document["digest"], canonical(document).encode())
        ledger.publish(publication(None, Act.PUBLISHED, document["digest"], by="sec", because="", now=NOW))
        store = Published(ledger, shelf, Fixed(policy_set()), clock=clock, notices=notices)
        ports = Ports(
            ledger, MemoryInventory(), MemoryAutomations(), MemoryTickets(), store, notices, Untraced(), clock
        )
        for second, wanted in [(0, 4), (1, 2), (29, 2), (30, 3)]:
            calls.clear()
            clock.move(NOW + timedelta(seconds=second) - clock.now())
            assert receive(ports, ssm_event(NODE, False, clock.now())).status in ("decided", "noted")
            assert len(calls) == wanted, calls
