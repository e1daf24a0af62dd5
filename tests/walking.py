"""Every command of the command line, found by walking its groups."""

from __future__ import annotations

from collections.abc import Iterator

import click

from patchwarden.cli import cli


def commands(group: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Each command and group with the words that call it; the command line itself has none."""
    yield path, group
    if isinstance(group, click.Group):
        for name, command in sorted(group.commands.items()):
            yield from commands(command, (*path, name))


def leaves() -> list[tuple[tuple[str, ...], click.Command]]:
    """The commands that are no groups."""
    return [(path, command) for path, command in commands() if not isinstance(command, click.Group)]
