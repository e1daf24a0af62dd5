"""What holds for every test: no real account can be reached, and a property test gives the same answer twice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.once import copied, demo, once, package

os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_SESSION_TOKEN="testing",
    AWS_DEFAULT_REGION="eu-west-1",
    AWS_REGION="eu-west-1",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)
os.environ.pop("AWS_PROFILE", None)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder that all processes of this run have in common."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(scope="session")
def the_demo(shared: Path) -> Path:
    """The folder of the one demo of this run; nobody writes there."""
    return once(shared / "the-demo", demo)


@pytest.fixture(scope="session")
def packages(shared: Path) -> Callable[[str], Path]:
    """The folder of a stage's package, of which there is one in this run; nobody writes there."""
    return lambda stage: once(shared / f"package-{stage}", lambda out: package(stage, out))


@pytest.fixture(scope="module")
def demo_ledger(the_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module's own copy of the ledger that a small demo leaves."""
    return copied(the_demo / "demo.sqlite", tmp_path_factory.mktemp("demo") / "demo.sqlite")
