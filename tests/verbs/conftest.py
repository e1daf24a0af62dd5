"""One small world for the verbs: memory twins that a test may script, break and look into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib import pause
from chalicelib.adapters.memory import MemoryClock, MemoryLedger
from chalicelib.adapters.memory_aws import MemoryAutomations, MemoryInventory, MemoryTickets
from chalicelib.adapters.notices import Collected
from chalicelib.adapters.policy_store import Fixed
from chalicelib.adapters.tracing import Untraced
from chalicelib.core.audit import fault
from chalicelib.core.facts import PatchState
from chalicelib.core.findings import remediation_id
from chalicelib.core.nodes import Node
from chalicelib.core.pauses import ALL
from chalicelib.core.plans import snapshot_id
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from chalicelib.dispatch import Round, dispatch
from chalicelib.follow import follow
from chalicelib.intake import Receipt, receive
from chalicelib.ports import Invocation, Ports
from tests.sets import NODE, NOW, machine, policy_set, scan


@dataclass
class World:
    """The ports, and the few moves that most stories are made of."""

    clock: MemoryClock = field(default_factory=lambda: MemoryClock(NOW))
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    inventory: MemoryInventory = field(default_factory=MemoryInventory)
    automations: MemoryAutomations = field(default_factory=MemoryAutomations)
    tickets: MemoryTickets = field(default_factory=MemoryTickets)
    notices: Collected = field(default_factory=Collected)
    policies: PolicySet = field(default_factory=policy_set)

    @property
    def ports(self) -> Ports:
        return Ports(self.ledger, self.inventory, self.automations, self.tickets, Fixed(self.policies), self.notices,
                     Untraced(), self.clock)  # fmt: skip

    def node(self, node: Node = NODE, patch: PatchState | None = None, **state: Any) -> Node:
        """A node that is there, scanned an hour ago with one patch missing."""
        self.inventory.node(node, machine(**{"id": node.id, **state}))
        self.inventory.scan(node, patch or replace(scan(NOW - timedelta(hours=1)), id=node.id))
        return node

    def say(self, node: Node = NODE, *, compliant: bool = False, at: datetime | None = None) -> Receipt:
        """Systems Manager's event about the node."""
        return receive(self.ports, ssm_event(node, compliant, at or self.clock.now()))

    def start(self, node: Node = NODE) -> str:
        """From the first event to a running execution; its id."""
        self.say(node)
        self.pass_minutes(5)
        dispatch(self.ports)
        execution = self.case(node).execution
        assert execution is not None, self.case(node)
        return execution

    def end(self, execution: str, status: str = "Success", *, nodes: dict[Node, str] | None = None) -> Receipt:
        """The execution ends, each node's install with its status, and the event says so."""
        some = next(iter(nodes or {NODE: "Success"}))
        said = [Invocation(node.id, word) for node, word in (nodes or {NODE: status}).items()]
        self.automations.end(some.location, execution, status, at=self.clock.now(), steps={"InstallPatches": said})
        return follow(self.ports, execution_event(some, execution, status))

    def scanned(self, node: Node = NODE, **counts: Any) -> None:
        """The execution's own scan, with nothing missing unless `counts` says so."""
        ours = snapshot_id(str(self.case(node).batch))
        state = scan(self.clock.now(), snapshot=ours, **{"missing": 0, "patches": (), **counts})
        self.inventory.scan(node, replace(state, id=node.id))

    def pause(self, reason: str, *, scope: str = ALL, by: str = "operator", until: datetime | None = None) -> None:
        pause.begin(self.ports, scope, by=by, reason=reason, until=until)

    def resume(self, scope: str = ALL) -> None:
        assert pause.end(self.ports, scope, by="operator", reason="over") is not None

    def round(self) -> Round:
        return dispatch(self.ports)

    def pass_minutes(self, minutes: float) -> None:
        self.clock.move(timedelta(minutes=minutes))

    def case(self, node: Node = NODE) -> Remediation:
        found = self.ledger.head(remediation_id(node, "patch"))  # type: ignore[arg-type]
        assert found is not None, f"nothing is recorded about {node}"
        return found

    def causes(self, node: Node = NODE) -> list[str]:
        """The causes of the node's trail, which must be whole."""
        lines = self.ledger.trail(self.case(node).id)
        assert fault(self.case(node), lines) is None
        return [line.cause.value for line in lines]


@pytest.fixture
def world() -> World:
    return World()


def ssm_event(node: Node, compliant: bool, at: datetime) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": "Configuration Compliance State Change", "source": "aws.ssm",
        "account": node.account, "region": node.region, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "resources": [f"arn:aws:ssm:{node.region}:{node.account}:managed-instance/{node.id}"],
        "detail": {"resource-type": "managed-instance", "resource-id": node.id, "compliance-type": "Patch",
                   "compliance-status": "compliant" if compliant else "non_compliant", "severity": "critical"},
    }  # fmt: skip


def execution_event(node: Node, execution: str, status: str) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": "EC2 Automation Execution Status-change Notification",
        "source": "aws.ssm", "account": node.account, "region": node.region, "time": "2026-11-23T12:30:00Z",
        "resources": [], "detail": {"ExecutionId": execution, "Definition": "Patchwarden-PatchNodes",
                                    "DefinitionVersion": 1.0, "Status": status},
    }  # fmt: skip


def node_event(node: Node, state: str, at: datetime) -> dict[str, Any]:
    return {
        "version": "0", "id": "0", "detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2",
        "account": node.account, "region": node.region, "time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "resources": [],
        "detail": {"instance-id": f" {node.id}", "state": state},
    }  # fmt: skip


class Broken:
    """A port of which one method fails: before the call, or after it had its effect."""

    def __init__(self, whole: Any, method: str, error: Exception, *, after: bool = False, times: int = 1) -> None:
        self._whole, self._method, self._error, self._after, self._left = whole, method, error, after, times

    def __getattr__(self, name: str) -> Any:
        real: Callable[..., Any] = getattr(self._whole, name)
        if name != self._method or not self._left:
            return real

        def fails(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if self._after:
                real(*given, **named)
            raise self._error

        return fails


class Slow:
    """A port whose every call takes ten seconds."""

    def __init__(self, whole: Any, clock: MemoryClock) -> None:
        self._whole, self._clock = whole, clock

    def __getattr__(self, name: str) -> Any:
        self._clock.move(timedelta(seconds=10))
        return getattr(self._whole, name)
