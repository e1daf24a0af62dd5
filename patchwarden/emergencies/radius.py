"""Radius: whom an emergency meets, what is decided about each, and what it passes over, with nothing written yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from chalicelib.core.decided import Decision
from chalicelib.core.decisions import decide
from chalicelib.core.emergencies import Emergency
from chalicelib.core.evaluation import judge
from chalicelib.core.facts import PatchState, gather
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment
from chalicelib.core.nodes import Location, Node
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Cause, Remediation
from chalicelib.core.waves import number
from chalicelib.crew import all_of, parts
from chalicelib.ports import Ports
from chalicelib.seek import AT_ONCE, Seen, look
from patchwarden.emergencies.resolving import at_all, system


@dataclass(frozen=True, slots=True)
class Row:
    """One node: how it stands, what is decided about it, and what it would have waited for otherwise."""

    seen: Seen
    cluster: str
    standing: str
    meets: bool
    decision: Decision | None
    facts: Mapping[str, Any] = field(hash=False)
    window: str | None = None
    wave: int | None = None

    @property
    def outcome(self) -> str:
        """`starts`, `waits`, `ticket`, `exempt`, or `-` for a node that is not acted on."""
        if self.decision is None:
            return "-"
        words = {Cause.QUEUED: "starts", Cause.DEFERRED: "waits", Cause.TICKETED: "ticket", Cause.EXEMPTED: "exempt"}
        return words.get(self.decision.cause, self.decision.cause.value)

    @property
    def reach(self) -> str:
        """Whether its agent would take a command now."""
        state = self.seen.state
        return "online" if state.online else "stopped" if state.stopped else "silent"

    @property
    def exposed(self) -> bool:
        """Whether an exemption meets the emergency: then it is a person's turn."""
        return self.decision is not None and self.decision.because.startswith("exempt node exposed")

    def to_json(self) -> dict[str, Any]:
        node = self.seen.node
        return {
            "node": str(node), "account": node.account, "region": node.region, "cluster": self.cluster,
            "platform": system(self.seen.state) or self.seen.state.platform or "", "standing": self.standing,
            "says": str(self.seen.said or ""), "reach": self.reach, "outcome": self.outcome,
            "because": self.decision.because if self.decision else "", "window": self.window,
            "wave": None if self.wave is None else self.wave + 1,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Radius:
    """Every node in scope, the places that could not be read, and the freezes that hold or are passed through."""

    rows: tuple[Row, ...]
    unread: Mapping[str, str] = field(hash=False)
    freezes: Mapping[str, str] = field(default_factory=dict, hash=False)
    waves: tuple[str, ...] = ()

    @property
    def met(self) -> tuple[Row, ...]:
        """The nodes that get a case."""
        return tuple(row for row in self.rows if row.meets)

    def by_wave(self) -> list[int]:
        return [sum(row.wave == at for row in self.met) for at in range(len(self.waves))]

    def summary(self) -> list[dict[str, Any]]:
        """Counts by account, Region, operating system and cluster."""
        keys = ("account", "region", "platform", "cluster")
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            told = row.to_json()
            groups.setdefault(tuple(str(told[key]) for key in keys), []).append(row)
        return [{**dict(zip(keys, key, strict=True)), **_counts(rows)} for key, rows in sorted(groups.items())]

    def to_json(self) -> dict[str, Any]:
        return {
            "totals": _counts(self.rows),
            "groups": self.summary(),
            "nodes": [row.to_json() for row in self.rows],
            "windows": dict(Counter(row.window for row in self.met if row.window)),
            "freezes": dict(self.freezes),
            "waves": [{"wave": at + 1, "who": who, "nodes": count} for at, (who, count) in
                      enumerate(zip(self.waves, self.by_wave(), strict=True))],
            "unread": dict(self.unread),
        }  # fmt: skip


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    met = [row for row in rows if row.meets]
    standings = Counter(row.standing for row in rows)
    return {
        "nodes": len(rows), "lacks": standings["lacks"], "pending": standings["pending"],
        "unsaid": standings["unsaid"], "has": standings["has"], "unnamed": standings["unnamed"],
        "acted_on": len(met), "starts": sum(row.outcome in ("starts", "waits") for row in met),
        "tickets": sum(row.outcome == "ticket" for row in met), "exempt": sum(row.exposed for row in met),
        "stopped": sum(row.reach == "stopped" for row in met), "silent": sum(row.reach == "silent" for row in met),
    }  # fmt: skip


def survey(
    ports: Ports, places: Sequence[Location], one: Emergency, before: PolicySet, after: PolicySet, now: datetime
) -> Radius:
    """Every node in scope, judged by the set with the emergency in it; `before` is what decides today."""
    told, unread = at_all(ports, places, partial(_rows, ports, one, before, after, now))
    rows = [row for rows, _ in told for row in rows]
    unread |= {node: "it refuses to say what it has" for _, left in told for node in left}
    policy = next(each for each in after.policies if each.id == one.id)
    freezes = {
        freeze.name: ("overridden" if freeze.name in policy.then.through else "holds")
        + f" until {format_moment(freeze.until)}: {freeze.reason}"
        for freeze in after.settings.freezes
        if freeze.since < one.expires and freeze.until > now
    }
    waves = tuple(str(wave) for wave in policy.then.waves)
    return Radius(tuple(_numbered(rows, policy.id, [wave.nodes for wave in policy.then.waves])), unread, freezes, waves)


def _rows(
    ports: Ports, one: Emergency, before: PolicySet, after: PolicySet, now: datetime, place: Location
) -> tuple[list[Row], list[str]]:
    """The nodes of a place, and those that refused an answer."""
    rows, left, make = list[Row](), list[str](), partial(_row, ports, one, before, after, now)
    for part in look(ports, place, one):
        left += [f"{place}/{id}" for id in part.left]
        rows += [row for few in parts(part.seen, AT_ONCE) for row in all_of(ports, few, make)]
    return rows, left


def _row(ports: Ports, one: Emergency, before: PolicySet, after: PolicySet, now: datetime, seen: Seen) -> Row:
    """Of a node that is passed over, nothing but how it stands is asked."""
    standing = seen.said.standing.value if seen.said else "unnamed"
    cluster = str((seen.state.tags or {}).get("Cluster") or seen.state.group or "")
    if seen.said is None or not one.wants(seen.said):
        return Row(seen, cluster, standing, False, None, {})
    scan = seen.scan
    if scan and "patch.missing" in before.blocks | after.blocks:
        scan = ports.inventory.patches(seen.node, scan) if scan.noncompliant else replace(scan, patches=())
    finding = Finding(seen.node, Control.EMERGENCY, False, now, Source.EMERGENCY, rule=one.id)
    case = Remediation(seen.node, Control.EMERGENCY)
    facts = gather(finding, case, seen.state, scan)
    decision = decide(finding, case, facts, after, now)
    wave = decision.sets.get("decision", {}).get("wave")
    return Row(seen, cluster, standing, True, decision, facts, _window(seen, scan, before, now), wave)


def _window(seen: Seen, scan: PatchState | None, before: PolicySet, now: datetime) -> str | None:
    """The window that the node's patches wait for otherwise."""
    finding = Finding(seen.node, Control.PATCH, False, now, Source.SWEEP)
    facts = gather(finding, Remediation(seen.node, Control.PATCH), seen.state, scan)
    winner = judge(before, facts, now).winner
    return winner.then.window if winner else None


def _numbered(rows: Sequence[Row], policy: str, counts: Sequence[int | None]) -> Iterator[Row]:
    """The rows with those that a wave of so many nodes will choose: the first by their number, as dispatch does."""
    chosen: dict[Node, int] = {}
    for at, most in enumerate(counts):
        rest = [row for row in rows if row.outcome == "starts" and row.wave is not None and row.wave > at]
        rest = [row for row in rest if row.seen.node not in chosen]
        rest.sort(key=lambda row: number(policy, str(row.seen.node)))
        chosen |= {row.seen.node: at for row in rest[: most or 0]}
    for row in rows:
        yield replace(row, wave=chosen.get(row.seen.node, row.wave) if row.outcome == "starts" else None)
