"""One deployed hub for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.e2e.hub import Organisation, organisation
from tests.setup_sam_translator import TRANSLATOR


@pytest.fixture(scope="package")
def org(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Organisation]:
    if hasattr(request.config, "workerinput"):
        pytest.skip("one hub, one after the other: run `make e2e`, or pytest tests/e2e without -n")
    if find_spec("ministack") is None:
        pytest.skip("ministack is not installed: no AWS to deploy to")
    if not TRANSLATOR.exists():
        pytest.skip("no SAM translator: run python tests/setup_sam_translator.py, which `make test` does")
    with organisation(tmp_path_factory.mktemp("e2e"), TRANSLATOR) as made:
        yield made
