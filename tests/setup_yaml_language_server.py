"""Fetches the language server behind YAML editors, with which a test opens a policy as an author does.

It is the npm package `yaml-language-server` (MIT), which VS Code's YAML extension and many others run. It is fetched,
not copied into the repository. Where it cannot be had, one line says so and the test that needs it is skipped by name.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.setup_ssm_schema import Unavailable, npm, run

PACKAGE = "yaml-language-server@1.25.0"
HOME = Path(__file__).parent.parent / ".cache" / "yaml-language-server"
SERVER = HOME / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
_OPTIONS = ("--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def main() -> None:
    if SERVER.exists():
        return
    try:
        HOME.parent.mkdir(parents=True, exist_ok=True)
        fetch()
    except (Unavailable, OSError, subprocess.TimeoutExpired) as error:
        sys.stdout.write(f"The YAML language server cannot be had, its test will be skipped: {error}\n")


def fetch() -> None:
    """The server and what it needs, all of it or nothing; Unavailable if npm cannot bring it."""
    with tempfile.TemporaryDirectory(dir=HOME.parent) as folder:
        run([npm(), "install", *_OPTIONS, "--prefix", folder, PACKAGE], folder)
        Path(folder, "node_modules").rename(_made(HOME) / "node_modules")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    main()
