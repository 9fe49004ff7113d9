"""Full text on PostgreSQL: a table of words with a GIN index. It is given words and only looks them up.

Text is cut into words and stemmed by us and not by the database, whose parser makes one word of an address or the name
of a file, and whose ranking knows nothing of how rare a word is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, select, text
from sqlalchemy import column as sql_column
from sqlalchemy import table as sql_table

_CREATE: Final = (
    "CREATE TABLE {index} (seq BIGINT PRIMARY KEY REFERENCES {rows} (seq) ON DELETE CASCADE, "
    'words TEXT COLLATE "C" NOT NULL)',
    "CREATE INDEX ix_{index}_words ON {index} USING gin (string_to_array(words, ' '))",
)
_COUNT: Final = (
    "SELECT word, (SELECT count(*) FROM {index} WHERE string_to_array(words, ' ') @> ARRAY[word]) "
    "FROM unnest(CAST($1 AS TEXT[])) AS asked (word)"
)


def create(conn: Connection, index: str, rows: str) -> None:
    """Make an index of the rows of a table, unless it is there."""
    if conn.exec_driver_sql(f"SELECT to_regclass('{index}')").scalar() is None:
        for statement in _CREATE:
            conn.exec_driver_sql(statement.format(index=index, rows=rows))


def drop(conn: Connection, index: str) -> None:
    conn.exec_driver_sql(f"DROP TABLE IF EXISTS {index}")


def add(conn: Connection, index: str, rows: Iterable[tuple[int, str]]) -> None:
    conn.info["driver"].executemany(f"INSERT INTO {index} (seq, words) VALUES ($1, $2)", list(rows))  # noqa: S608


def remove(conn: Connection, index: str, seqs: Iterable[int]) -> None:
    conn.info["driver"].execute(f"DELETE FROM {index} WHERE seq = ANY($1::bigint[])", (list(seqs),))  # noqa: S608


def counts(conn: Connection, index: str, words: Sequence[str]) -> Mapping[str, int]:
    rows = conn.info["driver"].execute(_COUNT.format(index=index), (list(words),)).fetchall()
    return {row[0]: row[1] for row in rows}


def holding(index: str, words: Sequence[str]) -> Select[Any]:
    rows = sql_table(index, sql_column("seq"))
    held = text("string_to_array(words, ' ') && CAST(:words AS TEXT[])").bindparams(bindparam("words", list(words)))
    return select(rows.c.seq.label("seq")).where(held)
