"""AWS in memory: scripted twins of inventory, automations and tickets; what a test says of the world holds in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from chalicelib.core.errors import Denied
from chalicelib.core.facts import AssociationState, NodeState, Patch, PatchState
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.nodes import Location, Node
from chalicelib.core.plans import Batch
from chalicelib.core.tickets import Errand
from chalicelib.ports import Execution, Invocation, Page, RemediationException

_Known = TypeVar("_Known")
_NAMESPACE = uuid.UUID("5b5a9f0e-6a55-5c59-9d3c-3f7f2f1c2a10")


_NOT_INSTALLED = ("MISSING", "FAILED", "INSTALLED_PENDING_REBOOT", "INSTALLED_REJECTED")


class MemoryInventory:
    """The port `Inventory` over what `node` and `scan` were last called with."""

    def __init__(self) -> None:
        self._nodes: dict[Node, NodeState] = {}
        self._scans: dict[Node, PatchState] = {}
        self._associations: dict[Node, AssociationState] = {}
        self.per_page = 50

    def node(self, node: Node, state: NodeState | None) -> None:
        """From now on the node is in this state; None: neither EC2 nor SSM knows it."""
        self._nodes.pop(node, None)
        if state:
            self._nodes[node] = state

    def scan(self, node: Node, state: PatchState) -> None:
        """The node's last operation, with its patches."""
        self._scans[node] = state

    def associate(self, node: Node, state: AssociationState) -> None:
        """How the node's associations stand from now on."""
        self._associations[node] = state

    def nodes(self, location: Location, ids: Sequence[str]) -> dict[str, NodeState]:
        lost = {id: NodeState(id, "ec2", "terminated") for id in ids if id.startswith("i-")}
        return lost | _at(location, ids, self._nodes)

    def members(self, location: Location, *, by: str, tag: str | None, value: str) -> int:
        here = [state for node, state in self._nodes.items() if node.location == location and state.state == "running"]
        return sum(_shares(state, by, tag, value) for state in here)

    def patch_states(self, location: Location, ids: Sequence[str]) -> dict[str, PatchState]:
        found = _at(location, ids, self._scans)
        return {id: replace(state, patches=None) for id, state in found.items()}

    def patches(self, node: Node, state: PatchState) -> PatchState:
        known = self._scans[node].patches or ()
        patches = tuple(patch for patch in known if patch.state in _NOT_INSTALLED)
        return replace(state, patches=patches if len(patches) >= state.noncompliant else None)

    def named(self, node: Node, ids: Sequence[str]) -> list[Patch]:
        state = self._scans.get(node)
        return [patch for patch in (state.patches or () if state else ()) if patch.id in ids]

    def associations(self, node: Node) -> AssociationState | None:
        return self._associations.get(node)

    def compliance(self, location: Location, after: str | None = None) -> Page:
        """Pages of `per_page` findings."""
        start, here = int(after or 0), [each for each in self._scans.items() if each[0].location == location]
        findings = tuple(
            Finding(node, Control.PATCH, state.noncompliant == 0, state.ended_at, Source.SWEEP)
            for node, state in here[start : start + self.per_page]
        )
        more = start + self.per_page < len(here)
        return Page(findings, str(start + self.per_page) if more else None)

    def roll(self, location: Location) -> Iterator[NodeState]:
        return iter([state for node, state in self._nodes.items() if node.location == location and not state.gone])


def _shares(state: NodeState, by: str, tag: str | None, value: str) -> bool:
    """Whether the node is an EC2 node of this group."""
    if state.kind != "ec2":
        return False
    if by == "tag":
        return bool(tag) and (state.tags or {}).get(str(tag)) == value
    return value == (state.group if by == "auto-scaling-group" else state.zone)


