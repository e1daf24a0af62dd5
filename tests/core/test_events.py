"""Every event that AWS sends is read for what it says, and nothing that anybody sends brings the reader down."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.chain import canonical
from chalicelib.core.events import ENDED, EVENT_PATTERNS, ExecutionUpdate, Ignored, NodeUpdate, parse
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.core.reporting import reports
from chalicelib.core.vocabulary import FIELDS
from patchwarden.simulator.protocols import service_model
from tests.sets import NOW, machine

SAMPLES = {
    path.stem: json.loads(path.read_text())
    for path in sorted(Path(__file__).parents[1].joinpath("events").glob("*.json"))
}

HERE = Location("111122223333", "eu-west-1")
NODE = "i-0a1b2c3d4e5f60718"
EXECUTION = "5c1d8f0a-2b7e-4f3c-9a61-0d2e4c6b8f13"
EVALUATED = datetime(2026, 11, 23, 9, 13, 52, 480000, UTC)
SENT = datetime(2026, 11, 23, 9, 14, 2, tzinfo=UTC)


def sample(name: str) -> dict[str, Any]:
    return copy.deepcopy(SAMPLES[name])


def changed(name: str, change: Callable[[dict[str, Any]], object]) -> object:
    event = sample(name)
    change(event)
    return parse(event)


def finding(event: object) -> Finding:
    found = parse(event)
    assert isinstance(found, Finding), found
    return found


def ignored(found: object) -> Ignored:
    assert isinstance(found, Ignored), found
    return found


# --- findings -------------------------------------------------------------------------------------------------------

FINDINGS = {
    "config_patch_non_compliant": (NODE, Control.PATCH, False, Source.CONFIG),
    "config_patch_first_evaluation": ("i-0b2c3d4e5f6071829", Control.PATCH, False, Source.CONFIG),
    "config_patch_compliant": (NODE, Control.PATCH, True, Source.CONFIG),
    "config_patch_conformance_pack": ("i-0c3d4e5f607182930", Control.PATCH, False, Source.CONFIG),
    "config_patch_security_hub": ("i-0d4e5f60718293a4b", Control.PATCH, False, Source.CONFIG),
    "config_patch_hybrid": ("mi-0e5f60718293a4b5c", Control.PATCH, False, Source.CONFIG),
    "config_patch_short_id": ("i-1a2b3c4d", Control.PATCH, False, Source.CONFIG),
    "config_association_non_compliant": (NODE, Control.ASSOCIATION, False, Source.CONFIG),
    "ssm_patch_non_compliant": (NODE, Control.PATCH, False, Source.SSM),
    "ssm_patch_compliant": (NODE, Control.PATCH, True, Source.SSM),
    "ssm_patch_hybrid": ("mi-0e5f60718293a4b5c", Control.PATCH, False, Source.SSM),
    "ssm_association_non_compliant": (NODE, Control.ASSOCIATION, False, Source.SSM),
}

UPDATES = {
    "execution_success": ("Success", True),
    "execution_failed": ("Failed", True),
    "execution_canceled": ("Canceled", True),
    "execution_timed_out": ("TimedOut", True),
    "execution_other_document": ("Success", True),
    "execution_pending_approval": ("PendingApproval", False),
    "execution_unknown_status": ("Paused", None),
}

NODE_STATES = {
    "node_terminated": "terminated",
    "node_shutting_down": "shutting-down",
    "node_stopped": "stopped",
    "node_stopping": "stopping",
    "node_running": "running",
}

IGNORED = {
    "config_patch_not_applicable": ("inconclusive", "NOT_APPLICABLE says neither"),
    "config_patch_insufficient_data": ("inconclusive", "INSUFFICIENT_DATA says neither"),
    "config_patch_forged_account": ("forged", "forged place: the event comes from 111122223333/eu-west-1"),
    "config_patch_without_node": ("no_node", "holds no node id"),
    "config_volume_tags": ("foreign", "AWS::EC2::Volume"),
    "config_item_change": ("foreign", "Config Configuration Item Change"),
    "ssm_custom_compliance": ("foreign", "Custom:LicenceAgreement"),
    "ssm_patch_forged_account": ("forged", "forged place: the event comes from 111122223333/eu-west-1"),
    "ssm_patch_odd_source": ("foreign", "'aws.111122223333'"),
    "execution_step_success": ("foreign", "EC2 Automation Step"),
    "node_pending": ("foreign", "'pending'"),
    "command_success": ("foreign", "EC2 Command Invocation"),
    "maintenance_window_success": ("foreign", "Maintenance Window"),
    "security_hub_imported": ("foreign", "Security Hub"),
    "inspector_coverage": ("foreign", "Inspector2 Coverage"),
}


def test_every_sample_is_expected_to_mean_something() -> None:
    assert set(SAMPLES) == FINDINGS.keys() | UPDATES.keys() | NODE_STATES.keys() | IGNORED.keys()


@pytest.mark.parametrize("name", FINDINGS)
def test_a_compliance_event_is_a_finding_about_its_node(name: str) -> None:
    event = sample(name)
    found = finding(event)
    assert (found.node.id, found.control, found.compliant, found.source) == FINDINGS[name]
    assert found.node.location == Location(event["account"], event["region"])


def test_a_config_finding_is_as_old_as_the_evaluation_and_names_its_rule() -> None:
    found = finding(sample("config_patch_non_compliant"))
    assert found == Finding(
        Node(HERE.account, HERE.region, NODE),
        Control.PATCH,
        False,
        EVALUATED,
        Source.CONFIG,
        "ec2-managedinstance-patch-compliance-status-check",
        {
            "configRuleName": "ec2-managedinstance-patch-compliance-status-check",
            "configRuleARN": "arn:aws:config:eu-west-1:111122223333:config-rule/config-rule-4kq2zd",
            "resourceType": "AWS::SSM::PatchCompliance",
            "resourceId": "AWS::SSM::ManagedInstanceInventory/i-0a1b2c3d4e5f60718",
            "newEvaluationResult": {"complianceType": "NON_COMPLIANT"},
            "oldEvaluationResult": {"complianceType": "COMPLIANT"},
        },
    )


def test_an_ssm_finding_is_as_old_as_its_event_and_has_no_rule() -> None:
    found = finding(sample("ssm_patch_non_compliant"))
    assert (found.observed_at, found.rule) == (SENT, None)
    assert found.detail == {
        "compliance-type": "Patch",
        "compliance-status": "non_compliant",
        "severity": "critical",
        "patch-baseline-id": "pb-0718293a4b5c6d7e8",
    }


def test_a_first_evaluation_has_no_old_result() -> None:
    assert "oldEvaluationResult" not in finding(sample("config_patch_first_evaluation")).detail


def test_rules_that_conformance_packs_and_security_hub_renamed_are_heard() -> None:
    assert finding(sample("config_patch_conformance_pack")).rule == "patch-compliance-conformance-pack-x7h2m9qva"
    security_hub = finding(sample("config_patch_security_hub"))
    assert security_hub.rule == "securityhub-ec2-managedinstance-patch-compliance-5f0c2a1e"


def test_a_redelivery_under_another_id_has_the_same_key_and_a_later_evaluation_another() -> None:
    first, again, later = (sample("config_patch_non_compliant") for _ in range(3))
    again["id"] = "6e1d9f5a-0c3b-4a7e-8f21-3b5d7f9a1c0e"
    identifier = later["detail"]["newEvaluationResult"]["evaluationResultIdentifier"]
    identifier["orderingTimestamp"] = "2026-11-23T10:13:52.480Z"
    assert finding(first).key == finding(again).key
    assert finding(first).key != finding(later).key


def test_the_remark_of_a_custom_rule_is_kept_on_one_line() -> None:
    event = sample("config_patch_non_compliant")
    event["detail"]["newEvaluationResult"]["annotation"] = "\nTwo\u001b[31m patches\r\nare \u202emissing." + "x" * 300
    remark = finding(event).detail["newEvaluationResult"]["annotation"]
    assert remark.startswith("Two[31m patches are missing.x")
    assert len(remark) == 256


def test_every_field_of_the_event_that_policies_may_name_is_there_in_some_event() -> None:
    events = [sample(name) for name in FINDINGS]
    events[0]["detail"]["newEvaluationResult"]["annotation"] = "Two patches are missing."
    details = [finding(event).detail for event in events]
    details += [told.detail for told in reports(HERE, [machine(ping=None)], {}, NOW, timedelta(days=1))]
    promised = {steps[1:] for steps in FIELDS if steps[0] == "detail"}
    assert promised
    assert [steps for steps in promised if not any(_holds(detail, steps) for detail in details)] == []


def _holds(value: Any, steps: tuple[Any, ...]) -> bool:
    for step in steps:
        if not (isinstance(value, dict) and step in value):
            return False
        value = value[step]
    return True


# --- executions and nodes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UPDATES)
def test_an_execution_says_its_status_and_whether_it_is_over(name: str) -> None:
    found = parse(sample(name))
    assert isinstance(found, ExecutionUpdate)
    assert (found.location, found.execution) == (HERE, EXECUTION)
    assert (found.status, found.ended) == UPDATES[name]
    assert found.at == datetime(2026, 11, 23, 9, 41, 18, tzinfo=UTC)


def test_an_execution_of_any_document_is_heard() -> None:
    found = parse(sample("execution_other_document"))
    assert isinstance(found, ExecutionUpdate)
    assert found.document == "Example-PatchWithHooks"


def test_every_status_of_the_api_is_known_to_be_over_or_not() -> None:
    ssm = service_model("ssm")
    assert set(ssm.shape_for("AutomationExecutionStatus").enum) <= ENDED.keys()
    assert ENDED["Canceled"] is ENDED["Cancelled"] is True
    assert ENDED["Canceling"] is ENDED["Cancelling"] is False


@pytest.mark.parametrize("name", NODE_STATES)
def test_an_instance_that_goes_or_comes_is_heard(name: str) -> None:
    found = parse(sample(name))
    node = Node(HERE.account, HERE.region, NODE)
    assert found == NodeUpdate(node, NODE_STATES[name], datetime(2026, 11, 23, 10, 5, 47, tzinfo=UTC))


# --- what is left alone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IGNORED)
def test_what_does_not_concern_us_is_left_alone_with_its_reason(name: str) -> None:
    kind, reason = IGNORED[name]
    found = ignored(parse(sample(name)))
    assert found.kind == kind
    assert reason in found.reason


def _config(event: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = event["detail"]["newEvaluationResult"]
    return result


CONFIG_CHANGES: list[tuple[str, str, Callable[[dict[str, Any]], object]]] = [
    ("unknown_version", "version '1'", lambda event: event.update(version="1")),
    ("unknown_version", "version of type int", lambda event: event.update(version=7)),
    ("unknown_version", "version of type bool", lambda event: event.update(version=False)),
    ("unknown_version", "version (none)", lambda event: event.update(version=None)),
    ("unknown_version", "record version '2.0'", lambda event: event["detail"].update(recordVersion="2.0")),
    ("malformed", "account '1111'", lambda event: event.update(account="1111")),
    ("malformed", "account of type int", lambda event: event.update(account=111122223333)),
    ("malformed", "region 'mars'", lambda event: event.update(region="mars")),
    ("malformed", "no detail", lambda event: event.update(detail=[])),
    ("malformed", "no detail", lambda event: event.pop("detail")),
    ("malformed", "no source or no detail-type", lambda event: event.pop("source")),
    ("malformed", "no source or no detail-type", lambda event: event.update({"detail-type": ["x"]})),
    ("malformed", "no newEvaluationResult", lambda event: event["detail"].pop("newEvaluationResult")),
    ("malformed", "complianceType 'MAYBE'", lambda event: _config(event).update(complianceType="MAYBE")),
    ("malformed", "complianceType (none)", lambda event: _config(event).pop("complianceType")),
    ("malformed", "orderingTimestamp (none)", lambda event: _config(event).pop("evaluationResultIdentifier")),
    ("malformed", "configRuleName (none)", lambda event: event["detail"].pop("configRuleName")),
    ("malformed", "configRuleName 'rrr", lambda event: event["detail"].update(configRuleName="r" * 257)),
    ("malformed", "configRuleName '\\x1b[2J'", lambda event: event["detail"].update(configRuleName="\x1b[2J")),
    ("malformed", "configRuleName '\\ud800'", lambda event: event["detail"].update(configRuleName="\ud800")),
    ("malformed", "configRuleARN of type int", lambda event: event["detail"].update(configRuleARN=5)),
    ("forged", "account '444455556666'", lambda event: event["detail"].update(awsAccountId="444455556666")),
    ("forged", "region 'us-east-1'", lambda event: event["detail"].update(awsRegion="us-east-1")),
    ("forged", "account (none)", lambda event: event["detail"].pop("awsAccountId")),
    ("forged", "comes from 444455556666/eu-west-1", lambda event: event.update(account="444455556666")),
    ("foreign", "resourceType (none)", lambda event: event["detail"].pop("resourceType")),
    ("no_node", "resourceId (none)", lambda event: event["detail"].pop("resourceId")),
    ("no_node", "resourceId 'vol-0f607182'", lambda event: event["detail"].update(resourceId="vol-0f607182")),
    ("no_node", "resourceId of type list", lambda event: event["detail"].update(resourceId=[NODE])),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "says", "change"), CONFIG_CHANGES)
def test_a_config_event_that_is_not_as_aws_writes_it_is_refused(
    kind: str, says: str, change: Callable[[dict[str, Any]], object]
) -> None:
    found = ignored(changed("config_patch_non_compliant", change))
    assert found.kind == kind
    assert says in found.reason


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-11-23T09:13:52",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        5,
    ],
)
def test_a_time_that_cannot_be_trusted_is_refused(text: object) -> None:
    event = sample("config_patch_non_compliant")
    _config(event)["evaluationResultIdentifier"]["orderingTimestamp"] = text
    assert ignored(parse(event)).reason.startswith("orderingTimestamp")
    event = sample("ssm_patch_non_compliant")
    event["time"] = text
    assert ignored(parse(event)).reason.startswith("time")


def _detail(**fields: object) -> Callable[[dict[str, Any]], object]:
    """The change of some fields of the detail; an underscore stands for AWS's hyphen."""
    return lambda event: event["detail"].update({field.replace("_", "-"): value for field, value in fields.items()})


