"""One deployed hub for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.e2e.hub import Organisation, organisation


@pytest.fixture(scope="package")
def org(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Organisation]:
    if hasattr(request.config, "workerinput"):
        pytest.skip("one hub, one after the other: run `make e2e`, or pytest tests/e2e without -n")
    missing = [name for name in ("ministack", "samtranslator") if find_spec(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: no AWS to deploy to")
    with organisation(tmp_path_factory.mktemp("e2e")) as made:
        yield made
