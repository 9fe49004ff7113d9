"""Full text on SQLite: FTS5, which needs no key, no model and no extension. It is given words and looks them up."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    bindparam,
    column,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import OperationalError

from perdure.domain.errors import Unavailable

# Of a word it keeps only which rows hold it; how often is counted in the words of the few rows that are ranked.
_CREATE: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS {index}
USING fts5(words, tokenize = "ascii tokenchars '_:@?-'", detail = none, columnsize = 0)
"""
_COUNTS: Final = "CREATE VIRTUAL TABLE IF NOT EXISTS {index}_counts USING fts5vocab({index}, row)"


def create(conn: Connection, index: str, rows: str) -> None:
    """Make an index, unless it is there. Raises Unavailable where this SQLite has no full text."""
    try:
        conn.exec_driver_sql(_CREATE.format(index=index))
        conn.exec_driver_sql(_COUNTS.format(index=index))
    except OperationalError as error:
        if "no such module" not in str(error):
            raise
        raise Unavailable(
            "The SQLite of this Python was built without FTS5, which search needs. "
            "Use a Python from python.org, from uv or from your distribution."
        ) from error


def drop(conn: Connection, index: str) -> None:
    conn.exec_driver_sql(f"DROP TABLE IF EXISTS {index}_counts")
    conn.exec_driver_sql(f"DROP TABLE IF EXISTS {index}")


def add(conn: Connection, index: str, rows: Iterable[tuple[int, str]]) -> None:
    _driver(conn).executemany(f"INSERT INTO {index} (rowid, words) VALUES (?, ?)", list(rows))  # noqa: S608


def remove(conn: Connection, index: str, seqs: Iterable[int]) -> None:
    _driver(conn).executemany(f"DELETE FROM {index} WHERE rowid = ?", [(seq,) for seq in seqs])  # noqa: S608


def counts(conn: Connection, index: str, words: Sequence[str]) -> Mapping[str, int]:
    wanted = ", ".join("?" * len(words))
    found = _driver(conn).execute(f"SELECT term, doc FROM {index}_counts WHERE term IN ({wanted})", words)  # noqa: S608
    return dict(found.fetchall())


def holding(index: str) -> Select[Any]:
    rows = table(index, column("rowid", Integer))
    match = literal_column(index, String).op("MATCH", is_comparison=True)
    return select(rows.c.rowid.label("seq")).where(match(bindparam("words", type_=String)))


def one_of(words: Sequence[str]) -> str:
    return " OR ".join(f'"{word}"' for word in words)


def within(key: ColumnElement[int], found: Select[Any]) -> ColumnElement[bool]:
    return key.in_(found)


def _driver(conn: Connection) -> sqlite3.Connection:
    return conn.info["driver"]
