"""Schedule files become schedules, and their coming runs are what a person with a calendar would write down."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft7Validator

from chalicelib.core.compiled import digest_of
from chalicelib.core.errors import PolicyError
from chalicelib.core.policies import PolicySet
from patchwarden.cli import cli
from patchwarden.policy.compile import load_directory
from patchwarden.policy.schema import policy_schema
from patchwarden.policy.source import read

SHIPPED = Path(__file__).parents[2] / "policies"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SET = """
scope: {accounts: ["111122223333", "444455556666"], regions: [eu-west-1]}
override_lists: [s3://example-patch-lists/2026-11.yaml]
freezes:
  - {name: year-end, from: 2026-12-19T00:00:00Z, until: 2027-01-04T00:00:00Z, reason: closed}
CEILINGS
"""
SCHEDULE = """
id: tested
title: A schedule under test
owner: secops@example.com
operation: Install
cron: "0 2 ? * SAT *"
zone: Europe/Dublin
target: {all: true}
"""


def directory(path: Path, *schedules: str, ceilings: str = "") -> Path:
    (path / "schedules").mkdir()
    (path / "_set.yaml").write_text(SET.replace("CEILINGS", ceilings))
    for number, text in enumerate(schedules):
        (path / "schedules" / f"{number}.yaml").write_text(text)
    return path


def compiled(path: Path) -> dict[str, Any]:
    loaded = load_directory(path, now=NOW)
    assert loaded.document is not None, [problem.text() for problem in loaded.problems]
    (schedule,) = loaded.document["schedules"]
    return dict(schedule)


def listed(path: Path, *given: str) -> Result:
    return CliRunner().invoke(cli, ["schedule", "list", str(path), *given])


def runs(path: Path, name: str, now: str, count: int = 5) -> list[tuple[str, str]]:
    """Local time and UTC of the coming runs of one schedule."""
    answer = listed(path, "--next", str(count), "--now", now, "-o", "json")
    assert answer.exit_code == 0, answer.output
    return [(run["local"], run["starts"][:16]) for run in json.loads(answer.stdout) if run["schedule"] == name]


# --- what the service gets ------------------------------------------------------------------------------------------


def test_what_a_file_leaves_out_stands_in_the_document(tmp_path: Path) -> None:
    found = compiled(directory(tmp_path, SCHEDULE))
    assert found["where"] == {
        "accounts": ["111122223333", "444455556666"], "units": [], "exclude": [], "regions": ["eu-west-1"],
    }  # fmt: skip
    assert found["locations"] == found["nodes"] == {"concurrency": "10%", "max_errors": "10%"}
    assert found["calendar"] == {"cron": "0 2 ? * SAT *", "zone": "Europe/Dublin", "schedule_offset": 0,
                                 "catch_up": 3600}  # fmt: skip
    assert (found["reboot"], found["enabled"], found["platform"]) == ("if-needed", True, "all")
    assert found["target"] == {"kind": "all", "name": None, "values": []}


def test_units_stand_for_themselves(tmp_path: Path) -> None:
    where = "where: {units: [ou-ab12-prod00001], exclude: ['999900001111', ou-ab12-lab000001]}"
    found = compiled(directory(tmp_path, SCHEDULE + where))["where"]
    assert (found["accounts"], found["units"]) == ([], ["ou-ab12-prod00001"])
    assert found["exclude"] == ["999900001111", "ou-ab12-lab000001"]  # who is in a unit, only the organisation knows


def test_no_failure_at_all_can_be_asked_for(tmp_path: Path) -> None:
    limits = "limits: {locations: {concurrency: 1, max_errors: 0}, nodes: {max_errors: '0'}}"
    found = compiled(directory(tmp_path, SCHEDULE + limits))
    assert found["locations"] == {"concurrency": "1", "max_errors": "0"}
    assert found["nodes"] == {"concurrency": "10%", "max_errors": "0"}


def test_where_nobody_says_how_much_it_is_not_above_the_ceiling(tmp_path: Path) -> None:
    found = compiled(directory(tmp_path, SCHEDULE, ceilings="ceilings: {concurrency: 5%}"))
    assert found["nodes"]["concurrency"] == "5%"


def test_a_scan_may_go_wherever_it_likes_and_reboots_nothing(tmp_path: Path) -> None:
    scan = SCHEDULE.replace("Install", "Scan") + "limits: {nodes: {concurrency: 100%}}"
    found = compiled(directory(tmp_path, scan, ceilings="ceilings: {concurrency: 5%}"))
    assert (found["nodes"]["concurrency"], found["reboot"]) == ("100%", None)


def test_an_allowed_override_list_is_taken(tmp_path: Path) -> None:
    found = compiled(directory(tmp_path, SCHEDULE + "override_list: s3://example-patch-lists/2026-11.yaml"))
    assert found["override_list"] == "s3://example-patch-lists/2026-11.yaml"


def test_two_schedules_with_one_id_are_told(tmp_path: Path) -> None:
    loaded = load_directory(directory(tmp_path, SCHEDULE, SCHEDULE), now=NOW)
    assert [(problem.code, problem.line) for problem in loaded.problems] == [("PW208", 2)]
    assert loaded.document is None


def test_a_set_with_two_schedules_of_one_id_does_not_load(tmp_path: Path) -> None:
    document = load_directory(directory(tmp_path, SCHEDULE), now=NOW).document
    assert document is not None
    twice = {**document, "schedules": document["schedules"] * 2}
    with pytest.raises(PolicyError, match="two schedules have the same id"):
        PolicySet.load({**twice, "digest": digest_of(twice)})


def test_a_policy_and_a_schedule_may_share_an_id(tmp_path: Path) -> None:
    """A decision names a policy, a run names a schedule: nobody confuses them."""
    (tmp_path / "tested.yaml").write_text(
        "id: tested\ntitle: A policy\nowner: secops@example.com\n"
        "when: {all: [{path: $.node.kind, equals: ec2}]}\nthen: {action: ticket}\n"
    )
    path = directory(tmp_path, SCHEDULE, ceilings="tests: {at_least: 0, both_outcomes: false}")
    assert load_directory(path, now=NOW).document is not None


def test_the_schedules_that_ship_are_the_four_of_the_guide() -> None:
    document = load_directory(SHIPPED, now=NOW).document
    assert document is not None
    daily, dev, prod, joined = PolicySet.load(document).schedules
    assert (daily.id, daily.operation, daily.target.kind) == ("daily-scan", "Scan", "all")
    assert (dev.id, dev.calendar.offset_days, dev.target.values) == ("dev-install", 1, ("dev", "staging"))
    assert (prod.id, prod.calendar.offset_days, prod.platform) == ("prod-windows-weekend", 4, "windows")
    assert (prod.locations.concurrency, prod.locations.max_errors) == ("1", "0")
    assert (joined.id, joined.target.name, joined.target.values) == ("weekly-linux", "PatchSchedule", ("weekly-linux",))


@pytest.mark.parametrize("name", ["no-target", "two-targets", "tag-without-values", "typo", "errors-off"])
def test_a_slip_of_shape_is_seen_in_the_editor_too(name: str) -> None:
    schema = policy_schema()
    slip = read(Path(__file__).parent / "corpus" / f"schedule-{name}.yaml").data
    assert list(Draft7Validator({**schema, "$ref": "#/definitions/ScheduleFile"}).iter_errors(slip))


# --- the coming runs ------------------------------------------------------------------------------------------------

# Second Tuesdays: 8 Dec 2026, 12 Jan, 9 Feb, 9 Mar, 13 Apr 2027, and 14 Sep 2027. Irish clocks go forward on
# 28 March 2027 and back on 25 October 2026 and 31 October 2027.
GOLDEN = [
    ("dev-install", "2026-11-23T12:00:00Z", [
        ("Wed 2026-12-09 20:00 GMT", "2026-12-09T20:00"),
        ("Wed 2027-01-13 20:00 GMT", "2027-01-13T20:00"),
        ("Wed 2027-02-10 20:00 GMT", "2027-02-10T20:00"),
        ("Wed 2027-03-10 20:00 GMT", "2027-03-10T20:00"),
        ("Wed 2027-04-14 20:00 IST", "2027-04-14T19:00"),
    ]),
    ("dev-install", "2027-08-31T00:00:00Z", [
        ("Wed 2027-09-15 20:00 IST", "2027-09-15T19:00"),  # the second Wednesday is the 8th
        ("Wed 2027-10-13 20:00 IST", "2027-10-13T19:00"),
        ("Wed 2027-11-10 20:00 GMT", "2027-11-10T20:00"),
    ]),
    ("prod-windows-weekend", "2026-11-23T12:00:00Z", [
        ("Sat 2026-12-12 22:00 GMT", "2026-12-12T22:00"),
        ("Sat 2027-01-16 22:00 GMT", "2027-01-16T22:00"),
        ("Sat 2027-02-13 22:00 GMT", "2027-02-13T22:00"),
        ("Sat 2027-03-13 22:00 GMT", "2027-03-13T22:00"),
        ("Sat 2027-04-17 22:00 IST", "2027-04-17T21:00"),  # the third Saturday: four days on, not the second Saturday
    ]),
    ("daily-scan", "2027-03-26T12:00:00Z", [
        ("Sat 2027-03-27 04:30 GMT", "2027-03-27T04:30"),
        ("Sun 2027-03-28 04:30 IST", "2027-03-28T03:30"),
        ("Mon 2027-03-29 04:30 IST", "2027-03-29T03:30"),
    ]),
    ("daily-scan", "2027-10-29T12:00:00Z", [
        ("Sat 2027-10-30 04:30 IST", "2027-10-30T03:30"),
        ("Sun 2027-10-31 04:30 GMT", "2027-10-31T04:30"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "now", "expected"), GOLDEN)
def test_the_coming_runs_are_right_in_both_zones(name: str, now: str, expected: list[tuple[str, str]]) -> None:
    assert runs(SHIPPED, name, now, len(expected)) == expected


def test_a_time_that_the_clocks_skip_runs_once_and_one_that_comes_twice_once(tmp_path: Path) -> None:
    path = directory(tmp_path, SCHEDULE.replace("0 2 ? * SAT *", "30 1 ? * SUN *"))
    assert runs(path, "tested", "2027-03-22T00:00:00Z", 2) == [
        ("Sun 2027-03-28 02:00 IST", "2027-03-28T01:00"),
        ("Sun 2027-04-04 01:30 IST", "2027-04-04T00:30"),
    ]
    assert runs(path, "tested", "2027-10-30T00:00:00Z", 2) == [
        ("Sun 2027-10-31 01:30 IST", "2027-10-31T00:30"),
        ("Sun 2027-11-07 01:30 GMT", "2027-11-07T01:30"),
    ]


def test_runs_of_all_schedules_come_in_the_order_of_time() -> None:
    answer = listed(SHIPPED, "--now", "2026-11-23T12:00:00Z", "--next", "20", "-o", "jsonl")
    told = [json.loads(line) for line in answer.stdout.splitlines()]
    assert len(told) == 80
    assert [run["starts"] for run in told] == sorted(run["starts"] for run in told)


def test_a_freeze_holds_an_install_and_not_a_scan(tmp_path: Path) -> None:
    scan = SCHEDULE.replace("Install", "Scan").replace("id: tested", "id: looked")
    answer = listed(directory(tmp_path, SCHEDULE, scan), "--now", "2026-12-18T00:00:00Z", "--next", "3", "-o", "json")
    told = [(run["schedule"], run["starts"][:10], run["state"]) for run in json.loads(answer.stdout)]
    assert told == [
        ("looked", "2026-12-19", "planned"),
        ("tested", "2026-12-19", "held by freeze year-end"),
        ("looked", "2026-12-26", "planned"),
        ("tested", "2026-12-26", "held by freeze year-end"),
        ("looked", "2027-01-02", "planned"),
        ("tested", "2027-01-02", "held by freeze year-end"),
    ]


def test_a_run_that_begins_before_a_freeze_is_not_held(tmp_path: Path) -> None:
    late = SCHEDULE.replace("0 2 ? * SAT *", "30 23 ? * * *")
    answer = listed(directory(tmp_path, late), "--now", "2026-12-18T00:00:00Z", "--next", "2", "-o", "json")
    assert [run["state"] for run in json.loads(answer.stdout)] == ["planned", "held by freeze year-end"]


def test_a_disabled_schedule_stays_listed_and_says_so(tmp_path: Path) -> None:
    answer = listed(directory(tmp_path, SCHEDULE + "enabled: false"), "--now", "2026-12-18T00:00:00Z", "-o", "csv")
    assert answer.stdout.splitlines()[1].endswith(',"disabled, held by freeze year-end"')


def test_a_directory_with_errors_lists_nothing_and_names_them(tmp_path: Path) -> None:
    answer = listed(directory(tmp_path, SCHEDULE.replace("Dublin", "Dublni")))
    assert (answer.exit_code, answer.stdout) == (3, "")
    assert "PW501 zone cannot be 'Europe/Dublni'; did you mean Europe/Dublin?" in answer.stderr
