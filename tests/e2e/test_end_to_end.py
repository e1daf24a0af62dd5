"""The packaged template, deployed with IAM enforced: real rules wake real processes of our zip, which patch a fleet."""

from __future__ import annotations

import json
import subprocess
import sys
from ssl import SSLContext, create_default_context
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Location, Node
from chalicelib.core.remediations import Remediation, State
from chalicelib.proof import verify
from patchwarden.simulator.fleet import ACCOUNTS, REGIONS
from patchwarden.simulator.machines import Machine
from tests.e2e import members
from tests.e2e.emulator import certificate
from tests.e2e.hub import EXTERNAL_ID, HUB, REGION, ROOT, Organisation, compliance_event, environment, eventually

ASKS_NODES = ("OnConfigRule", "OnSsmCompliance", "OnExecution", "OnNodeState", "OnDispatch", "OnSweep", "OnSchedules",
              "Remediate", "APIHandler")  # fmt: skip
EVIDENCE = ("OnCheckpoint", "OnExport")
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}


def patchable(org: Organisation) -> list[Node]:
    """In each account a node that answers, lacks patches, and plays no odd part."""
    quiet = [
        machine
        for machine in org.sim.fleet.machines.values()
        if machine.online and not machine.hybrid and machine.parts <= {"new"} and not machine.unfixable
        and "Environment" in machine.tags and lacks(machine)
    ]  # fmt: skip
    by_account = {machine.node.account: machine.node for machine in quiet}
    assert {*by_account} == {*ACCOUNTS}, "the fleet of this seed has no such node in some account"
    return [by_account[account] for account in ACCOUNTS]


def lacks(machine: Machine) -> bool:
    return any(machine.approves(patch) for patch in machine.outstanding.values())


def case(org: Organisation, node: Node) -> Remediation | None:
    return org.ledger.head(remediation_id(node, Control.PATCH))


def in_state(org: Organisation, nodes: list[Node], *states: State) -> list[Remediation] | None:
    found = [one for node in nodes if (one := case(org, node)) and one.state in states]
    return found if len(found) == len(nodes) else None


def shown(org: Organisation, nodes: list[Node]) -> str:
    return "; ".join(f"{node}: {one.state} because {one.because}" if (one := case(org, node)) else f"{node}: nothing"
                     for node in nodes) + (org.folder / "log").read_text()[-1500:]  # fmt: skip


def test_the_story_from_the_event_to_the_proof(org: Organisation) -> None:
    nodes = patchable(org)
    for node in nodes:
        org.emit(compliance_event(node))
    # the rate of dispatch is a minute, and here it is a real one
    running = eventually(lambda: in_state(org, nodes, State.RUNNING), 150, lambda: shown(org, nodes))
    assert len({one.execution for one in running}) == len(nodes), "each account runs its own"
    org.pass_time(minutes=45)
    eventually(lambda: in_state(org, nodes, State.RESOLVED), 60, lambda: shown(org, nodes))
    assert verify(org.ledger, org.sim.clock.now()).faults == ()
    assert [node for node in nodes if lacks(org.sim.fleet.machines[node])] == [], "the ledger says more than is true"


def test_the_published_set_decided_and_not_the_packed_one(org: Organisation) -> None:
    assert {one.decision["policy"] for one in org.ledger.all_heads()} == {"at-once"}


def test_nothing_was_given_up(org: Organisation) -> None:
    for queue in ("FailureQueue", "RuleFailureQueue"):
        assert letters(org, org.outputs[queue]) == []


def letters(org: Organisation, queue: str) -> list[dict[str, Any]]:
    asked = org.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in asked.get("Messages", [])]


def test_a_request_for_a_node_comes_through_the_function(org: Organisation) -> None:
    node = patchable_again(org)
    asked = {"ResourceId": f"AWS::SSM::ManagedInstanceInventory/{node.id}", "AccountId": node.account,
             "Region": node.region, "RequestedBy": "an operator"}  # fmt: skip
    answer = org.client("lambda").invoke(FunctionName=org.resource("Remediate"), Payload=json.dumps(asked).encode())
    told = json.loads(answer["Payload"].read())
    assert (told.get("status"), told.get("state")) == ("decided", "queued"), told


def patchable_again(org: Organisation) -> Node:
    return next(machine.node for machine in org.sim.fleet.machines.values()
                if machine.online and "Environment" in machine.tags and lacks(machine)
                and case(org, machine.node) is None)  # fmt: skip


def test_the_sweep_finds_what_no_event_told(org: Organisation) -> None:
    told = called(org, "OnSweep")
    assert told["missed"] > 0, told
    assert told["degraded"] == []


