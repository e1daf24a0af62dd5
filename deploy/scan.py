"""Hold the packaged template of every stage against checkov's rules; whatever is skipped says why in the template.

checkov pins versions that this project cannot share, so it lives in an environment of its own, build/checkov.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKOV = "checkov==3.3.30"
PLACE = ROOT / "build" / "checkov"


def main() -> int:
    """0: nothing found. 1: found, or checkov cannot be had."""
    stages = json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]
    if not (PLACE / "bin" / "checkov").exists():
        print(f"Making {PLACE.relative_to(ROOT)} with {CHECKOV} (once, about a minute)", file=sys.stderr)
        venv.create(PLACE, with_pip=True, clear=True)
        install = [str(PLACE / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*install, CHECKOV], check=False).returncode:
            return 1
    worst = 0
    for stage in stages:
        out = ROOT / "build" / f"scan-{stage}"
        package = [sys.executable, str(ROOT / "deploy" / "package.py"), "--stage", stage, "--out", str(out)]
        subprocess.run(package, check=True, stdout=subprocess.DEVNULL)
        command = [str(PLACE / "bin" / "python"), str(PLACE / "bin" / "checkov"), "--file", str(out / "sam.json"),
                   "--framework", "cloudformation", "--compact", "--skip-download"]  # fmt: skip
        worst = max(worst, subprocess.run(command, check=False).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
