"""An author's editor underlines what is wrong in a policy and offers what may stand there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.core.conditions import OPERATORS
from chalicelib.core.then import Action
from chalicelib.core.vocabulary import ANY_TAG, FIELDS
from tests.policy.editor import Editor
from tests.setup_ssm_schema import Unavailable, npm
from tests.setup_yaml_language_server import SERVER

POLICIES = Path(__file__).parents[2] / "policies"
POLICY = """\
# yaml-language-server: $schema=../docs/policy.schema.json
id: tested
title: A policy under test
owner: secops@example.com
when:
  all:
    - path: $.node.tags.Environment
      equals: prod
then:
  action: ticket
"""


def node() -> str | None:
    """The node that runs npm; None where there is none, or no server to run on it."""
    try:
        beside = Path(npm()).with_name("node") if SERVER.exists() else None
    except Unavailable:
        return None
    return shutil.which(str(beside)) if beside else None


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    found = node()
    if found is None:
        pytest.skip("the YAML language server is not here: python -m tests.setup_yaml_language_server")
    with Editor(found, SERVER, POLICIES) as running:
        yield running


def changed(old: str, new: str) -> str:
    assert old in POLICY
    return POLICY.replace(old, new)


@pytest.mark.parametrize("file", sorted(POLICIES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_nothing_is_underlined_in_what_ships(editor: Editor, file: Path) -> None:
    assert editor.diagnostics(str(file.relative_to(POLICIES)), file.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("owner:", "ower:", 4, "ower is not allowed"),
        ("action: ticket", "action: tickt", 10, "Value is not accepted"),
        ("action: ticket", "action: exempt", 9, 'Missing property "approved"'),
        ("equals: prod", "equls: prod", 8, "equls is not allowed"),
        ("equals: prod", "equals: prod\n      exists: true", 7, "Matches multiple schemas"),
        ("$.node.tags.Environment", "$.node.platfrom", 7, "No fact is called this"),
        (
            "path: $.node.tags.Environment\n      equals: prod",
            "path: $.node.kind\n      equals: virtual",
            8,
            '"hybrid"',
        ),
    ],
)
def test_what_is_wrong_is_underlined_at_its_line(editor: Editor, old: str, new: str, line: int, said: str) -> None:
    found = editor.diagnostics("wrong.yaml", changed(old, new))
    assert any(each[0] == line and said in each[1] for each in found), found


def test_a_slip_in_the_set_file_is_underlined(editor: Editor) -> None:
    text = (POLICIES / "_set.yaml").read_text().replace("linger:", "lingr:")
    assert any("lingr is not allowed" in said for _, said in editor.diagnostics("_set.yaml", text))


def test_paths_are_offered_with_what_they_mean(editor: Editor) -> None:
    offered = editor.completions("path.yaml", changed("path: $.node.tags.Environment", "path: |"))
    assert {field.path for field in FIELDS.values() if ANY_TAG not in field.steps} <= set(offered)
    assert offered["$.node.kind"].startswith(FIELDS["node", "kind"].meaning)


def test_operators_are_offered_with_what_they_mean(editor: Editor) -> None:
    offered = editor.completions("operator.yaml", changed("equals: prod", "|"))
    assert set(OPERATORS) <= set(offered)
    assert all(offered[name] for name in OPERATORS)


def test_actions_are_offered(editor: Editor) -> None:
    assert set(editor.completions("action.yaml", changed("action: ticket", "action: |"))) == set(Action)


def test_the_few_values_of_a_fact_are_offered(editor: Editor) -> None:
    condition = "path: $.node.tags.Environment\n      equals: prod"
    offered = editor.completions("value.yaml", changed(condition, "path: $.node.kind\n      equals: |"))
    assert {"ec2", "hybrid"} <= set(offered)
