"""Put the packaged service into an account, and take it out again: by change set, shown before anything is done.

The zip and the template go to a bucket under their own digests; the stack is made or changed by a change set, which
is listed and asked about, as `aws cloudformation deploy` would do it. Endpoint and credentials are boto3's own
(`AWS_PROFILE`, `AWS_ENDPOINT_URL`), so an emulator is deployed to in the same way.

https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateChangeSet.html
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import click
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    WaiterError,
)

ROOT = Path(__file__).resolve().parent.parent
sys.path[:1] = [str(ROOT)]  # run as a file, Python would look for modules beside it

from deploy.package import a_stage  # noqa: E402

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
_NOTHING = ("didn't contain changes", "No updates are to be performed")


@dataclass(frozen=True, slots=True)
class Place:
    """Where it goes: the account that the credentials are of, and the Region; `pause` seconds between two looks."""

    session: Any
    account: str
    region: str
    pause: float = 5

    @classmethod
    def here(cls, pause: float = 5) -> Place:
        """That of boto3's own configuration; ends with a sentence if there is none."""
        # the aws cli reads AWS_REGION, boto3 does not
        session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
        if not session.region_name:
            raise click.UsageError("no Region: set AWS_REGION, such as AWS_REGION=eu-west-1")
        account = session.client("sts").get_caller_identity()["Account"]
        return cls(session, account, session.region_name, pause)

    def client(self, service: str) -> Any:
        return self.session.client(service)

    @property
    def waiting(self) -> dict[str, Any]:
        return {"WaiterConfig": {"Delay": self.pause, "MaxAttempts": int(3600 / self.pause)}}


@click.group()
def main() -> None:
    """Deploy Patchwarden's hub, or remove it."""


@main.command()
@click.option("--stage", default="dev", show_default=True, callback=a_stage, help="A stage of .chalice/config.json.")
@click.option("--package", "folder", type=click.Path(path_type=Path), default=ROOT / "build" / "package",
              show_default=False, help="What `make package` wrote; build/package.")  # fmt: skip
