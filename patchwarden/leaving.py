"""Leaving: what the demo leaves for its reader to operate: two more policies, new patches, and what to try on them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from chalicelib import lookup, wiring
from chalicelib.core.approvals import asks
from chalicelib.core.compiled import digest_of
from chalicelib.core.remediations import State
from chalicelib.ports import Ports, Shelf
from patchwarden.simulator.story import Story

AFTER = timedelta(hours=2)
"""How long the service works on it."""

_FEW = 30
"""So few nodes all get them: a half might hold nobody to ask about."""
_EARLY = (2026, 12)
"""The release that half of the fleet gets ahead of its month."""

_POLICIES = {
    "payments-ask": """\
id: payments-ask
title: Payments are asked first
owner: payments@example.com
band: standard
when:
  all:
    - {path: $.node.tags.App, equals: payments}
    - {path: $.finding.control, equals: patch}
  none:
    - {path: $.node.tags.Cluster, exists: true}
then:
  action: approve
  approval: {minimum: 1, within: 14d}
""",
    "web-in-waves": """\
id: web-in-waves
title: Web machines follow one that was patched the day before
owner: web@example.com
band: standard
priority: 50
rollout:
  waves:
    - {nodes: 1, soak: 24h}
    - {percent: 100}
when:
  all:
    - {path: $.node.tags.App, equals: web}
    - {path: $.finding.control, equals: patch}
then:
  action: remediate
""",
}
_SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
tests: {at_least: 0, both_outcomes: false}
"""


def leave(story: Story, packed: Path, shelf: Shelf) -> None:
    """Put a set with two more policies in force, and release patches that half of the fleet lacks."""
    from patchwarden.policy.publish import publish

    ports = story.ports
    publish(ports.ledger, shelf, _document(packed), ports.ledger.active_policies(), by="secops@example.com",
            because="Payments are asked first, web machines go in waves", now=ports.clock.now())  # fmt: skip
    share = 0.5 if len(story.sim.fleet.machines) > _FEW else 1.0
    story.sim.life.turn_noncompliant(within=timedelta(minutes=10), share=share, month=_EARLY)


def _document(packed: Path) -> dict[str, Any]:
    """The packed set with the policies above, compiled as the workbench compiles any file."""
    from patchwarden.policy.compile import load_directory

    with TemporaryDirectory() as folder:
        for name, text in {"_set": _SET, **_POLICIES}.items():
            Path(folder, f"{name}.yaml").write_text(text, encoding="utf-8")
        loaded = load_directory(Path(folder))
    assert loaded.document is not None, "the demo's own policies are sound"
    document: dict[str, Any] = json.loads(packed.read_text(encoding="utf-8"))
    document["policies"] = sorted([*document["policies"], *loaded.document["policies"]], key=lambda one: one["id"])
    return {**document, "digest": digest_of(document)}


def left(ports: Ports) -> list[str]:
    """What is there to operate, each in a few words; nothing that is not there is named."""
    states = lookup.status(ports.ledger, ports.clock.now())["states"]
    asked = sum(asks(case.decision) for case in ports.ledger.work([State.TICKETED]))
    counts = (
        (asked, "for a yes"),
        (states.get(State.QUEUED, 0), "for a wave of a rollout"),
        (states.get(State.WAITING, 0), "for a window"),
        (states.get(State.TICKETED, 0) - asked, "for a person with a ticket"),
    )
    return [f"{count} {what}" for count, what in counts if count]


def to_try(ports: Ports, command: str) -> Iterator[tuple[str, str]]:
    """Commands that work when they are copied, each with what it shows."""
    yield f"{command} status", "all of it in one look"
    asked = lookup.approvals(ports)["approvals"]
    if asked:
        node = asked[0]["node"]
        yield f"{command} approvals", "what waits for somebody's yes"
        yield f'{command} approve {node} --because "tried on a copy"', "say it, and `explain` tells what follows"
    waits = next((case for case in ports.ledger.work([State.WAITING]) if case.cools_until is None), None)
    if waits is not None:
        yield f"{command} explain {waits.node}", "why it waits, until when, and who said so"
    rollouts = [one["rollout"] for one in lookup.rollouts(ports.ledger) if one["stands"] != "finished"]
    if rollouts:
        yield (
            f'{command} rollout stop {rollouts[0]} --reason "a look first"',
            "hold its next wave, until resume",
        )
    yield f"{command} audit whynot --state {State.TICKETED.value}", "whose turn it is, and why"
    yield f"{command} web", "the same as pages, until Ctrl-C"


def shelf_of(file: Path) -> Shelf:
    """Where the sets that are published to a ledger file lie."""
    found = wiring.shelf(wiring.Settings(sqlite=str(file)))
    assert found is not None, "a ledger file has a shelf beside it"
    return found
