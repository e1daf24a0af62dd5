"""`patchwarden schedule run`, `history` and `members`, as a person meets them, over the simulated organisation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib import pause, wiring
from chalicelib.adapters.fleets import AwsFleets
from chalicelib.adapters.inventory import AwsInventory
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.nodes import Location
from chalicelib.ports import Ports
from chalicelib.schedules import run_due
from patchwarden.cli import cli
from patchwarden.simulator.limits import Limits
from tests.adapters.simulated import World
from tests.sets import scheduled

ROOT = Path(__file__).parents[1]
SCOPE = {"accounts": ["111122223333", "444455556666", "777788889999"], "regions": ["eu-west-1", "us-east-1"]}
INSTALL: dict[str, Any] = {
    "id": "weekly", "operation": "Install", "reboot": "if-needed",
    "target": {"kind": "tag", "name": "PatchSchedule", "values": ["weekly"]},
}  # fmt: skip


@pytest.fixture
def world() -> World:
    return World(options={"limits": Limits(starts=None)})


@pytest.fixture(autouse=True)
def ports(world: World) -> Iterator[Ports]:
    policies = scheduled({}, INSTALL, {**INSTALL, "id": "other", "target": {"kind": "tag", "name": "Environment",
                         "values": ["prod"]}}, scope=SCOPE)  # fmt: skip
    accounts, nothing = world.accounts(), Untraced()
    unused: Any = None
    bundle = Ports(MemoryLedger(), AwsInventory(accounts), unused, unused, Fixed(policies), Collected(), nothing,
                   world.sim.clock, AwsFleets(accounts, world.accounts(own=True)))  # fmt: skip
    wiring.use(bundle)
    yield bundle
    wiring.use(None)


def run(*arguments: str, said: str = "") -> Result:
    return CliRunner().invoke(cli, ["schedule", *arguments], input=said)


def starts(world: World) -> int:
    return world.calls.count("StartAutomationExecution")


def test_it_shows_what_it_would_start_and_asks(world: World) -> None:
    answer = run("run", "tested", "-o", "json", said="n\n")
    assert answer.exit_code == 4
    assert starts(world) == 0
    (told,) = json.loads(answer.stdout)
    assert told["accounts"].split() == SCOPE["accounts"]
    assert told["locations_at_once"] == "3"
    assert "nothing was started" in answer.stderr


def test_yes_starts_it_and_the_history_tells_how_it_ended(world: World, ports: Ports) -> None:
    answer = run("run", "tested", "--operation", "Scan", "--yes", "--by", "me")
    assert answer.exit_code == 0, answer.output
    assert starts(world) == 1
    assert run("run", "tested", "--yes").exit_code == 4
    world.run(hours=6)
    run_due(ports)
    lines = json.loads(run("history", "tested", "-o", "json").stdout)
    assert [line["what"] for line in lines] == ["seen", "ended", "started", "intended"]
    counts = lines[1]["value"]["run"]["counts"]
    assert len(counts["places"]) == counts["locations"] == 6
    assert sum(place["ok"] for place in counts["places"].values()) == counts["ok"]
    ended = run("history", "tested", "-o", "csv").stdout.splitlines()[2]
    assert ",ended,Scan," in ended


@pytest.mark.parametrize(
    "arguments", [["run", "weekly", "--yes"], ["run", "tested", "--operation", "Install", "--yes"]]
)
def test_a_pause_holds_an_installation_and_no_scan(world: World, ports: Ports, arguments: list[str]) -> None:
    pause.begin(ports, "all", by="me", reason="an incident")
    answer = run(*arguments)
    assert answer.exit_code == 4
    assert "paused by me: an incident" in answer.stderr
    assert starts(world) == 0
    assert run("run", "tested", "--yes").exit_code == 0


def test_an_accounts_owner_starts_it_there_and_nowhere_else(world: World) -> None:
    refused = run("run", "tested", "--only-account", "444455556666", "--yes")
    assert (refused.exit_code, starts(world)) == (4, 0)
    assert "these credentials are of 111122223333" in refused.stderr
    answer = run("run", "tested", "--only-account", "self", "--yes", "-o", "json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)[0]["accounts"] == "111122223333"
    (execution,) = [one for one in world.sim.aws.automations.known(world.home) if one.parent is None]
    assert "TargetLocations" not in execution.to_api()


def test_the_owners_own_start_reads_files_and_keeps_to_their_places_and_freezes(world: World) -> None:
    policies = ["--policies", str(ROOT / "policies"), "--only-account", "self", "--yes"]
    assert run("run", "daily-scan", *policies).exit_code == 0
    refused = run("run", "dev-install", *policies)
    assert refused.exit_code == 4
    assert "it is not for account 111122223333" in refused.stderr
    assert run("run", "daily-scan", *policies[:2]).exit_code == 2


def test_a_misspelt_name_is_told_what_is_near() -> None:
    answer = run("run", "weekli")
    assert answer.exit_code == 2
    assert "weekly" in answer.stderr
    assert run("history", "weekli").exit_code == 2


def test_members_are_in_one_in_none_in_several_or_name_a_schedule_that_is_not_there(world: World) -> None:
    there = [one for one in world.sim.fleet.at(world.member) if one.online and not one.hybrid]
    alone, twice, lost = there[:3]
    alone.tags.update(PatchSchedule="weekly", Environment="dev")
    twice.tags.update(PatchSchedule="weekly", Environment="prod")
    lost.tags.update(PatchSchedule="weakly", Environment="dev")
    answer = run("members", "--account", world.member.account, "-o", "json")
    assert answer.exit_code == 3
    told = {one["node"]: one for one in json.loads(answer.stdout)}
    assert told[str(alone.node)]["state"] == "one"
    assert told[str(twice.node)] | {"name": ""} == {
        "node": str(twice.node), "name": "", "tag": "weekly", "state": "several", "installs": "weekly other",
        "scans": "tested",
    }  # fmt: skip
    assert told[str(lost.node)]["state"] == "unknown"
    assert any(one["state"] == "none" for one in told.values())


def test_a_hybrid_node_joins_no_schedule_by_a_tag(world: World) -> None:
    """A tag finds EC2 instances: https://docs.aws.amazon.com/systems-manager/latest/userguide/running-automations-map-targets.html"""
    tagged = next(one for one in world.sim.fleet.machines.values() if one.hybrid and one.online)
    tagged.tags.update(PatchSchedule="weekly", Environment="prod")
    answer = run("members", "--all", "-o", "json")
    (told,) = (one for one in json.loads(answer.stdout) if one["node"] == str(tagged.node))
    assert (told["tag"], told["state"], told["installs"]) == ("weekly", "none", "")


