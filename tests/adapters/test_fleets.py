"""Runs of schedules over the simulated Systems Manager: asked for as it must be, found, followed, and told per node."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.fleets import AwsFleets
from chalicelib.adapters.inventory import AwsInventory
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.memory_fleets import MemoryFleets
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.occurrences import Book, Run
from chalicelib.core.policies import PolicySet
from chalicelib.ports import Fleets, Ports
from chalicelib.schedules import asked_for, book_of, follow, places_of, run_due
from patchwarden.simulator.limits import Limits
from tests.adapters.simulated import World
from tests.sets import scheduled

ACCOUNTS = ["111122223333", "444455556666", "777788889999"]


@pytest.fixture
def world() -> World:
    return World(options={"limits": Limits(starts=None)})


def ports(world: World, policies: PolicySet) -> Ports:
    accounts, clock = world.accounts(), world.sim.clock
    tickets: Any = None
    return Ports(MemoryLedger(), AwsInventory(accounts), tickets, tickets, Fixed(policies), Collected(), Untraced(),
                 clock, AwsFleets(accounts, world.accounts(own=True)))  # fmt: skip


def install(world: World, **given: Any) -> tuple[Ports, PolicySet]:
    policies = scheduled(
        {"operation": "Install", "reboot": "if-needed", "nodes": {"concurrency": "50%", "max_errors": "100%"},
         "locations": {"concurrency": "3", "max_errors": "100%"}, **given},
        scope={"accounts": ACCOUNTS, "regions": ["eu-west-1", "us-east-1"]},
    )  # fmt: skip
    return ports(world, policies), policies


def test_a_due_run_is_started_once_over_six_account_regions_three_at_a_time_and_followed_to_its_counts(
    world: World,
) -> None:
    world.noncompliant()
    bundle, _ = install(world, calendar={"cron": "0 14 ? * * *", "catch_up": 7200})
    run_due(bundle)
    world.run(hours=1)
    assert run_due(bundle).started == 1
    assert run_due(bundle).started == 0
    run = book_of(bundle, "tested")[1].busy
    assert run is not None
    most = 0
    for _ in range(60):
        world.run(minutes=5)
        seen = bundle.fleets.execution(run.hub, str(run.execution))
        assert seen is not None
        most = max(most, sum(branch.status == "InProgress" for branch in seen.branches))
        if seen.ended:
            break
    assert most == 3
    assert seen is not None
    assert [branch.location for branch in seen.branches] == list(world.sim.fleet.locations)
    assert run_due(bundle).ended == 1
    done = book_of(bundle, "tested")[1].run
    assert done is not None
    counts = done.counts
    assert counts["locations"] == 6
    assert counts["unread"] == 0
    away = [one for one in world.sim.fleet.machines.values() if one.state != "terminated" and not one.online]
    assert counts["skipped"] == len(away) > 0
    assert counts["ok"] + counts["failed"] + counts["skipped"] == len(world.sim.fleet.machines)
    assert counts["ok"] > counts["failed"] > 0
    patched = [one for one in world.sim.fleet.machines.values() if one.report and one.report.snapshot == done.snapshot]
    assert len(patched) >= counts["ok"]
    assert isinstance(bundle.notices, Collected)
    assert len(bundle.notices.of("schedule_ended")) == 1


def test_the_request_says_every_pace_and_leaves_out_what_is_empty(world: World) -> None:
    bundle, policies = install(world, where={"units": ["ou-ab12-prod00001"], "exclude": ["777788889999"]},
                               hooks={"pre_install": "Example-Drain"})  # fmt: skip
    fleets = bundle.fleets
    assert isinstance(fleets, AwsFleets)
    asked = fleets._asked(asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "me"))
    assert asked["TargetLocations"] == [{
        "Accounts": ["111122223333", "ou-ab12-prod00001"], "Regions": ["eu-west-1"],
        "ExecutionRoleName": "AWS-SystemsManager-AutomationExecutionRole", "TargetLocationMaxConcurrency": "3",
        "TargetLocationMaxErrors": "100%", "IncludeChildOrganizationUnits": True, "ExcludeAccounts": ["777788889999"],
    }]  # fmt: skip
    assert (asked["MaxConcurrency"], asked["MaxErrors"], asked["TargetParameterName"]) == ("50%", "100%", "InstanceId")
    assert asked["Targets"] == [{"Key": "InstanceIds", "Values": ["*"]}]
    assert asked["Parameters"]["PreInstallHook"] == ["Example-Drain"]
    assert all(value for values in asked["Parameters"].values() for value in values)
    assert asked["Parameters"]["AutomationAssumeRole"] == [
        "arn:aws:iam::111122223333:role/AWS-SystemsManager-AutomationAdministrationRole"
    ]


def test_a_start_whose_answer_is_lost_is_adopted_by_its_tag_and_not_doubled(world: World) -> None:
    bundle, _ = install(world, calendar={"cron": "0 14 ? * * *", "catch_up": 7200})
    run_due(bundle)
    world.run(hours=2)
    world.fail("StartAutomationExecution", ReadTimeoutError(endpoint_url="x"), phase="after")
    run_due(bundle)
    assert book_of(bundle, "tested")[1].run.execution is None  # type: ignore[union-attr]
    world.run(minutes=5)
    assert run_due(bundle).resumed == 1
    run = book_of(bundle, "tested")[1].busy
    assert run is not None
    assert run.execution
    assert world.calls.count("StartAutomationExecution") == 1


def test_the_hubs_event_ends_the_run_and_a_members_event_does_not(world: World) -> None:
    heard: list[dict[str, Any]] = []
    world.sim.bus._sink = heard.append
    bundle, _ = install(world, operation="Scan", reboot=None, calendar={"cron": "0 14 ? * * *", "catch_up": 7200})
    run_due(bundle)
    world.run(hours=2)
    run_due(bundle)
    world.run(hours=3)
    ours = [event for event in heard if event["detail-type"] == "EC2 Automation Execution Status-change Notification"]
    receipts = [follow(bundle, event).status for event in ours]
    assert receipts.count("decided") == 1
    assert book_of(bundle, "tested")[1].busy is None


def test_alone_it_is_for_the_callers_account_and_region_only(world: World) -> None:
    bundle, policies = install(world)
    run = asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "owner", alone=True)
    execution = bundle.fleets.start(run)
    world.run(hours=8)
    seen = bundle.fleets.execution(run.hub, execution)
    assert seen is not None
    assert [branch.location for branch in seen.branches] == [world.home]
    found = bundle.fleets.nodes(world.home, execution)
    assert {node.node for node in found} == {machine.node.id for machine in world.sim.fleet.at(world.home)}


@pytest.mark.parametrize(("raised", "error"), [("ThrottlingException", Temporary), ("InvalidTarget", Denied)])
def test_a_refused_start_says_whose_turn_it_is(world: World, raised: str, error: type[Exception]) -> None:
    bundle, policies = install(world)
    run = asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "me")
    world.refuse("StartAutomationExecution", raised)
    with pytest.raises(error, match=raised.removesuffix("Exception")):
        bundle.fleets.start(run)


def test_a_run_is_the_same_after_the_journal(world: World) -> None:
    bundle, policies = install(world)
    run = asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "me")
    book = Book(run=run, dealt=run.starts)
    assert Book.from_json(book.to_json()) == book
    assert isinstance(Book.from_json(book.to_json()).run, Run)
    assert run.until - run.starts == timedelta(0)


def test_a_node_on_which_an_installation_is_under_way_is_skipped(world: World) -> None:
    world.noncompliant()
    bundle, policies = install(world, nodes={"concurrency": "100%", "max_errors": "100%"})
    busy = world.plain(world.home, 1)[0]
    world.sim.session().client("ssm").send_command(
        DocumentName="AWS-RunPatchBaseline", InstanceIds=[busy.id],
        Parameters={"Operation": ["Install"], "RebootOption": ["NoReboot"]},
    )  # fmt: skip
    run = asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "me", alone=True)
    execution = bundle.fleets.start(run)
    world.run(hours=8)
    found = {node.node: node for node in bundle.fleets.nodes(world.home, execution)}
    assert found[busy.id].outcome == "skipped"
    assert "an installation is under way on it" in found[busy.id].because


def test_a_platform_leaves_the_other_one_aside(world: World) -> None:
    bundle, policies = install(world, operation="Scan", reboot=None, platform="windows")
    run = asked_for(bundle, policies, policies.schedules[0], policies.schedules[0].operation, "me", alone=True)
    execution = bundle.fleets.start(run)
    world.run(hours=8)
    for node in bundle.fleets.nodes(world.home, execution):
        machine = world.sim.fleet.find(world.home, node.node)
        assert machine is not None
        assert (node.outcome == "ok") == (machine.platform.windows and machine.online), node


def test_a_hook_that_fails_and_an_account_that_refuses_are_told_in_the_counts_in_words(world: World) -> None:
    """One account's role is gone, in the others a balancer does not let go: each failure says why in its own words."""
    world.noncompliant()
    bundle, _ = install(world, calendar={"cron": "0 14 ? * * *", "catch_up": 7200},
                        hooks={"pre_install": "Example-Drain"})  # fmt: skip
    world.sim.aws.commands.hooks["Example-Drain"] = "the balancer refused to drain"
    world.sim.aws.deny("777788889999", "sts")
    run_due(bundle)
    world.run(hours=2)
    run_due(bundle)
    world.run(hours=4)
    assert run_due(bundle).ended == 1
    done = book_of(bundle, "tested")[1].run
    assert done is not None
    places = places_of(bundle, done)
    refused = {place for place, told in places.items() if "trouble" in told}
    assert {place.partition("/")[0] for place in refused} == {"777788889999"} and len(refused) == 2
    assert all("cannot be assumed" in places[place]["trouble"] for place in refused)
    failures = [text for place in set(places) - refused for text in places[place].get("failures", [])]
    assert failures
    assert all("the balancer refused to drain" in text for text in failures)
    assert (done.counts["ok"], done.counts["unread"], done.counts["failed"]) == (0, 2, len(failures))
    missing = [one for one in world.sim.fleet.at(world.home) if one.online and one.report]
    assert all(one.report and one.report.operation == "Scan" for one in missing)
    assert isinstance(bundle.notices, Collected)
    (said,) = bundle.notices.of("schedule_ended")
    assert "2 of 6 locations not reached or not read" in said["because"]


