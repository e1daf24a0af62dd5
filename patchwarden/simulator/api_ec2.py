"""EC2: instances, their states and their root volumes, as EC2 answers.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Operations.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from patchwarden.simulator.api_nodes import tag_list
from patchwarden.simulator.aws import Aws, Caller, Operation, Reply, Request, Snapshot
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.paging import page
from patchwarden.simulator.refusals import NotServed, Refusal

_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
_SNAPSHOT = timedelta(minutes=5)
_INSTANCE_ID = re.compile(r"i-([0-9a-f]{8}|[0-9a-f]{17})")


def describe_instances(aws: Aws, caller: Caller, request: Request) -> Reply:
    shown, token = _instances(aws, caller, request, "DescribeInstances")
    reservations = [
        {
            "ReservationId": f"r-{machine.node.id[2:]}",
            "OwnerId": caller.account,
            "Groups": [],
            "Instances": [_instance(machine)],
        }
        for machine in shown
    ]
    return {"Reservations": reservations, **token}


def describe_instance_status(aws: Aws, caller: Caller, request: Request) -> Reply:
    """Running instances only, unless all are asked for."""
    asked = dict(request)
    if not asked.pop("IncludeAllInstances", False):
        asked["Filters"] = [*asked.get("Filters", []), {"Name": "instance-state-name", "Values": ["running"]}]
    shown, token = _instances(aws, caller, asked, "DescribeInstanceStatus")
    return {"InstanceStatuses": [_status(machine) for machine in shown], **token}


def start_instances(aws: Aws, caller: Caller, request: Request) -> Reply:
    changes = _change(aws, caller, request, {"stopped"}, {"running", "pending"}, aws.power.start)
    return {"StartingInstances": changes}


def stop_instances(aws: Aws, caller: Caller, request: Request) -> Reply:
    changes = _change(aws, caller, request, {"running"}, {"stopped", "stopping"}, aws.power.stop)
    return {"StoppingInstances": changes}


def terminate_instances(aws: Aws, caller: Caller, request: Request) -> Reply:
    alive = {"running", "pending", "stopping", "stopped"}
    changes = _change(aws, caller, request, alive, {"shutting-down", "terminated"}, aws.power.terminate)
    return {"TerminatingInstances": changes}


def reboot_instances(aws: Aws, caller: Caller, request: Request) -> Reply:
    _change(aws, caller, request, {"running"}, set(), aws.power.reboot)
    return {}


def describe_volumes(aws: Aws, caller: Caller, request: Request) -> Reply:
    """The root volumes: the simulated instances have no others."""
    machines = {root_volume(machine): machine for machine in _ec2(aws, caller)}
    wanted = request.get("VolumeIds") or list(machines)
    if unknown := [volume for volume in wanted if volume not in machines]:
        raise _no_volume(unknown[0])
    if request.get("Filters"):
        raise NotServed("DescribeVolumes with Filters")
    shown, token = page("DescribeVolumes", wanted, request, most=500)
    return {"Volumes": [_volume(machines[volume]) for volume in shown], **token}


def create_snapshot(aws: Aws, caller: Caller, request: Request) -> Reply:
    volumes = {root_volume(machine) for machine in _ec2(aws, caller) if machine.state != "terminated"}
    if request["VolumeId"] not in volumes:
        raise _no_volume(request["VolumeId"])
    tags = [tag for given in request.get("TagSpecifications", []) for tag in given["Tags"]]
    snapshot = Snapshot(
        id=f"snap-0{aws.names.hex('snapshot', 16)}",
        volume=request["VolumeId"],
        started_at=aws.clock.now(),
        description=request.get("Description", ""),
        tags=tuple((tag["Key"], tag["Value"]) for tag in tags),
    )
    aws.snapshots[caller.location][snapshot.id] = snapshot
    return _snapshot(snapshot, caller, snapshot.started_at)


def describe_snapshots(aws: Aws, caller: Caller, request: Request) -> Reply:
    if request.get("Filters"):
        raise NotServed("DescribeSnapshots with Filters")
    known = aws.snapshots[caller.location]
    wanted = request.get("SnapshotIds") or list(known)
    if unknown := [one for one in wanted if one not in known]:
        raise Refusal("InvalidSnapshot.NotFound", f"The snapshot '{unknown[0]}' does not exist.")
    shown, token = page("DescribeSnapshots", wanted, request, most=500)
    return {"Snapshots": [_snapshot(known[one], caller, aws.clock.now()) for one in shown], **token}


OPERATIONS: dict[str, Operation] = {
    "DescribeInstances": describe_instances,
    "DescribeInstanceStatus": describe_instance_status,
    "StartInstances": start_instances,
    "StopInstances": stop_instances,
    "TerminateInstances": terminate_instances,
    "RebootInstances": reboot_instances,
    "DescribeVolumes": describe_volumes,
    "CreateSnapshot": create_snapshot,
    "DescribeSnapshots": describe_snapshots,
}


def root_volume(machine: Machine) -> str:
    return f"vol-{machine.node.id[2:]}"


def _ec2(aws: Aws, caller: Caller) -> list[Machine]:
    return [machine for machine in aws.shown(caller.location) if not machine.hybrid]


def _by_id(aws: Aws, caller: Caller, ids: Iterable[str]) -> list[Machine]:
    machines = {machine.node.id: machine for machine in _ec2(aws, caller)}
    for id in ids:
        if not _INSTANCE_ID.fullmatch(id):
            raise Refusal("InvalidInstanceID.Malformed", f'Invalid id: "{id}"')
        if id not in machines:
            raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")
    return [machines[id] for id in ids]


def _instances(aws: Aws, caller: Caller, request: Request, operation: str) -> tuple[list[Machine], dict[str, str]]:
    ids = request.get("InstanceIds")
    if ids and "MaxResults" in request:
        message = "The parameter instancesSet cannot be used with the parameter maxResults"
        raise Refusal("InvalidParameterCombination", message)
    found = _by_id(aws, caller, ids) if ids else _ec2(aws, caller)
    for one in request.get("Filters", []):
        read = _filter(one["Name"])
        found = [machine for machine in found if _fits(read(machine), one["Values"])]
    shown, token = page(operation, found, request, most=1000)
    return list(shown), token


def _filter(name: str) -> Callable[[Machine], str | None]:
    if name.startswith("tag:"):
        return lambda machine: machine.tags.get(name.removeprefix("tag:"))
    if name not in _FILTERS:
        raise NotServed(f"the EC2 filter {name}")
    return _FILTERS[name]


def _fits(value: str | None, patterns: Iterable[str]) -> bool:
    """`*` and `?` stand for anything; after a backslash they, and it, stand for themselves.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    return value is not None and any(re.fullmatch(_regex(pattern), value, re.DOTALL) for pattern in patterns)


