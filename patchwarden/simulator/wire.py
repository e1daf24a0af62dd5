"""The wire: answers real AWS requests from the simulated AWS, and hooks itself under unmodified boto3.

`Wire.answer` is a function of one HTTP request; `Wire.install` puts it where botocore would open a connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from io import BytesIO
from typing import Any, Literal
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError

from patchwarden.simulator import (
    api_actions,
    api_baselines,
    api_config,
    api_ec2,
    api_iam,
    api_nodes,
    api_organization,
    api_remediation,
    api_setup,
    api_sts,
)
from patchwarden.simulator.aws import Aws, Caller, Operation, Reply
from patchwarden.simulator.protocols import PATH, PROTOCOLS, Answer, operation_model
from patchwarden.simulator.refusals import NotServed, Refusal, WrongAnswer, invalid, throttled
from patchwarden.simulator.shapes import violations

Phase = Literal["before", "after"]
Fault = Callable[[str, str, Phase], None]
"""Called with service, operation and phase, before and after the effect.

What it raises takes the place of the answer: an exception of botocore's, as a broken line would, or a Refusal.
"""

SERVICES: dict[str, Mapping[str, Operation]] = {
    "ssm": {**api_nodes.OPERATIONS, **api_actions.OPERATIONS, **api_setup.SSM, **api_baselines.OPERATIONS},
    "config": {**api_config.OPERATIONS, **api_remediation.OPERATIONS, **api_setup.CONFIG},
    "ec2": api_ec2.OPERATIONS,
    "sts": api_sts.OPERATIONS,
    "iam": api_iam.OPERATIONS,
    "organizations": api_organization.ORGANIZATIONS,
    "service-quotas": api_organization.QUOTA,
    "resource-groups": api_organization.GROUPS,
}
HOOKS = {name: name for name in SERVICES} | {"config": "config-service"}
"""What botocore calls the services in the names of its hooks."""

# Bounds in the model that AWS's own answers do not keep: a node of no patch group has an empty one, names of actions
# and outputs are longer, maps may be empty, and EC2 says `windows` where the model has `Windows`.
_LOOSE = frozenset(
    {"PatchGroup", "AutomationActionName", "AutomationParameterMap", "AutomationParameterValue", "PlatformValues"}
)
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_PAUSE = 0.5
_TRANSIENT = frozenset({"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"})
_ATTEMPTS = {"legacy": 5, "standard": 3, "adaptive": 3}


def no_fault(service: str, operation: str, phase: Phase) -> None:
    """Nothing goes wrong."""


class Wire:
    """Requests to the simulated AWS. A `trusted` wire is the runbooks' own: never denied, never throttled, never cut.

    `home` is the account of credentials that are none of the simulator's, such as those in a developer's environment.
    """

    def __init__(self, aws: Aws, *, home: str | None = None, fault: Fault = no_fault, trusted: bool = False) -> None:
        self.fault = fault
        self._aws = aws
        self._home = home or aws.accounts[0]
        self._trusted = trusted
        self._count = 0

    def install(self, session: Any) -> None:
        """Answer every client that the boto3 or botocore session makes from now on; retries pause in virtual time."""
        events = session.events if hasattr(session, "events") else session.get_component("event_emitter")
        for service, hook in HOOKS.items():
            events.register_first(f"before-send.{hook}", self._hook(service))
            events.register_first(f"needs-retry.{hook}", self._retry)

    def answer(self, service: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The answer to one request; who asks and in which Region, its signature says."""
        self._count += 1
        protocol = PROTOCOLS[service]
        try:
            caller = self._caller(service, headers)
            operation = protocol.operation(headers, body)
            if operation not in SERVICES[service]:
                raise NotServed(f"{service}:{operation}")
            return protocol.success(operation, self._do(service, operation, caller, body), self._request_id())
        except Refusal as refusal:
            return protocol.refusal(refusal, self._request_id())

    def _do(self, service: str, operation: str, caller: Caller, body: bytes) -> Reply:
        self.fault(service, operation, "before")
        model = operation_model(service, operation)
        request = PROTOCOLS[service].parameters(operation, body)
        self._admit(service, operation, caller)
        if problems := violations(request, model.input_shape) if model.input_shape else []:
            raise invalid(problems)
        told = SERVICES[service][operation](self._aws, caller, request)
        if wrong := violations(told, model.output_shape, loose=_LOOSE) if model.output_shape else []:
            raise WrongAnswer(f"{service}:{operation} would answer: {'; '.join(wrong[:5])}")
        self.fault(service, operation, "after")
        return told

    def _admit(self, service: str, operation: str, caller: Caller) -> None:
        if self._trusted:
            return
        if caller.location in self._aws.down:
            raise Refusal("ServiceUnavailable", "The service is unavailable. Please try again shortly.", 503)
        refused = (caller.account, f"{service}:{operation}") in self._aws.setup.refused
        if refused or (service != "sts" and (caller.account, service) in self._aws.denied):
            raise _denied(service, operation, caller)
        if not self._aws.throttle.allows(operation, caller.location, self._aws.clock.now()):
            raise throttled()

    def _caller(self, service: str, headers: Mapping[str, str]) -> Caller:
        signature = _CREDENTIAL.search(headers.get("Authorization", ""))
        if signature is None:
            raise Refusal("MissingAuthenticationToken", "Missing Authentication Token", 403)
        account = api_sts.account_of(signature[1])
        token = headers.get("X-Amz-Security-Token")
        if account is None or not signature[1].startswith("ASIA"):
            account = account or self._home
            return Caller(account, signature[2], f"arn:aws:iam::{account}:role/patchwarden")
        arn, ends = api_sts.session_of(account, token or "")
        if self._aws.limits.sessions_expire and api_sts.expired(self._aws.clock.now(), ends):
            raise _EXPIRED.get(service, _EXPIRED["ssm"])
        return Caller(account, signature[2], arn)

    def _request_id(self) -> str:
        return f"00000000-0000-4000-8000-{self._count:012x}"

    def _hook(self, service: str) -> Callable[..., Any]:
        def before_send(request: Any, **_: Any) -> Any:
            headers = {name: _text(value) for name, value in request.headers.items()}
            headers[PATH] = urlsplit(request.url).path
            answer = self.answer(service, headers, _bytes(request.body))
            said = format_datetime(self._aws.clock.now() + self._aws.setup.skew, usegmt=True)
            return AWSResponse(request.url, answer.status, {**answer.headers, "date": said}, _Raw(answer.body))

        return before_send

    def _retry(
        self,
        attempts: int,
        request_dict: Mapping[str, Any],
        response: Any = None,
        caught_exception: Any = None,
        **_: Any,
    ) -> float | None:
        """boto3 would pause in real time; here the time that passes is the simulated one."""
        config = request_dict["context"]["client_config"]
        if attempts >= _most_attempts(config) or not _transient(response, caught_exception):
            return None
        self._aws.clock.sleep(_PAUSE * 2 ** (attempts - 1))
        return 0.0


