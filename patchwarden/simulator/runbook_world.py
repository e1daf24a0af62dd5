"""The runbooks' world: the virtual clock, and clients of a trusted wire, one for each service, account and Region."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.config import Config

from patchwarden.simulator import api_sts
from patchwarden.simulator.aws import Aws
from patchwarden.simulator.protocols import open_session
from patchwarden.simulator.wire import Wire


class RunbookWorld:
    """What runbooks reach: the virtual clock, and clients of the wire in the execution's own account and Region."""

    def __init__(self, aws: Aws) -> None:
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
        return self.world.client(service, self.account, region_name or self.region)
