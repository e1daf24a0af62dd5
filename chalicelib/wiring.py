"""Wiring: settings from the environment, which adapter serves which port, built once and only when asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from chalicelib.ports import Clock, Ledger, Ports

PACKED = Path(__file__).with_name("policies.json")
"""The compiled policy set that ships with the code."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment chooses. `sqlite` is the embedded ledger's file; without it the ledger is the table."""

    table: str = "patchwarden"
    sqlite: str | None = None
    role: str = "patchwarden-member"
    external_id: str | None = None
    hub_account: str | None = None
    policies: str = str(PACKED)

    @classmethod
    def from_environment(cls) -> Settings:
        """PATCHWARDEN_TABLE, _SQLITE, _ROLE, _EXTERNAL_ID, _HUB_ACCOUNT and _POLICIES; all optional."""
        given = {name: os.environ.get(f"PATCHWARDEN_{name.upper()}") for name in cls.__slots__}
        return cls(**{name: value for name, value in given.items() if value})


_ports: Ports | None = None


def ports() -> Ports:
    """The one bundle of this process."""
    global _ports
    if _ports is None:
        _ports = build(Settings.from_environment())
    return _ports


def use(bundle: Ports | None) -> None:
    """Serve from this bundle from now on; None: build anew when asked."""
    global _ports
    _ports = bundle


def local(sqlite: str | None) -> Ports:
    """A bundle for looking only: the ledger file (None: an empty ledger) and what its trail remembers of the nodes.

    Nothing is asked of AWS; starting, ticketing and assuming a role are not wired.
    """
    from chalicelib.adapters.clock import SystemClock
    from chalicelib.adapters.memory import MemoryLedger
    from chalicelib.adapters.notices import Silent
    from chalicelib.adapters.policy_store import Packed
    from chalicelib.adapters.recorded import Nothing, RecordedInventory
    from chalicelib.adapters.sqlite import SqliteLedger
    from chalicelib.adapters.tracing import Untraced

    settings = Settings.from_environment()
    kept = SqliteLedger(Path(sqlite)) if sqlite else MemoryLedger()
    return Ports(
        ledger=kept,
        inventory=RecordedInventory(kept),
        automations=Nothing(),
        tickets=Nothing(),
        policies=Packed(Path(settings.policies)),
        notices=Silent(),
        tracing=Untraced(),
        clock=SystemClock(),
    )


def build(
    settings: Settings, *, session: Callable[[], Any] | None = None, clock: Clock | None = None, quiet: bool = False
) -> Ports:
    """The bundle for these settings; imports only the adapters that it needs. No call goes out yet.

    `session` opens the boto3 session that every call goes through; `clock` replaces the system's; `quiet` says nothing.
    """
    from chalicelib.adapters.accounts import Accounts
    from chalicelib.adapters.clock import SystemClock
    from chalicelib.adapters.inventory import AwsInventory
    from chalicelib.adapters.notices import JsonNotices, Silent
    from chalicelib.adapters.opscenter import OpsCenter
    from chalicelib.adapters.policy_store import Packed
    from chalicelib.adapters.systems_manager import SystemsManager
    from chalicelib.adapters.tracing import XRay

    clock = clock or SystemClock()
    accounts = Accounts(
        role=settings.role,
        external_id=settings.external_id,
        hub_account=settings.hub_account,
        session=session,
        now=clock.now,
    )
    return Ports(
        ledger=ledger(settings),
        inventory=AwsInventory(accounts),
        automations=SystemsManager(accounts),
        tickets=OpsCenter(accounts),
        policies=Packed(Path(settings.policies)),
        notices=Silent() if quiet else JsonNotices(clock),
        tracing=XRay(),
        clock=clock,
    )


def ledger(settings: Settings) -> Ledger:
    """The embedded ledger if a file is named, else the table."""
    if settings.sqlite:
        from chalicelib.adapters.sqlite import SqliteLedger

        return SqliteLedger(Path(settings.sqlite))
    from chalicelib.adapters.dynamodb import DynamoLedger

    return DynamoLedger(settings.table)


# Each Lambda runs one verb: the others are not imported, which a cold start would pay for.


def receive(event: object) -> dict[str, Any]:
    """Take one event about a node."""
    from chalicelib import intake

    return intake.receive(ports(), event).to_json()


def request(payload: object) -> dict[str, Any]:
    """Take a request for one node."""
    from chalicelib import intake

    return intake.request(ports(), payload).to_json()


def follow(event: object) -> dict[str, Any]:
    """Take one event about an execution."""
    from chalicelib import follow

    return follow.follow(ports(), event).to_json()


def dispatch() -> dict[str, Any]:
    """One round of dispatch."""
    from chalicelib import dispatch

    return asdict(dispatch.dispatch(ports()))


def sweep() -> dict[str, Any]:
    """One sweep."""
    from chalicelib import sweep

    return asdict(sweep.sweep(ports()))
