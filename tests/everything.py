"""The whole suite: `python -m tests.everything`. The story on the emulator mostly waits, so it runs beside the rest."""

from __future__ import annotations

import shutil
import subprocess
import sys
from tempfile import TemporaryFile

_PYTEST = [sys.executable, "-m", "pytest", "-q", "-rs"]
_STORY = "tests/e2e"


def main() -> int:
    """What the rest came to is seen as it comes, the story's words when both are over; 0 if both passed."""
    with TemporaryFile() as said, subprocess.Popen(
        [*_PYTEST, _STORY], stdout=said, stderr=subprocess.STDOUT
    ) as story:  # fmt: skip
        try:
            rest = subprocess.run([*_PYTEST, "-n", "auto", "--dist", "worksteal", f"--ignore={_STORY}"], check=False)
            ended = story.wait()
        except KeyboardInterrupt:
            story.wait()  # the terminal has interrupted it too: it takes its servers with it
            return 130
        said.seek(0)
        sys.stdout.flush()
        shutil.copyfileobj(said, sys.stdout.buffer)
    return rest.returncode or ended


if __name__ == "__main__":
    sys.exit(main())
