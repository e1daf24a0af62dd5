"""Examples: for each code a file that is told with it, and one that is not; the page of codes is written from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from patchwarden.policy.lint import check_directory
from patchwarden.policy.problems import CODES, Problem
from patchwarden.policy.source import LARGEST
from patchwarden.policy.testing import Result

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""When the examples are looked at."""

POLICY = """\
id: prod-window
title: Prod waits for the Saturday window
owner: secops@example.com
when: {all: [{path: $.node.tags.Environment, equals: prod}]}
then: {action: ticket}
"""
SET = """\
scope: {accounts: ["111122223333"], regions: [eu-west-1]}
windows: {prod-saturday: {cron: "0 2 ? * SAT *", zone: Europe/Dublin, duration: 4h}}
documents: [Example-Repair]
hooks: [Example-Drain]
ceilings: {attempts: 5, exemption: 180d}
tests: {at_least: 0, both_outcomes: false}
"""
FIXTURE = """\
event:
  version: "0"
  id: 5f0d8a52-6c0e-4f5e-9d3c-0a1b2c3d4e01
  detail-type: Configuration Compliance State Change
  source: aws.ssm
  account: "111122223333"
  time: 2026-11-23T11:58:31Z
  region: eu-west-1
  resources: []
  detail:
    resource-type: managed-instance
    resource-id: i-0a1b2c3d4e5f60701
    compliance-type: Patch
    compliance-status: non_compliant
    severity: Critical
node: {tags: {Environment: prod, App: web}}
patch: {operation_end: 2026-11-23T11:57:12Z, counts: {missing: 1}}
"""
SCHEDULE = """\
id: daily-scan
title: Every node is scanned once a day
owner: secops@example.com
operation: Scan
cron: "0 6 ? * * *"
zone: Europe/Dublin
target: {all: true}
"""
BASELINE = """\
id: windows
title: Security updates a week after their release
owner: secops@example.com
os: WINDOWS
rules: [{classification: [SecurityUpdates], approve_after_days: 7}]
patch_groups: [prod]
"""
BULK = "<more than 1 MiB of text>"
MANY = "<51 units>"
_UNITS = ", ".join(f"ou-ab12-{number:08}" for number in range(51))

_FILES = {"policy": "prod-window.yaml", "set": "_set.yaml", "fixture": "fixtures/prod.yaml",
          "schedule": "schedules/daily-scan.yaml", "baseline": "baselines/windows.yaml"}  # fmt: skip
_MARKER = re.compile(r"(?m)^# (\S+\.yaml)\n")
_KEY = re.compile(r"(?m)^([A-Za-z_]+):")


@dataclass(frozen=True, slots=True)
class Example:
    """Top-level fields of one file; what they leave out is as in the files above, unless it is `whole`.

    A line such as `# other.yaml` begins another file beside it.
    """

    wrong: str
    right: str
    file: str = "policy"
    whole: bool = False

    def write(self, text: str, directory: Path) -> None:
        """A directory that holds this, and is sound otherwise."""
        files = {"_set.yaml": SET, "prod-window.yaml": POLICY, "fixtures/prod.yaml": FIXTURE,
                 "schedules/daily-scan.yaml": SCHEDULE, "baselines/windows.yaml": BASELINE}  # fmt: skip
        for name, part in self._parts(text):
            base = BASELINE if name.startswith("baselines/") else POLICY
            files[name] = part if self.whole else completed(files.get(name, base), part)
        for folder in ("fixtures", "schedules", "baselines"):
            (directory / folder).mkdir(parents=True)
        for name, content in files.items():
            (directory / name).write_text(content.replace(BULK, "x" * LARGEST).replace(MANY, _UNITS), encoding="utf-8")

    def _parts(self, text: str) -> Iterator[tuple[str, str]]:
        first, *others = _MARKER.split(text)
        if first:
            yield _FILES[self.file], first
        yield from zip(others[::2], others[1::2], strict=True)


