"""Refusals: what AWS answers instead of doing what was asked; and where the simulator itself gives up."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An error answer: `code` and `message` as AWS spells them, `members` that this error's shape has besides."""

    def __init__(self, code: str, message: str, status: int = 400, **members: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = members


class SimulatorFault(Exception):
    """Never AWS's doing. It passes through boto3 and through a runbook's script, so that a test must see it."""


class NotServed(SimulatorFault):
    """The simulator does not know this operation or option, and says so rather than guess."""


class WrongAnswer(SimulatorFault):
    """An answer of the simulator's own that botocore's model of the service would not allow."""


def throttled() -> Refusal:
    """https://docs.aws.amazon.com/systems-manager/latest/APIReference/CommonErrors.html"""
    return Refusal("ThrottlingException", "Rate exceeded")


def invalid(problems: list[str]) -> Refusal:
    """What a service says to input that its model does not allow."""
    count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
    return Refusal("ValidationException", f"{count}: {'; '.join(problems)}")
