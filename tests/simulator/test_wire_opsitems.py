"""OpsCenter opens one OpsItem for what is the same, and a new one when the old is resolved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from patchwarden.simulator.refusals import NotServed
from tests.simulator.world import World, code, refused


def data(text: str, **more: str) -> dict[str, dict[str, str]]:
    dedup = {"/aws/dedup": {"Type": "SearchableString", "Value": json.dumps({"dedupString": text})}}
    return {**dedup, **{key: {"Type": "SearchableString", "Value": value} for key, value in more.items()}}


def asked(text: str = "patchwarden/one", **changes: Any) -> dict[str, Any]:
    return {
        "Title": "A node is not compliant",
        "Description": "Somebody's turn",
        "Source": "patchwarden",
        "Severity": "2",
        "OperationalData": data(text),
        **changes,
    }


def create(world: World, *given: str, **changes: Any) -> str:
    return str(world.client("ssm").create_ops_item(**asked(*given, **changes))["OpsItemId"])


def item(world: World, id: str) -> dict[str, Any]:
    return dict(world.client("ssm").get_ops_item(OpsItemId=id)["OpsItem"])


def test_an_opsitem_is_open_and_says_what_it_was_given(world: World) -> None:
    told = item(world, create(world, Category="Security", Priority=2))
    expected = {"Status": "Open", "Title": "A node is not compliant", "Source": "patchwarden", "Severity": "2"}
    assert expected.items() <= told.items()
    assert (told["Category"], told["Priority"], told["OpsItemType"], told["Version"]) == (
        "Security",
        2,
        "/aws/issue",
        "1",
    )
    assert told["CreatedTime"] == world.sim.clock.now()
    assert told["OpsItemArn"].startswith("arn:aws:ssm:eu-west-1:111122223333:opsitem/oi-")


@pytest.mark.parametrize("state", ["Open", "InProgress"])
def test_the_same_dedup_string_finds_the_open_one(world: World, state: str) -> None:
    first = create(world)
    world.client("ssm").update_ops_item(OpsItemId=first, Status=state)
    answer = refused(world.client("ssm").create_ops_item, **asked())
    assert answer["Error"]["Code"] == "OpsItemAlreadyExistsException"
    assert answer["OpsItemId"] == first


def test_a_resolved_one_is_followed_by_a_new_one(world: World) -> None:
    first = create(world)
    world.client("ssm").update_ops_item(OpsItemId=first, Status="Resolved")
    assert create(world) != first


def test_another_string_other_resources_another_place_or_none_is_another_opsitem(world: World) -> None:
    resources = json.dumps([{"arn": "arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0"}])
    other = {"/aws/resources": {"Type": "SearchableString", "Value": resources}}
    made = [
        create(world),
        create(world, "patchwarden/two"),
        create(world, OperationalData=data("patchwarden/one") | other),
    ]
    made += [create(world, OperationalData={}), create(world, OperationalData={})]
    elsewhere = world.client("ssm", world.sim.fleet.locations[1]).create_ops_item(**asked())
    assert len({*made, elsewhere["OpsItemId"]}) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"Source": "my-aws-tool"},
        {"OperationalData": {"/aws/dedup": {"Type": "SearchableString", "Value": "one"}}},
        {"OperationalData": {"/aws/dedup": {"Type": "SearchableString", "Value": '{"dedupString": ""}'}}},
        {"OperationalData": data("x" * 513)},
        {"OperationalData": {"aws-secret": {"Type": "String", "Value": "x"}}},
        {"OperationalData": {"/aws/other": {"Type": "String", "Value": "x"}}},
        {"OperationalData": {"large": {"Type": "String", "Value": "x" * 20481}}},
    ],
)
def test_what_opscenter_does_not_take_is_refused(world: World, changes: dict[str, Any]) -> None:
    assert code(world.client("ssm").create_ops_item, **asked(**changes)) == "OpsItemInvalidParameterException"


def test_text_that_is_too_long_is_refused(world: World) -> None:
    ssm = world.client("ssm")
    assert code(ssm.create_ops_item, **asked(Title="x" * 1025)) == "ValidationException"
    assert code(ssm.create_ops_item, **asked(Description="x" * 2049)) == "ValidationException"
    assert code(ssm.create_ops_item, **asked(Priority=6)) == "ValidationException"


def test_an_update_changes_what_it_names_and_counts_the_version(world: World) -> None:
    id = create(world, OperationalData=data("one", kept="1", dropped="2"))
    world.run(minutes=5)
    change: dict[str, Any] = {"Severity": "1", "Description": "More is known", "OperationalDataToDelete": ["dropped"]}
    world.client("ssm").update_ops_item(OpsItemId=id, OperationalData={"added": {"Value": "3"}}, **change)
    told = item(world, id)
    assert (told["Severity"], told["Description"], told["Title"]) == ("1", "More is known", "A node is not compliant")
    assert set(told["OperationalData"]) == {"/aws/dedup", "kept", "added"}
    assert told["OperationalData"]["added"] == {"Type": "String", "Value": "3"}
    assert told["Version"] == "2"
    assert told["LastModifiedTime"] > told["CreatedTime"]


def test_the_dedup_string_stays_and_an_unknown_opsitem_is_not_found(world: World) -> None:
    ssm = world.client("ssm")
    id = create(world)
    assert code(ssm.update_ops_item, OpsItemId=id, OperationalData=data("two")) == "OpsItemInvalidParameterException"
    assert code(ssm.update_ops_item, OpsItemId="oi-0123456789ab", Status="Open") == "OpsItemNotFoundException"
    assert code(ssm.get_ops_item, OpsItemId="oi-0123456789ab") == "OpsItemNotFoundException"


def found(world: World, *filters: tuple[str, str, str]) -> list[str]:
    given = [{"Key": key, "Operator": operator, "Values": [value]} for key, operator, value in filters]
    answer = world.client("ssm").describe_ops_items(OpsItemFilters=given)
    return [one["OpsItemId"] for one in answer["OpsItemSummaries"]]


def test_opsitems_are_found_by_what_they_say(world: World) -> None:
    first = create(world, "one", Severity="1", Priority=1)
    world.run(minutes=10)
    arn = "arn:aws:ec2:eu-west-1:111122223333:instance/i-0123456789abcdef0"
    more = {"/aws/resources": {"Type": "SearchableString", "Value": json.dumps([{"arn": arn}])}}
    second = create(world, "two", Title="Another matter", OperationalData=data("two", kind="odd") | more)
    world.client("ssm").update_ops_item(OpsItemId=second, Status="Resolved")
    before = world.sim.clock.now().replace(minute=5).isoformat()
    assert found(world) == [second, first]
    assert found(world, ("Status", "Equal", "Open")) == [first]
    assert found(world, ("Title", "Contains", "matter"), ("Source", "Equal", "patchwarden")) == [second]
    assert found(world, ("Severity", "Equal", "1"), ("Priority", "Equal", "1")) == [first]
    assert found(world, ("CreatedTime", "LessThan", before)) == [first]
    assert found(world, ("CreatedTime", "GreaterThan", before)) == [second]
    assert found(world, ("OperationalDataKey", "Equal", "kind")) == [second]
    assert found(world, ("OperationalDataValue", "Contains", "odd")) == [second]
    assert found(world, ("OperationalData", "Equal", '{"value": "odd", "key": "kind"}')) == [second]
    assert found(world, ("ResourceId", "Equal", arn)) == [second]
    with pytest.raises(NotServed):
        found(world, ("InsightByType", "Equal", "x"))


def test_opsitems_come_in_pages_and_with_their_tags(world: World) -> None:
    made = [create(world, f"number {number}", Tags=[{"Key": "n", "Value": str(number)}]) for number in range(5)]
    pages = world.client("ssm").get_paginator("describe_ops_items").paginate(PaginationConfig={"PageSize": 2})
    assert [one["OpsItemId"] for page in pages for one in page["OpsItemSummaries"]] == made[::-1]
    tags = world.client("ssm").list_tags_for_resource(ResourceType="OpsItem", ResourceId=made[3])["TagList"]
    assert tags == [{"Key": "n", "Value": "3"}]


def test_another_accounts_opsitem_is_not_served(world: World) -> None:
    with pytest.raises(NotServed, match="AccountId"):
        create(world, AccountId="444455556666")
