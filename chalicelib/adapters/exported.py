"""The exported trail in a folder, asked through DuckDB: the past without the ledger, for any size.

The JSON lines are the evidence. What look-ups need of them is kept beside them in columns, one Parquet file a day under
`.columns/`, made anew whenever a day's manifest is another one. DuckDB is not part of the Lambda package.
"""

from __future__ import annotations

import gzip
import heapq
import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from chalicelib.core.courses import DECIDES, SPANS, Course, grouped
from chalicelib.core.errors import Denied
from chalicelib.core.moments import format_moment
from chalicelib.core.points import KEPT, MADE, Point, Where, blank
from chalicelib.core.publications import Publication
from chalicelib.core.remediations import Transition

_TEXTS = ("remediation", "at", "before", "cause", "after", "because", "hash")
_JSON = ", ".join([*(f"\"{name}\": 'VARCHAR'" for name in _TEXTS), "number: 'INTEGER', sets: 'JSON', evidence: 'JSON'"])

_DECIDED = ", ".join(
    f"CASE WHEN json_type(sets, '$.decision') = 'OBJECT' "
    f"THEN coalesce(json_extract(sets, '$.decision.{name}'), 'null'::JSON) END AS {name}"
    for name in MADE
)
_COLUMNS = f"""
SELECT remediation, number, "at" AS moment, before, cause, "after" AS became, because, hash,
    {", ".join(f"json_extract(sets, '$.{name}') AS {name}" for name in KEPT)},
    {_DECIDED},
    nullif(json_extract_string(sets, '$.decision.deadline'), '') AS deadline,
    json_extract(evidence, '$.facts.node.tags') AS tags,
    nullif(json_extract_string(evidence, '$.facts.ou'), '') AS ou
FROM read_json(?, format = 'newline_delimited', columns = {{{_JSON}}}, maximum_object_size = 4000000)
ORDER BY remediation, number
"""
"""JSON columns: SQL's NULL where a line does not say, JSON's null where it says that there is none."""

_FOLDS = {
    "number": "max(number)",
    "hash": "arg_max(hash, number)",
    "state": "arg_max(became, number)",
    "since": "arg_max(moment, number) FILTER (WHERE became <> before OR number = 1)",
    "because": "arg_max(because, number) FILTER (WHERE cause <> 'noted')",
    **{name: f"arg_max({name}, number)" for name in (*KEPT, *MADE)},
    "deadline": "CASE WHEN max(number) FILTER (WHERE deadline IS NOT NULL) >= coalesce(max(number) FILTER "
                "(WHERE episode IS NOT NULL), 0) THEN arg_max(deadline, number) END",
    "tags": "arg_max(tags, number) FILTER (WHERE tags::VARCHAR <> 'null')",
    "tags_at": "arg_max(moment, number) FILTER (WHERE tags::VARCHAR <> 'null')",
    "ou": "arg_max(ou, number)",
}  # fmt: skip
"""What `core/points.py` folds, in SQL; the same cases run over both."""

_CAUSES = ", ".join(f"'{cause}'" for cause in sorted(DECIDES))

_PARTS = {name: f"split_part(remediation, '.', {place})" for place, name in
          enumerate(("account", "region", "node", "control"), 1)}  # fmt: skip
_TYPED = frozenset({*KEPT, *MADE, "tags"})
"""Columns that hold JSON."""


