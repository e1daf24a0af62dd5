"""The template of `deploy/reporting.yaml`: bucket, tables and named queries, made from the tables and the queries.

`python -m patchwarden.reporting.template > deploy/reporting.yaml` writes it, which `make docs` does.
"""

from __future__ import annotations

from typing import Any

import click
import yaml

from patchwarden.reporting.tables import FOLDER, PARAMETERS, QUERIES, TABLES, sql, title

_HEAD = """\
# Made by `make docs` from patchwarden/reporting: change it there. docs/reporting.md says how it is deployed.
"""
_ARN = "arn:${AWS::Partition}:s3:::${SyncBucket}"


def template() -> dict[str, Any]:
    """The CloudFormation template, as data."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Patchwarden: what resource data sync brings together, and the queries over it",
        "Parameters": _parameters(),
        "Resources": {
            "SyncBucket": _bucket({"Id": "old-versions", "Status": "Enabled",
                                   "NoncurrentVersionExpiration": {"NoncurrentDays": 90}}, _UNLOGGED, versioned=True),
            "SyncBucketPolicy": _policy("SyncBucket", _sync_statements()),
            "ResultBucket": _bucket(
                {"Id": "results", "Status": "Enabled", "ExpirationInDays": 30}, _UNLOGGED, _OVERWRITTEN
            ),
            "ResultBucketPolicy": _policy("ResultBucket", [_tls("ResultBucket")]),
            "Database": {"Type": "AWS::Glue::Database", "Properties": {
                "CatalogId": {"Ref": "AWS::AccountId"}, "DatabaseInput": {"Name": {"Ref": "DatabaseName"}}}},
            **{f"Table{name.capitalize()}": _table(name) for name in TABLES},
            "WorkGroup": _workgroup(),
            **{f"Query{name.capitalize()}": _query(name) for name in QUERIES},
        },
        "Outputs": {
            "SyncBucketName": {"Description": "Where members' resource data sync writes, without a prefix",
                               "Value": {"Ref": "SyncBucket"}},
            "WorkGroupName": {"Description": "The Athena workgroup of the queries", "Value": {"Ref": "WorkGroup"}},
        },
    }  # fmt: skip


def text() -> str:
    """The template as it is committed."""
    return _HEAD + yaml.dump(template(), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Queries stand as they are written, line by line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _lines(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _lines)


def _parameters() -> dict[str, Any]:
    organisation = {"Type": "String", "AllowedPattern": "^o-[a-z0-9]{10,32}$"}
    return {
        "OrganizationId": {**organisation, "Description": "Only its accounts may sync, each below its own folder"},
        "Accounts": {"Type": "CommaDelimitedList",
                     "Description": "Every account that syncs: the queries see no other. Add new ones here"},
        "Regions": {"Type": "CommaDelimitedList",
                    "Description": "Every Region that syncs: the queries see no other. Add new ones here"},
        "SyncPrincipals": {"Type": "CommaDelimitedList", "Default": "ssm.amazonaws.com",
                           "Description": "Of opt-in Regions also ssm.REGION.amazonaws.com"},
        "DatabaseName": {"Type": "String", "Default": "patchwarden", "AllowedPattern": "^[a-z0-9_]+$"},
        "ScannedBytesLimit": {"Type": "Number", "Default": 107374182400, "MinValue": 10000000,
                              "Description": "The most that one query may read, in bytes"},
    }  # fmt: skip


_UNLOGGED = {"id": "CKV_AWS_18", "comment": "Reads are CloudTrail data events, the organisation's choice"}
_OVERWRITTEN = {"id": "CKV_AWS_21", "comment": "Answers of queries, which can be asked again; they end after 30 days"}


def _bucket(rule: dict[str, Any], *skipped: dict[str, str], versioned: bool = False) -> dict[str, Any]:
    """`skipped`: checks of checkov that do not hold here, each with its reason."""
    encryption = [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    blocked = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    kept = {"VersioningConfiguration": {"Status": "Enabled"}} if versioned else {}
    return {
        "Type": "AWS::S3::Bucket",
        "Metadata": {"checkov": {"skip": list(skipped)}},
        "DeletionPolicy": "Retain" if versioned else "Delete",
        "UpdateReplacePolicy": "Retain" if versioned else "Delete",
        "Properties": {
            "BucketEncryption": {"ServerSideEncryptionConfiguration": encryption},
            "PublicAccessBlockConfiguration": dict.fromkeys(blocked, True),
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "LifecycleConfiguration": {"Rules": [rule]},
            **kept,
        },
    }


def _policy(bucket: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    document = {"Version": "2012-10-17", "Statement": statements}
    return {"Type": "AWS::S3::BucketPolicy", "Properties": {"Bucket": {"Ref": bucket}, "PolicyDocument": document}}


def _tls(bucket: str) -> dict[str, Any]:
    arn = f"arn:${{AWS::Partition}}:s3:::${{{bucket}}}"
    return {
        "Sid": "OnlyOverTls", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [{"Fn::Sub": arn}, {"Fn::Sub": f"{arn}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }  # fmt: skip


def _sync_statements() -> list[dict[str, Any]]:
    """Systems Manager writes for an account, and only below the folder of the very account that it writes for.

    `${aws:SourceAccount}` is filled in by IAM with each request; a request without it matches nothing.
    https://docs.aws.amazon.com/systems-manager/latest/userguide/inventory-create-resource-data-sync.html
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    service = {"Service": {"Ref": "SyncPrincipals"}}
    # All below its account: Systems Manager puts accountid=…/test.json there, without a Region, before it makes a sync.
    own = f"{_ARN}/AWS:*/accountid=${{!aws:SourceAccount}}/*"
    source = "arn:${AWS::Partition}:ssm:*:${!aws:SourceAccount}:resource-data-sync/*"
    asked = {"StringEquals": {"aws:SourceOrgID": {"Ref": "OrganizationId"}},
             "ArnLike": {"aws:SourceArn": {"Fn::Sub": source}}}  # fmt: skip
    acl = {"s3:x-amz-acl": "bucket-owner-full-control"}
    return [
        {"Sid": "SyncLooksWhoseBucketItIs", "Effect": "Allow", "Principal": service, "Action": "s3:GetBucketAcl",
         "Resource": {"Fn::Sub": _ARN}},
        {"Sid": "SyncWritesBelowItsOwnAccount", "Effect": "Allow", "Principal": service, "Action": "s3:PutObject",
         "Resource": {"Fn::Sub": own}, "Condition": {**asked, "StringEquals": {**asked["StringEquals"], **acl}}},
        {"Sid": "SyncTagsBelowItsOwnAccount", "Effect": "Allow", "Principal": service,
         "Action": "s3:PutObjectTagging", "Resource": {"Fn::Sub": own}, "Condition": asked},
        {"Sid": "NoAccountWithinAnother", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
         "Resource": {"Fn::Sub": f"{_ARN}/*accountid=*accountid=*"}},
        {"Sid": "NobodyElseWrites", "Effect": "Deny", "Principal": "*",
         "Action": ["s3:PutObject", "s3:PutObjectTagging"], "Resource": {"Fn::Sub": f"{_ARN}/*"},
         "Condition": {"Bool": {"aws:PrincipalIsAWSService": "false"}}},
        _tls("SyncBucket"),
    ]  # fmt: skip


