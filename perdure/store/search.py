"""The full-text indexes: what they hold, how rows get in and out, and what can be asked of them.

A dialect of SQL keeps an index its own way, in a file of its own (`_INDEXES`), but what it holds is the same: of each
row its words in order (`search_words.py`), each with a sign of the scope before it, so that a scope's words are looked
up and counted as fast as if it were alone. Which rows answer a question best is not decided here but in `memory/`.
"""

import functools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    TableClause,
    bindparam,
    column,
    select,
    table,
)

from perdure.store import postgres_search, sqlite_search
from perdure.store.hot import Hot
from perdure.store.search_words import marks_of, words_of

SCOPE: Final = ""
"""The mark that every row of a scope has."""
AT_ONCE: Final = 500
"""Parameters of one statement."""


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of text that is searched: the rows of a table with `seq`, `tenant_id` and `created_at`.

    The rows of one `scope` are searched together. Rows that bear on each other stand in one `line`, in order of
    `place`; both are columns of the table or of `link`, which names a row by its seq.
    """

    index: str
    table: Table
    scope: Column[str]
    line: Column[str]
    place: tuple[Column[int], ...]
    link: Column[int] | None = None


class Index(Protocol):
    """What a dialect's file offers."""

    @staticmethod
    def create(conn: Connection, index: str, rows: str) -> None: ...
    @staticmethod
    def drop(conn: Connection, index: str) -> None: ...
    @staticmethod
    def add(conn: Connection, index: str, rows: Iterable[tuple[int, str]]) -> None: ...
    @staticmethod
    def remove(conn: Connection, index: str, seqs: Iterable[int]) -> None: ...
    @staticmethod
    def counts(conn: Connection, index: str, words: Sequence[str]) -> Mapping[str, int]: ...
    @staticmethod
    def holding(index: str) -> Select[Any]:
        """The `seq`s of the rows that hold one of `words`, a parameter that `one_of` makes."""
        ...

    @staticmethod
    def one_of(words: Sequence[str]) -> Any: ...
    @staticmethod
    def within(key: ColumnElement[int], found: Select[Any]) -> ColumnElement[bool]:
        """That a key is among those found, put so that the index is asked once, and not about each key in turn."""
        ...


_INDEXES: Final[Mapping[str, Index]] = {"sqlite": sqlite_search, "postgresql": postgres_search}
_KEYS: Final[Mapping[str, str]] = {"sqlite": "rowid", "postgresql": "seq"}
"""The column of an index that holds the seq of a row."""


def sign_of(scope: str) -> str:
    """What stands before each word of a scope. Two scopes may share one, so it never decides who sees a row."""
    return f"{zlib.crc32(scope.encode()) & 0xFFFFF:x}_"


def create(conn: Connection, corpus: Corpus) -> None:
    """Make an index, unless it is there. Raises Unavailable where this database has no full text."""
    _of(conn).create(conn, corpus.index, corpus.table.name)


def drop(conn: Connection, corpus: Corpus) -> None:
    """Take an index away, to be made anew."""
    _of(conn).drop(conn, corpus.index)


def add(conn: Connection, corpus: Corpus, scope: str, rows: Iterable[tuple[int, str, int]]) -> None:
    """Make rows of a scope findable, given as (seq, text, microseconds UTC)."""
    _of(conn).add(conn, corpus.index, [(seq, indexed(scope, text, at)) for seq, text, at in rows])


def put(conn: Connection, corpus: Corpus, seqs: Iterable[int], words: Mapping[int, str]) -> None:
    """Have the index hold of these rows just these words, as `indexed` gives them; of those without any nothing."""
    wrong = set(seqs)
    _of(conn).remove(conn, corpus.index, wrong)
    _of(conn).add(conn, corpus.index, [(seq, words[seq]) for seq in wrong & words.keys()])


def remove(conn: Connection, corpus: Corpus, seqs: Iterable[int]) -> None:
    """Take rows out of the index."""
    _of(conn).remove(conn, corpus.index, list(seqs))


def forget(conn: Connection, corpus: Corpus, scope: str) -> None:
    """Take all rows of a scope out of the index. To be done while they are still there."""
    remove(conn, corpus, conn.execute(select(corpus.table.c.seq).where(corpus.scope == scope)).scalars().all())


def held(conn: Connection, corpus: Corpus, low: int, high: int | None) -> dict[int, str]:
    """What the index holds of the rows from one seq to another, both included; without `high` of all from `low` on."""
    rows, seq = index_rows(conn, corpus)
    found = select(seq, rows.c.words).where(seq >= low)
    return {row[0]: row[1] for row in conn.execute(found if high is None else found.where(seq <= high))}


def indexed(scope: str, text: str, at: int) -> str:
    """What the index holds of a row."""
    sign = sign_of(scope)
    return " ".join(sign + word for word in (SCOPE, *marks_of(text, at), *words_of(text)))


def counts(conn: Connection, corpus: Corpus, scopes: Iterable[str], words: Iterable[str]) -> dict[str, int]:
    """How many rows of these scopes hold each word; `SCOPE` is held by all."""
    asked = {sign_of(scope) + word: word for scope in scopes for word in words}
    found = dict.fromkeys(asked.values(), 0)
    signed = list(asked)
    for start in range(0, len(signed), AT_ONCE):
        for word, count in _of(conn).counts(conn, corpus.index, signed[start : start + AT_ONCE]).items():
            found[asked[word]] += count
    return found


def holding(
    conn: Connection, corpus: Corpus, scopes: Iterable[str], word: str, where: ColumnElement[bool] | None, most: int
) -> list[int]:
    """The seqs of the newest rows that hold a word and are among those wanted, newest first.

    Without `where` the index alone is asked, which goes by signs: rows of another scope may be among them.
    """
    words = _of(conn).one_of([sign_of(scope) + word for scope in scopes])
    if where is None:
        return [row[0] for row in _newest(conn.dialect.name, corpus.index).rows(conn, words=words, most=most)]
    key = corpus.table.c.seq
    held = _of(conn).within(key, _of(conn).holding(corpus.index))
    found = select(key).where(held, where).order_by(key.desc()).limit(most)
    return list(conn.execute(found, {"words": words}).scalars())


@functools.cache
def _newest(dialect: str, index: str) -> Hot:
    """The newest rows that hold a word."""
    found = _INDEXES[dialect].holding(index).subquery()
    return Hot(select(found.c.seq).order_by(found.c.seq.desc()).limit(bindparam("most", type_=BigInteger)))


def index_rows(conn: Connection, corpus: Corpus) -> tuple[TableClause, ColumnElement[int]]:
    """An index as a table with `words`, and its column of seqs."""
    key = _KEYS[conn.dialect.name]
    rows = table(corpus.index, column(key, Integer), column("words"))
    return rows, rows.c[key]


def _of(conn: Connection) -> Index:
    return _INDEXES[conn.dialect.name]