OTHER_CHANGES: list[tuple[str, str, str, Callable[[dict[str, Any]], object]]] = [
    ("ssm_patch_non_compliant", "malformed", "compliance-status 'NON'", _detail(compliance_status="NON")),
    ("ssm_patch_non_compliant", "foreign", "resource-type 'bucket'", _detail(resource_type="bucket")),
    ("ssm_patch_non_compliant", "no_node", "resource-id (none)", _detail(resource_id=None)),
    ("ssm_patch_non_compliant", "malformed", "two nodes, i-1a2b3c4d", _detail(resource_id="i-1a2b3c4d")),
    (
        "ssm_patch_non_compliant",
        "forged",
        "us-east-1",
        lambda event: event.update(resources=["arn:aws:ssm:us-east-1::x"]),
    ),
    ("ssm_patch_non_compliant", "malformed", "severity of type dict", _detail(severity={})),
    ("execution_success", "malformed", "ExecutionId '5'", _detail(ExecutionId="5")),
    ("execution_success", "malformed", "Status of type int", _detail(Status=0)),
    ("execution_success", "malformed", "Definition (none)", _detail(Definition=None)),
    ("execution_success", "forged", "111122223333", lambda event: event.update(account="444455556666")),
    ("node_terminated", "no_node", "instance-id 'web-1'", _detail(instance_id="web-1")),
    ("node_terminated", "foreign", "state of type list", _detail(state=["terminated"])),
]