TICK = {"version": "0", "account": HUB, "region": REGION, "detail": {}, "detail-type": "Scheduled Event",
        "source": "aws.events", "time": "2026-11-25T00:00:00Z", "id": "tick", "resources": []}  # fmt: skip


def called(org: Organisation, function: str) -> dict[str, Any]:
    """What the function answers to a tick."""
    answer = org.client("lambda").invoke(FunctionName=org.resource(function), Payload=json.dumps(TICK).encode())
    told: dict[str, Any] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    return told


def kept(org: Organisation, prefix: str) -> list[str]:
    found = org.client("s3").list_objects_v2(Bucket=org.outputs["EvidenceBucketName"], Prefix=prefix)
    return [one["Key"] for one in found.get("Contents", [])]


def test_what_was_published_is_copied_to_the_evidence(org: Organisation) -> None:
    """No day of the trail is over yet: what is done to the service itself is copied at once."""
    called(org, "OnExport")
    (digest,) = {one.decision["set_digest"] for one in org.ledger.all_heads()}
    assert kept(org, "policies/") == [f"policies/{digest}.json"]
    assert "service/publications.jsonl.gz" in kept(org, "service/")


def test_the_trail_is_signed_and_the_auditors_command_believes_it(org: Organisation) -> None:
    made = called(org, "OnCheckpoint")
    names = kept(org, "checkpoints/")
    assert f"checkpoints/{made['checkpoint']:010}.json" in names
    evidence = org.outputs["EvidenceBucketName"]
    given = {
        **environment(org),
        "PATCHWARDEN_TABLE": org.outputs["LedgerTable"],
        "PATCHWARDEN_EVIDENCE_BUCKET": evidence,
        "PATCHWARDEN_SIGNING_KEY": org.outputs["SigningKeyArn"],
    }
    command = [sys.executable, "-m", "patchwarden", "audit", "verify", "-o", "json"]
    done = subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["signed_until"], done.stdout


def test_a_round_of_schedules_asks_only_what_its_role_may(org: Organisation) -> None:
    assert called(org, "OnSchedules")["degraded"] == []


def test_what_a_function_could_not_do_lies_in_the_failure_queue(org: Organisation) -> None:
    org.client("lambda").invoke(FunctionName=org.resource("OnDispatch"), InvocationType="Event", Payload=b'"no event"')
    found = eventually(lambda: letters(org, org.outputs["FailureQueue"]), 60, lambda: "no letter came")
    assert found[0]["requestPayload"] == "no event"


# --- the members ----------------------------------------------------------------------------------------------------

PLACES = [Location(account, region) for account in ACCOUNTS for region in REGIONS]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_member_stack_makes_what_its_parameters_switch_on(org: Organisation, place: Location) -> None:
    there = members.resources(org, place)
    wanted = members.expected(place, members.given(org, place))
    assert {name: one["ResourceType"] for name, one in there.items()} == wanted
    assert {one["ResourceStatus"] for one in there.values()} == {"CREATE_COMPLETE"}
    forwards = {name for name in there if name.startswith("Forward") and name != "ForwarderRole"}
    assert len(forwards) == (0 if place == Location(HUB, REGION) else 4)
    assert ("MemberRole" in there) is (place.region == REGION)


def test_a_rule_of_a_member_forwards_to_the_hub_and_leaves_the_rest_in_its_queue(org: Organisation) -> None:
    events = org.client("events", ACCOUNTS[1], REGIONS[1])
    (target,) = events.list_targets_by_rule(Rule="patchwarden-on-ssm-compliance")["Targets"]
    assert target["Arn"] == org.outputs["HubBusArn"]
    assert target["RoleArn"] == f"arn:aws:iam::{ACCOUNTS[1]}:role/patchwarden-forwarder"
    queue = org.client("sqs", ACCOUNTS[1], REGIONS[1])
    url = queue.get_queue_url(QueueName="patchwarden-undelivered")["QueueUrl"]
    told = queue.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert target["DeadLetterConfig"]["Arn"] == told["QueueArn"]
    assert told["MessageRetentionPeriod"] == "1209600"


@pytest.mark.parametrize(("given", "sentence"), [
    ({"HubBusArn": ""}, "ForwardEvents=yes needs HubBusArn"),
    ({"ConfigRule": "no"}, "ConfigRemediation=yes needs ConfigRule=yes"),
    ({"DataSyncRegion": ""}, "DataSyncBucket needs DataSyncRegion"),
    ({"AutomationAdministrationRole": "yes"}, "is for the hub account alone"),
])  # fmt: skip
def test_cloudformation_refuses_switches_that_do_not_go_together(
    org: Organisation, given: dict[str, str], sentence: str
) -> None:
    place = Location("999988887777", REGION)
    with pytest.raises(ClientError, match=sentence):
        members.create(org, place, {**members.given(org, place), **given})


