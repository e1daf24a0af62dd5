"""Accounts: how an AWS call reaches an account and a Region, and what its failure means for us.

One client per service and Region serves every account: the credentials of the assumed role are put into each request
when it is signed. A session and a client of its own for each account would cost a hundred times as much.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from threading import Lock, local
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from botocore.session import get_session

from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.nodes import Location

if TYPE_CHECKING:
    import boto3

_LOST = (HTTPClientError, NoConnection, ResponseParserError)
"""The request or its answer did not arrive whole, so nobody knows what it did."""

_TEMPORARY = frozenset({
    # https://docs.aws.amazon.com/general/latest/gr/api-retries.html
    "BandwidthLimitExceeded", "EC2Throttled", "PriorRequestNotComplete", "ProvisionedThroughputExceeded",
    "RequestLimitExceeded", "RequestThrottled", "RequestTimeout", "SlowDown", "Throttled", "Throttling",
    "TooManyRequests", "TransactionInProgress", "InternalError", "InternalFailure", "InternalServerError",
    "ServiceUnavailable", "Unavailable", "ExpiredToken", "RequestExpired", "TooManyUpdates",
    "AutomationExecutionLimitExceeded",
})  # fmt: skip
"""Error codes, without the ending `Exception`. What is not here and no 5xx is Denied: a person looks at it once,
instead of us repeating for ever what AWS refuses for a reason that we do not know."""

_STALE_CREDENTIALS = frozenset(
    {"ExpiredToken", "RequestExpired", "InvalidClientTokenId", "UnrecognizedClient", "AuthFailure"}
)
_EARLY = timedelta(minutes=5)
_PARTITIONS = {
    "cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc", "us-iso-": "aws-iso", "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f", "eu-isoe-": "aws-iso-e",
}  # fmt: skip


class Refusal(Denied):
    """Denied by AWS under an error code that the caller may know how to take; `answer` is the error response."""

    def __init__(self, message: str, code: str, answer: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer


class BarredByAws(Refusal, Barred):
    """A refusal that has nothing to do with what was asked about: each further call would meet it too."""


_BARRED = frozenset({"AccessDenied", "UnauthorizedOperation", "OptInRequired"})
"""Error codes, without the ending `Exception`.

https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""


@contextmanager
def translating(what: str) -> Iterator[None]:
    """Turn what boto3 raises into Temporary, Refusal or Denied; `what` says account, Region and operation."""
    try:
        yield
    except ClientError as error:
        raise _answered(error, what) from error
    except _LOST as error:
        raise Temporary(f"{what}: no answer: {error}") from error
    except BotoCoreError as error:
        raise Denied(f"{what}: not sent: {error}") from error


def _answered(error: ClientError, what: str) -> Temporary | Refusal:
    code = _code(error)
    text = f"{what}: {code}: {error.response.get('Error', {}).get('Message', '')}"
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _TEMPORARY or status == 429 or status >= 500:
        return Temporary(text)
    kind = BarredByAws if code in _BARRED else Refusal
    return kind(text, code, error.response)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "")).removesuffix("Exception")


def partition(region: str) -> str:
    """The first part of an ARN in this Region. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html"""
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


MAKING = Lock()
"""Held while a client is made: botocore's clients may be shared by threads, its sessions may not.

https://docs.aws.amazon.com/boto3/latest/guide/clients.html
"""

CONNECTIONS = 48
"""How many connections a client keeps open: one for each thread that may call at the same time."""


def configuration(attempts: int = 3) -> Config:
    """How every client of ours behaves; `attempts` counts the first try too.

    https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    """
    return Config(
        connect_timeout=3,
        read_timeout=15,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": attempts},
        user_agent_extra="patchwarden",
    )


@dataclass(frozen=True, slots=True)
class _Held:
    credentials: Credentials
    until: datetime


@cache
def botocore_session() -> Any:
    """The one session of this process, with one set of loaded service models.

    botocore reads AWS_DEFAULT_REGION only; people, Lambda and every other SDK set AWS_REGION.
    https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
    """
    session = get_session()
    if os.environ.get("AWS_REGION") and not os.environ.get("AWS_DEFAULT_REGION"):
        session.set_config_variable("region", os.environ["AWS_REGION"])
    return session