class ExportedPast:
    """The port `Past` over the folder `path` of an export; Denied if there is none."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        if not (self._path / "trail").is_dir():
            raise Denied(f"{path} holds no export: make one with `patchwarden audit export --out {path}`")

    @cached_property
    def _database(self) -> Any:
        """A database in memory whose view `lines` is every day's columns."""
        import duckdb  # asked for by people, never by a handler

        connection = duckdb.connect()
        files = [self._columns(connection, day) for day in sorted((self._path / "trail").glob("day=*"))]
        named = ", ".join(_text(str(file)) for file in files if file)
        source = f"read_parquet([{named}])" if named else "(SELECT * FROM empty)"
        if not named:
            connection.execute(f"CREATE TABLE empty AS {_COLUMNS.replace('?', _text(str(self._nothing())))}")
        connection.execute(f"CREATE VIEW lines AS SELECT * FROM {source}")
        return connection

    def _nothing(self) -> Path:
        place = self._path / ".columns" / "nothing.jsonl"
        place.parent.mkdir(exist_ok=True)
        place.write_text("")
        return place

    def _columns(self, connection: Any, day: Path) -> Path | None:
        """The day's columns, made if its manifest is newer than they are; None for a day without lines."""
        files = sorted(map(str, day.glob("account=*/*.jsonl.gz")))
        place = self._path / ".columns" / f"{day.name}.parquet"
        made_from = place.with_suffix(".manifest")
        manifest = (day / "manifest.json").read_bytes() if (day / "manifest.json").exists() else b""
        if not files:
            return None
        if not manifest or not place.exists() or not made_from.exists() or made_from.read_bytes() != manifest:
            place.parent.mkdir(exist_ok=True)
            half = place.with_suffix(".half")
            listed = "[" + ", ".join(_text(file) for file in files) + "]"
            connection.execute(f"COPY ({_COLUMNS.replace('?', listed)}) TO {_text(str(half))} (FORMAT parquet)")
            half.replace(place)
            made_from.write_bytes(manifest)
        return place

    def _ask(self, statement: str, *values: Any) -> Any:
        return self._database.cursor().execute(statement, values)

    def points(self, at: datetime, where: Where, *, after: str | None, limit: int) -> list[Point]:
        folded, values = _folded(at, where, (), behind=after)
        ids = [row[0] for row in self._ask(f"{folded} ORDER BY remediation LIMIT ?", *values, limit).fetchall()]
        if not ids:
            return []
        whole = ", ".join(f"{fold} AS {name}" for name, fold in _FOLDS.items())
        chosen = "moment <= ? AND remediation IN (SELECT unnest(?)) GROUP BY remediation ORDER BY remediation"
        rows = self._ask(f"SELECT remediation, {whole} FROM lines WHERE {chosen}", format_moment(at), ids)
        return [_point(row) for row in rows.fetchall()]

    def tally(self, at: datetime, where: Where, by: Sequence[str]) -> dict[tuple[Any, ...], int]:
        folded, values = _folded(at, where, tuple(by))
        names = ", ".join(f'"{name}"' for name in by)
        rows = self._ask(f"SELECT {names}, count(*) FROM ({folded}) GROUP BY ALL", *values)
        found: dict[tuple[Any, ...], int] = {}
        for *group, count in rows.fetchall():
            key = tuple(_value(name, value) for name, value in zip(by, group, strict=True))
            found[key] = found.get(key, 0) + count
        return found

    def moves(self, earlier: datetime, later: datetime, where: Where) -> Iterator[tuple[str, str | None, str | None]]:
        then, before = _folded(earlier, Where(), ("state",))
        now, behind = _folded(later, where, ("state",))
        # lines are never taken away: what is there at the earlier moment is there at the later one
        rows = self._ask(f"SELECT n.remediation, t.state, n.state FROM ({now}) n LEFT JOIN ({then}) t "
                         "USING (remediation) WHERE n.state IS DISTINCT FROM t.state ORDER BY n.remediation",
                         *behind, *before)  # fmt: skip
        while found := rows.fetchmany(10_000):
            yield from found

    def courses(self, until: datetime, where: Where, *, since: datetime | None = None) -> Iterator[Course]:
        statement, values = _courses(until, where)
        rows = self._ask(f"{statement} ORDER BY remediation, part", *values)
        while found := rows.fetchmany(10_000):
            yield from map(_course, found)

    def pace(self, since: datetime, until: datetime, where: Where) -> dict[str, Any]:
        """In SQL what `courses.paced` does: a million episodes are no objects."""
        statement, values = _courses(until, where)
        cursor, between = self._database.cursor(), [format_moment(since), format_moment(until)]
        asked = "severity, policy, detected, decided, started, succeeded, verified"
        cursor.execute(f"CREATE TEMP TABLE courses AS SELECT {asked} FROM ({statement})", values)
        furthest = cursor.execute(
            """
            SELECT CASE WHEN decided IS NULL THEN 'detected' WHEN started IS NULL THEN 'decided'
                WHEN verified IS NOT NULL THEN 'verified' WHEN succeeded IS NOT NULL THEN 'succeeded' ELSE 'started'
                END, count(*) FROM courses WHERE detected BETWEEN ? AND ? GROUP BY 1
            """,
            between,
        ).fetchall()
        spreads = ", ".join(
            f"count({name}), quantile_disc({name}, 0.5), quantile_disc({name}, 0.9), max({name})" for name in _LASTED
        )
        lasted = ", ".join(f"{_milliseconds(end)} - {_milliseconds(begin)} AS {name}"
                           for name, (begin, end) in zip(_LASTED, SPANS, strict=True))  # fmt: skip
        rows = cursor.execute(
            f"SELECT grouping(severity, policy), severity, policy, {spreads} FROM (SELECT severity, policy, {lasted} "
            "FROM courses WHERE verified BETWEEN ? AND ?) GROUP BY GROUPING SETS ((), (severity), (policy))",
            between,
        ).fetchall()
        cursor.close()
        return _paced(rows, dict(furthest))

    def lines(self, day: date) -> Iterator[Transition]:
        files = sorted((self._path / "trail" / f"day={day.isoformat()}").glob("account=*/*.jsonl.gz"))
        return heapq.merge(*map(_read, files), key=lambda line: (line.at, line.remediation, line.number))

    def trail(self, remediation: str) -> list[Transition]:
        days = self._ask(
            "SELECT DISTINCT moment[:10] FROM lines WHERE remediation = ? ORDER BY 1", remediation
        ).fetchall()
        account = f"account={blank(remediation)['account']}" if remediation.count(".") >= 3 else ""
        files = [file for (day,) in days
                 for file in sorted((self._path / "trail" / f"day={day}" / account).glob("*.jsonl.gz"))]  # fmt: skip
        lines = [line for file in files for line in _read(file, having=remediation) if line.remediation == remediation]
        return sorted(lines, key=lambda line: line.number)

    def publications(self) -> list[Publication]:
        place = self._path / "service" / "publications.jsonl.gz"
        if not place.exists():
            return []
        with gzip.open(place, "rt", encoding="utf-8") as text:
            return [Publication.from_json(json.loads(line)) for line in text]