_EXPIRED = {
    "ssm": Refusal("ExpiredTokenException", "The security token included in the request is expired"),
    "config": Refusal("ExpiredTokenException", "The security token included in the request is expired"),
    "ec2": Refusal("RequestExpired", "Request has expired."),
    "sts": Refusal("ExpiredToken", "The security token included in the request is expired", 403),
}


class _Raw(BytesIO):
    """A body as botocore reads it off a connection."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


def _denied(service: str, operation: str, caller: Caller) -> Refusal:
    action = f"{service}:{operation}"
    if service == "ec2":
        return Refusal("UnauthorizedOperation", f"You are not authorized to perform this operation: {action}", 403)
    why = f"User: {caller.arn} is not authorized to perform: {action} because no identity-based policy allows it"
    return Refusal("AccessDeniedException", why)


def _most_attempts(config: Any) -> int:
    retries = config.retries or {}
    return int(retries.get("total_max_attempts") or _ATTEMPTS[retries.get("mode", "legacy")])


def _transient(response: Any, error: Any) -> bool:
    if error is not None:
        return isinstance(error, HTTPClientError | NoConnection)
    http, parsed = response
    return http.status_code >= 500 or parsed.get("Error", {}).get("Code") in _TRANSIENT


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _bytes(body: object) -> bytes:
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    return body.encode() if isinstance(body, str) else b""