UNITS: dict[str, Any] = {**INSTALL, "id": "by-unit", "target": {"kind": "all", "name": None, "values": []},
                         "where": {"accounts": [], "units": ["ou-ab12-prod00001"], "exclude": [],
                                   "regions": ["eu-west-1", "us-east-1"]}}  # fmt: skip
GROUP: dict[str, Any] = {**INSTALL, "id": "by-group", "where": {"accounts": SCOPE["accounts"],
                         "regions": SCOPE["regions"]}, "target": {"kind": "resource_group", "name": "web",
                         "values": []}}  # fmt: skip


def having(ports: Ports, *schedules: dict[str, Any]) -> None:
    wiring.use(replace(ports, policies=Fixed(scheduled(*schedules, scope=SCOPE))))


def joined(world: World, *arguments: str) -> tuple[Result, dict[str, set[str]]]:
    """What each account's nodes install by."""
    answer = run("members", "-o", "json", *arguments)
    told: dict[str, set[str]] = {account: set() for account in SCOPE["accounts"]}
    for one in json.loads(answer.stdout):
        told[one["node"].partition("/")[0]].add(one["installs"])
    return answer, told


def test_the_accounts_of_a_unit_and_of_those_below_it_are_looked_up_and_excluded_units_left_out(
    world: World, ports: Ports
) -> None:
    units = world.sim.aws.automations.units
    units["ou-ab12-prod00001"] = ("111122223333", "444455556666")
    units["ou-ab12-prod00002"] = ("444455556666",)
    world.sim.aws.setup.children["ou-ab12-prod00001"] = ("ou-ab12-prod00002",)
    having(ports, UNITS)
    assert joined(world)[1] == {"111122223333": {"by-unit"}, "444455556666": {"by-unit"}, "777788889999": {""}}
    having(ports, {**UNITS, "where": {**UNITS["where"], "exclude": ["ou-ab12-prod00002"]}})
    answer, told = joined(world)
    assert told == {"111122223333": {"by-unit"}, "444455556666": {""}, "777788889999": {""}}
    assert answer.exit_code == 3


def test_a_unit_that_may_not_be_looked_up_is_said_and_its_schedule_stands_in_doubt(world: World, ports: Ports) -> None:
    world.sim.aws.setup.refused.add(("111122223333", "organizations:ListAccountsForParent"))
    having(ports, UNITS)
    answer, told = joined(world)
    assert answer.exit_code == 1
    assert answer.stderr.count("ou-ab12-prod00001 could not be read: ") == 1
    assert set().union(*told.values()) == {"by-unit?"}


def test_the_nodes_of_a_resource_group_are_looked_up_in_each_place(world: World, ports: Ports) -> None:
    world.sim.aws.automations.groups["web"] = ("App", ("web",))
    having(ports, GROUP)
    answer = run("members", "--all", "-o", "json")
    for one in json.loads(answer.stdout):
        account, region, node = one["node"].split("/")
        machine = world.sim.fleet.find(Location(account, region), node)
        assert machine is not None
        assert one["installs"] == ("by-group" if machine.tags.get("App") == "web" else "")
    assert answer.exit_code == 3


def test_a_resource_group_that_is_not_there_is_said(world: World, ports: Ports) -> None:
    having(ports, GROUP)
    answer, told = joined(world)
    assert "there is no resource group web in 111122223333/eu-west-1: the schedule's part there fails" in answer.stderr
    assert answer.exit_code == 3
    assert set().union(*told.values()) == {""}


def test_who_joined_one_schedule_is_asked_by_its_name(world: World) -> None:
    there = [one for one in world.sim.fleet.at(world.member) if one.online and not one.hybrid]
    there[0].tags.update(PatchSchedule="weekly", Environment="dev")
    answer = run("members", "--schedule", "weekly", "-o", "json")
    assert [one["node"] for one in json.loads(answer.stdout)] == [str(there[0].node)]
    assert answer.exit_code == 0
    assert run("members", "--schedule", "weakly").exit_code == 2


def test_a_place_that_cannot_be_read_is_said_and_fails(world: World) -> None:
    world.sim.aws.deny("444455556666", "ssm")
    answer = run("members", "-o", "csv")
    assert answer.exit_code == 1
    assert "444455556666/eu-west-1 could not be read" in answer.stderr
    assert answer.stdout.startswith("node,name,tag,state,installs,scans\n")
