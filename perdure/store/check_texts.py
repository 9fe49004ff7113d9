"""What holds of passages and of the chunks of files: they are found by their words as they are, and none is missing."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, func, select

from perdure.store import search
from perdure.store.chunk_search import CHUNKS
from perdure.store.findings import Finding, finding
from perdure.store.passage_search import PASSAGES
from perdure.store.search import Corpus
from perdure.store.tables import file_chunks, files

BATCH: Final = 500
"""Rows looked at together."""


def indexes(conn: Connection, repair: bool) -> Iterator[Finding]:
    """What can be found by words is what stands there."""
    for corpus in (PASSAGES, CHUNKS):
        stale = sorted(_stale(conn, corpus, repair))
        if stale:
            name = corpus.table.name.replace("_", " ")
            problem = f"{name} that search does not find as they are, or finds although they are gone, by their numbers"
            yield finding("search", problem, stale, "indexed them anew" if repair else None)


def chunk_counts(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A file that has been read has all its chunks. What is missing can be had only by sending the file again."""
    held = select(func.count()).where(file_chunks.c.file_id == files.c.id).scalar_subquery()
    lacking = select(files.c.id).where(files.c.status == "completed", files.c.total_chunks != held)
    ids = conn.execute(lacking).scalars().all()
    if ids:
        yield finding("files", "files of which search knows too much or too little: send them again", ids, None)


def _stale(conn: Connection, corpus: Corpus, repair: bool) -> Iterator[int]:
    low = -1
    for rows in _batches(conn, corpus):
        high = rows[-1].seq
        wanted = {row.seq: search.indexed(row.scope, row.text, row.created_at) for row in rows}
        held = search.held(conn, corpus, low + 1, high)
        wrong = {seq for seq in held.keys() | wanted.keys() if held.get(seq) != wanted.get(seq)}
        if repair:
            search.remove(conn, corpus, wrong)
            for row in rows:
                if row.seq in wrong:
                    search.add(conn, corpus, row.scope, [(row.seq, row.text, row.created_at)])
        yield from wrong
        low = high
    beyond = list(search.held(conn, corpus, low + 1, None))
    if repair:
        search.remove(conn, corpus, beyond)
    yield from beyond


def _batches(conn: Connection, corpus: Corpus) -> Iterator[Sequence[Any]]:
    """All rows in order of their seq, some at a time."""
    table, low = corpus.table.c, -1
    columns = (table.seq, corpus.scope.label("scope"), table.text, table.created_at)
    while rows := conn.execute(select(*columns).where(table.seq > low).order_by(table.seq).limit(BATCH)).all():
        yield rows
        low = rows[-1].seq
