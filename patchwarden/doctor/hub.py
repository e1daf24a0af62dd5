"""Hub: what the doctor looks at where Patchwarden itself runs: ledger, bus, queues, and the policies in force."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib import pause
from chalicelib.core.errors import Denied, PolicyError
from chalicelib.core.occurrences import PATCH_FLEET
from chalicelib.intake import in_force
from chalicelib.ports import Ports
from patchwarden.doctor.remarks import OK, WARNING, WRONG, Check, Patient, Remark, code, looked
from patchwarden.doctor.roles import SSM, Wish, administering, denied, partition

_OURS = ("aws:PrincipalOrgID", "aws:PrincipalOrgPaths", "aws:PrincipalAccount")
MEMBERS_ARE_ASKED_BY = ("OnDispatch", "OnSweep", "OnExecution")
"""Functions that act in the members for all others: their roles are looked at, by the names of the template."""
QUEUES = ("FailureQueue", "RuleFailureQueue")


@dataclass(frozen=True, slots=True)
class Hub:
    """The hub's place, its stack and its ledger; `packed` is the digest of the set that this release carries.

    `accounts` are those that its functions act in, `scheduled` says whether any schedule is enabled.
    """

    patient: Patient
    stack: str
    table: str
    ports: Callable[[], Ports]
    packed: str | None
    accounts: tuple[str, ...] = ()
    scheduled: bool = False

    def examine(self) -> Iterator[Remark]:
        """All remarks on the hub."""
        outputs: dict[str, str] = {}
        yield from looked(self.patient, [("stack", lambda patient: self._stack(patient, outputs))])
        checks: list[tuple[str, Check]] = [("ledger", self._ledger), ("policies", self._policies)]
        if outputs:
            checks += [("rules", self._rules), ("permissions", self._permissions)]
        if self.scheduled:
            checks.append(("roles", administering))
        if bus := outputs.get("HubBusArn"):
            checks.append(("bus", lambda patient: self._bus(patient, bus)))
        checks += [(name, self._queue(name, outputs[name])) for name in QUEUES if name in outputs]
        yield from looked(self.patient, checks)

    def _stack(self, patient: Patient, outputs: dict[str, str]) -> Iterator[Remark]:
        """Fill in the stack's outputs, which say where everything else is."""
        try:
            (stack,) = patient.ask("cloudformation", "describe_stacks", StackName=self.stack)["Stacks"]
        except Denied as error:
            if code(error) != "ValidationError":
                raise
            stage = self.stack.rsplit("-", 1)[-1]
            yield patient.says("stack", WRONG, f"there is no stack {self.stack} here",
                               "deploy the hub, or name its stack (--stack)", f"make deploy STAGE={stage}")  # fmt: skip
            return
        outputs.update((one["OutputKey"], one["OutputValue"]) for one in stack.get("Outputs", []))
        missing = [name for name in ("HubBusArn", *QUEUES) if name not in outputs]
        if missing:
            yield patient.says("stack", WRONG, f"{self.stack} has no output {', '.join(missing)}",
                               "deploy the hub's template of this release", "make deploy")  # fmt: skip
        else:
            yield patient.says("stack", OK, f"{self.stack} is there")

    def _ledger(self, patient: Patient) -> Iterator[Remark]:
        name = self.table
        try:
            table = patient.ask("dynamodb", "describe_table", TableName=name)["Table"]
        except Denied as error:
            if code(error) != "ResourceNotFound":
                raise
            yield patient.says("ledger", WRONG, f"there is no table {name}",
                               "name the hub's table in PATCHWARDEN_TABLE (output LedgerTable)",
                               f"aws cloudformation describe-stacks --stack-name {self.stack}")  # fmt: skip
            return
        faults = list(_table_faults(patient, name, table))
        yield from faults or [patient.says("ledger", OK, f"{name} is protected and can be restored to any second")]

    def _rules(self, patient: Patient) -> Iterator[Remark]:
        """Every rule of the stack is enabled: those that wake the clock's functions, and those that hear events."""
        pages = patient.pages("cloudformation", "list_stack_resources", StackName=self.stack)
        ids = [one["PhysicalResourceId"] for page in pages for one in page["StackResourceSummaries"]
               if one["ResourceType"] == "AWS::Events::Rule" and one.get("PhysicalResourceId")]  # fmt: skip
        faults = [remark for id in ids for remark in self._rule(patient, id)]
        if not ids:
            yield patient.says("rules", WRONG, f"{self.stack} has no rule: nothing wakes the service",
                               "deploy the hub's template of this release", "make deploy")  # fmt: skip
        else:
            yield from faults or [patient.says("rules", OK, f"all {len(ids)} rules of {self.stack} are enabled")]

    def _rule(self, patient: Patient, id: str) -> Iterator[Remark]:
        """CloudFormation names a rule of another bus than the default one as `bus|rule`."""
        bus, _, name = id.rpartition("|")
        on = {"EventBusName": bus} if bus else {}
        try:
            state = patient.ask("events", "describe_rule", Name=name, **on).get("State")
        except Denied as error:
            if code(error) != "ResourceNotFound":
                raise
            yield patient.says("rules", WRONG, f"the stack's rule {name} was deleted by hand",
                               "make it again: deploy without that event, and then as it was",
                               "make deploy")  # fmt: skip
            return
        if state == "DISABLED":
            named = f" --event-bus-name {bus}" if bus else ""
            yield patient.says(
                "rules", WRONG, f"the hub's rule {name} is disabled, so its function never runs",
                "enable it; to stop the service, pause it", f"aws events enable-rule --name {name}{named}",
            )  # fmt: skip

    def _permissions(self, patient: Patient) -> Iterator[Remark]:
        """Whether the functions may become the member role of every account, and the schedules may be started."""
        for name in MEMBERS_ARE_ASKED_BY:
            yield from self._function(patient, name, self._becoming(patient))
        if self.scheduled:
            yield from self._function(patient, "OnSchedules", self._scheduling(patient))

    def _becoming(self, patient: Patient) -> list[Wish]:
        start = f"arn:{partition(patient)}:iam"
        return [Wish("sts:AssumeRole", f"{start}::{account}:role/{patient.role}") for account in self.accounts]

    def _scheduling(self, patient: Patient) -> list[Wish]:
        arn, here = f"arn:{partition(patient)}", f"{patient.location.region}:{patient.location.account}"
        role = f"{arn}:iam::{patient.location.account}:role/{patient.roles.administration}"
        return [
            Wish("iam:PassRole", role, (("iam:PassedToService", SSM),)),
            Wish("ssm:StartAutomationExecution", f"{arn}:ssm:{here}:document/{PATCH_FLEET}"),
            Wish("ssm:AddTagsToResource", f"{arn}:ssm:{here}:automation-execution/*",
                 (("aws:TagKeys", "patchwarden:occurrence"),)),
        ]  # fmt: skip

    def _function(self, patient: Patient, name: str, wishes: list[Wish]) -> Iterator[Remark]:
        asked = {"StackName": self.stack, "LogicalResourceId": f"{name}Role"}
        found = patient.ask("cloudformation", "describe_stack_resource", **asked)["StackResourceDetail"]
        refused = denied(patient, found["PhysicalResourceId"], wishes)
        for wish in refused:
            yield patient.says(
                "permissions", WRONG, f"the function {name} may not {wish.action} on {wish.resource}",
                "deploy the hub's template again, with MemberRole and the roles as deploy/member.yaml names them",
                "make deploy",
            )  # fmt: skip
        if not refused:
            yield patient.says("permissions", OK, f"the function {name} may do what it must in every account")

    def _bus(self, patient: Patient, bus: str) -> Iterator[Remark]:
        found = patient.ask("events", "describe_event_bus", Name=bus.rsplit("/", 1)[-1])
        statements = json.loads(found.get("Policy") or '{"Statement": []}')["Statement"]
        allowing = [one for one in statements if one["Effect"] == "Allow"]
        remedy, command = "deploy the hub's template again", "make deploy"
        if not allowing:
            yield patient.says("bus", WRONG, f"{bus} lets no member account put events", remedy, command)
        elif open_to_all := [one for one in allowing if _open(one)]:
            who = open_to_all[0].get("Sid", "a statement")
            what = f"{bus} takes events from any AWS account: {who} names no organisation"
            yield patient.says("bus", WRONG, what, remedy, command)
        else:
            yield patient.says("bus", OK, f"{bus} takes events of the organisation's accounts only")

    def _queue(self, name: str, address: str) -> Check:
        def check(patient: Patient) -> Iterator[Remark]:
            depth = patient.lying(address)
            if depth:
                yield patient.says(
                    "queues", WRONG, f"{name} holds {depth} that were given up",
                    "read one, mend its cause, and send it again or purge the queue",
                    f"aws sqs receive-message --queue-url {address}",
                )  # fmt: skip
            else:
                yield patient.says("queues", OK, f"{name} is empty")

        return check

    def _policies(self, patient: Patient) -> Iterator[Remark]:
        ports = self.ports()
        published, trouble = ports.ledger.active_policies(), ports.policies.trouble()
        policies = in_force(ports)
        command = "patchwarden policy publish"
        if isinstance(policies, PolicyError):
            yield patient.says("policies", WRONG, f"no policy set loads: {policies}", "publish one that loads", command)
        elif trouble:
            yield patient.says(
                "policies", WRONG, f"the published set does not decide: {trouble}", "publish again", command
            )
        elif published and self.packed and published.digest != self.packed:
            yield patient.says(
                "policies", WARNING, f"in force is {published.digest[:12]}, these files are {self.packed[:12]}",
                "compare, and publish if these are the ones that should decide", "patchwarden policy diff",
            )  # fmt: skip
        else:
            yield patient.says("policies", OK, f"in force is {policies.digest[:12]}")
        for paused in pause.in_force(ports.ledger, patient.now()):
            yield patient.says("paused", WARNING, paused.because, "resume when the reason is over",
                               f"patchwarden resume --reason …{_scope(paused.scope)}")  # fmt: skip


def _scope(scope: str) -> str:
    kind, _, name = scope.partition("/")
    return f" --{kind} {name}" if name else ""


def _table_faults(patient: Patient, name: str, table: Mapping[str, Any]) -> Iterator[Remark]:
    if not table.get("DeletionProtectionEnabled"):
        yield patient.says("ledger", WRONG, f"{name} can be deleted with one call", "protect it",
                           f"aws dynamodb update-table --table-name {name} --deletion-protection-enabled")  # fmt: skip
    answer = patient.ask("dynamodb", "describe_continuous_backups", TableName=name)["ContinuousBackupsDescription"]
    if answer.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
        yield patient.says(
            "ledger", WRONG, f"{name} cannot be restored to a moment", "switch point-in-time recovery on",
            f"aws dynamodb update-continuous-backups --table-name {name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )  # fmt: skip


def _open(statement: Mapping[str, Any]) -> bool:
    """Whether anybody is meant, with no condition on the organisation or the account."""
    everybody = statement.get("Principal") in ("*", {"AWS": "*"})
    asked = json.dumps(statement.get("Condition", {}))
    return everybody and not any(key in asked for key in _OURS)
