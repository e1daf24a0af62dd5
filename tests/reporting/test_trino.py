"""The reports as Athena reads them: Trino's grammar, its reserved words, our tables' columns, and the same answers."""

from __future__ import annotations

import pytest
import sqlglot
from sqlglot import exp
from sqlglot.optimizer.qualify import qualify

from patchwarden.reporting.local import Synced
from patchwarden.reporting.tables import PARAMETERS, QUERIES, TABLES, sql

SCHEMA: dict[str, object] = {
    name: {**{field.lower(): "varchar" for field in fields}, "accountid": "varchar", "region": "varchar"}
    for name, (_, fields) in TABLES.items()
}

RESERVED = frozenset({
    "alter", "and", "as", "between", "by", "case", "cast", "constraint", "create", "cross", "cube",
    "current_catalog", "current_date", "current_path", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "deallocate", "delete", "describe", "distinct", "drop", "else", "end",
    "escape", "except", "exists", "extract", "false", "for", "from", "full", "group", "grouping", "having",
    "in", "inner", "insert", "intersect", "into", "is", "join", "json_array", "json_exists", "json_object",
    "json_query", "json_table", "json_value", "left", "like", "listagg", "localtime", "localtimestamp",
    "natural", "normalize", "not", "null", "on", "or", "order", "outer", "prepare", "recursive", "right",
    "rollup", "select", "skip", "table", "then", "trim", "true", "uescape", "union", "unnest", "using",
    "values", "when", "where", "with",
})  # fmt: skip
"""https://trino.io/docs/current/language/reserved.html"""


def parsed(name: str, dialect: str) -> exp.Select:
    """The one statement of a query."""
    (statement,) = sqlglot.parse(sql(name), dialect=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    assert isinstance(statement, exp.Select), "nothing but one question"
    return statement


@pytest.mark.parametrize("dialect", ["trino", "athena"])
@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_one_select_of_the_dialect_with_its_parameters(name: str, dialect: str) -> None:
    statement = parsed(name, dialect)
    assert len(list(statement.find_all(exp.Placeholder))) == len(PARAMETERS[name])
    assert [found.sql() for found in statement.find_all(exp.Command, exp.Anonymous)] == [], "nothing it does not know"


@pytest.mark.parametrize("name", QUERIES)
def test_no_name_is_a_word_that_trino_keeps_for_itself(name: str) -> None:
    called = {found.name.lower() for found in parsed(name, "trino").find_all(exp.Identifier)}
    assert called & RESERVED == set()


@pytest.mark.parametrize("name", QUERIES)
def test_every_column_is_one_of_our_tables_or_of_the_query_itself(name: str) -> None:
    """Each column finds its table as Trino would find it; an unknown or an ambiguous one is an error."""
    whole = qualify(parsed(name, "trino"), dialect="trino", schema=SCHEMA, validate_qualify_columns=True)
    tables = {found.name for found in whole.find_all(exp.Table)} - {found.alias for found in whole.find_all(exp.CTE)}
    assert tables and tables <= set(TABLES)


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize(("since", "tags"), [("", ""), ("2026-11-23T13:00:00Z", "Environment=prod")])
def test_what_trino_means_is_what_duckdb_answers(name: str, since: str, tags: str, synced: Synced) -> None:
    """The text read as Trino, said in DuckDB's own words, answers as the very text does that runs here."""
    (said,) = sqlglot.transpile(sql(name), read="trino", write="duckdb", error_level=sqlglot.ErrorLevel.RAISE)
    given = [since, tags, *["python"] * (len(PARAMETERS[name]) - 2)]
    here = synced.ask(name, given)
    there = synced.run(said, given)
    assert there.columns == here.columns and there.rows == here.rows
    assert here.rows or since, "the data has something for every report"
