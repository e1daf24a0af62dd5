"""What Config's own exceptions hold stands in the status, and a list that is not whole is none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from click.testing import CliRunner

from chalicelib import wiring
from chalicelib.adapters.memory_aws import MemoryExceptions
from chalicelib.core.errors import Temporary
from chalicelib.ports import RemediationException
from patchwarden.cli import cli
from tests.sets import NODE
from tests.verbs.conftest import Broken, World

STANDS = RemediationException(NODE, "patch-rule", f"AWS::SSM::ManagedInstanceInventory/{NODE.id}",
                              "AWS::SSM::PatchCompliance", "after one attempt")  # fmt: skip


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    made.node()
    made.say()
    yield made
    wiring.use(None)


def test_the_status_lists_the_exceptions_that_stand(world: World) -> None:
    wiring.use(replace(world.ports, exceptions=MemoryExceptions([STANDS])))
    told = json.loads(CliRunner().invoke(cli, ["status", "-o", "json"]).stdout)["config_exceptions"]
    assert [(one["node"].rpartition("/")[2], one["rule"]) for one in told] == [(NODE.id, "patch-rule")]
    assert "its exceptions stand" in CliRunner().invoke(cli, ["status"]).stdout


def test_what_could_not_be_asked_is_not_an_empty_list(world: World) -> None:
    silent = Broken(MemoryExceptions([STANDS]), "exceptions", Temporary("no answer"))
    wiring.use(replace(world.ports, exceptions=silent))
    assert json.loads(CliRunner().invoke(cli, ["status", "-o", "json"]).stdout)["config_exceptions"] is None
    wiring.use(world.ports)
    assert json.loads(CliRunner().invoke(cli, ["status", "-o", "json"]).stdout)["config_exceptions"] is None
