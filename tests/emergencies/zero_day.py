"""A zero-day in a simulated organisation: the real service over a ledger file, and the command line beside it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from chalicelib import follow, intake, wiring
from chalicelib.adapters.lists import FolderLists
from chalicelib.core.events import ExecutionUpdate, parse
from chalicelib.core.findings import Control, remediation_id
from chalicelib.core.nodes import Node
from chalicelib.core.remediations import Remediation
from chalicelib.dispatch import dispatch
from chalicelib.ports import Ports
from chalicelib.sweep import sweep
from patchwarden.cli import cli
from patchwarden.policy.publish import publish
from patchwarden.policy.sets import from_directory
from patchwarden.simulator.events import Event
from patchwarden.simulator.machines import Machine
from patchwarden.simulator.patches import Patch
from patchwarden.simulator.simulation import Simulation, simulate

SHIPPED = Path(__file__).parents[2] / "policies"
CVE = "CVE-2026-990001"
AGENT = Patch("amazon-ssm-agent.x86_64", "amazon-ssm-agent.x86_64:0:3.3.9999.0-1.amzn2023", "Bugfix", "None")
FIX = Patch("xz-libs.x86_64", "xz-libs.x86_64:0:5.6.2-1.amzn2023", "Security", "Critical", (CVE,))


class ZeroDay:
    """Simulation, service and command line over one ledger file. A fix that the baseline does not approve is AGENT."""

    def __init__(self, folder: Path, nodes: int = 40, seed: int = 11) -> None:
        self.folder, self.directory = folder, folder / "policies"
        shutil.copytree(SHIPPED, self.directory)
        self.sim: Simulation = simulate(self._arrived, seed=seed, nodes=nodes)
        ledger = folder / "ledger.sqlite"
        settings = wiring.Settings(sqlite=str(ledger), hub_account=self.sim.aws.accounts[0])
        self.ports: Ports = wiring.build(settings, session=self.sim.session, clock=self.sim.clock, quiet=True)
        shelf = wiring.shelf(settings)
        assert shelf is not None
        document = from_directory("first", self.directory).document
        publish(
            self.ports.ledger, shelf, document, None, by="secops", because="the first set", now=self.sim.clock.now()
        )
        self.lists = self.ports.lists
        assert isinstance(self.lists, FolderLists)
        self.sim.aws.commands.read_list = self._read
        self.ledger = ledger

    def _read(self, url: str) -> bytes | None:
        assert isinstance(self.lists, FolderLists)
        return self.lists.text(url.rsplit("/", 1)[-1].removesuffix(".yaml"))

    def _arrived(self, event: Event) -> None:
        if isinstance(parse(event), ExecutionUpdate):
            follow.follow(self.ports, event)
        else:
            intake.receive(self.ports, event)

    def run(self, *, minutes: int) -> None:
        """Let time pass, with the rounds and sweeps of the service."""
        for minute in range(1, minutes + 1):
            self.sim.clock.run_until(self.sim.clock.now() + timedelta(minutes=1))
            dispatch(self.ports)
            if minute % 15 == 0:
                sweep(self.ports)

    def scan(self) -> None:
        """Every machine that answers is scanned now."""
        self.sim.life.daily_scan(within=timedelta(minutes=2))
        self.sim.clock.run_until(self.sim.clock.now() + timedelta(minutes=5))

    def plain(self, count: int, platform: str = "amazon-linux", **tags: str) -> list[Machine]:
        """Running machines that play no part."""
        fits = [
            one for one in self.sim.fleet.machines.values()
            if one.online and not one.hybrid and not one.parts - {"new"} and one.platform.key == platform
        ]  # fmt: skip
        for one in fits[:count]:
            one.tags.update(tags)
        assert len(fits) >= count, len(fits)
        return fits[:count]

    def cli(self, *words: str, answer: str | None = None) -> Result:
        """The command line against the deployed service, whose place this bundle takes."""
        wiring.use(self.ports)
        environment = {"PATCHWARDEN_SQLITE": str(self.ledger)}
        try:
            return CliRunner().invoke(cli, [*words], input=answer, prog_name="patchwarden", env=environment)
        finally:
            wiring.use(None)

    def start(self, *words: str, answer: str | None = None, yes: bool = True) -> Result:
        given = ["--policies", str(self.directory), "--by", "night@example.com", "--because", "exploited in the wild"]
        return self.cli("emergency", "start", *words, *given, *(["--yes"] if yes else []), answer=answer)

    def stop(self, id: str, because: str) -> Result:
        return self.cli("emergency", "stop", id, "--because", because, "--policies", str(self.directory))

    def json(self, *words: str) -> Any:
        found: Any = json.loads(self.cli(*words, "-o", "json").stdout)
        return found

    def case(self, node: Node) -> Remediation | None:
        return self.ports.ledger.head(remediation_id(node, Control.EMERGENCY))

    def causes(self, node: Node) -> list[str]:
        return [line.cause.value for line in self.ports.ledger.trail(remediation_id(node, Control.EMERGENCY))]

    def fresh(self) -> None:
        """A bundle that has just started, as each Lambda and each command is."""
        self.ports = replace(
            self.ports,
            policies=wiring.policies(
                wiring.Settings(sqlite=str(self.ledger)), self.ports.ledger, self.sim.clock, self.ports.notices
            ),
        )
