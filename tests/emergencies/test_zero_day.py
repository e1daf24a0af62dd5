"""A zero-day from the command at three in the morning to the last proof, over the simulated organisation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.core.remediations import State
from chalicelib.ports.bundle import Unwired
from chalicelib.proof import verify
from patchwarden.policy.lint import check_directory
from patchwarden.simulator.machines import Machine
from tests.emergencies.zero_day import AGENT, CVE, FIX, ZeroDay

ID = "emergency-ssm-agent"
ASKED = ("--package", "amazon-ssm-agent=3.3.9999", "--scope", "tag:Zone=zero", "--id", ID)
LACKS, EXEMPT, STOPPED, FAILS, HAS, LATE = range(6)


@pytest.fixture
def night(tmp_path: Path) -> tuple[ZeroDay, list[Machine]]:
    """Nodes that their baseline finds compliant: four lack a fix it does not approve, in four ways; one has it."""
    world = ZeroDay(tmp_path)
    machines = world.plain(6)
    for machine in machines[:LATE]:
        machine.tags["Zone"] = "zero"
        machine.release([AGENT])
    machines[EXEMPT].tags["App"] = "legacy-erp"
    machines[HAS].patch(world.sim.clock.now(), override=frozenset({AGENT.id}))
    machines[HAS].reboot()
    world.scan()
    world.sim.aws.power.stop(machines[STOPPED])
    world.run(minutes=3)
    machines[FAILS].unfixable = frozenset({AGENT.id})
    return world, machines


def test_a_zero_day_is_started_followed_and_proved_by_name(night: tuple[ZeroDay, list[Machine]]) -> None:
    world, machines = night
    assert all(one.report and one.report.compliant for one in machines[:LATE])
    dry = world.start(*ASKED, "--waves", "none", "--dry-run")
    assert dry.exit_code == 0 and "nothing was written" in dry.output
    assert not (world.directory / f"{ID}.yaml").exists() and world.json("emergency", "list") == []
    radius = json.loads(world.start(*ASKED, "--waves", "none", "--dry-run", "-o", "json").stdout)
    told = {one["node"]: one for one in radius["nodes"]}
    assert radius["totals"]["nodes"] == 5 and radius["totals"]["has"] == 1 and radius["totals"]["exempt"] == 1
    assert radius["totals"]["stopped"] == 1 and radius["totals"]["acted_on"] == 4
    assert told[str(machines[EXEMPT].node)]["outcome"] == "ticket"
    assert "has amazon-ssm-agent 3.3.9999" in told[str(machines[HAS].node)]["says"]
    said_no = world.start(*ASKED, "--waves", "none", yes=False, answer="n\n")
    assert said_no.exit_code == 4 and "nothing was started" in said_no.output

    assert world.start(*ASKED, "--waves", "none").exit_code == 0
    assert check_directory(world.directory, now=world.sim.clock.now()).errors == 0
    assert world.case(machines[HAS].node) is None and world.case(machines[LATE].node) is None
    exempt = world.case(machines[EXEMPT].node)
    assert exempt and exempt.state is State.TICKETED and "exempt node exposed" in exempt.because
    world.run(minutes=30)
    assert world.causes(machines[LACKS].node) == ["queued", "intended", "started", "succeeded", "resolved"]
    lacks = world.case(machines[LACKS].node)
    assert lacks and "the node has amazon-ssm-agent 3.3.9999" in lacks.because
    stopped, fails = world.case(machines[STOPPED].node), world.case(machines[FAILS].node)
    assert stopped and stopped.state is State.WAITING and "the node is stopped" in stopped.because
    assert fails and fails.state is State.WAITING and fails.attempts == 1
    batch = world.ports.ledger.batch(str(lacks.batch))
    assert batch and batch.parameters["InstallOverrideList"] == [
        world.ports.lists.address(lacks.plan["patches"]["list"])
    ]

    # a node that comes into the scope later is found by the sweep: no event will ever speak of it
    machines[LATE].tags["Zone"] = "zero"
    machines[LATE].release([AGENT])
    world.scan()
    world.run(minutes=30)
    late = world.case(machines[LATE].node)
    assert late and late.state is State.RESOLVED, late

    shown = world.cli("emergency", "status")
    assert shown.exit_code == 3 and "2 of 5 nodes are verified" in shown.output
    view = world.json("emergency", "status", ID)
    assert view["verified"] == 2 and view["states"] == {"resolved": 2, "ticketed": 1, "waiting": 2}
    assert {one["node"] for one in view["stuck"]} == {str(machines[at].node) for at in (EXEMPT, STOPPED, FAILS)}
    ended = world.cli(
        "emergency", "stop", ID, "--because", "the vendor took it back", "--policies", str(world.directory)
    )
    assert ended.exit_code == 0 and "nothing more of it starts" in ended.output
    world.fresh()
    machines[FAILS].unfixable = frozenset()
    before = len(world.ports.ledger.trail(fails.id))
    world.run(minutes=60)
    fails = world.case(machines[FAILS].node)
    assert fails and fails.state is State.OPEN and "the vendor took it back" in fails.because
    assert "started" not in world.causes(machines[FAILS].node)[before:]
    off = next(one for one in world.ports.policies.active().policies if one.id == ID)
    assert off.mode == "off" and 'mode: "off"' in (world.directory / f"{ID}.yaml").read_text()
    assert world.json("emergency", "list")[0]["state"] == "stopped"
    assert verify(world.ports.ledger, world.sim.clock.now()).faults == ()

    # the files are what is in force, so that it can begin anew
    assert world.start(*ASKED, "--waves", "none").exit_code == 0
    world.fresh()
    world.run(minutes=20)
    assert world.case(machines[FAILS].node).state is State.RESOLVED  # type: ignore[union-attr]


def test_a_cve_is_resolved_by_what_the_nodes_lack_and_waves_stop_at_a_failing_canary(tmp_path: Path) -> None:
    world = ZeroDay(tmp_path)
    machines = world.plain(3, Zone="zero", Canary="")
    for machine in machines:
        machine.release([FIX])
    machines[0].tags["Canary"] = "yes"
    machines[0].unfixable = frozenset({FIX.id})
    world.scan()
    asked = ("--cve", CVE.lower(), "--scope", "tag:Zone=zero", "--waves", "Canary=yes 15m, 100%")
    radius = json.loads(world.start(*asked, "--dry-run", "-o", "json").stdout)
    assert [one["nodes"] for one in radius["waves"]] == [1, 2]
    (named,) = (part["named"] for part in radius["emergency"]["lists"])
    assert named == [{"id": FIX.id, "version": "0:5.6.2-1.amzn2023"}]
    assert world.start(*asked).exit_code == 0
    again = world.start(*asked)
    assert again.exit_code == 4 and "runs since" in again.output
    world.run(minutes=20)
    assert "started" in world.causes(machines[0].node)
    assert all("started" not in world.causes(machine.node) for machine in machines[1:])
    unpublished = world.cli("policy", "rollback", world.json("policy", "history")[0]["digest"][:12], "--reason", "oops",
                            "--yes")  # fmt: skip
    assert unpublished.exit_code == 0
    world.fresh()
    assert "is not in the policy set in force" in world.cli("emergency", "status").output
    view = world.json("emergency", "status")
    assert view["rollout"]["wave"] == 1 and view["rollout"]["stopped"]


def test_a_cve_that_no_scan_names_says_what_to_do(tmp_path: Path) -> None:
    world = ZeroDay(tmp_path, nodes=12)
    unknown = world.start("--cve", "CVE-2020-1111", "--scope", "all")
    assert (
        unknown.exit_code == 1 and "name the patches of the vendor's advisory with --kb or --package" in unknown.output
    )
    nobody = world.start("--kb", "KB5099999", "--scope", "all", "--only-lacking")
    assert nobody.exit_code == 4 and "no node in scope is without these patches" in nobody.output
    inventory, world.ports = world.ports.inventory, replace(world.ports, inventory=Unwired())
    blind = world.start("--kb", "KB5099999", "--scope", "all", "--dry-run")
    assert blind.exit_code == 1 and "could not be read, so its nodes are not counted" in blind.output
    refused = world.start("--kb", "KB5099999", "--scope", "all")
    assert refused.exit_code == 4 and "no node that was read lacks these patches, but 6 could not" in refused.output
    world.ports = replace(world.ports, inventory=inventory)
    changed = world.directory / "_set.yaml"
    changed.write_text(changed.read_text().replace("attempts: 3", "attempts: 4"))
    other = world.start("--kb", "KB5099999", "--scope", "all")
    assert other.exit_code == 1 and "must not bring anything else" in other.output
    assert "reading what" not in other.output, "what needs no look at the nodes is refused before it"
    assert world.json("emergency", "list") == []


def test_a_list_that_was_changed_starts_nothing_and_is_one_ticket(tmp_path: Path) -> None:
    world = ZeroDay(tmp_path)
    machines = world.plain(3, Zone="zero")
    for machine in machines:
        machine.release([AGENT])
    world.scan()
    assert world.start(*ASKED, "--waves", "none").exit_code == 0
    (file,) = (tmp_path / "ledger.policies" / "lists").glob("*.yaml")
    good = file.read_bytes()
    file.write_bytes(good + b"  - id: 'evil.*'\n")
    world.run(minutes=5)
    assert all(machine.outstanding for machine in machines)
    assert all("started" not in world.causes(machine.node) for machine in machines)
    cases = [world.case(machine.node) for machine in machines]
    assert sorted(str(case.state) for case in cases if case) == ["open", "open", "ticketed"]
    assert all("was changed: its sha256 is" in case.because for case in cases if case)
    (listed,) = world.json("emergency", "list")
    assert listed["state"] == "halted" and "was changed" in listed["said"]
    refused = world.start(*ASKED, "--waves", "none")
    assert refused.exit_code == 1 and "holds another text" in str(refused.exception)
