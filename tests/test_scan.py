"""`make scan`: without a package index it says so in one sentence, and every template that is deployed is held up."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import scan

OFFLINE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by NewConnectionError: Connection refused
ERROR: Could not find a version that satisfies the requirement checkov (from versions: none)
ERROR: No matching distribution found for checkov
"""


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter whose pip finds nobody."""
    made = tmp_path / "python"
    made.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{OFFLINE}END\nexit 1\n")
    made.chmod(0o755)
    return made


def test_offline_it_says_so_in_one_sentence(python: Path) -> None:
    said = scan.install(python)
    assert said is not None and len(said.splitlines()) == 1
    assert said == (
        f"Error: nothing was scanned, because {scan.CHECKOV} could not be fetched: No matching distribution found for "
        "checkov; make scan needs a package index"
    )


def test_every_template_that_is_deployed_is_scanned() -> None:
    assert {path.name for path in scan.ALONE} == {"member.yaml", "reporting.yaml"}
    merged = {"resources.yaml"}  # part of what is packaged, which is scanned stage by stage
    assert {path.name for path in (scan.ROOT / "deploy").glob("*.yaml")} - merged == {path.name for path in scan.ALONE}
