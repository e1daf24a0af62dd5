"""A node that was scanned with another baseline than ours is flagged before anything acts on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.core.errors import Temporary
from chalicelib.core.journal import entry
from chalicelib.core.remediations import Cause, State
from chalicelib.dispatch import dispatch
from tests.sets import HERE, NODE, NOW, policy, policy_set, scan
from tests.verbs.conftest import Broken, World

OURS, THEIRS = "pb-00000000000000001", "pb-00000000000000009"
PLATFORM: dict[str, Any] = {"platform_name": "Amazon Linux", "platform_version": "2023"}


def applied(world: World, baseline: str = OURS) -> None:
    """As `baseline apply` writes it."""
    one = {"baseline": baseline, "os": "AMAZON_LINUX_2023", "digest": "0", "default": False, "groups": ["prod"]}
    subject = f"baseline/{HERE}"
    world.ledger.enter(entry(world.ledger.entry(subject), subject, "applied", because="CHG-1", actor="ann", now=NOW,
                             value={"baselines": {"linux": one}}))  # fmt: skip


def due(world: World, baseline: str, **given: Any) -> None:
    """A queued case whose node was scanned with the baseline."""
    state = replace(scan(NOW - timedelta(hours=1), baseline=baseline, group="prod"), **given)
    world.node(patch=state, **PLATFORM)
    world.say()
    world.pass_minutes(5)


def test_with_enforce_another_baseline_is_a_persons_turn(world: World) -> None:
    world.policies = policy_set(baselines="enforce")
    applied(world)
    due(world, THEIRS)
    assert world.round().executions == 0 and world.automations.started == []
    case = world.case()
    assert case.state is State.TICKETED and world.causes().count("ticketed") == 1
    said = next(line.because for line in world.ledger.trail(case.id) if line.cause is Cause.TICKETED)
    assert f"scanned with {THEIRS}" in said and f"to have {OURS}" in said and "baseline drift" in said


def test_with_enforce_our_baseline_starts(world: World) -> None:
    world.policies = policy_set(baselines="enforce")
    applied(world)
    due(world, OURS)
    assert world.round().executions == 1


def test_with_enforce_a_foreign_scan_that_counts_nothing_missing_proves_nothing(world: World) -> None:
    world.policies = policy_set(baselines="enforce")
    applied(world)
    due(world, THEIRS)
    world.inventory.scan(NODE, scan(world.clock.now(), baseline=THEIRS, group="prod", missing=0, patches=()))
    world.round()
    assert world.case().state is State.TICKETED


def test_with_enforce_what_nobody_can_say_waits_up_to_its_deadline(world: World) -> None:
    world.policies = policy_set(policy(deadline=86400), baselines="enforce")
    due(world, OURS)
    assert world.round().executions == 0
    case = world.case()
    assert (case.state, case.held) == (State.WAITING, "baseline")
    assert "run baseline apply" in world.ledger.trail(case.id)[-1].because
    world.clock.move(timedelta(days=2))
    for _ in range(3):
        world.round()
        world.pass_minutes(6)
    assert world.case().state is State.TICKETED


def test_it_starts_as_soon_as_ours_was_applied(world: World) -> None:
    world.policies = policy_set(baselines="enforce")
    due(world, OURS)
    world.round()
    applied(world)
    world.pass_minutes(61)
    world.round()
    world.pass_minutes(6)
    world.round()
    assert world.case().state is State.RUNNING


def test_a_journal_that_cannot_be_read_starts_nothing(world: World) -> None:
    world.policies = policy_set(baselines="enforce")
    applied(world)
    due(world, OURS)
    found = dispatch(replace(world.ports, ledger=Broken(world.ledger, "entry", Temporary("busy"))))
    assert found.executions == 0 and found.degraded == (str(HERE),) and world.case().state is State.QUEUED


def test_with_warn_it_starts_and_a_notice_says_so(world: World) -> None:
    world.policies = policy_set(baselines="warn")
    applied(world)
    due(world, THEIRS)
    assert world.round().executions == 1
    (notice,) = world.notices.of("other_baseline")
    assert THEIRS in notice["because"]


@pytest.mark.parametrize("settings", [{}, {"baselines": "off"}])
def test_switched_off_nothing_is_asked(world: World, settings: dict[str, Any]) -> None:
    world.policies = policy_set(**settings)
    due(world, THEIRS)
    unread = Broken(world.ledger, "entry", AssertionError("the journal was read"), times=9)
    assert dispatch(replace(world.ports, ledger=unread)).executions == 1


def ours_is(value: bool) -> dict[str, Any]:
    return {"path": "$.patch.baseline_ours", "steps": ["patch", "baseline_ours"], "operator": "equals",
            "operand": value, "match": "any", "if_missing": False, "line": None}  # fmt: skip


def test_a_policy_can_ask_for_it(world: World) -> None:
    foreign = policy("foreign-scan", ours_is(False), action="ticket", band="guardrail")
    world.policies = policy_set(foreign, policy())
    applied(world)
    due(world, THEIRS)
    assert world.case().state is State.TICKETED and world.case().decision["policy"] == "foreign-scan"
    facts = world.ledger.trail(world.case().id)[0].evidence["facts"]["patch"]
    assert (facts["baseline_ours"], facts["baseline_expected"]) == (False, OURS)


def test_a_policy_that_asks_where_nobody_can_say_is_unknown_and_a_ticket(world: World) -> None:
    foreign = policy("foreign-scan", ours_is(False), action="ticket", band="guardrail")
    world.policies = policy_set(foreign, policy())
    due(world, OURS)
    assert world.case().state is State.TICKETED
    assert "could not be evaluated" in world.ledger.trail(world.case().id)[0].because
