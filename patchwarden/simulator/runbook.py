"""The runbook interpreter: what Systems Manager Automation would do with a document, step by step, in virtual time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


class World(Protocol):
    """What a runbook reaches: a clock and boto3. Everything else it does through the AWS API, as AWS itself does.

    The steps of our documents call, as botocore spells them: ssm `describe_instance_information` (also as paginator),
    `send_command`, `list_commands` (by CommandId: Status of the whole command), `list_command_invocations` (paginator),
    `describe_instance_patch_states`; ec2 `describe_instances`, `start_instances`, `stop_instances`,
    `describe_instance_status`, `create_snapshot`. A refused call raises botocore's ClientError.
    """

    def now(self) -> datetime:
        """The virtual time, aware UTC; it must not move while `Run.advance` is under way."""

    def boto3_for(self, account: str, region: str) -> Any:
        """Something with `client(name, **options)`, as the module boto3 has it, acting in that account and Region."""


@dataclass(frozen=True, slots=True)
class Wait:
    """When to call `Run.advance` again: at `until`, or as soon as the run command `command` has ended.

    Calling too early is harmless: the run looks, and waits on.
    """

    until: datetime
    command: str | None = None


# The public face, filled in below:
#
# runbook = Runbook.load(yaml_text)                  RunbookError if it cannot be understood
# run = Run(world, runbook, account=…, region=…, execution_id=…, parameters={name: [values]},
#           document_name=…, document_version="1", executed_by=arn)
#                                                    ParameterError if SSM would refuse the parameters
# run.advance() -> Wait | None                       None: it has ended, for good
# run.cancel()                                       StopAutomationExecution Cancel; then call advance at once
# run.record -> ExecutionRecord                      frozen; a new value after each change
# run.record.to_api() -> dict                        GetAutomationExecution's AutomationExecution
# run.record.status                                  InProgress | Success | Failed | TimedOut | Cancelled