def completed(base: str, part: str) -> str:
    """The part, and those top-level fields of the base that it does not have."""
    given = set(_KEY.findall(part))
    chunks = re.split(r"(?m)^(?=[A-Za-z_])", base)
    return "".join(chunk for chunk in chunks if chunk.partition(":")[0] not in given) + part


def _when(wrong: str, right: str) -> Example:
    frame = "when:\n  all:\n    - {{{}}}\n"
    return Example(frame.format(wrong), frame.format(right))


def _then(wrong: str, right: str) -> Example:
    return Example(f"then: {{{wrong}}}\n", f"then: {{{right}}}\n")


def _exemption(*, wrong: dict[str, str], right: dict[str, str]) -> Example:
    frame = """\
then:
  action: exempt
  until: {until}
  reason: Its vendor supports no newer kernel
  approved: {{by: ciso@example.com, on: {on}, ticket: RISK-2041}}
"""
    good = {"until": "2027-03-31T00:00:00Z", "on": "2026-11-02"}
    return Example(frame.format(**{**good, **wrong}), frame.format(**{**good, **right}))


def _tests(wrong: str, right: str, rules: str = "") -> Example:
    """The tests of a policy, under rules for how many there must be."""
    given = f"# _set.yaml\n{rules}# prod-window.yaml\n" if rules else ""
    return Example(f"{given}tests:\n{wrong}", f"{given}tests:\n{right}")


_TAG = "path: $.node.tags.Environment"
_PROD = "  - {name: prod is a ticket, event: prod, expect: {action: ticket, policy: prod-window}}\n"
_DEV = "  - {name: dev is not, event: prod, set: {$.node.tags.Environment: dev}, expect: {action: observe}}\n"
_TWO_TESTS = "tests: {at_least: 2, both_outcomes: true}\n"
_NARROW = """\
# web.yaml
id: web
title: Web servers of prod are urgent
priority: {}
when:
  all:
    - {{path: $.node.tags.Environment, equals: prod}}
    - {{path: $.node.tags.App, equals: web}}
"""
_EITHER = """\
when:
  {}:
    - {{path: $.node.tags.Environment, equals: prod}}
    - {{path: $.node.tags.Environment, equals: production}}
"""
_STAGING = "# staging.yaml\nid: {}\nwhen: {{all: [{{path: $.node.tags.Environment, equals: staging}}]}}\n"
_WEB = """\
# web.yaml
id: web
{}when: {{all: [{{path: $.node.tags.App, equals: web}}]}}
then: {{action: ticket, severity: 1}}
"""
_WINDOW = 'windows:\n  prod-saturday: {{cron: "{}", zone: Europe/Dublin, duration: 4h}}\n'
_FREEZE = "freezes:\n  - {{name: year-end, from: {}, until: {}, reason: The year is closed}}\n"
_DOCUMENT = "then:\n  action: remediate\n  document: {{name: {}, version: '3', parameters: {{{}}}}}\n"


def _schedule(wrong: str, right: str) -> Example:
    return Example(wrong, right, file="schedule")


def _baseline(wrong: str, right: str) -> Example:
    return Example(wrong, right, file="baseline")


_LISTS = "override_lists: [s3://example-patch-lists/2026-12.yaml]\n"
_DRAIN = "hooks: {pre_install: Example-Drain}\n"
_INSTALL = "operation: Install\noverride_list: s3://example-patch-lists/2026-12.yaml\n"


def _set(frame: str, wrong: tuple[str, ...], right: tuple[str, ...]) -> Example:
    return Example(frame.format(*wrong), frame.format(*right), file="set")


