"""Starters: the files from which a new policy is written, with what is still to be said left empty."""

from __future__ import annotations

import os
from pathlib import Path

from chalicelib.core.findings import Control
from patchwarden.policy.compile import SET
from patchwarden.policy.fixtures import read_fixtures

SCHEMA = Path("docs/policy.schema.json")
EXAMPLE = "example-node"

_POLICY = """\
{schema}# A starter: say what is empty, and change what does not fit, until `patchwarden policy check` is content.
id: {id}
title:                      # one line for people: it stands in tickets and in the trail
owner:                      # who answers for it: a mail address or a team
band: standard              # guardrail, emergency, standard or default: the first band with an answer has it
mode: enforce               # shadow: judged and recorded beside the decision, and never acts
when:
  all:                      # each must hold; there are also any: (one must) and none: (none may)
    - path: $.node.tags.Environment
      equals:               # or in, exists, starts_with, gte, count and others
then:
  action:                   # exempt, ticket, observe, approve or remediate
tests:                      # event is a file under fixtures/; set and unset change its facts first
  - name: it decides about a node with that tag
    event: {fixture}
    set:
      $.node.tags.Environment:   # the value from above
    expect:
      action:               # what must be done with the node
      policy: {id}
  - name: it leaves a node without the tag alone
    event: {fixture}
    unset: [$.node.tags.Environment]
    expect: {{action: observe, policy: none}}
"""

_SET = """\
{schema}# What the organisation says once for all policies.
scope:
  accounts: []              # ids of 12 digits in quotes, such as ["111122223333"]
  regions: []               # such as [eu-west-1, us-east-1]
"""

_FIXTURE = """\
# A node to test with: the event as EventBridge brings it, and what the node's account says about it.
event:
  version: "0"
  id: 6d2f0c1e-3b54-4f0a-9a44-5f1f3f6f0a01
  detail-type: Configuration Compliance State Change
  source: aws.ssm
  account: "111122223333"
  time: 2026-11-23T11:58:31Z
  region: eu-west-1
  resources: ["arn:aws:ssm:eu-west-1:111122223333:managed-instance/i-0123456789abcdef0"]
  detail:
    resource-type: managed-instance
    resource-id: i-0123456789abcdef0
    compliance-status: non_compliant
    compliance-type: Patch
    patch-baseline-id: pb-0123456789abcdef0
    severity: critical
node:
  platform: Linux
  platform_name: Amazon Linux
  platform_version: "2023"
  tags: {Environment: dev, App: web}
patch:
  operation_end: 2026-11-23T11:57:40Z
  counts: {missing: 1, critical: 1}
  missing:
    - {id: openssl.x86_64, title: openssl, class: Security, severity: Critical}
"""


def start(directory: Path, name: str) -> list[Path]:
    """Write the starter of a policy, and the rest of the directory where there is none yet; FileExistsError."""
    target = directory / f"{name}.yaml"
    if target.exists():
        raise FileExistsError(str(target))
    fixtures = directory / "fixtures"
    fixture = _plainest(fixtures)
    texts = {target: _POLICY.format(schema=_schema(directory), id=name, fixture=fixture or EXAMPLE)}
    if not (directory / SET).exists():
        texts[directory / SET] = _SET.format(schema=_schema(directory, "SetFile"))
    if fixture is None:
        texts[fixtures / f"{EXAMPLE}.yaml"] = _schema(fixtures, "Fixture") + _FIXTURE
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _plainest(directory: Path) -> str | None:
    """A fixture of which other policies are least likely to say something: an EC2 instance with few tags."""
    usable = [
        (fixture.finding.node.kind != "ec2", len(fixture.facts["node"].get("tags", {})), name)
        for name, fixture in read_fixtures(directory)[0].items()
        if fixture is not None and fixture.finding.control is Control.PATCH and "node" in fixture.facts
    ]
    return min(usable)[-1] if usable else None


def _schema(directory: Path, part: str | None = None) -> str:
    """The line by which an editor finds the schema, if it lies where it usually does."""
    if not SCHEMA.exists():
        return ""
    where = Path(os.path.relpath(SCHEMA, directory)).as_posix()
    return f"# yaml-language-server: $schema={where}{f'#/definitions/{part}' if part else ''}\n"