class MemoryAutomations:
    """The port `Automations`; an execution stays in progress until `end` is called.

    `elsewhere`: the nodes of each location that somebody else patches, each with the command.
    """

    def __init__(self) -> None:
        self.elsewhere: dict[Location, dict[str, str]] = {}
        self.started: list[Batch] = []
        self.cancelled: list[str] = []
        self._executions: dict[tuple[Location, str], Execution] = {}
        self._asked: dict[tuple[Location, str], tuple[str, dict[str, Any]]] = {}
        self._invocations: dict[tuple[Location, str], dict[str, Invocation]] = {}

    def start(self, batch: Batch) -> str:
        asked = {"document": batch.document, "version": batch.version, "parameters": dict(batch.parameters)}
        id, before = self._asked.get((batch.location, batch.token), (str(uuid.uuid5(_NAMESPACE, batch.token)), asked))
        if before != asked:
            raise Denied(f"the token of batch {batch.id} was used with other parameters")
        if (batch.location, id) not in self._executions:
            self._asked[batch.location, batch.token] = id, asked
            self._executions[batch.location, id] = Execution(
                id, "InProgress", ended=False, batch=batch.id, document=batch.document
            )
            self.started.append(batch)
        return id

    def find(self, batch: Batch) -> str | None:
        found = (id for (at, id), each in self._executions.items() if at == batch.location and each.batch == batch.id)
        return next(found, None)

    def execution(self, location: Location, execution: str) -> Execution | None:
        return self._executions.get((location, execution))

    def invocations(self, location: Location, command: str) -> dict[str, Invocation]:
        return dict(self._invocations.get((location, command), {}))

    def patching(self, location: Location, ids: Sequence[str]) -> dict[str, str]:
        ours = {node: id for (at, id), each in self._executions.items() if at == location and not each.ended
                for batch in self.started if batch.id == each.batch
                for node in batch.parameters.get("NodeIds", ())}  # fmt: skip
        return {id: command for id, command in {**ours, **self.elsewhere.get(location, {})}.items() if id in ids}

    def stop(self, location: Location, execution: str) -> None:
        known = self._executions.get((location, execution))
        if known and not known.ended:
            self._executions[location, execution] = replace(known, status="Cancelled", ended=True)

    def cancel(self, location: Location, command: str) -> None:
        self.cancelled.append(command)

    def end(
        self, location: Location, execution: str, status: str, *, at: datetime,
        steps: Mapping[str, Iterable[Invocation]] | None = None, failure: str | None = None,
    ) -> None:  # fmt: skip
        """The execution ends so; `steps` is what each run command step did, node by node."""
        commands = {step: str(uuid.uuid5(_NAMESPACE, f"{execution}/{step}")) for step in steps or {}}
        for step, invocations in (steps or {}).items():
            self._invocations[location, commands[step]] = {each.node: each for each in invocations}
        known = self._executions[location, execution]
        self._executions[location, execution] = replace(
            known, status=status, ended=True, ended_at=at, commands=commands, failure=failure
        )


@dataclass(frozen=True, slots=True)
class MemoryTicket:
    """A ticket and every text it was given, the newest last."""

    id: str
    key: str
    location: Location
    title: str
    severity: int
    texts: tuple[str, ...]
    resolved: bool = False


@dataclass(slots=True)
class MemoryTickets:
    """The port `Tickets`; `kept` holds every ticket by its id."""

    kept: dict[str, MemoryTicket] = field(default_factory=dict)

    def open(self, errand: Errand) -> str:
        for ticket in self.kept.values():
            if ticket.key == errand.key and ticket.location == errand.location and not ticket.resolved:
                return ticket.id
        id = f"oi-{len(self.kept) + 1:012x}"
        texts = (errand.body,)
        self.kept[id] = MemoryTicket(id, errand.key, errand.location, errand.title, errand.severity, texts)
        return id

    def update(self, errand: Errand) -> None:
        self._write(errand, resolved=None)

    def resolve(self, errand: Errand) -> None:
        self._write(errand, resolved=True)

    def _write(self, errand: Errand, *, resolved: bool | None) -> None:
        ticket = self.kept.get(errand.ticket or "")
        if ticket:
            said = ticket.texts if ticket.texts[-1] == errand.body else (*ticket.texts, errand.body)
            done = ticket.resolved if resolved is None else resolved
            self.kept[ticket.id] = replace(ticket, texts=said, resolved=done)


@dataclass(slots=True)
class MemoryExceptions:
    """The port `Exceptions`; `kept` is what stands."""

    kept: list[RemediationException] = field(default_factory=list)

    def exceptions(self, location: Location) -> list[RemediationException]:
        return [one for one in self.kept if one.node.location == location]

    def clear(self, location: Location, exceptions: Sequence[RemediationException]) -> None:
        self.kept = [one for one in self.kept if one not in exceptions]


def _at(location: Location, ids: Sequence[str], known: Mapping[Node, _Known]) -> dict[str, _Known]:
    nodes = {id: Node(location.account, location.region, id) for id in ids}
    return {id: known[node] for id, node in nodes.items() if node in known}
