"""The `policy new` command: a policy from nothing."""

from __future__ import annotations

from pathlib import Path

import click

from patchwarden import output
from patchwarden.policy.commands import policy


@policy.command("new")
@click.argument("name", metavar="ID")
@click.option("--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default="policies",
              show_default=True, help="Where the policies are.")  # fmt: skip
def policy_new(name: str, directory: Path) -> None:
    """Write a commented starter of the policy ID, with two tests; then `patchwarden policy check` says what to fill in.

    A directory without _set.yaml or without a fixture gets starters of these too. Nothing is ever overwritten.
    """
    from patchwarden.policy.fields import is_id
    from patchwarden.policy.starter import start

    if not is_id(name):
        raise click.BadParameter("write small letters, digits and single hyphens, such as prod-window", param_hint="ID")
    try:
        written = start(directory, name)
    except FileExistsError as error:
        raise click.ClickException(f"{error} is there already: choose another id, or edit it") from error
    for path in written:
        click.echo(path)
    output.note(f"Say what is empty, then: patchwarden policy check {directory}")
