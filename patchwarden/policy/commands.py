"""The `policy` commands; more of them stand beside the verbs that they run, and join this group in cli.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from patchwarden import output
from patchwarden.scope import FINDINGS, form_option


@click.group()
def policy() -> None:
    """Policy files: check and compile them."""


DIRECTORY = click.argument(
    "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), default="policies"
)


@policy.command("check")
@DIRECTORY
@form_option
def policy_check(directory: Path, form: str) -> None:
    """Load DIRECTORY, name every problem at once, run the tests inside; exit 3 if there is one."""
    from patchwarden.policy.compile import load_directory
    from patchwarden.policy.testing import run_tests

    loaded = load_directory(directory)
    problems = [problem.to_json() for problem in loaded.problems]
    results = [] if loaded.document is None else [result for result in run_tests(directory) if not result.passed]
    if form != "table":
        output.rows(
            problems + [result.to_json() for result in results],
            ("file", "line", "column", "code", "what", "hint"),
            form=form,
        )
    else:
        for problem in loaded.problems:
            click.echo(problem.text())
        for result in results:
            click.echo(result.text())
    failed = len(problems) + len(results)
    output.note(f"{failed} problems in {directory}" if failed else f"{directory}: no problems")
    sys.exit(FINDINGS if failed else 0)


@policy.command("compile")
@DIRECTORY
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output."
)
def policy_compile(directory: Path, file: Path | None) -> None:
    """Turn DIRECTORY into the one canonical document that the service loads; exit 3 if it has problems."""
    from patchwarden.policy.compile import compiled_text

    text, problems = compiled_text(directory)
    for problem in problems:
        click.echo(problem.text(), err=True)
    if text is None:
        sys.exit(FINDINGS)
    if file is None:
        click.echo(text)
        return
    file.write_text(text + "\n", encoding="utf-8")
    output.note(f"wrote {file}: set {json.loads(text)['digest'][:12]}")


@policy.command("schema")
def policy_schema() -> None:
    """Print the JSON Schema of policy files, from which editors complete and check."""
    from patchwarden.policy.schema import schema_text

    click.echo(schema_text(), nl=False)
