"""Full text on SQLite: FTS5, which needs no key, no model and no extension."""

import re
import sqlite3
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Select, bindparam, column, func, literal_column, table
from sqlalchemy.exc import OperationalError

from perdure.domain.errors import Unavailable
from perdure.store.tables import messages

MAX_TERMS: Final = 64
"""Terms of a query that are looked up; each one costs a pass over the rows that hold it."""

_CREATE: Final = """
CREATE VIRTUAL TABLE IF NOT EXISTS message_search
USING fts5(text, tokenize = 'porter unicode61 remove_diacritics 2')
"""
_ROWS: Final = table("message_search", column("rowid", Integer))
_NAME: Final[ColumnElement[Any]] = literal_column("message_search")

# FTS5 takes a run of letters for one word, and these scripts put no spaces between words.
_UNSPACED: Final = re.compile(
    "([\u1100-\u11ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff])"
)


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
        "INSERT INTO message_search (rowid, text) VALUES (?, ?)", [(seq, _spaced(text)) for seq, text in rows]
    )


def remove(conn: Connection, seq: int) -> None:
    _driver(conn).execute("DELETE FROM message_search WHERE rowid = ?", (seq,))


def forget(conn: Connection, agent_id: str) -> None:
    _driver(conn).execute(
        "DELETE FROM message_search WHERE rowid IN (SELECT seq FROM messages WHERE agent_id = ?)", (agent_id,)
    )


def joined(found: Select[Any]) -> Select[Any]:
    return found.join(_ROWS, _ROWS.c.rowid == messages.c.seq)


def matching(query: str) -> tuple[ColumnElement[bool], ColumnElement[float]] | None:
    terms = _terms(query)
    if not terms:
        return None
    words = " OR ".join(f'"{term}"' for term in terms)
    # bm25 is negative, and the lower the better.
    return _NAME.op("MATCH", is_comparison=True)(bindparam("words", words)), -func.bm25(_NAME)


def _driver(conn: Connection) -> sqlite3.Connection:
    return conn.info["driver"]


def _spaced(text: str) -> str:
    return text if text.isascii() else _UNSPACED.sub(r" \1 ", text)


def _terms(query: str) -> list[str]:
    """The words of a query as FTS5 will see them: letters, digits and their marks, so nothing that is syntax.

    A run of an unspaced script becomes its pairs of neighbours, since nothing tells where its words end.
    """
    plain = "".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in query)
    terms: dict[str, None] = {}
    for chunk in plain.split():
        for run, group in _runs(chunk):
            if run:
                pairs = [" ".join(group[at : at + 2]) for at in range(max(1, len(group) - 1))]
                terms.update(dict.fromkeys(pairs))
            elif any(unicodedata.category(char)[0] in "LN" for char in group):
                terms[group.casefold()] = None
        if len(terms) >= MAX_TERMS:
            break
    return list(terms)[:MAX_TERMS]


def _runs(chunk: str) -> list[tuple[bool, str]]:
    """A word cut where its script changes, as (is unspaced, characters)."""
    runs: list[tuple[bool, str]] = []
    for char in chunk:
        unspaced = _UNSPACED.match(char) is not None
        if runs and runs[-1][0] == unspaced:
            runs[-1] = (unspaced, runs[-1][1] + char)
        else:
            runs.append((unspaced, char))
    return runs
