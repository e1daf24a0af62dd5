"""Upgrade: the ledger as an older release would have left it in the middle of its work, for this one to take over.

The older release is the one whose ledger lies in `tests/upgrade`: its heads had no moment of their last line, knew no
emergency and counted no execution that never reached its node, its decisions one group, its plans no hooks, output and
named patches.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chalicelib.core.chain import GENESIS, link
from chalicelib.core.remediations import Remediation, State, Transition
from chalicelib.ports import Change, Ledger

NOT_IN_HEADS = ("at", "emergency", "unreached")
NOT_IN_PLANS = ("hooks", "output", "patches")
NOT_IN_DECISIONS = ("groups", "budget", "wave", "image")


def decision(told: Mapping[str, Any]) -> dict[str, Any]:
    """The decision as the older release kept it: of all groups the one that has a number, or none."""
    kept = {name: value for name, value in told.items() if name not in NOT_IN_DECISIONS}
    if "groups" not in told:
        return kept
    one = next((group for group in told["groups"] if isinstance(group["max"], int)), None)
    return {**kept, "group": {"token": one["token"], "max": one["max"]} if one else None}


def plan(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in NOT_IN_PLANS}


def _sets(told: Mapping[str, Any]) -> dict[str, Any]:
    older = {"decision": decision, "plan": plan}
    return {name: older[name](value) if name in older else value for name, value in told.items()
            if name not in NOT_IN_HEADS}  # fmt: skip


def trail(lines: Iterable[Transition]) -> list[dict[str, Any]]:
    """The documents of the lines, chained anew."""
    documents: list[dict[str, Any]] = []
    previous = GENESIS
    for line in lines:
        document = {**line.to_json(), "sets": _sets(line.sets), "previous": previous}
        previous = document["hash"] = link(previous, document)
        documents.append(document)
    return documents


def head(case: Remediation, hash: str) -> dict[str, Any]:
    """The document of the head whose last line has that hash."""
    told = {name: value for name, value in case.to_json().items() if name not in NOT_IN_HEADS}
    return {**told, "decision": decision(case.decision), "plan": plan(case.plan), "hash": hash}


def _placed(case: Remediation, hash: str) -> Remediation:
    """What the store itself goes by: the place of the head in its indexes, and the end of its trail."""
    return replace(case, at=None, emergency=None, unreached=0, decision=decision(case.decision), plan=plan(case.plan),
                   hash=hash)  # fmt: skip


class Taken:
    """The port `Ledger` over what the older release left: each of its heads is read from its document, every time,
    until this release writes its next line. `states` counts what was taken over."""

    def __init__(self, ledger: Ledger) -> None:
        whole: Any = ledger
        self._ledger = whole
        self._heads: dict[str, str] = {}
        self.states = Counter(case.state for case in whole.all_heads())
        for case in list(whole.all_heads()):
            lines = trail(whole.trail(case.id))
            self._heads[case.id] = json.dumps(head(case, lines[-1]["hash"]))
            whole._trails[case.id] = [Transition.from_json(json.loads(json.dumps(line))) for line in lines]
            whole._replace_head(_placed(case, lines[-1]["hash"]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def _read(self, case: Remediation) -> Remediation:
        document = self._heads.get(case.id)
        return Remediation.from_json(json.loads(document)) if document else case

    def head(self, remediation: str) -> Remediation | None:
        found = self._ledger.head(remediation)
        return self._read(found) if found else None

    def heads(self, remediations: Sequence[str]) -> dict[str, Remediation]:
        return {id: self._read(case) for id, case in self._ledger.heads(remediations).items()}

    def work(self, states: Iterable[State], *, before: datetime | None = None) -> Iterator[Remediation]:
        return map(self._read, self._ledger.work(states, before=before))

    def all_heads(self) -> Iterator[Remediation]:
        return map(self._read, self._ledger.all_heads())

    def append(self, change: Change) -> None:
        self._ledger.append(change)
        if self._ledger.head(change.head.id).hash == change.head.hash:
            self._heads.pop(change.head.id, None)
