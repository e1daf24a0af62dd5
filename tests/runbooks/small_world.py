"""A small world for runbooks: a few nodes, a clock, and a boto3 whose every call botocore's service model checks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import ServiceModel
from botocore.validate import validate_parameters

from patchwarden.simulator.protocols import service_model
from patchwarden.simulator.runbook_run import Run

ACCOUNT, REGION = "111122223333", "eu-west-1"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
BOOT = timedelta(seconds=20)
CHECKS = timedelta(minutes=3)
STOPPING = timedelta(seconds=40)
UNNOTICED = timedelta(minutes=5)


@dataclass
class Machine:
    """A node. `install` is how an installation ends, None: never; `boots` False: it falls back to stopped.

    `drain` is what its pre-install hook says when it fails; `pending` counts patches that wait for a reboot.
    """

    id: str
    state: str = "running"
    agent: bool = True
    install: str | None = "Success"
    scan: str = "Success"
    missing: int = 3
    drain: str | None = None
    pending: int = 0
    reboots: int = 0
    platform: str = "Linux"
    version: str = "3.3.131.0"
    boots: bool = True
    startable: bool = True
    root: str | None = "vol-0123456789abcdef0"
    since: datetime = START
    patch_state: dict[str, Any] | None = None
    history: list[str] = field(default_factory=list)

    @property
    def hybrid(self) -> bool:
        return self.id.startswith("mi-")

    def settle(self, now: datetime) -> None:
        """Let pending and stopping come to their end."""
        if self.state == "pending" and now >= self.since + BOOT:
            self.become("running" if self.boots else "stopped", now)
        if self.state == "stopping" and now >= self.since + STOPPING:
            self.become("stopped", now)

    def become(self, state: str, now: datetime) -> None:
        self.state, self.since = state, now
        self.history.append(state)

    def online(self, now: datetime) -> bool:
        """What Systems Manager believes: for five minutes it does not notice that a node is gone."""
        self.settle(now)
        return self.agent and (self.state == "running" or (self.state == "terminated" and now < self.since + UNNOTICED))


@dataclass
class Command:
    """A command under way; a node has its status once its end has come."""

    id: str
    ends: datetime
    statuses: dict[str, str]
    parameters: Mapping[str, list[str]]
    comment: str
    document: str = "AWS-RunPatchBaseline"
    applied: bool = False


class SmallWorld:
    """The world of one account and Region. An installation takes `takes`; a scan takes a minute."""

    def __init__(self, *machines: Machine, takes: timedelta = timedelta(minutes=10)) -> None:
        self.machines = {machine.id: machine for machine in machines}
        self.takes = takes
        self.moment = START
        self.commands: dict[str, Command] = {}
        self.snapshots: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, str] = {}
        self.later: list[tuple[datetime, Callable[[], None]]] = []
        self.run: Run | None = None

    def now(self) -> datetime:
        return self.moment

    def boto3_for(self, account: str, region: str) -> Boto3:
        assert (account, region) == (ACCOUNT, REGION)
        return Boto3(self)

    def sent(self, operation: str) -> list[list[str]]:
        """The nodes of each command of that operation, in order."""
        return [
            list(command.statuses)
            for command in self.commands.values()
            if command.parameters["Operation"] == [operation]
        ]

    def drive(self, run: Run, *, until: datetime | None = None) -> Run:
        """Let time pass until the run has ended, or until a moment."""
        self.run = run
        wait = run.waiting or run.advance()
        while wait is not None:
            target = min(wait.until, self._command_ends(wait.command) or wait.until)
            if until is not None and target > until:
                self.moment = until
                return run
            self.moment = max(self.moment, target)
            self._let_happen()
            wait = run.advance()
        return run

    def elsewhere(
        self, *nodes: str, operation: str = "Install", document: str = "AWS-RunPatchBaseline",
        lasts: timedelta = timedelta(hours=1),
    ) -> None:  # fmt: skip
        """A command of somebody else is under way on these nodes, for an hour if nobody says otherwise."""
        id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"elsewhere {len(self.commands)}"))
        given = {"Operation": [operation], "SnapshotId": [id]}
        told = dict.fromkeys(nodes, "Success")
        self.commands[id] = Command(id, self.moment + lasts, told, given, "a schedule's", document)

    def terminate(self, id: str, at: datetime) -> None:
        """Let the node be terminated at a moment; whatever it is doing then is not delivered."""

        def happen() -> None:
            self.machines[id].become("terminated", at)
            for command in self.commands.values():
                if id in command.statuses and at < command.ends:
                    command.statuses[id] = "Undeliverable"

        self.later.append((at, happen))

    def _let_happen(self) -> None:
        for moment, happen in self.later:
            if moment <= self.moment:
                happen()
        self.later = [(moment, happen) for moment, happen in self.later if moment > self.moment]

    def _command_ends(self, command: str | None) -> datetime | None:
        return self.commands[command].ends if command else None

    # What the AWS API answers.

    def describe_instance_information(self, Filters: list[dict[str, Any]]) -> dict[str, Any]:
        asked = [self.machines[id] for id in Filters[0]["Values"] if id in self.machines]
        pings = {True: "Online", False: "ConnectionLost"}
        return {
            "InstanceInformationList": [
                {
                    "InstanceId": machine.id,
                    "PingStatus": pings[machine.online(self.moment)],
                    "PlatformType": machine.platform,
                    "AgentVersion": machine.version,
                }
                for machine in asked
            ]
        }

    def describe_instances(
        self, InstanceIds: list[str] | None = None, Filters: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """By ids, of which each must be known; or by the filter instance-id, which leaves out what is not."""
        if Filters:
            assert Filters[0]["Name"] == "instance-id"
            InstanceIds = [id for id in Filters[0]["Values"] if id in self.machines]
        return {"Reservations": [{"Instances": [self._instance(self._ec2(id))]} for id in InstanceIds or []]}

    def describe_instance_status(self, InstanceIds: list[str], IncludeAllInstances: bool) -> dict[str, Any]:
        assert IncludeAllInstances
        return {"InstanceStatuses": [self._status(self._ec2(id)) for id in InstanceIds]}

    def start_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        machine = self._ec2(InstanceIds[0])
        if not machine.startable:
            raise refused("StartInstances", "InsufficientInstanceCapacity", "We have no capacity left")
        machine.become("pending", self.moment)
        return {"StartingInstances": [{"InstanceId": machine.id}]}

    def stop_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        machine = self._ec2(InstanceIds[0])
        if machine.state == "pending":
            raise refused("StopInstances", "IncorrectInstanceState", "A pending instance cannot be stopped")
        if machine.state == "running":
            machine.become("stopping", self.moment)
        return {"StoppingInstances": [{"InstanceId": machine.id}]}

    def create_snapshot(self, **request: Any) -> dict[str, Any]:
        self.snapshots.append(request)
        return {"SnapshotId": f"snap-{len(self.snapshots):017d}"}

    def send_command(self, **request: Any) -> dict[str, Any]:
        if any(id not in self.machines or self.machines[id].state == "terminated" for id in request["InstanceIds"]):
            raise refused("SendCommand", "InvalidInstanceId", "Instances not in a valid state for account")
        if len(set(request["InstanceIds"])) < len(request["InstanceIds"]):
            raise refused("SendCommand", "DuplicateInstanceId", "An instance id is there twice")
        id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"command {len(self.commands)}"))
        install = request["Parameters"]["Operation"] == ["Install"]
        hooked = request["DocumentName"].endswith("WithHooks")
        statuses = {i: self._outcome(self.machines[i], install, hooked) for i in request["InstanceIds"]}
        never = None in statuses.values()
        takes = timedelta(days=9) if never else self.takes if install else timedelta(minutes=1)
        told = {i: status or "InProgress" for i, status in statuses.items()}
        self.commands[id] = Command(id, self.moment + takes, told, request["Parameters"], request["Comment"],
                                    request["DocumentName"])  # fmt: skip
        return {"Command": {"CommandId": id, "Status": "Pending"}}

    def list_commands(
        self, CommandId: str | None = None, InstanceId: str | None = None, Filters: list[dict[str, str]] | None = None
    ) -> dict[str, Any]:
        """How one command stands; or, with the filter for what is executing, what runs at all or on one node."""
        if CommandId is None:
            assert Filters == [{"key": "ExecutionStage", "value": "Executing"}]
            running = [one for one in self.commands.values() if self.moment < one.ends]
            return {"Commands": [
                {"CommandId": one.id, "Status": "InProgress", "DocumentName": one.document, "Comment": one.comment,
                 "Parameters": dict(one.parameters)}
                for one in running if InstanceId is None or InstanceId in one.statuses
            ]}  # fmt: skip
        command = self.commands[CommandId]
        if self.moment < command.ends:
            return {"Commands": [{"CommandId": CommandId, "Status": "InProgress"}]}
        self._apply(command)
        good = all(status == "Success" for status in command.statuses.values())
        return {"Commands": [{"CommandId": CommandId, "Status": "Success" if good else "Failed"}]}

    def list_command_invocations(
        self, CommandId: str, InstanceId: str | None = None, Details: bool = False
    ) -> dict[str, Any]:
        """With details, the last words of a node whose hook failed."""
        command = self.commands[CommandId]
        over = self.moment >= command.ends
        return {
            "CommandInvocations": [
                {"CommandId": CommandId, "InstanceId": id, "Status": status if over else "InProgress",
                 "StatusDetails": status if over else "InProgress", **(self._plugins(id, status) if Details else {})}
                for id, status in command.statuses.items()
                if InstanceId in (None, id)
            ]
        }  # fmt: skip

    def _plugins(self, id: str, status: str) -> dict[str, Any]:
        said = self.machines[id].drain if status == "Failed" else None
        hooks = [{"Name": "PreInstall", "Status": "Failed", "StatusDetails": "Failed", "ResponseCode": 1,
                  "Output": f"draining\n{said}\n"}] if said else []  # fmt: skip
        return {"CommandPlugins": hooks}

    def describe_instance_patch_states(self, InstanceIds: list[str]) -> dict[str, Any]:
        machines = [self.machines[id] for id in InstanceIds if id in self.machines]
        return {"InstancePatchStates": [machine.patch_state for machine in machines if machine.patch_state]}

    def get_automation_execution(self, AutomationExecutionId: str) -> dict[str, Any]:
        assert self.run is not None
        assert self.run.record.id == AutomationExecutionId
        return {"AutomationExecution": self.run.record.to_api()}

    def _ec2(self, id: str) -> Machine:
        if id not in self.machines or self.machines[id].hybrid:
            raise refused("DescribeInstances", "InvalidInstanceID.NotFound", f"The instance {id} does not exist")
        self.machines[id].settle(self.moment)
        return self.machines[id]

    def _instance(self, machine: Machine) -> dict[str, Any]:
        devices = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": "vol-0fedcba9876543210"}}]
        if machine.root:
            devices.append({"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": machine.root}})
        return {
            "InstanceId": machine.id,
            "State": {"Name": machine.state},
            "RootDeviceName": "/dev/xvda",
            "BlockDeviceMappings": devices,
        }

    def _status(self, machine: Machine) -> dict[str, Any]:
        passed = machine.state == "running" and self.moment >= machine.since + CHECKS
        checks = {"Status": "ok" if passed else "initializing"}
        return {
            "InstanceId": machine.id,
            "InstanceState": {"Name": machine.state},
            "InstanceStatus": checks,
            "SystemStatus": checks,
        }

    def _outcome(self, machine: Machine, install: bool, hooked: bool) -> str | None:
        if not machine.online(self.moment) or machine.state != "running":
            return "DeliveryTimedOut"
        if install and hooked and machine.drain:
            return "Failed"
        return machine.install if install else machine.scan

    def _apply(self, command: Command) -> None:
        if command.applied:
            return
        command.applied = True
        operation = command.parameters["Operation"][0]
        for id, status in command.statuses.items():
            machine = self.machines[id]
            if status == "Success" and operation == "Install":
                stays = command.parameters.get("RebootOption") == ["NoReboot"]
                machine.pending, machine.missing = machine.missing if stays else 0, 0
                machine.reboots += not stays
            if status == "Success":
                machine.patch_state = self._patch_state(machine, operation, command)

    def _patch_state(self, machine: Machine, operation: str, command: Command) -> dict[str, Any]:
        return {
            "InstanceId": machine.id,
            "PatchGroup": "default",
            "BaselineId": "pb-0123456789abcdef0",
            "SnapshotId": command.parameters["SnapshotId"][0],
            "Operation": operation,
            "OperationStartTime": self.moment,
            "OperationEndTime": self.moment,
            "MissingCount": machine.missing,
            "InstalledPendingRebootCount": machine.pending,
        }


@dataclass(frozen=True)
class Boto3:
    world: SmallWorld

    def client(self, name: str) -> Client:
        return Client(self.world, name)


@dataclass(frozen=True)
class Client:
    """A client whose requests and answers must be well formed; pages come one node at a time."""

    world: SmallWorld
    service: str

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        return lambda **request: self.call(operation, request)

    def call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        name = {xform_name(name): name for name in model(self.service).operation_names}[operation]
        shapes = model(self.service).operation_model(name)
        validate_parameters(request, shapes.input_shape)
        self.world.calls.append((name, request))
        if name in self.world.refuse:
            raise refused(name, self.world.refuse[name], "refused for the test")
        answer: dict[str, Any] = getattr(self.world, operation)(**request)
        validate_parameters(answer, shapes.output_shape)
        return answer

    def get_paginator(self, operation: str) -> Paginator:
        return Paginator(self, operation)


@dataclass(frozen=True)
class Paginator:
    client: Client
    operation: str

    def paginate(self, **request: Any) -> list[dict[str, Any]]:
        answer = self.client.call(self.operation, request)
        ((key, items),) = answer.items()
        return [{key: [item]} for item in items] or [{key: []}]


@cache
def model(service: str) -> ServiceModel:
    return service_model(service)


def refused(operation: str, code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)
