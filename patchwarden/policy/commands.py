"""The `policy` commands; more of them stand beside the verbs that they run, and join this group in cli.py."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from patchwarden import output
from patchwarden.groups import Group
from patchwarden.scope import FINDINGS, form_option, now_option

if TYPE_CHECKING:
    from patchwarden.policy.lint import Checked


@click.group(cls=Group)
def policy() -> None:
    """Policy files: write, check, test, compare and publish them."""


DIRECTORY = click.argument(
    "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), default="policies"
)


@policy.command("check")
@DIRECTORY
@click.option("--strict", is_flag=True, help="Exit 3 for a warning too.")
@click.option("--sarif", "report", type=click.Path(path_type=Path, dir_okay=False),
              help="Write what is found to this file too, as code scanning reads it.")  # fmt: skip
@now_option
@form_option
def policy_check(directory: Path, strict: bool, report: Path | None, now: datetime, form: str) -> None:
    """Load DIRECTORY, name every problem at once, compare its policies, run the tests inside; exit 3 for an error."""
    from patchwarden.policy.lint import check_directory

    checked = check_directory(directory, now=now)
    found = [each.to_json() for each in checked.found]
    if form != "table":
        output.rows(found, ("file", "line", "column", "code", "level", "what", "hint"), form=form)
    else:
        for each in checked.found:
            click.echo(output.plain(each.text()))
    if report is not None:
        from patchwarden.policy.sarif import sarif

        report.write_text(json.dumps(sarif(found), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    output.note(f"{directory}: {_summary(checked)}")
    sys.exit(FINDINGS if checked.errors or (strict and found) else 0)


def _summary(checked: Checked) -> str:
    if not checked.results and checked.errors:
        return f"{_number(checked.errors, 'error')}; the tests were not run"
    warnings = len(checked.found) - checked.errors
    parts = [_number(checked.errors, "error")] if checked.errors else []
    parts += [_number(warnings, "warning")] if warnings else []
    passed = len(checked.results) - len(checked.failed)
    return f"{', '.join(parts) or 'no problems'}; {passed} of {_number(len(checked.results), 'test')} passed"


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


@policy.command("compile")
@DIRECTORY
@click.option(
    "-f", "--file", type=click.Path(path_type=Path, dir_okay=False), help="Write here instead of standard output."
)
@now_option
def policy_compile(directory: Path, file: Path | None, now: datetime) -> None:
    """Turn DIRECTORY into the one canonical document that the service loads; exit 3 if it has problems."""
    from patchwarden.policy.compile import compiled_text

    text, problems = compiled_text(directory, now=now)
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
