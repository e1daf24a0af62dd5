"""Wiring: settings from the environment, which adapter serves which port, built once and only when asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import PolicySet
from chalicelib.ports import (
    Baselines,
    Clock,
    Failures,
    Functions,
    Ledger,
    Lists,
    Notices,
    OneByOne,
    Past,
    PolicyStore,
    Ports,
    Shelf,
    Signer,
    Unwired,
    Vault,
)

if TYPE_CHECKING:
    from chalicelib.adapters.accounts import Accounts

PACKED = Path(__file__).with_name("policies.json")
"""The compiled policy set that ships with the code."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a deployment chooses. `sqlite` is the embedded ledger's file; without it the ledger is the table.

    Published sets lie in `policy_bucket`, or beside the embedded ledger; `policies` is what decides without any.
    `execution_role` acts for a schedule in every member, `administration_role` in the hub.
    `config_rules`, with commas between them, are the Config rules whose remediation action asks us.
    `bus` is the event bus that hears reminders; without one they stand in the log only. `failures` and `rule_failures`
    are queues by name or URL; without them, the ones that are named after the table. Evidence lies in
    `evidence_bucket`, or beside the embedded ledger, and is signed by the KMS key `signing_key`. The bucket's default
    retention locks it; `evidence_days` locks checkpoints for so many days, in Object Lock's mode `evidence_lock`.
    With `cognito`, the ARN of a user pool, the REST API asks that pool who calls instead of IAM.
    """

    table: str = "patchwarden"
    sqlite: str | None = None
    role: str = "patchwarden-member"
    automation_role: str = "patchwarden-automation"
    execution_role: str = "AWS-SystemsManager-AutomationExecutionRole"
    administration_role: str = "AWS-SystemsManager-AutomationAdministrationRole"
    bus: str | None = None
    external_id: str | None = None
    hub_account: str | None = None
    policies: str = str(PACKED)
    policy_bucket: str | None = None
    config_rules: str | None = None
    evidence_bucket: str | None = None
    evidence_lock: str = "COMPLIANCE"
    evidence_days: str | None = None
    signing_key: str | None = None
    cognito: str | None = None
    failures: str | None = None
    rule_failures: str | None = None

    @classmethod
    def from_environment(cls) -> Settings:
        """Each field from PATCHWARDEN_ and its name in capitals, such as PATCHWARDEN_TABLE; all optional."""
        given = {name: os.environ.get(f"PATCHWARDEN_{name.upper()}") for name in cls.__slots__}
        return cls(**{name: value for name, value in given.items() if value})


_ports: Ports | None = None
_baselines: Baselines | None = None


def ports() -> Ports:
    """The one bundle of this process."""
    global _ports
    if _ports is None:
        _ports = build(Settings.from_environment())
    return _ports


def clock() -> Clock:
    """The clock of this machine, for what needs nothing else."""
    from chalicelib.adapters.clock import SystemClock

    return SystemClock()


def caller() -> str:
    """Who runs this process, as AWS says: an ARN."""
    from chalicelib.adapters.accounts import caller

    return caller()


def use(bundle: Ports | None, patch_baselines: Baselines | None = None) -> None:
    """Serve from this bundle, and these patch baselines, from now on; None: build anew when asked."""
    global _ports, _baselines
    _ports, _baselines = bundle, patch_baselines


def local(sqlite: str | None) -> Ports:
    """A bundle for looking only: the ledger file (None: an empty ledger) and what its trail remembers of the nodes.

    Nothing is asked of AWS; starting, ticketing and assuming a role are not wired.
    """
    from chalicelib.adapters.clock import SystemClock
    from chalicelib.adapters.memory import MemoryLedger
    from chalicelib.adapters.notices import Silent
    from chalicelib.adapters.recorded import Nothing, RecordedInventory
    from chalicelib.adapters.sqlite import SqliteLedger
    from chalicelib.adapters.tracing import Untraced

    settings = replace(Settings.from_environment(), sqlite=sqlite, policy_bucket=None)
    kept = SqliteLedger(Path(sqlite)) if sqlite else MemoryLedger()
    clock, silent = SystemClock(), Silent()
    return Ports(
        ledger=kept,
        inventory=RecordedInventory(kept),
        automations=Nothing(),
        tickets=Nothing(),
        policies=policies(settings, kept, clock, silent),
        notices=silent,
        tracing=Untraced(),
        clock=clock,
        lists=lists(settings) or Unwired(),
    )


def _notices(settings: Settings, clock: Clock) -> Notices:
    from chalicelib.adapters.announcements import Announced
    from chalicelib.adapters.notices import JsonNotices

    log = JsonNotices(clock)
    return Announced(log, settings.bus) if settings.bus else log


def build(
    settings: Settings, *, session: Callable[[], Any] | None = None, clock: Clock | None = None, quiet: bool = False,
    durable: bool = True,
) -> Ports:  # fmt: skip
    """The bundle for these settings; imports only the adapters that it needs. No call goes out yet.

    `session` opens the boto3 session that every call goes through; `clock` replaces the system's; `quiet` says nothing;
    a ledger's file that is not `durable` need not outlive a power failure.
    """
    from chalicelib.adapters.accounts import Accounts
    from chalicelib.adapters.clock import SystemClock
    from chalicelib.adapters.config_rules import ConfigExceptions
    from chalicelib.adapters.fleets import AwsFleets
    from chalicelib.adapters.hands import Threads
    from chalicelib.adapters.inventory import AwsInventory
    from chalicelib.adapters.notices import Silent
    from chalicelib.adapters.opscenter import OpsCenter
    from chalicelib.adapters.systems_manager import SystemsManager
    from chalicelib.adapters.tracing import XRay

    clock = clock or SystemClock()
    accounts = reach(settings, session=session, clock=clock)
    hub = Accounts(role=settings.role, session=session, now=clock.now, own=True)
    rules = [name.strip() for name in (settings.config_rules or "").split(",") if name.strip()]
    kept, notices = ledger(settings, durable=durable), Silent() if quiet else _notices(settings, clock)
    return Ports(
        ledger=kept,
        inventory=AwsInventory(accounts),
        automations=SystemsManager(accounts, settings.automation_role),
        tickets=OpsCenter(accounts),
        policies=policies(settings, kept, clock, notices),
        notices=notices,
        tracing=XRay(),
        clock=clock,
        fleets=AwsFleets(accounts, hub, settings.execution_role, settings.administration_role),
        exceptions=ConfigExceptions(accounts, rules) if rules else None,
        crew=OneByOne() if settings.sqlite else Threads(),
        lists=lists(settings) or Unwired(),
    )


def reach(
    settings: Settings, *, session: Callable[[], Any] | None = None, clock: Clock | None = None, attempts: int = 3
) -> Accounts:
    """What calls AWS in every account of the organisation; no call goes out yet."""
    from chalicelib.adapters.accounts import Accounts
    from chalicelib.adapters.clock import SystemClock

    return Accounts(
        role=settings.role,
        external_id=settings.external_id,
        hub_account=settings.hub_account,
        session=session,
        now=(clock or SystemClock()).now,
        attempts=attempts,
    )


def baselines(
    settings: Settings | None = None, *, session: Callable[[], Any] | None = None, time: Clock | None = None
) -> Baselines:
    """The patch baselines of every account, through the role of the members."""
    from chalicelib.adapters.baselines import PatchBaselines

    if _baselines is not None and settings is None:
        return _baselines
    return PatchBaselines(reach(settings or Settings.from_environment(), session=session, clock=time or clock()))


def ledger(settings: Settings, *, durable: bool = True) -> Ledger:
    """The embedded ledger if a file is named, else the table."""
    if settings.sqlite:
        from chalicelib.adapters.sqlite import SqliteLedger

        return SqliteLedger(Path(settings.sqlite), durable=durable)
    from chalicelib.adapters.dynamodb import DynamoLedger

    return DynamoLedger(settings.table)


def failures(settings: Settings) -> tuple[Failures, Functions]:
    """The queues of what failed, and the functions that it goes back to."""
    from chalicelib.adapters.failures import Lambdas, SqsFailures

    queues = (settings.rule_failures or f"{settings.table}-rule-failures",
              settings.failures or f"{settings.table}-failures")  # fmt: skip
    return SqsFailures(queues), Lambdas()


def fixed(policies: PolicySet) -> PolicyStore:
    """A store that holds this one set, for a question about a set that is not in force."""
    from chalicelib.adapters.policy_store import Fixed

    return Fixed(policies)


def shelf(settings: Settings) -> Shelf | None:
    """Where published sets lie; None: nothing can be published here."""
    from chalicelib.adapters.policy_store import Bucket, Folder

    if settings.sqlite:
        return Folder(Path(settings.sqlite).with_suffix(".policies"))
    return Bucket(settings.policy_bucket) if settings.policy_bucket else None


def lists(settings: Settings) -> Lists | None:
    """Where override lists lie: with the published sets; None: there can be no emergency here."""
    from chalicelib.adapters.lists import BucketLists, FolderLists

    if settings.sqlite:
        return FolderLists(Path(settings.sqlite).with_suffix(".policies"))
    return BucketLists(settings.policy_bucket, settings.hub_account) if settings.policy_bucket else None


def policies(settings: Settings, kept: Ledger, clock: Clock, notices: Notices) -> PolicyStore:
    """What decides: the published set where there may be one, else the packed one."""
    from chalicelib.adapters.policy_store import Packed, Published

    packed, lying = Packed(Path(settings.policies)), shelf(settings)
    return Published(kept, lying, packed, clock=clock, notices=notices) if lying else packed


def vault(settings: Settings) -> Vault | None:
    """Where evidence is kept; None: nowhere yet."""
    from chalicelib.adapters.vault import BucketVault, FolderVault

    if settings.sqlite:
        return FolderVault(Path(settings.sqlite).with_suffix(".evidence"))
    if not settings.evidence_bucket:
        return None
    days = int(settings.evidence_days) if settings.evidence_days else None
    return BucketVault(settings.evidence_bucket, clock(), mode=settings.evidence_lock, days=days)


def folder(path: str | Path) -> Vault:
    """A vault in a folder of this machine."""
    from chalicelib.adapters.vault import FolderVault

    return FolderVault(path)


def signer(settings: Settings) -> Signer | None:
    """Who signs checkpoints; None: nobody yet."""
    from chalicelib.adapters.signing import FileSigner, KmsSigner

    if settings.sqlite:
        return FileSigner(Path(settings.sqlite).with_suffix(".key"))
    return KmsSigner(settings.signing_key) if settings.signing_key else None


def exported(path: str | Path) -> Past:
    """The past as an export in a folder of this machine tells it; needs DuckDB, which Lambda has not."""
    from chalicelib.adapters.exported import ExportedPast

    return ExportedPast(path)


def policy_set(vault: Vault | None, digest: str) -> PolicySet | None:
    """The set of that digest as the vault keeps it; None: it is not there, or not that set."""
    from chalicelib.adapters.policy_store import load

    body = vault.get(f"policies/{digest}.json") if vault else None
    try:
        found = load(body) if body else None
    except PolicyError:
        return None
    return found if found and found.digest == digest else None


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
    from chalicelib import schedules

    return schedules.follow(ports(), event).to_json()


def dispatch() -> dict[str, Any]:
    """One round of dispatch."""
    from chalicelib import dispatch

    return asdict(dispatch.dispatch(ports()))


def sweep() -> dict[str, Any]:
    """One sweep."""
    from chalicelib import sweep

    return asdict(sweep.sweep(ports()))


def schedules() -> dict[str, Any]:
    """One round of the schedules."""
    from chalicelib import schedules

    return asdict(schedules.run_due(ports()))


def export() -> dict[str, Any]:
    """Copy the days that are over to the evidence bucket, for ten minutes at most; the next run goes on."""
    from datetime import timedelta

    from chalicelib import evidence, standing

    settings, here = Settings.from_environment(), ports()
    kept = vault(settings)
    if kept is None:
        return _no_evidence(here, "PATCHWARDEN_EVIDENCE_BUCKET")
    until = here.clock.now() + timedelta(minutes=10)
    days = list(evidence.export(here, kept, shelf(settings), until=until))
    stood = standing.grow(here.ledger, kept, evidence.done(kept), enough=lambda: here.clock.now() >= until)
    told = {
        "days": len(days),
        "lines": sum(day["lines"] for day in days),
        "written": sum(day["written"] for day in days),
        "standing": stood,
    }
    here.notices.say("exported", **told)
    return told


def checkpoint() -> dict[str, Any]:
    """Sign what the trails look like now."""
    from chalicelib import evidence

    settings, here = Settings.from_environment(), ports()
    kept, signs = vault(settings), signer(settings)
    if kept is None or signs is None:
        return _no_evidence(here, "PATCHWARDEN_SIGNING_KEY" if kept else "PATCHWARDEN_EVIDENCE_BUCKET")
    try:
        made = evidence.checkpoint(here, kept, signs)
    except evidence.NothingNew as error:  # the schedule was delivered twice: no failure for anybody to look at
        return {"skipped": str(error)}
    told = {"checkpoint": made.number, "heads": made.count}
    here.notices.say("checkpoint", **told)
    return told


def _no_evidence(here: Ports, setting: str) -> dict[str, Any]:
    here.notices.say("no_evidence", because=f"{setting} is not set, so nothing is exported or signed")
    return {"skipped": f"{setting} is not set"}
