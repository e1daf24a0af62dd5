"""The command `policy explain`: what each policy says, condition by condition, and who wins."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chalicelib import wiring
from patchwarden import output
from patchwarden.policy.commands import policy
from patchwarden.scope import FINDINGS, Scope, form_option, moment, one_node
from patchwarden.when import WHEN

if TYPE_CHECKING:
    from chalicelib.core.policies import PolicySet
    from patchwarden.policy.compile import Directory

COLUMNS = ("policy", "band", "action", "result", "because", "origin")

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)


@policy.command("explain")
@click.option("--event", type=_FILE, help="An EventBridge event as JSON.")
@click.option("--fixture", metavar="NAME", help="A fixture of the policy directory.")
@click.option("--node", metavar="NODE", help="A node of the trail, on the newest facts about it.")
@click.option("--decision", metavar="ID", help="A line of the trail, <remediation>#<number>, on the facts it saw.")
@click.option("--policies", "directory", type=_DIRECTORY, help="Ask this directory instead of the set in force.")
@click.option("--now", type=WHEN, callback=moment, help="As if it were then; a span counts from now on.")
@click.option("--live", is_flag=True, help="With --event: ask the node's account for its facts.")
@click.option("-v", "--verbose", is_flag=True, help="Every condition of every policy.")
@form_option
@click.pass_obj
def policy_explain(
    scope: Scope, /, directory: Path | None, now: datetime | None, live: bool, verbose: bool, form: str, **asked: Any
) -> None:
    """Why this answer: each policy's conditions with what was found, who won, why the others did not, and what next.

    Give one of --event, --fixture, --node and --decision. A condition is ok, no or unknown, and says where it stands.
    Changes nothing.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError("give one of --event, --fixture, --node and --decision")
    ((kind, value),) = given.items()
    if kind == "fixture":
        answers = [_fixture(value, directory or Path("policies"), now)]
    else:
        chosen = _loaded(sound(directory)) if directory else None
        answers = _ASK[kind](scope, value, chosen, now, live)
    print_answers(answers, verbose=verbose, form=form)


def print_answers(answers: list[dict[str, Any]], *, verbose: bool, form: str) -> None:
    """JSON is one document, or a list where a node has several remediations; rows are policies."""
    if form == "table":
        from patchwarden import telling

        for answer in answers:
            telling.show(answer, verbose=verbose)
        return
    whole = answers[0] if len(answers) == 1 else answers
    output.rows([row for answer in answers for row in policies_of(answer)], COLUMNS, form=form, whole=whole)


def policies_of(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list((answer["decision"] or answer).get("policies", []))


def sound(path: Path) -> Directory:
    """The directory as read; with its problems told and exit code 3 if there is an error."""
    from patchwarden.policy.compile import read_directory

    directory = read_directory(path)
    if directory.sound:
        return directory
    for problem in directory.problems:
        click.echo(problem.text(), err=True)
    sys.exit(FINDINGS)


def _loaded(directory: Directory) -> PolicySet:
    from chalicelib.core.policies import PolicySet
    from patchwarden.policy.compile import compiled

    return PolicySet.load(compiled(directory))


def _fixture(name: str, path: Path, now: datetime | None) -> dict[str, Any]:
    from patchwarden.explaining import Question, explain
    from patchwarden.policy.fixtures import situation
    from patchwarden.policy.problems import near_or_all

    directory = sound(path)
    fixture = directory.fixtures.get(name)
    if fixture is None:
        raise click.ClickException(f"there is no fixture {name} in {path}: {near_or_all(name, directory.fixtures)}")
    found = situation(fixture, {}, [])
    moment = now or found.finding.observed_at
    return explain(Question(found.finding, found.case, found.facts, _loaded(directory), moment))


def read_event(path: Path) -> object:
    """The JSON of a file; a sentence where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise click.ClickException(f"{path} is not JSON: {error}") from error


def _event(
    scope: Scope, path: Path, chosen: PolicySet | None, now: datetime | None, live: bool
) -> list[dict[str, Any]]:
    from patchwarden.explaining import explain_event

    ports = scope.ports() if scope.file or live else wiring.local(None)
    return [explain_event(ports, read_event(path), policies=chosen, now=now)]


def _node(scope: Scope, text: str, chosen: PolicySet | None, now: datetime | None, live: bool) -> list[dict[str, Any]]:
    from patchwarden.explaining import explain_node

    ports = scope.ports()
    answer = explain_node(ports, one_node(ports, text), policies=chosen, now=now)
    return [case for case in answer["remediations"] if case.get("finding")]


def _decision(
    scope: Scope, identity: str, chosen: PolicySet | None, now: datetime | None, live: bool
) -> list[dict[str, Any]]:
    from patchwarden.explaining import explain_past
    from patchwarden.policy.past import decision

    ports = scope.ports()
    try:
        past = decision(ports.ledger, identity)
    except LookupError as error:
        raise click.ClickException(str(error)) from error
    return [explain_past(past, chosen or ports.policies.active(), now)]


_ASK: dict[str, Callable[..., list[dict[str, Any]]]] = {"event": _event, "node": _node, "decision": _decision}
