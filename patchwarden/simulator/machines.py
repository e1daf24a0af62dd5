"""Machines: one simulated computer with its patches, and what Patch Manager does to it and reports about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from chalicelib.core.nodes import Node
from patchwarden.simulator.patches import Patch, Platform

MISSING = "MISSING"
FAILED = "FAILED"
PENDING = "INSTALLED_PENDING_REBOOT"
INSTALLED = "INSTALLED"
INSTALLED_OTHER = "INSTALLED_OTHER"

NONCOMPLIANT = frozenset({MISSING, FAILED, PENDING, "INSTALLED_REJECTED"})
"""https://docs.aws.amazon.com/systems-manager/latest/userguide/patch-manager-compliance-states.html"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of DescribeInstancePatches; `installed_at` None is what AWS shows as the epoch."""

    patch: Patch
    state: str
    installed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of AWS-RunPatchBaseline uploaded: the patch state of a node until the next run overwrites it."""

    operation: str
    started_at: datetime
    ended_at: datetime
    baseline: str
    group: str
    entries: tuple[Entry, ...]
    snapshot: str | None = None
    reboot_option: str | None = None
    override: str | None = None
    last_no_reboot: datetime | None = None

    def count(self, state: str) -> int:
        """How many patches are in this state."""
        return sum(entry.state == state for entry in self.entries)

    @property
    def noncompliant(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.state in NONCOMPLIANT]

    @property
    def compliant(self) -> bool:
        return not self.noncompliant

    @property
    def content(self) -> tuple[tuple[str, str], ...]:
        """What Config compares: an upload that says the same again is no change."""
        return tuple((entry.patch.title, entry.state) for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take on one machine, in seconds."""

    scan: int = 45
    install: int = 300
    reboot: int = 120
    boot: int = 60


@dataclass(slots=True, eq=False)
class Machine:
    """A computer that Systems Manager knows as `node`. It changes; what was reported about it does not.

    `reboots` False: a reboot that is asked for does not happen (somebody holds the shutdown back). `unfixable` are the
    patches whose installation always fails. `away` is set while it boots. `parts` are what it plays in a story.
    """

    node: Node
    name: str
    platform: Platform
    tags: dict[str, str]
    zone: str | None
    address: str
    launched_at: datetime
    baseline: str
    group: str
    pace: Pace = field(default_factory=Pace)
    parts: frozenset[str] = frozenset()
    state: str = "running"
    since: datetime | None = None
    agent: bool = True
    away: bool = False
    reboots: bool = True
    unfixable: frozenset[str] = frozenset()
    outstanding: dict[str, Patch] = field(default_factory=dict)
    pending: dict[str, Patch] = field(default_factory=dict)
    installed: dict[str, tuple[Patch, datetime]] = field(default_factory=dict)
    report: Report | None = None

    @property
    def hybrid(self) -> bool:
        return self.node.kind == "hybrid"

    @property
    def online(self) -> bool:
        """Whether its agent answers."""
        return self.state == "running" and self.agent and not self.away

    def approves(self, patch: Patch) -> bool:
        """Whether the machine's baseline wants this patch."""
        return patch.classification in self.platform.approved

    def release(self, patches: list[Patch]) -> None:
        """A vendor brought these out: they are outstanding from now on, whether or not anybody has looked."""
        self.outstanding |= {patch.id: patch for patch in patches}

    def patch(self, now: datetime, *, override: frozenset[str] | None = None) -> list[Patch]:
        """Install what the baseline, or the override list instead of it, wants. The patches that failed."""
        wanted = [patch for patch in self.outstanding.values() if self._wants(patch, override)]
        for patch in wanted:
            if patch.id not in self.unfixable:
                self.pending[patch.id] = self.outstanding.pop(patch.id)
                self.installed[patch.id] = (patch, now)
        return [patch for patch in wanted if patch.id in self.unfixable]

    def reboot(self) -> None:
        """The boot takes what was installed into use, unless the reboot is held back."""
        if self.reboots:
            self.pending.clear()

    def scan(
        self, started_at: datetime, ended_at: datetime, snapshot: str | None = None, option: str | None = None
    ) -> Report:
        """Look, and change nothing: what the baseline wants and the machine lacks is MISSING."""
        missing = [Entry(patch, MISSING) for patch in self.outstanding.values() if self.approves(patch)]
        return self._upload("Scan", (started_at, ended_at), (*missing, *self._present()), snapshot, option)

    def uploaded_install(
        self, started_at: datetime, ended_at: datetime, failed: list[Patch], snapshot: str | None, option: str,
        override: str | None = None,
    ) -> Report:  # fmt: skip
        """What an Install reports: what failed and what is there, never what is still missing."""
        entries = (*(Entry(patch, FAILED) for patch in failed), *self._present())
        return self._upload("Install", (started_at, ended_at), entries, snapshot, option, override)

    def _wants(self, patch: Patch, override: frozenset[str] | None) -> bool:
        return self.approves(patch) if override is None else bool({patch.id, patch.title} & override)

    def _present(self) -> Iterator[Entry]:
        for patch, installed_at in self.installed.values():
            state = INSTALLED if self.approves(patch) else INSTALLED_OTHER
            yield Entry(patch, PENDING if patch.id in self.pending else state, installed_at)

    def _upload(
        self, operation: str, times: tuple[datetime, datetime], entries: tuple[Entry, ...], snapshot: str | None,
        option: str | None, override: str | None = None,
    ) -> Report:  # fmt: skip
        held_back = operation == "Install" and option == "NoReboot"
        earlier = self.report.last_no_reboot if self.report else None
        self.report = Report(
            operation, *times, self.baseline, self.group, entries, snapshot, option, override,
            last_no_reboot=times[1] if held_back else earlier,
        )  # fmt: skip
        return self.report
