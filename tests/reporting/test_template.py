"""deploy/reporting.yaml: what each trap of resource data sync and Athena asks of it."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import cfnlint
import pytest
import yaml

from patchwarden.reporting.tables import FOLDER, QUERIES, TABLES, sql
from patchwarden.reporting.template import text

FILE = Path(__file__).parents[2] / "deploy" / "reporting.yaml"
TEMPLATE: dict[str, Any] = yaml.safe_load(FILE.read_text())
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
STATEMENTS = {one["Sid"]: one for one in RESOURCES["SyncBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]}
ORGANISATION = "o-example1234"


def test_it_is_what_the_code_makes() -> None:
    assert FILE.read_text() == text(), "stale: run `make docs`"


def test_cfn_lint_finds_nothing() -> None:
    """Errors and warnings; what it merely informs about is not what it fails for either."""
    found = [one for one in cfnlint.lint_all(FILE.read_text()) if not one.rule.id.startswith("I")]
    assert [f"{one.rule.id} {one.message} {one.path}" for one in found] == []


def test_a_named_query_holds_the_very_text_that_runs_here() -> None:
    named = {name: one["Properties"] for name, one in RESOURCES.items() if one["Type"] == "AWS::Athena::NamedQuery"}
    assert {one["Name"]: one["QueryString"] for one in named.values()} == {name: sql(name) for name in QUERIES}
    assert all(
        one["WorkGroup"] == {"Ref": "WorkGroup"} and one["Database"] == {"Ref": "Database"} for one in named.values()
    )


def tables() -> dict[str, Any]:
    found = [one["Properties"]["TableInput"] for one in RESOURCES.values() if one["Type"] == "AWS::Glue::Table"]
    return {one["Name"]: one for one in found}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_projected_and_has_no_column_twice(name: str) -> None:
    table = tables()[name]
    columns = [one["Name"] for one in table["StorageDescriptor"]["Columns"]]
    keys = [one["Name"] for one in table["PartitionKeys"]]
    assert len({*columns, *keys}) == len(columns) + len(keys) and "resourcetype" not in columns
    told = table["Parameters"]
    assert told["projection.enabled"] == "true"
    place = told["storage.location.template"]["Fn::Sub"]
    assert all(f"{key}=${{!{key}}}" in place and told[f"projection.{key}.type"] == "enum" for key in keys)
    assert place.endswith(f"/{FOLDER}/") and f"/{TABLES[name][0]}/" in place


def allowed(key: str, *, account: str | None, service: bool = True, organisation: str | None = ORGANISATION) -> bool:
    """Whether the bucket's policy lets an object be written: a small reader of the statements, as IAM reads them.

    `account` is aws:SourceAccount, None where the request carries none: then no resource with the variable matches.
    """
    context = {
        "aws:SourceOrgID": organisation,
        "aws:SourceArn": f"arn:aws:ssm:eu-west-1:{account}:resource-data-sync/patchwarden",
        "aws:PrincipalIsAWSService": str(service).lower(),
        "aws:SecureTransport": "true",
        "s3:x-amz-acl": "bucket-owner-full-control",
    }
    effects = {one["Effect"] for one in STATEMENTS.values() if _speaks(one, key, account, service, context)}
    return "Allow" in effects and "Deny" not in effects


def _speaks(one: dict[str, Any], key: str, account: str | None, service: bool, context: dict[str, Any]) -> bool:
    actions = one["Action"] if isinstance(one["Action"], list) else [one["Action"]]
    if not {"s3:PutObject", "s3:*"} & set(actions) or (one["Principal"] != "*" and not service):
        return False
    resources = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
    return any(_matches(each, key, account) for each in resources) and all(
        _holds(operator, name, value, account, context)
        for operator, each in one.get("Condition", {}).items()
        for name, value in each.items()
    )


def _filled(value: Any, account: str | None) -> str | None:
    if value == {"Ref": "OrganizationId"}:
        return ORGANISATION
    said = str(value["Fn::Sub"] if isinstance(value, dict) else value)
    said = said.replace("${AWS::Partition}", "aws").replace("${SyncBucket}", "sync")
    if "${!aws:SourceAccount}" in said and account is None:
        return None
    return said.replace("${!aws:SourceAccount}", str(account))


def _matches(resource: Any, key: str, account: str | None) -> bool:
    pattern = _filled(resource, account)
    return pattern is not None and fnmatch.fnmatchcase(f"arn:aws:s3:::sync/{key}", pattern)


def _holds(operator: str, name: str, value: Any, account: str | None, context: dict[str, Any]) -> bool:
    assert operator in ("StringEquals", "ArnLike", "Bool")
    wanted = _filled(value, account)
    return wanted is not None and context[name] is not None and fnmatch.fnmatchcase(context[name], wanted)


def key_of(account: str, kind: str = "AWS:ComplianceItem") -> str:
    return f"{kind}/accountid={account}/region=eu-west-1/{FOLDER}/i-0123456789abcdef0.json"


@pytest.mark.parametrize(
    ("key", "given", "may"),
    [
        (key_of("111122223333"), {"account": "111122223333"}, True),
        (key_of("111122223333", "AWS:Tag"), {"account": "111122223333"}, True),
        # Systems Manager tries the bucket with a file of its own before it makes a sync
        ("AWS:InstanceInformation/accountid=111122223333/test.json", {"account": "111122223333"}, True),
        ("AWS:InstanceInformation/accountid=444455556666/test.json", {"account": "111122223333"}, False),
        (key_of("444455556666"), {"account": "111122223333"}, False),
        (key_of("111122223333"), {"account": "111122223333", "organisation": "o-other12345"}, False),
        (key_of("111122223333"), {"account": "111122223333", "organisation": None}, False),
        (key_of("111122223333"), {"account": None}, False),
        (key_of("111122223333"), {"account": "111122223333", "service": False}, False),
        (f"AWS:x/accountid=444455556666/region=eu-west-1/{FOLDER}/" + key_of("111122223333"),
         {"account": "111122223333"}, False),
        (f"AWS:ComplianceItem/accountid=444455556666/{key_of('111122223333')}", {"account": "111122223333"}, False),
        (key_of("111122223333", "Custom:x"), {"account": "111122223333"}, False),
        ("elsewhere.json", {"account": "111122223333"}, False),
    ],
)  # fmt: skip
def test_an_account_writes_below_its_own_folder_and_nobody_else_anywhere(
    key: str, given: dict[str, Any], may: bool
) -> None:
    assert allowed(key, **given) is may


@pytest.mark.parametrize("name", ["SyncBucket", "ResultBucket"])
def test_a_bucket_is_closed_encrypted_and_reached_by_tls_only(name: str) -> None:
    kept = RESOURCES[name]["Properties"]
    assert set(kept["PublicAccessBlockConfiguration"].values()) == {True}
    assert kept["BucketEncryption"] and kept["OwnershipControls"]["Rules"] == [
        {"ObjectOwnership": "BucketOwnerEnforced"}
    ]
    told = RESOURCES[f"{name}Policy"]["Properties"]["PolicyDocument"]["Statement"]
    assert any(
        one["Effect"] == "Deny" and one.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}} for one in told
    )


def test_what_was_synced_is_versioned_and_outlives_the_stack() -> None:
    bucket = RESOURCES["SyncBucket"]
    assert bucket["DeletionPolicy"] == "Retain" == bucket["UpdateReplacePolicy"]
    assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_a_query_cannot_choose_its_own_place_or_read_without_end() -> None:
    told = RESOURCES["WorkGroup"]["Properties"]["WorkGroupConfiguration"]
    assert told["EnforceWorkGroupConfiguration"] is True and told["BytesScannedCutoffPerQuery"]
