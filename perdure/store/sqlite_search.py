"""Full text on SQLite: FTS5, which needs no key, no model and no extension."""

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Select, bindparam, column, func, literal_column, table
from sqlalchemy.exc import OperationalError

from perdure.domain.errors import Unavailable
from perdure.store.search_words import spaced, terms_of
from perdure.store.tables import messages

_CREATE: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS message_search
USING fts5(text, tokenize = 'porter unicode61 remove_diacritics 2')
"""
MAX_ROWID: Final = 2**63 - 1
_ROWS: Final = table("message_search", column("rowid", Integer))
_NAME: Final[ColumnElement[Any]] = literal_column("message_search")


def create(conn: Connection) -> None:
    """Make the index, unless it is there. Raises Unavailable where this SQLite has no full text."""
    try:
        conn.exec_driver_sql(_CREATE)
    except OperationalError as error:
        if "no such module" not in str(error):
            raise
        raise Unavailable(
            "The SQLite of this Python was built without FTS5, which search needs. "
            "Use a Python from python.org, from uv or from your distribution."
        ) from error


def add(conn: Connection, rows: Iterable[tuple[int, str]]) -> None:
    _driver(conn).executemany(
        "INSERT INTO message_search (rowid, text) VALUES (?, ?)", [(seq, spaced(text)) for seq, text in rows]
    )


def remove(conn: Connection, seq: int) -> None:
    _driver(conn).execute("DELETE FROM message_search WHERE rowid = ?", (seq,))


def forget(conn: Connection, agent_id: str) -> None:
    _driver(conn).execute(
        "DELETE FROM message_search WHERE rowid IN (SELECT seq FROM messages WHERE agent_id = ?)", (agent_id,)
    )


def stale(conn: Connection, low: int, high: int | None, wanted: Mapping[int, str]) -> set[int]:
    query = "SELECT rowid, text FROM message_search WHERE rowid >= ? AND rowid <= ?"
    held = dict(conn.exec_driver_sql(query, (low, MAX_ROWID if high is None else high)).all())
    expected = {seq: spaced(text) for seq, text in wanted.items()}
    return {seq for seq in held.keys() | expected.keys() if held.get(seq) != expected.get(seq)}


def joined(found: Select[Any]) -> Select[Any]:
    return found.join(_ROWS, _ROWS.c.rowid == messages.c.seq)


def matching(query: str) -> tuple[ColumnElement[bool], ColumnElement[float]] | None:
    terms = terms_of(query)
    if not terms:
        return None
    words = " OR ".join(f'"{term}"' for term in terms)
    # bm25 is negative, and the lower the better.
    return _NAME.op("MATCH", is_comparison=True)(bindparam("words", words)), -func.bm25(_NAME)


def _driver(conn: Connection) -> sqlite3.Connection:
    return conn.info["driver"]
