"""An emergency wave by wave: a tagged canary, a tenth, everybody; stopped in the middle, expired, and proved twice."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from chalicelib.core.remediations import Cause, State
from patchwarden.simulator.machines import Machine
from tests.emergencies.zero_day import AGENT, ZeroDay

ID = "emergency-ssm-agent"
WAVES = ("--waves", "PatchRing=canary 15m, 10% 15m, 100%")
ASKED = ("--package", "amazon-ssm-agent=3.3.9999", "--scope", "tag:Zone=zero", "--id", ID, *WAVES)
SOAK = timedelta(minutes=15)


@pytest.fixture
def night(tmp_path: Path) -> tuple[ZeroDay, list[Machine]]:
    """Eleven nodes that lack the fix; the first two are canaries."""
    world = ZeroDay(tmp_path, nodes=60)
    machines = world.plain(11, Zone="zero", PatchRing="wide")
    for machine in machines:
        machine.release([AGENT])
    for canary in machines[:2]:
        canary.tags["PatchRing"] = "canary"
    world.scan()
    return world, machines


def moments(world: ZeroDay, machines: list[Machine], cause: Cause) -> dict[str, datetime]:
    """When each node's case took this turn first."""
    found: dict[str, datetime] = {}
    for machine in machines:
        case = world.case(machine.node)
        lines = world.ports.ledger.trail(case.id) if case else []
        at = [line.at for line in lines if line.cause is cause]
        found |= {machine.node.id: at[0]} if at else {}
    return found


def until(world: ZeroDay, machines: list[Machine], started: int, within: int = 90) -> set[str]:
    """Let minutes pass until so many nodes have started; who they are."""
    for _ in range(within):
        found = moments(world, machines, Cause.STARTED)
        if len(found) >= started:
            return set(found)
        world.run(minutes=1)
    raise AssertionError(f"{started} nodes did not start in {within} minutes")


def test_each_wave_waits_for_the_proof_of_the_one_before(night: tuple[ZeroDay, list[Machine]]) -> None:
    world, machines = night
    radius = json.loads(world.start(*ASKED, "--dry-run", "-o", "json").stdout)
    assert [one["nodes"] for one in radius["waves"]] == [2, 1, 8]
    assert world.start(*ASKED).exit_code == 0
    world.run(minutes=80)
    started, proved = (moments(world, machines, cause) for cause in (Cause.STARTED, Cause.RESOLVED))
    assert len(started) == len(proved) == 11
    order = sorted(started, key=lambda id: started[id])
    waves = [order[:2], order[2:3], order[3:]]
    assert set(waves[0]) == {machine.node.id for machine in machines[:2]}, "the canaries go first, by their tag"
    for before, behind in pairwise(waves):
        assert min(started[id] for id in behind) >= max(proved[id] for id in before) + SOAK
    assert world.cli("emergency", "status", ID).exit_code == 0
    assert world.json("emergency", "status", ID)["verified"] == 11


@pytest.mark.parametrize("ends", ["stop", "expiry"])
def test_what_ends_in_the_middle_starts_no_further_wave(night: tuple[ZeroDay, list[Machine]], ends: str) -> None:
    world, machines = night
    assert world.start(*ASKED, "--expires", "8h" if ends == "stop" else "40m").exit_code == 0
    began = until(world, machines, 3)
    if ends == "stop":
        assert world.stop(ID, "the vendor took it back").exit_code == 0
        world.fresh()
    world.run(minutes=60)
    assert set(moments(world, machines, Cause.STARTED)) == began, "the last wave never opened"
    assert set(moments(world, machines, Cause.RESOLVED)) == began, "what had begun went on to its proof"
    left = [world.case(machine.node) for machine in machines if machine.node.id not in began]
    why = "the vendor took it back" if ends == "stop" else "expired at"
    assert left and all(case and case.state is State.OPEN and why in case.because for case in left)
    (listed,) = world.json("emergency", "list")
    assert listed["state"] == ("stopped" if ends == "stop" else "expired")
    assert world.cli("emergency", "status", ID).exit_code == 3


def test_a_patch_that_a_later_scan_misses_is_brought_back(night: tuple[ZeroDay, list[Machine]]) -> None:
    """Proved once is not proved for ever: each scan is held against the names while the emergency is in force."""
    world, machines = night
    assert world.start(*ASKED[:-2], "--waves", "none").exit_code == 0
    world.run(minutes=45)
    assert world.json("emergency", "status", ID)["verified"] == 11
    lost, kept = machines[5], machines[6]
    world.scan()
    world.run(minutes=30)
    assert [world.causes(each.node).count("resolved") for each in (lost, kept)] == [1, 1], (
        "a scan that agrees is no news"
    )
    older = replace(AGENT, title=AGENT.title.replace("3.3.9999.0", "3.3.1000.0"))
    lost.installed[AGENT.id] = (older, world.sim.clock.now())  # somebody rolled the package back
    lost.release([AGENT])
    world.scan()
    world.run(minutes=45)
    told = world.causes(lost.node)
    assert told[told.index("resolved") + 1 :] == ["queued", "intended", "started", "succeeded", "resolved"]
    assert world.causes(kept.node).count("queued") == 1
    case = world.case(lost.node)
    assert case and "the node has amazon-ssm-agent 3.3.9999" in case.because


def test_each_system_and_architecture_gets_the_version_that_is_its_own(tmp_path: Path) -> None:
    world = ZeroDay(tmp_path, nodes=60)
    amazon, ubuntu = world.plain(1, Zone="zero")[0], world.plain(1, platform="ubuntu", Zone="zero")[0]
    system = f"{ubuntu.platform.name} {ubuntu.platform.version}"
    asked = ("--package", "amazon-ssm-agent=3.3.9999", "--package", f"amazon-ssm-agent=3.2.1@{system}", "--package",
             "amazon-ssm-agent.aarch64=3.3.8888", "--scope", "tag:Zone=zero", "--id", ID)  # fmt: skip
    made = json.loads(world.start(*asked, "--dry-run", "-o", "json").stdout)["emergency"]["lists"]
    told = {one["system"]: {each["id"]: each["version"] for each in one["named"]} for one in made}
    assert told == {None: {"amazon-ssm-agent": "3.3.9999", "amazon-ssm-agent.aarch64": "3.3.8888"},
                    system: {"amazon-ssm-agent": "3.2.1", "amazon-ssm-agent.aarch64": "3.3.8888"}}  # fmt: skip
    mistyped = world.start(*asked, "--package", "xz-libs=5@Ubuntu 7", "--dry-run")
    assert mistyped.exit_code == 2 and "no node in scope reports the operating system 'Ubuntu 7'" in mistyped.output
    assert amazon.platform.name in mistyped.output
