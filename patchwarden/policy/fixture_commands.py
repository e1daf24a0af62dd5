"""The commands `policy test` and `policy record`: run the tests in policy files, and make fixtures for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchwarden import output
from patchwarden.policy.commands import DIRECTORY, policy
from patchwarden.scope import FINDINGS, form_option

if TYPE_CHECKING:
    from patchwarden.policy.testing import Result

_FILE = click.Path(path_type=Path, dir_okay=False)
_COLUMNS = ("file", "line", "policy", "test", "passed", "what", "hint")


@policy.command("test")
@DIRECTORY
@click.option("-k", "word", metavar="WORD", help="Only tests whose name, policy or fixture holds WORD.")
@click.option("-v", "--verbose", is_flag=True, help="Tell what passed too, and every condition of what failed.")
@click.option("--junit", type=_FILE, help="Write the results to this file too, as build servers read them.")
@form_option
def policy_test(directory: Path, word: str | None, verbose: bool, junit: Path | None, form: str) -> None:
    """Run the tests inside the policies of DIRECTORY; exit 3 if one fails or the files have an error.

    A failure says what was wanted, what was found, and what each policy said, condition by condition.
    """
    from chalicelib.core.policies import PolicySet
    from patchwarden.policy.compile import compiled, read_directory
    from patchwarden.policy.junit import write
    from patchwarden.policy.testing import tests_of

    files = read_directory(directory)
    found = tests_of(files, PolicySet.load(compiled(files))) if files.sound else []
    results = [result for result in found if word is None or _about(word, result)]
    if junit is not None:
        write(junit, results, files.problems)
    if not files.sound:
        for problem in files.problems:
            click.echo(problem.text(), err=True)
        sys.exit(FINDINGS)
    if not results:
        raise click.ClickException(f"no test in {directory}" + (f" is about {word!r}" if word else ""))
    _print(results, verbose=verbose, form=form)
    failed = sum(not result.passed for result in results)
    output.note(f"{len(results) - failed} passed, {failed} failed, {len(found) - len(results)} left out")
    sys.exit(FINDINGS if failed else 0)


def _about(word: str, result: Result) -> bool:
    return any(word.lower() in text.lower() for text in (result.policy, result.name, result.event))


def _print(results: list[Result], *, verbose: bool, form: str) -> None:
    if form != "table":
        output.rows([_row(result) for result in results], _COLUMNS, form=form)
        return
    from patchwarden import telling

    for result in results:
        if not result.passed:
            click.echo(output.plain(result.text()))
            telling.say(telling.trace(result.trace, verbose=verbose))
            click.echo()
        elif verbose:
            click.echo(output.plain(result.text()))


def _row(result: Result) -> dict[str, Any]:
    return {**result.to_json(), "trace": [] if result.passed else result.trace}