OU, BELOW = "ou-ab12-prod00001", "ou-ab12-prod00002"


def asked_of(kind: str, world: World) -> Fleets:
    """The adapter over the simulated organisation, or its twin: two accounts under a unit, one of them further down."""
    if kind == "aws":
        units = world.sim.aws.automations.units
        units[OU], units[BELOW] = (ACCOUNTS[0], ACCOUNTS[1]), (ACCOUNTS[1],)
        world.sim.aws.setup.children[OU] = (BELOW,)
        world.sim.aws.automations.groups["web"] = ("App", ("web",))
        return AwsFleets(world.accounts(), world.accounts(own=True))
    twin = MemoryFleets(world.home)
    twin.units = {OU: frozenset(ACCOUNTS[:2]), BELOW: frozenset({ACCOUNTS[1]})}
    twin.groups[world.member, "web"] = frozenset(
        one.node.id for one in world.sim.fleet.at(world.member) if one.tags.get("App") == "web"
    )
    return twin


@pytest.mark.parametrize("kind", ["aws", "memory"])
def test_a_unit_is_all_accounts_below_it_and_a_group_is_its_nodes(kind: str, world: World) -> None:
    fleets = asked_of(kind, world)
    assert fleets.unit(OU) == {ACCOUNTS[0], ACCOUNTS[1]}
    assert fleets.unit(BELOW) == {ACCOUNTS[1]}
    with pytest.raises(Denied):
        fleets.unit("ou-ab12-dev000001")
    web = frozenset(one.node.id for one in world.sim.fleet.at(world.member) if one.tags.get("App") == "web")
    assert fleets.group(world.member, "web") == web != frozenset()
    assert fleets.group(world.member, "wbe") is None


def test_an_account_that_is_suspended_is_in_no_unit(world: World) -> None:
    fleets = asked_of("aws", world)
    world.sim.aws.setup.suspended.add(ACCOUNTS[0])
    assert fleets.unit(OU) == {ACCOUNTS[1]}