def test_a_role_that_is_none_of_the_hubs_functions_cannot_become_the_member(org: Organisation) -> None:
    """The external id alone is not enough: its own name is asked for too."""
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}],
    }
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                     "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"}}]}  # fmt: skip
    iam = org.client("iam")
    iam.create_role(RoleName="an-intern", AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName="an-intern", PolicyName="any", PolicyDocument=json.dumps(document))
    keys = org.keys(f"arn:aws:iam::{HUB}:role/an-intern")
    asked = {"RoleSessionName": "a-test", "ExternalId": EXTERNAL_ID}
    theirs, ours = (f"arn:aws:iam::{ACCOUNTS[1]}:role/{name}" for name in ("somebody-else", "patchwarden-member"))
    assert code_of(org, "sts", "assume_role", keys, RoleArn=theirs, **asked) == "ok"
    assert code_of(org, "sts", "assume_role", keys, RoleArn=ours, **asked) in DENIED


# --- who may do what ------------------------------------------------------------------------------------------------


def code_of(org: Organisation, service: str, operation: str, keys: dict[str, str], **given: Any) -> str:
    """`ok`, or the code of the refusal."""
    try:
        getattr(org.client(service, **keys), operation)(**given)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


ITEM = {"pk": {"S": "M#nobody"}, "sk": {"S": "MARK"}}


@pytest.mark.parametrize("function", [*ASKS_NODES, *EVIDENCE])
def test_a_function_is_denied_what_its_role_lacks(org: Organisation, function: str) -> None:
    keys, table = org.lent(function), org.outputs["LedgerTable"]
    policies, evidence = org.outputs["PolicyBucketName"], org.outputs["EvidenceBucketName"]
    no_folder = "trail" if function == "OnCheckpoint" else "checkpoints"
    assert code_of(org, "dynamodb", "get_item", keys, TableName=table, Key=ITEM) == "ok"
    forbidden: dict[str, tuple[str, str, dict[str, Any]]] = {
        "read all of the ledger at once": ("dynamodb", "scan", {"TableName": table}),
        "delete the ledger": ("dynamodb", "delete_table", {"TableName": table}),
        "read another table": ("dynamodb", "get_item", {"TableName": "patchwarden-other", "Key": ITEM}),
        "publish policies": ("s3", "put_object", {"Bucket": policies, "Key": "policies/x.json", "Body": b"{}"}),
        "list policies": ("s3", "list_objects_v2", {"Bucket": policies}),
        "put evidence": ("s3", "put_object", {"Bucket": evidence, "Key": f"{no_folder}/x", "Body": b"x"}),
        "delete evidence": ("s3", "delete_object", {"Bucket": evidence, "Key": "x"}),
        "sign": ("kms", "sign", {"KeyId": org.outputs["SigningKeyArn"], "Message": b"x",
                                 "SigningAlgorithm": "ECDSA_SHA_256"}),
        "start a runbook": ("ssm", "start_automation_execution", {"DocumentName": "Patchwarden-PatchNode"}),
        "use the data key itself": ("kms", "encrypt", {"KeyId": org.resource("DataKey"), "Plaintext": b"x"}),
        "take dead letters away": ("sqs", "receive_message", {"QueueUrl": org.outputs["FailureQueue"]}),
        "call a function": ("lambda", "invoke", {"FunctionName": org.resource("OnSweep")}),
        "forward to the hub's bus": ("events", "put_events", {"Entries": [{
            "Source": "x", "DetailType": "x", "Detail": "{}", "EventBusName": org.outputs["HubBusArn"]}]}),
        "become another role": ("sts", "assume_role", {"RoleArn": f"arn:aws:iam::{ACCOUNTS[1]}:role/somebody-else",
                                                       "RoleSessionName": "a-test", "ExternalId": EXTERNAL_ID}),
        "become the member role without the external id": ("sts", "assume_role", {
            "RoleArn": f"arn:aws:iam::{ACCOUNTS[1]}:role/patchwarden-member", "RoleSessionName": "a-test"}),
        "give itself rights": ("iam", "create_role", {"RoleName": "x", "AssumeRolePolicyDocument": "{}"}),
    }  # fmt: skip
    if function != "OnCheckpoint":  # which reads no policies; whoever does is to be told that one is missing
        del forbidden["list policies"]
        assert code_of(org, "s3", "get_object", keys, Bucket=policies, Key="policies/lists/none.yaml") == "NoSuchKey"
    if function == "OnCheckpoint":
        assert code_of(org, "kms", "sign", keys, **forbidden.pop("sign")[2]) == "ok"
    allowed = {what: code for what, (service, operation, given) in forbidden.items()
               if (code := code_of(org, service, operation, keys, **given)) not in DENIED}  # fmt: skip
    assert allowed == {}


