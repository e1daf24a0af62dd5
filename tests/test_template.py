"""The template as CloudFormation gets it: each trap of Chalice's, each promise of the hub's, and two linters."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.dynamodb import TABLE
from chalicelib.core.events import EVENT_PATTERNS
from deploy.dashboard import GRAPHS
from deploy.template import CLOCKWORK, load, logical, merging
from tests.iam_linter import findings
from tests.templates import ACCOUNT, CHINA, resolved

ROOT = Path(__file__).parent.parent
STAGES = ("dev", "prod")
LINTER = str(Path(sys.executable).with_name("cfn-lint"))
ALARMS = {"dead-letters", "rule-dead-letters", "sweep-lag", "verify-lag", "denied-accounts", "paused", "past-deadline",
          "unsigned"}  # fmt: skip
Template = dict[str, Any]


@pytest.fixture(scope="module", params=STAGES)
def packaged(request: pytest.FixtureRequest, packages: Callable[[str], Path]) -> Path:
    """Chalice's template for the stage, merged; the zip does not matter here."""
    return packages(request.param) / "sam.json"


@pytest.fixture(scope="module")
def template(packaged: Path) -> Template:
    found: Template = json.loads(packaged.read_text())
    return found


@pytest.fixture(scope="module")
def stage(template: Template) -> str:
    return str(template["Parameters"]["Stage"]["Default"])


@pytest.fixture(scope="module")
def resources(template: Template) -> Template:
    return resolved(template)


def of_type(resources: Template, kind: str) -> Template:
    return {name: found["Properties"] for name, found in resources.items() if found["Type"] == kind}


def functions(resources: Template) -> Template:
    return of_type(resources, "AWS::Serverless::Function")


