"""Protocols: how requests and answers of the services are spelled on the wire.

https://smithy.io/2.0/aws/protocols/
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader

from patchwarden.simulator import xml
from patchwarden.simulator.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Json:
    """The wire protocol of ssm, config, organizations and Service Quotas."""

    def __init__(self, service: str) -> None:
        self._service = service

    def operation(self, headers: Mapping[str, str], body: bytes) -> str:
        return headers.get("X-Amz-Target", "").rpartition(".")[2]

    def parameters(self, operation: str, body: bytes) -> dict[str, Any]:
        try:
            found = json.loads(body or b"{}")
        except ValueError as error:
            raise Refusal("SerializationException", "The request is no JSON") from error
        if not isinstance(found, dict):
            raise Refusal("SerializationException", "The request is no JSON object")
        return found

    def success(self, operation: str, told: Mapping[str, Any], request_id: str) -> Answer:
        return self._answer(200, told, request_id)

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        told = {"__type": refusal.code, "Message": refusal.message, "message": refusal.message, **refusal.members}
        return self._answer(refusal.status, told, request_id)

    def _answer(self, status: int, told: Mapping[str, Any], request_id: str) -> Answer:
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id}
        return Answer(status, headers, json.dumps(told, default=_seconds).encode())


PATH = ":path"
"""Under which name the path of a request stands among its headers, for a protocol that needs it."""


class RestJson(Json):
    """The wire protocol of resource-groups, as far as its operations have a path of their own and no more."""

    def operation(self, headers: Mapping[str, str], body: bytes) -> str:
        return _by_path(self._service).get(headers.get(PATH, ""), "")

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        answer = super().refusal(refusal, request_id)
        return Answer(answer.status, {**answer.headers, "x-amzn-ErrorType": refusal.code}, answer.body)


class Xml:
    """The wire protocols of sts, iam and ec2."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._ec2 = service == "ec2"

    def operation(self, headers: Mapping[str, str], body: bytes) -> str:
        return xml.action(body.decode())

    def parameters(self, operation: str, body: bytes) -> dict[str, Any]:
        shape = operation_model(self._service, operation).input_shape
        return xml.read_form(body.decode(), shape, ec2=self._ec2)

    def success(self, operation: str, told: Mapping[str, Any], request_id: str) -> Answer:
        shape = operation_model(self._service, operation).output_shape
        return self._answer(200, xml.write_answer(operation, told, shape, self._namespace, request_id), request_id)

    def refusal(self, refusal: Refusal, request_id: str) -> Answer:
        text = xml.write_refusal(refusal, self._namespace, request_id, ec2=self._ec2)
        return self._answer(refusal.status, text, request_id)

    @property
    def _namespace(self) -> str:
        return str(service_model(self._service).metadata["xmlNamespace"])

    def _answer(self, status: int, text: str, request_id: str) -> Answer:
        return Answer(status, {"Content-Type": "text/xml;charset=UTF-8", "x-amzn-RequestId": request_id}, text.encode())


PROTOCOLS: Mapping[str, Json | Xml] = {
    "organizations": Json("organizations"),
    "service-quotas": Json("service-quotas"),
    "resource-groups": RestJson("resource-groups"),
    "iam": Xml("iam"),
    "ssm": Json("ssm"),
    "config": Json("config"),
    "ec2": Xml("ec2"),
    "sts": Xml("sts"),
}


@cache
def _loader() -> Any:
    return create_loader()


def open_session() -> Any:
    """A botocore session that reads no service model a second time."""
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    session.set_default_client_config(Config(user_agent="Simulated"))  # botocore's own is put together for each request
    return session


@cache
def service_model(service: str) -> Any:
    """botocore's model of a service."""
    return open_session().get_service_model(service)


@cache
def _by_path(service: str) -> dict[str, str]:
    names = service_model(service).operation_names
    return {operation_model(service, name).http["requestUri"]: str(name) for name in names}


@cache
def operation_model(service: str, operation: str) -> Any:
    """botocore's model of one of its operations."""
    return service_model(service).operation_model(operation)


def _seconds(value: object) -> float | str:
    if isinstance(value, datetime):
        return value.timestamp()
    assert isinstance(value, bytes), f"{value!r} has no place in JSON"
    return base64.b64encode(value).decode()
