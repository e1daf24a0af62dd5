"""Local: the queries over a copy of the synced JSON on this machine, by DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from patchwarden.reporting.tables import FOLDER, TABLES, sql


class NoData(Exception):
    """The directory holds nothing that resource data sync wrote, or something that cannot be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, and its columns in order."""

    columns: tuple[str, ...]
    rows: list[dict[str, Any]]


class Synced:
    """A directory that was copied from the bucket, with or without the prefix of the sync.

    All of it is read when it is opened; NoData where there is nothing, or a file is not JSON.
    """

    def __init__(self, directory: Path) -> None:
        self._base = _base(directory)
        # Nothing is fetched or installed: the data may be of people who wrote other things into it than we expect.
        self._connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        for table in TABLES:
            self._load(table)
        self._connection.execute("SET enable_external_access = false")

    def ask(self, name: str, parameters: Sequence[str]) -> Answer:
        """The answer to one of the queries."""
        return self.run(sql(name), parameters)

    def run(self, text: str, parameters: Sequence[str]) -> Answer:
        """The answer to any text over the same tables."""
        found = self._connection.execute(text, list(parameters))
        columns = tuple(column[0] for column in found.description or ())
        return Answer(columns, [dict(zip(columns, row, strict=True)) for row in found.fetchall()])

    def _load(self, table: str) -> None:
        """Files hold one JSON object or one on each line. An account with a leading 0 stays a text."""
        folder, fields = TABLES[table]
        files = sorted(map(str, (self._base / folder).glob(f"accountid=*/region=*/{FOLDER}/*.json")))
        if not files:
            columns = ", ".join(f"{name.lower()} varchar" for name in (*fields, "accountid", "region"))
            self._connection.execute(f"CREATE TABLE {table} ({columns})")
            return
        columns = ", ".join(f"{_field(name)} AS {name.lower()}" for name in fields)
        reading = "read_json_objects(?, format = 'unstructured', hive_partitioning = true, hive_types_autocast = false)"
        try:
            self._connection.execute(
                f"CREATE TABLE {table} AS SELECT {columns}, accountid, region FROM {reading}", [files]
            )
        except duckdb.Error as error:
            raise NoData(f"{self._base / folder}: not as resource data sync writes it: {error}") from error


def _field(name: str) -> str:
    """As the sync spells it, or in small letters as other tools do; Athena's reader does not mind either."""
    small = name[0].lower() + name[1:]
    ways = dict.fromkeys((name, small, name[0].upper() + name[1:], name.lower()))
    found = [f"json ->> '$.{way}'" for way in ways]
    return f"coalesce({', '.join(found)}, NULL)"


def _base(directory: Path) -> Path:
    """Where the folders of the types lie: in the directory, or below one folder, which is the prefix of the sync."""
    for found in (directory, *sorted(path for path in directory.glob("*") if path.is_dir())):
        if any((found / folder).is_dir() for folder, _ in TABLES.values()):
            return found
    raise NoData(
        f"{directory} holds no AWS:InstanceInformation or the like: copy the bucket there with "
        f"`aws s3 sync s3://BUCKET {directory}`"
    )
