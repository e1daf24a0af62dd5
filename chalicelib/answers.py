"""Answers: what each read route of the REST API says, one look-up each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any

from chalicelib import history, lookup, proof, speed, wiring
from chalicelib.core.nodes import Node, parse_node
from chalicelib.core.points import Where
from chalicelib.core.remediations import WAITS, State
from chalicelib.openapi import document
from chalicelib.past import FromLedger
from chalicelib.ports import Past, Ports, Vault
from chalicelib.routes import LIMIT, Wrong, before, moment
from chalicelib.standing import FromStanding

LARGEST = 2_000
"""How many remediations the table is asked about one by one; beyond, the past stands on what each day's export left."""

Told = dict[str, Any]


class TooLarge(Exception):
    """The fleet is too large for an answer from the table."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read: path and query as their schemas want them.

    `vault`: another one than the environment names. `source`: where the past is read from instead of ledger and vault.
    `patient`: whoever asks has longer than the 29 s of API Gateway.
    """

    ports: Ports
    now: datetime
    path: Mapping[str, Any]
    query: Mapping[str, Any]
    vault: Vault | None = None
    source: Past | None = None
    patient: bool = False

    @property
    def at(self) -> datetime:
        """The moment asked about. What is still to come nobody knows; an export may be ahead of this clock."""
        found = moment(self.query.get("at"), self.now)
        if found > self.now and not self.source:
            raise Wrong(f"{self.query['at']} is still to come: leave `at` out to ask about now")
        return found

    @property
    def since(self) -> datetime:
        found = before(self.query.get("since"), self.at)
        if found > self.at:
            raise Wrong("since is after at: the span ends before it begins")
        return found

    @property
    def where(self) -> Where:
        named = {one.name for one in fields(Where)}
        return Where(**{name: value for name, value in self.query.items() if name in named})

    @property
    def of(self) -> dict[str, Any]:
        """Whose account and which policy, of what is now."""
        return {name: self.query.get(name) for name in ("account", "policy")}

    @property
    def page(self) -> dict[str, Any]:
        return {"limit": self.query.get("limit", LIMIT), "after": self.query.get("after")}

    @property
    def past(self) -> Past:
        """The whole past; TooLarge where nothing could tell it in time."""
        if self.source:
            return self.source
        vault = self.vault or wiring.vault(wiring.Settings.from_environment())
        standing = FromStanding(self.ports.ledger, vault) if vault else None
        if standing and standing.size > LARGEST:
            return standing
        if len(list(islice(self.ports.ledger.all_heads(), LARGEST + 1))) <= LARGEST:
            return FromLedger(self.ports.ledger, remember=True)
        if standing and standing.begun:
            return standing
        if self.patient:
            return FromLedger(self.ports.ledger)
        raise TooLarge(
            f"more than {LARGEST} remediations and no daily export yet: with PATCHWARDEN_EVIDENCE_BUCKET set the first "
            "one comes within a day; until then ask `patchwarden audit`"
        )

    @property
    def lines(self) -> Past:
        """The past for a question about single lines, which the ledger answers at any size."""
        return self.source or FromLedger(self.ports.ledger)

    @property
    def node(self) -> Node | None:
        return parse_node("/".join(self.path[name] for name in ("account", "region", "node")))


def _remediations(asked: Asked) -> Told:
    state = asked.query.get("state")
    return lookup.remediations(asked.ports.ledger, state=State(state) if state else None, **asked.page)


def _node(asked: Asked) -> Told | None:
    node = asked.node
    lines = lookup.trail(asked.ports.ledger, node) if node else []
    if not lines:
        return None
    return {"node": str(node), "intact": lookup.intact(lines), "trail": [line.to_json() for line in lines]}


def _whynot(asked: Asked) -> Told:
    state = asked.query.get("state")
    states = [State(state)] if state else WAITS
    return lookup.whynot(asked.ports.ledger, asked.now, states=states, **asked.of, **asked.page)


def _search(asked: Asked) -> Told:
    said: dict[str, Any] = {name: asked.query.get(name) for name in ("actor", "cause", "text")}
    try:
        return history.search(asked.lines, asked.since, asked.at, where=asked.where, **said,
                              **asked.page)  # fmt: skip
    except ValueError as error:
        raise Wrong(str(error)) from error


def _decisions(asked: Asked) -> Told:
    try:
        return history.decisions(asked.lines, asked.path["digest"], asked.since, asked.at, **asked.page)
    except ValueError as error:
        raise Wrong(str(error)) from error


def _exemptions(asked: Asked) -> Told:
    past = asked.past
    policies = set_at(asked.ports, past, asked.at, asked.vault)
    return history.exemptions(past, asked.at, policies, active=asked.ports.policies.active(), **asked.page)


def set_at(ports: Ports, past: Past, at: datetime, vault: Vault | None = None) -> Any:
    """The policy set that was in force at that moment, or None: its document is not at hand."""
    published, active = history.published_at(past, at), ports.policies.active()
    if published is None or published.digest == active.digest:
        return active if published or not past.publications() else None
    return wiring.policy_set(vault or wiring.vault(wiring.Settings.from_environment()), published.digest)


def _verify(asked: Asked) -> Told | None:
    node = asked.node
    settings = wiring.Settings.from_environment()
    if node is None:
        return None
    vault = None if settings.sqlite else wiring.vault(settings)
    found = proof.verify(asked.ports.ledger, asked.now, node=node, vault=vault, signer=wiring.signer(settings))
    if not found.lines and not found.faults:
        return None  # neither the ledger nor a checkpoint knows of it
    return {"node": str(node), **asdict(found)}


READS: dict[str, Callable[[Asked], Told | None]] = {
    "health": lambda asked: lookup.health(asked.ports),
    "status": lambda asked: lookup.status(asked.ports.ledger, asked.now),
    "remediations": _remediations,
    "remediation": lambda asked: lookup.remediation(asked.ports.ledger, asked.path["identity"]),
    "node": _node,
    "whynot": _whynot,
    "executions": lambda asked: lookup.executions(asked.ports, **asked.of),
    "approvals": lambda asked: lookup.approvals(asked.ports, **asked.of, **asked.page),
    "fleet": lambda asked: history.fleet(asked.past, asked.at, asked.where, **asked.page),
    "diff": lambda asked: history.diff(asked.past, asked.since, asked.at, asked.where, **asked.page),
    "search": _search,
    "exemptions": _exemptions,
    "decisions": _decisions,
    "trend": lambda asked: history.trend(asked.past, asked.since, asked.at, asked.where),
    "funnel": lambda asked: speed.funnel(asked.past, asked.since, asked.at, asked.where),
    "ages": lambda asked: speed.ages(asked.past, asked.at, asked.where),
    "policies": lambda asked: lookup.policies(asked.ports),
    "durations": lambda asked: speed.durations(asked.past, asked.since, asked.at, asked.where),
    "sla": lambda asked: speed.sla(asked.past, asked.since, asked.at, asked.where, limit=asked.page["limit"]),
    "verify": _verify,
    "openapi": lambda asked: document(),
}
"""By the name of the route; None: there is no such thing."""
