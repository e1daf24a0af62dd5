"""What failed for good is listed with its reason, goes back to its own function, and nothing starts twice of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from chalicelib.adapters.failures import MemoryFailures
from chalicelib.core.errors import Temporary
from chalicelib.core.journal import fault
from chalicelib.core.letters import Letter
from chalicelib.failures import lying, redrive
from chalicelib.follow import follow
from chalicelib.intake import receive
from tests.sets import NODE, NOW
from tests.verbs.conftest import World, execution_event, ssm_event

ARN = "arn:aws:lambda:eu-west-1:111122223333:function:patchwarden-dev-"


def from_rule(id: str, event: Any, arn: str = f"{ARN}on_ssm_compliance") -> Letter:
    told = {"TARGET_ARN": arn, "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not authorized"}
    return Letter(id, "patchwarden-dev-rule-failures", json.dumps(event), told, NOW, 1, id)


def from_function(id: str, event: Any) -> Letter:
    record = {
        "version": "1.0", "timestamp": "2026-11-23T12:00:00.000Z",
        "requestContext": {"requestId": "r", "functionArn": f"{ARN}on_execution:$LATEST",
                           "condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event, "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorMessage": "the table was busy", "errorType": "Temporary"},
    }  # fmt: skip
    return Letter(id, "patchwarden-dev-failures", json.dumps(record), {}, NOW, 1, id)


@dataclass
class InProcess:
    """The port `Functions`: the verb that the function runs, or the failure that it ends in."""

    world: World
    fails: bool = False
    ran: list[str] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> None:
        self.ran.append(function)
        if self.fails:
            raise Temporary("the table is busy")
        (follow if function.endswith("on_execution") else receive)(self.world.ports, dict(payload))


def again(world: World, queues: MemoryFailures, functions: InProcess, only: set[str] | None = None) -> list[Any]:
    return redrive(queues, functions, world.ledger, world.clock, only=only, by="ops")


def test_both_kinds_of_letter_are_listed_with_their_reason_and_stay(world: World) -> None:
    queues = MemoryFailures()
    queues.put(from_rule("a", ssm_event(NODE, False, NOW)))
    queues.put(from_function("b", execution_event(NODE, "e", "Success")))
    assert [(one.function, one.because) for one in lying(queues)] == [
        ("patchwarden-dev-on_ssm_compliance", "NO_PERMISSIONS: not authorized"),
        ("patchwarden-dev-on_execution", "RetriesExhausted: the table was busy"),
    ]
    assert len(lying(queues)) == 2


def test_a_redrive_days_later_acts_on_what_is_so_then_and_starts_nothing_twice(world: World) -> None:
    world.node()
    execution = world.start()
    world.pass_minutes(20)
    world.scanned()
    world.end(execution)
    world.pass_minutes(4 * 24 * 60)
    queues, functions = MemoryFailures(), InProcess(world)
    queues.put(from_rule("a", ssm_event(NODE, False, NOW)))
    queues.put(from_function("b", execution_event(NODE, execution, "Success")))
    assert [one.done for one in again(world, queues, functions)] == [True, True]
    world.pass_minutes(10)
    assert world.round().executions == 0 and len(world.automations.started) == 1
    assert world.case().state == "resolved" and queues.kept == {}
    entries = world.ledger.entries("failure/a")
    assert [(line.what, line.actor) for line in entries] == [("redriven", "ops")]
    assert fault(world.ledger.entry("failure/a"), entries) is None


def test_what_fails_again_stays_and_both_are_in_the_journal(world: World) -> None:
    queues, functions = MemoryFailures(), InProcess(world, fails=True)
    queues.put(from_rule("a", ssm_event(NODE, False, NOW)))
    [found] = again(world, queues, functions)
    assert (found.done, found.because) == (False, "failed again: the table is busy")
    assert [line.what for line in world.ledger.entries("failure/a")] == ["redriven", "failed again"]
    functions.fails = False
    assert [one.done for one in again(world, queues, functions)] == [True]


def test_only_what_was_asked_for_is_sent(world: World) -> None:
    queues, functions = MemoryFailures(), InProcess(world)
    for id in "abc":
        queues.put(from_rule(id, ssm_event(NODE, False, NOW)))
    assert [one.failure.letter.id for one in again(world, queues, functions, {"b"})] == ["b"]
    assert set(queues.kept) == {"a", "c"} and len(functions.ran) == 1


def test_a_letter_for_somebody_elses_function_or_without_an_event_is_not_sent(world: World) -> None:
    queues, functions = MemoryFailures(), InProcess(world)
    queues.put(from_rule("a", {}, "arn:aws:lambda:eu-west-1:111122223333:function:payments-refund"))
    queues.put(Letter("b", "q", "not json", {}, NOW, 1, "b"))
    queues.put(Letter("c", "q", '[{"requestContext": 1}]', {"TARGET_ARN": f"{ARN}x"}, NOW, 1, "c"))
    assert [one.done for one in again(world, queues, functions)] == [False] * 3
    assert functions.ran == [] and len(queues.kept) == 3
    assert "is no function of Patchwarden" in lying(queues)[0].because


def test_ten_thousand_malformed_events_harm_no_event_between_them(world: World) -> None:
    draw = random.Random(9)
    junk: tuple[Any, ...] = (
        None,
        0,
        -1.5,
        "",
        "\x00",
        "i-0",
        [],
        {},
        [[]],
        {"a": {"b": []}},
        True,
        "9" * 400,
        "2026-13-45T99:99:99Z",
    )
    world.node()
    for number in range(10_000):
        event = ssm_event(NODE, False, NOW + timedelta(seconds=number))
        for _ in range(draw.randint(1, 3)):
            spoilt = event if draw.random() < 0.5 else event["detail"]
            if isinstance(spoilt, dict):
                spoilt[draw.choice([*spoilt, "detail"])] = draw.choice(junk)
            if not isinstance(event["detail"], dict):
                break
        receive(world.ports, event if number % 100 else draw.choice(junk))
    assert world.say(at=world.clock.now()).status in ("decided", "noted", "duplicate")
    assert len(world.notices.of("rejected")) > 5_000
    assert {said["kind"] for said in world.notices.of("rejected")} >= {"malformed"}
