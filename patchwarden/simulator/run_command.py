"""Run Command: sends a command to machines and lets them take their time over it, as concurrency and errors allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.core.nodes import Location
from chalicelib.core.overrides import names
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.commands import (
    DELIVERY_TIMED_OUT,
    DELIVERY_TIMEOUT,
    DOCUMENT,
    EXECUTION_TIMED_OUT,
    EXECUTION_TIMEOUT,
    NOOP,
    WITH_HOOKS,
    Command,
    Invocation,
    valid_parameters,
)
from patchwarden.simulator.compliance import Compliance
from patchwarden.simulator.events import Event, command_status, invocation_status
from patchwarden.simulator.fleet import Fleet
from patchwarden.simulator.machines import FAILED, INSTALLED, MISSING, PENDING, Machine
from patchwarden.simulator.names import Names
from patchwarden.simulator.patches import Patch
from patchwarden.simulator.power import Power
from patchwarden.simulator.refusals import NotServed, Refusal

LOOK_AGAIN = 30
"""Seconds until an agent that was away is asked again."""


class RunCommand:
    """Run Command in every account and Region. `overrides` says what an InstallOverrideList under a URL holds, and
    `read_list` what text lies under one that is not among them.

    `hooks` says which hook documents there are and what each prints when it fails, None: it succeeds. `hooked` lists
    what ran, as node and document.
    """

    def __init__(
        self, clock: VirtualClock, names: Names, fleet: Fleet, power: Power, compliance: Compliance,
        emit: Callable[[Event, datetime], None],
    ) -> None:  # fmt: skip
        self.overrides: dict[str, frozenset[str]] = {}
        self.read_list: Callable[[str], bytes | None] = lambda url: None
        self.hooks: dict[str, str | None] = {NOOP: None}
        self.hooked: list[tuple[str, str]] = []
        self._clock = clock
        self._names = names
        self._fleet = fleet
        self._power = power
        self._compliance = compliance
        self._emit = emit
        self._commands: dict[Location, dict[str, Command]] = defaultdict(dict)

    def sent(self, location: Location) -> list[Command]:
        """Every command sent there, newest first."""
        return list(reversed(self._commands[location].values()))

    def find(self, location: Location, command: str) -> Command | None:
        return self._commands[location].get(command)

    def send(self, location: Location, request: Mapping[str, Any]) -> Command:
        """SendCommand on a list of node ids. A node that Systems Manager does not have running refuses the whole."""
        if request["DocumentName"] not in (DOCUMENT, WITH_HOOKS):
            raise Refusal("InvalidDocument", f"Document {request['DocumentName']} does not exist.")
        if request.get("Targets"):
            raise NotServed("SendCommand with Targets: the simulator takes InstanceIds")
        machines = self._valid_machines(location, request.get("InstanceIds", []))
        command = Command(
            id=self._names.uuid("command"),
            location=location,
            parameters=valid_parameters(request.get("Parameters", {}), request["DocumentName"]),
            nodes=tuple(machine.node.id for machine in machines),
            requested_at=self._clock.now(),
            comment=request.get("Comment", ""),
            delivery_timeout=request.get("TimeoutSeconds", DELIVERY_TIMEOUT),
            concurrency=request.get("MaxConcurrency", "50"),
            errors=request.get("MaxErrors", "0"),
            document=request["DocumentName"],
            output=_output(request),
            invocations={machine.node.id: Invocation(machine.node.id, _plugin(machine)) for machine in machines},
        )
        self._commands[location][command.id] = command
        self._clock.after(1, lambda: self._proceed(command))
        return command

    def when_over(self, command: Command, call: Callable[[], None]) -> None:
        """Run `call` as soon as the command has ended on every node."""
        if command.over:
            self._clock.after(0, call)
        else:
            command.watchers.append(call)

    def cancel(self, command: Command, nodes: Sequence[str] = ()) -> None:
        """CancelCommand: what has not begun will not; what has begun runs on, and its end is not reported."""
        for invocation in command.invocations.values():
            if not invocation.over and (not nodes or invocation.node in nodes):
                self._note_end(command, invocation, "Cancelled", "Cancelled")
        self._proceed(command)

    def scan(self, machine: Machine, then: Callable[[], None] | None = None) -> None:
        """The daily scan by State Manager: nobody waits for it, and a machine that does not answer is left out."""
        if not machine.online:
            return
        started_at = self._clock.now()
        self._clock.after(machine.pace.scan, lambda: self._scanned_daily(machine, started_at, then))

    def _scanned_daily(self, machine: Machine, started_at: datetime, then: Callable[[], None] | None) -> None:
        if not machine.online:
            return
        machine.scan(started_at, self._clock.now())
        self._compliance.uploaded(machine)
        if then:
            then()

    def _valid_machines(self, location: Location, ids: Sequence[str]) -> list[Machine]:
        found = [
            machine for node in ids if (machine := self._fleet.find(location, node)) and machine.state == "running"
        ]
        if len(found) < len(ids) or not ids:
            wrong = sorted(set(ids) - {machine.node.id for machine in found})
            message = f"Instances [[{', '.join(wrong)}]] not in a valid state for account {location.account}"
            raise Refusal("InvalidInstanceId", message)
        if len(set(ids)) != len(ids):
            raise Refusal("DuplicateInstanceId", "You can't specify an instance ID in more than one association.")
        return found

    def _proceed(self, command: Command) -> None:
        """Give the command to as many further nodes as its concurrency allows; end the rest after too many errors."""
        waiting = [one for one in command.invocations.values() if not one.sent and not one.over]
        if command.failed_too_often:
            for invocation in waiting:
                self._note_end(command, invocation, "Cancelled", "Terminated")
            waiting = []
        under_way = sum(one.sent and not one.over for one in command.invocations.values())
        for invocation in waiting[: max(command.at_once - under_way, 0)]:
            if not invocation.sent:
                invocation.sent = True
                self._deliver(command, invocation)
        self._conclude(command)

    def _deliver(self, command: Command, invocation: Invocation) -> None:
        machine = self._fleet.find(command.location, invocation.node)
        assert machine is not None, f"{invocation.node} was there when the command was sent"
        if invocation.over:
            return
        if machine.online:
            self._begin(command, invocation, machine)
        elif self._clock.now() - command.requested_at >= timedelta(seconds=command.delivery_timeout):
            self._end(command, invocation, "TimedOut", DELIVERY_TIMED_OUT)
        else:
            self._clock.after(LOOK_AGAIN, lambda: self._deliver(command, invocation))

    def _begin(self, command: Command, invocation: Invocation, machine: Machine) -> None:
        invocation.started_at = self._clock.now()
        invocation.status, invocation.details = "InProgress", "In Progress"
        self._tell(command, invocation)
        self._clock.after(EXECUTION_TIMEOUT, lambda: self._too_late(command, invocation))
        scanning = command.operation == "Scan"
        if not scanning and self._hook_failed(command, invocation, "pre"):
            return
        finish = self._scanned if scanning else self._installed
        seconds = machine.pace.scan if scanning else machine.pace.install

        def work() -> None:
            finish(command, invocation, machine)

        self._clock.after(seconds, lambda: self._when_online(invocation, machine, work))

    def _when_online(self, invocation: Invocation, machine: Machine, work: Callable[[], None]) -> None:
        """An agent that is away goes on with its work when it is back; if it never is, the time runs out."""
        if invocation.details == EXECUTION_TIMED_OUT:
            return
        if machine.online:
            work()
        else:
            self._clock.after(LOOK_AGAIN, lambda: self._when_online(invocation, machine, work))

    def _too_late(self, command: Command, invocation: Invocation) -> None:
        if not invocation.over:
            self._end(command, invocation, "TimedOut", EXECUTION_TIMED_OUT)

    def _hook_failed(self, command: Command, invocation: Invocation, moment: str) -> bool:
        """Run a hook; after one that failed the exit hook runs and the node has failed, with what the hook printed."""
        document = command.hook(moment)
        if document == NOOP:
            return False
        self.hooked.append((invocation.node, document))
        said = self.hooks.get(document, f"Document {document} does not exist.")
        if said is None:
            return False
        if moment != "exit":
            self._hook_failed(command, invocation, "exit")
        if not invocation.over:
            invocation.plugin = {"pre": "PreInstallHook", "post": "PostInstallHook", "exit": "OnExitHook"}[moment]
            self._end(command, invocation, "Failed", "Failed", code=1, output=said)
        return True

    def _scanned(self, command: Command, invocation: Invocation, machine: Machine) -> None:
        assert invocation.started_at is not None, "a scan that never began"
        machine.scan(invocation.started_at, self._clock.now(), command.snapshot, command.reboot_option)
        self._report(command, invocation, machine, 0)

    def _installed(self, command: Command, invocation: Invocation, machine: Machine) -> None:
        wanted = self._wanted(command.override, machine) if command.override else None
        if command.override and wanted is None:
            self._end(command, invocation, "Failed", "Failed", code=160, output=f"Unable to read {command.override}")
            return
        failed = machine.patch(self._clock.now(), override=wanted)
        if command.reboot_option == "RebootIfNeeded" and machine.pending and machine.reboots:
            self._power.reboot(machine, lambda: self._upload_install(command, invocation, machine, failed))
        else:
            self._upload_install(command, invocation, machine, failed)

    def _wanted(self, url: str, machine: Machine) -> frozenset[str] | None:
        """What a list holds, or which outstanding patches the text that lies there names; None: it is not there."""
        text = None if url in self.overrides else self.read_list(url)
        if text is None:
            return self.overrides.get(url)
        listed = text.decode()
        return frozenset(one.title for one in machine.outstanding.values() if names(listed, one.id, one.title))

    def _upload_install(self, command: Command, invocation: Invocation, machine: Machine, failed: list[Patch]) -> None:
        assert invocation.started_at is not None, "an installation that never began"
        machine.uploaded_install(
            invocation.started_at, self._clock.now(), failed, command.snapshot, command.reboot_option, command.override
        )
        if self._hook_failed(command, invocation, "post"):
            self._compliance.uploaded(machine)
            return
        if self._hook_failed(command, invocation, "exit"):
            self._compliance.uploaded(machine)
            return
        self._report(command, invocation, machine, 1 if failed else 0)

    def _report(self, command: Command, invocation: Invocation, machine: Machine, code: int) -> None:
        self._compliance.uploaded(machine)
        assert machine.report is not None, "the report was made just now"
        counts = ", ".join(f"{state} {machine.report.count(state)}" for state in (INSTALLED, MISSING, FAILED, PENDING))
        word = "Failed" if code else "Success"
        if not invocation.over:
            self._end(command, invocation, word, word, code=code, output=f"{command.operation}: {counts}")

    def _end(
        self, command: Command, invocation: Invocation, status: str, details: str, *, code: int = -1, output: str = ""
    ) -> None:
        self._note_end(command, invocation, status, details, code=code, output=output)
        self._proceed(command)

    def _note_end(
        self, command: Command, invocation: Invocation, status: str, details: str, *, code: int = -1, output: str = ""
    ) -> None:
        invocation.status, invocation.details = status, details
        invocation.code, invocation.output, invocation.ended_at = code, output, self._clock.now()
        self._tell(command, invocation)

    def _conclude(self, command: Command) -> None:
        if command.over:
            return
        if command.conclude():
            now = self._clock.now()
            self._emit(command_status(self._names.uuid("event"), command.location, command.to_api(), now), now)
        self._wake_watchers(command)

    def _wake_watchers(self, command: Command) -> None:
        if command.over:
            for call in command.watchers:
                self._clock.after(0, call)
            command.watchers.clear()

    def _tell(self, command: Command, invocation: Invocation) -> None:
        now, told = self._clock.now(), command.invocation_to_api(invocation, details=False)
        self._emit(invocation_status(self._names.uuid("event"), command.location, told, now), now)


def _output(request: Mapping[str, Any]) -> dict[str, str]:
    """Where the command's output goes: bucket and prefix, and a log group if it is switched on."""
    logs = request.get("CloudWatchOutputConfig", {})
    group = logs.get("CloudWatchLogGroupName") if logs.get("CloudWatchOutputEnabled") else None
    told = {
        "bucket": request.get("OutputS3BucketName"),
        "prefix": request.get("OutputS3KeyPrefix"),
        "log_group": group,
    }
    return {name: value for name, value in told.items() if value}


def _plugin(machine: Machine) -> str:
    return "PatchWindows" if machine.platform.windows else "PatchLinux"
