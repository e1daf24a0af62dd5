"""Gets what the tests of the pages look through: a Chromium, from Debian's or Ubuntu's apt, and axe-core, from npm.

axe-core (MPL-2.0) is what finds barriers on a page. It is fetched, not copied into the repository. Where one of the two
cannot be had, one line says so and the tests that need it are skipped by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.setup_ssm_schema import Unavailable, npm, run

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGE = "axe-core@4.11.0"
MEMBER = "package/axe.min.js"
SHA256 = "e9e5863c33a874f09bc01acd9234b7e3c871479f5eef8802fa582544465e6d01"
AXE = Path(__file__).parent.parent / ".cache" / "axe-core" / "axe.min.js"


def chromium() -> str | None:
    """The Chromium of this machine, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def main() -> None:
    for there, bring, lost in (
        (chromium() is not None, install, "Chromium cannot be had, the tests in a browser will be skipped"),
        (AXE.exists(), fetch, "axe-core cannot be had, the test for barriers will be skipped"),
    ):
        try:
            if not there:
                bring()
        except (Unavailable, OSError, subprocess.TimeoutExpired) as error:
            sys.stdout.write(f"{lost}: {error}\n")


def install() -> None:
    """Debian's package, where apt is there and we may install; Unavailable says why not."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise Unavailable("there is no apt-get")
    if os.geteuid() != 0:
        raise Unavailable("installing it takes root: apt-get install chromium")
    run([apt, "update", "-qq"], ".")
    run([apt, "install", "-y", "-qq", "--no-install-recommends", "chromium"], ".")
    if chromium() is None:
        raise Unavailable("apt-get brought no chromium")


def fetch() -> None:
    """The script as published; Unavailable if there is no npm, no network, or something else inside the package."""
    AXE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        run([npm(), "pack", "--loglevel=error", PACKAGE], folder)
        archive = next(iter(Path(folder).glob("*.tgz")), None)
        content = _unpacked(archive) if archive else b""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise Unavailable(f"{PACKAGE} does not hold the script we know")
    partial = AXE.with_suffix(".part")
    partial.write_bytes(content)
    partial.replace(AXE)


def _unpacked(archive: Path) -> bytes:
    try:
        with tarfile.open(archive) as opened:
            member = opened.extractfile(MEMBER)
            return member.read() if member else b""
    except (KeyError, tarfile.TarError) as error:
        raise Unavailable(f"{PACKAGE} holds no {MEMBER}") from error


if __name__ == "__main__":
    main()
