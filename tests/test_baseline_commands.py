"""`patchwarden baseline` against the simulated AWS under real boto3: what it shows, changes, leaves alone and keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chalicelib import proof, wiring
from chalicelib.adapters.baselines import PatchBaselines
from chalicelib.adapters.inventory import AwsInventory
from chalicelib.adapters.memory import MemoryClock, MemoryLedger
from chalicelib.adapters.memory_aws import MemoryAutomations, MemoryTickets
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.nodes import Location
from chalicelib.ports import Ports
from patchwarden.cli import cli
from tests.adapters.simulated import World
from tests.sets import policy_set

LINUX = """\
id: linux
title: Security after a week
owner: secops@example.com
os: AMAZON_LINUX_2023
rules: [{classification: [Security], approve_after_days: DAYS, compliance_level: high}]
patch_groups: [dev-default, prod-default]
default: true
"""
ALL = 6
"""Two Regions of three accounts."""


@pytest.fixture
def world() -> Iterator[World]:
    made = World(options={"nodes": 30})
    accounts = made.accounts()
    ports = Ports(MemoryLedger(), AwsInventory(accounts), MemoryAutomations(), MemoryTickets(), Fixed(policy_set()),
                  Collected(), Untraced(), MemoryClock(made.sim.clock.now()))  # fmt: skip
    wiring.use(ports, PatchBaselines(accounts))
    yield made
    wiring.use(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "baselines").mkdir()
    scope = 'scope: {accounts: ["111122223333", "444455556666", "777788889999"], regions: [eu-west-1, us-east-1]}\n'
    (tmp_path / "_set.yaml").write_text(scope)
    write(tmp_path)
    return tmp_path


def write(directory: Path, days: int = 7) -> None:
    (directory / "baselines" / "linux.yaml").write_text(LINUX.replace("DAYS", str(days)))


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["baseline", *map(str, words)])


def rows(found: Result) -> list[dict[str, Any]]:
    return list(json.loads(found.stdout))


def test_it_is_applied_everywhere_once_and_kept_in_the_journal(world: World, directory: Path) -> None:
    planned = rows(call("plan", directory, "-o", "json"))
    assert [row["act"] for row in planned] == ["create", "register", "register", "default"] * ALL
    assert "CreatePatchBaseline" not in world.calls
    assert call("apply", directory, "--yes", "--by", "ann", "--reason", "CHG-1").exit_code == 0
    assert call("plan", directory).stdout.count("nothing to change") == ALL
    again = call("apply", directory, "--yes")
    assert again.exit_code == 0 and world.calls.count("CreatePatchBaseline") == ALL
    ledger = wiring.ports().ledger
    (entry,) = ledger.entries("baseline/444455556666/us-east-1")
    assert (entry.actor, entry.what) == ("ann", "applied") and entry.because.startswith("CHG-1: create linux")
    kept = entry.value["baselines"]["linux"]
    assert (kept["groups"], kept["default"]) == (["dev-default", "prod-default"], True)
    assert proof.verify(ledger, world.sim.clock.now()).faults == ()


def test_a_change_is_shown_as_a_diff_asked_about_and_made_in_place(world: World, directory: Path) -> None:
    call("apply", directory, "--yes")
    write(directory, 14)
    found = call("plan", directory)
    assert "  ~ update linux, AMAZON_LINUX_2023 (pb-" in found.stdout and "ApproveAfterDays: 7 → 14" in found.stdout
    assert call("apply", directory).exit_code == 1 and "UpdatePatchBaseline" not in world.calls
    assert call("apply", directory, "--yes").exit_code == 0
    (kept,) = world.sim.aws.baselines[world.home].own.values()
    assert kept.content["ApprovalRules"]["PatchRules"][0]["ApproveAfterDays"] == 14
    value = wiring.ports().ledger.entry(f"baseline/{world.home}")
    assert value is not None and kept.tags["patchwarden:digest"] == value.value["baselines"]["linux"]["digest"]


def test_a_change_by_hand_is_drift(world: World, directory: Path) -> None:
    call("apply", directory, "--yes")
    world.noncompliant()
    for machine in world.sim.fleet.at(world.home):
        machine.scan(world.sim.clock.now(), world.sim.clock.now())
    (kept,) = world.sim.aws.baselines[world.home].own.values()
    kept.content["RejectedPatches"] = ["kernel"]
    found = call("drift", directory, "--account", world.home.account, "--region", world.home.region, "-o", "json")
    assert found.exit_code == 3
    assert [row["changes"] for row in rows(found) if row["act"] == "update"] == [["RejectedPatches: kernel → nothing"]]


def test_what_is_not_ours_is_never_touched(world: World, directory: Path) -> None:
    session = world.sim.session(world.home.account, world.home.region)
    theirs = session.client("ssm")
    id = theirs.create_patch_baseline(Name="patchwarden-linux", OperatingSystem="AMAZON_LINUX_2023")["BaselineId"]
    theirs.register_patch_baseline_for_patch_group(BaselineId=id, PatchGroup="prod-default")
    before = theirs.get_patch_baseline(BaselineId=id)
    found = call("apply", directory, "--yes", "-o", "json")
    assert found.exit_code == 1
    (conflict,) = [row for row in rows(found) if row["act"] == "conflict"]
    assert conflict["group"] == "prod-default" and id in conflict["changes"][0]
    after = theirs.get_patch_baseline(BaselineId=id)
    assert {**before, "ResponseMetadata": 0} == {**after, "ResponseMetadata": 0}
    assert theirs.list_tags_for_resource(ResourceType="PatchBaseline", ResourceId=id)["TagList"] == []


def test_one_account_that_refuses_does_not_stop_the_others(world: World, directory: Path) -> None:
    world.sim.aws.deny("444455556666")
    found = call("apply", directory, "--yes", "-o", "json")
    assert found.exit_code == 1
    refused = {(row["account"], row["act"]) for row in rows(found) if row["account"] == "444455556666"}
    assert refused == {("444455556666", "unreachable")}
    assert sum(bool(shelf.own) for shelf in world.sim.aws.baselines.values()) == 4
    world.sim.aws.allow("444455556666")
    assert call("apply", directory, "--yes").exit_code == 0
    assert sum(bool(shelf.own) for shelf in world.sim.aws.baselines.values()) == ALL


def test_an_answer_that_was_lost_makes_no_second_baseline(world: World, directory: Path) -> None:
    world.refuse("RegisterPatchBaselineForPatchGroup", "InternalServerError", 500)
    here = ("--account", world.home.account, "--region", world.home.region)
    assert call("apply", directory, "--yes", *here).exit_code == 1
    assert call("apply", directory, "--yes", *here).exit_code == 0
    assert len(world.sim.aws.baselines[world.home].own) == 1


def test_nodes_scanned_with_another_baseline_are_listed_until_they_are_scanned_with_ours(
    world: World, directory: Path
) -> None:
    call("apply", directory, "--yes")
    linux = [one for one in world.sim.fleet.machines.values() if one.platform.key == "amazon-linux" and one.online]
    place = next(one.node.location for one in linux if one.report)
    here = ("--account", place.account, "--region", place.region, "-o", "json")
    machines = [one for one in linux if one.node.location == place]
    scanned = {one.node.id for one in machines if one.report}
    first = call("drift", directory, *here)
    assert first.exit_code == 3 and scanned
    assert scanned <= {row["node"] for row in rows(first) if row["act"] == "other-baseline"}
    for machine in machines:
        machine.scan(world.sim.clock.now(), world.sim.clock.now())
    left = {row["node"] for row in rows(call("drift", directory, *here))}
    assert not scanned & left


def test_a_group_that_the_file_no_longer_names_is_given_up(world: World, directory: Path) -> None:
    call("apply", directory, "--yes")
    file = directory / "baselines" / "linux.yaml"
    file.write_text(file.read_text().replace("dev-default, ", ""))
    assert call("apply", directory, "--yes").exit_code == 0
    assert set(world.sim.aws.baselines[world.home].groups) == {("AMAZON_LINUX_2023", "prod-default")}


def test_wrong_words_are_told_what_is_right(world: World, directory: Path) -> None:
    typo = call("plan", directory, "--region", "eu-west-2")
    assert typo.exit_code == 2 and "did you mean eu-west-1?" in typo.stderr
    local = CliRunner().invoke(cli, ["--ledger", "x", "baseline", "plan", str(directory)])
    assert local.exit_code == 2 and "baseline asks AWS: leave --local and --ledger away" in local.stderr
    (directory / "baselines" / "linux.yaml").write_text("id: linux\n")
    broken = call("apply", directory, "--yes")
    assert broken.exit_code == 3 and "linux.yaml:1:1: PW202" in broken.stderr and not broken.stdout


def test_the_simulator_keeps_to_the_rules_that_the_model_does_not_say(world: World) -> None:
    client = world.sim.session(world.home.account, world.home.region).client("ssm")
    rule = {"PatchFilterGroup": {"PatchFilters": []}, "ApproveUntilDate": "2026-11-10"}
    with pytest.raises(client.exceptions.ClientError, match="not supported for UBUNTU"):
        client.create_patch_baseline(Name="abc", OperatingSystem="UBUNTU", ApprovalRules={"PatchRules": [rule]})
    made = [client.create_patch_baseline(Name="abc", ClientToken="one")["BaselineId"] for _ in range(2)]
    assert made[0] == made[1]
    client.register_patch_baseline_for_patch_group(BaselineId=made[0], PatchGroup="g")
    other = client.create_patch_baseline(Name="abc")["BaselineId"]
    with pytest.raises(client.exceptions.AlreadyExistsException):
        client.register_patch_baseline_for_patch_group(BaselineId=other, PatchGroup="g")
    with pytest.raises(client.exceptions.ResourceInUseException):
        client.delete_patch_baseline(BaselineId=made[0])


def test_every_place_is_another_one(world: World, directory: Path) -> None:
    call("apply", directory, "--yes")
    ids = [id for shelf in world.sim.aws.baselines.values() for id in shelf.own]
    assert len(set(ids)) == ALL and Location("111122223333", "eu-west-1") in world.sim.aws.baselines
