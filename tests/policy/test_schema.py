"""The JSON Schema says what the loader says, as far as a schema can, and is the one that is committed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from chalicelib.core.conditions import OPERATORS
from chalicelib.core.vocabulary import ANY_TAG, FIELDS
from patchwarden.policy.schema import policy_schema, schema_text
from patchwarden.policy.shapes import PolicyFile
from patchwarden.policy.source import read

ROOT = Path(__file__).parents[2]
POLICIES = sorted((ROOT / "policies").glob("[a-z]*.yaml"))
SCHEDULES = sorted((ROOT / "policies" / "schedules").glob("*.yaml"))
BASELINES = sorted((ROOT / "policies" / "baselines").glob("*.yaml"))
FIXTURES = sorted((ROOT / "policies" / "fixtures").glob("*.yaml"))
CORPUS = sorted((Path(__file__).parent / "corpus").glob("shape-*.yaml"))
SCHEMA = policy_schema()


def misfits(data: Any, part: str | None = None) -> list[str]:
    schema = {**SCHEMA, "$ref": f"#/definitions/{part}"} if part else SCHEMA
    return [error.message for error in Draft7Validator(schema).iter_errors(data)]


def test_the_committed_schema_is_the_one_that_is_made() -> None:
    assert (ROOT / "docs" / "policy.schema.json").read_text(encoding="utf-8") == schema_text(), "run `make docs`"


def test_the_schema_is_small_and_valid_draft_07() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert len(schema_text().encode()) < 60_000


@pytest.mark.parametrize("file", POLICIES, ids=lambda path: path.stem)
def test_a_policy_that_loads_fits_the_schema(file: Path) -> None:
    assert misfits(read(file).data) == []


@pytest.mark.parametrize("file", FIXTURES, ids=lambda path: path.stem)
def test_a_fixture_that_loads_fits_its_part(file: Path) -> None:
    assert misfits(read(file).data, "Fixture") == []


@pytest.mark.parametrize("file", SCHEDULES, ids=lambda path: path.stem)
def test_a_schedule_that_loads_fits_its_part(file: Path) -> None:
    assert misfits(read(file).data, "ScheduleFile") == []


@pytest.mark.parametrize("file", BASELINES, ids=lambda path: path.stem)
def test_a_baseline_that_loads_fits_its_part(file: Path) -> None:
    assert misfits(read(file).data, "BaselineFile") == []


def test_the_set_file_fits_its_part() -> None:
    assert misfits(read(ROOT / "policies" / "_set.yaml").data, "SetFile") == []


@pytest.mark.parametrize("file", CORPUS, ids=lambda path: path.stem)
def test_a_slip_of_shape_is_seen_in_the_editor_too(file: Path) -> None:
    assert misfits(read(file).data)


@pytest.mark.parametrize(
    "file", [ROOT / "policies" / "_set.yaml", *POLICIES, *FIXTURES, *SCHEDULES, *BASELINES], ids=lambda path: path.stem
)
def test_a_policy_file_names_its_schema_in_the_first_line(file: Path) -> None:
    found = re.match(r"# yaml-language-server: \$schema=([^#\n]+)(?:#/definitions/(\w+))?\n", file.read_text())
    assert found, "an editor finds the schema by the first line"
    assert (file.parent / found[1]).resolve() == ROOT / "docs" / "policy.schema.json"
    assert found[2] is None or found[2] in SCHEMA["definitions"]


def test_every_path_of_the_vocabulary_is_offered_with_its_meaning() -> None:
    named, _, searched = SCHEMA["definitions"]["Condition"]["properties"]["path"]["anyOf"]
    offered = {*named["enum"], *searched["examples"]}
    assert {field.path for field in FIELDS.values() if ANY_TAG not in field.steps} <= offered
    assert len(named["enum"]) == len(named["enumDescriptions"])


def condition(**given: Any) -> list[str]:
    return misfits({"path": "$.node.tags.Environment", **given}, "Condition")


@pytest.mark.parametrize("path", ["$.node.tag.Environment", "$.node.platfrom", "node.kind", "$.nodes[*"[:7]])
def test_a_path_outside_the_vocabulary_is_seen_in_the_editor(path: str) -> None:
    assert condition(path=path, exists=True)


@pytest.mark.parametrize(
    "path", ["$.node.tags.App", "$.node.tags['cost-centre']", "$['node'].id", "$.patch.missing[?@.class == 'Security']"]
)
def test_a_path_that_the_loader_reads_is_not_refused(path: str) -> None:
    assert condition(path=path, exists=True) == []


def test_every_operator_is_offered_and_exactly_one_is_taken() -> None:
    assert set(OPERATORS) < set(SCHEMA["definitions"]["Condition"]["properties"])
    assert condition(equals="prod") == []
    assert condition()
    assert condition(equals="prod", starts_with="p")


def test_a_fact_with_few_values_takes_no_other() -> None:
    assert condition(path="$.node.kind", equals="hybrid") == []
    assert condition(path="$.node.kind", equals="hybird")
    assert condition(path="$.node.kind", **{"in": ["ec2", "on-premises"]})


def test_every_field_has_a_description() -> None:
    properties = SCHEMA["properties"] | SCHEMA["definitions"]["Then"]["properties"]
    properties |= SCHEMA["definitions"]["Condition"]["properties"] | SCHEMA["definitions"]["SetFile"]["properties"]
    assert [name for name, field in properties.items() if "description" not in field] == []
    assert set(PolicyFile.model_fields) <= set(properties)