@pytest.mark.parametrize(("name", "kind", "says", "change"), OTHER_CHANGES)
def test_any_other_event_that_is_not_as_aws_writes_it_is_refused(
    name: str, kind: str, says: str, change: Callable[[dict[str, Any]], object]
) -> None:
    found = ignored(changed(name, change))
    assert found.kind == kind
    assert says in found.reason


KEPT: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("config_patch_non_compliant", lambda event: event.update(version=0)),
    ("config_patch_non_compliant", lambda event: event.pop("version")),
    ("config_patch_non_compliant", lambda event: event.pop("time")),
    ("config_patch_non_compliant", lambda event: event["detail"].update(recordVersion=1.0)),
    ("config_patch_non_compliant", lambda event: event["detail"].update(somethingNew={"nested": [1, None]})),
    ("config_patch_non_compliant", lambda event: _config(event).update(annotation=None, resultToken=None)),
    ("config_patch_non_compliant", lambda event: event["detail"].update(resourceId=f" {NODE} ")),
    ("config_patch_non_compliant", lambda event: event["detail"].update(oldEvaluationResult="COMPLIANT")),
    ("ssm_patch_non_compliant", lambda event: event.pop("resources")),
    ("ssm_patch_non_compliant", lambda event: event.update(resources=[None, 5, "not an arn"])),
    ("ssm_patch_non_compliant", lambda event: event["detail"].update(severity=None)),
]