@click.option("--bucket", help="Where zip and template are put; made if missing. Default: one named after the account.")
@click.option("--set", "given", multiple=True, metavar="NAME=VALUE", help="A parameter of the template; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def up(stage: str, folder: Path, bucket: str | None, given: Sequence[str], yes: bool) -> None:
    """Make or change the stack patchwarden-STAGE from what was packaged."""
    chosen = _pairs(given)
    with _told():
        place = Place.here()
        changes = prepare(place, stage, folder, chosen, bucket=bucket)
        if changes is None:
            click.echo(f"patchwarden-{stage} in {place.account}/{place.region}: nothing to change", err=True)
        else:
            click.echo(f"patchwarden-{stage} in {place.account}/{place.region}:", err=True)
            for line in listed(changes):
                click.echo(f"  {line}", err=True)
            if not yes and not click.confirm("Do it?", err=True):
                discard(place, stage, changes)
                raise SystemExit(1)
            execute(place, stage, changes)
        for name, value in outputs(place, stage).items():
            click.echo(f"{name}\t{value}")


@main.command()
@click.option("--stage", required=True, help="A stage of .chalice/config.json.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def down(stage: str, yes: bool) -> None:
    """Delete the stack patchwarden-STAGE; ledger, buckets and keys stay, and are listed."""
    with _told():
        place = Place.here()
        found = stack(place, stage)
        if found is None:
            raise click.ClickException(f"no stack patchwarden-{stage} in {place.account}/{place.region}")
        kept = retained(place, stage)
        click.echo(f"patchwarden-{stage} in {place.account}/{place.region} goes. What is evidence stays:", err=True)
        for line in kept:
            click.echo(f"  {line}", err=True)
        if not yes and not click.confirm("Delete the rest?", err=True):
            raise SystemExit(1)
        remove(place, stage)
        for line in kept:
            click.echo(line)


@dataclass(frozen=True, slots=True)
class Changes:
    """A change set that waits: its id, whether it makes the stack, and what it does: (action, type, name, replaced)."""

    id: str
    creates: bool
    listed: tuple[tuple[str, str, str, str], ...]


def prepare(
    place: Place, stage: str, folder: Path, given: dict[str, str], *, bucket: str | None = None
) -> Changes | None:
    """Upload and make a change set; None if it would change nothing. Parameters not given keep what they are."""
    template = json.loads(_read(folder / "sam.json"))
    packaged = template["Parameters"]["Stage"]["Default"]
    if packaged != stage:
        raise click.ClickException(f"{folder} holds stage {packaged}, not {stage}: run make package STAGE={stage}")
    before = standing(place, stage)
    parameters = _parameters(template, before, given)
    if before is None:
        _clear_of(place, stage, template)
    store = bucket or artifacts(place)
    code = {"Bucket": store, "Key": upload(place, store, folder / "deployment.zip")}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = code
    text = json.dumps(template, sort_keys=True).encode()
    key = put(place, store, text, ".json")
    kind = "UPDATE" if before else "CREATE"
    cloudformation = place.client("cloudformation")
    label = f"deploy-{hashlib.sha256(text + repr(parameters).encode()).hexdigest()[:16]}"
    if before:  # one that nobody answered
        cloudformation.delete_change_set(StackName=name(stage), ChangeSetName=label)
    made = cloudformation.create_change_set(
        StackName=name(stage), ChangeSetName=label,
        ChangeSetType=kind, Capabilities=CAPABILITIES, Parameters=parameters,
        TemplateURL=url(place, store, key), Tags=[{"Key": "Service", "Value": "patchwarden"}],
    )  # fmt: skip
    try:
        cloudformation.get_waiter("change_set_create_complete").wait(ChangeSetName=made["Id"], **place.waiting)
    except WaiterError as error:
        found = cloudformation.describe_change_set(ChangeSetName=made["Id"])
        why = found.get("StatusReason", str(error))
        cloudformation.delete_change_set(ChangeSetName=made["Id"])
        if any(words in why for words in _NOTHING):
            return None
        raise click.ClickException(f"CloudFormation refuses the change set: {why}") from error
    return Changes(made["Id"], before is None, tuple(_changes(cloudformation, made["Id"])))


def _clear_of(place: Place, stage: str, template: dict[str, Any]) -> None:
    """Ends with a sentence if a first deployment would fail half way: on a ledger that is there, or for want of room.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
    """
    table = name(stage)  # the stack and its table have one name
    try:
        place.client("dynamodb").describe_table(TableName=table)
        raise click.ClickException(
            f"the table {table} is there already, of a stack that was removed or never made whole: "
            "docs/hub.md, Remove, says how to let it go, or import it"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    made = [resource.get("Properties", {}) for resource in template["Resources"].values()]
    wanted = sum(int(one.get("ReservedConcurrentExecutions", 0)) for one in made)
    left = int(place.client("lambda").get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"])
    if left - wanted < _OF_ALL:
        raise click.ClickException(
            f"the functions reserve {wanted} concurrent executions, and of the {left} that are left here AWS keeps "
            f"{_OF_ALL}: ask for more under Service Quotas, Lambda, Concurrent executions"
        )


_OF_ALL = 100
"""What Lambda never lets an account reserve."""


def _changes(cloudformation: Any, change_set: str) -> Iterator[tuple[str, str, str, str]]:
    token: dict[str, str] = {}
    while True:
        page = cloudformation.describe_change_set(ChangeSetName=change_set, **token)
        for change in page["Changes"]:
            one = change["ResourceChange"]
            yield one["Action"], one["ResourceType"], one["LogicalResourceId"], str(one.get("Replacement", ""))
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def listed(changes: Changes) -> Iterator[str]:
    """One line for each change; a replacement is loud, because what is replaced is first made and then deleted."""
    for action, kind, logical, replaced in sorted(changes.listed):
        loud = "  REPLACED" if replaced == "True" else "  perhaps replaced" if replaced == "Conditional" else ""
        yield f"{action:<7} {kind:<28} {logical}{loud}"


def execute(place: Place, stage: str, changes: Changes) -> None:
    """Do it and wait; ends with the first reason of a failure. What a failure made goes again, evidence stores too."""
    cloudformation = place.client("cloudformation")
    cloudformation.execute_change_set(ChangeSetName=changes.id, RetainExceptOnCreate=True)
    waiter = "stack_create_complete" if changes.creates else "stack_update_complete"
    try:
        cloudformation.get_waiter(waiter).wait(StackName=name(stage), **place.waiting)
    except WaiterError as error:
        raise click.ClickException(f"patchwarden-{stage}: {first_failure(cloudformation, stage)}") from error


def first_failure(cloudformation: Any, stage: str) -> str:
    """The oldest failed event of the newest attempt: what came after it is mostly cancelled because of it."""
    attempt = list(_newest_attempt(cloudformation, stage))
    failed = [event for event in attempt if event["ResourceStatus"].endswith("FAILED")]
    if not failed:
        return f"ended as {attempt[0]['ResourceStatus']}"
    first = failed[-1]
    return f"{first['LogicalResourceId']} ({first['ResourceType']}): {first.get('ResourceStatusReason', 'no reason')}"


def _newest_attempt(cloudformation: Any, stage: str) -> Iterator[dict[str, Any]]:
    """The events of the stack, the newest first, back to where it was last begun to be made, changed or deleted."""
    for page in cloudformation.get_paginator("describe_stack_events").paginate(StackName=name(stage)):
        for event in page["StackEvents"]:
            yield event
            if event["LogicalResourceId"] == name(stage) and event["ResourceStatus"] in _BEGINS:
                return


_BEGINS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS")
"""https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html"""


def discard(place: Place, stage: str, changes: Changes) -> None:
    """Forget a change set that nobody wanted, and the empty stack that its making left."""
    cloudformation = place.client("cloudformation")
    cloudformation.delete_change_set(ChangeSetName=changes.id)
    if changes.creates:
        cloudformation.delete_stack(StackName=name(stage))


def remove(place: Place, stage: str) -> None:
    """Delete the stack and wait."""
    cloudformation = place.client("cloudformation")
    cloudformation.delete_stack(StackName=name(stage))
    try:
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=name(stage), **place.waiting)
    except WaiterError as error:
        raise click.ClickException(f"patchwarden-{stage}: {first_failure(cloudformation, stage)}") from error


def retained(place: Place, stage: str) -> list[str]:
    """What a removal leaves: type and name of every resource whose DeletionPolicy is Retain."""
    cloudformation = place.client("cloudformation")
    body = cloudformation.get_template(StackName=name(stage), TemplateStage="Original")["TemplateBody"]
    template = body if isinstance(body, dict) else json.loads(body)
    keeps = {logical for logical, found in template["Resources"].items() if found.get("DeletionPolicy") == "Retain"}
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=name(stage))
    found = [one for page in pages for one in page["StackResourceSummaries"] if one["LogicalResourceId"] in keeps]
    return sorted(f"{one['ResourceType']}\t{one['PhysicalResourceId']}" for one in found)


def outputs(place: Place, stage: str) -> dict[str, str]:
    """The stack's outputs by name."""
    found = stack(place, stage) or {}
    return {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])}


