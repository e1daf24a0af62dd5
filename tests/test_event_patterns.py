"""Each event reaches the handler that reads it and no other, by the matcher of an EventBridge emulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ministack.services import eventbridge

from chalicelib.core.events import EVENT_PATTERNS, Ignored, NodeUpdate, parse

SAMPLES = {
    path.stem: json.loads(path.read_text()) for path in sorted(Path(__file__).parent.joinpath("events").glob("*.json"))
}

EXPECTED: dict[str, str | None] = {
    "command_success": None,
    "config_association_non_compliant": "on_config_rule",
    "config_item_change": None,
    "config_patch_compliant": "on_config_rule",
    "config_patch_conformance_pack": "on_config_rule",
    "config_patch_first_evaluation": "on_config_rule",
    "config_patch_forged_account": "on_config_rule",
    "config_patch_hybrid": "on_config_rule",
    "config_patch_insufficient_data": "on_config_rule",
    "config_patch_non_compliant": "on_config_rule",
    "config_patch_not_applicable": "on_config_rule",
    "config_patch_security_hub": "on_config_rule",
    "config_patch_short_id": "on_config_rule",
    "config_patch_without_node": "on_config_rule",
    "config_volume_tags": None,
    "execution_canceled": "on_execution",
    "execution_failed": "on_execution",
    "execution_other_document": "on_execution",
    "execution_pending_approval": "on_execution",
    "execution_step_success": None,
    "execution_success": "on_execution",
    "execution_timed_out": "on_execution",
    "execution_unknown_status": "on_execution",
    "inspector_coverage": None,
    "maintenance_window_success": None,
    "node_pending": None,
    "node_running": None,
    "node_shutting_down": "on_node_state",
    "node_stopped": "on_node_state",
    "node_stopping": None,
    "node_terminated": "on_node_state",
    "security_hub_imported": None,
    "ssm_association_non_compliant": "on_ssm_compliance",
    "ssm_custom_compliance": None,
    "ssm_patch_compliant": "on_ssm_compliance",
    "ssm_patch_forged_account": "on_ssm_compliance",
    "ssm_patch_hybrid": "on_ssm_compliance",
    "ssm_patch_non_compliant": "on_ssm_compliance",
    "ssm_patch_odd_source": None,
}


def matches(pattern: dict[str, object], event: dict[str, object]) -> bool:
    """What the TestEventPattern operation answers; it refuses a pattern that AWS would refuse."""
    asked = {"Event": json.dumps(event), "EventPattern": json.dumps(pattern)}
    status, _, body = eventbridge._test_event_pattern(asked)
    assert status == 200, body
    answer: bool = json.loads(body)["Result"]
    return answer


def test_every_sample_is_expected_somewhere() -> None:
    assert EXPECTED.keys() == SAMPLES.keys()


@pytest.mark.parametrize("handler", EVENT_PATTERNS)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_reaches_its_handler_and_no_other(name: str, handler: str) -> None:
    assert matches(EVENT_PATTERNS[handler], SAMPLES[name]) is (EXPECTED[name] == handler)


@pytest.mark.parametrize("name", [name for name, handler in EXPECTED.items() if handler is None])
def test_what_reaches_no_handler_would_have_said_nothing_but_that_a_node_runs_or_stops(name: str) -> None:
    found = parse(SAMPLES[name])
    assert isinstance(found, Ignored) or (isinstance(found, NodeUpdate) and found.state in ("running", "stopping"))


@pytest.mark.parametrize("key", ["source", "detail-type"])
@pytest.mark.parametrize("name", [name for name, handler in EXPECTED.items() if handler])
def test_a_sample_under_another_name_reaches_nobody(name: str, key: str) -> None:
    event = {**SAMPLES[name], key: "example.inventory"}
    assert not any(matches(pattern, event) for pattern in EVENT_PATTERNS.values())