@pytest.mark.parametrize(("name", "change"), KEPT)
def test_what_aws_may_add_or_leave_out_does_not_hide_a_finding(
    name: str, change: Callable[[dict[str, Any]], object]
) -> None:
    found = changed(name, change)
    assert isinstance(found, Finding), found
    assert found.node.id == NODE


# --- size -----------------------------------------------------------------------------------------------------------


def _deep(levels: int) -> Any:
    value: Any = "deep"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "ballast",
    [
        "x" * 1_000_000,
        ["x"] * 500_000,
        {str(key): key for key in range(200_000)},
        [["x" * 1_000]] * 1_000,
        _deep(200_000),
    ],
    ids=["text", "list", "map", "nested", "deep"],
)
def test_an_event_of_a_megabyte_is_refused_by_its_size(ballast: object) -> None:
    found = ignored(changed("config_patch_non_compliant", lambda event: event["detail"].update(ballast=ballast)))
    assert found == Ignored("the event is larger than 256 KB", "too_large")


def test_an_event_that_holds_itself_is_refused_by_its_size() -> None:
    event = sample("config_patch_non_compliant")
    event["detail"]["itself"] = event
    assert ignored(parse(event)).kind == "too_large"


def test_an_event_that_eventbridge_carries_is_not_refused_by_its_size() -> None:
    event = sample("config_patch_non_compliant")
    event["detail"]["ballast"] = "x" * 240_000
    assert len(json.dumps(event)) < 256 * 1024
    finding(event)