def _read(file: Path, having: str = "") -> Iterator[Transition]:
    with gzip.open(file, "rt", encoding="utf-8") as text:
        for line in text:
            if having in line:
                yield Transition.from_json(json.loads(line))


def _folded(
    at: datetime, where: Where, columns: tuple[str, ...], *, behind: str | None = None
) -> tuple[str, list[Any]]:
    """A query for the ids, with these columns, of what passes the filter at a moment."""
    given = where.given()
    wanted = {*columns, *(name for name in given if name in _FOLDS), *(("tags",) if "tag" in given else ())}
    if "digest" in given:
        wanted |= {"policy_digest", "set_digest"}
    chosen = [f'{_PARTS[name] if name in _PARTS else _FOLDS[name]} AS "{name}"' for name in sorted(wanted)]
    first = [f"{_PARTS[name]} = ?" for name in given if name in _PARTS]
    values: list[Any] = [format_moment(at), *(given[name] for name in given if name in _PARTS)]
    if behind is not None:
        first.append("remediation > ?")
        values.append(behind)
    later, more = _conditions({name: value for name, value in given.items() if name not in _PARTS})
    inner = (f"SELECT {', '.join(['remediation', *chosen])} FROM lines WHERE {' AND '.join(['moment <= ?', *first])} "
             "GROUP BY remediation")  # fmt: skip
    return (f"SELECT * FROM ({inner}) WHERE {' AND '.join(later)}" if later else f"SELECT * FROM ({inner})",
            [*values, *more])  # fmt: skip


def _conditions(given: dict[str, Any]) -> tuple[list[str], list[Any]]:
    found, values = list[str](), list[Any]()
    for name, value in given.items():
        if name == "tag":
            key, equals, wanted = value.partition("=")
            pointer = "/" + key.replace("~", "~0").replace("/", "~1")
            found.append("json_exists(tags, ?)" if not equals else "json_extract_string(tags, ?) = ?")
            values += [pointer, wanted] if equals else [pointer]
        elif name == "digest":
            found.append("(starts_with(coalesce(json_extract_string(policy_digest, '$'), ''), ?) OR "
                         "starts_with(coalesce(json_extract_string(set_digest, '$'), ''), ?))")  # fmt: skip
            values += [value, value]
        else:
            found.append(f"json_extract_string(\"{name}\", '$') = ?" if name in _TYPED else f'"{name}" = ?')
            values.append(str(value))
    return found, values


