"""The queries over a dataset in the sync format say what the simulated fleet's own state says, counted apart."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from patchwarden.cli import cli
from patchwarden.reporting.local import NoData, Synced
from patchwarden.reporting.tables import FOLDER, PARAMETERS, QUERIES, TABLES, sql
from patchwarden.simulator import sync
from patchwarden.simulator.machines import FAILED, MISSING, NONCOMPLIANT, Entry, Machine
from patchwarden.simulator.patches import compliance_severity
from patchwarden.simulator.simulation import Simulation

Rows = list[dict[str, Any]]


def standing(sim: Simulation, **tags: str) -> Iterator[Machine]:
    """The machines that are not gone, and have the tags."""
    for machine in sim.fleet.machines.values():
        if machine.state != "terminated" and tags.items() <= machine.tags.items():
            yield machine


def entries(sim: Simulation, *states: str, **tags: str) -> Iterator[tuple[Machine, Entry]]:
    for machine in standing(sim, **tags):
        for entry in machine.report.entries if machine.report else ():
            if entry.state in states:
                yield machine, entry


def ask(synced: Synced, name: str, since: str = "", tags: str = "", *more: str) -> Rows:
    return synced.ask(name, (since, tags, *more)).rows


def ended(machine: Machine) -> str:
    assert machine.report
    return f"{machine.report.ended_at:%Y-%m-%dT%H:%M:%SZ}"


def test_noncompliant_is_every_patch_of_every_node_that_stands(sim: Simulation, synced: Synced) -> None:
    found = ask(synced, "noncompliant")
    truth = [
        (machine.node.account, machine.node.region, machine.node.id, entry.patch.id, entry.patch.title,
         entry.patch.classification, entry.patch.severity, ended(machine))
        for machine, entry in entries(sim, *NONCOMPLIANT)
    ]  # fmt: skip
    names = ("account", "region", "node", "patch", "title", "classification", "severity", "scanned_at")
    assert sorted(tuple(row[name] for name in names) for row in found) == sorted(truth) and len(truth) > 100
    moments = [row["scanned_at"] for row in found]
    assert moments == sorted(moments, reverse=True)


def test_a_terminated_node_lies_in_the_bucket_and_in_no_report(sim: Simulation, data: Path, synced: Synced) -> None:
    (doomed, *_) = sim.fleet.cast["doomed"]
    assert list(data.glob(f"AWS:ComplianceItem/**/{doomed.node.id}.json"))
    for name in QUERIES:
        assert doomed.node.id not in json.dumps(ask(synced, name, "", "", *[""] * (len(PARAMETERS[name]) - 2)))


def test_since_and_tags_narrow_it(sim: Simulation, synced: Synced) -> None:
    since = f"{sim.clock.now() - timedelta(hours=1, minutes=45):%Y-%m-%dT%H:%M:%SZ}"
    late = {machine.node.id for machine, _ in entries(sim, *NONCOMPLIANT) if ended(machine) >= since}
    everybody = {machine.node.id for machine, _ in entries(sim, *NONCOMPLIANT)}
    assert {row["node"] for row in ask(synced, "noncompliant", since)} == late and set() < late < everybody
    wanted = {"Environment": "prod", "App": "payments"}
    tagged = {machine.node.id for machine, _ in entries(sim, *NONCOMPLIANT, **wanted)}
    found = ask(synced, "noncompliant", "", "\n".join(f"{key}={value}" for key, value in wanted.items()))
    assert {row["node"] for row in found} == tagged and set() < tagged < everybody
    assert ask(synced, "noncompliant", "", "Environment=mars") == []


def test_missing_counts_nodes_and_accounts(sim: Simulation, synced: Synced) -> None:
    nodes, accounts = defaultdict(set), defaultdict(set)
    for machine, entry in entries(sim, MISSING):
        nodes[entry.patch.id, entry.patch.title].add(machine.node)
        accounts[entry.patch.id, entry.patch.title].add(machine.node.account)
    found = {(row["patch"], row["title"]): (row["missing_on"], row["accounts"]) for row in ask(synced, "missing")}
    assert found == {key: (len(nodes[key]), len(accounts[key])) for key in nodes}
    counts = [row["missing_on"] for row in ask(synced, "missing")]
    assert counts == sorted(counts, reverse=True)


def test_worst_counts_what_was_never_scanned_apart(sim: Simulation, synced: Synced) -> None:
    found = {row["account"]: row for row in ask(synced, "worst")}
    bad = [machine for machine in standing(sim) if machine.report and machine.report.noncompliant]
    for account in sim.aws.accounts:
        here = [machine for machine in standing(sim) if machine.node.account == account]
        wrong = [machine for machine in bad if machine.node.account == account]
        row = found[account]
        assert (row["nodes"], row["noncompliant"]) == (len(here), len(wrong))
        assert row["unscanned"] == sum(machine.report is None for machine in here)
        assert row["percent_noncompliant"] == pytest.approx(100 * len(wrong) / len(here), abs=0.051)
        lacking = [each for machine in wrong if machine.report for each in machine.report.noncompliant]
        critical = [each for each in lacking if compliance_severity(each.patch) == "CRITICAL"]
        assert (row["patches"], row["critical_patches"]) == (len(lacking), len(critical))
    assert sum(row["unscanned"] for row in found.values()) >= 1


def test_cves_are_counted_by_node(sim: Simulation, synced: Synced) -> None:
    nodes = defaultdict(set)
    for machine, entry in entries(sim, MISSING, FAILED):
        for cve in entry.patch.cves:
            nodes[cve].add(machine.node)
    assert {row["cve"]: row["open_on"] for row in ask(synced, "cves")} == {cve: len(on) for cve, on in nodes.items()}


def test_silent_is_who_does_not_check_in_and_why(sim: Simulation, synced: Synced) -> None:
    quiet = {machine.node.id for machine in standing(sim) if not machine.online}
    unscanned = {machine.node.id for machine in standing(sim) if machine.report is None}
    assert {row["node"] for row in ask(synced, "silent")} == quiet | unscanned and quiet
    since = f"{sim.clock.now() - timedelta(minutes=105):%Y-%m-%dT%H:%M:%SZ}"
    old = {machine.node.id for machine in standing(sim) if machine.report and ended(machine) < since}
    found = {row["node"]: row["because"] for row in ask(synced, "silent", since)}
    assert set(found) == quiet | unscanned | old and old - quiet
    assert found[next(iter(old - quiet))] == "its last scan is too old"


def test_agents_are_counted_by_version_and_platform(sim: Simulation, synced: Synced) -> None:
    nodes = Counter(machine.platform.type for machine in standing(sim))
    active = Counter(machine.platform.type for machine in standing(sim) if machine.online)
    names = ("agent_version", "platform_type", "nodes", "active")
    assert [tuple(row[name] for name in names) for row in ask(synced, "agents")] == [
        (sync.AGENT, kind, count, active[kind]) for kind, count in nodes.most_common()
    ]  # fmt: skip


def test_applications_are_found_by_a_part_of_their_name(sim: Simulation, synced: Synced) -> None:
    truth: Counter[str] = Counter()
    for machine in standing(sim):
        if not machine.platform.windows:
            truth.update(
                {patch.id.rpartition(".")[0] for patch, _ in machine.installed.values() if "python" in patch.id}
            )
    found: Counter[str] = Counter()
    for row in ask(synced, "applications", "", "", "PYTHON"):
        found[row["name"]] += row["installed_on"]
    assert found == truth and set(found) == {"python3", "python3.10"}
    assert ask(synced, "applications", "", "", "%") == []


def test_what_nobody_knows_more_about_is_not_left_out(data: Path, tmp_path: Path) -> None:
    """Compliance without the node's own object: it may be gone, and may as well be there."""
    item = next(data.glob("AWS:ComplianceItem/accountid=111122223333/*/*/*.json"))
    target = tmp_path / "prefix" / item.relative_to(data)
    target.parent.mkdir(parents=True)
    target.write_text(item.read_text())
    found = ask(Synced(tmp_path), "worst")
    assert [(row["account"], row["nodes"]) for row in found] == [("111122223333", 1)]


