"""The `report` commands."""

import click


@click.group()
def report() -> None:
    """Reports."""
