"""Ports: what the verbs ask of the world, a file for each party that answers, and the bundle in which they get it."""

from __future__ import annotations

from chalicelib.ports.automations import Automations, Execution, Invocation
from chalicelib.ports.bundle import Ports, Unwired
from chalicelib.ports.clock import Clock
from chalicelib.ports.crew import Crew, OneByOne
from chalicelib.ports.exceptions import Exceptions, RemediationException
from chalicelib.ports.failures import Failures, Functions
from chalicelib.ports.fleets import Branch, FleetRun, Fleets
from chalicelib.ports.inventory import Baselines, Inventory, Page
from chalicelib.ports.ledger import SWEPT, Change, Kept, Ledger
from chalicelib.ports.lists import Lists, Lying
from chalicelib.ports.notices import Notices, Tracing
from chalicelib.ports.past import Past
from chalicelib.ports.policies import PolicyStore, Shelf
from chalicelib.ports.tickets import Tickets
from chalicelib.ports.vault import Original, Signer, Vault

__all__ = [
    "SWEPT",
    "Automations",
    "Baselines",
    "Branch",
    "Change",
    "Clock",
    "Crew",
    "Exceptions",
    "Execution",
    "Failures",
    "FleetRun",
    "Fleets",
    "Functions",
    "Inventory",
    "Invocation",
    "Kept",
    "Ledger",
    "Lists",
    "Lying",
    "Notices",
    "OneByOne",
    "Original",
    "Page",
    "Past",
    "PolicyStore",
    "Ports",
    "RemediationException",
    "Shelf",
    "Signer",
    "Tickets",
    "Tracing",
    "Unwired",
    "Vault",
]
