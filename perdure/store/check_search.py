"""What holds of the full-text indexes: checked, and mended."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Column, Connection, func, select

from perdure.store import message_search, search
from perdure.store.chunk_search import CHUNKS
from perdure.store.findings import Finding, finding
from perdure.store.message_search import MESSAGES
from perdure.store.messages import COLUMNS, from_row
from perdure.store.passage_search import PASSAGES
from perdure.store.search import Corpus
from perdure.store.tables import file_chunks, files, passages

BATCH: Final = 500
"""Rows looked at together."""
_PASSAGE: Final = (passages.c.seq, passages.c.archive_id, passages.c.text, passages.c.created_at)
_CHUNK: Final = (file_chunks.c.seq, file_chunks.c.folder_id, file_chunks.c.text, file_chunks.c.created_at)


def search_index(conn: Connection, repair: bool) -> Iterator[Finding]:
    """What can be found by words is what was said, and what archives and files hold."""
    yield from _checked(conn, repair, MESSAGES, COLUMNS, _message, "messages")
    yield from _checked(conn, repair, PASSAGES, _PASSAGE, _passage, "passages")
    yield from _checked(conn, repair, CHUNKS, _CHUNK, _chunk, "pieces of files")


def chunk_counts(conn: Connection, repair: bool) -> Iterator[Finding]:
    """A file that has been read has all its chunks. What is missing can be had only by sending the file again."""
    held = select(func.count()).where(file_chunks.c.file_id == files.c.id).scalar_subquery()
    lacking = select(files.c.id).where(files.c.status == "completed", files.c.total_chunks != held)
    ids = conn.execute(lacking).scalars().all()
    if ids:
        yield finding("files", "files of which search knows too much or too little: send them again", ids, None)


def _message(row: Any) -> str | None:
    try:
        return message_search.indexed(from_row(row))
    except msgspec.MsgspecError:
        return None


def _passage(row: Any) -> str:
    return search.indexed(row.archive_id, row.text, row.created_at)


def _chunk(row: Any) -> str:
    return search.indexed(row.folder_id, row.text, row.created_at)


def _checked(
    conn: Connection,
    repair: bool,
    corpus: Corpus,
    columns: Sequence[Column[Any]],
    words_of: Callable[[Any], str | None],
    noun: str,
) -> Iterator[Finding]:
    """Compare an index with its rows. `words_of` gives what it has to hold of a row; None for nothing."""
    wrong: set[int] = set()
    key, low = corpus.table.c.seq, -1
    while rows := conn.execute(select(*columns).where(key > low).order_by(key).limit(BATCH)).all():
        right = {row.seq: words for row in rows if (words := words_of(row)) is not None}
        held = search.held(conn, corpus, low + 1, rows[-1].seq)
        differing = {seq for seq in held.keys() | right.keys() if held.get(seq) != right.get(seq)}
        if repair:
            search.put(conn, corpus, differing, right)
        wrong |= differing
        low = rows[-1].seq
    beyond = search.held(conn, corpus, low + 1, None).keys()
    if repair:
        search.put(conn, corpus, beyond, {})
    if wrong | beyond:
        problem = f"{noun} that search does not find as they are, or finds although they are gone, by their numbers"
        yield finding("search", problem, sorted(wrong | beyond), "indexed them anew" if repair else None)