def test_an_account_with_a_leading_zero_keeps_it_and_laid_out_json_is_read(tmp_path: Path) -> None:
    place = (
        tmp_path
        / "AWS:InstanceInformation/accountid=000022223333/region=eu-west-1"
        / "resourcetype=ManagedInstanceInventory"
    )
    place.mkdir(parents=True)
    told = {"resourceid": "i-0123456789abcdef0", "instancestatus": "Stopped", "ResourceType": "EC2Instance"}
    (place / "i-0123456789abcdef0.json").write_text(json.dumps(told, indent=2))
    (row,) = ask(Synced(tmp_path), "silent")
    assert (row["account"], row["status"]) == ("000022223333", "Stopped")


@pytest.mark.parametrize("broken", ["{", "not json", '{"a": 1}\n{'])
def test_a_file_that_is_not_json_is_an_error_and_no_smaller_report(broken: str, tmp_path: Path) -> None:
    place = tmp_path / "AWS:ComplianceItem/accountid=111122223333/region=eu-west-1" / FOLDER
    place.mkdir(parents=True)
    (place / "i-1.json").write_text(broken)
    with pytest.raises(NoData, match=r"i-1\.json"):
        Synced(tmp_path)


# Each is in Trino's and in DuckDB's list of functions, with the same meaning for what they are given here.
# https://trino.io/docs/current/functions.html  https://duckdb.org/docs/stable/sql/functions/overview
_COMMON = {
    *("cast", "chr", "coalesce", "concat", "count", "lower", "max", "min"),
    *("round", "split", "strpos", "sum", "trim", "unnest"),
}
_WORDS = {"as", "in", "on", "and", "or", "then", "when", "t", "u", "from", "where", "join"}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_keeps_to_what_trino_and_duckdb_share(name: str) -> None:
    text = re.sub(r"'[^']*'|--.*", "", sql(name)).lower()
    called = set(re.findall(r"\b([a-z_]+)\s*\(", text)) - _WORDS
    assert called <= _COMMON, called - _COMMON
    for alone in ("::", "[", "qualify", " ilike ", " using ", "->", "group by all", "exclude", " limit ", '"', ";"):
        assert alone not in text
    assert text.count("?") == len(PARAMETERS[name])
    columns = {field.lower() for _, fields in TABLES.values() for field in fields} | {"accountid", "region"}
    read = set(re.findall(r"\b[cipa]\.([a-z_]+)", text))
    assert read <= columns, read - columns


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, ["report", *map(str, words)])


