"""Systems Manager, Config and EC2 tell of nodes through boto3 what is true of the simulated machines."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.core.nodes import Location
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.refusals import NotServed
from tests.simulator.world import World, code, make_world, refused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ids(machines: list[Machine]) -> list[str]:
    return [machine.node.id for machine in machines]


def information(world: World, location: Location, **asked: Any) -> list[dict[str, Any]]:
    pages = world.client("ssm", location).get_paginator("describe_instance_information").paginate(**asked)
    return [one for page in pages for one in page["InstanceInformationList"]]


def only(key: str, *values: str) -> dict[str, Any]:
    return {"Filters": [{"Key": key, "Values": list(values)}]}


# --- instance information -------------------------------------------------------------------------------------------


def test_instance_information_comes_in_pages_of_ten_unless_asked_otherwise(make_big: World) -> None:
    first = make_big.client("ssm").describe_instance_information()
    assert len(first["InstanceInformationList"]) == 10
    assert ids(make_big.sim.fleet.at(make_big.home)) == [
        one["InstanceId"] for one in information(make_big, make_big.home)
    ]
    assert len(make_big.client("ssm").describe_instance_information(MaxResults=50)["InstanceInformationList"]) == 50


@pytest.fixture
def make_big() -> World:
    return make_world(nodes=120, accounts=["111122223333"], regions=["eu-west-1"])


def test_it_tells_platform_agent_and_kind(world: World) -> None:
    hybrid, windows = world.the("hybrid"), world.the("legacy")
    (told,) = information(world, hybrid.node.location, **only("InstanceIds", hybrid.node.id))
    assert (told["ResourceType"], told["PingStatus"], told["Name"]) == ("ManagedInstance", "Online", hybrid.name)
    (told,) = information(world, windows.node.location, **only("InstanceIds", windows.node.id))
    assert (told["ResourceType"], told["PlatformType"], told["PlatformVersion"]) == (
        "EC2Instance",
        "Windows",
        "10.0.20348",
    )


def test_a_stopped_a_booting_and_a_dead_machine_have_lost_the_connection(noncompliant: World) -> None:
    booting = noncompliant.the("doomed")
    noncompliant.sim.aws.power.reboot(booting)
    for machine in (noncompliant.the("stopped"), noncompliant.the("dead-agent"), booting):
        (told,) = information(noncompliant, machine.node.location, **only("InstanceIds", machine.node.id))
        assert told["PingStatus"] == "ConnectionLost"


@pytest.mark.parametrize(
    ("asked", "some"),
    [
        (only("PingStatus", "Online"), True),
        (only("PingStatus", "Inactive"), False),
        (only("PlatformTypes", "Linux", "Windows"), True),
        (only("ResourceType", "EC2Instance"), True),
        (only("tag:App", "payments"), True),
        (only("InstanceIds", "i-0123456789abcdef0"), False),
        ({"InstanceInformationFilterList": [{"key": "PingStatus", "valueSet": ["Online"]}]}, True),
    ],
)
def test_filters_narrow_what_is_told(world: World, asked: dict[str, Any], some: bool) -> None:
    assert bool(information(world, world.home, **asked)) is some


def test_an_unknown_filter_and_a_foreign_token_are_refused(world: World) -> None:
    ssm = world.client("ssm")
    assert code(ssm.describe_instance_information, **only("Weather", "fine")) == "InvalidFilterKey"
    assert code(ssm.describe_instance_information, NextToken="?") == "InvalidNextToken"
    other = make_token("ListCommands", 3)
    assert code(ssm.describe_instance_information, NextToken=other) == "InvalidNextToken"


def make_token(operation: str, offset: int) -> str:
    return base64.urlsafe_b64encode(f"{operation}/{offset}".encode()).decode()


# --- tags -----------------------------------------------------------------------------------------------------------


def test_only_hybrid_nodes_have_their_tags_in_systems_manager(world: World) -> None:
    hybrid, instance = world.the("hybrid"), world.the("failing")
    tags = world.at(hybrid).list_tags_for_resource(ResourceType="ManagedInstance", ResourceId=hybrid.node.id)["TagList"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == hybrid.tags
    asked = {"ResourceType": "ManagedInstance", "ResourceId": instance.node.id}
    assert code(world.at(instance).list_tags_for_resource, **asked) == "InvalidResourceId"


def test_tags_of_what_has_none_here_are_not_served(world: World) -> None:
    with pytest.raises(NotServed):
        world.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId="x")


# --- patch states ---------------------------------------------------------------------------------------------------


def state(world: World, machine: Machine) -> dict[str, Any]:
    asked = [machine.node.id]
    (told,) = world.at(machine).describe_instance_patch_states(InstanceIds=asked)["InstancePatchStates"]
    return dict(told)


def test_the_patch_state_counts_each_patch_once(noncompliant: World) -> None:
    for machine in noncompliant.sim.fleet.machines.values():
        told = state(noncompliant, machine)
        kinds = ("CriticalNonCompliantCount", "SecurityNonCompliantCount", "OtherNonCompliantCount")
        assert told["MissingCount"] == sum(told[kind] for kind in kinds) > 0
        assert told["Operation"] == "Scan"
        assert told["OperationEndTime"] - told["OperationStartTime"] == timedelta(seconds=machine.pace.scan)
        assert "SnapshotId" not in told


def test_who_was_never_scanned_and_who_is_unknown_is_left_out(world: World) -> None:
    new = world.the("new")
    asked = [new.node.id, "i-0123456789abcdef0"]
    assert world.at(new).describe_instance_patch_states(InstanceIds=asked)["InstancePatchStates"] == []


def test_more_than_fifty_nodes_are_refused(world: World) -> None:
    asked = [f"i-{number:017x}" for number in range(51)]
    assert code(world.client("ssm").describe_instance_patch_states, InstanceIds=asked) == "ValidationException"


def test_the_single_patches_bear_out_the_counts(noncompliant: World) -> None:
    for machine in noncompliant.sim.fleet.machines.values():
        patches = noncompliant.at(machine).describe_instance_patches(InstanceId=machine.node.id)["Patches"]
        told = state(noncompliant, machine)
        missing = [patch for patch in patches if patch["State"] == "MISSING"]
        assert len(missing) == told["MissingCount"]
        assert all(patch["InstalledTime"] == EPOCH for patch in missing)
        assert sum(patch["State"] == "INSTALLED" for patch in patches) == told["InstalledCount"]


@pytest.mark.parametrize("spelling", ["MISSING", "Missing"])
def test_patches_are_filtered_by_state_in_either_spelling(noncompliant: World, spelling: str) -> None:
    machine = noncompliant.the("reboot-later")
    filters = [{"Key": "State", "Values": [spelling]}]
    found = noncompliant.at(machine).describe_instance_patches(InstanceId=machine.node.id, Filters=filters)["Patches"]
    assert len(found) == state(noncompliant, machine)["MissingCount"]
    assert all(patch["KBId"].startswith("KB") for patch in found)


def test_pending_reboot_is_found_under_its_long_name(world: World) -> None:
    machine = world.the("reboot-later")
    patch = next(iter(machine.installed.values()))[0]
    machine.pending[patch.id] = patch
    machine.scan(world.sim.clock.now(), world.sim.clock.now())
    filters = [{"Key": "State", "Values": ["InstalledPendingReboot"]}]
    (found,) = world.at(machine).describe_instance_patches(InstanceId=machine.node.id, Filters=filters)["Patches"]
    assert (found["KBId"], found["State"]) == (patch.id, "INSTALLED_PENDING_REBOOT")


def test_patches_of_an_unknown_node_and_by_an_unknown_filter_are_refused(world: World) -> None:
    ssm = world.client("ssm")
    assert code(ssm.describe_instance_patches, InstanceId="i-0123456789abcdef0") == "InvalidInstanceId"
    filters = [{"Key": "Colour", "Values": ["red"]}]
    known = world.sim.fleet.at(world.home)[0].node.id
    assert code(ssm.describe_instance_patches, InstanceId=known, Filters=filters) == "InvalidFilter"


def test_installed_patches_of_no_baseline_have_neither_class_nor_severity(world: World) -> None:
    machine = world.the("failing")
    machine.scan(world.sim.clock.now(), world.sim.clock.now())
    found = world.at(machine).describe_instance_patches(InstanceId=machine.node.id)["Patches"]
    others = [patch for patch in found if patch["State"] == "INSTALLED_OTHER"]
    assert others
    assert {(patch["Classification"], patch["Severity"]) for patch in others} == {("", "")}


# --- compliance -----------------------------------------------------------------------------------------------------


def test_compliance_comes_in_pages_of_fifty_with_both_kinds_of_every_node(make_big: World) -> None:
    ssm = make_big.client("ssm")
    pages = list(ssm.get_paginator("list_resource_compliance_summaries").paginate())
    sizes = [len(page["ResourceComplianceSummaryItems"]) for page in pages]
    reported = [one for one in make_big.sim.fleet.at(make_big.home) if one.report]
    assert sizes[:-1] == [50] * (len(sizes) - 1)
    assert sum(sizes) == 2 * len(reported)


def test_compliance_is_filtered_and_dated_by_its_execution(noncompliant: World) -> None:
    equal = {"Key": "ComplianceType", "Values": ["Patch"], "Type": "EQUAL"}
    bad = {"Key": "Status", "Values": ["COMPLIANT"], "Type": "NOT_EQUAL"}
    found = noncompliant.client("ssm").list_resource_compliance_summaries(Filters=[equal, bad])
    items = found["ResourceComplianceSummaryItems"]
    machines = {machine.node.id: machine for machine in noncompliant.sim.fleet.at(noncompliant.home)}
    assert {item["ResourceId"] for item in items} == set(machines)
    for item in items:
        report = machines[item["ResourceId"]].report
        assert report is not None
        assert item["ExecutionSummary"]["ExecutionTime"] == report.ended_at
        assert item["NonCompliantSummary"]["NonCompliantCount"] == len(report.noncompliant)


def test_a_terminated_node_keeps_its_compliance_for_thirty_days_and_is_forgotten_by_ec2_within_hours(
    noncompliant: World,
) -> None:
    machine = noncompliant.the("doomed")
    ec2 = noncompliant.client("ec2", machine.node.location)
    noncompliant.sim.life.terminate("doomed")
    noncompliant.run(minutes=5)
    (told,) = ec2.describe_instances(InstanceIds=[machine.node.id])["Reservations"]
    assert told["Instances"][0]["State"]["Name"] == "terminated"
    noncompliant.run(hours=2)
    assert code(ec2.describe_instances, InstanceIds=[machine.node.id]) == "InvalidInstanceID.NotFound"
    assert information(noncompliant, machine.node.location, **only("InstanceIds", machine.node.id)) == []
    assert state(noncompliant, machine)["MissingCount"] > 0
    noncompliant.run(days=30)
    asked = [machine.node.id]
    assert noncompliant.at(machine).describe_instance_patch_states(InstanceIds=asked)["InstancePatchStates"] == []


def test_config_gives_the_result_of_every_rule_on_a_node(noncompliant: World) -> None:
    machine = noncompliant.sim.fleet.at(noncompliant.sim.fleet.locations[2])[0]
    config = noncompliant.client("config", machine.node.location)
    asked = {"ResourceType": "AWS::SSM::PatchCompliance"}
    prefixed = f"AWS::SSM::ManagedInstanceInventory/{machine.node.id}"
    found = config.get_compliance_details_by_resource(**asked, ResourceId=prefixed)["EvaluationResults"]
    assert [one["ComplianceType"] for one in found] == ["NON_COMPLIANT"] * 2
    assert config.get_compliance_details_by_resource(**asked, ResourceId=machine.node.id)["EvaluationResults"] == []


def test_config_gives_the_results_of_a_rule_and_of_all_resources(noncompliant: World) -> None:
    config = noncompliant.client("config")
    (rule,) = config.describe_config_rules()["ConfigRules"]
    asked = {"ConfigRuleName": rule["ConfigRuleName"], "ComplianceTypes": ["NON_COMPLIANT"], "Limit": 4}
    first = config.get_compliance_details_by_config_rule(**asked)
    assert len(first["EvaluationResults"]) == 4
    rest = config.get_compliance_details_by_config_rule(**asked, NextToken=first["NextToken"])
    assert len(rest["EvaluationResults"]) == 4
    resources = config.describe_compliance_by_resource(ComplianceTypes=["NON_COMPLIANT"], Limit=100)
    assert len(resources["ComplianceByResources"]) == 10
    assert code(config.get_compliance_details_by_config_rule, ConfigRuleName="x") == "NoSuchConfigRuleException"
    assert code(config.describe_config_rules, NextToken="none") == "InvalidNextTokenException"


# --- instances ------------------------------------------------------------------------------------------------------


def test_ec2_describes_its_instances_and_no_hybrid_node(world: World) -> None:
    hybrid = world.the("hybrid")
    place = hybrid.node.location
    told = world.client("ec2", place).describe_instances()["Reservations"]
    instances = {one["InstanceId"]: one for reservation in told for one in reservation["Instances"]}
    assert set(instances) == {one.node.id for one in world.sim.fleet.at(place) if not one.hybrid}
    for id, one in instances.items():
        machine = world.sim.fleet.find(place, id)
        assert machine is not None
        assert {tag["Key"]: tag["Value"] for tag in one["Tags"]} == machine.tags
        assert one["Placement"]["AvailabilityZone"] == machine.zone
        assert one["LaunchTime"] == machine.launched_at.replace(microsecond=0)
        assert one.get("Platform") == ("windows" if machine.platform.windows else None)


def test_ec2_filters_by_state_tag_and_id_and_leaves_unknown_ids_out(world: World) -> None:
    asleep = world.the("asleep")
    ec2 = world.client("ec2", asleep.node.location)

    def found(name: str, *values: str) -> list[str]:
        told = ec2.describe_instances(Filters=[{"Name": name, "Values": list(values)}])["Reservations"]
        return [one["InstanceId"] for reservation in told for one in reservation["Instances"]]

    assert found("instance-state-name", "stopped") == [asleep.node.id]
    assert found("instance-id", asleep.node.id, "i-0123456789abcdef0") == [asleep.node.id]
    assert asleep.node.id in found("tag:Name", "batch-*")
    assert found("tag:Name", "nobody") == []
    with pytest.raises(NotServed):
        found("vpc-id", "vpc-1")


def test_ec2_pages_and_refuses_ids_together_with_a_page_size(world: World) -> None:
    ec2 = world.client("ec2")
    first = ec2.describe_instances(MaxResults=5)
    second = ec2.describe_instances(MaxResults=5, NextToken=first["NextToken"])
    assert "NextToken" not in second
    known = world.sim.fleet.at(world.home)[0].node.id
    assert code(ec2.describe_instances, InstanceIds=[known], MaxResults=5) == "InvalidParameterCombination"


def test_a_stopped_instance_starts_boots_and_answers_and_stops_again(world: World) -> None:
    machine = world.the("asleep")
    ec2 = world.client("ec2", machine.node.location)
    asked = {"InstanceIds": [machine.node.id]}
    (change,) = ec2.start_instances(**asked)["StartingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("stopped", "pending")
    world.run(seconds=machine.pace.boot + 1)
    (status,) = ec2.describe_instance_status(**asked)["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == status["SystemStatus"]["Status"] == "initializing"
    world.run(seconds=30)
    (status,) = ec2.describe_instance_status(**asked)["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "ok"
    assert machine.online
    ec2.stop_instances(**asked)
    world.run(minutes=1)
    assert ec2.describe_instance_status(**asked)["InstanceStatuses"] == []
    (status,) = ec2.describe_instance_status(**asked, IncludeAllInstances=True)["InstanceStatuses"]
    assert status["InstanceState"] == {"Code": 80, "Name": "stopped"}
    told = [event["detail"]["state"] for event in world.heard("EC2 Instance State-change Notification")]
    assert told == ["pending", "running", "stopping", "stopped"]


def test_starting_what_runs_changes_nothing_and_starting_what_stops_is_refused(world: World) -> None:
    machine = world.the("failing")
    ec2 = world.client("ec2", machine.node.location)
    asked = {"InstanceIds": [machine.node.id]}
    (change,) = ec2.start_instances(**asked)["StartingInstances"]
    assert change["PreviousState"] == change["CurrentState"] == {"Code": 16, "Name": "running"}
    ec2.stop_instances(**asked)
    assert code(ec2.start_instances, **asked) == "IncorrectInstanceState"
    ec2.terminate_instances(**asked)
    world.run(minutes=2)
    assert machine.state == "terminated"


def test_a_reboot_takes_the_agent_away_for_a_while(world: World) -> None:
    machine = world.the("failing")
    world.client("ec2", machine.node.location).reboot_instances(InstanceIds=[machine.node.id])
    assert not machine.online
    world.run(seconds=machine.pace.reboot)
    assert machine.online


def test_a_root_volume_is_snapshotted_and_the_snapshot_completes(world: World) -> None:
    machine = world.the("failing")
    ec2 = world.client("ec2", machine.node.location)
    (told,) = ec2.describe_instances(InstanceIds=[machine.node.id])["Reservations"]
    (mapping,) = told["Instances"][0]["BlockDeviceMappings"]
    assert mapping["DeviceName"] == told["Instances"][0]["RootDeviceName"]
    volume = mapping["Ebs"]["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0]["InstanceId"] == machine.node.id
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "Why", "Value": "patching"}]}]
    made = ec2.create_snapshot(VolumeId=volume, Description="before patching", TagSpecifications=tags)
    assert (made["State"], made["Tags"]) == ("pending", [{"Key": "Why", "Value": "patching"}])
    world.run(minutes=5)
    (done,) = ec2.describe_snapshots(SnapshotIds=[made["SnapshotId"]])["Snapshots"]
    assert (done["State"], done["VolumeId"]) == ("completed", volume)
    assert code(ec2.create_snapshot, VolumeId="vol-1") == "InvalidVolume.NotFound"
    assert code(ec2.describe_snapshots, SnapshotIds=["snap-1"]) == "InvalidSnapshot.NotFound"
    assert refused(ec2.describe_volumes, VolumeIds=["vol-1"])["ResponseMetadata"]["HTTPStatusCode"] == 400
