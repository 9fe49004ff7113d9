"""What stands round a searchable row: the rows before and after it in its line."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    any_,
    bindparam,
    column,
    func,
    literal_column,
    select,
    true,
    union_all,
)

from perdure.store.hot import Hot
from perdure.store.search import AT_ONCE, Corpus, index_rows


class Entry(NamedTuple):
    """A searchable row. `words` are as they stand in the index, with a space after each; `at` is microseconds UTC."""

    seq: int
    scope: str
    at: int
    words: str


class Surroundings(NamedTuple):
    """A row with those before and after it, the nearest first."""

    entry: Entry
    before: list[Entry]
    after: list[Entry]


def surroundings(conn: Connection, corpus: Corpus, seqs: Sequence[int], reach: int) -> list[Surroundings]:
    """These rows, those that are not there left out, each with up to `reach` rows before it and after it."""
    placed: dict[int, Sequence[Any]] = {}
    for start in range(0, len(seqs), AT_ONCE):
        some = seqs[start : start + AT_ONCE]
        placed |= {row[0]: row for row in _PLACED[conn.dialect.name](conn, corpus, some)}
    found = {seq: Surroundings(_entry(row), [], []) for seq, row in placed.items()}
    for later in (False, True):
        for seq, row in _BESIDE[conn.dialect.name](conn, corpus, placed, later, reach):
            (found[seq].after if later else found[seq].before).append(_entry(row))
    return [found[seq] for seq in seqs if seq in found]


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(row[0], row[1], row[2], f"{row[3]} ")


def _rows(conn: Connection, corpus: Corpus) -> Select[Any]:
    """What is asked of a row: what an Entry holds, its line, and its place there."""
    rows, seq = index_rows(conn, corpus)
    table = corpus.table
    found = select(
        table.c.seq, corpus.scope.label("scope"), table.c.created_at, rows.c.words, corpus.line.label("line"),
        *(column.label(f"place{at}") for at, column in enumerate(corpus.place)),
    ).join(rows, seq == table.c.seq)  # fmt: skip
    return found if corpus.link is None else found.join(corpus.link.table, corpus.link == table.c.seq)


def _beside(
    conn: Connection,
    corpus: Corpus,
    line: ColumnElement[str],
    place: Sequence[ColumnElement[int]],
    later: bool,
    most: Any,
) -> Select[Any]:
    """The nearest rows of a line on one side of a place, nearest first.

    First those that share all but the last part of the place, then those beyond: as one condition no index serves it.
    """
    columns = corpus.place
    order = [column.asc() if later else column.desc() for column in columns]
    parts: list[Select[Any]] = []
    for at in reversed(range(len(columns))):
        same = and_(true(), *(column == value for column, value in zip(columns[:at], place[:at], strict=True)))
        beyond = columns[at] > place[at] if later else columns[at] < place[at]
        rows = _rows(conn, corpus).where(corpus.line == line, same, beyond).order_by(*order).limit(most).subquery()
        parts.append(select(rows))
    together = union_all(*parts).subquery()
    places = [together.c[f"place{at}"] for at in range(len(columns))]
    return select(together).order_by(*(each.asc() if later else each.desc() for each in places)).limit(most)


_MOST: Final = bindparam("most", type_=BigInteger)
_HOT: Final[dict[tuple[str, str], Hot]] = {}


def _hot(conn: Connection, name: str, make: Callable[[], Select[Any]]) -> Hot:
    """A statement that is made once for each dialect."""
    key = conn.dialect.name, name
    found = _HOT.get(key)
    if found is None:
        found = _HOT[key] = Hot(make())
    return found


_Placed = Mapping[int, Sequence[Any]]
_Nearby = Iterable[tuple[int, Sequence[Any]]]


def _placed_in_sqlite(conn: Connection, corpus: Corpus, seqs: Sequence[int]) -> Iterable[Sequence[Any]]:
    return conn.execute(_rows(conn, corpus).where(corpus.table.c.seq.in_(seqs)))


def _placed_in_postgresql(conn: Connection, corpus: Corpus, seqs: Sequence[int]) -> Iterable[Sequence[Any]]:
    def make() -> Select[Any]:
        return _rows(conn, corpus).where(corpus.table.c.seq == any_(bindparam("seqs", type_=ARRAY(BigInteger))))

    return _hot(conn, f"{corpus.index} placed", make).rows(conn, seqs=list(seqs))


def _beside_in_sqlite(conn: Connection, corpus: Corpus, placed: _Placed, later: bool, most: int) -> _Nearby:
    """One short question for each row: it has no LATERAL, and none of them is a journey."""

    def make() -> Select[Any]:
        place = [bindparam(f"at{at}", type_=BigInteger) for at in range(len(corpus.place))]
        return _beside(conn, corpus, bindparam("line", type_=String), place, later, _MOST)

    hot = _hot(conn, f"{corpus.index} {later}", make)
    for seq, row in placed.items():
        values = {f"at{at}": value for at, value in enumerate(row[5:])}
        for found in hot.rows(conn, line=row[4], most=most, **values):
            yield seq, found


def _beside_in_postgresql(conn: Connection, corpus: Corpus, placed: _Placed, later: bool, most: int) -> _Nearby:
    """One question for all rows."""
    names = ["seq", "line", *(f"at{at}" for at in range(len(corpus.place)))]

    def make() -> Select[Any]:
        types = {name: String() if name == "line" else BigInteger() for name in names}
        lists = [bindparam(f"{name}s", type_=ARRAY(kind)) for name, kind in types.items()]
        columns = [column(name, kind) for name, kind in types.items()]
        hits = func.unnest(*lists).table_valued(*columns).render_derived(name="hits")
        line = literal_column("hits.line", String)
        place = [literal_column(f"hits.{name}", BigInteger) for name in names[2:]]
        beside = _beside(conn, corpus, line, place, later, _MOST).lateral()
        return select(hits.c.seq, beside).select_from(hits.join(beside, true()))

    asked = zip(*((seq, *row[4:]) for seq, row in placed.items()), strict=True)
    values = {f"{name}s": list(each) for name, each in zip(names, asked, strict=False)}
    rows = _hot(conn, f"{corpus.index} {later}", make).rows(conn, most=most, **values) if values else ()
    return [(row[0], row[1:]) for row in rows]


_PLACED: Final[Mapping[str, Callable[[Connection, Corpus, Sequence[int]], Iterable[Sequence[Any]]]]] = {
    "sqlite": _placed_in_sqlite,
    "postgresql": _placed_in_postgresql,
}
_BESIDE: Final[Mapping[str, Callable[[Connection, Corpus, _Placed, bool, int], _Nearby]]] = {
    "sqlite": _beside_in_sqlite,
    "postgresql": _beside_in_postgresql,
}
