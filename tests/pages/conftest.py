"""The demo once for all tests of the pages, whoever runs them beside each other, and one browser for each worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from chalicelib.pages.site import Desk
from tests.pages import demo
from tests.setup_browser import chromium


@pytest.fixture(scope="session")
def built(shared: Path) -> Path:
    return demo.built(shared / "demo-of-the-pages")


@pytest.fixture
def desk(built: Path, tmp_path: Path) -> Desk:
    """A site of one's own, in which a test may do what it likes."""
    return demo.desk(built, tmp_path / "copy")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with the module: while it is open its event loop is the thread's own."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium here: python -m tests.setup_browser installs it")
    with sync_playwright() as run:
        found = run.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()
