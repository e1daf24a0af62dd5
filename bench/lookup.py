"""Look-ups over the exported trail at 1,000,000 remediations, against a scan of all its lines in the same run.

The export is synthetic: the lines have the shape of real ones but no valid hashes, and are written by DuckDB, because
ten million hashes are minutes of one core. `--remediations` and `--lines` make it smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from bench.storm import LOOKUP, write_part
from chalicelib.adapters.exported import ExportedPast
from chalicelib.core.points import EVERYTHING, Where
from chalicelib.history import fleet, search
from chalicelib.speed import durations

ROOT = Path(__file__).resolve().parent.parent
PAGE = """## Look-ups in the export

{made}.
DuckDB on {cores} cores reads the columns of all days once, in {first:.1f} s, and then answers. The scan reads every
line for the states at one moment, as Athena would over the same files: {scanned:.2f} s. The process held
{memory:,.0f} MB at most.

| look-up | seconds | times as fast as the scan |
|---|---:|---:|
{rows}
"""
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, ACCOUNTS = 60, 20
CAUSES = ("deferred", "noted", "noted", "queued", "noted", "intended", "started", "noted", "succeeded", "resolved")
STATES = ("waiting", "waiting", "waiting", "queued", "queued", "starting", "running", "running", "verifying",
          "resolved")  # fmt: skip

MADE = """
COPY (
    SELECT remediation, number, "at", before, cause, "after", because, actor, sets, evidence, previous, hash,
        strftime(moment, '%Y-%m-%d') AS day, account::VARCHAR AS account_ FROM (
        SELECT
            printf('%012d.eu-west-1.i-%017x.patch', 111122220000 + r % {accounts}, r) AS remediation, n AS number,
            111122220000 + r % {accounts} AS account,
            TIMESTAMP '2026-01-01' + to_seconds((hash(r) % 4320000)::BIGINT + n * 60000) AS moment,
            strftime(moment, '%Y-%m-%dT%H:%M:%S.000Z') AS "at",
            CASE WHEN n = 1 THEN 'open' ELSE ({states})[n - 1] END AS before,
            ({causes})[n] AS cause, ({states})[n] AS "after",
            'p' || (r % 20) || ': a sentence about as long as the real ones are in the trail' AS because,
            'patchwarden' AS actor,
            CASE WHEN n = 1 THEN json_object('first_seen', "at", 'observed_at', "at", 'decision', json_object(
                'policy', 'p' || (r % 20), 'policy_digest', md5('p' || (r % 20)), 'set_digest', md5('set'),
                'action', 'remediate', 'severity', r % 4 + 1, 'deadline', '2026-02-20T00:00:00.000Z'))
                WHEN ({causes})[n] = 'started' THEN json_object('execution', md5(r::VARCHAR))
                ELSE json_object('due', NULL) END AS sets,
            CASE WHEN n = 1 THEN json_object('facts', json_object('node', json_object('tags', json_object(
                'Environment', CASE WHEN r % 3 = 0 THEN 'prod' ELSE 'dev' END, 'Cluster', 'c' || r % 50))))
                ELSE json_object() END AS evidence,
            md5((r * 100 + n - 1)::VARCHAR) AS previous, md5((r * 100 + n)::VARCHAR) AS hash
        FROM range({remediations}) AS remediation(r), range(1, {lines} + 1) AS line(n)
    )
) TO '{out}' (FORMAT json, COMPRESSION gzip, PARTITION_BY (day, account_), FILE_EXTENSION 'jsonl.gz')
"""


def make(out: Path, remediations: int, lines: int) -> float:
    """Write the export; its size in bytes."""
    words = {name: "[" + ", ".join(f"'{one}'" for one in values) + "]"
             for name, values in (("states", STATES), ("causes", CAUSES))}  # fmt: skip
    duckdb.execute("SET preserve_insertion_order = false")
    duckdb.execute(MADE.format(out=out, remediations=remediations, lines=lines, accounts=ACCOUNTS, **words))
    for folder in out.glob("day=*/account_=*"):
        folder.rename(folder.with_name(folder.name.replace("account_=", "account=")))
    for day in out.glob("day=*"):
        (day / "manifest.json").write_text(json.dumps({"day": day.name[4:], "final": True}))
    return sum(file.stat().st_size for file in out.rglob("*.gz"))


def took(deed: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    found = deed()
    return time.perf_counter() - begin, found


def scan(folder: Path, at: str) -> dict[str, int]:
    """What a table of JSON without columns costs: read every line, as Athena does over the same files."""
    rows = duckdb.execute(
        'SELECT state, count(*) FROM (SELECT remediation, arg_max("after", number) AS state '
        "FROM read_json(?, format = 'newline_delimited', columns = {remediation: 'VARCHAR', number: 'INTEGER', "
        '"at": \'VARCHAR\', "after": \'VARCHAR\'}) WHERE "at" <= ? GROUP BY remediation) GROUP BY state',
        [str(folder / "trail" / "*" / "*" / "*.jsonl.gz"), at],
    ).fetchall()
    return dict(sorted(rows))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--remediations", type=int, default=1_000_000)
    options.add_argument("--lines", type=int, default=10, help="of each remediation, at most 10")
    options.add_argument("--out", type=Path, default=ROOT / "docs")
    asked = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="patchwarden-lookup-"))
    try:
        text = measure(folder, asked.remediations, min(asked.lines, len(CAUSES)))
    finally:
        shutil.rmtree(folder)
    print(text)
    write_part(asked.out / "benchmarks.md", LOOKUP, text)


def measure(folder: Path, remediations: int, lines: int) -> str:
    seconds, size = took(lambda: make(folder / "trail", remediations, lines))
    made = f"{remediations:,} remediations with {remediations * lines:,} lines, {size / 1e6:,.0f} MB"
    print(f"made in {seconds:.0f} s")
    at = BEGIN + timedelta(days=40)
    past = ExportedPast(folder)
    first, _ = took(lambda: past._database)
    scanned, plain = took(lambda: scan(folder, at.strftime("%Y-%m-%dT%H:%M:%S.000Z")))
    whole, told = took(lambda: fleet(past, at))
    assert told["states"] == plain, "the scan and the look-up disagree"
    some, _ = took(lambda: fleet(past, at, Where(account="111122220003", tag="Environment=prod")))
    one, _ = took(lambda: past.trail(f"111122220003.eu-west-1.i-{3:017x}.patch"))
    day, found = took(lambda: search(past, at, at + timedelta(days=1), where=Where(account="111122220003"), limit=50))
    assert len(found["lines"]) == 50, "a day holds more lines of an account than a page"
    slow, _ = took(lambda: durations(past, at - timedelta(days=30), at, EVERYTHING))
    rows = "\n".join(
        f"| {name} | {spent:.2f} | {scanned / spent:.1f} |"
        for name, spent in (
            ("the fleet at a moment, its first page", whole), ("one account and tag at a moment", some),
            ("one node's trail", one), ("a day of one account, its first page", day), ("durations of 30 days", slow),
        )
    )  # fmt: skip
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return PAGE.format(made=made, cores=os.cpu_count(), first=first, scanned=scanned, memory=memory, rows=rows)


if __name__ == "__main__":
    main()
