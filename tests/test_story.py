"""The story through Chalice's handlers: the same trail whatever keeps it, and the figures that the demo promises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from chalicelib import wiring
from chalicelib.adapters.dynamodb import TABLE, DynamoLedger
from chalicelib.adapters.memory import MemoryLedger
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import State
from chalicelib.ports import Ledger
from chalicelib.proof import verify
from chalicelib.wiring import Settings
from patchwarden.simulator.bus import Weather
from patchwarden.simulator.fleet import START
from patchwarden.simulator.story import END, Story
from tests import aws
from tests.once import NODES, SEED

PASSED_THROUGH = {"core": {"passthrough": {"services": ["ssm", "config", "ec2", "sts"]}}}


def told(ledger: Callable[[], Ledger], **given: Any) -> Story:
    known: dict[str, Any] = {"seed": SEED, "nodes": NODES, "settings": Settings(sqlite=":memory:"), **given}
    story = Story(ledger=ledger, **known)
    for _ in story.run():
        pass
    return story


def trails(ledger: Ledger) -> dict[str, list[dict[str, Any]]]:
    return {case.id: [line.to_json() for line in ledger.trail(case.id)] for case in ledger.all_heads()}


@pytest.fixture(scope="module")
def story() -> Story:
    return told(MemoryLedger)


def test_over_sqlite_the_trail_is_the_same_to_the_last_hash_and_the_figures_are(story: Story, the_demo: Path) -> None:
    """Of the week: what the demo does afterwards, for its reader to operate, is no part of the story."""
    week = format_moment(END)
    told_twice = [
        {name: [line for line in lines if line["at"] < week] for name, lines in trails(ledger).items()}
        for ledger in (wiring.local(str(the_demo / "demo.sqlite")).ledger, story.ports.ledger)
    ]
    assert told_twice[0] == told_twice[1] and any(told_twice[0].values())
    figures = json.loads((the_demo / "figures.json").read_text())
    assert story.figures().items() <= figures.items() and figures["audit_ok"] is True
    wanted = "events_in duplicates decisions waiting executions nodes_started succeeded verified ticketed exempt gone"
    assert set(wanted.split()) <= figures.keys()


def test_over_dynamodb_the_trail_is_the_same_to_the_last_hash(story: Story) -> None:
    with mock_aws(config=PASSED_THROUGH):  # type: ignore[call-overload]
        client = aws.client("dynamodb")
        client.create_table(**{**TABLE, "TableName": "patchwarden"})
        evening = told(lambda: DynamoLedger("patchwarden", client=lambda: client), end=START + timedelta(minutes=75))
        kept = trails(evening.ports.ledger)
    until = format_moment(evening.sim.clock.now())
    began = {
        name: [line for line in lines if line["at"] <= until] for name, lines in trails(story.ports.ledger).items()
    }
    assert any(line["cause"] == "resolved" for lines in kept.values() for line in lines)
    assert kept == {name: lines for name, lines in began.items() if lines}


def test_every_trail_is_whole_and_every_case_has_an_end_or_a_reason(story: Story) -> None:
    assert verify(story.ports.ledger, story.sim.clock.now()).faults == ()
    for case in story.ports.ledger.all_heads():
        assert case.because
        assert not case.active and case.state is not State.QUEUED, f"{case.id} is still {case.state}"
        assert case.leases == ()


def test_no_node_was_ever_in_two_executions_at_once(story: Story) -> None:
    for lines in trails(story.ports.ledger).values():
        active = 0
        for line in lines:
            active += (line["cause"] == "started") - (line["before"] == "running" and line["after"] != "running")
            assert active in (0, 1)


def test_each_part_of_the_cast_ends_as_it_must(story: Story) -> None:
    ends = {part: {case.state.value for machine in machines for case in heads(story) if case.node == machine.node}
            for part, machines in story.sim.fleet.cast.items()}  # fmt: skip
    assert ends["doomed"] == {"gone"}
    assert ends["failing"] == ends["dead-agent"] == ends["hybrid"] == {"ticketed"}
    assert ends["legacy"] == {"exempt"}
    assert ends["untagged"] == {"open"}
    assert ends["cluster"] | ends["stopped"] | ends["reboot-later"] == {"resolved"}


def test_a_reboot_that_comes_later_was_waited_for(story: Story) -> None:
    machine = story.sim.fleet.cast["reboot-later"][0]
    causes = [line.cause.value for case in heads(story) if case.node == machine.node
              for line in story.ports.ledger.trail(case.id)]  # fmt: skip
    assert causes.index("reboot_needed") < causes.index("resolved")


def test_every_open_ticket_has_its_ops_item_and_no_other_is_open(story: Story) -> None:
    wanted = {case.ticket for case in heads(story) if case.state is State.TICKETED}
    items = [item for location in story.sim.fleet.locations for item in story.sim.aws.opsitems.matching(location, [])]
    assert wanted == {item.id for item in items if item.open} and None not in wanted


def test_the_machines_themselves_agree_with_what_is_resolved(story: Story) -> None:
    for case in heads(story):
        machine = story.sim.fleet.machines[case.node]
        if case.state is State.RESOLVED:
            assert machine.report is not None and machine.report.compliant, case.id


def test_with_every_event_lost_it_ends_the_same(story: Story) -> None:
    deaf = told(MemoryLedger, weather=Weather(dropped=1.0))
    assert deaf.counts["events"] == 0
    ended = {case.id: case.state for case in heads(deaf)}
    assert {case.id: case.state for case in heads(story)} == ended


def heads(story: Story) -> list[Any]:
    return list(story.ports.ledger.all_heads())


def test_the_demo_runs_from_any_folder(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("patchwarden")
    if not script.exists():
        pytest.skip("the project is not installed in this environment: there is no patchwarden script")
    ran = subprocess.run([script, "demo", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--seed" in ran.stdout
    code = "from patchwarden.simulator.story import _app; print(_app().app_name)"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "patchwarden"