def _table(name: str) -> dict[str, Any]:
    """Partitions are projected from the accounts and Regions: no crawler, and no MSCK REPAIR TABLE."""
    folder, fields = TABLES[name]
    place = f"s3://${{SyncBucket}}/{folder}"
    projected = {
        "EXTERNAL": "TRUE",
        "projection.enabled": "true",
        "projection.accountid.type": "enum",
        "projection.accountid.values": {"Fn::Join": [",", {"Ref": "Accounts"}]},
        "projection.region.type": "enum",
        "projection.region.values": {"Fn::Join": [",", {"Ref": "Regions"}]},
        "storage.location.template": {
            "Fn::Sub": f"{place}/accountid=${{!accountid}}/region=${{!region}}/{FOLDER}/"
        },
    }  # fmt: skip
    serde = {
        "SerializationLibrary": "org.openx.data.jsonserde.JsonSerDe",
        "Parameters": {"case.insensitive": "TRUE", "ignore.malformed.json": "FALSE"},
    }
    return {
        "Type": "AWS::Glue::Table",
        "Properties": {
            "CatalogId": {"Ref": "AWS::AccountId"},
            "DatabaseName": {"Ref": "Database"},
            "TableInput": {
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": projected,
                "PartitionKeys": [{"Name": "accountid", "Type": "string"}, {"Name": "region", "Type": "string"}],
                "StorageDescriptor": {
                    "Location": {"Fn::Sub": f"{place}/"},
                    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    "SerdeInfo": serde,
                    "Columns": [{"Name": field.lower(), "Type": "string"} for field in fields],
                },
            },
        },
    }


def _workgroup() -> dict[str, Any]:
    results = {
        "OutputLocation": {"Fn::Sub": "s3://${ResultBucket}/"},
        "EncryptionConfiguration": {"EncryptionOption": "SSE_S3"},
    }
    return {
        "Type": "AWS::Athena::WorkGroup",
        "Properties": {
            "Name": {"Fn::Sub": "${AWS::StackName}"},
            "RecursiveDeleteOption": True,
            "WorkGroupConfiguration": {
                "EnforceWorkGroupConfiguration": True,
                "PublishCloudWatchMetricsEnabled": True,
                "BytesScannedCutoffPerQuery": {"Ref": "ScannedBytesLimit"},
                "EngineVersion": {"SelectedEngineVersion": "Athena engine version 3"},
                "ResultConfiguration": results,
            },
        },
    }


def _query(name: str) -> dict[str, Any]:
    said = f"{title(name)} Parameters: {', '.join(PARAMETERS[name])}."
    return {
        "Type": "AWS::Athena::NamedQuery",
        "Properties": {
            "Name": name,
            "Description": said,
            "Database": {"Ref": "Database"},
            "WorkGroup": {"Ref": "WorkGroup"},
            "QueryString": sql(name),
        },
    }


if __name__ == "__main__":
    click.echo(text(), nl=False)
