"""A sound baseline file becomes a request that botocore's model of CreatePatchBaseline takes."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from botocore.validate import ParamValidator

from chalicelib.core.baselines import Baseline
from patchwarden.baselining import Wanted, wanted
from patchwarden.policy.baseline_files import KEYS, VALUES, System
from patchwarden.policy.compile import load_directory
from patchwarden.simulator.protocols import service_model
from patchwarden.simulator.shapes import violations

ROOT = Path(__file__).parents[2]
MODEL = service_model("ssm").operation_model("CreatePatchBaseline").input_shape
SET = 'scope: {accounts: ["111122223333", "444455556666"], regions: [eu-west-1]}\n'
HEAD = "id: tested\ntitle: Tested\nowner: secops@example.com\n"


def made(directory: Path, text: str) -> Baseline:
    (directory / "baselines").mkdir(exist_ok=True)
    (directory / "_set.yaml").write_text(SET)
    (directory / "baselines" / "tested.yaml").write_text(HEAD + text)
    asked = wanted(directory)
    assert isinstance(asked, Wanted), asked
    (one,) = asked.baselines
    return one


def told(baseline: Baseline) -> list[str]:
    """What AWS's own model would say against the request."""
    request = {"OperatingSystem": baseline.os, **baseline.content}
    report = ParamValidator().validate(request, MODEL)
    return [*violations(request, MODEL), *([report.generate_report()] if report.has_errors() else [])]


def test_the_systems_are_those_of_aws() -> None:
    assert set(typing.get_args(System)) == set(MODEL.members["OperatingSystem"].enum)
    assert set(KEYS) | set(VALUES) <= set(typing.get_args(System))


@pytest.mark.parametrize("os", typing.get_args(System))
def test_a_rule_with_every_filter_of_its_system_is_a_request(os: str, tmp_path: Path) -> None:
    keys = sorted(KEYS.get(os, {"product", "classification", "severity"}))
    text = ", ".join(f"{key}: ['*']" for key in keys)
    one = made(tmp_path, f"os: {os}\nrules: [{{{text}, approve_after_days: 0, compliance_level: high}}]\n")
    assert told(one) == []
    filters = one.content["ApprovalRules"]["PatchRules"][0]["PatchFilterGroup"]["PatchFilters"]
    said = {"severity": "MSRC_SEVERITY"} if os == "WINDOWS" else {}
    assert sorted(each["Key"] for each in filters) == sorted(said.get(key, key.upper()) for key in keys)


def test_everything_that_a_file_can_say_arrives(tmp_path: Path) -> None:
    one = made(tmp_path, """\
os: REDHAT_ENTERPRISE_LINUX
rules: [{classification: [Security], approve_until: 2026-11-10, compliance_level: critical, non_security: true}]
approved: {patches: [kernel*], compliance_level: high, non_security: true}
rejected: {patches: [telnet*], action: block}
sources: [{name: ours, products: [RedhatEnterpriseLinux9.6], configuration: "[ours]"}]
patch_groups: [prod]
default: true
where: {accounts: ["444455556666"]}
""")  # fmt: skip
    assert told(one) == []
    rule = one.content["ApprovalRules"]["PatchRules"][0]
    assert (rule["ApproveUntilDate"], rule["EnableNonSecurity"]) == (
        "2026-11-10",
        True,
    ) and "ApproveAfterDays" not in rule
    assert one.content["ApprovedPatches"] == ["kernel*"] and one.content["ApprovedPatchesComplianceLevel"] == "HIGH"
    assert one.content["ApprovedPatchesEnableNonSecurity"] is True
    assert (one.content["RejectedPatches"], one.content["RejectedPatchesAction"]) == (["telnet*"], "BLOCK")
    assert one.content["Sources"][0]["Name"] == "ours"
    assert (one.groups, one.default, [str(each) for each in one.locations]) == (
        ("prod",), True, ["444455556666/eu-west-1"],
    )  # fmt: skip


def test_microsoft_applications_are_a_patch_set_of_their_own(tmp_path: Path) -> None:
    one = made(
        tmp_path, "os: WINDOWS\nrules: [{applications: true, product_family: [Office], approve_after_days: 3}]\n"
    )
    filters = one.content["ApprovalRules"]["PatchRules"][0]["PatchFilterGroup"]["PatchFilters"]
    assert {"Key": "PATCH_SET", "Values": ["APPLICATION"]} in filters and told(one) == []


def test_more_rules_than_aws_takes_are_told(tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    (tmp_path / "_set.yaml").write_text(SET)
    rules = ", ".join(["{approve_after_days: 0}"] * 11)
    (tmp_path / "baselines" / "tested.yaml").write_text(f"{HEAD}os: WINDOWS\nrules: [{rules}]\n")
    assert [problem.code for problem in load_directory(tmp_path).errors] == ["PW203"]


@pytest.mark.parametrize(
    ("first", "second", "codes"),
    [
        ("patch_groups: [prod]\n", "patch_groups: [prod]\n", ["PW905"]),
        ("default: true\n", "default: true\n", ["PW905"]),
        ("patch_groups: [prod]\nwhere: {accounts: ['111122223333']}\n",
         "patch_groups: [prod]\nwhere: {accounts: ['444455556666']}\n", []),
        ("patch_groups: [prod]\n", "patch_groups: [dev]\n", []),
    ],
)  # fmt: skip
def test_two_baselines_may_not_claim_the_same(first: str, second: str, codes: list[str], tmp_path: Path) -> None:
    (tmp_path / "baselines").mkdir()
    (tmp_path / "_set.yaml").write_text(SET)
    for name, text in (("a", first), ("b", second)):
        rest = HEAD.replace("tested", name) + f"os: WINDOWS\nrules: [{{approve_after_days: 0}}]\n{text}"
        (tmp_path / "baselines" / f"{name}.yaml").write_text(rest)
    assert [problem.code for problem in load_directory(tmp_path).errors] == codes


def test_our_own_examples_load() -> None:
    asked = wanted(ROOT / "policies")
    assert isinstance(asked, Wanted) and [told(one) for one in asked.baselines] == [[], [], []]


def test_the_page_shows_a_file_that_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "baselines.md").read_text(), re.S)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "_set.yaml").write_text(SET)
    (tmp_path / "baselines" / "windows.yaml").write_text(block)
    asked = wanted(tmp_path)
    assert isinstance(asked, Wanted) and [told(one) for one in asked.baselines] == [[]]
