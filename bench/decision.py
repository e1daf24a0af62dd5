"""A decision: what it costs with 20 policies against c7n's event filters, and with 10,000 policies against 10.

Both engines judge the same rules on the same facts, in turns in one run, and must agree on what matches; the best of
several rounds of CPU time counts. c7n lives in an environment of its own, which this script makes: its pins are not
ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from bench.storm import DECISION, write_part
from chalicelib.core.compiled import VERSION, digest_of
from chalicelib.core.conditions import Truth
from chalicelib.core.evaluation import evaluate, judge
from chalicelib.core.policies import PolicySet
from chalicelib.core.vocabulary import render

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".cache" / "c7n-venv"
C7N = "c7n==0.9.53"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
FEW, MANY, REAL = 10, 10_000, 20

Rule = list[tuple[tuple[str, ...] | str, str, Any]]
"""What one policy asks: a path (or a count of missing patches of a severity), an operator and an operand."""

Shape = Callable[[int, bool], Rule]
"""The rule of policy n, and whether it is the one that matches."""

_OPERATORS = {"equals": "eq", "in": "in", "gte": "gte", "starts_with": "regex"}

CHILD = """
import json, sys, time
from c7n.filters.core import EventFilter
class Manager: data = {"mode": {}}
told = json.load(sys.stdin)
policies = [[EventFilter(each, Manager()) for each in policy] for policy in told["policies"]]
def matching(event):
    found = []
    for number, filters in enumerate(policies):
        for each in filters:
            if not each.process([event], event):
                break
        else:
            found.append(number)
    return found
found = matching(told["event"])
best = None
for _ in range(told["rounds"]):
    began = time.process_time()
    for _ in range(told["times"]):
        matching(told["event"])
    took = (time.process_time() - began) / told["times"]
    best = took if best is None else min(best, took)
print(json.dumps({"us": best * 1e6, "matching": found}))
"""

PAGE = """## A decision

Which policy decides about one event, in CPU time of one core, the best of {rounds} rounds. Cloud Custodian's event
filters judge the same rules on the same facts in the same run, and agree on what matches. *{many:,} against {few}* is
the worst of three places of the one policy that matches.

