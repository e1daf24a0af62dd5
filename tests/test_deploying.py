"""`make package`, `make deploy`, `make remove`: what goes wrong is one sentence that names it and the remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound, WaiterError
from click.testing import CliRunner

from deploy import deploy, package

STACK = "patchwarden-dev"


def refusal(code: str, text: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": text}}, "DescribeStacks")


@pytest.mark.parametrize("command", [(package.main, []), (deploy.main, ["up"])])
def test_a_stage_that_there_is_not_is_refused_before_anything_is_made(command: tuple[click.Command, list[str]]) -> None:
    done = CliRunner().invoke(command[0], [*command[1], "--stage", "pord"])
    assert done.exit_code == 2
    assert "there is no stage 'pord' in .chalice/config.json: it has dev, prod" in " ".join(done.output.split())


@pytest.mark.parametrize(("error", "sentence"), [
    (NoCredentialsError(), "Unable to locate credentials; set AWS_PROFILE"),
    (ProfileNotFound(profile="nobody"), "The config profile (nobody) could not be found; set AWS_PROFILE"),
    (refusal("ExpiredToken", "The security token is expired"), "is expired; log in again"),
    (refusal("AccessDenied", "not authorized to perform: cloudformation:CreateChangeSet"), "docs/permissions.md"),
])  # fmt: skip
def test_what_aws_refuses_is_one_sentence_with_its_remedy(error: BotoCoreError | ClientError, sentence: str) -> None:
    with pytest.raises(click.ClickException) as said, deploy._told():
        raise error
    assert sentence in said.value.message and "\n" not in said.value.message


@dataclass
class Cloud:
    """CloudFormation and S3 of one account, which answer from a script."""

    status: str = ""
    reason: str = ""
    pages: list[list[dict[str, str]]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    tables: tuple[str, ...] = ()
    unreserved: int = 1000
    executed: dict[str, Any] = field(default_factory=dict)
    endpoint: str = "https://s3.eu-west-1.amazonaws.com"

    def client(self, service: str) -> Cloud:
        return self

    @property
    def meta(self) -> Any:
        return type("Meta", (), {"endpoint_url": self.endpoint})

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        if not self.status:
            raise refusal("ValidationError", f"Stack with id {StackName} does not exist")
        return {"Stacks": [{"StackStatus": self.status, "Parameters": []}]}

    def head_bucket(self, **given: Any) -> None:
        return

    def put_object(self, **given: Any) -> None:
        return

    def create_change_set(self, **given: Any) -> dict[str, str]:
        return {"Id": "the-change-set"}

    def describe_table(self, TableName: str) -> dict[str, Any]:
        if TableName not in self.tables:
            raise refusal("ResourceNotFoundException", f"Table: {TableName} not found")
        return {"Table": {}}

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"UnreservedConcurrentExecutions": self.unreserved}}

    def execute_change_set(self, **given: Any) -> None:
        self.executed = given

    def get_waiter(self, name: str) -> Cloud:
        return self

    def wait(self, **given: Any) -> None:
        raise WaiterError("ChangeSetCreateComplete", "Waiter encountered a terminal failure state", {})

    def describe_change_set(self, **given: Any) -> dict[str, str]:
        return {"StatusReason": self.reason}

    def delete_change_set(self, ChangeSetName: str, **given: Any) -> None:
        self.deleted.append(ChangeSetName)

    def get_paginator(self, name: str) -> Cloud:
        return self

    def paginate(self, **given: Any) -> Iterator[dict[str, Any]]:
        return iter([{"StackEvents": page} for page in self.pages])


@pytest.fixture
def packaged(tmp_path: Path) -> Path:
    (tmp_path / "sam.json").write_text(json.dumps({"Parameters": {"Stage": {"Default": "dev"}}, "Resources": {}}))
    (tmp_path / "deployment.zip").write_bytes(b"zip")
    return tmp_path


def place(cloud: Cloud) -> deploy.Place:
    return deploy.Place(cloud, "111122223333", "eu-west-1")


def test_a_change_set_that_is_refused_says_why_and_is_taken_back(packaged: Path) -> None:
    cloud = Cloud(reason="Template error: resource Ledger does not support attribute type Nope")
    with pytest.raises(click.ClickException, match="refuses the change set: Template error: resource Ledger"):
        deploy.prepare(place(cloud), "dev", packaged, {})
    assert cloud.deleted == ["the-change-set"]


def test_a_change_set_without_changes_is_no_error(packaged: Path) -> None:
    cloud = Cloud(reason="The submitted information didn't contain changes. Submit different information.")
    assert deploy.prepare(place(cloud), "dev", packaged, {}) is None


@pytest.mark.parametrize(("status", "sentence"), [
    ("ROLLBACK_COMPLETE", "was never made whole: run make remove STAGE=dev"),
    ("ROLLBACK_FAILED", "was never made whole: run make remove STAGE=dev"),
    ("UPDATE_IN_PROGRESS", "is being changed already: UPDATE_IN_PROGRESS"),
])  # fmt: skip
def test_a_stack_that_cannot_be_changed_says_what_to_do(packaged: Path, status: str, sentence: str) -> None:
    with pytest.raises(click.ClickException, match=sentence):
        deploy.prepare(place(Cloud(status=status)), "dev", packaged, {})


def test_what_is_in_the_way_of_a_first_deployment_is_told_before_it_begins(packaged: Path) -> None:
    reserving = {"Type": "AWS::Serverless::Function", "Properties": {"ReservedConcurrentExecutions": 85}}
    template = {"Parameters": {"Stage": {"Default": "dev"}}, "Resources": {"All": reserving}}
    (packaged / "sam.json").write_text(json.dumps(template))
    for cloud, sentence in (
        (Cloud(tables=("patchwarden-dev",)), "the table patchwarden-dev is there already"),
        (
            Cloud(unreserved=184),
            "reserve 85 concurrent executions, and of the 184 that are left here AWS keeps 100: ask",
        ),
    ):
        with pytest.raises(click.ClickException, match=sentence):
            deploy.prepare(place(cloud), "dev", packaged, {})
        assert cloud.deleted == []
    with pytest.raises(click.ClickException, match="refuses the change set"):
        deploy.prepare(place(Cloud(unreserved=185, reason="no")), "dev", packaged, {})
    again = Cloud(
        status="UPDATE_COMPLETE", tables=("patchwarden-dev",), unreserved=100, reason="didn't contain changes"
    )
    assert deploy.prepare(place(again), "dev", packaged, {}) is None


def test_what_a_failed_deployment_made_does_not_stand_in_the_way_of_the_next(packaged: Path) -> None:
    """Also what is retained otherwise, such as the buckets, whose names the next attempt needs.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html
    """
    cloud = Cloud(pages=[[event(STACK, "CREATE_IN_PROGRESS")]])
    with pytest.raises(click.ClickException):
        deploy.execute(place(cloud), "dev", deploy.Changes("the-change-set", creates=True, listed=()))
    assert cloud.executed == {"ChangeSetName": "the-change-set", "RetainExceptOnCreate": True}


@pytest.mark.parametrize(("endpoint", "address"), [
    ("https://s3.eu-west-1.amazonaws.com", "https://b.s3.eu-west-1.amazonaws.com/k"),
    ("https://s3.cn-north-1.amazonaws.com.cn", "https://b.s3.cn-north-1.amazonaws.com.cn/k"),
    ("https://s3.eusc-de-east-1.amazonaws.eu", "https://b.s3.eusc-de-east-1.amazonaws.eu/k"),
    ("http://127.0.0.1:4566", "http://127.0.0.1:4566/b/k"),
])  # fmt: skip
def test_cloudformation_is_told_where_the_template_lies_in_any_partition(endpoint: str, address: str) -> None:
    assert deploy.url(place(Cloud(endpoint=endpoint)), "b", "k") == address


def test_another_stage_and_no_package_are_named(packaged: Path, tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="holds stage dev, not prod: run make package STAGE=prod"):
        deploy.prepare(place(Cloud()), "prod", packaged, {})
    with pytest.raises(click.ClickException, match="run make package first"):
        deploy.prepare(place(Cloud()), "dev", tmp_path / "nowhere", {})


def event(logical: str, status: str, reason: str = "") -> dict[str, str]:
    return {"LogicalResourceId": logical, "ResourceType": "AWS::X::Y", "ResourceStatus": status,
            "ResourceStatusReason": reason}  # fmt: skip


def test_a_failed_deployment_names_the_first_failure_of_this_attempt_and_of_no_older_one() -> None:
    cancelled = [event(f"Log{number}", "UPDATE_FAILED", "Resource update cancelled") for number in range(3)]
    older = [event(STACK, "UPDATE_ROLLBACK_COMPLETE"), event("Ledger", "UPDATE_FAILED", "what was mended last week")]
    first = event("OnSweep", "UPDATE_FAILED", "the zip is too large")
    ends = [event(STACK, "UPDATE_ROLLBACK_COMPLETE"), event(STACK, "UPDATE_ROLLBACK_IN_PROGRESS")]
    cloud = Cloud(pages=[[*ends, *cancelled], [first, event(STACK, "UPDATE_IN_PROGRESS", "User Initiated"), *older]])
    assert deploy.first_failure(cloud, "dev") == "OnSweep (AWS::X::Y): the zip is too large"
    ended = Cloud(pages=[[event(STACK, "DELETE_COMPLETE"), event(STACK, "DELETE_IN_PROGRESS")]])
    assert deploy.first_failure(ended, "dev") == "ended as DELETE_COMPLETE"
