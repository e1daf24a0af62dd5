"""The pictures of docs/pages.md, from the demo in the middle of Saturday's window; `make screenshots` takes them."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from chalicelib.core.approvals import asks
from chalicelib.pages.site import Desk
from tests.pages import demo
from tests.setup_browser import chromium

OUT = demo.ROOT / "docs" / "screenshots"
TALLEST = 1000
COLOURS = 96


def shots(desk: Desk) -> dict[str, tuple[str, int, str]]:
    """Path, width and colour scheme by the picture's name."""
    heads = sorted(desk.ports.ledger.all_heads(), key=lambda case: case.id)
    proved = next(case for case in heads if case.state == "resolved" and case.execution)
    asked = next(case for case in heads if asks(case.decision))
    return {
        "overview": ("overview?since=6d", 1200, "light"), "overview-dark": ("overview?since=6d", 1200, "dark"),
        "funnel": ("funnel", 1200, "light"), "waiting": ("waiting", 1200, "light"), "speed": ("speed", 1200, "light"),
        "policies": ("policies", 1200, "light"), "executions": ("executions", 1200, "light"),
        "exemptions": ("exemptions", 1200, "light"), "audit": ("audit/fleet?at=2026-11-25", 1200, "light"),
        "node": (f"node/{proved.node}?verify=1", 1200, "light"), "phone": (f"node/{asked.node}", 390, "dark"),
    }  # fmt: skip


def main() -> None:
    path = chromium()
    if path is None:
        sys.exit("there is no Chromium here: python -m tests.setup_browser installs it")
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as run:
        desk = demo.desk(demo.built(Path(folder, "demo"), demo.WINDOW), Path(folder, "copy"))
        browser = run.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with demo.served(desk) as at:
            for name, (where, width, scheme) in shots(desk).items():
                page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(at + where)
                if name == "waiting":
                    page.locator("summary").first.click()
                whole = Image.open(io.BytesIO(page.screenshot(full_page=True)))
                picture = whole.crop((0, 0, whole.width, min(whole.height, TALLEST)))
                picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(
                    OUT / f"{name}.png", optimize=True
                )
                page.close()


if __name__ == "__main__":
    main()
