"""Hold every template against checkov's rules: the packaged one of each stage, and those of members and reports.

Whatever is skipped says why in its template. checkov pins versions that this project cannot share, so it lives in an
environment of its own, build/checkov.
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
ALONE = (ROOT / "deploy" / "member.yaml", ROOT / "deploy" / "reporting.yaml")
"""Templates that are deployed as they lie here."""


def main() -> int:
    """0: nothing found. 1: found, or checkov cannot be had."""
    if not (PLACE / "bin" / "checkov").exists():
        print(f"Making {PLACE.relative_to(ROOT)} with {CHECKOV} (once, about two minutes)", file=sys.stderr)
        venv.create(PLACE, with_pip=True, clear=True)
        wrong = install(PLACE / "bin" / "python")
        if wrong:
            print(wrong, file=sys.stderr)
            return 1
    return max(scan(template) for template in (*packaged(), *ALONE))


def install(python: Path) -> str | None:
    """Fetch checkov into the environment of this interpreter; why that cannot be, in a sentence, or None."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", CHECKOV]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or done.stderr.splitlines()
    why = lines[-1].removeprefix("ERROR: ") if lines else f"pip ended with {done.returncode}"
    return f"Error: nothing was scanned, because {CHECKOV} could not be fetched: {why}; make scan needs a package index"


def packaged() -> list[Path]:
    """The template of each stage, packaged anew."""
    made = []
    for stage in json.loads((ROOT / ".chalice" / "config.json").read_text())["stages"]:
        out = ROOT / "build" / f"scan-{stage}"
        package = [sys.executable, str(ROOT / "deploy" / "package.py"), "--stage", stage, "--out", str(out)]
        subprocess.run(package, check=True, stdout=subprocess.DEVNULL)
        made.append(out / "sam.json")
    return made


def scan(template: Path) -> int:
    """Say what checkov finds in it; its exit code."""
    print(f"--- {template.relative_to(ROOT)}", flush=True)
    command = [str(PLACE / "bin" / "python"), str(PLACE / "bin" / "checkov"), "--file", str(template), "--framework",
               "cloudformation", "--compact", "--quiet", "--skip-download"]  # fmt: skip
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