def _courses(until: datetime, where: Where) -> tuple[str, list[Any]]:
    """A query for every episode, its columns named as a Course's. Only the lines of what came back are numbered."""
    at, (folded, values) = format_moment(until), _folded(until, where, ())
    chosen = f"lines SEMI JOIN ({folded}) USING (remediation)" if where.given() else "lines"
    return (
        f"""
        WITH regressed AS (SELECT DISTINCT remediation FROM lines WHERE moment <= ? AND episode::VARCHAR <> '0'),
        chosen AS (SELECT * FROM {chosen} WHERE moment <= ?),
        numbered AS (
            SELECT *, 0 AS part FROM chosen ANTI JOIN regressed USING (remediation)
            UNION ALL
            SELECT *, coalesce(max(episode::VARCHAR::INTEGER) OVER (PARTITION BY remediation ORDER BY number), 0)
            FROM chosen SEMI JOIN regressed USING (remediation)
        )
        SELECT remediation, part, arg_max(became, number) AS state,
            coalesce(arg_max(json_extract_string(first_seen, '$'), number), arg_min(moment, number)) AS detected,
            arg_min(moment, number) FILTER (WHERE cause IN ({_CAUSES})) AS decided,
            arg_min(moment, number) FILTER (WHERE cause = 'started') AS started,
            arg_min(moment, number) FILTER (WHERE cause = 'resolved') AS verified,
            arg_max(json_extract_string(policy, '$'), number) FILTER (WHERE policy::VARCHAR <> 'null') AS policy,
            arg_max(severity::VARCHAR, number) FILTER (WHERE severity::VARCHAR <> 'null') AS severity,
            arg_max(deadline, number) AS deadline,
            arg_min(moment, number) FILTER (WHERE cause = 'succeeded') AS succeeded,
            coalesce(arg_max(because, number) FILTER (WHERE cause <> 'noted'), '') AS because
        FROM numbered GROUP BY remediation, part
    """,
        [at, *(values if where.given() else ()), at],
    )


_LASTED = ("first", "second", "third", "whole")
"""What the query calls the spans, in their order."""


def _milliseconds(moment: str) -> str:
    return f"epoch_ms({moment}::TIMESTAMPTZ)"


def _paced(rows: Sequence[tuple[Any, ...]], furthest: dict[str, int]) -> dict[str, Any]:
    """From rows of `(which are no group, severity, policy, then count, median, p90 and longest of each span)`."""
    told = {(kind, severity, policy): [_spread(spans[place : place + 4]) for place in range(0, len(spans), 4)]
            for kind, severity, policy, *spans in rows}  # fmt: skip
    whole = told[3, None, None]
    return {
        "verified": whole[-1]["count"],
        "spans": {f"{begin}_to_{end}": spread for (begin, end), spread in zip(SPANS, whole, strict=True)},
        "by_severity": grouped("severity", {int(severity) if severity else None: spans[-1]
                                            for (kind, severity, _), spans in told.items() if kind == 1}),
        "by_policy": grouped("policy", {policy: spans[-1] for (kind, _, policy), spans in told.items() if kind == 2}),
        "furthest": furthest,
    }  # fmt: skip


def _spread(found: Sequence[int | None]) -> dict[str, Any]:
    count, *ranks = found
    seconds = [None if rank is None else rank / 1000 for rank in ranks]
    return {"count": count, **dict(zip(("median", "p90", "longest"), seconds, strict=True))}


def _value(name: str, value: Any) -> Any:
    return json.loads(value) if name in _TYPED and value is not None else value


def _point(row: tuple[Any, ...]) -> Point:
    identity, *rest = row
    said = {name: _value(name, value) for name, value in zip(_FOLDS, rest, strict=True)}
    known = {name: value for name, value in said.items() if value is not None}
    return Point(**blank(identity), **known)


def _course(row: tuple[Any, ...]) -> Course:
    *known, severity, deadline, succeeded, because = row
    return Course(*known, int(severity) if severity else None, deadline, succeeded, because)  # type: ignore[call-arg]


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
