"""The commands `policy test` and `policy record`: run the tests in policy files, and make fixtures for them."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from patchwarden import output
from patchwarden.policy.commands import DIRECTORY, policy
from patchwarden.scope import FINDINGS, Scope, form_option, one_node

if TYPE_CHECKING:
    from chalicelib.core.policies import PolicySet
    from patchwarden.policy.past import PastDecision
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


@policy.command("record")
@click.argument("what", metavar="NODE|DECISION")
@click.option("--as", "name", metavar="NAME", help="What the fixture is called; absent: the node and the line.")
@click.option("--anonymise", is_flag=True, help="Give ids and tags other names, but for what policies themselves name.")
@click.option("--policies", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
              default="policies", show_default=True, help="Where the fixture belongs.")  # fmt: skip
@click.pass_obj
def policy_record(scope: Scope, what: str, name: str | None, anonymise: bool, directory: Path) -> None:
    """Make a fixture of a real decision: the last one about NODE, or DECISION (<remediation>#<line number>).

    Prints a test that starts from it, to be put into a policy. Other names are the same on every run on this machine;
    their key is kept in .patchwarden, and without it nobody finds the old ones by trying.
    """
    from chalicelib.core.policies import PolicySet
    from patchwarden.policy import recording
    from patchwarden.policy.compile import compiled
    from patchwarden.policy.explain_commands import sound
    from patchwarden.policy.fields import is_id

    if name is not None and not is_id(name):
        raise click.ClickException(f"{name!r} cannot be the name of a fixture: write small letters, digits and -")
    policies = PolicySet.load(compiled(sound(directory)))
    past = _past(scope, what)
    if past.finding.compliant:
        raise click.ClickException(f"{past.id} was told that the node is compliant: no policy is asked about that")
    made = recording.fixture_of(past)
    if anonymise:
        made = recording.Pseudonyms(_key(), policies).fixture(made)
    name = name or f"{made['finding']['node']}-{past.line.number}"
    _write(directory / "fixtures" / f"{name}.yaml", recording.to_yaml(made))
    _tell_test(name, directory, past, policies)


def _past(scope: Scope, what: str) -> PastDecision:
    from patchwarden.policy.past import decision, is_decision_id, newest

    ports = scope.ports()
    if is_decision_id(what):
        try:
            return decision(ports.ledger, what)
        except LookupError as error:
            raise click.ClickException(str(error)) from error
    node = one_node(ports, what)
    found = newest(ports.ledger, node, by_policy=True)
    if found is None:
        raise click.ClickException(f"the trail of {node} holds no decision with facts")
    return found


def _write(file: Path, text: str) -> None:
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise click.ClickException(f"{file} is there already and says something else: give another name --as NAME")
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    output.note(f"wrote {file}")


def _tell_test(name: str, directory: Path, past: PastDecision, policies: PolicySet) -> None:
    """The test that a policy may take, with what is decided from the fixture as it was written."""
    from chalicelib.core.decisions import decide
    from chalicelib.core.moments import format_moment
    from chalicelib.core.then import Action
    from patchwarden.policy.fields import NOBODY
    from patchwarden.policy.fixtures import read_fixtures, situation
    from patchwarden.policy.recording import to_yaml
    from patchwarden.policy.testing import action_of

    fixture = read_fixtures(directory / "fixtures")[0][name]
    if fixture is None:
        raise click.ClickException(f"what was recorded cannot be used: `patchwarden policy check {directory}` says why")
    found = situation(fixture, {}, [])
    decision = decide(found.finding, found.case, found.facts, policies, past.line.at)
    action, made = action_of(decision), decision.sets.get("decision", {})
    then = past.line.sets.get("decision", {})
    if "policy" in then and (made.get("policy"), made.get("action")) != (then["policy"], then["action"]):
        was = f"{then['policy'] or 'no policy'}: {then['action']}"
        output.note(f"what was decided then was another answer ({was}): policies or names have changed")
    if action not in list(Action):
        output.note(f"{action}: {decision.because}: no policy decides, so there is no test to print")
        return
    test = {
        "name": f"as on {past.line.at:%Y-%m-%d}: {decision.because}"[:100],
        "event": name,
        "now": format_moment(past.line.at),
        "expect": {"action": action, "policy": made["policy"] or NOBODY},
    }
    click.echo(to_yaml([test]), nl=False)


def _key() -> bytes:
    """The secret that other names are made with, drawn once on this machine."""
    file = Path(".patchwarden/anonymise.key")
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()
