"""docs/deploy.md: each command is one that the AWS CLI or ours takes, and the template takes each parameter."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from botocore import xform_name

from patchwarden.cli import cli
from patchwarden.simulator.protocols import service_model

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
EVERYWHERE = {"--region", "--query", "--output"}
CLIS_OWN = {"put-configuration-recorder": {"--recording-group"}}
"""Options that the CLI makes of a part of a structure."""
SERVICES = {"configservice": "config"}


def commands() -> Iterator[list[str]]:
    """Every command of the page's shell blocks, also those inside $(…), as words."""
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        text = block.replace("\\\n", " ")
        inner = re.findall(r"\$\(((?:aws|patchwarden) [^)]*(?:\[[^\]]*\][^)]*)?)\)", text)
        for line in [*text.splitlines(), *inner]:
            words = shlex.split(line, comments=True)
            if words[:1] in (["aws"], ["patchwarden"]):
                yield words


FOUND = list(commands())


def test_the_page_has_commands() -> None:
    assert len(FOUND) > 25
    assert {words[1] for words in FOUND if words[0] == "aws"} >= {"cloudformation", "organizations", "ssm", "iam"}


@pytest.mark.parametrize("words", [one for one in FOUND if one[0] == "aws" and one[1] != "s3"], ids=" ".join)
def test_aws_knows_the_command_and_its_options(words: list[str]) -> None:
    model = service_model(SERVICES.get(words[1], words[1]))
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert words[2] in names, words
    operation = model.operation_model(names[words[2]])
    members = operation.input_shape.members if operation.input_shape else {}
    taken = {"--" + xform_name(name, "-") for name in members} | CLIS_OWN.get(words[2], set())
    for option in (word.partition("=")[0] for word in words[3:] if word.startswith("--")):
        assert option in taken | EVERYWHERE or option.replace("--no-", "--") in taken, f"{words[2]} has no {option}"
    required = {"--" + xform_name(name, "-") for name in (operation.input_shape.required_members if members else [])}
    given = {word.replace("--no-", "--") for word in words if word.startswith("--")}
    generated = {"--client-token", "--operation-id"}
    assert required - given <= generated, words


@pytest.mark.parametrize("words", [one for one in FOUND if one[0] == "patchwarden"], ids=" ".join)
def test_patchwarden_knows_the_command_and_its_options(words: list[str]) -> None:
    command: click.Command = cli
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.commands.get(rest[0])
        assert found is not None, words
        command, rest = found, rest[1:]
    taken = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert [word for word in rest if word.startswith("--") and word not in taken] == []
    needed = [one.opts for one in command.params if isinstance(one, click.Option) and one.required]
    assert [opts for opts in needed if not set(opts) & set(rest)] == []


def test_every_parameter_that_the_page_names_is_one_of_the_template() -> None:
    text = (ROOT / "deploy" / "member.yaml").read_text(encoding="utf-8")
    there = set(yaml.safe_load(text[text.index("Parameters:\n") : text.index("\nRules:")])["Parameters"])
    said = set(re.findall(r"ParameterKey=(\w+)", PAGE))
    told = {
        name for row in re.findall(r"^\| (`[A-Z].*?) \|", PAGE, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    }
    assert said | told <= there
    assert len(said) >= 5 and len(told) >= 10


def test_every_name_is_set_before_it_is_used_and_nothing_starts_unseen() -> None:
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    known: set[str] = set()
    for line in text.splitlines():
        assert set(re.findall(r"\$\{?([A-Z_]{3,})", line)) <= known, line
        known |= set(re.findall(r"\b([A-Z_]{3,})=", line)) if line.startswith("export ") else set()
    steps = ("export AWS_REGION=", "make deploy", "patchwarden pause", "create-stack-set",
             "OperatorRole,ParameterValue", "patchwarden doctor", "policy publish", "patchwarden resume")  # fmt: skip
    at = {what: text.index(what) for what in steps}
    assert at["export AWS_REGION="] < at["make deploy"], "boto3 would take the profile's Region"
    assert at["make deploy"] < at["patchwarden pause"] < at["create-stack-set"], "the packed set decides at once"
    assert at["OperatorRole,ParameterValue"] < at["patchwarden doctor"], "who runs it must be trusted by the members"
    assert at["policy publish"] < at["patchwarden resume"]


def test_every_check_of_the_doctor_is_told() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "patchwarden" / "doctor").glob("*.py")]
    named = {name for text in sources for name in re.findall(r'says\(\s*"([\w-]+)"', text)}
    assert len(named) > 14
    assert [name for name in sorted(named) if f"`{name}`" not in PAGE] == []


def test_who_follows_the_page_has_a_region_and_a_role_before_a_command_needs_them() -> None:
    """`make deploy` takes AWS_REGION, and the doctor takes on the member role as the OperatorRole of the StackSet."""
    assert 0 < PAGE.index("export AWS_REGION=") < PAGE.index("make deploy")
    made = next(words for words in FOUND if words[2:3] == ["create-stack-set"])
    assert "ParameterKey=OperatorRole,ParameterValue=$OPERATOR_ROLE" in made
    updated = [words for words in FOUND if words[2:3] == ["update-stack-set"]]
    given = {word.partition(",")[0] for word in made if word.startswith("ParameterKey=")}
    assert updated and all(given <= {word.partition(",")[0] for word in words} for words in updated)