EXAMPLES: dict[str, Example] = {
    "PW101": Example("title: 'Prod waits\n", "title: 'Prod waits'\n"),
    "PW102": Example(f"title: {BULK}\n", "title: Prod waits for the Saturday window\n"),
    "PW103": Example("title: [[[[[[[[[[[[[[[[[[[[[deep]]]]]]]]]]]]]]]]]]]]]\n", "title: Not deep at all\n"),
    "PW104": Example(
        "title: &said Prod waits\nowner: *said\n",
        "title: Prod waits\nowner: Prod waits\n",
    ),
    "PW105": _then("action: ticket, severity: 2, severity: 3", "action: ticket, severity: 2"),
    "PW106": _when(f"{_TAG}, in: [prod, yes]", f"{_TAG}, in: [prod, 'yes']"),
    "PW107": _when(f"{_TAG}, in: [prod, 12:30]", f"{_TAG}, in: [prod, '12:30']"),
    "PW108": _when(f"{_TAG}, in: [prod, 007]", f"{_TAG}, in: [prod, '007']"),
    "PW109": _when("path: $.account, equals: 111122223333", "path: $.account, equals: '111122223333'"),
    "PW110": Example("title: !!str Prod waits\n", "title: Prod waits\n"),
    "PW111": Example("- id: prod-window\n", POLICY, whole=True),
    "PW112": Example("then:\n  action: ticket\n  severity:\n", "then:\n  action: ticket\n  severity: 2\n"),
    "PW113": _then("action: ticket, {severity: 2}: 1", "action: ticket, severity: 2"),
    "PW201": _then("action: ticket, severty: 2", "action: ticket, severity: 2"),
    "PW202": _then("severity: 2", "action: ticket, severity: 2"),
    "PW203": _then("action: ticket, severity: 9", "action: ticket, severity: 1"),
    "PW204": _then("action: tickets", "action: ticket"),
    "PW205": _when(f"{_TAG}, equals: prod, exists: true", f"{_TAG}, equals: prod"),
    "PW206": _then("action: remediate, deadline: 2 days", "action: remediate, deadline: 2d"),
    "PW207": Example("expires: 2027-03-31\n", "expires: 2027-03-31T00:00:00Z\n"),
    "PW208": Example(_STAGING.format("prod-window"), _STAGING.format("staging")),
    "PW301": _when("path: node.tags.Environment, equals: prod", f"{_TAG}, equals: prod"),
    "PW302": _when("path: $..Environment, equals: prod", f"{_TAG}, equals: prod"),
    "PW303": _when("path: $.node.tag.Environment, equals: prod", f"{_TAG}, equals: prod"),
    "PW304": _when(f"{_TAG}, gt: 5", f"{_TAG}, starts_with: prod"),
    "PW305": _when("path: $.node.kind, equals: virtual", "path: $.node.kind, equals: ec2"),
    "PW306": _when(f"{_TAG}, not_in: [dev, test]", f"{_TAG}, not_in: [dev, test], if_missing: false"),
    "PW307": _when(f"{_TAG}, equals: prod, match: all", f"{_TAG}, equals: prod"),
    "PW401": Example("band: guardrail\nthen: {action: remediate}\n", "band: guardrail\nthen: {action: approve}\n"),
    "PW402": Example("band: standard\nthen: {action: observe}\n", "band: default\nthen: {action: observe}\n"),
    "PW403": Example("band: emergency\n", "band: emergency\nexpires: 2026-12-01T00:00:00Z\n"),
    "PW404": Example("then:\n  action: exempt\n  until: 2027-03-31T00:00:00Z\n", _exemption(wrong={}, right={}).right),
    "PW405": _exemption(wrong={"until": "2029-01-01T00:00:00Z"}, right={}),
    "PW406": _then("action: ticket, window: prod-saturday", "action: ticket"),
    "PW407": _then("action: remediate, window: saturday", "action: remediate, window: prod-saturday"),
    "PW408": _then("action: remediate, attempts: 9", "action: remediate, attempts: 5"),
    "PW409": Example(_DOCUMENT.format("My-Runbook", ""), _DOCUMENT.format("Example-Repair", "")),
    "PW410": Example(
        _DOCUMENT.format("Example-Repair", "InstallOverrideList: 's3://bucket/list'"),
        _DOCUMENT.format("Example-Repair", "Mode: fast"),
    ),
    "PW411": _then(
        "action: remediate, on_deadline: remediate", "action: remediate, deadline: 7d, on_deadline: remediate"
    ),
    "PW412": Example("expires: 2026-01-01T00:00:00Z\n", "expires: 2027-01-01T00:00:00Z\n"),
    "PW413": _exemption(wrong={"on": "2026-12-24"}, right={}),
    "PW414": Example("rollout: {percent: 100}\n", "rollout: {percent: 10}\n"),
    "PW415": _schedule(
        f"# _set.yaml\n{_LISTS}hooks: [Example-Drain]\n# schedules/daily-scan.yaml\n{_INSTALL}{_DRAIN}",
        f"# _set.yaml\n{_LISTS}# schedules/daily-scan.yaml\n{_INSTALL}",
    ),
    "PW416": Example(
        "rollout: {waves: [{nodes: 1}, {percent: 10}]}\nthen: {action: remediate}\n",
        "rollout: {waves: [{nodes: 1}, {percent: 100}]}\nthen: {action: remediate}\n",
    ),
    "PW417": _then("action: remediate, through: [year-end]", "action: remediate"),
    "PW501": _set(_WINDOW, ("0 2 * * 6",), ("0 2 ? * SAT *",)),
    "PW502": _set(_WINDOW, ("0 2 ? * SAT 2020",), ("0 2 ? * SAT *",)),
    "PW503": _set(
        _FREEZE, ("2027-01-04T00:00:00Z", "2026-12-19T00:00:00Z"), ("2026-12-19T00:00:00Z", "2027-01-04T00:00:00Z")
    ),
    "PW504": _set("scope: {{accounts: ['{}'], regions: [eu-west-1]}}\n", ("1111-2222-3333",), ("111122223333",)),
    "PW505": Example("# nothing is said here\n", SET, file="set", whole=True),
    "PW506": _set("surge: {{at_least: 20, canary: {}}}\n", ("20",), ("2",)),
    "PW601": _tests(_PROD, _PROD + _DEV, _TWO_TESTS),
    "PW602": _tests(_PROD + _PROD.replace("prod is", "prod stays"), _PROD + _DEV, _TWO_TESTS),
    "PW603": _tests(_PROD.replace("event: prod", "event: produ"), _PROD),
    "PW604": Example("event: {source: aws.health, detail-type: AWS Health Event}\n", FIXTURE, file="fixture"),
    "PW605": _tests(_PROD.replace("prod-window", "prod-windows"), _PROD),
    "PW606": _tests(_DEV.replace("$.node.tags.", "$.node.tag."), _DEV),
    "PW607": _tests(_DEV.replace("observe", "ticket"), _DEV),
    "PW701": Example(_EITHER.format("all"), _EITHER.format("any")),
    "PW702": Example(_NARROW.format(-1), _NARROW.format(1)),
    "PW703": Example(_WEB.format(""), _WEB.format("priority: 1\n")),
    "PW704": _when(f"{_TAG}, equals: moon", f"{_TAG}, equals: prod"),
    "PW705": _tests(_PROD, _PROD + _DEV),
    "PW706": _exemption(wrong={"until": "2026-12-01T00:00:00Z"}, right={}),
    "PW801": _schedule("target: {all: true, resource_group: web}\n", "target: {resource_group: web}\n"),
    "PW802": _schedule("where: {regions: [us-west-2]}\n", "where: {regions: [eu-west-1]}\n"),
    "PW803": _schedule(
        "where: {accounts: ['111122223333'], exclude: ['444455556666']}\n", "where: {accounts: ['111122223333']}\n"
    ),
    "PW804": _schedule(_INSTALL, f"# _set.yaml\n{_LISTS}# schedules/daily-scan.yaml\n{_INSTALL}"),
    "PW805": _schedule(
        f"where: {{units: [{MANY}]}}\nlimits: {{locations: {{concurrency: 1}}}}\n",
        f"where: {{units: [{MANY}]}}\nlimits: {{locations: {{concurrency: 2}}}}\n",
    ),
    "PW901": _baseline(
        "rules: [{approve_after_days: 7, approve_until: 2026-11-10}]\n", "rules: [{approve_until: 2026-11-10}]\n"
    ),
    "PW902": _baseline(
        "os: UBUNTU\nrules: [{priority: [Required], approve_until: 2026-11-10}]\n",
        "os: UBUNTU\nrules: [{priority: [Required], approve_after_days: 0}]\n",
    ),
    "PW903": _baseline(
        "rules: [{classification: [Security], approve_after_days: 7}]\n",
        "rules: [{classification: [SecurityUpdates], approve_after_days: 7}]\n",
    ),
    "PW904": _baseline("where: {regions: [us-west-2]}\n", "where: {regions: [eu-west-1]}\n"),
    "PW905": _baseline(
        "# baselines/windows-2.yaml\nid: windows-2\n",
        "# baselines/windows-2.yaml\nid: windows-2\npatch_groups: [dev]\n",
    ),
    "PW906": _baseline(
        "approved: {patches: [KB5031364]}\nrejected: {patches: [KB5031364]}\n", "rejected: {patches: [KB5031364]}\n"
    ),
}


