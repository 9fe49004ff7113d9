"""Full text on PostgreSQL: a table of word lists with a GIN index, stemmed and ranked much as SQLite does it.

Text is cut into words here and not by the database, whose parser makes one word of an address or the name of a file.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from sqlalchemy import (
    REAL,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    case,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.types import UserDefinedType

from perdure.store.search_words import folded, terms_of
from perdure.store.tables import messages

_CREATE: Final = (
    # The stemmer of SQLite's index; and as there, no word is too common to be looked for.
    "CREATE TEXT SEARCH DICTIONARY perdure_stems (TEMPLATE = snowball, LANGUAGE = porter)",
    "CREATE TEXT SEARCH CONFIGURATION perdure (COPY = pg_catalog.simple)",
    "ALTER TEXT SEARCH CONFIGURATION perdure ALTER MAPPING REPLACE simple WITH perdure_stems",
    "CREATE TABLE message_search ("
    "seq BIGINT PRIMARY KEY REFERENCES messages (seq) ON DELETE CASCADE, words TSVECTOR NOT NULL)",
    "CREATE INDEX ix_message_search_words ON message_search USING gin (words)",
)

LESS_FOR_LENGTH: Final = 1
"""`ts_rank` with this divides by the logarithm of a text's length, so that long ones do not win by that alone."""


_RIGHT: Final = (
    "SELECT wanted.seq FROM unnest(CAST($1 AS BIGINT[]), CAST($2 AS TEXT[])) AS wanted (seq, text) "
    "JOIN message_search USING (seq) WHERE words = to_tsvector('perdure', text)"
)


class _Query(UserDefinedType[Any]):
    cache_ok = True


_ROWS: Final = table("message_search", column("seq", BigInteger), column("words", _Query()))
_CONFIGURATION: Final[ColumnElement[Any]] = literal_column("'perdure'::regconfig")


def create(conn: Connection) -> None:
    """Make the index, unless it is there."""
    if conn.exec_driver_sql("SELECT to_regclass('message_search')").scalar() is None:
        for statement in _CREATE:
            conn.exec_driver_sql(statement)


def add(conn: Connection, rows: Iterable[tuple[int, str]]) -> None:
    conn.info["driver"].executemany(
        "INSERT INTO message_search (seq, words) VALUES ($1, to_tsvector('perdure', $2))",
        [(seq, folded(text)) for seq, text in rows],
    )


def remove(conn: Connection, seq: int) -> None:
    conn.info["driver"].execute("DELETE FROM message_search WHERE seq = $1", (seq,))


def forget(conn: Connection, agent_id: str) -> None:
    conn.info["driver"].execute(
        "DELETE FROM message_search USING messages WHERE messages.seq = message_search.seq AND agent_id = $1",
        (agent_id,),
    )


def stale(conn: Connection, low: int, high: int | None, wanted: Mapping[int, str]) -> set[int]:
    held = select(_ROWS.c.seq).where(_ROWS.c.seq >= low)
    seqs = set(conn.execute(held if high is None else held.where(_ROWS.c.seq <= high)).scalars())
    right = conn.exec_driver_sql(_RIGHT, ([*wanted], [folded(text) for text in wanted.values()])).scalars()
    return (seqs | wanted.keys()) - set(right)


def joined(found: Select[Any]) -> Select[Any]:
    return found.join(_ROWS, _ROWS.c.seq == messages.c.seq)


def matching(query: str) -> tuple[ColumnElement[bool], ColumnElement[float]] | None:
    terms = [f"'{folded(term).strip()}'" for term in terms_of(query)]
    if not terms:
        return None
    return _holds(_asked(" | ".join(terms))), sum(
        (_weight(_asked(term)) for term in terms[1:]), _weight(_asked(terms[0]))
    )


def _asked(words: str) -> ColumnElement[Any]:
    # As a query of its own it is read once, and not again for each row.
    return select(func.to_tsquery(_CONFIGURATION, words, type_=_Query())).scalar_subquery()


def _holds(asked: ColumnElement[Any]) -> ColumnElement[bool]:
    return _ROWS.c.words.op("@@", is_comparison=True)(asked)


def _weight(asked: ColumnElement[Any]) -> ColumnElement[float]:
    """How much of a term a text has, and the more for it the fewer of the texts found have it, as in BM25."""
    found = func.count().over()
    holding = func.sum(case((_holds(asked), 1), else_=0)).over()
    rarity = func.ln(1 + (found - holding + 0.5) / (holding + 0.5))
    return rarity * func.ts_rank(_ROWS.c.words, asked, LESS_FOR_LENGTH, type_=REAL())