def handlers() -> list[str]:
    return list(json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"])


# --- two linters ----------------------------------------------------------------------------------------------------


def test_cfn_lint_finds_nothing(packaged: Path) -> None:
    command = [LINTER, "--regions", "eu-west-1", "us-east-1", "--", str(packaged)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_cfn_lint_would_find_something(tmp_path: Path) -> None:
    broken = tmp_path / "sam.json"
    ledger = {"Type": "AWS::DynamoDB::Table", "Properties": {**TABLE, "BillingMode": "PAY_PER_WISH"}}
    broken.write_text(json.dumps({"Resources": {"Ledger": ledger}}))
    command = [LINTER, "--regions", "eu-west-1", "--", str(broken)]
    assert "PAY_PER_WISH" in subprocess.run(command, capture_output=True, text=True, check=False).stdout


JUSTIFIED = {
    # X-Ray has no resources to name: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
    ("RESOURCE_STAR", "xray:PutTraceSegments"),
    ("RESOURCE_STAR", "xray:PutTelemetryRecords"),
    # nor has this one: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssystemsmanager.html
    ("RESOURCE_STAR", "ssm:DescribeAutomationExecutions"),
}


def linted(document: Template) -> set[tuple[str, str]]:
    return {(one.issue, str(one.detail or one.location)) for one in findings(document)}


def test_an_iam_linter_finds_nothing_in_any_role(resources: Template) -> None:
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for policy in role["Policies"]:
            assert linted(policy["PolicyDocument"]) - JUSTIFIED == set(), name


def test_the_iam_linter_would_find_something() -> None:
    for action, resource in (("s3:GetObjekt", "arn:aws:s3:::b/x"), ("s3:GetObject", "arn:aws:sqs:eu-west-1:1:x")):
        statement = {"Effect": "Allow", "Action": [action], "Resource": [resource]}
        assert linted({"Version": "2012-10-17", "Statement": [statement]}) != set()


def test_what_stands_on_all_resources_says_why_in_its_name(resources: Template) -> None:
    for role in of_type(resources, "AWS::IAM::Role").values():
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
            assert "*" not in statement["Resource"] or statement["Sid"].endswith("WhichKnowsNoResources")
            assert [action for action in statement["Action"] if "*" in action] == []


def test_no_function_of_one_stage_reaches_into_another(resources: Template, stage: str) -> None:
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
            named = [arn for arn in statement["Resource"] if re.search(r"patchwarden-", arn)]
            ours = [arn for arn in named if f"patchwarden-{stage}" in arn or ":role/patchwarden-member" in arn]
            assert ours == named, (name, statement["Sid"])


# --- the traps ------------------------------------------------------------------------------------------------------


def test_every_rule_has_dead_letters_and_retries(resources: Template, stage: str) -> None:
    """Trap 4: Chalice's own event type knows neither."""
    letters = f"arn:aws:sqs:eu-west-1:111122223333:patchwarden-{stage}-rule-failures"
    events = [event for found in functions(resources).values() for event in found.get("Events", {}).values()]
    assert len(events) == 2 * len(EVENT_PATTERNS) + len([each for each in handlers() if each in CLOCKWORK])
    for event in events:
        assert event["Type"] in ("EventBridgeRule", "Schedule")
        assert event["Properties"]["DeadLetterConfig"] == {"Arn": letters}
        assert event["Properties"]["RetryPolicy"]["MaximumRetryAttempts"] >= 3


def test_no_event_without_a_pattern_or_a_rate(resources: Template) -> None:
    """Trap 4: a wrong key in the merge adds a second event, which would hear everything."""
    for name, found in functions(resources).items():
        for key, event in found.get("Events", {}).items():
            assert key in (f"{name}Event", f"{name}HubEvent")
            assert event["Properties"].get("Pattern") or event["Properties"].get("Schedule"), key


def test_no_queue_feeds_a_function_unless_it_may_return_single_items(resources: Template) -> None:
    """Trap 5: without FunctionResponseTypes the failed items of a batch are deleted."""
    for found in functions(resources).values():
        for event in found.get("Events", {}).values():
            assert event["Type"] != "SQS" or event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_no_map_holds_two_intrinsics(template: Template) -> None:
    """Trap 6: a merge cannot replace one intrinsic by another, and leaves both."""

    def look(value: Any) -> None:
        if isinstance(value, dict):
            assert not (len(value) > 1 and any(key == "Ref" or key.startswith("Fn::") for key in value)), value
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(each)

    look(template)


def test_logs_end_and_are_ours_and_encrypted(resources: Template, stage: str) -> None:
    """Trap 7: Chalice's own retention makes an invalid template."""
    groups = of_type(resources, "AWS::Logs::LogGroup")
    for handler in handlers():
        group = groups[f"{logical(handler)}Log"]
        assert group["LogGroupName"] == f"/aws/lambda/patchwarden-{stage}/{handler}"
        assert group["RetentionInDays"] == 90
        assert ":key/DataKey" in group["KmsKeyId"]
        assert functions(resources)[logical(handler)]["LoggingConfig"] == {"LogGroup": group["LogGroupName"]}
    assert len(groups) == len(handlers())


def test_the_api_is_traced_too(resources: Template) -> None:
    """Trap 8: Chalice's `xray` sets it on functions only."""
    assert resources["RestAPI"]["Properties"]["TracingEnabled"] is True


def test_what_api_gateway_refuses_itself_is_a_problem_too(resources: Template) -> None:
    body = resources["RestAPI"]["Properties"]["DefinitionBody"]
    assert "/fleet" in body["paths"], "merged into what Chalice wrote, not put in its place"
    responses = body["x-amazon-apigateway-gateway-responses"]
    assert {*responses} == {"DEFAULT_4XX", "DEFAULT_5XX"}
    for one in responses.values():
        assert one["responseParameters"] == {"gatewayresponse.header.Content-Type": "'application/problem+json'"}
        said = json.loads(one["responseTemplates"]["application/json"].replace("$context.error.messageString", '"x"'))
        assert {*said} == {"type", "title", "detail"}


def test_every_function_is_sized_bounded_and_has_a_role_of_its_own(resources: Template) -> None:
    """Traps 9 and 10: what Chalice would choose is 128 MB, 60 s, no bound, and one role that may do everything."""
    found = functions(resources)
    assert {*found} == {logical(handler) for handler in handlers()}
    assert len({one["Role"] for one in found.values()}) == len(found)
    for one in found.values():
        assert one["MemorySize"] >= 512
        assert one["Tracing"] == "Active"
        assert 1 <= one["ReservedConcurrentExecutions"] <= 20
        assert one["Timeout"] <= 900


def test_every_handler_of_the_app_is_in_the_configuration() -> None:
    """Trap 11: a handler that config.json does not name would share a role, and get nothing of the merge."""
    source = (ROOT / "app.py").read_text()
    decorated = re.findall(r"^@app\.(?:on_cw_event|schedule|lambda_function)\(.*name=\"(\w+)\"\)$", source, re.M)
    assert {*decorated, "api_handler"} == {*handlers()}
    assert len(decorated) == source.count("\n@app.")


def test_what_is_not_a_clock_or_an_event_of_aws_is_not_called_on_something() -> None:
    assert [each for each in handlers() if each.startswith("on_") and each not in {*CLOCKWORK, *EVENT_PATTERNS}] == []


# --- what is promised of the hub --------------------------------------------------------------------------------------


def test_the_ledger_is_the_table_that_the_adapter_knows(resources: Template, stage: str) -> None:
    made = resources["Ledger"]["Properties"]
    assert made["TableName"] == f"patchwarden-{stage}"

    def sorted_by_name(found: Template) -> Template:
        return {**found, "AttributeDefinitions": sorted(found["AttributeDefinitions"], key=itemgetter("AttributeName"))}

    assert sorted_by_name({key: made[key] for key in TABLE}) == sorted_by_name(TABLE)
    assert made["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert made["DeletionProtectionEnabled"] is True
    assert made["SSESpecification"]["SSEType"] == "KMS"


def test_what_is_evidence_outlives_the_stack(template: Template) -> None:
    kept = {name for name, found in template["Resources"].items() if found.get("DeletionPolicy") == "Retain"}
    buckets = {"PolicyBucket", "PolicyBucketRules", "EvidenceBucket", "EvidenceBucketRules"}
    assert kept == {"Ledger", "DataKey", "SigningKey"} | buckets, (
        "without its rules evidence can be hidden, and read in the clear"
    )
    assert all(template["Resources"][name]["UpdateReplacePolicy"] == "Retain" for name in kept)


@pytest.mark.parametrize("bucket", ["PolicyBucket", "EvidenceBucket"])
def test_a_bucket_is_private_versioned_and_for_the_organisation(resources: Template, bucket: str) -> None:
    made = resources[bucket]["Properties"]
    assert made["VersioningConfiguration"] == {"Status": "Enabled"}
    assert {*made["PublicAccessBlockConfiguration"].values()} == {True}
    rules = resources[f"{bucket}Rules"]["Properties"]["PolicyDocument"]["Statement"]
    denied = {one["Sid"]: one for one in rules if "OverrideLists" not in one["Sid"]}
    assert {one["Effect"] for one in denied.values()} == {"Deny"}
    assert denied["EncryptedLinesOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    outside = denied["TheOrganisationOnly"]["Condition"]["StringNotEquals"]
    # both must differ: with a wrong organisation the account itself, and the stack that mends it, are not locked out
    assert outside == {"aws:PrincipalOrgID": "o-a1b2c3d4e5", "aws:PrincipalAccount": ACCOUNT}
    assert all(len(one["Resource"]) == 2 for one in denied.values())


def test_a_node_reads_an_override_list_and_nobody_writes_over_one(resources: Template) -> None:
    rules = resources["PolicyBucketRules"]["Properties"]["PolicyDocument"]["Statement"]
    keys = resources["DataKey"]["Properties"]["KeyPolicy"]["Statement"]
    lists = {one["Sid"]: one for one in rules if "OverrideLists" in one["Sid"]}
    read, once = lists["NodesReadOverrideLists"], lists["OverrideListsAreWrittenOnce"]
    assert (read["Effect"], read["Action"]) == ("Allow", "s3:GetObject")
    assert read["Condition"] == {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}
    assert (once["Effect"], once["Action"]) == ("Deny", "s3:PutObject")
    assert once["Condition"] == {"Null": {"s3:if-none-match": "true"}}
    assert all(str(one["Resource"]).endswith("/policies/lists/*") for one in lists.values())
    (opens,) = (one for one in keys if one["Sid"] == "NodesReadOverrideLists")
    assert opens["Action"] == "kms:Decrypt", "the lists are encrypted, and a node may not use the key for anything else"
    asked = {key for one in opens["Condition"].values() for key in one}
    assert asked == {"aws:PrincipalOrgID", "kms:ViaService", "kms:EncryptionContext:aws:s3:arn"}


def test_who_reads_policies_is_told_that_one_is_missing(resources: Template) -> None:
    """Without s3:ListBucket S3 says AccessDenied of a key that is not there: a list that is gone would look like an
    account that refuses us, and its emergency would never be halted.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    bucket = resources["PolicyBucket"]["Properties"]["BucketName"]
    for name, role in of_type(resources, "AWS::IAM::Role").items():
        granted = role["Policies"][0]["PolicyDocument"]["Statement"]
        reads = any(arn.endswith(f":{bucket}/policies/*") for one in granted for arn in one["Resource"])
        lists = [one for one in granted if f"arn:aws:s3:::{bucket}" in one["Resource"]]
        assert [one["Action"] for one in lists] == ([["s3:ListBucket"]] if reads else []), name
        assert not any("Condition" in one for one in lists), (
            "S3 asks without a prefix whether to say that a key is not there"
        )


def test_rules_of_ours_leave_their_dead_letters_under_the_condition_that_is_documented(resources: Template) -> None:
    """https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-event-delivery.html"""
    (allowed,) = (one for one in resources["RuleFailuresRules"]["Properties"]["PolicyDocument"]["Statement"]
                  if one["Effect"] == "Allow")  # fmt: skip
    assert allowed["Condition"] == {"ArnLike": {"aws:SourceArn": f"arn:aws:events:eu-west-1:{ACCOUNT}:rule/*"}}


def test_the_key_opens_for_services_that_do_not_say_for_whom_they_ask(resources: Template) -> None:
    """EventBridge's documentation has no condition here, and without the key a dead letter or an alarm is lost.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
    """
    (one,) = (one for one in resources["DataKey"]["Properties"]["KeyPolicy"]["Statement"]
              if one["Sid"] == "DeadLettersAndAlarmsAreSent")  # fmt: skip
    assert one["Condition"] == {"StringEqualsIfExists": {"aws:SourceAccount": ACCOUNT}}


def test_other_partitions_have_other_names_for_services(template: Template) -> None:
    """https://github.com/aws/aws-cdk/blob/main/packages/aws-cdk-lib/region-info/lib/default.ts"""
    china = resolved(template, **CHINA)
    statements = {one["Sid"]: one for one in china["DataKey"]["Properties"]["KeyPolicy"]["Statement"]}
    assert statements["LogsAreWritten"]["Principal"] == {"Service": "logs.cn-north-1.amazonaws.com.cn"}
    asked = [statements["NodesReadOverrideLists"]["Condition"]]
    asked += [one["Condition"] for role in of_type(china, "AWS::IAM::Role").values()
              for one in role["Policies"][0]["PolicyDocument"]["Statement"] if "ViaService" in str(one)]  # fmt: skip
    assert len(asked) == len(handlers()) + 1
    for one in asked:
        through = one["StringLike"]["kms:ViaService"]
        for name in [through] if isinstance(through, str) else through:
            assert re.fullmatch(r"(s3|sqs|dynamodb)\.cn-north-1\.amazonaws\.\*", name)


def test_evidence_cannot_be_deleted_before_its_time(resources: Template) -> None:
    made = resources["EvidenceBucket"]["Properties"]
    assert made["ObjectLockEnabled"] is True
    assert made["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {"Mode": "COMPLIANCE", "Days": 2557}


def test_nobody_hides_evidence_and_the_stack_alone_sets_its_lock(resources: Template) -> None:
    rules = resources["EvidenceBucketRules"]["Properties"]["PolicyDocument"]["Statement"]
    denied = {one["Sid"]: one for one in rules}
    hidden, lock = denied["NothingIsHiddenOrReleased"], denied["TheStackAloneSetsTheLock"]
    assert hidden["Principal"] == lock["Principal"] == "*" and "Condition" not in hidden
    assert {"s3:DeleteObject", "s3:DeleteObjectVersion"} <= {*hidden["Action"]}
    assert {"s3:PutBucketObjectLockConfiguration", "s3:PutLifecycleConfiguration"} <= {*lock["Action"]}
    assert lock["Condition"] == {"ForAllValues:StringNotEquals": {"aws:CalledVia": ["cloudformation.amazonaws.com"]}}


def test_checkpoints_are_signed_with_a_key_that_never_leaves(resources: Template) -> None:
    made = resources["SigningKey"]["Properties"]
    assert (made["KeySpec"], made["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")


def test_the_hubs_bus_takes_only_our_kinds_of_event_from_our_organisation(resources: Template) -> None:
    statement = resources["HubBusRules"]["Properties"]["Statement"]
    condition = statement["Condition"]["StringEquals"]
    assert condition["aws:PrincipalOrgID"] == "o-a1b2c3d4e5"
    for key in ("source", "detail-type"):
        assert {*condition[f"events:{key}"]} == {heard for one in EVENT_PATTERNS.values() for heard in one[key]}


def test_members_forward_what_the_bus_takes_and_functions_hear(resources: Template) -> None:
    """One list of kinds in three files: the members' rules, the hub's bus policy and the hub's own rules."""
    forwarded = of_type(load(ROOT / "deploy" / "member.yaml")["Resources"], "AWS::Events::Rule").values()
    heard = [event["Properties"] for found in functions(resources).values()
             for event in found.get("Events", {}).values() if event["Properties"].get("EventBusName")]  # fmt: skip
    sent = sorted((one["EventPattern"] for one in forwarded), key=str)
    assert sent == sorted((one["Pattern"] for one in heard), key=str)
    assert sent == sorted(EVENT_PATTERNS.values(), key=str)
    taken = resources["HubBusRules"]["Properties"]["Statement"]["Condition"]["StringEquals"]
    for key in ("source", "detail-type"):
        assert {value for one in sent for value in one[key]} == {*taken[f"events:{key}"]}


def test_the_organisation_may_ask_for_a_node_and_call_nothing_else(resources: Template) -> None:
    granted = of_type(resources, "AWS::Lambda::Permission").values()
    open_to_all = [one for one in granted if one["Principal"] == "*"]
    assert open_to_all == [{
        "FunctionName": "arn:aws:lambda:eu-west-1:111122223333:function:Remediate",
        "Action": "lambda:InvokeFunction",
        "Principal": "*",
        "PrincipalOrgID": "o-a1b2c3d4e5",
    }]  # fmt: skip
    assert all("PrincipalOrgID" in one or one["Principal"].endswith(".amazonaws.com") for one in granted)


def test_what_others_read_of_the_stack_it_says(template: Template) -> None:
    """The outputs that docs/deploy.md takes over, and those that the doctor looks for."""
    page = (ROOT / "docs" / "deploy.md").read_text()
    doctor = (ROOT / "patchwarden" / "doctor" / "hub.py").read_text()
    asked = {*re.findall(r"OutputKey=='(\w+)'", page), "HubBusArn", "FailureQueue", "RuleFailureQueue", "LedgerTable"}
    assert {"HubBusArn", "LedgerTable", "RemediateArn"} <= asked <= {*template["Outputs"]}
    assert all(f'"{name}"' in doctor for name in ("HubBusArn", "FailureQueue", "RuleFailureQueue"))
    assert template["Outputs"]["RemediateArn"]["Value"] == {"Fn::GetAtt": ["Remediate", "Arn"]}


def test_what_is_forgotten_by_the_next_round_is_short_and_dispatch_has_a_processor(resources: Template) -> None:
    dispatch = functions(resources)["OnDispatch"]
    # 1,769 MB is one whole processor: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    assert (dispatch["Timeout"], dispatch["MemorySize"], dispatch["ReservedConcurrentExecutions"]) == (90, 1769, 1)
    assert dispatch["EventInvokeConfig"]["MaximumEventAgeInSeconds"] <= 300


def test_a_tick_outlives_the_round_that_is_still_running_when_it_comes(resources: Template) -> None:
    """One round at a time: Lambda holds the next tick back, and leaves it among the dead letters once it is too old."""
    for handler in CLOCKWORK:
        found = functions(resources)[logical(handler)]
        (event,) = found["Events"].values()
        number, unit = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", event["Properties"]["Schedule"]).groups()  # type: ignore[union-attr]
        period = int(number) * {"minute": 60, "hour": 3600, "day": 86400}[unit]
        assert found["EventInvokeConfig"]["MaximumEventAgeInSeconds"] >= found["Timeout"] - period, handler


def test_what_lambda_gives_up_goes_to_the_failure_queue(resources: Template, stage: str) -> None:
    queue = f"arn:aws:sqs:eu-west-1:111122223333:patchwarden-{stage}-failures"
    for name, found in functions(resources).items():
        if name == "APIHandler":
            assert "EventInvokeConfig" not in found
            continue
        assert found["EventInvokeConfig"]["DestinationConfig"]["OnFailure"] == {"Type": "SQS", "Destination": queue}
        role = resources[found["Role"].rpartition("/")[2]]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        assert [queue] in [one["Resource"] for one in role if one["Action"] == ["sqs:SendMessage"]]


def test_every_alarm_tells_somebody_and_says_what_to_do(resources: Template, stage: str) -> None:
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    assert {one["AlarmName"].removeprefix(f"patchwarden-{stage}-") for one in alarms.values()} == ALARMS
    for one in alarms.values():
        assert one["AlarmActions"] == [f"arn:aws:sns:eu-west-1:111122223333:patchwarden-{stage}-alarms"]
        assert len(one["AlarmDescription"].split(". ")) >= 2
        assert one["TreatMissingData"] in ("breaching", "notBreaching", "ignore")
    assert alarms["SweepLagAlarm"]["TreatMissingData"] == "breaching", "silence must not look green"


def test_every_alarm_of_ours_counts_what_some_filter_counts(resources: Template, stage: str) -> None:
    filters = of_type(resources, "AWS::Logs::MetricFilter").values()
    made = {one["MetricTransformations"][0]["MetricName"] for one in filters}
    for one in of_type(resources, "AWS::CloudWatch::Alarm").values():
        ours = one["Namespace"] == f"Patchwarden/{stage}" and one["MetricName"] in made
        assert ours or one["Namespace"] == "AWS/SQS"


def test_what_the_filters_read_is_what_the_service_says(resources: Template) -> None:
    """A notice that is renamed would leave its alarm silent for ever."""
    said: dict[str, set[str | None]] = {}
    for path in (ROOT / "chalicelib").rglob("*.py"):
        for notice, fields in notices(path):
            said[notice] = said.get(notice, fields) & fields
    for name, found in of_type(resources, "AWS::Logs::MetricFilter").items():
        pattern = found["FilterPattern"]
        (notice,) = re.findall(r'\$\.what = "(\w+)"', pattern)
        read = {*re.findall(r"\$\.fields\.(\w+)", pattern + found["MetricTransformations"][0]["MetricValue"])}
        assert read <= said[notice], f"{name}: {notice} has no {read - said[notice]}"


def notices(path: Path) -> Iterator[tuple[str, set[str | None]]]:
    """What a module says, and with which fields; for `**`, which hides them, those of the module's own dataclasses."""
    tree = ast.parse(path.read_text())
    declared = {
        one.target.id for one in ast.walk(tree) if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "say":
            match node.args:
                case [ast.Constant(value=str(notice))]:
                    fields = {keyword.arg for keyword in node.keywords}
                    yield notice, fields | declared if None in fields else fields


def test_each_graph_has_its_words_beside_it(resources: Template, stage: str) -> None:
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
    texts = [one for one in body["widgets"] if one["type"] == "text"]
    graphs = [one for one in body["widgets"] if one["type"] == "metric"]
    assert [one["y"] for one in texts] == [one["y"] for one in graphs]
    assert len(graphs) == len(GRAPHS)
    for one in texts:
        assert "**What it means.**" in one["properties"]["markdown"]
        assert "**What to do.**" in one["properties"]["markdown"]
    named = json.dumps(body)
    assert f"patchwarden-{stage}-failures" in named
    assert f"Patchwarden/{stage}" in named
    assert "${" not in named


def test_a_graph_of_a_metric_that_nothing_makes_is_refused() -> None:
    from deploy.dashboard import dashboard

    found = load(ROOT / "deploy" / "resources.yaml")
    del found["Resources"]["VerifyLag"]
    with pytest.raises(AssertionError, match="makes VerifyLag"):
        dashboard(found)


def test_a_stage_is_packaged_for_itself_alone() -> None:
    for each in STAGES:
        assert merging(each)["Parameters"]["Stage"]["AllowedValues"] == [each]


def test_every_skipped_check_says_why() -> None:
    text = (ROOT / "deploy" / "resources.yaml").read_text()
    skipped = [one for found in load(ROOT / "deploy" / "resources.yaml")["Resources"].values()
               for one in found.get("Metadata", {}).get("checkov", {}).get("skip", [])]  # fmt: skip
    assert len(skipped) == text.count("id: CKV")
    assert all(len(one["comment"].split()) >= 5 for one in skipped)


def test_the_command_names_what_is_missing_before_it_calls_anybody() -> None:
    for given, arguments, code, said in (
        ({}, ["up"], 2, "no Region: set AWS_REGION"),
        ({"AWS_REGION": "eu-west-1"}, ["up"], 1, "Unable to locate credentials"),
        ({"AWS_REGION": "eu-west-1"}, ["up", "--set", "x"], 2, "--set x is not NAME=VALUE"),
        ({}, ["down"], 2, "Missing option '--stage'"),
    ):
        environment = {"PATH": os.defpath, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **given}
        command = [sys.executable, str(ROOT / "deploy" / "deploy.py"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_no_function_reads_a_queue_or_calls_itself(resources: Template) -> None:
    """Lambda stops a function that feeds itself after a few rounds, and a batch from a queue fails as a whole."""
    assert of_type(resources, "AWS::Lambda::EventSourceMapping") == {}
    kinds = {event["Type"] for found in functions(resources).values() for event in found.get("Events", {}).values()}
    assert kinds <= {"EventBridgeRule", "CloudWatchEvent", "Schedule", "Api"}
    granted = json.dumps([found["Properties"] for found in resources.values() if found["Type"] == "AWS::IAM::Role"])
    assert "lambda:Invoke" not in granted