def page() -> str:
    """The page of all codes, with what is really said about each wrong example."""
    parts = [_HEAD.format(policy=POLICY, set=SET, schedule=SCHEDULE, baseline=BASELINE)]
    for number, chapter in CHAPTERS.items():
        parts.append(f"## {chapter}\n")
        parts += [_section(code, meaning) for code, meaning in CODES.items() if code[2] == number]
    return "\n".join(parts)


def told(example: str, directory: Path, of: Example) -> tuple[Problem | Result, ...]:
    """What the loader, the lint and the tests say of one side of an example."""
    of.write(example, directory)
    return check_directory(directory, now=NOW).found


def _section(code: str, meaning: str) -> str:
    example = EXAMPLES[code]
    with TemporaryDirectory() as directory:
        records = [each.to_json() for each in told(example.wrong, Path(directory), example)]
    record = next(record for record in records if record["code"] == code)
    said = f"{record['what']}; {record['hint']}" if record["hint"] else record["what"]
    weight = " (a warning)" if record["level"] == "warning" else ""
    return _SECTION.format(code=code, meaning=meaning.rstrip(".") + weight, wrong=example.wrong, right=example.right,
                           said=said)  # fmt: skip


CHAPTERS = {
    "1": "The file",
    "2": "Its shape",
    "3": "Conditions",
    "4": "What a policy wants",
    "5": "`_set.yaml`",
    "6": "Tests and fixtures",
    "7": "Between policies",
    "8": "Schedules",
    "9": "Baselines",
}

_SECTION = """\
### {code}

{meaning}.

```yaml
{wrong}```

> {code} {said}

Right:

```yaml
{right}```
"""

_HEAD = """\
# Codes of policy problems

Written from the examples in `patchwarden/policy/examples.py` by `make docs`; do not edit by hand. Each wrong example is
really told with its code, and each right one loads: a test sees to both. A code never gets a second meaning.

`patchwarden policy check` tells every problem of a directory at once, as `file:line:column: CODE what; hint`. An error
stands in the way of publishing; a warning does only with `--strict`. The examples show what differs from this policy,

```yaml
{policy}```

this `_set.yaml`,

```yaml
{set}```

this schedule, `schedules/daily-scan.yaml`,

```yaml
{schedule}```

this baseline, `baselines/windows.yaml`,

```yaml
{baseline}```

and one fixture, `fixtures/prod.yaml`, whose node has the tags `Environment: prod` and `App: web`, on 23 November 2026.
"""
