"""What boto3 sends is understood and what it is answered is what was meant, in every protocol and to the last bound."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given
from hypothesis import strategies as st

from patchwarden.simulator import xml
from patchwarden.simulator.protocols import PROTOCOLS, service_model
from patchwarden.simulator.refusals import NotServed, Refusal, WrongAnswer
from patchwarden.simulator.shapes import violations
from patchwarden.simulator.wire import SERVICES, Wire
from tests.simulator.world import World, code, refused

NODE = "i-0123456789abcdef0"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
MOMENT = datetime(2026, 11, 23, 12, 30, 15, 250000, tzinfo=UTC)


def model(service: str, operation: str) -> Any:
    return service_model(service).operation_model(operation)


# --- requests -------------------------------------------------------------------------------------------------------


def sent(service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as our side reads them from what botocore's own serializer writes."""
    protocol = service_model(service).metadata["protocol"]
    request = create_serializer(protocol).serialize_to_request(parameters, model(service, operation))
    body = request["body"]
    if isinstance(body, dict):
        body = urlencode(body, doseq=True).encode()
    return PROTOCOLS[service].parameters(operation, body)


@given(
    st.lists(st.fixed_dictionaries({"Name": TEXT, "Values": st.lists(TEXT, min_size=1, max_size=3)}), max_size=3),
    st.booleans(),
    st.integers(5, 1000),
)
def test_an_ec2_form_is_read_as_it_was_meant(filters: list[dict[str, Any]], dry: bool, most: int) -> None:
    asked = {"Filters": filters, "DryRun": dry, "MaxResults": most} if filters else {"DryRun": dry, "MaxResults": most}
    assert sent("ec2", "DescribeInstances", asked) == asked


@given(st.lists(st.fixed_dictionaries({"Key": TEXT, "Value": TEXT}), min_size=1, max_size=4), TEXT)
def test_a_query_form_is_read_as_it_was_meant(tags: list[dict[str, str]], policy: str) -> None:
    asked = {"RoleArn": "arn:aws:iam::111122223333:role/x", "RoleSessionName": "me", "Tags": tags, "Policy": policy}
    assert sent("sts", "AssumeRole", asked) == asked


def test_ec2_tags_and_lists_of_ids_survive_the_form() -> None:
    tags = [{"Key": "Name", "Value": "one & two"}]
    asked = {"VolumeId": "vol-1", "TagSpecifications": [{"ResourceType": "snapshot", "Tags": tags}]}
    assert sent("ec2", "CreateSnapshot", asked) == asked
    assert sent("ec2", "StopInstances", {"InstanceIds": [NODE, "i-2"], "Force": True})["InstanceIds"] == [NODE, "i-2"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("Action=DescribeInstances&MaxResults=many", "InvalidParameterValue"),
        ("Action=DescribeInstances&DryRun=perhaps", "InvalidParameterValue"),
        ("Action=DescribeInstances&Filter=x", "MalformedQueryString"),
        ("Action=DescribeInstances&Filter.1=x", "MalformedQueryString"),
        ("Action=DescribeInstances&MaxResults=1&MaxResults.2=3", "MalformedQueryString"),
    ],
)
def test_a_form_that_is_none_is_refused(body: str, why: str) -> None:
    with pytest.raises(Refusal) as caught:
        xml.read_form(body, model("ec2", "DescribeInstances").input_shape, ec2=True)
    assert caught.value.code == why


def test_json_that_is_none_is_refused(world: World) -> None:
    headers = {"X-Amz-Target": "AmazonSSM.GetOpsItem", "Authorization": signature("ssm")}
    for body in (b"{", b"[]", b'"x"'):
        answer = world.sim.wire.answer("ssm", headers, body)
        assert (answer.status, b"SerializationException" in answer.body) == (400, True)


