"""Fetches AWS's own SAM translator, with which the emulator turns the packaged template into what AWS would make of it.

It is fetched by its digest and beside the environment. Where it cannot be had, one line says so and the tests that need
it are skipped by name.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = (
    "aws-sam-translator==1.115.0 --hash=sha256:9be2d7b04041a64e89ed3fb1186f948377ecc118033a8a7538f271d4bcab0afa\n"
)
TRANSLATOR = Path(__file__).parent.parent / ".cache" / "sam-translator"
SECONDS = 180


def main() -> None:
    if (TRANSLATOR / "samtranslator").exists():
        return
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write(REQUIREMENT)
        listed.flush()
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--require-hashes", "--target", str(TRANSLATOR), "--requirement", listed.name]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            why = "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
        except subprocess.TimeoutExpired as error:
            why = str(error)
    if why:
        sys.stdout.write(f"AWS's SAM translator cannot be had, the end-to-end tests will be skipped: {why}\n")


if __name__ == "__main__":
    main()
