"""Nearest neighbours: which stored vectors point most nearly the same way as one that is asked for.

PostgreSQL compares in the database. Not every Python's SQLite can be given a way to, so there it is done here: exactly
for those that agree best in the signs of their numbers, which are compared in a tenth of the time.
"""

import heapq
import operator
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Float, LargeBinary, Table, func, select, type_coerce

from perdure.store.tables.columns import unit

LOOKED_AT: Final = 600_000
"""Numbers compared exactly on SQLite: 400 vectors of 1,536 dimensions, or all of a few thousand small ones."""

Found = list[tuple[int, float]]
"""The `seq`s of rows, with how nearly the same way they point: 1 for the same, 0 for square, -1 for the opposite."""

_SIGNS: Final = bytes(ord("1") if byte & 0x80 else ord("0") for byte in range(256))


def nearest(conn: Connection, table: Table, where: ColumnElement[bool], vector: Sequence[float], limit: int) -> Found:
    """The rows of a table with `seq` and `embedding` that are nearest to `vector`, best first.

    Rows without an embedding, or with one of another number of dimensions, are none; neither is anything near a vector
    of length 0. `where` has to leave the rows of one embedding model: other models' directions mean other things.
    """
    direction = unit(vector)
    if direction is None:
        return []
    return _WAYS[conn.dialect.name](conn, table, where, direction, limit)


def _in_postgresql(
    conn: Connection, table: Table, where: ColumnElement[bool], direction: list[float], limit: int
) -> Found:
    embedding: ColumnElement[Any] = table.c.embedding
    distance = embedding.op("<=>", return_type=Float())(direction)
    found = select(table.c.seq, distance.label("distance")).where(where, func.vector_dims(embedding) == len(direction))
    rows = conn.execute(found.order_by(distance, table.c.seq).limit(limit))
    return [(seq, 1.0 - far) for seq, far in rows]


def _in_sqlite(conn: Connection, table: Table, where: ColumnElement[bool], direction: list[float], limit: int) -> Found:
    packed = type_coerce(table.c.embedding, LargeBinary)
    wanted = where & (func.length(packed) == 4 * len(direction))
    found = select(table.c.seq, packed).where(wanted)
    signs = _signs(struct.pack(f"<{len(direction)}f", *direction))
    most = max(20 * limit, LOOKED_AT // len(direction))
    rows = (((_signs(blob) ^ signs).bit_count(), seq, blob) for seq, blob in conn.execute(found))
    near = ((_cosine(blob, direction), -seq) for _, seq, blob in heapq.nsmallest(most, rows))
    return [(-seq, cosine) for cosine, seq in heapq.nlargest(limit, near)]


def _signs(blob: bytes) -> int:
    """The signs of little-endian floats, a bit each."""
    return int(blob[3::4].translate(_SIGNS), 2)


def _cosine(blob: bytes, direction: list[float]) -> float:
    return sum(map(operator.mul, struct.unpack(f"<{len(direction)}f", blob), direction))


_WAYS: Final[Mapping[str, Callable[[Connection, Table, ColumnElement[bool], list[float], int], Found]]] = {
    "sqlite": _in_sqlite,
    "postgresql": _in_postgresql,
}