def test_the_command_gives_csv_json_and_a_table(data: Path, synced: Synced) -> None:
    rows = list(csv.DictReader(io.StringIO(call("noncompliant", "--data", data, "-o", "csv").stdout)))
    listed = json.loads(call("noncompliant", "--data", data, "-o", "json").stdout)
    assert len(rows) == len(listed) == len(ask(synced, "noncompliant"))
    assert "python3.10" in call("applications", "python", "--data", data).stdout
    for name in QUERIES:
        assert call(name, "--data", data).exit_code == 0


def test_a_cell_that_a_spreadsheet_would_run_is_text(tmp_path: Path) -> None:
    place = tmp_path / "AWS:Application/accountid=111122223333/region=eu-west-1" / FOLDER
    place.mkdir(parents=True)
    (place / "i-1.json").write_text(json.dumps({"Name": "=cmd|'/c calc'!A1", "Version": "1", "resourceId": "i-1"}))
    info = tmp_path / "AWS:InstanceInformation/accountid=111122223333/region=eu-west-1" / place.name
    info.mkdir(parents=True)
    (info / "i-1.json").write_text(json.dumps({"resourceId": "i-1", "InstanceStatus": "Active"}))
    assert "\n'=cmd" in call("applications", "--data", tmp_path, "-o", "csv").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--since", "yesterdy"], 2, "is no moment and no span"),
        (["--tag", "Environment"], 2, "is not KEY=VALUE"),
        (["--sinse", "7d"], 2, "No such option"),
    ],
)
def test_wrong_words_are_told_what_is_right(words: list[str], code: int, said: str, data: Path) -> None:
    found = call("noncompliant", "--data", data, *words)
    assert found.exit_code == code and said in found.stderr


def test_an_empty_directory_says_how_to_fill_it(tmp_path: Path) -> None:
    found = call("worst", "--data", tmp_path)
    assert found.exit_code == 1 and "aws s3 sync s3://BUCKET" in found.stderr
