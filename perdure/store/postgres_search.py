"""Full text on PostgreSQL: a table of words with a GIN index. It is given words and only looks them up.

Text is cut into words and stemmed by us and not by the database, whose parser makes one word of an address or the name
of a file, and whose ranking knows nothing of how rare a word is.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    table,
)

# What was added last stands in a list that each look reads to its end, so that is kept short: of 128 kB no look takes
# longer, and rows are added twice as fast as without it.
_CREATE: Final = (
    "CREATE TABLE {index} (seq BIGINT PRIMARY KEY REFERENCES {rows} (seq) ON DELETE CASCADE, "
    'words TEXT COLLATE "C" NOT NULL)',
    "CREATE INDEX ix_{index}_words ON {index} USING gin (string_to_array(words, ' ')) "
    "WITH (gin_pending_list_limit = 128)",
    "CREATE INDEX ix_{index}_sample ON {index} USING gin (string_to_array(words, ' ')) "
    "WITH (gin_pending_list_limit = 128) WHERE hashint8(seq >> 4) & 15 = 0",
)
# An index of this kind cannot count without visiting each row, so those of a word that some 2,000 hold are counted in a
# sixteenth of them: about a tenth off, and less the more there are. It is taken by runs of rows, which lie together.
_COUNT: Final = """
SELECT word, CASE WHEN sampled < 128 THEN (
    SELECT count(*) FROM {index} WHERE string_to_array(words, ' ') @> ARRAY[word]
) ELSE 16 * sampled END
FROM unnest(CAST($1 AS TEXT[])) AS asked (word), LATERAL (
    SELECT count(*) AS sampled FROM {index}
    WHERE string_to_array(words, ' ') @> ARRAY[word] AND hashint8(seq >> 4) & 15 = 0
) AS sample
"""


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


def holding(index: str) -> Select[Any]:
    seq, words = column("seq", BigInteger), column("words", Text)
    # In a query of its own, so that the words are not known when it is planned: else all rows are cut into words, in
    # turn, wherever one is common.
    asked = select(bindparam("words", type_=ARRAY(Text))).scalar_subquery()
    held = func.string_to_array(words, literal_column("' '")).op("&&", is_comparison=True)(asked)
    # The offset keeps it from doing so from the newest on.
    return select(seq).select_from(table(index, seq, words)).where(held).offset(literal_column("0"))


def one_of(words: Sequence[str]) -> list[str]:
    return list(words)


def within(key: ColumnElement[int], found: Select[Any]) -> ColumnElement[bool]:
    return key == any_(func.array(found.scalar_subquery()))
