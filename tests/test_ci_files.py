"""What other repositories run of this one, the pre-commit hook and the GitHub Action, does what it says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
BROKEN = ("then:\n  action: remediate", "then:\n  action: remediat")


@dataclass
class Project:
    """Another repository that has our policies, and the runner it is checked on."""

    root: Path
    temp: Path

    @property
    def summary(self) -> str:
        return (self.temp / "summary.md").read_text()

    def run(self, command: list[str], **given: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
        runner = {"RUNNER_TEMP": str(self.temp), "GITHUB_STEP_SUMMARY": str(self.temp / "summary.md")}
        return subprocess.run(
            command, cwd=self.root, env={"PATH": path, **runner, **given}, capture_output=True, text=True, check=False
        )

    def change(self, name: str, old: str, new: str) -> None:
        file = self.root / "policies" / name
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copytree(ROOT / "policies", tmp_path / "repository" / "policies")
    (tmp_path / "runner").mkdir()
    return Project(tmp_path / "repository", tmp_path / "runner")


# --- the action -----------------------------------------------------------------------------------------------------


def steps() -> dict[str, dict[str, Any]]:
    return {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}


def act(project: Project, name: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run one step as the runner does: bash -e, with the inputs in its environment."""
    given = {key.upper(): each["default"] for key, each in ACTION["inputs"].items()}
    given |= {key.upper(): value for key, value in inputs.items()}
    asked = {key: given[key] for key in steps()[name].get("env", {})}
    return project.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", steps()[name]["run"]], **asked)


@pytest.mark.parametrize("name", ["Check", "Test"])
def test_sound_policies_pass_and_are_summed_up(project: Project, name: str) -> None:
    done = act(project, name)
    assert done.returncode == 0, done.stderr
    assert "passed" in project.summary


def test_a_broken_policy_fails_the_check_and_stands_in_summary_and_sarif(project: Project) -> None:
    project.change("dev-now.yaml", *BROKEN)
    assert act(project, "Check").returncode == 3
    assert re.search(r"(?m)^    policies/dev-now\.yaml:\d+:\d+: PW204 ", project.summary)
    report = yaml.safe_load((project.temp / "patchwarden.sarif").read_text())
    (result,) = report["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "policies/dev-now.yaml"


def test_a_warning_fails_a_strict_check_only(project: Project) -> None:
    project.change("association-ticket.yaml", "severity: 4", "severity: 4\nexpires: 2026-01-01T00:00:00Z")
    project.change("association-ticket.yaml", "action: ticket, policy: association-ticket", "action: observe")
    project.change("_set.yaml", "both_outcomes: true", "both_outcomes: false")
    assert act(project, "Check").returncode == 0, project.summary
    assert act(project, "Check", strict="true").returncode == 3
    assert "warning" in project.summary


def test_a_failed_test_fails_the_action(project: Project) -> None:
    project.change("dev-now.yaml", "in: [dev, staging]", "in: [staging]")
    assert act(project, "Check").returncode == 3
    assert act(project, "Test").returncode == 3
    assert (project.temp / "patchwarden-tests.xml").exists()


def git(project: Project, *arguments: str) -> str:
    author = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = project.run(["git", *author, *arguments], GIT_CONFIG_NOSYSTEM="1", HOME=str(project.temp))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_would_be_decided_otherwise_stands_in_the_summary(project: Project) -> None:
    git(project, "init", "--quiet")
    git(project, "add", "policies")
    git(project, "commit", "--quiet", "--message", "Before")
    base = git(project, "rev-parse", "HEAD")
    assert act(project, "Compare", base=base).returncode == 0, project.summary
    project.change("dev-now.yaml", "in: [dev, staging]", "in: [staging]")
    assert act(project, "Compare", base=base).returncode == 0
    assert "dev-now" in project.summary
    (project.root / "expected.txt").write_text("")
    assert act(project, "Compare", base=base, expected="expected.txt").returncode == 3


def test_no_input_is_pasted_into_a_script() -> None:
    assert [name for name, step in steps().items() if "${{" in step.get("run", "")] == []


def test_findings_are_uploaded_from_where_the_check_writes_them() -> None:
    upload = steps()["Show the findings in the code"]
    assert upload["with"]["sarif_file"] == "${{ runner.temp }}/patchwarden.sarif"
    assert '"$RUNNER_TEMP/patchwarden.sarif"' in steps()["Check"]["run"]


# --- the hook -------------------------------------------------------------------------------------------------------


def hooked(project: Project) -> subprocess.CompletedProcess[str]:
    return project.run([*shlex.split(HOOK["entry"]), *HOOK.get("args", [])])


def test_the_hook_fails_on_a_broken_policy_only(project: Project) -> None:
    assert hooked(project).returncode == 0
    project.change("dev-now.yaml", *BROKEN)
    done = hooked(project)
    assert done.returncode == 3
    assert "policies/dev-now.yaml" in done.stdout


def test_the_hook_runs_once_whenever_a_policy_changes() -> None:
    assert HOOK["pass_filenames"] is False
    for name in ("policies/_set.yaml", "policies/fixtures/a.yaml", "infra/policies/b.yml"):
        assert re.search(HOOK["files"], name)
    assert not re.search(HOOK["files"], "policies.yaml")


# --- the page -------------------------------------------------------------------------------------------------------


def shown(marker: str) -> Any:
    page = (ROOT / "docs" / "policy-ci.md").read_text()
    (block,) = (block for block in re.findall(r"(?s)```yaml\n(.*?)```", page) if marker in block)
    return yaml.safe_load(block)


def test_the_page_uses_the_action_as_it_is() -> None:
    *_, step = shown("runs-on")["jobs"]["policies"]["steps"]
    assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_page_uses_the_hook_as_it_is() -> None:
    ((hook,),) = (repo["hooks"] for repo in shown("repos:")["repos"])
    assert hook["id"] == HOOK["id"]
