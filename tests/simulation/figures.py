"""Write what a full run came to into docs/promises.md: `python -m tests.simulation.figures build/soak.json`."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"
_PARAGRAPH = re.compile(r"Last full run: .*?\n\n", re.DOTALL)
_TOLD = ("doubled", "lost", "stuck", "unproved", "leaked")


def paragraph(figures: dict[str, Any], day: str) -> str:
    """The run in words, lines of at most 120 characters."""
    seeds, broken = figures["seeds"], figures["broken"]
    words = (
        f"Last full run: {day}, `patchwarden simulate --seeds 0..{seeds} --nodes {figures['nodes']}`, profile "
        f"`{figures['profile']}`: {seeds:,} seeds, {figures['calls']:,} outside calls, "
        f"{sum(figures['faults'].values()):,} faults, {figures['executions']:,} executions, {figures['lines']:,} lines "
        f"of trail, {figures['virtual_hours']:,} hours of virtual time, {figures['seeds_per_second']} seeds a second "
        f"on {figures['workers']} processors; "
        + ", ".join(f"{broken[kind]} {kind}" for kind in _TOLD)
        + f", {broken['chain']} broken trails, {broken['shown']} reports that showed what is not so; seeds that broke "
        f"any promise: {len(figures['failures'])}. Any seed can be run again: `patchwarden simulate --replay 17`."
    ).split(" ")
    lines = [""]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > 120:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines) + "\n\n"


def main(report: Path) -> None:
    figures = json.loads(report.read_text(encoding="utf-8"))
    told = paragraph(figures, f"{datetime.fromtimestamp(report.stat().st_mtime, UTC):%Y-%m-%d}")
    page, count = _PARAGRAPH.subn(lambda _: told, PAGE.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{PAGE} has no paragraph that begins with 'Last full run'")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
