"""Compliance: what Systems Manager and Config make of a machine's report, and when they say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from chalicelib.core.nodes import Location, Node
from patchwarden.simulator.clock import VirtualClock
from patchwarden.simulator.events import PATCH_RULE, Evaluation, Event, Rule, config_rule_compliance, ssm_compliance
from patchwarden.simulator.machines import Machine, Report
from patchwarden.simulator.names import Names
from patchwarden.simulator.patches import compliance_severity

SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNSPECIFIED")


def severity(report: Report) -> str:
    """The highest severity among the patches that keep the node from being compliant."""
    found = {compliance_severity(entry.patch) for entry in report.noncompliant}
    return next((name for name in SEVERITIES if name in found), "UNSPECIFIED")


def rules_of(location: Location, accounts: Sequence[str]) -> tuple[Rule, ...]:
    """Under which names the patch rule stands: as managed rule, from a conformance pack, from Security Hub.

    Which of them, the account's place in the organisation says: 1st its own, 2nd both own and pack, 3rd Security Hub.
    """
    prefix = f"arn:aws:config:{location.region}:{location.account}:config-rule"
    own = Rule(PATCH_RULE, f"{prefix}/config-rule-p4tchx")
    pack = Rule(
        f"{PATCH_RULE}-conformance-pack-b7k2m9qxe",
        f"{prefix}/aws-service-rule/config-conforms.amazonaws.com/config-rule-c0nf0r",
    )
    hub = Rule(
        f"securityhub-{PATCH_RULE}-4e1d09ab",
        f"{prefix}/aws-service-rule/securityhub.amazonaws.com/config-rule-s3chub",
    )
    return ((own,), (own, pack), (hub,))[accounts.index(location.account) % 3]


class Compliance:
    """The results that stand, per rule and node, and the way from a report to events."""

    def __init__(
        self, clock: VirtualClock, names: Names, emit: Callable[[Event, datetime], None], accounts: Sequence[str]
    ) -> None:
        self._clock = clock
        self._names = names
        self._emit = emit
        self._accounts = tuple(accounts)
        self._results: dict[Location, dict[tuple[str, str], Evaluation]] = defaultdict(dict)
        self._told: dict[Node, Report] = {}
        self._last_item: dict[Node, datetime] = {}
        self._watchers: list[Callable[[Evaluation], None]] = []

    def watch(self, call: Callable[[Evaluation], None]) -> None:
        """Tell `call` of every result that is evaluated from now on."""
        self._watchers.append(call)

    def rules(self, location: Location) -> tuple[Rule, ...]:
        """The rules on patch compliance in one account and Region."""
        return rules_of(location, self._accounts)

    def results(self, location: Location) -> Iterator[Evaluation]:
        """Every result that stands there."""
        yield from self._results[location].values()

    def remember(self, machine: Machine) -> None:
        """Take the machine's report as long known: its results stand, and nobody is told."""
        if machine.report is None:
            return
        self._told[machine.node] = machine.report
        for rule in self.rules(machine.node.location):
            ordering = machine.report.ended_at + timedelta(seconds=5)
            self._stand(self._evaluation(rule, machine.node, machine.report, ordering, timedelta(seconds=25)))

    def uploaded(self, machine: Machine) -> None:
        """The machine uploaded a report now. Config hears of changed content only, and both speak of changes only."""
        report, before = machine.report, self._told.get(machine.node)
        assert report is not None, f"{machine.node} has uploaded nothing"
        self._told[machine.node] = report
        draw = self._names.draw("lag", machine.node, report.ended_at)
        if before is None or before.compliant != report.compliant:
            at = self._clock.now() + timedelta(milliseconds=draw.randint(900, 6000))
            name = self._names.uuid("event")
            word = ssm_compliance(name, machine.node, report.compliant, report.baseline, severity(report), at)
            self._emit(word, at)
        if before is None or before.content != report.content:
            recorded = self._recorded(machine.node, timedelta(milliseconds=draw.randint(2000, 9000)))
            for rule in self.rules(machine.node.location):
                lag = timedelta(milliseconds=draw.randint(13000, 40000))
                self._evaluate_later(rule, machine.node, report, recorded, lag)

    def _recorded(self, node: Node, lag: timedelta) -> datetime:
        """When Config records what it was told now: the items of one node in the order in which it was told them."""
        earliest = self._last_item.get(node, self._clock.now()) + timedelta(milliseconds=1)
        self._last_item[node] = max(self._clock.now() + lag, earliest)
        return self._last_item[node]

    def _evaluate_later(self, rule: Rule, node: Node, report: Report, recorded: datetime, lag: timedelta) -> None:
        evaluation = self._evaluation(rule, node, report, recorded, lag)
        self._clock.at(recorded + lag, lambda: self._evaluated(evaluation))

    def _evaluated(self, evaluation: Evaluation) -> None:
        """An evaluation that was overtaken by a newer one no longer counts."""
        old = self._results[evaluation.node.location].get((evaluation.rule.name, evaluation.node.id))
        if old and old.ordering > evaluation.ordering:
            return
        self._stand(evaluation)
        if old is None or old.compliance != evaluation.compliance:
            now = self._clock.now()
            self._emit(config_rule_compliance(self._names.uuid("event"), evaluation, old, now), now)
        for call in self._watchers:
            call(evaluation)

    def _stand(self, evaluation: Evaluation) -> None:
        self._results[evaluation.node.location][evaluation.rule.name, evaluation.node.id] = evaluation

    def _evaluation(self, rule: Rule, node: Node, report: Report, ordering: datetime, lag: timedelta) -> Evaluation:
        """`lag` is what lies between the configuration item and the notification of its evaluation."""
        return Evaluation(
            rule=rule,
            node=node,
            compliance="COMPLIANT" if report.compliant else "NON_COMPLIANT",
            ordering=ordering,
            invoked=ordering + lag - timedelta(milliseconds=1300),
            recorded=ordering + lag - timedelta(milliseconds=950),
        )
