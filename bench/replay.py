"""How many past decisions are put to a policy set in a second, on one core; budget: 8,000 for each version.

The trail is that of many nodes under the shipped policies, each asked with the fixtures of those policies.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from chalicelib.core.decisions import decide
from chalicelib.core.moments import format_moment
from chalicelib.core.remediations import Transition, advance
from patchwarden.policy.replay import as_decided, asked, compare, under
from patchwarden.policy.sets import Named, from_directory, tested

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 8_000
DECISIONS = 20_000
ROUNDS = 3


def main() -> None:
    """Print the figures; exit 1 beyond the budget."""
    shipped = from_directory("policies", ROOT / "policies")
    text = [json.dumps(line.to_json()) for line in trail(shipped)]
    read = best(text, lambda: sum(1 for _ in asked(parsed(text))))
    was, will = as_decided(shipped.policies.settings.linger), under("candidate", shipped.policies)
    decisions = list(asked(parsed(text)))
    one = best(text, lambda: compare(decisions, was, will))
    two = best(text, lambda: compare(decisions, under("active", shipped.policies), will))
    whole = best(text, lambda: compare(asked(parsed(text)), was, will))
    print(f"{len(text):,} decisions, {len(shipped.policies.policies)} policies")
    print(f"read from JSON lines          {read:10,.0f} a second")
    print(f"one version (replay)          {one:10,.0f} a second (budget {BUDGET:,})")
    print(f"two versions (diff)           {two:10,.0f} a second, {2 * two:,.0f} for each version (budget {BUDGET:,})")
    print(f"replay with reading           {whole:10,.0f} a second")
    sys.exit(0 if min(one, 2 * two) >= BUDGET else 1)


def trail(shipped: Named) -> Iterator[Transition]:
    """What the shipped policies decided about one node after another."""
    assert shipped.directory is not None
    situations = list(tested(shipped.directory))
    for number in range(DECISIONS):
        each = situations[number % len(situations)]
        node = replace(each.finding.node, id=f"i-{number:017x}")
        case, now = replace(each.case, node=node), each.at + timedelta(seconds=number)
        finding = replace(each.finding, node=node)
        made = decide(finding, case, each.facts, shipped.policies, now)
        said = {"key": finding.key, "source": finding.source.value, "control": finding.control.value,
                "compliant": False, "observed_at": format_moment(finding.observed_at), "rule": None}  # fmt: skip
        yield advance(case, made.cause, because=made.because, now=now, sets=made.sets,
                      evidence={"finding": said, "facts": each.facts})  # fmt: skip


def parsed(text: list[str]) -> Iterator[Transition]:
    return (Transition.from_json(json.loads(line)) for line in text)


def best(text: list[str], work: Callable[[], object]) -> float:
    """Decisions a second of CPU in the best of some rounds."""
    spent = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return len(text) / min(spent)


if __name__ == "__main__":
    main()
