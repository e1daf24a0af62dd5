"""Remarks: what the doctor says of one thing at one place, and how a check that could not look is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Protocol

from chalicelib.core.errors import Denied, Temporary
from chalicelib.core.nodes import Location
from chalicelib.ports import Baselines

OK, WARNING, WRONG, UNKNOWN = "ok", "warning", "wrong", "unknown"


@dataclass(frozen=True, slots=True)
class Remark:
    """`level` is ok, warning, wrong or unknown; all but ok carry what to do, and the command where there is one."""

    check: str
    where: str
    level: str
    what: str
    remedy: str = ""
    command: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Reach(Protocol):
    """How an AWS call reaches an account and Region; Temporary or Denied if it does not."""

    def call(self, location: Location, service: str, operation: str, **parameters: Any) -> dict[str, Any]: ...

    def pages(
        self, location: Location, service: str, operation: str, **parameters: Any
    ) -> Iterator[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Asks:
    """What the policies in force ask of a place.

    `executions` may run there at once, `schedules` are the enabled ones that may work there, `baselines` is that
    of `_set.yaml`; `kept` is what the last `baseline apply` wrote down for the place, None: there was none.
    """

    executions: int = 0
    schedules: tuple[str, ...] = ()
    baselines: str = "off"
    kept: Mapping[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the roles that act: in executions of ours, in parts of schedules, and for schedules in the hub."""

    automation: str = "patchwarden-automation"
    execution: str = "AWS-SystemsManager-AutomationExecutionRole"
    administration: str = "AWS-SystemsManager-AutomationAdministrationRole"


@dataclass(frozen=True, slots=True)
class Patient:
    """One place that is looked at, and as whom.

    `pause` waits for seconds, between two starts; `stranger` shows no external id; `role` is the member role's name;
    `hub` says that the caller's own credentials are used, `home` where the hub runs; `baselines` reads the patch
    baselines of every account.
    """

    location: Location
    reach: Reach
    stranger: Reach
    now: Callable[[], datetime]
    pause: Callable[[float], None]
    role: str
    hub: bool = False
    rules: tuple[str, ...] = ()
    asks: Asks = Asks()
    roles: Roles = Roles()
    home: Location | None = None
    baselines: Baselines | None = None

    @property
    def at_home(self) -> bool:
        """Whether the hub hears what happens here without any forwarding: in its own account and Region only."""
        return self.location == self.home

    def ask(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        return self.reach.call(self.location, service, operation, **parameters)

    def pages(self, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        return self.reach.pages(self.location, service, operation, **parameters)

    def lying(self, address: str) -> int:
        """About how many messages lie in a queue."""
        kinds = ["ApproximateNumberOfMessages"]
        answer = self.ask("sqs", "get_queue_attributes", QueueUrl=address, AttributeNames=kinds)
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])

    def says(self, check: str, level: str, what: str, remedy: str = "", command: str = "") -> Remark:
        return Remark(check, str(self.location), level, what, remedy, command)


Check = Callable[[Patient], Iterator[Remark]]


def code(error: Exception) -> str:
    """AWS's error code without its ending, or nothing if no answer came."""
    return str(getattr(error, "code", ""))


REFUSED = frozenset({"AccessDenied", "UnauthorizedOperation", "AuthorizationError", "AccessDeniedException"})

UPDATE = "aws cloudformation update-stack-set --stack-set-name patchwarden-member --template-url URL"
"""How a member account gets what the template holds; docs/deploy.md has the whole command."""


def looked(patient: Patient, checks: Iterable[tuple[str, Check]]) -> Iterator[Remark]:
    """What every check says; one that is refused or gets no answer says so, and is never taken for health."""
    for name, check in checks:
        try:
            yield from check(patient)
        except Denied as error:
            refused = code(error) in REFUSED
            remedy = "allow the role to read it: DoctorPermissions=yes in deploy/member.yaml" if refused else _UNCLEAR
            yield patient.says(name, UNKNOWN, f"could not look: {error}", remedy, UPDATE if refused else "")
        except Temporary as error:
            yield patient.says(name, UNKNOWN, f"could not look: {error}", "run doctor again in a minute")


_UNCLEAR = "read the error; if the Region does not have the service, leave it out of scope in policies/_set.yaml"
