"""Hooks run around an installation and may keep it from happening; output goes where it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.adapters.systems_manager import SystemsManager
from chalicelib.core.nodes import Location
from chalicelib.core.outcomes import of_run
from chalicelib.core.plans import INSTALLS, PATCH_NODES, Batch, Plan, parameters
from chalicelib.core.remediations import Cause
from patchwarden.simulator.machines import Machine
from tests.adapters.simulated import World
from tests.simulator.world import token

HOOKS = {"pre_install": "Example-Drain", "post_install": "Example-Refill", "on_exit": "Example-Tell"}
NOTHING_WRONG = {"Example-Drain": None, "Example-Refill": None, "Example-Tell": None}


@pytest.fixture
def world() -> World:
    return World().noncompliant()


def machines(world: World) -> list[Machine]:
    here: Location = world.member
    found = [world.sim.fleet.find(here, node.id) for node in world.plain(here, 2)]
    return [machine for machine in found if machine]


def ran(world: World, plan: Plan, **hooks: str | None) -> tuple[SystemsManager, Batch, Any]:
    """Patch two nodes of a member to the end; the adapter, the batch and the execution."""
    world.sim.aws.commands.hooks |= NOTHING_WRONG | {name.replace("_", "-"): said for name, said in hooks.items()}
    ids = [machine.node.id for machine in machines(world)]
    asked = parameters(plan, token(3), ids, document=PATCH_NODES)
    batch = Batch(token(3), world.member, PATCH_NODES, None, asked, (), world.sim.clock.now())
    automations = SystemsManager(world.accounts())
    execution = automations.start(batch)
    world.run(hours=4)
    return automations, batch, automations.execution(world.member, execution)


def installing(automations: SystemsManager, batch: Batch, execution: Any) -> dict[str, Any]:
    (command,) = [execution.commands[step] for step in INSTALLS if step in execution.commands]
    return automations.invocations(batch.location, command)


def test_the_hooks_of_a_plan_run_on_every_node_in_their_order(world: World) -> None:
    automations, batch, execution = ran(world, Plan(hooks=HOOKS))
    assert execution.status == "Success"
    assert set(execution.commands) == {"InstallPatchesWithHooks", "ScanNodes"}
    for machine in machines(world):
        hooked = [document for node, document in world.sim.aws.commands.hooked if node == machine.node.id]
        assert hooked == ["Example-Drain", "Example-Refill", "Example-Tell"]
    assert all(one.succeeded for one in installing(automations, batch, execution).values())


def test_a_pre_install_hook_that_fails_installs_nothing_and_its_text_is_the_nodes_outcome(world: World) -> None:
    before = {one.node.id: one.report.noncompliant for one in machines(world) if one.report}
    automations, batch, execution = ran(
        world, Plan(hooks=HOOKS, max_errors="100%"), Example_Drain="the balancer refused to drain"
    )
    assert execution.status == "Failed"
    for machine in machines(world):
        assert machine.report is not None
        assert len(machine.report.noncompliant) == len(before[machine.node.id]) > 0
        assert machine.report.operation == "Scan"
        said = installing(automations, batch, execution)[machine.node.id]
        assert said.status == "Failed"
        verdict = of_run(install=(said.status, said.detail), installs=True, succeeded=False, failure=None, scan=None,
                         snapshot=batch.snapshot)  # fmt: skip
        assert verdict[0][0] is Cause.FAILED
        assert "the balancer refused to drain" in verdict[0][1]
    assert {document for _, document in world.sim.aws.commands.hooked} == {"Example-Drain", "Example-Tell"}


def test_a_post_install_hook_that_fails_fails_the_node_although_its_patches_are_in(world: World) -> None:
    automations, batch, execution = ran(
        world, Plan(hooks=HOOKS, max_errors="100%"), Example_Refill="no answer from the application"
    )
    for machine in machines(world):
        said = installing(automations, batch, execution)[machine.node.id]
        assert "no answer from the application" in said.detail
        assert machine.report is not None
        assert not machine.report.noncompliant


def test_without_hooks_the_plain_document_runs(world: World) -> None:
    _, _, execution = ran(world, Plan())
    assert set(execution.commands) == {"InstallPatches", "ScanNodes"}
    assert world.sim.aws.commands.hooked == []


@pytest.mark.parametrize("hooks", [{}, HOOKS])
def test_output_goes_to_the_bucket_under_partitions_and_to_the_log_group(world: World, hooks: dict[str, str]) -> None:
    output = {"bucket": "example-output", "prefix": "patching", "log_group": "/patchwarden/commands"}
    ran(world, Plan(output=output, hooks=hooks))
    scan, install = world.sim.aws.commands.sent(world.member)[:2]
    account, region = world.member.account, world.member.region
    assert install.operation == "Install"
    assert install.output == {
        "bucket": "example-output", "prefix": f"patching/accountid={account}/region={region}/date=2026-11-23",
        "log_group": "/patchwarden/commands",
    }  # fmt: skip
    assert (scan.operation, scan.output) == ("Scan", install.output)


def test_without_output_nothing_is_written_anywhere(world: World) -> None:
    ran(world, Plan())
    assert [command.output for command in world.sim.aws.commands.sent(world.member)[:2]] == [{}, {}]
