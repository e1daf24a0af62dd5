"""Automations: one contract over the memory twin and over Systems Manager, then what only that can do."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.accounts import Accounts, Refusal
from chalicelib.adapters.memory_aws import MemoryAutomations
from chalicelib.adapters.systems_manager import ENDED, SystemsManager
from chalicelib.core.errors import Barred, Denied, Temporary
from chalicelib.core.nodes import Location
from chalicelib.core.plans import PATCH_NODES, Batch, Plan, parameters
from chalicelib.ports import Automations, Invocation
from patchwarden.simulator.limits import Limits
from patchwarden.simulator.protocols import service_model
from tests.adapters.simulated import World

NO_LIMIT = Limits(starts=None)
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass
class Stage:
    """The port, a location with nodes for it to patch, and a way to let an execution come to its end."""

    automations: Automations
    world: World
    end: Callable[[Batch, str], None]

    @property
    def location(self) -> Location:
        return self.world.member

    def batch(self, name: str = "first", **changes: Any) -> Batch:
        id = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.example.com"))
        nodes = [node.id for node in self.world.plain(self.location, 2)]
        asked = parameters(Plan(), id, nodes, document=PATCH_NODES)
        made = Batch(id, self.location, PATCH_NODES, None, asked, (), self.world.sim.clock.now())
        return replace(made, **changes)


def over_aws(world: World) -> Stage:
    return Stage(SystemsManager(world.accounts()), world, lambda batch, id: world.run(hours=2))


def in_memory(world: World) -> Stage:
    twin = MemoryAutomations()

    def end(batch: Batch, id: str) -> None:
        done = [Invocation(node, "Success") for node in batch.parameters["NodeIds"]]
        world.run(hours=2)
        twin.end(
            batch.location, id, "Success", at=world.sim.clock.now(), steps={"InstallPatches": done, "ScanNodes": done}
        )

    return Stage(twin, world, end)


TWINS: dict[str, Callable[[World], Stage]] = {"memory": in_memory, "aws": over_aws}


@pytest.fixture(params=[*TWINS.values()], ids=[*TWINS])
def stage(request: pytest.FixtureRequest) -> Stage:
    made: Stage = request.param(World(options={"limits": NO_LIMIT}).noncompliant())
    return made


class TestContract:
    def test_a_batch_starts_one_execution_however_often_it_is_asked_for(self, stage: Stage) -> None:
        batch = stage.batch()
        first = stage.automations.start(batch)
        assert stage.automations.start(batch) == first
        assert stage.automations.start(stage.batch("second")) != first

    def test_an_execution_in_progress_has_not_ended(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        found = stage.automations.execution(stage.location, id)
        assert found is not None
        assert (found.id, found.ended, found.batch, found.ended_at) == (id, False, batch.id, None)

    def test_an_unknown_execution_is_none(self, stage: Stage) -> None:
        assert stage.automations.execution(stage.location, UNKNOWN) is None

    def test_an_execution_is_known_in_its_own_location_only(self, stage: Stage) -> None:
        id = stage.automations.start(stage.batch())
        assert stage.automations.execution(stage.world.home, id) is None

    def test_an_execution_is_found_by_its_batch(self, stage: Stage) -> None:
        first, second = stage.batch("first"), stage.batch("second")
        assert stage.automations.find(first) is None
        ids = [stage.automations.start(first), stage.automations.start(second)]
        assert [stage.automations.find(first), stage.automations.find(second)] == ids
        assert stage.automations.find(stage.batch("third")) is None

    def test_an_ended_execution_tells_what_each_step_did_on_each_node(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        stage.end(batch, id)
        found = stage.automations.execution(stage.location, id)
        assert found is not None
        assert (found.status, found.ended, found.failure) == ("Success", True, None)
        assert found.ended_at is not None
        assert timedelta() < found.ended_at - batch.created_at <= timedelta(hours=2)
        for step in ("InstallPatches", "ScanNodes"):
            invocations = stage.automations.invocations(stage.location, found.commands[step])
            assert set(invocations) == set(batch.parameters["NodeIds"])
            assert all(each.succeeded and each.detail == "" for each in invocations.values())

    def test_a_node_is_being_patched_from_its_command_to_the_commands_end(self, stage: Stage) -> None:
        batch = stage.batch()
        nodes = batch.parameters["NodeIds"]
        assert stage.automations.patching(stage.location, nodes) == {}
        id = stage.automations.start(batch)
        stage.world.run(minutes=3)
        assert set(stage.automations.patching(stage.location, nodes)) == set(nodes)
        assert set(stage.automations.patching(stage.location, nodes[:1])) == set(nodes[:1])
        assert stage.automations.patching(stage.location, ["i-0aaaaaaaaaaaaaaaa"]) == {}
        assert stage.automations.patching(stage.world.home, nodes) == {}
        stage.end(batch, id)
        assert stage.automations.patching(stage.location, nodes) == {}

    def test_an_ended_execution_is_still_found(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        stage.end(batch, id)
        assert stage.automations.find(batch) == id

    def test_a_stopped_execution_comes_to_an_end(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        stage.automations.stop(stage.location, id)
        stage.world.run(hours=2)
        found = stage.automations.execution(stage.location, id)
        assert found is not None
        assert (found.status, found.ended) == ("Cancelled", True)

    def test_stopping_what_has_ended_or_never_was_is_no_error(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        stage.end(batch, id)
        for execution in (id, UNKNOWN):
            stage.automations.stop(stage.location, execution)
        found = stage.automations.execution(stage.location, id)
        assert found is not None
        assert found.status == "Success"

    def test_a_token_with_other_parameters_is_denied_and_starts_nothing(self, stage: Stage) -> None:
        batch = stage.batch()
        id = stage.automations.start(batch)
        other = replace(batch, parameters={**batch.parameters, "MaxErrors": ["1"]})
        with pytest.raises(Denied, match="token"):
            stage.automations.start(other)
        assert stage.automations.find(batch) == id


@pytest.fixture
def world() -> World:
    return World(options={"limits": NO_LIMIT}).noncompliant()


def hooked(world: World, event: str, change: Callable[[dict[str, Any]], None]) -> SystemsManager:
    """Automations whose answers are changed on the way."""
    return SystemsManager(world.hooked(event, change))


class TestOverAws:
    def test_a_lost_answer_may_be_asked_for_again(self, world: World) -> None:
        stage = over_aws(world)
        world.fail("StartAutomationExecution", ReadTimeoutError(endpoint_url="https://ssm"), phase="after")
        batch = stage.batch()
        with pytest.raises(Temporary, match="no answer"):
            stage.automations.start(batch)
        found = stage.automations.find(batch)
        assert found is not None
        assert stage.automations.start(batch) == found

    def test_the_execution_runs_in_the_nodes_own_account(self, world: World) -> None:
        stage = over_aws(world)
        id = stage.automations.start(stage.batch())
        assert [one.id for one in world.sim.aws.automations.known(world.member)] == [id]

    def test_a_pinned_version_is_asked_for(self, world: World) -> None:
        stage = over_aws(world)
        id = stage.automations.start(stage.batch(version="1"))
        assert stage.automations.execution(world.member, id) is not None
        with pytest.raises(Refusal, match=r"AutomationDefinitionVersionNotFound.*publish that version"):
            stage.automations.start(stage.batch("second", version="9"))

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"document": "Nobody-MadeThis"}, "deploy the runbook there"),
            ({"parameters": {"BatchId": ["b"]}}, "not the one this batch was made for"),
        ],
    )
    def test_what_an_operator_must_mend_is_denied_with_the_remedy(
        self, world: World, changes: dict[str, Any], says: str
    ) -> None:
        stage = over_aws(world)
        with pytest.raises(Denied, match=says):
            stage.automations.start(stage.batch(**changes))

    def test_a_used_token_is_said_so_that_nobody_misses_it(self, world: World) -> None:
        stage = over_aws(world)
        batch = stage.batch()
        stage.automations.start(batch)
        with pytest.raises(Refusal, match=r"IdempotentParameterMismatch.*ALARM"):
            stage.automations.start(replace(batch, parameters={**batch.parameters, "MaxErrors": ["1"]}))

    def test_more_starts_than_the_quota_are_temporary(self) -> None:
        world = World().noncompliant()
        stage = over_aws(world)
        stage.automations.start(stage.batch("first"))
        with pytest.raises(Temporary, match="Throttling"):
            stage.automations.start(stage.batch("second"))
        world.run(seconds=1)
        stage.automations.start(stage.batch("second"))

    def test_more_executions_than_the_quota_are_temporary(self) -> None:
        world = World(options={"limits": Limits(starts=None, automations=1)}).noncompliant()
        stage = over_aws(world)
        stage.automations.start(stage.batch("first"))
        with pytest.raises(Temporary, match="AutomationExecutionLimitExceeded"):
            stage.automations.start(stage.batch("second"))

    def test_a_denied_account_is_said_so(self, world: World) -> None:
        world.sim.aws.deny(world.member.account)
        automations = over_aws(world).automations
        with pytest.raises(Denied, match=world.member.account):
            automations.execution(world.member, UNKNOWN)
        with pytest.raises(Barred, match="stop_automation_execution"):
            automations.stop(world.member, UNKNOWN)
        with pytest.raises(Barred, match="cancel_command"):
            automations.cancel(world.member, UNKNOWN)

    def test_a_command_is_cancelled_and_one_that_nobody_knows_is_no_error(self, world: World) -> None:
        SystemsManager(world.accounts()).cancel(world.member, UNKNOWN)

    def test_only_executions_of_the_batchs_time_and_document_are_asked_for_their_batch(self, world: World) -> None:
        stage = over_aws(world)
        for name in ("old", "older"):
            stage.automations.start(stage.batch(name))
        world.run(hours=1)
        batch = stage.batch()
        id = stage.automations.start(batch)
        world.run(seconds=5)
        world.calls.clear()
        assert stage.automations.find(batch) == id
        assert world.calls.count("GetAutomationExecution") == 1
        assert stage.automations.find(replace(batch, document="Another-Document")) is None
        assert world.calls.count("GetAutomationExecution") == 1

    def test_a_clock_that_runs_ahead_does_not_hide_an_execution(self, world: World) -> None:
        stage = over_aws(world)
        ahead = stage.batch(created_at=world.sim.clock.now() + timedelta(minutes=4))
        id = stage.automations.start(ahead)
        world.run(seconds=5)
        assert stage.automations.find(ahead) == id

    def test_a_failed_node_says_which_part_failed_and_how(self, world: World) -> None:
        stage = over_aws(world)
        machine = world.the("failing")
        batch = stage.batch(location=machine.node.location)
        batch = replace(batch, parameters={**batch.parameters, "NodeIds": [machine.node.id]})
        id = stage.automations.start(batch)
        world.run(hours=3)
        found = stage.automations.execution(machine.node.location, id)
        assert found is not None
        assert (found.status, found.ended) == ("Failed", True)
        assert found.failure
        invocation = stage.automations.invocations(machine.node.location, found.commands["InstallPatches"])[
            machine.node.id
        ]
        assert not invocation.succeeded
        assert "exit code" in invocation.detail

    def test_an_execution_with_many_steps_is_read_to_the_last(self, world: World) -> None:
        stage = over_aws(world)
        batch = stage.batch()
        id = stage.automations.start(batch)
        world.run(hours=2)

        def cut(parsed: dict[str, Any]) -> None:
            parsed["AutomationExecution"].update(StepExecutions=[], StepExecutionsTruncated=True)

        found = hooked(world, "after-call.ssm.GetAutomationExecution", cut).execution(world.member, id)
        assert found is not None
        assert {"InstallPatches", "ScanNodes"} <= set(found.commands)

    def test_a_status_that_nobody_knows_is_neither_ended_nor_running(self, world: World) -> None:
        stage = over_aws(world)
        id = stage.automations.start(stage.batch())

        def rename(parsed: dict[str, Any]) -> None:
            parsed["AutomationExecution"]["AutomationExecutionStatus"] = "Perplexed"

        found = hooked(world, "after-call.ssm.GetAutomationExecution", rename).execution(world.member, id)
        assert found is not None
        assert (found.status, found.ended) == ("Perplexed", None)

    def test_invocations_are_read_page_by_page(self, world: World) -> None:
        stage = over_aws(world)
        batch = stage.batch()
        id = stage.automations.start(batch)
        world.run(hours=2)
        found = stage.automations.execution(world.member, id)
        assert found is not None

        def session() -> boto3.Session:
            opened = world.sim.session()
            opened.events.register("provide-client-params.ssm.ListCommandInvocations", one_a_page)
            return opened

        accounts = Accounts(role="member", hub_account=world.hub, session=session, now=world.sim.clock.now)
        world.calls.clear()
        invocations = SystemsManager(accounts).invocations(world.member, found.commands["ScanNodes"])
        assert set(invocations) == set(batch.parameters["NodeIds"])
        assert world.calls.count("ListCommandInvocations") == 2

    def test_what_somebody_else_sent_counts_and_what_patches_nothing_does_not(self, world: World) -> None:
        stage = over_aws(world)
        nodes = stage.batch().parameters["NodeIds"]
        asked = {
            "DocumentName": "AWS-RunPatchBaseline",
            "InstanceIds": nodes[:1],
            "Parameters": {"Operation": ["Scan"]},
        }
        command = world.sim.aws.commands.send(world.member, asked)
        assert stage.automations.patching(world.member, nodes) == {nodes[0]: command.id}, "it waits for its agent"
        command.document = "AWS-RunShellScript"
        assert stage.automations.patching(world.member, nodes) == {}
        command.document = "AWS-RunPatchBaselineWithHooks"
        assert stage.automations.patching(world.member, nodes) == {nodes[0]: command.id}
        command.invocations[nodes[0]].status = "Delayed"
        assert stage.automations.patching(world.member, nodes) == {nodes[0]: command.id}, "it is delivered later"


def one_a_page(params: dict[str, Any], **_: Any) -> None:
    params["MaxResults"] = 1


def test_every_status_of_the_api_is_either_over_or_not() -> None:
    """A status that AWS adds must be looked at by somebody: until then it counts as neither."""
    model = service_model("ssm")
    assert set(ENDED) == set(model.shape_for("AutomationExecutionStatus").enum)
