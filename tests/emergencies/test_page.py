"""docs/emergency.md: each command is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from patchwarden.cli import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "emergency.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_line_takes_the_command(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "patchwarden"
    command: click.Command = cli
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"{command.name} has no {words[0]}"
        command, words = found, words[1:]
    command.make_context(command.name or "", list(words))


def test_the_page_shows_every_command_of_emergencies() -> None:
    shown = {line.split()[2] for line in COMMANDS if line.startswith("patchwarden emergency ")}
    assert shown == {"start", "status", "stop", "list"}


def test_every_option_of_start_that_the_page_names_is_one() -> None:
    group = cli.get_command(click.Context(cli), "emergency")
    assert isinstance(group, click.Group)
    known = {option for command in group.commands.values() for one in command.params for option in one.opts}
    elsewhere = {"--policy", "--stop-running", "--reason"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known | elsewhere
