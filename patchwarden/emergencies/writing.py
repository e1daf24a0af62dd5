"""Writing: the policy of an emergency with its tests, into a copy first, and into the repository if it holds."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from chalicelib.core.decisions import decide
from chalicelib.core.emergencies import Emergency
from chalicelib.core.findings import Control, Finding, Source
from chalicelib.core.moments import format_moment
from chalicelib.core.policies import PolicySet
from chalicelib.core.remediations import Remediation
from chalicelib.core.vocabulary import render
from patchwarden.emergencies.asking import Wanted
from patchwarden.emergencies.radius import Radius, Row
from patchwarden.policy.recording import fixture_from, to_yaml
from patchwarden.policy.testing import action_of

_HEADER = """\
# yaml-language-server: $schema=../docs/policy.schema.json
# Written by `patchwarden emergency start`. Do not edit patches: a list and its digest belong together.
"""


def policy_of(asked: Wanted, one: Emergency) -> dict[str, Any]:
    """The policy in YAML types, without its tests."""
    when = [
        {"path": "$.finding.control", "equals": Control.EMERGENCY.value},
        {"path": "$.finding.rule", "equals": one.id},
    ]
    when += [{"path": render(item["steps"]), "in": item["in"]} for item in one.scope.conditions()]
    then: dict[str, Any] = {
        "action": "remediate", "severity": asked.severity, "reboot": asked.reboot,
        "patches": [_without_nothing(each.to_json()) for each in one.lists],
    }  # fmt: skip
    if asked.through:
        then["through"] = list(asked.through)
    made: dict[str, Any] = {
        "id": one.id, "title": _title(asked, one), "owner": asked.owner, "band": "emergency", "mode": "enforce",
        "expires": format_moment(one.expires),
    }  # fmt: skip
    if asked.waves:
        made["rollout"] = {"waves": [dict(wave) for wave in asked.waves]}
    return {**made, "when": {"all": when}, "then": then}


def _without_nothing(told: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is absent, for which a policy has no word."""
    named = [{name: value for name, value in one.items() if value is not None} for one in told["named"]]
    return {**{name: value for name, value in told.items() if value is not None}, "named": named}


def _title(asked: Wanted, one: Emergency) -> str:
    what = ", ".join(one.cves) or ", ".join(dict.fromkeys(str(each) for part in one.lists for each in part.named))
    return f"Emergency {what[:300]}: {asked.because[:150]}"


def text_of(made: Mapping[str, Any]) -> str:
    """The file. Moments stand bare, since a quoted one is text to YAML and to our own shapes alike."""
    return _HEADER + to_yaml(dict(made))


def tests_of(one: Emergency, radius: Radius, after: PolicySet, least: int, now: datetime) -> dict[str, Any]:
    """Fixtures by name and the tests that use them: what is decided about nodes that it meets, and without it."""
    first = sorted(radius.met, key=lambda row: row.outcome != "starts")
    chosen = first[: max(1, least - 1)]
    fixtures = {f"{one.id}-{number}": _fixture(row) for number, row in enumerate(chosen, 1)}
    tests = [_test(name, row, after, now) for name, row in zip(fixtures, chosen, strict=True)]
    others = range(1, max(1, least - len(tests)) + 1)
    tests += [_other(next(iter(fixtures)), chosen[0], f"emergency-other-{one}", after, now) for one in others]
    return {"fixtures": fixtures, "tests": tests}


def _fixture(row: Row) -> dict[str, Any]:
    return fixture_from(Remediation(row.seen.node, Control.EMERGENCY), row.facts)


def _test(name: str, row: Row, after: PolicySet, now: datetime) -> dict[str, Any]:
    assert row.decision is not None, "only a node that is acted on is a fixture"
    made = row.decision.sets["decision"]
    expect = {"action": action_of(row.decision), "policy": made["policy"] or "none"}
    return {
        "name": f"{row.seen.node.id} {row.seen.said}"[:200],
        "event": name,
        "now": format_moment(now),
        "expect": expect,
    }


def _other(name: str, row: Row, other: str, after: PolicySet, now: datetime) -> dict[str, Any]:
    """The same node found by another emergency, about which this policy says nothing."""
    facts = {**row.facts, "finding": {**row.facts["finding"], "rule": other}}
    finding = Finding(row.seen.node, Control.EMERGENCY, False, now, Source.EMERGENCY, rule=other)
    decision = decide(finding, Remediation(row.seen.node, Control.EMERGENCY), facts, after, now)
    made = decision.sets.get("decision", {})
    expect = {"action": action_of(decision), "policy": made.get("policy") or "none"}
    return {"name": f"of {other} it says nothing", "event": name, "now": format_moment(now),
            "set": {"$.finding.rule": other}, "expect": expect}  # fmt: skip


@contextmanager
def copied(directory: Path) -> Iterator[Path]:
    """A copy of the policies, to try in what is not to be kept if it does not hold."""
    with tempfile.TemporaryDirectory(prefix="patchwarden-") as folder:
        copy = Path(folder) / directory.resolve().name
        shutil.copytree(directory, copy)
        yield copy


def write(directory: Path, made: Mapping[str, Any], fixtures: Mapping[str, Any]) -> list[Path]:
    """The policy and its fixtures below the directory; the paths, the policy's first."""
    policy = directory / f"{made['id']}.yaml"
    written = [policy]
    policy.write_text(text_of(made), encoding="utf-8")
    for name, fixture in fixtures.items():
        path = directory / "fixtures" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(to_yaml(fixture), encoding="utf-8")
        written.append(path)
    return written


_MODE = re.compile(r"^mode: enforce$", re.MULTILINE)


def switch_off(directory: Path, id: str) -> Path | None:
    """Set the mode of the emergency's file to off; None if there is no such file, or it says otherwise."""
    path = directory / f"{id}.yaml"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if not _MODE.search(text):
        return None
    path.write_text(_MODE.sub('mode: "off"', text, count=1), encoding="utf-8")
    return path