@pytest.mark.parametrize("function", ASKS_NODES)
def test_a_function_may_become_the_member_role(org: Organisation, function: str) -> None:
    given = {"RoleArn": f"arn:aws:iam::{ACCOUNTS[1]}:role/patchwarden-member", "RoleSessionName": "a-test"}
    assert code_of(org, "sts", "assume_role", org.lent(function), **given, ExternalId=EXTERNAL_ID) == "ok"


@pytest.mark.parametrize("function", EVIDENCE)
def test_what_keeps_evidence_asks_no_node_and_changes_no_trail(org: Organisation, function: str) -> None:
    keys, table = org.lent(function), org.outputs["LedgerTable"]
    member = {"RoleArn": f"arn:aws:iam::{ACCOUNTS[1]}:role/patchwarden-member", "RoleSessionName": "a-test",
              "ExternalId": EXTERNAL_ID}  # fmt: skip
    if function == "OnExport":  # of what the other one may write, the emulator does not know the condition
        assert code_of(org, "dynamodb", "put_item", keys, TableName=table, Item=ITEM) in DENIED
    assert code_of(org, "dynamodb", "delete_item", keys, TableName=table, Key=ITEM) in DENIED
    assert code_of(org, "sts", "assume_role", keys, **member) in DENIED


# --- the API --------------------------------------------------------------------------------------------------------


def trusting(org: Organisation) -> SSLContext:
    return create_default_context(cafile=str(certificate(org.folder)))


def ask(org: Organisation, path: str, keys: dict[str, str] | None) -> tuple[int, Any]:
    url = f"{org.url}/restapis/{org.outputs['RestAPIId']}/dev/_user_request_{path}"
    request = AWSRequest("GET", url)
    if keys is not None:
        credentials = Credentials(
            keys["aws_access_key_id"], keys["aws_secret_access_key"], keys.get("aws_session_token")
        )
        SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
    try:
        with urlopen(Request(url, headers=dict(request.headers.items())), timeout=30, context=trusting(org)) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, error.read().decode()


def test_the_api_answers_whom_iam_lets_in_and_nobody_else(org: Organisation) -> None:
    root = {"aws_access_key_id": HUB, "aws_secret_access_key": "nobody-checks-the-root"}
    status, told = ask(org, "/health", root)
    assert (status, told["ledger"], told["paused"], told["policy_trouble"]) == (200, "ok", None, None)
    status, told = ask(org, "/health", org.lent("OnSweep"))
    assert (status, "execute-api:Invoke" in told) == (403, True), told
    assert ask(org, "/health", None)[0] in (403, 404), "the emulator knows an API by its caller's account only"


# --- the command ----------------------------------------------------------------------------------------------------


def run(org: Organisation, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "deploy" / "deploy.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(environment(org)), capture_output=True, text=True, check=False)


def test_the_command_shows_and_asks_before_it_changes(org: Organisation) -> None:
    again = run(org, "up", "--stage", "dev", "--package", str(org.folder / "package"))
    assert (again.returncode, "nothing to change" in again.stderr) == (0, True), again.stderr
    assert f"LedgerTable\t{org.outputs['LedgerTable']}" in again.stdout
    refused = run(org, "up", "--stage", "dev", "--package", str(org.folder / "package"), "--set", "LogRetentionDays=7")
    assert refused.returncode == 1
    assert "OnSweepLog" in refused.stderr
    wrong = run(org, "up", "--stage", "dev", "--package", str(org.folder / "package"), "--set", "LogRetention=7")
    assert (wrong.returncode, "no parameter LogRetention" in wrong.stderr) == (2, True)
    other = run(org, "up", "--stage", "prod", "--package", str(org.folder / "package"))
    assert (other.returncode, "make package STAGE=prod" in other.stderr) == (1, True)


def test_a_removal_says_what_it_leaves_and_leaves_it(org: Organisation) -> None:
    asked = run(org, "down", "--stage", "dev")
    assert asked.returncode == 1
    assert org.outputs["EvidenceBucketName"] in asked.stderr
    done = run(org, "down", "--stage", "dev", "--yes")
    assert done.returncode == 0, done.stderr
    kinds = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert kinds == ["AWS::DynamoDB::Table", *2 * ["AWS::KMS::Key"], *2 * ["AWS::S3::Bucket"],
                     *2 * ["AWS::S3::BucketPolicy"]]  # fmt: skip
    assert len(list(org.ledger.all_heads())) > 0
    assert org.client("s3").head_bucket(Bucket=org.outputs["EvidenceBucketName"])
    assert org.client("lambda").list_functions()["Functions"] == []