def stack(place: Place, stage: str) -> dict[str, Any] | None:
    """What CloudFormation says of the stack, or None."""
    try:
        found: dict[str, Any] = place.client("cloudformation").describe_stacks(StackName=name(stage))["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return found


def standing(place: Place, stage: str) -> dict[str, Any] | None:
    """The stack that can be changed; None if one must be made. Ends with a sentence where neither can be done."""
    found = stack(place, stage)
    status = found["StackStatus"] if found else ""
    if status == "REVIEW_IN_PROGRESS":  # a first change set was made and not executed: it is no stack yet
        place.client("cloudformation").delete_stack(StackName=name(stage))
        place.client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=name(stage), **place.waiting)
        return None
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED"):
        raise click.ClickException(
            f"patchwarden-{stage} was never made whole: run make remove STAGE={stage}, then again"
        )
    if status.endswith("IN_PROGRESS"):
        raise click.ClickException(f"patchwarden-{stage} is being changed already: {status}")
    return found


def name(stage: str) -> str:
    return f"patchwarden-{stage}"


def artifacts(place: Place) -> str:
    """The bucket for zips and templates; made private, versioned and encrypted if it is missing."""
    bucket, client = f"patchwarden-artifacts-{place.account}-{place.region}", place.client("s3")
    try:
        client.head_bucket(Bucket=bucket, ExpectedBucketOwner=place.account)
        return bucket
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
    where = {} if place.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": place.region}}
    client.create_bucket(Bucket=bucket, **where)
    blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True))
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return bucket


