"""`patchwarden policy check` of 50 policies with 150 tests, against `custodian validate` of one file.

Both are whole commands, from the start of the interpreter to its end, in turns in one run; the best of several rounds
counts. The check loads, compares and tests; validate only holds one file against a schema. c7n lives in the
environment that bench/decision.py makes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
CUSTODIAN = ROOT / ".cache" / "c7n-venv" / "bin" / "custodian"
POLICIES, TESTS = 50, 3
BUDGET = 1.0

SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
windows: {prod-saturday: {cron: "0 2 ? * SAT *", zone: Europe/Dublin, duration: 4h}}
"""
POLICY = """\
id: app-{number:02}
title: Critical patches of application {number} wait for Saturday
owner: secops@example.com
when:
  all:
    - {{path: $.node.tags.Environment, in: [prod, production]}}
    - {{path: $.node.tags.App, equals: app-{number:02}}}
    - path: $.patch.missing[?@.class == 'Security' && @.severity == 'Critical']
      count: {{gte: 1}}
then: {{action: remediate, window: prod-saturday, deadline: 14d, limits: {{max_per_hour: {most}}}}}
tests:
  - name: a critical patch waits for Saturday
    event: prod-linux
    set: {{$.node.tags.App: app-{number:02}}}
    now: 2026-11-23T12:00:00Z
    expect: {{action: remediate, policy: app-{number:02}, window: prod-saturday, starts: 2026-11-28T02:00:00Z}}
  - name: dev is none of its business
    event: prod-linux
    set: {{$.node.tags.App: app-{number:02}, $.node.tags.Environment: dev}}
    expect: {{action: observe, policy: none}}
  - name: nor is a node without critical patches
    event: prod-linux
    set: {{$.node.tags.App: app-{number:02}, $.patch.missing: []}}
    expect: {{action: observe, policy: none}}
"""
CUSTODIAN_FILE = """\
policies:
  - name: prod-offline
    resource: aws.ssm-managed-instance
    filters:
      - {type: value, key: PlatformType, value: Linux}
      - {type: value, key: PingStatus, op: ne, value: Online}
"""


@click.command()
@click.option("--rounds", default=5, show_default=True, help="The best of so many rounds counts.")
def main(rounds: int) -> None:
    """Print the times beside the budget; exit 1 if the check is over it."""
    with tempfile.TemporaryDirectory() as folder:
        directory, file = written(Path(folder))
        check = [sys.executable, "-m", "patchwarden", "policy", "check", "--strict", str(directory),
                 "--now", "2026-11-23T12:00:00Z"]  # fmt: skip
        validate = [str(CUSTODIAN), "validate", str(file)] if CUSTODIAN.exists() else None
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(seconds(check))
            if validate:
                theirs.append(seconds(validate))
    best = min(ours)
    print(f"policy check            {best * 1000:7.0f} ms   budget {BUDGET * 1000:.0f} ms; "
          f"{POLICIES} policies, {POLICIES * TESTS} tests, all passed")  # fmt: skip
    if theirs:
        print(f"  custodian validate    {min(theirs) * 1000:7.0f} ms   ours is {best / min(theirs):.2f} x; one file")
    else:
        print("  custodian validate    not measured: bench/decision.py installs it")
    sys.exit(best > BUDGET)


def written(folder: Path) -> tuple[Path, Path]:
    """The directory that is checked and the file that is validated."""
    directory = folder / "policies"
    (directory / "fixtures").mkdir(parents=True)
    shutil.copy(ROOT / "policies" / "fixtures" / "prod-linux.yaml", directory / "fixtures")
    (directory / "_set.yaml").write_text(SET)
    for number in range(POLICIES):
        text = POLICY.format(number=number, most=number + 1)
        (directory / f"app-{number:02}.yaml").write_text(text)
    file = folder / "custodian.yml"
    file.write_text(CUSTODIAN_FILE)
    return directory, file


def seconds(command: list[str]) -> float:
    """Wall time of a command that must succeed."""
    home = {**os.environ, "AWS_DEFAULT_REGION": "eu-west-1"}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=home)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return took


if __name__ == "__main__":
    main()