```text
{told}
```
"""


@click.command()
@click.option("--rounds", default=30, show_default=True, help="The best of so many rounds counts.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "docs", show_default=False)
def main(rounds: int, out: Path) -> None:
    """Print the figures beside their budgets, and write them into benchmarks.md."""
    event = facts()
    python = c7n()
    said = [
        f"one event of {len(json.dumps(event)) / 1000:.1f} kB with {len(event['patch']['missing'])} missing patches"
    ]
    said += against_c7n("20 policies", event, python, rounds)
    said += against_c7n("20 policies, no match", quiet(event), python, rounds)
    said += [growth(name, shape, event, rounds) for name, shape in SHAPES.items()]
    click.echo("\n".join(said))
    write_part(out / "benchmarks.md", DECISION, PAGE.format(rounds=rounds, few=FEW, many=MANY, told="\n".join(said)))


def against_c7n(name: str, event: dict[str, Any], python: Path | None, rounds: int) -> list[str]:
    policies = loaded([realistic(number) for number in range(REAL)])
    ours = sorted(int(one.policy.id[1:]) for one in evaluate(policies, event, NOW) if one.truth is Truth.TRUE)
    told = {"policies": [[in_c7n(*asked) for asked in realistic(number)] for number in range(REAL)], "event": event}
    mine, theirs = [], []
    for _ in range(3):
        mine.append(best(policies, event, rounds))
        if python is not None:
            theirs.append(ask_c7n(python, {**told, "rounds": rounds, "times": 50}))
    said = f"{name:<24}{min(mine):7.1f} us   budget 60 us; {len(ours)} match"
    if not theirs:
        return [said, "  c7n's filters         not measured: c7n could not be installed"]
    assert theirs[0]["matching"] == ours, f"c7n matches {theirs[0]['matching']}, we match {ours}"
    their = min(answer["us"] for answer in theirs)
    ratio = min(mine) / their
    return [said, f"  c7n's filters         {their:7.1f} us   ours is {ratio:.2f} x, budget 0.5 x; the same match"]


def growth(name: str, shape: Shape, event: dict[str, Any], rounds: int) -> str:
    """The worst ratio over three places of the one policy that matches: best, middle and worst in rank."""
    found = []
    for place in (0.0, 0.5, 0.999_99):
        few, many = (one_wins(shape, number, int(place * number), event) for number in (FEW, MANY))
        turns = [(best(few, event, 1), best(many, event, 1)) for _ in range(rounds)]
        small, large = (min(times) for times in zip(*turns, strict=True))
        found.append((large / small, small, large))
    ratio, small, large = max(found)
    return f"{MANY:,} against {FEW}{large:12.1f} us   {ratio:.2f} x of {small:.1f} us, budget 1.5 x; {name}"


def one_wins(shape: Shape, number: int, wins: int, event: dict[str, Any]) -> PolicySet:
    policies = loaded([shape(each, each == wins) for each in range(number)])
    winner = judge(policies, event, NOW).winner
    assert winner is not None
    assert winner.id == f"p{wins:05}"
    return policies


# --- rules ----------------------------------------------------------------------------------------------------------


def realistic(number: int) -> Rule:
    """Twenty policies as a security team writes them: tags, places, counts, and single patches."""
    environment: Rule = [
        (("node", "tags", "Environment"), "in", ["prod", "production"] if number % 2 else ["dev", "test"])
    ]
    own: list[Rule] = [
        [(("node", "tags", "App"), "equals", "payments" if number == 5 else f"app-{number}")],
        [(("patch", "counts", "critical"), "gte", 1 + number % 3), (("node", "platform"), "equals", "Linux")],
        [(("account",), "in", ["111122223333", f"4444555566{number:02}"]), (("region",), "equals", "eu-west-1")],
        [("Critical" if number % 3 else "Important", "gte", 1)],
        [(("node", "tags", "Owner"), "starts_with", "data"), (("finding", "control"), "equals", "patch")],
    ]
    return environment + own[number % 5]


SHAPES: dict[str, Shape] = {
    "an equality of its own each": lambda number, wins: [
        (("node", "tags", "App"), "equals", "payments" if wins else f"app-{number}")
    ],
    "all share one equality": lambda number, wins: [
        (("node", "tags", "Environment"), "equals", "prod"),
        (("node", "tags", "App"), "equals", "payments" if wins else f"app-{number}"),
    ],
    "all share one equality and one comparison, which is false for all but one": lambda number, wins: [
        (("node", "tags", "Environment"), "equals", "prod"),
        (("patch", "counts", "missing"), "gt", 0 if wins else 99),
    ],
}


def facts() -> dict[str, Any]:
    """About 3 kB, as gathered for a prod node."""
    severities = ["Critical", "Important", "Moderate", "Low"]
    missing = [
        {"id": f"package-{number}.x86_64", "title": f"package-{number}-1:2.34-{number}.el9_6.x86_64 for Red Hat",
         "class": "Security" if number % 2 else "Bugfix", "severity": severities[number % 4], "state": "MISSING"}
        for number in range(10)
    ]  # fmt: skip
    rule = "ec2-managedinstance-patch-compliance-status-check"
    return {
        "account": "111122223333", "region": "eu-west-1", "time": "2026-11-23T11:58:02.114Z",
        "detail": {"resourceId": "AWS::SSM::ManagedInstanceInventory/i-0a1b2c3d4e5f60718", "configRuleName": rule,
                   "resourceType": "AWS::SSM::PatchCompliance", "awsRegion": "eu-west-1",
                   "awsAccountId": "111122223333", "newEvaluationResult": {"complianceType": "NON_COMPLIANT"}},
        "finding": {"node": "i-0a1b2c3d4e5f60718", "control": "patch", "source": "config", "rule": rule},
        "history": {"attempts": 0, "first_seen": "2026-11-23T11:58:02.114Z", "last_outcome": None, "state": "open"},
        "node": {"id": "i-0a1b2c3d4e5f60718", "kind": "ec2", "state": "running", "ping": "Online", "platform": "Linux",
                 "platform_name": "Red Hat Enterprise Linux", "platform_version": "9.4", "agent_version": "3.3.3050.0",
                 "group": None, "zone": "eu-west-1b",
                 "tags": {"Environment": "prod", "App": "payments", "Owner": "pay@example.com", "Cluster": "db-a"}},
        "patch": {"baseline": "pb-0123456789abcdef0", "operation": "Scan", "snapshot": None,
                  "operation_end": "2026-11-23T11:57:12.000Z", "pending_reboot": False, "missing": missing,
                  "counts": {"missing": 10, "failed": 0, "rejected": 0, "pending_reboot": 0, "critical": 2,
                             "security": 3, "other": 5}},
    }  # fmt: skip


def quiet(event: dict[str, Any]) -> dict[str, Any]:
    """The same, but for a node that no policy speaks for, which is known only when all of them were asked."""
    calm = [{**patch, "severity": "Low"} for patch in event["patch"]["missing"]]
    patch = {**event["patch"], "missing": calm, "counts": {**event["patch"]["counts"], "critical": 0}}
    tags = {**event["node"]["tags"], "App": "unheard-of"}
    return {**event, "account": "999900001111", "node": {**event["node"], "tags": tags}, "patch": patch}


def loaded(rules: list[Rule]) -> PolicySet:
    document: dict[str, Any] = {
        "version": VERSION,
        "settings": {
            "linger": 300, "verify_within": 7200, "executions_per_location": 10, "freezes": [], "documents": [],
            "surge": None,
            "scope": {"accounts": ["111122223333"], "regions": ["eu-west-1"]}, "windows": {},
        },
        "policies": [in_ours(number, rule) for number, rule in enumerate(rules)], "schedules": [],
    }  # fmt: skip
    return PolicySet.load({**document, "digest": digest_of(document)})


def in_ours(number: int, rule: Rule) -> dict[str, Any]:
    limits = {"concurrency": "10%", "max_errors": "10%", "max_per_hour": None, "per_group": None, "error_budget": None}
    then = {
        "action": "remediate", "severity": 3, "window": None, "deadline": None, "on_deadline": "ticket",
        "reboot": "if-needed", "attempts": 3, "cooldown": 1800, "stopped": "wait", "snapshot": False, "limits": limits,
        "document": None, "until": None, "reason": None, "approved": None,
        "approval": None, "waves": [],
    }  # fmt: skip
    return {
        "id": f"p{number:05}", "title": "measured", "owner": "bench@example.com", "band": "standard", "mode": "enforce",
        "priority": 0, "expires": None, "rollout": None, "origin": "bench.yaml:1", "then": then,
        "when": {"all": [clause(*asked) for asked in rule], "any": [], "none": []},
    }  # fmt: skip


def clause(path: tuple[str, ...] | str, operator: str, operand: Any) -> dict[str, Any]:
    common = {"match": "any", "if_missing": False, "line": 1}
    if isinstance(path, str):
        text = f"$.patch.missing[?@.class == 'Security' && @.severity == '{path}']"
        return {"path": text, "steps": None, "operator": "count", "operand": {operator: operand}, **common}
    return {"path": render(path), "steps": list(path), "operator": operator, "operand": operand, **common}


def in_c7n(path: tuple[str, ...] | str, operator: str, operand: Any) -> dict[str, Any]:
    if isinstance(path, str):
        key = f"length(patch.missing[?class=='Security' && severity=='{path}'])"
    else:
        key = ".".join(path)
    value = f"^{operand}" if operator == "starts_with" else operand
    return {"type": "event", "key": key, "op": _OPERATORS[operator], "value": value}


# --- measuring ------------------------------------------------------------------------------------------------------


def best(policies: PolicySet, event: dict[str, Any], rounds: int, times: int = 200) -> float:
    """Microseconds for one verdict."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            judge(policies, event, NOW)
        taken.append((time.process_time() - began) / times)
    return min(taken) * 1e6


def c7n() -> Path | None:
    """The interpreter of c7n's own environment, made when it is first needed; None if it cannot be made."""
    python = ENVIRONMENT / "bin" / "python"
    if (
        python.exists()
        and subprocess.run([python, "-c", "import c7n"], capture_output=True, check=False).returncode == 0
    ):
        return python
    print(f"installing {C7N} into {ENVIRONMENT.relative_to(ROOT)} (once)", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", C7N]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"c7n cannot be installed: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
    return None if done.returncode else python


def ask_c7n(python: Path, told: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run([python, "-c", CHILD], input=json.dumps(told), capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":
    main()
