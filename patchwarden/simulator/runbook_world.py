"""The runbooks' world: the virtual clock, and clients of a trusted wire, one for each service, account and Region."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import validate_parameters

from chalicelib.core.errors import PatchwardenError
from patchwarden.simulator import api_sts
from patchwarden.simulator.aws import Aws
from patchwarden.simulator.protocols import open_session, operation_model
from patchwarden.simulator.wire import Wire

Function = Callable[[Any], dict[str, Any]]
"""A Lambda function: what it answers to a payload."""


class RunbookWorld:
    """What runbooks reach: the virtual clock, and clients of the wire in the execution's own account and Region.

    `functions` are the Lambda functions that may be invoked, by ARN, whoever's they are.
    """

    def __init__(self, aws: Aws) -> None:
        self.functions: dict[str, Function] = {}
        self._aws = aws
        self._session = open_session()
        Wire(aws, trusted=True).install(self._session)
        self._clients: dict[tuple[str, str, str], Any] = {}

    def now(self) -> datetime:
        """Aware UTC."""
        return self._aws.clock.now()

    def boto3_for(self, account: str, region: str) -> Handle:
        """A stand-in for the module boto3, acting in that account and Region."""
        return Handle(self, account, region)

    def client(self, service: str, account: str, region: str) -> Any:
        """One client for each service, account and Region; it never tries twice."""
        if (service, account, region) not in self._clients:
            self._clients[service, account, region] = self._session.create_client(
                service,
                region_name=region,
                aws_access_key_id=api_sts.access_key(account),
                aws_secret_access_key=api_sts.SECRET,
                config=Config(retries={"total_max_attempts": 1}, parameter_validation=True),
            )
        return self._clients[service, account, region]


@dataclass(frozen=True, slots=True)
class Handle:
    """As much of the module boto3 as a runbook's script uses."""

    world: RunbookWorld
    account: str
    region: str

    def client(self, service: str, region_name: str | None = None, **_: Any) -> Any:
        if service == "lambda":
            return Functions(self.world.functions, region_name or self.region)
        return self.world.client(service, self.account, region_name or self.region)


@dataclass(frozen=True, slots=True)
class Functions:
    """As much of a Lambda client as a runbook's script uses: a function of any account, by its full ARN.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    functions: Mapping[str, Function]
    region: str

    def invoke(self, **asked: Any) -> dict[str, Any]:
        """What the function answers, or how it ended in an error; a payload is at most 6 MB."""
        model = operation_model("lambda", "Invoke")
        validate_parameters({**asked, "Payload": asked["Payload"].encode()}, model.input_shape)
        name = asked["FunctionName"]
        if f":lambda:{self.region}:" not in name or name not in self.functions:
            error = {"Code": "ResourceNotFoundException", "Message": f"Function not found: {name}"}
            raise ClientError({"Error": error}, "Invoke")
        try:
            told, failed = self.functions[name](json.loads(asked["Payload"])), {}
        except PatchwardenError as error:
            told = {"errorMessage": str(error), "errorType": type(error).__name__}
            failed = {"FunctionError": "Unhandled"}
        return {
            "StatusCode": 200,
            "ExecutedVersion": "$LATEST",
            "Payload": BytesIO(json.dumps(told).encode()),
            **failed,
        }
