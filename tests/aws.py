"""Clients of an AWS that is not there. botocore's models are read once in a process: most of what a client costs."""

from __future__ import annotations

from typing import Any

import boto3

from patchwarden.simulator.protocols import open_session
from tests.sets import NODE


def client(service: str, region: str = NODE.region, **given: Any) -> Any:
    """As `boto3.client` makes it."""
    make: Any = boto3.Session(region_name=region, botocore_session=open_session()).client
    return make(service, **given)