def caller() -> str:
    """The ARN whose credentials this process has. Temporary or Denied.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    with translating("sts:get_caller_identity"):
        client = botocore_session().create_client("sts", config=configuration())
        return str(client.get_caller_identity()["Arn"])


def _boto3() -> Any:
    """Imported with the first call into an account: an event that needs none does not pay for it."""
    import boto3

    return boto3.Session(botocore_session=botocore_session())


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Accounts:
    """Calls in every account of the organisation, through one role name; several threads may share it.

    With `own` no role is assumed at all: every call is one of the process's own account.

    Calls in `hub_account` use the process's own credentials; without it the role is assumed everywhere. `session`
    makes the boto3 session when it is first needed; without it, that is boto3's default one.
    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
    """

    def __init__(
        self,
        *,
        role: str,
        external_id: str | None = None,
        hub_account: str | None = None,
        attempts: int = 3,
        session: Callable[[], boto3.Session] | None = None,
        now: Callable[[], datetime] = _wall_clock,
        own: bool = False,
    ) -> None:
        self._role = role
        self._external_id = external_id
        self._hub_account = hub_account
        self._config = configuration(attempts)
        self._open_session = session
        self._now = now
        self._session: Any = None
        self._clients: dict[tuple[str, str | None], Any] = {}
        self._held: dict[str, _Held] = {}
        self._assuming: dict[str, Lock] = {}
        self._here = local()
        self._home: Location | None = None
        self._own = own

    def home(self) -> Location:
        """The account of the process's own credentials, and its Region.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
        """
        if self._home is None:
            client = self._client("sts")
            with translating("sts:get_caller_identity"):
                account = str(client.get_caller_identity()["Account"])
            self._home = Location(account, str(client.meta.region_name))
        return self._home

    def call(self, location: Location, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One API call, such as `("ssm", "get_automation_execution")`; Temporary, Refusal or Denied."""
        with translating(f"{location} {service}:{operation}"):
            answer: dict[str, Any] = self._signed(location, service, operation, parameters)
        return answer

    def pages(self, location: Location, service: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The same call, page after page; the next one is asked for only when it is wanted."""
        answer = self.call(location, service, operation, **parameters)
        yield answer
        while token := answer.get("NextToken"):
            answer = self.call(location, service, operation, **parameters, NextToken=token)
            if answer.get("NextToken") == token:
                raise Temporary(f"{location} {service}:{operation}: the same page came twice")
            yield answer

    def _signed(self, location: Location, service: str, operation: str, parameters: dict[str, Any]) -> Any:
        client, self._here.signing_as = self._client(service, location.region), self._credentials(location)
        try:
            return getattr(client, operation)(**parameters)
        except ClientError as error:
            if _code(error) in _STALE_CREDENTIALS:
                self._held.pop(location.account, None)
            raise
        finally:
            self._here.signing_as = None

    def _client(self, service: str, region: str | None = None) -> Any:
        """The one client for this service and Region; without a Region, that of the environment."""
        made = self._clients.get((service, region))
        if made:
            return made
        with MAKING:
            if (service, region) not in self._clients:
                self._session = self._session or (self._open_session() if self._open_session else _boto3())
                client = self._session.client(service, region_name=region, config=self._config)
                client.meta.events.register("before-sign", self._sign)
                self._clients[service, region] = client
            return self._clients[service, region]

    def _sign(self, request: Any, **_: Any) -> None:
        """botocore asks before it signs each try of each request, in the thread that sends it, and takes the
        credentials from the context."""
        signing_as = getattr(self._here, "signing_as", None)
        if signing_as:
            request.context.setdefault("signing", {})["request_credentials"] = signing_as

    def _credentials(self, location: Location) -> Credentials | None:
        if self._own or location.account == self._hub_account:
            return None
        with self._assuming.setdefault(location.account, Lock()):
            held = self._held.get(location.account)
            if not held or held.until - _EARLY <= self._now():
                held = self._held[location.account] = self._assume(location)
            return held.credentials

    def _assume(self, location: Location) -> _Held:
        role = f"arn:{partition(location.region)}:iam::{location.account}:role/{self._role}"
        given = {"ExternalId": self._external_id} if self._external_id else {}
        with translating(f"{location} sts:assume_role {role}"):
            answer = self._client("sts").assume_role(
                RoleArn=role, RoleSessionName="patchwarden", DurationSeconds=3600, **given
            )
        lent = answer["Credentials"]
        keys = Credentials(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
        return _Held(keys, lent["Expiration"])