# --- whatever comes -------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ODD = JSON | st.binary() | st.builds(object) | st.tuples(JSON) | st.just(10**5000) | st.just(float("nan"))
KINDS = st.sampled_from([(event["source"], event["detail-type"]) for event in SAMPLES.values()])


def well_behaved(event: object) -> None:
    """Nothing is raised, and what is said can be written down, as UTF-8 and on one line."""
    found = parse(event)
    if isinstance(found, Ignored):
        assert found.reason.isprintable()
        assert len(found.reason) < 400
        assert found.kind.isidentifier()
        found.reason.encode()
    elif isinstance(found, Finding):
        canonical([found.key, found.remediation, found.rule, dict(found.detail)]).encode()
        assert len(canonical(dict(found.detail))) < 4_000
    else:
        canonical(repr(found)).encode()


@given(ODD)
def test_nothing_that_is_sent_brings_the_reader_down(event: object) -> None:
    well_behaved(event)


@given(KINDS, ODD, ODD, ODD)
def test_nothing_in_an_event_of_a_known_kind_brings_the_reader_down(
    kind: tuple[str, str], detail: object, account: object, resources: object
) -> None:
    event = {"source": kind[0], "detail-type": kind[1], "account": account, "region": "eu-west-1"}
    well_behaved({**event, "detail": detail, "resources": resources})
    well_behaved({**event, "detail": detail, "resources": resources, "account": HERE.account})


def _places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, inner in steps for place in _places(inner, (*path, step)))]


PLACES = [(name, place) for name, event in SAMPLES.items() for place in _places(event) if place]


@given(st.sampled_from(PLACES), ODD)
def test_no_change_in_one_place_of_a_sample_brings_the_reader_down(
    place: tuple[str, tuple[Any, ...]], value: object
) -> None:
    event: Any = sample(place[0])
    holder = event
    for step in place[1][:-1]:
        holder = holder[step]
    holder[place[1][-1]] = value
    well_behaved(event)
    del holder[place[1][-1]]
    well_behaved(event)


@given(st.sampled_from(sorted(FINDINGS)), st.data())
def test_two_events_mixed_up_never_make_a_finding_about_another_place(name: str, data: st.DataObject) -> None:
    mixed, other = sample(name), sample(data.draw(st.sampled_from(sorted(SAMPLES))))
    for key in data.draw(st.lists(st.sampled_from(sorted(other)), unique=True)):
        mixed[key] = other[key]
    found = parse(mixed)
    if isinstance(found, Finding):
        assert found.node.location == Location(mixed["account"], mixed["region"])
        arns = [resource for resource in mixed["resources"] if resource.startswith("arn:")]
        said = [mixed["detail"].get("awsAccountId"), *(arn.split(":")[4] for arn in arns)]
        assert set(said) <= {found.node.account, None, ""}


def test_there_is_a_pattern_for_every_way_in() -> None:
    assert EVENT_PATTERNS.keys() == {"on_config_rule", "on_ssm_compliance", "on_execution", "on_node_state"}