def signature(service: str, key: str = "AKIA111122223333SIMU", region: str = "eu-west-1") -> str:
    return (
        f"AWS4-HMAC-SHA256 Credential={key}/20261123/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )


# --- answers --------------------------------------------------------------------------------------------------------

INSTANCE = {
    "InstanceId": NODE,
    "LaunchTime": MOMENT,
    "State": {"Code": 16, "Name": "running"},
    "Tags": [{"Key": "Name", "Value": "<one> & two"}],
    "EbsOptimized": False,
    "NetworkInterfaces": [],
}


def received(service: str, operation: str, answer: dict[str, Any]) -> Any:
    """The answer as botocore's own parser reads what our side writes."""
    told = PROTOCOLS[service].success(operation, answer, "request-1")
    parser = create_parser(service_model(service).metadata["protocol"])
    response = {"status_code": told.status, "headers": HeadersDict(told.headers), "body": told.body}
    parsed = parser.parse(response, model(service, operation).output_shape)
    assert parsed.pop("ResponseMetadata")["RequestId"] == "request-1"
    return parsed


@pytest.mark.parametrize(
    ("service", "operation", "answer"),
    [
        ("ec2", "DescribeInstances", {"Reservations": [{"ReservationId": "r-1", "Instances": [INSTANCE]}]}),
        ("ec2", "StartInstances", {"StartingInstances": [{"InstanceId": NODE, "CurrentState": {"Code": 0}}]}),
        ("sts", "GetCallerIdentity", {"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:role/x"}),
        ("ssm", "GetOpsItem", {"OpsItem": {"OpsItemId": "oi-0123456789ab", "CreatedTime": MOMENT, "Priority": 2}}),
    ],
)
def test_an_answer_is_received_as_it_was_meant(service: str, operation: str, answer: dict[str, Any]) -> None:
    assert received(service, operation, answer) == answer


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_an_error_is_received_with_code_and_message(service: str) -> None:
    told = PROTOCOLS[service].refusal(Refusal("SomeCode", "some <message>", 418), "request-1")
    parser = create_parser(service_model(service).metadata["protocol"])
    parsed = parser.parse({"status_code": told.status, "headers": HeadersDict(told.headers), "body": told.body}, None)
    assert (parsed["Error"]["Code"], parsed["Error"]["Message"]) == ("SomeCode", "some <message>")
    assert parsed["ResponseMetadata"]["RequestId"] == "request-1"
    assert told.status == 418


# --- the model ------------------------------------------------------------------------------------------------------

GOOD = {"DocumentName": "Patchwarden-PatchNodes", "Parameters": {"NodeIds": [NODE]}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"DocumentName": None}, "must not be null"),
        ({"DocumentName": "no blanks here"}, "regular expression"),
        ({"DocumentName": 7}, "must be of type string"),
        ({"DocumentName": "x"}, "regular expression"),
        ({"Parameters": {}}, "greater than or equal to 1"),
        ({"Parameters": {"x" * 51: ["y"]}}, "less than or equal to 50"),
        ({"Parameters": {"NodeIds": [""]}}, "greater than or equal to 1"),
        ({"Parameters": {"NodeIds": ["x" * 513]}}, "less than or equal to 512"),
        ({"Parameters": {"NodeIds": NODE}}, "must be of type list"),
        ({"Parameters": {"NodeIds": [NODE] * 51}}, "less than or equal to 50"),
        ({"ClientToken": "short"}, "greater than or equal to 36"),
        ({"ClientToken": "z" * 36}, "regular expression"),
        ({"Mode": "Whatever"}, "enum value set: [Auto, Interactive]"),
        ({"DocumentVersion": "0"}, "regular expression"),
        ({"Tags": [{"Key": "a", "Value": "<"}]}, "regular expression"),
        ({"Tags": [{"Key": "a"}]}, "must not be null"),
        ({"Unheard": "of"}, "Unknown member"),
    ],
)
def test_the_model_is_held_to_the_last_bound(changes: dict[str, Any], why: str) -> None:
    value = {key: one for key, one in {**GOOD, **changes}.items() if one is not None}
    (problem,) = violations(value, model("ssm", "StartAutomationExecution").input_shape)[:1]
    assert why in problem


def test_a_value_that_fits_has_no_violations() -> None:
    fits = {
        **GOOD,
        "Tags": [{"Key": "patchwarden:batch", "Value": "Größe 7"}],
        "ClientToken": "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
    }
    assert violations(fits, model("ssm", "StartAutomationExecution").input_shape) == []


def test_a_boolean_is_no_number() -> None:
    shape = model("ssm", "SendCommand").input_shape.members["TimeoutSeconds"]
    assert violations(True, shape) == ["Value at '' must be of type integer, not bool"]


def test_boto3_lets_through_what_the_service_then_refuses(world: World) -> None:
    answer = refused(world.client("ssm").describe_instance_patch_states, InstanceIds=["i-not-an-id"])
    assert answer["Error"]["Code"] == "ValidationException"
    assert "InstanceIds[0]" in answer["Error"]["Message"]


def test_an_answer_that_the_model_does_not_allow_is_a_fault_of_the_simulator(world: World) -> None:
    world.the("failing").baseline = "short"
    world.the("failing").scan(MOMENT, MOMENT)
    with pytest.raises(WrongAnswer, match="BaselineId"):
        world.at(world.the("failing")).describe_instance_patch_states(InstanceIds=[world.the("failing").node.id])


def test_an_operation_that_nobody_serves_is_a_fault_and_not_an_answer(world: World) -> None:
    with pytest.raises(NotServed, match="ssm:GetParameter"):
        world.client("ssm").get_parameter(Name="x")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_operation_served_is_one_that_the_service_has(service: str) -> None:
    assert set(SERVICES[service]) <= set(service_model(service).operation_names)


# --- who asks -------------------------------------------------------------------------------------------------------


def test_without_a_signature_nobody_is_answered(world: World) -> None:
    answer = world.sim.wire.answer("ssm", {"X-Amz-Target": "AmazonSSM.ListCommands"}, b"{}")
    assert (answer.status, b"MissingAuthenticationToken" in answer.body) == (403, True)


def test_the_region_is_that_of_the_signature_and_the_account_that_of_the_key(world: World) -> None:
    target = "AmazonSSM.DescribeInstanceInformation"
    headers = {"X-Amz-Target": target, "Authorization": signature("ssm", "AKIA777788889999SIMU", "us-east-1")}
    answer = world.sim.wire.answer("ssm", headers, b"{}")
    shown = [machine.node.id for machine in world.sim.fleet.at(world.sim.fleet.locations[-1])]
    assert answer.status == 200
    assert all(node in answer.body.decode() for node in shown)


def test_credentials_that_are_none_of_the_simulators_are_the_hubs(world: World) -> None:
    session = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name="eu-west-1")
    world.sim.wire.install(session)
    assert session.client("sts").get_caller_identity()["Account"] == "111122223333"
    other = Wire(world.sim.aws, home="777788889999")
    elsewhere = boto3.Session(aws_access_key_id="testing", aws_secret_access_key="testing", region_name="eu-west-1")
    other.install(elsewhere)
    assert elsewhere.client("sts").get_caller_identity()["Account"] == "777788889999"


def test_a_refused_call_has_the_code_that_aws_gives(world: World) -> None:
    ec2 = world.client("ec2")
    assert code(ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"]) == "InvalidInstanceID.NotFound"
    assert code(ec2.describe_instances, InstanceIds=["node-1"]) == "InvalidInstanceID.Malformed"
