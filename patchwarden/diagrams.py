"""Diagrams: pictures of the tables that the code obeys, written from those tables."""

from __future__ import annotations

from chalicelib.core.remediations import ACTIVE, TRANSITIONS, Cause, State

_HEAD = """# States of a remediation

Drawn from `TRANSITIONS` in `chalicelib/core/remediations.py` by `make docs`; do not edit by hand. While a state is
{active} the node's lease is held, so nothing else starts there. A `noted` line leaves the state as it was
and stands in no arrow; `resolved` and `gone` can be reached from everywhere and are drawn once.

```mermaid
stateDiagram-v2
    [*] --> open
"""


def states() -> str:
    """The state diagram as a Markdown page with a Mermaid block, and the table behind it."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for before, row in TRANSITIONS.items():
        for cause, after in row.items():
            if cause not in (Cause.NOTED, Cause.RESOLVED, Cause.GONE):
                arrows.setdefault((before, after), []).append(cause.value)
    drawn = [f"    {before} --> {after}: {', '.join(causes)}" for (before, after), causes in arrows.items()]
    ends = ["    verifying --> resolved: resolved", "    open --> gone: gone"]
    active = ", ".join(f"`{state}`" for state in State if state in ACTIVE)
    return "\n".join([_HEAD.format(active=active).rstrip("\n"), *drawn, *ends, "```", "", *_table(), ""])


def _table() -> list[str]:
    head = ["| from | " + " | ".join(Cause) + " |", "|---" * (len(Cause) + 1) + "|"]
    return head + [
        f"| **{state}** | " + " | ".join(TRANSITIONS[state].get(cause, "") for cause in Cause) + " |" for state in State
    ]