def _regex(pattern: str) -> str:
    return re.sub(r"\\(.)|(.)", _piece, pattern, flags=re.DOTALL)


def _piece(found: re.Match[str]) -> str:
    wild = {"*": ".*", "?": "."}
    return re.escape(found[1]) if found[1] else wild.get(found[2], re.escape(found[2]))


_FILTERS: dict[str, Callable[[Machine], str | None]] = {
    "instance-state-name": lambda machine: machine.state,
    "instance-id": lambda machine: machine.node.id,
    "availability-zone": lambda machine: machine.zone,
    "private-ip-address": lambda machine: machine.address,
}


def _change(
    aws: Aws, caller: Caller, request: Request, ready: set[str], there: set[str], act: Callable[[Machine], None]
) -> list[Reply]:
    """Act on the instances that are `ready`, leave alone those that are `there`, refuse the whole if any is neither."""
    machines = _by_id(aws, caller, request["InstanceIds"])
    for machine in machines:
        if machine.state not in ready | there:
            message = f"The instance '{machine.node.id}' is not in a state from which it can be changed so."
            raise Refusal("IncorrectInstanceState", message)
    changes = []
    for machine in machines:
        before = machine.state
        if before in ready:
            act(machine)
        changes.append(
            {"InstanceId": machine.node.id, "CurrentState": _state(machine.state), "PreviousState": _state(before)}
        )
    return changes


def _state(name: str) -> Reply:
    return {"Code": _CODES[name], "Name": name}


def _instance(machine: Machine) -> Reply:
    told = {
        "InstanceId": machine.node.id,
        "ImageId": f"ami-{machine.node.id[2:]}",
        "InstanceType": "m6i.large",
        "Architecture": "x86_64",
        "LaunchTime": machine.launched_at,
        "Placement": {"AvailabilityZone": machine.zone, "Tenancy": "default"},
        "State": _state(machine.state),
        "Tags": tag_list(machine.tags),
        "RootDeviceType": "ebs",
        "RootDeviceName": _device(machine),
        "PlatformDetails": "Windows" if machine.platform.windows else "Linux/UNIX",
        "BlockDeviceMappings": [],
        "NetworkInterfaces": [],
        "SecurityGroups": [],
    }
    if machine.platform.windows:
        told["Platform"] = "windows"
    if machine.state == "terminated":
        return {**told, "StateTransitionReason": "User initiated"}
    volume = {"VolumeId": root_volume(machine), "Status": "attached", "AttachTime": machine.launched_at}
    mapping = {"DeviceName": _device(machine), "Ebs": {**volume, "DeleteOnTermination": True}}
    return {**told, "PrivateIpAddress": machine.address, "BlockDeviceMappings": [mapping]}


def _device(machine: Machine) -> str:
    return "/dev/sda1" if machine.platform.windows else "/dev/xvda"


def _status(machine: Machine) -> Reply:
    """Checks are of running instances only, and take as long as the boot."""
    word = "not-applicable" if machine.state != "running" else "initializing" if machine.away else "ok"
    return {
        "InstanceId": machine.node.id,
        "AvailabilityZone": machine.zone,
        "InstanceState": _state(machine.state),
        "InstanceStatus": {"Status": word},
        "SystemStatus": {"Status": word},
    }


def _volume(machine: Machine) -> Reply:
    attachment = {"VolumeId": root_volume(machine), "InstanceId": machine.node.id, "Device": _device(machine)}
    return {
        "VolumeId": root_volume(machine),
        "Size": 30,
        "VolumeType": "gp3",
        "AvailabilityZone": machine.zone,
        "State": "in-use",
        "CreateTime": machine.launched_at,
        "Encrypted": True,
        "Attachments": [{**attachment, "State": "attached", "AttachTime": machine.launched_at}],
    }


def _snapshot(snapshot: Snapshot, caller: Caller, now: datetime) -> Reply:
    done = now - snapshot.started_at >= _SNAPSHOT
    return {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume,
        "State": "completed" if done else "pending",
        "StartTime": snapshot.started_at,
        "Progress": "100%" if done else "",
        "OwnerId": caller.account,
        "Description": snapshot.description,
        "VolumeSize": 30,
        "Encrypted": True,
        "Tags": tag_list(dict(snapshot.tags)),
    }


def _no_volume(volume: str) -> Refusal:
    return Refusal("InvalidVolume.NotFound", f"The volume '{volume}' does not exist.")