def upload(place: Place, bucket: str, file: Path) -> str:
    """Put a file under its digest; its key."""
    return put(place, bucket, _read(file), file.suffix)


def put(place: Place, bucket: str, content: bytes, suffix: str) -> str:
    key = f"{hashlib.sha256(content).hexdigest()}{suffix}"
    place.client("s3").put_object(Bucket=bucket, Key=key, Body=content, ExpectedBucketOwner=place.account,
                                  ChecksumAlgorithm="SHA256")  # fmt: skip
    return key


def url(place: Place, bucket: str, key: str) -> str:
    """Where CloudFormation reads an object."""
    endpoint = str(place.client("s3").meta.endpoint_url)
    if ".amazonaws." in endpoint:  # .com, .com.cn in China, .eu
        return f"https://{bucket}.{endpoint.removeprefix('https://')}/{key}"
    return f"{endpoint}/{bucket}/{key}"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}; run make package first") from error


def _pairs(given: Sequence[str]) -> dict[str, str]:
    wrong = [pair for pair in given if "=" not in pair]
    if wrong:
        raise click.UsageError(f"--set {wrong[0]} is not NAME=VALUE, such as --set OrganizationId=o-a1b2c3d4e5")
    return dict(pair.split("=", 1) for pair in given)


def _parameters(template: dict[str, Any], before: dict[str, Any] | None, given: dict[str, str]) -> list[dict[str, Any]]:
    """What is given, else what the stack has, else the default; a usage error names what is missing or unknown."""
    known = template["Parameters"]
    unknown = [each for each in given if each not in known]
    if unknown:
        raise click.UsageError(f"the template has no parameter {unknown[0]}: it has {', '.join(sorted(known))}")
    had = {one["ParameterKey"] for one in (before or {}).get("Parameters", [])}
    missing = [each for each in known if each not in given and each not in had and "Default" not in known[each]]
    if missing:
        wanted = "; ".join(f"--set {each}=… ({known[each]['Description']})" for each in missing)
        raise click.UsageError(f"needed the first time: {wanted}")
    kept = [{"ParameterKey": each, "UsePreviousValue": True} for each in known if each not in given and each in had]
    return [*({"ParameterKey": each, "ParameterValue": value} for each, value in given.items()), *kept]


class _told:
    """Turns what boto3 raises into one sentence with a remedy, and exit code 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ClientError | BotoCoreError):
            raise click.ClickException(f"AWS does not do it: {error}{remedy(error)}") from error


def remedy(error: ClientError | BotoCoreError) -> str:
    """What to do about it, where that is known."""
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | ProfileNotFound):
        return "; set AWS_PROFILE to a profile that aws configure list-profiles names, or log in"
    if code in ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"):
        return "; log in again: these credentials are none any more"
    if code in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
        return "; docs/permissions.md lists what a deployment needs"
    return ""


if __name__ == "__main__":
    main(prog_name=f"python {Path(sys.argv[0]).name}")
